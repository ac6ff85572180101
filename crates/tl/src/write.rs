use crate::{BOOL_FALSE, BOOL_TRUE};

/// Writes TL fields into a growing buffer.
#[derive(Debug, Default, Clone)]
pub struct Writer {
    out: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }
    /// Continues behind `out`, so that a caller can keep one buffer.
    pub fn append_to(out: Vec<u8>) -> Self {
        Self { out }
    }
    /// The bytes written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.out
    }
    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }
    /// Whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }

    /// Raw bytes, such as an `int128` or `int256`.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }
    /// `#` or a constructor id.
    pub fn u32(&mut self, v: u32) {
        self.raw(&v.to_le_bytes());
    }
    /// `int`.
    pub fn i32(&mut self, v: i32) {
        self.raw(&v.to_le_bytes());
    }
    /// `long`, unsigned.
    pub fn u64(&mut self, v: u64) {
        self.raw(&v.to_le_bytes());
    }
    /// `long`.
    pub fn i64(&mut self, v: i64) {
        self.raw(&v.to_le_bytes());
    }
    /// `Bool`.
    pub fn bool(&mut self, v: bool) {
        self.u32(if v { BOOL_TRUE } else { BOOL_FALSE });
    }
    /// `bytes` or `string`: length, data, zero padding to four bytes (network 1.1).
    ///
    /// # Panics
    /// When `data` has 2^24 bytes or more, which no message of ours has.
    pub fn bytes(&mut self, data: &[u8]) {
        let prefix = if data.len() < 254 {
            self.out.push(data.len() as u8);
            1
        } else {
            assert!(data.len() < 1 << 24, "TL bytes are shorter than 2^24");
            self.u32(0xfe | (data.len() as u32) << 8);
            4
        };
        self.raw(data);
        let padding = (4 - (prefix + data.len()) % 4) % 4;
        self.raw(&[0; 3][..padding]);
    }
}
