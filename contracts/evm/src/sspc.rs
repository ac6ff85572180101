//! `Sspc`: one storage word per channel, the parameters in calldata.

use alloy_primitives::{B256, keccak256};
use alloy_sol_types::SolValue as _;

pub use crate::bindings::Sspc::{Item, Params};

/// The ABI, JSON.
pub const ABI_JSON: &str = include_str!("../artifacts/Sspc.abi.json");
/// The creation code without constructor arguments, hex.
pub const CREATION_CODE_HEX: &str = include_str!("../artifacts/Sspc.hex");

mod typed {
    #![allow(missing_docs)]
    alloy_sol_types::sol! {
        /// Balances of a round, signed by the party that pays.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct State { bytes32 channel; uint128 balanceA; uint128 balanceB; uint48 round; }
        /// Final balances, signed to close together.
        #[derive(Debug, Default, PartialEq, Eq)]
        struct Close { bytes32 channel; uint128 balanceA; uint128 balanceB; }
    }
}
pub use typed::{Close, State};

/// What a deployment sends: the code with the bounds of a channel's period, in seconds.
pub fn creation_code(shortest_period: u32, longest_period: u32) -> Vec<u8> {
    crate::creation_code(CREATION_CODE_HEX, shortest_period, longest_period)
}

/// The id of the channel with these parameters.
pub fn channel_id(params: &Params) -> B256 {
    keccak256(params.abi_encode())
}
