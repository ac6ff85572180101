//! The peer gateway: the service that owns UDP (design 3). It keeps sessions with the peers of a node over ADNL and RLDP, finds peers, is
//! found in the DHT, authenticates both ways, and passes queries between peers and the node's engines.
//!
//! What it is not: it reads no message about money, and keeps no money state and no channel key. Signatures of the channel key come from
//! engines, as typed requests.
//!
//! Invariants
//! - A peer is who proved its channel key on its ADNL connection; whoever was looked for must have the key that was looked for. The newest
//!   session of a key wins.
//! - Without a session a peer is heard with `ping`, `authenticate` and `proposeChannelConfig` only.
//! - What an engine sends under an epoch below the highest seen for the shard does not go out.
//! - A query goes to the engine that owns the peer's shard, or nowhere. An answer whose asker is gone goes nowhere.
//! - One process per ADNL key; its epoch is stored, and above all earlier ones, before it is used.
//! - Queues, unanswered queries and what one peer may ask (rate, number, bytes) are bounded. Peers wait for an engine in turns: whoever asks
//!   much waits for himself.

mod authenticate;
mod calls;
mod config;
mod connect;
mod dht_node;
mod directory;
mod engine_link;
mod fair;
mod gateway;
mod hub;
mod identity;
mod incoming;
mod journal;
mod keeper;
mod key_file;
mod limits;
mod metrics;
mod outgoing;
mod publish;
mod records;
mod run;
mod service;
mod sessions;
mod shards;

pub use config::{Config, DatabaseConfig, DhtConfig, Hex32, StaticPeer};
pub use key_file::{KeyFileError, load_or_create};
pub use run::{Error, Listener, dht_section, run};

/// A public channel key.
type Key = [u8; 32];

/// Our locks are held in short sections that leave what they guard whole at every point, so one that was poisoned is still good.
fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
