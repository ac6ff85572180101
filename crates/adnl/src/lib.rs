//! ADNL over UDP, the datagram layer of the TON network (network 2, 3): authenticated, encrypted packets between nodes that are
//! named by their keys, and on them queries with answers and one-way messages of up to 8 KiB.
//!
//! [`Node`] is the protocol without socket, clock and tasks; [`Endpoint`] runs one on a UDP socket. [`keys`] and [`cipher`] serve
//! ADNL over TCP too.
//!
//! What it is not: reliable transport of large messages (`rldp`), discovery (`dht`), storage. What must survive a restart is
//! reported ([`PeerRecord`], and the epoch that the caller keeps, see [`next_epoch`]).
//!
//! Invariants
//! - A peer is who signed: every root packet's signature is checked before it has any effect, whatever key encrypted it.
//! - A datagram has its effects once, a query is reported once; its answer is repeated for every copy.
//! - Our epoch and the channel dates given to one peer only rise, across restarts too.
//! - Anything received is bounded: peers, queued and unanswered messages, answers kept, messages under reassembly, and the root
//!   packets opened, per source address and in all.
//! - Datagrams have at most 1440 bytes.

pub mod cipher;
pub mod keys;

mod address;
mod admission;
mod answers;
mod channel;
mod common;
mod endpoint;
mod message;
mod node;
mod outbox;
mod packet;
mod parts;
mod peer;
mod recent;
mod replay;
mod send;
mod socket;
mod time;

pub use crate::common::{Event, PeerRecord, Stats};
pub use address::AddressList;
pub use channel::{Direction, derive as derive_channel};
pub use endpoint::{Config, Custom, Endpoint, Incoming, IncomingQuery, Notice, QueryError, Responder, end_queue};
pub use message::{Message, QueryId};
pub use node::{MAX_PAYLOAD, Node, SendError};
pub use outbox::{Outbox, Run};
pub use packet::{Dates, Packet};
pub use recent::Recent;
pub use send::MAX_DATAGRAM;
pub use time::Now;

/// The epoch of a new run: larger than the last one, and the time if that is larger. The caller stores it before it is used
/// (network 3.6: a peer ignores a node whose epoch did not rise). Peers refuse one more than 60 s ahead of their clocks.
///
/// Because channel dates of a run start above its epoch, a strictly rising epoch is enough to keep them rising too when the last
/// dates were lost in a crash.
pub fn next_epoch(last: u32, unix: u32) -> u32 {
    unix.max(last.saturating_add(1))
}
