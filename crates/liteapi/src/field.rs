//! How the values inside lite server objects are written, and the macro that makes a TL object of a list of fields.

use tl::{Error, Reader, Writer};
use tycho_types::models::{BlockId, BlockIdShort, ShardIdent};
use tycho_types::prelude::HashBytes;

/// A value that a TL object is made of.
pub(crate) trait Field: Sized {
    /// The bytes it takes at least, to bound vectors before they are read.
    const MIN_SIZE: usize = 4;
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error>;
}

macro_rules! primitive {
    ($type:ty, $method:ident, $size:literal) => {
        impl Field for $type {
            const MIN_SIZE: usize = $size;
            fn write(&self, w: &mut Writer) {
                w.$method(*self);
            }
            fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
                r.$method(field)
            }
        }
    };
}
primitive!(u32, u32, 4);
primitive!(i32, i32, 4);
primitive!(u64, u64, 8);
primitive!(i64, i64, 8);
primitive!(bool, bool, 4);

impl Field for HashBytes {
    const MIN_SIZE: usize = 32;
    fn write(&self, w: &mut Writer) {
        w.raw(&self.0);
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        r.int256(field).map(HashBytes)
    }
}

impl Field for Vec<u8> {
    fn write(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        r.bytes(field).map(<[u8]>::to_vec)
    }
}

impl Field for String {
    fn write(&self, w: &mut Writer) {
        w.bytes(self.as_bytes());
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        r.string(field).map(str::to_owned)
    }
}

/// `tonNode.blockId workchain:int shard:long seqno:int`, bare.
impl Field for BlockIdShort {
    const MIN_SIZE: usize = 16;
    fn write(&self, w: &mut Writer) {
        w.i32(self.shard.workchain());
        w.u64(self.shard.prefix());
        w.u32(self.seqno);
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        let (workchain, prefix) = (r.i32(field)?, r.u64(field)?);
        let shard = ShardIdent::new(workchain, prefix).ok_or(Error::Invalid { field, rule: "not a shard" })?;
        Ok(Self { shard, seqno: r.u32(field)? })
    }
}

/// `tonNode.blockIdExt workchain:int shard:long seqno:int root_hash:int256 file_hash:int256`, bare.
impl Field for BlockId {
    const MIN_SIZE: usize = 80;
    fn write(&self, w: &mut Writer) {
        self.as_short_id().write(w);
        self.root_hash.write(w);
        self.file_hash.write(w);
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        let BlockIdShort { shard, seqno } = Field::read(r, field)?;
        Ok(Self { shard, seqno, root_hash: Field::read(r, field)?, file_hash: Field::read(r, field)? })
    }
}

/// `(vector T)` of bare elements. The count is bounded by the input that is left.
macro_rules! vector {
    ($($type:ty),*) => {$(
        impl $crate::field::Field for Vec<$type> {
            fn write(&self, w: &mut tl::Writer) {
                w.u32(self.len() as u32);
                self.iter().for_each(|x| $crate::field::Field::write(x, w));
            }
            fn read(r: &mut tl::Reader<'_>, field: &'static str) -> Result<Self, tl::Error> {
                let count = r.count(usize::MAX, <$type as $crate::field::Field>::MIN_SIZE, field)?;
                (0..count).map(|_| $crate::field::Field::read(r, field)).collect()
            }
        }
    )*};
}
pub(crate) use vector;
vector!(BlockId, HashBytes, i32);

/// Defines a TL object whose fields are all unconditional; with `=> Answer`, a method and the type of its answer.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident($schema:literal) { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? } $(=> $answer:ty)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }
        impl tl::Object for $name {
            const ID: u32 = tl::id($schema);
            fn write_bare(&self, _w: &mut tl::Writer) { $($crate::field::Field::write(&self.$field, _w);)* }
            fn read_bare(_r: &mut tl::Reader<'_>) -> Result<Self, tl::Error> {
                Ok(Self { $($field: $crate::field::Field::read(_r, stringify!($field))?),* })
            }
        }
        $(impl $crate::Method for $name { type Answer = $answer; })?
    };
}
pub(crate) use object;
