use sha2::{Digest, Sha256};

use tycho_types::models::StateInit;

use crate::{Address, Cell, CellBuilder};

/// The cell of `StateInit{code, data}`.
pub fn state_init(code: Cell, data: Cell) -> Cell {
    CellBuilder::build_from(StateInit { code: Some(code), data: Some(data), ..StateInit::default() })
        .expect("two references fit a cell")
}

/// The hash of `StateInit{code, data}` when only the hash and depth of the code are known (payments 7.1).
///
/// The cell has two references and the five bits 00110: no split depth, not special, code, data, no libraries.
pub fn state_init_hash(code_hash: &[u8; 32], code_depth: u16, data: &Cell) -> [u8; 32] {
    const REFS: u8 = 2;
    const BITS_DESCRIPTOR: u8 = 1; // five bits: no full byte, one begun
    const BITS: u8 = 0b0011_0100; // 00110, then the completion tag
    let mut sha = Sha256::new();
    sha.update([REFS, BITS_DESCRIPTOR, BITS]);
    sha.update(code_depth.to_be_bytes());
    sha.update(data.as_ref().repr_depth().to_be_bytes());
    sha.update(code_hash);
    sha.update(data.as_ref().repr_hash().as_array());
    sha.finalize().into()
}

/// The address in the basechain of a contract deployed with `StateInit{code, data}`.
pub fn state_init_address(code_hash: &[u8; 32], code_depth: u16, data: &Cell) -> Address {
    Address { workchain: 0, hash: state_init_hash(code_hash, code_depth, data) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_hash_of_the_whole_cell() {
        let code = CellBuilder::build_from((7u32, CellBuilder::build_from(8u8).unwrap())).unwrap();
        let data = CellBuilder::build_from(0xdead_beef_u32).unwrap();
        let whole =
            CellBuilder::build_from(StateInit { code: Some(code.clone()), data: Some(data.clone()), ..Default::default() })
                .unwrap();
        assert_eq!(state_init_hash(&code.repr_hash().0, code.repr_depth(), &data), whole.repr_hash().0);
    }
}
