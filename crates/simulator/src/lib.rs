//! Whole networks of nodes in one deterministic process, with faults: what drives `protocol` here is what drives it in the engine service,
//! with a simulated clock, network, database and chain around it (design 8).
//!
//! A run is decided by one seed: topology, engines, faults, actions, the hostile node if there is one. After every commit, signature and
//! transaction the invariants of design 4 are checked (`check`); at the end the faults stop, time passes, and everything must have come to
//! rest with every nano in its place. [`Mutation`]s break the shell on purpose: a run must notice.
//!
//! One assumption: a node whose engines are all dead for longer than `faults::ABSENCE_MS`, or twice within the time that closing on the chain
//! takes, may lose coins, for what it must enforce, challenge or settle has a deadline. Everybody else may not, whatever became of it.
//!
//! What it is not: a model. Messages are the real bytes, signatures are real, states and dictionaries are real cells, the chain applies
//! the live contract's rules (payments 7.5, 7.6). Gas is not modelled: a transaction costs a constant.
//!
//! Invariants of the simulator itself: no clock, no operating system randomness, nothing that depends on the order of a hash map. The same
//! seed gives the same run.

mod actions;
mod chain;
mod check;
mod coverage;
mod engine;
mod faults;
mod gateway;
mod hostile;
mod indexer;
mod process;
mod rng;
mod run;
mod scenario;
mod store;
mod world;

pub use coverage::Coverage;
pub use run::{Options, Report, run};
pub use scenario::{ScenarioError, run_scenario};

/// What every set of runs must have seen, but for refusals.
pub use run::{REQUIRED_PATHS, REQUIRED_REFUSALS};

/// A defect put into the shell on purpose: runs must fail with it (design 8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutation {
    /// The database does not check epochs: a former owner's changes are applied.
    FenceOff,
    /// Effects are let out before their writes are committed.
    ReleaseBeforeCommit,
    /// Pending proposals and their bodies are not stored.
    WriteAheadOff,
    /// A refusal is taken for definite: the next action uses the seqno again.
    RefusalIsDefinite,
}
