//! The payment protocol on the wire: every message, signed state, conditional, proof, resolution and instruction, byte for byte
//! (payments 1.2–1.3, 2.2, 3, 4.4, 5.2–5.3, 5.8), and the fee arithmetic that both ends must agree on (payments 5.5.6, 6.5).
//!
//! What it is not: the protocol's decisions (crate `protocol`), the channel contract (crate `contract`), transport. It has no clock, no
//! runtime, no database and no source of randomness: random bytes come from the caller.
//!
//! Invariants
//! - Every reader is total and bounded: any bytes give a value or an error; nothing panics or allocates by a claimed length.
//! - Amounts stay within 120 bits ([`ton::MAX_COINS`]) and are minimal on the wire (payments 10.2.5).
//! - What is written is canonical. A [`State`] that was read has the hash of the cell that it was read from.
//! - A signature is never accepted without being checked: 64 zero bytes are not a signature (payments 3.7, 10.1.3).
//! - [`Conditionals`] is immutable underneath: a clone is cheap and unaffected by later changes; one change costs O(log n).

pub mod authenticate;
pub mod conditionals;
pub mod crypt;
pub mod fees;
pub mod instruction;
pub mod message;
pub mod resolution;
pub mod state;

pub use conditionals::{Condition, Conditionals, UpdateProof};
pub use instruction::Instruction;
pub use message::{Action, Answer, InstructionContainer, Request};
pub use resolution::Resolution;
pub use state::{Body, SignedState, State};
