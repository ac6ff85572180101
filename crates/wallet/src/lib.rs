//! The V5R1 wallet contract of the public network: its address and state init from a public key, the body to sign for up to 255 out
//! messages, and the signed external message.
//!
//! What it is not: a key store or a sender. It makes cells; who signs ([`Order::signing_hash`]) and who sends is the caller's affair.
//!
//! Invariants
//! - The same [`Order`] gives the same bytes, so that a signed message can be stored before it is sent and sent again unchanged.
//! - An order is executed at most once: it names the wallet's seqno and a last second of validity.

mod order;
mod transfer;
mod wallet;

pub use order::{MAX_TRANSFERS, Order};
pub use transfer::Transfer;
pub use wallet::{Wallet, wallet_id};

/// Why a wallet message could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cell could not be built.
    #[error("cell: {0}")]
    Cell(#[from] tycho_types::error::Error),
    /// The bundled wallet code could not be read.
    #[error("wallet code: {0}")]
    Code(String),
    /// An order has 1 to [`MAX_TRANSFERS`] transfers.
    #[error("{0} transfers in one order, 1 to {MAX_TRANSFERS} are allowed")]
    Transfers(usize),
}
