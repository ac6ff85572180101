//! RLDP: queries and answers of up to some megabytes over ADNL's custom messages (network 4), versions 1 and 2.
//!
//! [`Transfers`] is the protocol without socket, clock and tasks; [`Rldp`] runs it over an [`adnl::Endpoint`].
//!
//! What it is not: ordered, or a stream. A query is executed at most once per transfer; one that is repeated by its caller is
//! another query.
//!
//! Invariants
//! - Source symbols come first and are enough: the erasure code is used only for what was lost.
//! - A part is acknowledged when it is complete, and again for every late symbol. A query is reported once.
//! - Answer, confirmations and completions use the version of the message that they belong to.
//! - Memory follows what was received, never what was announced: 64 KiB for a message that nobody asked for, the caller's limit for
//!   an answer, and a bounded number of each.

mod fec;
mod incoming;
mod message;
mod outgoing;
mod service;
mod transfers;

pub use fec::{Encoder, Fec, RaptorQ};
pub use message::{Body, Message, PART, Packet, Receipt, SYMBOL, Symbol, TransferId, Version, symbols};
pub use service::{Error, IncomingQuery, Responder, Rldp};
pub use transfers::{Asker, Event, MAX_MESSAGE, MAX_UNEXPECTED, SendError, Transfers};
