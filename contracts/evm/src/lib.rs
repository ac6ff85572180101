//! Our payment channel contracts for EVM chains: Solidity sources next to this file, the compiled code that is committed in `artifacts/`, and
//! what a program needs to talk to them: calls, events, errors and the typed data that parties sign.
//!
//! [`sspc`] keeps one storage word per channel and takes the parameters in calldata: the default everywhere. [`compact`] keeps the parameters
//! and takes at most 100 bytes of calldata, for chains where calldata is dear. The rules are the same (SPECIFICATION.md).
//!
//! What it is not: a client. It knows no keys, no chain and no channel's state. Node is needed only by those who change the contracts
//! (`contracts/rebuild`).
//!
//! Invariants
//! - The committed artifacts are what the sources compile to with the pinned compiler.
//! - A digest made here is the digest the contract checks (`tests/channel/digests.rs`).

mod bindings;
pub mod compact;
mod signature;
pub mod sspc;

pub use bindings::{Sspc, SspcCompact};
pub use signature::{CompactSignature, HIGHEST_S, domain};

/// The round of the opening balances; it needs no signature.
pub const FIRST_ROUND: u64 = 0;
/// The highest round a state can have.
pub const LAST_ROUND: u64 = (1 << 48) - 1;
/// How the contracts name the chain's own coin where a token is asked for.
pub const NATIVE: alloy_primitives::Address = alloy_primitives::Address::ZERO;
/// Which compiler made the artifacts, and with what settings: JSON.
pub const COMPILER_JSON: &str = include_str!("../artifacts/compiler.json");

/// What is on record of a channel, as the numbers of both contracts say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Never opened; in the compact contract also: closed.
    None,
    /// a made its deposit, b did not yet.
    Proposed,
    /// Payments flow.
    Open,
    /// a closes alone.
    ClosingByA,
    /// b closes alone.
    ClosingByB,
    /// Paid out, or cancelled.
    Closed,
}

impl Phase {
    /// The phase with this number, if there is one.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::None,
            1 => Self::Proposed,
            2 => Self::Open,
            3 => Self::ClosingByA,
            4 => Self::ClosingByB,
            5 => Self::Closed,
            _ => return None,
        })
    }
}

fn creation_code(hex: &str, shortest_period: u32, longest_period: u32) -> Vec<u8> {
    use alloy_sol_types::SolValue as _;
    let mut code = alloy_primitives::hex::decode(hex.trim()).expect("committed hex");
    code.extend((shortest_period, longest_period).abi_encode());
    code
}
