//! TON's data: cells, bags of cells, addresses, coins, the hash of a state init. One thin module over `tycho-types`, so that the
//! choice of cell library stays here.
//!
//! What it is not: models of blocks and accounts, a virtual machine, wallets. Who needs those uses `tycho-types` itself.
//!
//! Invariants
//! - Reading is total and bounded by its input: [`decode_boc`], [`Address::from_str`](std::str::FromStr), the loaders and
//!   [`parse_amount`] give a value or an error, never a panic.
//! - Coins never exceed [`MAX_COINS`]; what we write is minimal.
//! - Equal cells have equal hashes and the reverse; a BoC is only a way to write a cell and is never compared.

mod address;
mod boc;
mod coins;
mod state_init;

pub use address::{Address, AddressError, load_address, store_address};
pub use boc::{BocError, MAX_DEPTH, decode_boc, encode_boc, encode_boc_with_crc};
pub use coins::{AmountError, MAX_COINS, format_amount, load_coins, parse_amount, store_coins};
pub use state_init::{state_init, state_init_address, state_init_hash};

pub use tycho_types::cell::{
    Cell, CellBuilder, CellContext, CellFamily, CellSlice, CellSliceParts, CellType, DynCell, HashBytes, Load, Store,
};
pub use tycho_types::dict::{Dict, RawIter, build_dict_from_sorted_iter};
/// Why a cell is not what it should be, or a value does not fit.
pub use tycho_types::error::Error as CellError;
pub use tycho_types::merkle::{MerkleProof, make_pruned_branch};

/// The representation hash of a cell.
pub fn hash(cell: &DynCell) -> [u8; 32] {
    cell.repr_hash().0
}

/// Refuses bits or references behind what was read.
pub fn expect_end(slice: &CellSlice<'_>) -> Result<(), CellError> {
    if slice.is_empty() { Ok(()) } else { Err(CellError::InvalidData) }
}
