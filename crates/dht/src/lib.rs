//! The DHT of the TON network (network 5): small records, signed by their owners, kept by the nodes nearest to their keys.
//!
//! [`Client`] finds and stores over an [`adnl::Endpoint`]; [`Server`] is a node, and several of them find each other and form a network
//! ([`Server::join`]); [`Lookup`] is the search without network. Static nodes come from the network's configuration ([`static_nodes`]).
//!
//! What it is not: a node that hands values on, a cache, a refresh timer (whoever publishes stores again).
//!
//! Invariants
//! - A value is stored and believed only with both signatures of its owner, a node only with its own.
//! - The only update rule is the owner's signature: of two values the longer-lived wins.
//! - Values, nodes and candidates are bounded; whoever asks is never named to itself.

mod client;
mod config;
mod lookup;
mod member;
mod node;
mod query;
mod server;
mod value;

pub use client::{ADDRESS, Client, Error, PAYMENT_NODE, PaymentNode, address_value};
pub use config::{dht_section, static_nodes};
pub use lookup::{K, Lookup};
pub use node::{Node, Nodes, distance};
pub use query::{Answer, Query};
pub use server::Server;
pub use value::{Key, KeyDescription, KeyId, MAX_INDEX, MAX_NAME, MAX_VALUE, Value};
