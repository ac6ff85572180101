//! `causeway-sspc`: two-party payment channels on EVM chains; a demonstration, a bench, a peer for the command line, and the service.
//!
//! Everything about money is in `sspc`. Here is wiring: many channels of one party ([`Node`]), streams to peers, the guard, gRPC.
//!
//! Invariants:
//! - a channel is worked on by one at a time, and what it has to say leaves after the record is kept;
//! - the guard looks at each channel that is not over, whatever peers do;
//! - a channel's messages go over streams whose other end has proven to be the other party; a stream that misbehaves is ended.

mod accept;
mod api;
pub mod bench;
pub mod connect;
pub mod demo;
mod metrics;
mod node;
pub mod peer;
pub mod serve;
mod streams;

pub use accept::{Limit, Policy};
pub use api::Api;
pub use metrics::Watched;
pub use node::Node;
