//! Every private-key operation of a node, behind one trait, over typed objects only (design 4.1).
//!
//! Not here: when something may be signed or released. That is decided by `protocol` and ordered by the engine's commits. The virtual
//! and instruction keys of a payment are not the node's: the sender's engine makes them fresh.
//!
//! Invariants:
//! - no caller can have a hash of its own choice signed: each method builds what it signs from typed parts;
//! - two own bodies for one channel and seqno are signed only as one action and one settling increment ([`Guard`]);
//! - keys are on disk only encrypted, in memory only where they are wiped when dropped, and in no text that this crate makes;
//! - what this node last started with is on record, so that a database that is behind it can be refused ([`StartState`]).

mod files;
mod guard;
mod keystore;
mod local;
mod node_record;
mod sealing;
mod start_state;

use async_trait::async_trait;
use contract::{ChallengeToSign, CloseToSign, CommitToSign, InitToSign, SettleToSign, StartToSign};
use wire::State;

pub use guard::{Guard, Refusal, SignedBodies, Step};
pub use keystore::{KeySource, Keys, KeystoreError};
pub use local::LocalSigner;
pub use node_record::{NodeRecord, NodeRecordSignatures};
pub use sealing::{SealError, SealingKey};
pub use start_state::{StartState, StartStateError};

/// An Ed25519 signature.
pub type Signature = [u8; 64];

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The guard: signing this could make two bodies of one seqno agreed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The object cannot be written: an amount or a list is beyond its limit.
    #[error("the object to sign is not valid: {0}")]
    Invalid(String),
    /// The other key is not a point of the curve, or of small order.
    #[error("the other key shares no secret")]
    WeakKey,
    /// A remote signer does not answer. Nothing is known about what it signed.
    #[error("the signer does not answer: {0}")]
    Unavailable(String),
}

/// A signed contract message (payments 7.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContractMessage {
    /// Initialise.
    Init(InitToSign),
    /// Cooperative commit.
    Commit(CommitToSign),
    /// Cooperative close.
    Close(CloseToSign),
    /// Start of a forced closing.
    Start(StartToSign),
    /// Challenge.
    Challenge(ChallengeToSign),
    /// Settling of conditionals.
    Settle(SettleToSign),
}

/// What a shared secret is for. All are X25519 of the channel key with the other key; a signer may allow some and not others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SecretUse {
    /// Reading our own instruction: the other key is the action's instruction key (payments 5.3).
    OwnInstruction,
    /// Writing the last hop's instruction as a disclosed sender: the other key is the receiver's channel key (payments 5.2).
    LastHop,
    /// Reading an encrypted state: the other key is the virtual key (payments 5.8).
    EncryptedState,
}

/// The holder of the node's keys: in this process ([`LocalSigner`]) or elsewhere.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Public channel key: the node.
    fn channel_key(&self) -> [u8; 32];

    /// Public key of the wallet.
    fn wallet_key(&self) -> [u8; 32];

    /// Tells the guard what the database holds of these channels, read under the current epoch: at start, when a shard was taken over,
    /// and when a change was not committed. Each replaces what was known of its channel.
    ///
    /// # Errors
    /// The rows are older than what was signed since ([`Refusal::StaleRows`]); none is taken over then.
    async fn restore(&self, channels: Vec<SignedBodies>) -> Result<(), Error>;

    /// Signs an own state. `step` says what the body is; see [`Guard`] for what is refused.
    ///
    /// # Errors
    /// The guard refuses.
    async fn sign_state(&self, state: &State, step: Step) -> Result<Signature, Error>;

    /// Signs the authentication of a session: own ADNL id first (payments 2.2).
    ///
    /// # Errors
    /// The signer does not answer.
    async fn sign_authenticate(&self, own: &[u8; 32], peer: &[u8; 32], timestamp: i64) -> Result<Signature, Error>;

    /// Signs the node's DHT record (payments 2.1).
    ///
    /// # Errors
    /// The signer does not answer.
    async fn sign_node_record(&self, record: &NodeRecord) -> Result<NodeRecordSignatures, Error>;

    /// Signs a message to a channel contract.
    ///
    /// # Errors
    /// An amount is beyond 120 bits.
    async fn sign_contract(&self, message: &ContractMessage) -> Result<Signature, Error>;

    /// Signs an order of the wallet with this id.
    ///
    /// # Errors
    /// The order is empty, too long or holds an impossible amount.
    async fn sign_wallet_order(&self, wallet_id: i32, order: &wallet::Order) -> Result<Signature, Error>;

    /// The secret that the channel key shares with another key.
    ///
    /// # Errors
    /// [`Error::WeakKey`].
    async fn shared_secret(&self, purpose: SecretUse, other: &[u8; 32]) -> Result<[u8; 32], Error>;

    /// The key under which the private keys of virtual channels are kept in the database. Always the same for one channel key.
    ///
    /// # Errors
    /// The signer does not answer.
    async fn sealing_key(&self) -> Result<SealingKey, Error>;
}
