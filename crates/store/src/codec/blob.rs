//! Encoded columns: TL fields of our own behind a version number. Read by us only, but read as strictly as a peer's bytes.

use tl::{Error as TlError, Object, Reader, Writer};
use ton::Cell;
use wire::{Body, Condition, Resolution, SignedState};

use crate::Error;

/// The layout of all blobs of this release. A change of a layout is a new number, and a reader that knows both.
const VERSION: u32 = 1;
/// Elements of a vector at most: the conditions of one side (payments 10.2).
pub(super) const MAX_ELEMENTS: usize = 65_536;

/// Something that is kept as an encoded column.
pub(super) trait Blob: Sized {
    /// Named in errors.
    const NAME: &'static str;
    fn write(&self, w: &mut Writer);
    fn read(r: &mut Reader<'_>) -> Result<Self, TlError>;

    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(VERSION);
        self.write(&mut w);
        w.into_bytes()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let mut r = Reader::new(bytes);
            if r.u32("version")? != VERSION {
                return Err(invalid("version", "unknown"));
            }
            let value = Self::read(&mut r)?;
            r.end()?;
            Ok(value)
        };
        read().map_err(|error: TlError| {
            tracing::error!(%error, what = Self::NAME, "stored value is not valid");
            Error::Corrupt(Self::NAME)
        })
    }
}

pub(super) fn invalid(field: &'static str, rule: &'static str) -> TlError {
    TlError::Invalid { field, rule }
}

pub(super) fn put_amount(w: &mut Writer, amount: u128) {
    w.raw(&amount.to_le_bytes());
}

pub(super) fn take_amount(r: &mut Reader<'_>) -> Result<u128, TlError> {
    r.int128("amount").map(u128::from_le_bytes)
}

pub(super) fn put_body(w: &mut Writer, body: &Body) {
    w.u64(body.seqno);
    put_amount(w, body.sent);
    w.raw(&body.conditionals);
}

pub(super) fn take_body(r: &mut Reader<'_>) -> Result<Body, TlError> {
    Ok(Body { seqno: r.u64("seqno")?, sent: take_amount(r)?, conditionals: r.int256("conditionals")? })
}

pub(super) fn put_condition(w: &mut Writer, c: &Condition) {
    w.raw(&c.key);
    put_amount(w, c.capacity);
    put_amount(w, c.fee);
    put_amount(w, c.prepay);
    w.u32(c.deadline);
}

pub(super) fn take_condition(r: &mut Reader<'_>) -> Result<Condition, TlError> {
    Ok(Condition {
        key: r.int256("key")?,
        capacity: take_amount(r)?,
        fee: take_amount(r)?,
        prepay: take_amount(r)?,
        deadline: r.u32("deadline")?,
    })
}

pub(super) fn put_resolution(w: &mut Writer, resolution: &Resolution) {
    w.raw(&resolution.signature);
    put_amount(w, resolution.amount);
}

pub(super) fn take_resolution(r: &mut Reader<'_>) -> Result<Resolution, TlError> {
    Ok(Resolution { signature: take_array(r, "signature")?, amount: take_amount(r)? })
}

pub(super) fn put_cell(w: &mut Writer, cell: &Cell) {
    w.bytes(&ton::encode_boc(cell));
}

pub(super) fn take_cell(r: &mut Reader<'_>, field: &'static str) -> Result<Cell, TlError> {
    ton::decode_boc(r.bytes(field)?).map_err(|_| invalid(field, "not a bag with one cell"))
}

pub(super) fn put_signed_state(w: &mut Writer, state: &SignedState) {
    put_cell(w, &state.to_cell());
}

pub(super) fn take_signed_state(r: &mut Reader<'_>) -> Result<SignedState, TlError> {
    SignedState::from_cell(take_cell(r, "state")?.as_ref()).map_err(|_| invalid("state", "not a signed state"))
}

pub(super) fn take_array<const N: usize>(r: &mut Reader<'_>, field: &'static str) -> Result<[u8; N], TlError> {
    r.raw(N, field)?.try_into().map_err(|_| invalid(field, "wrong length"))
}

pub(super) fn put_text(w: &mut Writer, text: &str) {
    w.bytes(text.as_bytes());
}

pub(super) fn take_text(r: &mut Reader<'_>, field: &'static str) -> Result<String, TlError> {
    r.string(field).map(Into::into)
}

/// A flag, then the value if there is one.
pub(super) fn put_option<T>(w: &mut Writer, value: Option<&T>, put: impl FnOnce(&mut Writer, &T)) {
    w.bool(value.is_some());
    if let Some(value) = value {
        put(w, value);
    }
}

pub(super) fn take_option<T>(
    r: &mut Reader<'_>,
    field: &'static str,
    take: impl FnOnce(&mut Reader<'_>) -> Result<T, TlError>,
) -> Result<Option<T>, TlError> {
    if r.bool(field)? { take(r).map(Some) } else { Ok(None) }
}

pub(super) fn put_vec<T>(w: &mut Writer, values: &[T], put: impl Fn(&mut Writer, &T)) {
    w.u32(values.len() as u32);
    values.iter().for_each(|value| put(w, value));
}

pub(super) fn take_vec<T>(
    r: &mut Reader<'_>,
    field: &'static str,
    take: impl Fn(&mut Reader<'_>) -> Result<T, TlError>,
) -> Result<Vec<T>, TlError> {
    let count = r.count(MAX_ELEMENTS, 4, field)?;
    (0..count).map(|_| take(r)).collect()
}

/// A TL object of the wire protocol.
impl Blob for wire::message::OpenVirtual {
    const NAME: &'static str = "action";
    fn write(&self, w: &mut Writer) {
        self.write_boxed(w);
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, TlError> {
        Self::read_boxed(r)
    }
}
