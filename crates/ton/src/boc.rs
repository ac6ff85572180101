use tycho_types::boc::{Boc, de, ser};

use crate::Cell;

/// The deepest tree that a cell may be, as in the TVM. [`decode_boc`] refuses deeper ones.
pub const MAX_DEPTH: u16 = 1024;

/// Why bytes are not a bag with one cell.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BocError {
    /// Not a well-formed bag of cells.
    #[error("bag of cells: {0}")]
    Malformed(#[from] de::Error),
    /// The tree is deeper than [`MAX_DEPTH`].
    #[error("bag of cells: deeper than {MAX_DEPTH}")]
    TooDeep,
}

/// Writes one cell as a bag without index and checksum, as the payment protocol sends cells (payments 1.2).
pub fn encode_boc(cell: &Cell) -> Vec<u8> {
    encode(cell, false)
}

/// Writes one cell as a bag without index, with CRC-32C (payments 5.8, and what wallets and explorers print).
pub fn encode_boc_with_crc(cell: &Cell) -> Vec<u8> {
    encode(cell, true)
}

fn encode(cell: &Cell, crc: bool) -> Vec<u8> {
    let mut out = Vec::new();
    ser::BocHeader::<std::hash::RandomState>::with_root(cell.as_ref()).without_hashes(true).with_crc(crc).encode(&mut out);
    out
}

/// Reads a bag with exactly one root. Index and checksum are allowed, a wrong checksum is refused. Bytes behind the bag are ignored.
pub fn decode_boc(bytes: &[u8]) -> Result<Cell, BocError> {
    let cell = Boc::decode(bytes)?;
    if cell.as_ref().repr_depth() > MAX_DEPTH {
        return Err(BocError::TooDeep);
    }
    Ok(cell)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CellBuilder;
    use proptest::prelude::*;

    fn chain(depth: u16) -> Cell {
        let mut cell = Cell::default();
        for i in 0..depth {
            let mut b = CellBuilder::new();
            b.store_u16(i).unwrap();
            b.store_reference(cell).unwrap();
            cell = b.build().unwrap();
        }
        cell
    }

    #[test]
    fn a_cell_survives_both_forms() {
        let cell = chain(20);
        for bytes in [encode_boc(&cell), encode_boc_with_crc(&cell)] {
            assert_eq!(decode_boc(&bytes).unwrap(), cell);
        }
        let mut wrong = encode_boc_with_crc(&cell);
        *wrong.last_mut().unwrap() ^= 1;
        assert!(decode_boc(&wrong).is_err());
    }

    #[test]
    fn deep_trees_are_refused_without_overflowing_the_stack() {
        assert!(decode_boc(&encode_boc(&chain(MAX_DEPTH))).is_ok());
        assert!(matches!(decode_boc(&encode_boc(&chain(MAX_DEPTH + 1))), Err(BocError::TooDeep)));
        assert!(matches!(decode_boc(&encode_boc(&chain(60_000))), Err(BocError::TooDeep)));
    }

    #[test]
    fn two_roots_are_refused() {
        let mut bytes = encode_boc(&chain(1));
        bytes[7] = 2;
        assert!(decode_boc(&bytes).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode_boc(&bytes);
        }

        #[test]
        fn a_damaged_bag_is_read_or_refused(at in 0usize..400, with in any::<u8>(), cut in 0usize..400) {
            let mut bytes = encode_boc(&chain(30));
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = decode_boc(&bytes);
            bytes.truncate(cut);
            let _ = decode_boc(&bytes);
        }
    }
}
