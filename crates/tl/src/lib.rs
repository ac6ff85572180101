//! The TL codec: constructor ids, a bounded reader and a writer (network 1, payments 1.2).
//!
//! What it is not: a schema compiler. Each crate writes its own types as [`Object`]s, field by field, because the live network's
//! registered strings and its bytes disagree in places (payments 1.3).
//!
//! Invariants
//! - Reading is total: any input gives a value or an [`Error`] that names the field; nothing panics.
//! - Reading allocates at most what the input's own length can back: a vector's count is checked against the bytes that are left.
//! - `write` then `read` gives the same value; writers always pad.

mod id;
mod read;
mod write;

pub use id::id;
pub use read::{Error, Reader};
pub use write::Writer;

/// `boolTrue = Bool`.
pub const BOOL_TRUE: u32 = id("boolTrue = Bool");
/// `boolFalse = Bool`.
pub const BOOL_FALSE: u32 = id("boolFalse = Bool");

/// A TL constructor: its id and its fields.
///
/// *Bare* is the fields alone, *boxed* the 4-byte id first (network 1.2).
pub trait Object: Sized {
    /// The constructor id, usually `tl::id("the registered string")`.
    const ID: u32;
    /// Writes the fields.
    fn write_bare(&self, w: &mut Writer);
    /// Reads the fields.
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error>;

    /// Writes id and fields.
    fn write_boxed(&self, w: &mut Writer) {
        w.u32(Self::ID);
        self.write_bare(w);
    }
    /// Reads the id, which must be this type's, and the fields.
    fn read_boxed(r: &mut Reader<'_>) -> Result<Self, Error> {
        match r.u32("constructor")? {
            id if id == Self::ID => Self::read_bare(r),
            id => Err(Error::UnknownConstructor { field: "constructor", id }),
        }
    }
    /// The boxed bytes.
    fn to_boxed(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write_boxed(&mut w);
        w.into_bytes()
    }
    /// Parses boxed bytes and refuses anything behind them.
    fn from_boxed(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let value = Self::read_boxed(&mut r)?;
        r.end()?;
        Ok(value)
    }
}
