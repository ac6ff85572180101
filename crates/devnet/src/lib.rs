//! An embedded TON chain in one process: transactions run in the real TVM, blocks and states are real TL-B with real hashes, served
//! as any lite server does (design 7).
//!
//! What it is not: a validator. There is one shard, no consensus and no signatures; the masterchain has no accounts of its own, and
//! value sent there is burnt and counted.
//!
//! Invariants
//! - All money is accounted for: minted = balances + in transit + fees + burnt, to the nano ([`chain::Totals`]); a transaction that
//!   breaks it is an error.
//! - The same inputs give the same transactions, blocks and hashes.

pub mod chain;
