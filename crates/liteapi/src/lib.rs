//! LiteAPI over ADNL-TCP (network 6): the objects, the framing of both sides, and a client that checks what servers say.
//!
//! What it is not: a light client that follows validators' signatures. The newest masterchain block is a server's word; everything
//! below it is checked against it by hashes and Merkle proofs ("fast" policy, network 6.4).
//!
//! Invariants
//! - Bytes of a server or client are bounded, parsed totally and never trusted: what fails its check is an error of that server, and
//!   the [`Client`] asks another one.
//! - A query has a time limit; a connection that is silent for too long is closed; nothing waits for ever.

mod check;
mod client;
mod connection;
mod field;
mod global_config;
mod message;
mod methods;
mod partial;
mod server;
mod transport;
mod types;

pub use check::{Account, AccountTransaction, Block, check_account, check_block, check_header, check_shards, check_transactions};
pub use client::{Client, ClientOptions, ServerAddress};
pub use connection::{Connection, ConnectionOptions};
pub use methods::*;
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
