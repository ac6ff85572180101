//! `causeway-sspc`: two-party payment channels on EVM chains; a demonstration, a bench, a peer for the command line, and the service.
//!
//! Everything about money is in `sspc`. Here is wiring: many channels of one party ([`Node`]), streams to peers, the guard, gRPC.
//!
//! Invariants:
//! - a channel is worked on by one at a time, and what it has to say leaves after the record is kept;
//! - the guard looks at each channel that is not over, whatever peers do;
//! - a stream that misbehaves is ended; it cannot change whom another channel belongs to, since what counts is signed.

mod accept;
mod api;
pub mod bench;
pub mod connect;
pub mod demo;
mod node;
pub mod peer;
pub mod serve;
mod streams;

pub use accept::{Limit, Policy};
pub use api::Api;
pub use node::Node;
