//! An embedded TON chain in one process: transactions run in the real TVM, blocks and states are real TL-B with real hashes, served
//! as any lite server does (design 7).
//!
//! Three layers, each usable alone: [`chain`] executes messages on accounts (contract tests need no more), [`ledger`] seals blocks
//! with states and proofs, [`Devnet`] runs a ledger with a clock, a mempool and a log, and [`serve`] puts it on the network.
//!
//! What it is not: a validator. There is one shard and no consensus: one key, known to everybody, signs the masterchain blocks, so that clients
//! which check signatures can be tested; the masterchain has no accounts of its own, and
//! value sent there is burnt and counted.
//!
//! Invariants
//! - All money is accounted for: minted = balances + in transit + fees + burnt, to the nano ([`chain::Totals`]); a transaction or a
//!   block that breaks it is an error.
//! - The same inputs give the same transactions, blocks and hashes; the log holds inputs, and a replay is checked by hash.
//! - No block is seen by anybody before its input is in the log.

pub mod chain;
mod control;
mod global_config;
pub mod ledger;
mod log;
mod node;
mod serve;
mod server;

pub use global_config::global_config;
pub use log::LogError;
pub use node::{Devnet, Error, Status};
pub use serve::{ServeOptions, Served, serve};
