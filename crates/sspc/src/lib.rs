#![doc = include_str!("../README.md")]
//!
//! # Inside
//!
//! The core ([`Record::step`], [`Signable`], [`Envelope`]) is pure: no I/O, no clock, no randomness, no async.
//!
//! Invariants:
//! - what leaves a party (a signature to the peer, a transaction to the chain) was kept durably before;
//! - each round has one signer; a party never signs two states of one round, and nothing after it has signed a close or submitted a way out;
//! - own balance = own deposit - paid + received; it falls by own payments only, and a party that is online once per period ends with at
//!   least that, whatever the peer does;
//! - a state or close enters the machine only as [`Proven`]: with a signature that the contract will take;
//! - bytes of a peer, a disk or a node are hostile: bounded, total parsers. The node is believed about the chain, and about fees within
//!   [`FeeLimits`];
//! - all transactions of one call have one number: at most one of them gets into a block, and each is watched.

mod amount;
#[cfg(feature = "client")]
mod chain;
#[cfg(feature = "client")]
mod channel;
mod codec;
mod fees;
#[cfg(feature = "client")]
mod link;
mod message;
mod params;
mod record;
#[cfg(feature = "client")]
mod session;
mod signature;
#[cfg(feature = "client")]
mod signer;
#[cfg(feature = "revm")]
mod stage;
mod step;
#[cfg(feature = "client")]
mod store;
mod typed;

pub use alloy_primitives::{Address, B256};
pub use amount::{Amount, Party, Round};
pub use codec::{MAX_MESSAGE_BYTES, MAX_REASON_BYTES, MAX_RECORD_BYTES, Malformed};
pub use fees::{Bid, FeeLimits, TooDear, Urgency};
pub use message::{Envelope, Message};
pub use params::{BadParams, ChannelId, MAX_PERIOD, MIN_PERIOD, Params, Place, Variant};
pub use record::{
    Call, Closing, MAX_RAISES, MAX_REQUESTS, PaidRequest, Pending, Phase, Prepared, Record, RequestId, SignedClose, SignedState,
    channel_key,
};
pub use signature::{BadKey, LocalKey, SIGNATURE_BYTES, Signature, Verifier};
pub use step::{Effect, HALF_OF_ROUNDS, Input, MAX_ROUND_JUMP, MAX_UNREACHED_ROUNDS, OnChain, Proven, Refusal, Risk};
pub use typed::{Balances, Payload, Signable, State, StreamProof};

#[cfg(feature = "client")]
pub use chain::{Chain, ChainError, Head, Lane, Log, Receipt, Request, Target, deploy, deploy_code};
#[cfg(feature = "alloy")]
pub use chain::{Rpc, RpcChain};
#[cfg(feature = "revm")]
pub use chain::{SimulatedChain, Simulation};
#[cfg(feature = "client")]
pub use channel::{Channel, Errand, Error, Goal, Lookout, Metadata, NewChannel, Received, Settings, Tools, View};
#[cfg(feature = "client")]
pub use link::{Incoming, Link, LinkError, Outgoing, Stream};
#[cfg(feature = "client")]
pub use session::Identity;
#[cfg(feature = "client")]
pub use signer::{SignError, Signer};
#[cfg(feature = "revm")]
pub use stage::{Set, Stage};
#[cfg(feature = "postgres")]
pub use store::PostgresStore;
#[cfg(feature = "client")]
pub use store::{FileStore, MemoryStore, Store, StoreError};
