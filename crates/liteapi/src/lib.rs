//! LiteAPI over ADNL-TCP (network 6): the objects, the framing of both sides, and a client that checks what servers say.
//!
//! The [`Client`] has a pool of servers. It asks the best first (there, not behind the others, fast), another one when the answer does
//! not come or does not hold, and leaves alone for a while those that are silent or lied ([`ServerHealth`]).
//!
//! What is believed ([`Policy`], network 6.4): what is below a masterchain block is checked against it by hashes and Merkle proofs in any
//! case. The masterchain block itself is believed when several servers name it (fast), or when validators signed it, whose keys follow
//! from a trusted block by proofs alone (secure).
//!
//! What it is not: a light client that keeps what it has proven; it begins anew from the trusted block.
//!
//! Invariants
//! - Bytes of a server or client are bounded, parsed totally and never trusted: what fails its check is an error of that server, and
//!   the [`Client`] asks another one.
//! - No single server's word makes a newest block (unless it is the only one, and the policy fast), and the newest never goes back.
//! - A query has a time limit; a connection that is silent for too long is closed; nothing waits for ever.

mod block_proof;
mod block_transactions;
mod check;
mod client;
mod connection;
mod field;
mod global_config;
mod head;
mod links;
mod message;
mod methods;
mod partial;
mod pool;
mod server;
mod transport;
mod types;

pub use block_proof::{Proven, check_block_proof};
pub use block_transactions::{
    Listed, ListedTransaction, check_block_transactions, check_block_transactions_ext, check_transaction,
};
pub use check::{
    Account, AccountTransaction, Block, check_account, check_block, check_config, check_header, check_libraries, check_lookup,
    check_pruned_account, check_run, check_shard, check_shards, check_transactions,
};
pub use client::{Client, ClientOptions, Policy};
pub use connection::{Connection, ConnectionOptions};
pub use global_config::init_block_of_global_config;
pub use links::{BlockLink, GetBlockProof, LinkBack, LinkForward, PartialBlockProof, Signature, SignatureSet, SignedCandidate};
pub use methods::*;
pub use pool::{ServerAddress, ServerHealth};
pub use server::{Handler, serve};
pub use types::*;

/// Error codes of lite servers (network 6.3).
pub mod code {
    /// The arguments make no sense, or the state is not kept any more.
    pub const BAD_REQUEST: i32 = -400;
    /// No account, no transaction.
    pub const NOT_FOUND: i32 = 0;
    /// No such block.
    pub const BLOCK_NOT_FOUND: i32 = 651;
    /// The block waited for did not come in time.
    pub const TIMEOUT: i32 = 652;
    /// Not ready.
    pub const NOT_READY: i32 = -503;
    /// Too busy.
    pub const OVERLOADED: i32 = 502;
}

/// Why a lite server gave no (believable) answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network.
    #[error("network: {0}")]
    Io(#[from] std::io::Error),
    /// A key that cannot be used.
    #[error("key: {0}")]
    Key(#[from] adnl::keys::KeyError),
    /// The handshake was refused.
    #[error("handshake: {0}")]
    Handshake(&'static str),
    /// A broken frame. The connection is closed.
    #[error("frame: {0}")]
    Frame(&'static str),
    /// Bytes that are not the TL object they should be.
    #[error("TL: {0}")]
    Tl(#[from] tl::Error),
    /// Bytes that are no bag of cells.
    #[error("bag of cells: {0}")]
    Boc(#[from] tycho_types::boc::de::Error),
    /// Cells that are not what they should be.
    #[error("cell: {0}")]
    Cell(#[from] tycho_types::error::Error),
    /// The connection is gone.
    #[error("connection closed")]
    Closed,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// The server's own error.
    #[error("server error {}: {}", .0.code, .0.message)]
    Server(ServerError),
    /// The answer contradicts itself or what was asked.
    #[error("unproven: {0}")]
    Unproven(&'static str),
    /// Servers name different blocks for one seqno, and none of them has the majority.
    #[error("lite servers contradict each other about masterchain block {0}")]
    Contradiction(u32),
    /// Fewer servers than [`ClientOptions::agreement`] know the block.
    #[error("too few lite servers know block {0}")]
    Unconfirmed(u32),
    /// No server was given.
    #[error("no lite server configured")]
    NoServer,
}

impl Error {
    /// The server's error code, if it is one.
    pub fn server_code(&self) -> Option<i32> {
        match self {
            Self::Server(error) => Some(error.code),
            _ => None,
        }
    }
}
