//! Values on their way to and from Postgres, in its binary format: nano amounts, seqnos, and rows of composite types, which a statement takes as
//! arrays.

use bytes::{BufMut, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_postgres::types::{FromSql, IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::Error;

type BoxError = Box<dyn std::error::Error + Sync + Send>;

/// Nano in `numeric`: lossless, no text in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Nano(pub u128);

/// What `numeric(37,0)` does not hold.
const MAX_NANO: u128 = 10u128.pow(37);

/// Digits of `numeric` have base 10,000.
const BASE: u128 = 10_000;

impl ToSql for Nano {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        // 2^128 has 39 decimal digits: ten digits of base 10,000
        let mut digits = [0u16; 10];
        let mut rest = self.0;
        let mut used = 0;
        while rest > 0 {
            digits[used] = (rest % BASE) as u16;
            rest /= BASE;
            used += 1;
        }
        out.put_u16(used as u16);
        out.put_i16(used as i16 - 1); // weight of the first digit
        out.put_u16(0); // positive
        out.put_u16(0); // no decimals
        digits[..used].iter().rev().for_each(|digit| out.put_u16(*digit));
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Nano {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, BoxError> {
        let (header, digits) = raw.split_at_checked(8).ok_or("numeric: too short")?;
        let word = |i: usize| u16::from_be_bytes([header[2 * i], header[2 * i + 1]]);
        let (count, weight) = (usize::from(word(0)), word(1) as i16);
        if word(2) != 0 || digits.len() != 2 * count || (count > 0 && usize::try_from(weight).is_ok_and(|w| w + 1 < count)) {
            return Err("numeric: not a whole positive number".into());
        }
        if count == 0 {
            return Ok(Self(0));
        }
        let digits = digits.as_chunks::<2>().0.iter().map(|d| u128::from(u16::from_be_bytes(*d)));
        let zeros = usize::try_from(weight).map_err(|_| "numeric: not whole")? + 1 - count;
        let value = digits
            .chain(std::iter::repeat_n(0, zeros))
            .try_fold(0u128, |sum, digit| sum.checked_mul(BASE)?.checked_add(digit))
            .ok_or("numeric: above 128 bits")?;
        Ok(Self(value))
    }

    fn accepts(ty: &Type) -> bool {
        *ty == Type::NUMERIC
    }
}

/// A field of a [`Record`]. The journal keeps it by its place in this list: new kinds go to the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Small(i16),
    Long(i64),
    Nano(Nano),
    Bytes(Vec<u8>),
    Text(String),
}

impl Value {
    /// A seqno, version, epoch or time. What exceeds 63 bits never occurs in practice and is refused.
    pub(crate) fn long(what: &'static str, value: u64) -> Result<Self, Error> {
        Ok(Self::Long(long(what, value)?))
    }

    fn inner(&self) -> Option<&(dyn ToSql + Sync)> {
        Some(match self {
            Self::Null => return None,
            Self::Bool(v) => v,
            Self::Small(v) => v,
            Self::Long(v) => v,
            Self::Nano(v) => v,
            Self::Bytes(v) => v,
            Self::Text(v) => v,
        })
    }
}

impl From<bool> for Value {
    fn from(v: bool) -> Self {
        Self::Bool(v)
    }
}
impl From<u128> for Value {
    fn from(v: u128) -> Self {
        Self::Nano(Nano(v))
    }
}
impl From<u32> for Value {
    fn from(v: u32) -> Self {
        Self::Long(v.into())
    }
}
impl From<&[u8]> for Value {
    fn from(v: &[u8]) -> Self {
        Self::Bytes(v.to_vec())
    }
}
impl<const N: usize> From<[u8; N]> for Value {
    fn from(v: [u8; N]) -> Self {
        Self::Bytes(v.to_vec())
    }
}
impl From<Vec<u8>> for Value {
    fn from(v: Vec<u8>) -> Self {
        Self::Bytes(v)
    }
}
impl From<&str> for Value {
    fn from(v: &str) -> Self {
        Self::Text(v.into())
    }
}
impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(v: Option<T>) -> Self {
        v.map_or(Self::Null, Into::into)
    }
}

/// A row of a composite type, its fields in the type's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record(pub Vec<Value>);

impl Record {
    /// Whether the database takes each value, as far as its type and size go: what waits in the journal has no second chance to be refused.
    pub(crate) fn check(&self) -> Result<(), Error> {
        for value in &self.0 {
            match value {
                Value::Nano(Nano(nano)) if *nano >= MAX_NANO => return Err(Error::TooLarge("nano")),
                Value::Text(text) if text.contains('\0') => return Err(Error::Inconsistent("text with a NUL")),
                _ => {}
            }
        }
        Ok(())
    }
}

impl ToSql for Record {
    fn to_sql(&self, ty: &Type, out: &mut BytesMut) -> Result<IsNull, BoxError> {
        let Kind::Composite(fields) = ty.kind() else { return Err(Misfit(ty.to_string()).into()) };
        if fields.len() != self.0.len() {
            return Err(Misfit(ty.to_string()).into());
        }
        out.put_u32(fields.len() as u32);
        for (field, value) in fields.iter().zip(&self.0) {
            out.put_u32(field.type_().oid());
            let start = out.len();
            out.put_i32(-1); // the length, -1 for null
            if let Some(value) = value.inner()
                && let IsNull::No =
                    value.to_sql_checked(field.type_(), out).map_err(|_| Misfit(format!("{ty}.{}", field.name())))?
            {
                let len = i32::try_from(out.len() - start - 4)?;
                out[start..start + 4].copy_from_slice(&len.to_be_bytes());
            }
        }
        Ok(IsNull::No)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(ty.kind(), Kind::Composite(_))
    }

    to_sql_checked!();
}

/// A record that is not of the type that the database has: nothing was sent.
#[derive(Debug, thiserror::Error)]
#[error("record does not fit {0}")]
pub(crate) struct Misfit(String);

/// What fits `bigint`.
pub(crate) fn long(what: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::TooLarge(what))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(nano: u128) -> u128 {
        let mut out = BytesMut::new();
        Nano(nano).to_sql(&Type::NUMERIC, &mut out).unwrap();
        Nano::from_sql(&Type::NUMERIC, &out).unwrap().0
    }

    #[test]
    fn amounts_at_the_edges_survive() {
        for nano in [0, 1, 9_999, 10_000, 100_000_000, ton::MAX_COINS, u128::MAX] {
            assert_eq!(round_trip(nano), nano);
        }
    }

    #[test]
    fn fractions_and_negatives_are_refused() {
        let read = |words: [u16; 5]| {
            let raw: Vec<u8> = words.iter().flat_map(|w| w.to_be_bytes()).collect();
            Nano::from_sql(&Type::NUMERIC, &raw).map(|n| n.0).ok()
        };
        assert_eq!(read([1, 0, 0, 0, 7]), Some(7));
        assert_eq!(read([1, 1, 0, 0, 7]), Some(70_000));
        assert_eq!(read([1, 0, 0x4000, 0, 7]), None);
        assert_eq!(read([1, u16::MAX, 0, 0, 7]), None);
        assert_eq!(read([1, 40, 0, 0, 7]), None);
    }

    #[test]
    fn what_exceeds_63_bits_is_refused() {
        assert!(long("seqno", i64::MAX as u64).is_ok());
        assert!(long("seqno", 1 << 63).is_err());
    }

    proptest! {
        #[test]
        fn amounts_survive(nano in any::<u128>(), shift in 0u32..128) {
            prop_assert_eq!(round_trip(nano >> shift), nano >> shift);
        }

        #[test]
        fn any_bytes_are_read_or_refused(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = Nano::from_sql(&Type::NUMERIC, &raw);
        }
    }
}
