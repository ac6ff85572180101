//! `SspcCompact`: counted ids, the parameters in storage, at most 100 bytes of calldata.

use alloy_primitives::{Address, U256};

pub use crate::bindings::SspcCompact::Item;

/// The ABI, JSON.
pub const ABI_JSON: &str = include_str!("../artifacts/SspcCompact.abi.json");
/// The creation code without constructor arguments, hex.
pub const CREATION_CODE_HEX: &str = include_str!("../artifacts/SspcCompact.hex");

mod typed {
    #![allow(missing_docs)]
    alloy_sol_types::sol! {
        /// Balances of a round, signed by the party that pays. The parties are named because a counted id may change hands when a chain
        /// reorganises.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct State { uint64 channel; address a; address b; uint128 balanceA; uint128 balanceB; uint48 round; }
        /// Final balances, signed to close together.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct Close { uint64 channel; address a; address b; uint128 balanceA; uint128 balanceB; }
    }
}
pub use typed::{Close, State};

/// What a deployment sends: the code with the bounds of a channel's period, in seconds.
pub fn creation_code(shortest_period: u32, longest_period: u32) -> Vec<u8> {
    crate::creation_code(CREATION_CODE_HEX, shortest_period, longest_period)
}

/// The first argument of `open` (token index 0) and of `openToken`.
pub fn pack_terms(token_index: u32, period: u32, b: Address) -> U256 {
    U256::from(token_index) << 192 | U256::from(period) << 160 | U256::from_be_slice(b.as_slice())
}

/// The second argument of `openToken`.
pub fn pack_values(value_a: u128, value_b: u128) -> U256 {
    U256::from(value_a) << 128 | U256::from(value_b)
}

/// The first argument of `cooperativeClose`, and of an item of `closeMany`.
pub fn pack_close(id: u64, balance_a: u128) -> U256 {
    U256::from(id) << 128 | U256::from(balance_a)
}

/// The first argument of `challenge`, `disputeChallenge` and `disputeFor`.
///
/// # Panics
/// Where the round is above [`LAST_ROUND`](crate::LAST_ROUND), as a `uint48` of the other contract's calls does.
pub fn pack_state(id: u64, round: u64, balance_a: u128) -> U256 {
    assert!(round <= crate::LAST_ROUND, "no state has the round {round}");
    U256::from(id) << 176 | U256::from(round) << 128 | U256::from(balance_a)
}
