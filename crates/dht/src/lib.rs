//! The DHT of the TON network (network 5): small records, mostly signed by their owners, kept by the nodes nearest to their keys.
//!
//! [`Client`] finds and stores over an [`adnl::Endpoint`]; [`Server`] is a node, and several of them find each other and form a network
//! ([`Server::join`]); [`Lookup`] is the search without network. Static nodes come from the network's configuration ([`static_nodes`]).
//!
//! What it is not: a node that hands values on, a cache, a refresh timer (whoever publishes stores again).
//!
//! Invariants
//! - A value is stored and believed only as its update rule wants it: with both signatures of its owner, of which the longer-lived wins; from
//!   anybody under a key that is no key pair, the newest; or as a list of an overlay's nodes, each with its signature, which are merged.
//! - A node is believed only with its own signature.
//! - Values, nodes and candidates are bounded; whoever asks is never named to itself.

mod client;
mod config;
mod lookup;
mod member;
mod node;
mod overlay;
mod query;
mod server;
mod value;

pub use client::{ADDRESS, Client, Error, PAYMENT_NODE, PaymentNode, address_value};
pub use config::{dht_section, static_nodes};
pub use lookup::{K, Lookup};
pub use node::{Node, Nodes, distance};
pub use overlay::{OverlayNode, OverlayNodes};
pub use query::{Answer, Query};
pub use server::Server;
pub use value::{Key, KeyDescription, KeyId, MAX_INDEX, MAX_NAME, MAX_VALUE, OVERLAY_NODES, Owner, Value};
