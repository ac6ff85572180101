//! The route planner: finds chains of channels through the public graph, with fees, deadlines, capacities and what attempts taught
//! (design 3). The graph is what the chain indexer recorded; the terms of the nodes between are asked of them through a peer gateway and
//! kept; fees and deadlines are laid by `protocol::route` (payments 5.2, 5.4, 5.5).
//!
//! What it is not: it moves no money and promises nothing. Balances off the chain are nobody's to see, so a route is a guess that each node
//! on it checks for itself.
//!
//! Invariants
//! - a route has no loop, no excluded node, no more hops than allowed, and ends at the receiver;
//! - each node between is paid what its terms ask, to the nano, and no route that is as likely to work is cheaper (module `search`);
//! - a channel to the receiver itself needs nobody's terms;
//! - a node that gives no answer is not asked again before its time.

mod config;
mod graph;
mod metrics;
mod planner;
mod refresh;
mod run;
mod search;
mod service;
mod terms;

pub use config::{Config, DatabaseConfig, TimingConfig};
pub use run::{Error, Listener, run};

/// Our locks are held in short sections that leave what they guard whole at every point, so one that was poisoned is still good.
fn lock<T: ?Sized>(mutex: &std::sync::Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
