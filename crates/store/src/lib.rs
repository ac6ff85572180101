//! Everything that a node keeps in Postgres (design 3 to 5): one database per node, schemas `engine`, `chain`, `route` and `gateway`.
//!
//! - [`Committer`] applies what the steps of channel actors write: the fenced commit;
//! - [`lease`]: which engine owns which shard;
//! - [`engine`]: loading, tasks, commands, dictionaries of old states, the cluster's identity, the audit;
//! - [`chain`], [`route`], [`gateway`]: the rows of the other services.
//!
//! Invariants (design 4; docs/INVARIANTS.md names the tests)
//! - a commit under an epoch that is not current changes nothing, in any table;
//! - changes of one batch have verdicts of their own: one that fails never fails its neighbours;
//! - [`Verdict::Applied`] is said only of what is durable, and a batch is applied once, however often its answer got lost;
//! - two agreed bodies at one seqno, or a third body, cannot be written; seqno and sent cannot go down;
//! - a task is applied once, a command is carried out once.
//!
//! What it is not: it decides nothing about money (crate `protocol`), and holds no keys.

pub mod chain;
mod codec;
mod commit;
pub mod engine;
mod error;
pub mod gateway;
pub mod lease;
mod migrate;
mod pool;
pub mod route;
mod value;

pub use commit::{Batches, Change, Committer, Fence, MAX_BATCH, Verdict};
pub use error::Error;
pub use lease::shard_of;
pub use migrate::migrate;
pub use pool::{Database, Pool};
