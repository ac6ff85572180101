//! How the fields of payments 1.2 are written: one [`Field`] per kind, and the macros that make types out of them.

use tl::{Error, Object, Reader, Writer};
use ton::{Cell, MAX_COINS};

use super::{InstructionContainer, MAX_CELL_BYTES, MAX_CONTAINER_BYTES, MAX_INSTRUCTIONS, MAX_REASON_BYTES};

/// A kind of field on the wire.
pub(crate) trait Field: Sized {
    fn put(&self, w: &mut Writer);
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error>;
}

macro_rules! plain_field {
    ($type:ty, $method:ident) => {
        impl Field for $type {
            fn put(&self, w: &mut Writer) {
                w.$method(*self);
            }
            fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
                r.$method(field)
            }
        }
    };
}
plain_field!(i64, i64);
plain_field!(u64, u64);
plain_field!(u32, u32);
plain_field!(bool, bool);

/// `int256`.
impl Field for [u8; 32] {
    fn put(&self, w: &mut Writer) {
        w.raw(self);
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        r.int256(field)
    }
}

/// An optional `int256`: absent is 32 zero bytes.
impl Field for Option<[u8; 32]> {
    fn put(&self, w: &mut Writer) {
        self.unwrap_or_default().put(w);
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        Ok(Some(r.int256(field)?).filter(|key| *key != [0; 32]))
    }
}

/// A signature in `bytes`.
impl Field for [u8; 64] {
    fn put(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        r.signature(field)
    }
}

/// An optional signature: absent is empty `bytes`.
impl Field for Option<[u8; 64]> {
    fn put(&self, w: &mut Writer) {
        w.bytes(self.as_ref().map_or(&[], |s| &s[..]));
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        match r.bytes_max(64, field)? {
            [] => Ok(None),
            bytes => Ok(Some(bytes.try_into().map_err(|_| Error::Invalid { field, rule: "a signature has 64 bytes" })?)),
        }
    }
}

/// An amount: unsigned big-endian in `bytes`, minimal, zero is empty, at most 120 bits.
impl Field for u128 {
    fn put(&self, w: &mut Writer) {
        w.bytes(&self.to_be_bytes()[self.leading_zeros() as usize / 8..]);
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        let bytes = r.bytes(field)?;
        if bytes.first() == Some(&0) {
            return Err(Error::Invalid { field, rule: "an amount has no leading zero bytes" });
        }
        let mut be = [0; 16];
        let Some(tail) = 16usize.checked_sub(bytes.len()) else {
            return Err(Error::Invalid { field, rule: "an amount has at most 120 bits" });
        };
        be[tail..].copy_from_slice(bytes);
        Some(u128::from_be_bytes(be))
            .filter(|amount| *amount <= MAX_COINS)
            .ok_or(Error::Invalid { field, rule: "an amount has at most 120 bits" })
    }
}

/// A reason for people.
impl Field for String {
    fn put(&self, w: &mut Writer) {
        w.bytes(self.as_bytes());
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        let bytes = r.bytes_max(MAX_REASON_BYTES, field)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| Error::Invalid { field, rule: "not UTF-8" })
    }
}

/// A cell as BoC in `bytes`.
impl Field for Cell {
    fn put(&self, w: &mut Writer) {
        w.bytes(&ton::encode_boc(self));
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        <Option<Cell> as Field>::take(r, field)?.ok_or(Error::Invalid { field, rule: "a cell is required" })
    }
}

/// An optional cell: absent is empty `bytes`.
impl Field for Option<Cell> {
    fn put(&self, w: &mut Writer) {
        match self {
            Some(cell) => cell.put(w),
            None => w.bytes(&[]),
        }
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        match r.bytes_max(MAX_CELL_BYTES, field)? {
            [] => Ok(None),
            bytes => ton::decode_boc(bytes).map(Some).map_err(|_| Error::Invalid { field, rule: "not a bag with one cell" }),
        }
    }
}

/// The ciphertext of an instruction.
impl Field for Vec<u8> {
    fn put(&self, w: &mut Writer) {
        w.bytes(self);
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        Ok(r.bytes_max(MAX_CONTAINER_BYTES, field)?.to_vec())
    }
}

/// `instructionsToSign`, bare: a vector of bare containers.
impl Field for Vec<InstructionContainer> {
    fn put(&self, w: &mut Writer) {
        w.u32(self.len() as u32);
        self.iter().for_each(|container| container.write_bare(w));
    }
    fn take(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        const SMALLEST: usize = 32 + 4;
        let count = r.count(MAX_INSTRUCTIONS, SMALLEST, field)?;
        (0..count).map(|_| InstructionContainer::read_bare(r)).collect()
    }
}

/// A TL type whose layout is its fields in order.
macro_rules! object {
    ($(#[$doc:meta])* $name:ident = $schema:literal { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl tl::Object for $name {
            const ID: u32 = tl::id($schema);
            fn write_bare(&self, w: &mut tl::Writer) {
                $($crate::message::codec::Field::put(&self.$field, w);)*
            }
            fn read_bare(r: &mut tl::Reader<'_>) -> Result<Self, tl::Error> {
                Ok(Self { $($field: $crate::message::codec::Field::take(r, stringify!($field))?),* })
            }
        }
    };
}

/// A choice of boxed TL types.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum $name { $($(#[$variant_doc])* $variant($variant)),* }

        $(impl From<$variant> for $name {
            fn from(value: $variant) -> Self {
                Self::$variant(value)
            }
        })*

        impl $name {
            /// The TL name of the type, for logs and metrics.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$variant(_) => stringify!($variant)),* }
            }
            /// The constructor id.
            pub fn id(&self) -> u32 {
                match self { $(Self::$variant(_) => <$variant as tl::Object>::ID),* }
            }
            /// Writes the id and the fields.
            pub fn write_boxed(&self, w: &mut tl::Writer) {
                match self { $(Self::$variant(value) => tl::Object::write_boxed(value, w)),* }
            }
            fn read_any(r: &mut tl::Reader<'_>, field: &'static str) -> Result<Self, tl::Error> {
                match r.u32(field)? {
                    $(<$variant as tl::Object>::ID => <$variant as tl::Object>::read_bare(r).map(Self::$variant),)*
                    id => Err(tl::Error::UnknownConstructor { field, id }),
                }
            }
        }
    };
}

pub(crate) use {choice, object};
