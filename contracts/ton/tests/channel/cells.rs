//! Cells that the message builders of `contract` do not make: with wrong signers, tags and lengths.

use contract::{Pair, Side, ToSign};
use ed25519_dalek::{Signer, SigningKey};
use ton::{Cell, CellBuilder};

pub const SIDES: [Side; 2] = [Side::A, Side::B];

pub fn pair<T>([a, b]: [T; 2]) -> Pair<T> {
    Pair { a, b }
}

pub fn cell(write: impl FnOnce(&mut CellBuilder)) -> Cell {
    let mut b = CellBuilder::new();
    write(&mut b);
    b.build().unwrap()
}

pub fn sign(key: &SigningKey, signed: &Cell) -> [u8; 64] {
    key.sign(&ton::hash(signed.as_ref())).to_bytes()
}

/// A signed part under another tag than its own.
pub fn retagged(part: &impl ToSign, tag: u32) -> Cell {
    cell(|b| {
        b.store_u32(tag).unwrap();
        part.store_fields(b).unwrap();
    })
}

/// A message of one side: op, side, signature, signed part.
pub fn from_one(op: u32, side: Side, key: &SigningKey, signed: &Cell) -> Cell {
    cell(|b| {
        b.store_u32(op).unwrap();
        b.store_bit(side == Side::A).unwrap();
        b.store_raw(&sign(key, signed), 512).unwrap();
        b.store_slice(signed.as_slice().unwrap()).unwrap();
    })
}

/// A message of both sides: op, signatures in cells of their own, signed part.
pub fn from_both(op: u32, keys: [&SigningKey; 2], signed: &Cell) -> Cell {
    cell(|b| {
        b.store_u32(op).unwrap();
        for key in keys {
            b.store_reference(cell(|b| b.store_raw(&sign(key, signed), 512).unwrap())).unwrap();
        }
        b.store_slice(signed.as_slice().unwrap()).unwrap();
    })
}

/// A cell in the place of a state with a signature over it.
pub fn signed_state_cell(state: &Cell, key: &SigningKey) -> Cell {
    cell(|b| {
        b.store_raw(&sign(key, state), 512).unwrap();
        b.store_reference(state.clone()).unwrap();
    })
}

/// The same cell with one more bit behind its data.
pub fn with_trailing_bit(original: &Cell) -> Cell {
    cell(|b| {
        b.store_slice(original.as_slice().unwrap()).unwrap();
        b.store_bit_one().unwrap();
    })
}
