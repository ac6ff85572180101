use crate::BOOL_TRUE;

/// Why bytes are not the TL object they should be. Names the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input ends inside the field.
    #[error("{field}: input ends early")]
    Truncated {
        /// The field being read.
        field: &'static str,
    },
    /// A boxed value has an id that is not allowed here.
    #[error("{field}: unknown constructor {id:08x}")]
    UnknownConstructor {
        /// The field being read.
        field: &'static str,
        /// The id found.
        id: u32,
    },
    /// The value breaks a rule.
    #[error("{field}: {rule}")]
    Invalid {
        /// The field being read.
        field: &'static str,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Bytes are left behind the object.
    #[error("{left} bytes behind the object")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// Reads TL fields from a byte slice. Every method names the field for the error.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The bytes not yet read.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Refuses left-over bytes.
    pub fn end(&self) -> Result<(), Error> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(Error::Trailing { left }),
        }
    }

    /// `n` raw bytes.
    pub fn raw(&mut self, n: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let (head, tail) = self.rest.split_at_checked(n).ok_or(Error::Truncated { field })?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Error> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(Error::Truncated { field })?;
        self.rest = tail;
        Ok(*head)
    }

    /// `#` or a constructor id.
    pub fn u32(&mut self, field: &'static str) -> Result<u32, Error> {
        self.array(field).map(u32::from_le_bytes)
    }
    /// `int`.
    pub fn i32(&mut self, field: &'static str) -> Result<i32, Error> {
        self.array(field).map(i32::from_le_bytes)
    }
    /// `long`, unsigned.
    pub fn u64(&mut self, field: &'static str) -> Result<u64, Error> {
        self.array(field).map(u64::from_le_bytes)
    }
    /// `long`.
    pub fn i64(&mut self, field: &'static str) -> Result<i64, Error> {
        self.array(field).map(i64::from_le_bytes)
    }
    /// `int128`.
    pub fn int128(&mut self, field: &'static str) -> Result<[u8; 16], Error> {
        self.array(field)
    }
    /// `int256`.
    pub fn int256(&mut self, field: &'static str) -> Result<[u8; 32], Error> {
        self.array(field)
    }
    /// `Bool`: whatever is not boolTrue is false, as the live network reads it (payments 1.2).
    pub fn bool(&mut self, field: &'static str) -> Result<bool, Error> {
        Ok(self.u32(field)? == BOOL_TRUE)
    }

    /// `bytes`. Missing padding is tolerated at the end of the input (network 1.1).
    pub fn bytes(&mut self, field: &'static str) -> Result<&'a [u8], Error> {
        let (prefix, len) = match self.array::<1>(field)?[0] {
            0xff => return Err(Error::Invalid { field, rule: "lengths of 2^24 bytes and more are not supported" }),
            0xfe => {
                let [a, b, c] = self.array::<3>(field)?;
                (4, u32::from_le_bytes([a, b, c, 0]) as usize)
            }
            short => (1, usize::from(short)),
        };
        let data = self.raw(len, field)?;
        let padding = (4 - (prefix + len) % 4) % 4;
        self.rest = &self.rest[padding.min(self.rest.len())..];
        Ok(data)
    }

    /// `bytes` of at most `max` bytes.
    pub fn bytes_max(&mut self, max: usize, field: &'static str) -> Result<&'a [u8], Error> {
        let data = self.bytes(field)?;
        if data.len() > max {
            return Err(Error::Invalid { field, rule: "longer than its limit" });
        }
        Ok(data)
    }

    /// `bytes` of exactly 64 bytes: a signature.
    pub fn signature(&mut self, field: &'static str) -> Result<[u8; 64], Error> {
        self.bytes(field)?.try_into().map_err(|_| Error::Invalid { field, rule: "a signature has 64 bytes" })
    }

    /// `string`.
    pub fn string(&mut self, field: &'static str) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes(field)?).map_err(|_| Error::Invalid { field, rule: "not UTF-8" })
    }

    /// The count of a bare `vector` whose elements take at least `min_size` bytes each: at most `max`, and never more than the
    /// input can hold, so that the count alone allocates nothing.
    pub fn count(&mut self, max: usize, min_size: usize, field: &'static str) -> Result<usize, Error> {
        let count = self.u32(field)? as usize;
        if count > max {
            return Err(Error::Invalid { field, rule: "more elements than its limit" });
        }
        if count.saturating_mul(min_size.max(1)) > self.rest.len() {
            return Err(Error::Truncated { field });
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    #[test]
    fn bytes_have_the_lengths_of_the_specification() {
        // network B.1
        for (len, encoded) in [(0, 4), (1, 4), (3, 4), (4, 8), (253, 256), (254, 260), (256, 260), (300, 304)] {
            let data = vec![7; len];
            let mut w = Writer::new();
            w.bytes(&data);
            let bytes = w.into_bytes();
            assert_eq!(bytes.len(), encoded);
            let mut r = Reader::new(&bytes);
            assert_eq!(r.bytes("x"), Ok(&data[..]));
            assert_eq!(r.end(), Ok(()));
        }
    }

    #[test]
    fn missing_last_padding_is_tolerated_and_truncation_is_not() {
        assert_eq!(Reader::new(&[1, 9]).bytes("x"), Ok(&[9][..]));
        assert_eq!(Reader::new(&[2, 9]).bytes("x"), Err(Error::Truncated { field: "x" }));
        assert_eq!(Reader::new(&[0xfe, 1]).bytes("x"), Err(Error::Truncated { field: "x" }));
    }

    #[test]
    fn a_huge_count_is_refused_before_anything_is_allocated() {
        let bytes = u32::MAX.to_le_bytes();
        assert!(matches!(Reader::new(&bytes).count(1000, 32, "x"), Err(Error::Invalid { .. })));
        assert_eq!(Reader::new(&bytes).count(usize::MAX, 32, "x"), Err(Error::Truncated { field: "x" }));
    }
}
