//! What a node decides. Pure: no I/O, clock, randomness, database or keys (design 2).
//!
//! Two layers, both `step(event) -> writes and effects`:
//! - [`Channel`]: the pair of signed states, proposals and answers, the lock, closing with the peer or alone;
//! - [`Leg`]: one side of a virtual channel. Legs of one virtual channel talk by [`Task`]s, never by shared state.
//!
//! A step changes the value in memory and says what to write and what to do. The caller commits the writes, all or nothing, and only then
//! lets the effects out; when the commit fails the value in memory is thrown away and loaded again. States and messages in effects are
//! unsigned: the caller's signer signs them on release.
//!
//! Invariants (design 4; docs/INVARIANTS.md names the tests)
//! - at most two own bodies per seqno, the second one only the settling increment ([`channel`]);
//! - a pending proposal ends only by evidence: a state validly signed by the peer over one of our bodies;
//! - seqno and sent never go down; every change of `sent` is what a leg owes, to the nano;
//! - nothing is let out before its writes.
//!
//! What it is not: transport, storage, time, keys. What the simulator cannot drive is in the wrong place.

pub mod channel;
pub mod envelope;
mod leg;
pub mod opening;
mod policy;
pub mod route;
mod step;

pub use channel::{Channel, ChannelRow, LoadError, Onchain, Pending, Quarantined, Status, Withdrawal, Work};
pub use leg::{Direction, Half, Leg, LegState, Next};
pub use policy::{Policy, Timing};
pub use step::{
    Alarm, Answer, Attempt, BUSY, CallFailed, CallId, ChainUpdate, Change, Effect, Env, Event, NewTask, OpenLeg, Order,
    OrderMessage, Origin, Outcome, Outgoing, Proposal, ReplyId, RequestResult, Response, Side, SignedBody, Step, Task, Write,
};

/// A channel key, virtual key or any other Ed25519 public key.
pub type Key = [u8; 32];
/// A channel's address in workchain 0.
pub type Address = [u8; 32];
