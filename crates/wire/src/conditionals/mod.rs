//! Conditionals: the promise of one hop, the dictionary of them that a state commits to, and proofs about it
//! (payments 3.4, 3.5, 4.4, 7.6.5).

mod condition;
mod dictionary;
mod proof;
mod settle;
mod tree;

pub use condition::{Condition, STATIC_CODE_HASH};
pub use dictionary::{Conditionals, Occupied};
pub use proof::{LookupError, ProofError, UpdateProof};
pub use settle::{MAX_SETTLED, SettleError, Settlement, read_resolutions, resolutions_cell};
