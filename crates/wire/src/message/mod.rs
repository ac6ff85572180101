//! Every TL type of payments 1.3. The registered strings give the ids; the struct gives the layout, which differs in places.

mod action;
pub(crate) mod codec;

use tl::{Error, Object, Reader, Writer};
use ton::Cell;

pub use action::{
    Action, CloseVirtual, CommitVirtual, ConfirmClose, CooperativeClose, CooperativeCommit, IncrementStates, OpenVirtual,
    RemoveVirtual, RentCapacity, RequestRemoveVirtual,
};
use codec::{choice, object};

/// The protocol version that we speak and announce as `nodeVersion`.
pub const NODE_VERSION: u32 = 2;
/// The longest message that we read: what a peer takes as a query (payments 1.1).
pub const MAX_MESSAGE_BYTES: usize = 65_536;
/// The longest cell inside a message.
pub const MAX_CELL_BYTES: usize = 60_000;
/// The most instruction containers that we take (payments 10.2.10).
pub const MAX_INSTRUCTIONS: usize = 64;
/// The longest instruction container; real ones stay below 900 bytes (payments 5.3).
pub const MAX_CONTAINER_BYTES: usize = 2_048;
/// The longest reason text that we read.
pub const MAX_REASON_BYTES: usize = 4_096;
/// The reason that means "try again", exactly this text (payments 4.2.5).
pub const BUSY: &str = "channel is busy";

object! {
    /// Keeps a connection alive.
    Ping = "payments.ping value:long = payments.Ping" {
        /// Anything; comes back in [`Pong`].
        value: i64,
    }
}
object! {
    /// The answer to [`Ping`].
    Pong = "payments.pong value:long = payments.Pong" {
        /// As asked.
        value: i64,
    }
}
object! {
    /// Proves a channel key, both as request and as answer (payments 2.2).
    Authenticate = "payments.authenticate key:int256 timestamp:long signature:bytes = payments.Authenticate" {
        /// The sender's channel key.
        key: [u8; 32],
        /// Unix seconds, the initiator's.
        timestamp: i64,
        /// Over [`authenticate::digest`](crate::authenticate::digest).
        signature: [u8; 64],
    }
}
object! {
    /// Never sent, only hashed (payments 2.2).
    AuthenticateToSign = "payments.authenticateToSign a:int256 b:int256 timestamp:long = payments.AuthenticateToSign" {
        /// The signer's ADNL id.
        a: [u8; 32],
        /// The other end's ADNL id.
        b: [u8; 32],
        /// Unix seconds.
        timestamp: i64,
    }
}
object! {
    /// The value of a node's DHT record `payment-node` (payments 2.1).
    NodeAddress = "payments.nodeAddress adnl_addr:int256 = payments.NodeAddress" {
        /// The ADNL id to look up next.
        adnl_addr: [u8; 32],
    }
}
object! {
    /// Asks for the terms of a channel to be opened (payments 7.8).
    ProposeChannelConfig = "payments.proposeChannelConfig jettonAddr:int256 ec_id:int excessFee:bytes quarantineDuration:int misbehaviorFine:bytes conditionalCloseDuration:int nodeVersion:int codeHash:int256 = payments.Request" {
        /// The jetton master's account id in the basechain; `None` when the coin is no jetton.
        jetton_addr: Option<[u8; 32]>,
        /// The extra currency; 0 when the coin is none.
        ec_id: u32,
        /// The contract's storage fee, nanoton.
        excess_fee: u128,
        /// Seconds.
        quarantine_duration: u32,
        /// Nano of the coin.
        misbehavior_fine: u128,
        /// Seconds.
        conditional_close_duration: u32,
        /// See [`NODE_VERSION`].
        node_version: u32,
        /// The contract's code.
        code_hash: [u8; 32],
    }
}
object! {
    /// The answer to [`ProposeChannelConfig`].
    ChannelConfig = "payments.channelConfig ok:Bool walletAddr:int256 reason:string proxyAllowed:bool proxyMinFee:bytes proxyMaxCap:bytes proxyPercentFeeFloat:long = payments.ChannelConfigDecision" {
        /// Whether the config is accepted.
        ok: bool,
        /// The responder's wallet in the basechain.
        wallet_addr: [u8; 32],
        /// Why not.
        reason: String,
        /// Whether the responder forwards virtual channels in this coin.
        proxy_allowed: bool,
        /// Its smallest fee, nano.
        proxy_min_fee: u128,
        /// The largest capacity plus fee that it forwards, nano.
        proxy_max_cap: u128,
        /// The bits of a double: see [`ChannelConfig::proxy_percent`].
        proxy_percent_fee_float: u64,
    }
}
object! {
    /// Opens a channel off-chain (payments 7.8).
    OpenChannelOffchain = "payments.openChannelOffchain codeHash:int256 openConfig:bytes nodeVersion:int = payments.OpenChannelOffchain" {
        /// The contract's code.
        code_hash: [u8; 32],
        /// The config's cell (payments 7.2).
        open_config: Cell,
        /// See [`NODE_VERSION`].
        node_version: u32,
    }
}
object! {
    /// The answer to [`OpenChannelOffchain`].
    OpenChannelOffchainResponse = "payments.openChannelOffchainResponse addr:int256 reason:string = payments.OpenChannelOffchainResponse" {
        /// The channel's account id in the basechain.
        addr: [u8; 32],
        /// Empty is success.
        reason: String,
    }
}
object! {
    /// Takes or releases the channel lock; right side to left (payments 4.2).
    RequestChannelLock = "payments.requestChannelLock lockId:long channel:int256 lock:Bool = payments.RequestChannelLock" {
        /// Above 0, chosen by the sender.
        lock_id: i64,
        /// The channel's account id.
        channel: [u8; 32],
        /// Take or release.
        lock: bool,
    }
}
object! {
    /// Asks a lock holder whether it still needs the lock (payments 4.2.4).
    IsChannelUnlocked = "payments.isChannelUnlocked lockId:long channel:int256 = payments.IsChannelUnlocked" {
        /// The lock.
        lock_id: i64,
        /// The channel's account id.
        channel: [u8; 32],
    }
}
object! {
    /// Yes or no, to locks and requests.
    Decision = "payments.decision agreed:Bool reason:string signature:bytes = payments.Decision" {
        /// Yes.
        agreed: bool,
        /// Why not; [`BUSY`] is special.
        reason: String,
        /// Ours below a cooperative close or commit.
        signature: Option<[u8; 64]>,
    }
}
object! {
    /// The answer to [`ProposeAction`].
    ProposalDecision = "payments.proposalDecision agreed:Bool reason:string signedState:bytes = payments.ProposalDecision" {
        /// Yes.
        agreed: bool,
        /// Why not; [`BUSY`] is special.
        reason: String,
        /// The responder's signed state, re-signed.
        signed_state: Option<Cell>,
    }
}
object! {
    /// One encrypted instruction (payments 5.3).
    InstructionContainer = "payments.instructionContainer hash:int256 data:bytes = payments.InstructionContainer" {
        /// SHA-256 of the padded plaintext.
        hash: [u8; 32],
        /// The ciphertext.
        data: Vec<u8>,
    }
}
object! {
    /// What the virtual key signs in [`OpenVirtual`].
    InstructionsToSign = "payments.instructionsToSign list:(vector payments.instructionContainer) = payments.InstructionsToSign" {
        /// At most [`MAX_INSTRUCTIONS`].
        list: Vec<InstructionContainer>,
    }
}

/// A signed next state of the proposer's side, and the proof of what changed (payments 4.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProposeAction {
    /// Above 0.
    pub lock_id: i64,
    /// The channel's account id.
    pub channel_addr: [u8; 32],
    /// What changes.
    pub action: Action,
    /// The [`SignedState`](crate::SignedState)'s cell.
    pub state: Cell,
    /// The [`UpdateProof`](crate::UpdateProof)'s cell; `None` when the new dictionary is empty.
    pub conditionals: Option<Cell>,
}

impl Object for ProposeAction {
    const ID: u32 = tl::id(
        "payments.proposeAction lockId:long channelAddr:int256 action:payments.Action state:bytes conditionals:bytes = payments.Request",
    );
    fn write_bare(&self, w: &mut Writer) {
        use codec::Field;
        self.lock_id.put(w);
        self.channel_addr.put(w);
        self.action.write_boxed(w);
        self.state.put(w);
        self.conditionals.put(w);
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        use codec::Field;
        Ok(Self {
            lock_id: Field::take(r, "lock_id")?,
            channel_addr: Field::take(r, "channel_addr")?,
            action: Action::read_proposed(r)?,
            state: Field::take(r, "state")?,
            conditionals: Field::take(r, "conditionals")?,
        })
    }
}

/// Asks the peer to propose something, or to sign (payments 4.7).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestAction {
    /// The channel's account id.
    pub channel_addr: [u8; 32],
    /// What is asked for.
    pub action: Action,
}

impl Object for RequestAction {
    const ID: u32 = tl::id("payments.requestAction channelAddr:int256 action:payments.Action = payments.Request");
    fn write_bare(&self, w: &mut Writer) {
        w.raw(&self.channel_addr);
        self.action.write_boxed(w);
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { channel_addr: r.int256("channel_addr")?, action: Action::read_requested(r)? })
    }
}

choice! {
    /// Everything that a peer may ask.
    Request {
        /// See [`Ping`].
        Ping,
        /// See [`Authenticate`].
        Authenticate,
        /// See [`ProposeChannelConfig`].
        ProposeChannelConfig,
        /// See [`OpenChannelOffchain`].
        OpenChannelOffchain,
        /// See [`RequestChannelLock`].
        RequestChannelLock,
        /// See [`IsChannelUnlocked`].
        IsChannelUnlocked,
        /// See [`ProposeAction`].
        ProposeAction,
        /// See [`RequestAction`].
        RequestAction,
    }
}

choice! {
    /// Every answer. Which one belongs to which request is [`Query::Answer`].
    Answer {
        /// To [`Ping`].
        Pong,
        /// To [`Authenticate`].
        Authenticate,
        /// To [`ProposeChannelConfig`].
        ChannelConfig,
        /// To [`OpenChannelOffchain`].
        OpenChannelOffchainResponse,
        /// To locks and requests.
        Decision,
        /// To [`ProposeAction`].
        ProposalDecision,
    }
}

/// A request's type and the type of its answer (payments 1.4).
pub trait Query: Object + Into<Request> {
    /// The only answer that makes sense; any other type is refused (payments 10.2.2).
    type Answer: Object;
}

macro_rules! answers {
    ($($query:ident => $answer:ident),*) => { $(impl Query for $query { type Answer = $answer; })* };
}
answers!(
    Ping => Pong,
    Authenticate => Authenticate,
    ProposeChannelConfig => ChannelConfig,
    OpenChannelOffchain => OpenChannelOffchainResponse,
    RequestChannelLock => Decision,
    IsChannelUnlocked => Decision,
    ProposeAction => ProposalDecision,
    RequestAction => Decision
);

impl Request {
    /// The boxed bytes.
    pub fn to_boxed(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write_boxed(&mut w);
        w.into_bytes()
    }

    /// Parses a whole boxed request of at most [`MAX_MESSAGE_BYTES`].
    pub fn from_boxed(bytes: &[u8]) -> Result<Self, Error> {
        read_whole(bytes, |r| Self::read_any(r, "request"))
    }

    /// Whether it travels over RLDP rather than as an ADNL query. Either is accepted when received (payments 1.1).
    pub fn over_rldp(&self) -> bool {
        matches!(self, Self::ProposeAction(_) | Self::RequestAction(_) | Self::ProposeChannelConfig(_))
    }
}

impl Answer {
    /// The boxed bytes.
    pub fn to_boxed(&self) -> Vec<u8> {
        let mut w = Writer::new();
        self.write_boxed(&mut w);
        w.into_bytes()
    }

    /// Parses a whole boxed answer of at most [`MAX_MESSAGE_BYTES`].
    pub fn from_boxed(bytes: &[u8]) -> Result<Self, Error> {
        read_whole(bytes, |r| Self::read_any(r, "answer"))
    }
}

fn read_whole<T>(bytes: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, Error>) -> Result<T, Error> {
    if bytes.len() > MAX_MESSAGE_BYTES {
        return Err(Error::Invalid { field: "message", rule: "longer than its limit" });
    }
    let mut r = Reader::new(bytes);
    let value = read(&mut r)?;
    r.end()?;
    Ok(value)
}

impl ChannelConfig {
    /// The tunnel fee in percent (0.5 is 0.5 %).
    pub fn proxy_percent(&self) -> f64 {
        f64::from_bits(self.proxy_percent_fee_float)
    }
}

impl Decision {
    /// Agreed, without a signature.
    pub fn agree() -> Self {
        Self { agreed: true, reason: String::new(), signature: None }
    }
    /// Refused for this reason.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self { agreed: false, reason: reason.into(), signature: None }
    }
}

impl ProposalDecision {
    /// Refused for this reason.
    pub fn refuse(reason: impl Into<String>) -> Self {
        Self { agreed: false, reason: reason.into(), signed_state: None }
    }
    /// Whether this is not a refusal but "try again" (payments 4.2.5).
    pub fn is_busy(&self) -> bool {
        !self.agreed && self.reason == BUSY
    }
}
