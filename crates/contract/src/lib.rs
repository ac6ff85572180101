//! The channel contract on TON as a node sees it: storage, address, messages, what is signed, get-methods (payments 7).
//!
//! What it is not: the contract's code (the package in `contracts/ton`, or a live account), its execution (crate `devnet`), or the decision
//! when to send what (crate `protocol`).
//!
//! Invariants
//! - A contract kind is a value, a [`CodeKind`]: nothing here depends on which code it is.
//! - Reading is total: any cell gives a value or a [`CellError`](ton::CellError).
//! - Only typed parts are signed ([`ToSign`]); their bits and references are exactly what follows the signature in the message.
//! - Amounts are nano of the channel's coin, at most 120 bits. Writing a larger one panics: it cannot come from reading, and who adds checks.

mod code;
mod config;
pub mod constants;
mod get_methods;
mod message;
mod outgoing;
mod side;
mod storage;
mod to_sign;

pub mod exit;

pub use code::{CodeKind, KnownCodes, VerifyError, verify_account};
pub use config::{Closing, Currency, OpenConfig, Payment, channel_id};
pub use get_methods::{ChannelData, GET_CHANNEL_DATA, GET_CHANNEL_STATE};
pub use message::{JettonNotification, Message, WalletAddress, op};
pub use outgoing::Outgoing;
pub use side::{Pair, Side};
pub use storage::{Balance, Quarantine, Status, Storage};
pub use to_sign::{ChallengeToSign, CloseToSign, CommitToSign, InitToSign, SettleToSign, StartToSign, ToSign};

/// Builds a cell from a layout that fits by design; only an amount above 120 bits does not.
fn build(write: impl FnOnce(&mut ton::CellBuilder) -> Result<(), ton::CellError>) -> ton::Cell {
    let mut b = ton::CellBuilder::new();
    write(&mut b).and_then(|()| b.build()).expect("amounts stay within 120 bits")
}
