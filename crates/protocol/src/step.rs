//! What goes into and comes out of a step: events, what to write, what to do after the commit.

use contract::{CloseToSign, CommitToSign, SettleToSign};
use ton::Cell;
use wire::{
    conditionals::Condition,
    instruction::Instruction,
    message::{Action, OpenVirtual},
    resolution::Resolution,
    state::{Body, SignedState, State},
};

use crate::{Address, Key, channel::ChannelRow, leg::Leg, policy::Policy};

/// What a decision may know besides the channel itself. Time is protocol time (design 7).
#[derive(Debug, Clone, Copy)]
pub struct Env<'a> {
    /// Milliseconds of unix time.
    pub now: u64,
    /// A fresh random number for lock ids and jitter.
    pub random: u64,
    /// The operator's terms.
    pub policy: &'a Policy,
    /// Nano released to this peer on its other channels and still payable (design 4.7).
    pub released_elsewhere: u128,
    /// A virtual key that the database has just refused as used before (design 3, `engine.virtual_key`).
    pub used_key: Option<Key>,
}

impl Env<'_> {
    /// Seconds of unix time.
    pub fn seconds(&self) -> u64 {
        self.now / 1000
    }
}

/// Names the peer's query that a [`Effect::Reply`] answers. Chosen by the caller.
pub type ReplyId = u64;
/// Names our query to the peer. Unique while the process lives.
pub type CallId = u64;

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// Time passed: [`crate::Channel::next_wake`] has come.
    Tick,
    /// The peer's session is up again: retries that wait may go now.
    PeerUp,
    /// The peer proposes its next state.
    Proposal(Box<Proposal>),
    /// The peer asks us to propose or to sign something.
    Request {
        /// Names the query.
        reply: ReplyId,
        /// What it asks for.
        action: Action,
    },
    /// `requestChannelLock`.
    Lock {
        /// Names the query.
        reply: ReplyId,
        /// The peer's lock id.
        id: i64,
        /// Take or release.
        lock: bool,
    },
    /// `isChannelUnlocked`.
    IsUnlocked {
        /// Names the query.
        reply: ReplyId,
        /// Our lock id that the peer asks about.
        id: i64,
    },
    /// The outcome of one of our calls.
    Answer {
        /// Which call.
        call: CallId,
        /// The answer, or that none came.
        answer: Result<Answer, CallFailed>,
    },
    /// The answer to [`Effect::LoadDictionary`].
    Dictionary {
        /// The peer's seqno that was asked for.
        seqno: u64,
        /// Every condition of its dictionary then, with the best resolution that we hold.
        conditions: Vec<(Condition, Option<Resolution>)>,
    },
    /// A row of the shard's task queue. It is deleted with the writes of this step.
    Task {
        /// The row's id.
        id: String,
        /// What to do.
        task: Task,
    },
}

/// A proposal as it came from the peer, with what only the shell could add.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// Names the query.
    pub reply: ReplyId,
    /// The peer's lock id.
    pub lock_id: i64,
    /// The action.
    pub action: Action,
    /// The peer's next state.
    pub state: SignedState,
    /// The proof of what changed (payments 4.4).
    pub proof: Option<Cell>,
    /// For openVirtual: our instruction, decrypted by the signer; absent when no container opens.
    pub instruction: Option<Instruction>,
    /// For openVirtual: an active channel towards the instruction's next target. A hint: the outgoing leg decides again (design 3).
    pub next_channel: Option<Address>,
}

/// No answer came. Nothing is known about what the peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallFailed {
    /// There was no session: the query was never sent.
    NotConnected,
    /// No answer in time.
    Timeout,
    /// The answer was not of the expected form.
    Malformed,
}

/// The peer's answer to one of our calls.
#[derive(Debug, Clone)]
pub enum Answer {
    /// `payments.decision`.
    Decision {
        /// Agreed or refused.
        agreed: bool,
        /// Free text, but for [`BUSY`].
        reason: String,
        /// The signature of a cooperative close or commit.
        signature: Option<[u8; 64]>,
    },
    /// `payments.proposalDecision`.
    Proposal {
        /// Agreed or refused.
        agreed: bool,
        /// Free text, but for [`BUSY`].
        reason: String,
        /// The peer's own state, signed with our new body as its copy.
        state: Option<SignedState>,
    },
}

/// The reason text that is part of the protocol (payments 4.2.5).
pub const BUSY: &str = "channel is busy";

/// Why a step has nothing more to say before it is committed.
#[derive(Debug, Default)]
pub struct Step {
    /// What to commit, all or nothing, before any effect is let out (design 4.2).
    pub writes: Vec<Write>,
    /// What to do after the commit, in order.
    pub effects: Vec<Effect>,
}

/// One row to write.
#[derive(Debug, Clone)]
pub enum Write {
    /// The channel's row as it now is. `row.version` is one above what the database has: anything else means that this memory is stale.
    Channel(Box<ChannelRow>),
    /// A condition came into the agreed dictionary of a side at `since`.
    ConditionAdded {
        /// Whose dictionary.
        side: Side,
        /// The condition.
        condition: Condition,
        /// First seqno of that side with it.
        since: u64,
    },
    /// A condition left the agreed dictionary of a side: `until` is the first seqno without it.
    ConditionRemoved {
        /// Whose dictionary.
        side: Side,
        /// Virtual key.
        key: Key,
        /// First seqno without it.
        until: u64,
    },
    /// A body that we are about to sign (design 4.1).
    SignedBody(SignedBody),
    /// What became of a body of ours.
    BodyOutcome {
        /// Its seqno.
        seqno: u64,
        /// Which of the two.
        attempt: Attempt,
        /// The outcome.
        outcome: Outcome,
    },
    /// A state that the peer signed and we stored, once per body. Its newest signature is in the channel's row while it is the newest state.
    PeerState(SignedState),
    /// A leg's row as it now is.
    Leg(Box<Leg>),
    /// The node's first leg of a virtual key: a duplicate fails this change (design 3).
    VirtualKey(Key),
    /// A message to a leg of another channel.
    Task(NewTask),
    /// The task was applied: delete its row.
    TaskDone(String),
    /// A transaction to send. The id makes it happen once.
    Order(Box<Order>),
    /// The result of an API command.
    Result {
        /// The request's id.
        request_id: String,
        /// What came of it.
        result: RequestResult,
    },
}

/// What became of an API command on a virtual channel, or of a withdrawal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RequestResult {
    /// The first hop agreed.
    Opened,
    /// The first hop was paid: the payment is final. Of a withdrawal: the contract paid us.
    Paid {
        /// Nano paid, fee included; of a withdrawal, before the chain's fees.
        amount: u128,
    },
    /// Not paid and never will be, within the risk limit (design 4.7).
    Failed {
        /// Why.
        reason: String,
    },
}

/// Whose side of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// Ours.
    Our,
    /// The peer's.
    Their,
}

/// Which of the at most two bodies that we sign at one seqno (design 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Attempt {
    /// The action.
    Action,
    /// The settling increment after a refusal.
    Increment,
}

/// What became of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A delivery of it was refused: it stays open (design 4.6).
    Refused,
    /// The peer stored it.
    Agreed,
    /// The other body of its seqno was agreed. On record and payable until its deadline.
    Void,
}

/// How a body's dictionary differs from the agreed one before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Not at all.
    None,
    /// One condition more.
    Insert(Condition),
    /// One condition less.
    Remove(Key),
}

/// A body that we sign, with what is needed to rebuild its dictionary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedBody {
    /// Which of the two of its seqno.
    pub attempt: Attempt,
    /// The body.
    pub body: Body,
    /// Its change against the agreed dictionary at seqno − 1.
    pub change: Change,
}

/// Something for another channel's actor, or for this one later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewTask {
    /// Unique for ever within the node.
    pub id: String,
    /// The channel whose actor applies it.
    pub channel: Address,
    /// What to do.
    pub task: Task,
}

/// What a task asks of a channel's actor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Task {
    /// Propose the leg to the peer: from the API, or from the incoming leg of a forwarded virtual channel.
    Open(Box<OpenLeg>),
    /// A resolution for the incoming leg: ask the payer for it.
    Close {
        /// Virtual key.
        key: Key,
        /// The resolution.
        resolution: Resolution,
    },
    /// The incoming leg will not be paid: ask the payer to remove it.
    Unwind {
        /// Virtual key.
        key: Key,
        /// Why.
        reason: String,
    },
    /// Exchange states, or exchange them again (payments 3.2).
    Increment,
    /// Close together with the peer, or alone.
    CloseChannel {
        /// Alone.
        force: bool,
    },
    /// Put coins into the contract, deploying it first when needed.
    TopUp {
        /// The order's id.
        order: String,
        /// Nano.
        amount: u128,
    },
    /// Take coins out of the contract, together with the peer, to our address in its terms.
    Withdraw {
        /// The command's id: its result is written under it.
        request_id: String,
        /// Nano.
        amount: u128,
    },
    /// The operator is sure that the database is the newest: a suspended channel works again (design 4.10).
    LiftSuspension,
    /// The contract changed.
    Chain(Box<ChainUpdate>),
    /// A transaction that we ordered was seen to have failed.
    OrderFailed {
        /// The order's id.
        order: String,
    },
}

/// An outgoing leg to open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLeg {
    /// The condition that we shall sign.
    pub condition: Condition,
    /// The action as the payee gets it.
    pub action: OpenVirtual,
    /// Who wants it.
    pub origin: Origin,
}

/// Whom an outgoing leg reports to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// An API command of this node. `sealed` is the virtual private key under a key that the signer derives (design 4.1).
    Sender {
        /// The command's id.
        request_id: String,
        /// The sealed seed.
        sealed: Vec<u8>,
    },
    /// The incoming leg on that channel.
    Forward {
        /// The incoming leg's channel.
        channel: Address,
    },
}

/// What the contract's account looks like after a transaction, from our side's view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainUpdate {
    /// Logical time of the transaction.
    pub lt: u64,
    /// The contract's storage after it.
    pub storage: contract::Storage,
    /// Resolutions that the peer's settle message carried, by dictionary index (payments 8.3).
    pub settled: Vec<(u32, Resolution)>,
    /// Digests of own signatures seen over bodies in a start or challenge: checked against what we signed (design 4.10).
    pub our_states: Vec<SignedState>,
}

/// A transaction that the node's wallet shall send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// Unique for ever within the node.
    pub id: String,
    /// What to send.
    pub message: OrderMessage,
}

/// The contract message of an order, before signing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderMessage {
    /// Deploy the contract and initialise it (payments 7.7).
    Init,
    /// Deposit for our side.
    TopUp {
        /// Nano.
        amount: u128,
    },
    /// Both signatures are there once ours is put in.
    CooperativeClose {
        /// What both sign.
        to_sign: CloseToSign,
        /// The peer's signature.
        peer_signature: [u8; 64],
    },
    /// Withdraw: both signatures are there once ours is put in (payments 7.6.1).
    CooperativeCommit {
        /// What both sign.
        to_sign: CommitToSign,
        /// The peer's signature.
        peer_signature: [u8; 64],
    },
    /// Start an uncooperative close with these states; ours is signed on release, then the message (payments 7.6.3).
    Start {
        /// Our state.
        our: State,
        /// The peer's.
        their: SignedState,
    },
    /// Replace the committer's state (payments 7.6.4).
    Challenge {
        /// Our state.
        our: State,
        /// The peer's.
        their: SignedState,
    },
    /// Settle conditions of the peer's side (payments 7.6.5).
    Settle(Box<SettleToSign>),
    /// Pay out.
    Finish,
}

/// Something to do once the writes are committed.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Answer the peer's query.
    Reply {
        /// Which query.
        reply: ReplyId,
        /// The answer, before signing.
        answer: Response,
    },
    /// Ask the peer. The outcome comes back as [`Event::Answer`].
    Call {
        /// Names the call.
        call: CallId,
        /// What to ask, before signing.
        request: Outgoing,
    },
    /// Rebuild the peer's dictionary at this seqno from the rows: an older one is in quarantine (design 5).
    LoadDictionary {
        /// The peer's seqno.
        seqno: u64,
    },
    /// Something that an operator must see.
    Alarm(Alarm),
}

/// An answer of ours; states in it are signed when it is let out.
#[derive(Debug, Clone)]
pub enum Response {
    /// `payments.decision` without a signature.
    Decision {
        /// Agreed or refused.
        agreed: bool,
        /// Why not.
        reason: String,
    },
    /// `payments.proposalDecision`; agreed when `state` is there.
    Proposal {
        /// Our current state, to be signed.
        state: Option<State>,
        /// Why not.
        reason: String,
    },
    /// `payments.decision` with our signature of a cooperative close.
    SignClose(CloseToSign),
    /// `payments.decision` with our signature of a cooperative commit.
    SignCommit(CommitToSign),
}

/// A query of ours; states in it are signed when it is let out.
#[derive(Debug, Clone)]
pub enum Outgoing {
    /// `payments.requestChannelLock`.
    Lock {
        /// Our lock id.
        id: i64,
        /// Take or release.
        lock: bool,
    },
    /// `payments.isChannelUnlocked`.
    IsUnlocked {
        /// The peer's lock id.
        id: i64,
    },
    /// `payments.proposeAction`.
    Propose {
        /// Our lock id.
        lock_id: i64,
        /// The action.
        action: Action,
        /// Our next state, to be signed.
        state: State,
        /// The proof of what changed.
        proof: Option<Cell>,
    },
    /// `payments.requestAction`.
    Request(Action),
    /// `payments.requestAction` of a cooperative close with our signature in it.
    RequestClose(CloseToSign),
    /// `payments.requestAction` of a cooperative commit with our signature in it.
    RequestCommit(CommitToSign),
}

/// For the operator's eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alarm {
    /// The peer's state carries a seqno of ours above everything that we wrote ahead: our database may be old (design 4.10).
    StaleDatabase {
        /// The seqno seen.
        seqno: u64,
    },
    /// The peer proposes another body at a seqno that we stored (design 4.6).
    Inconsistent {
        /// The seqno.
        seqno: u64,
    },
    /// A proposal of ours is pending for long.
    PendingLong {
        /// The seqno.
        seqno: u64,
    },
    /// Our valid signature over a body that we do not have was seen on the chain: freeze the node (design 4.10).
    ForeignSignature {
        /// The seqno.
        seqno: u64,
    },
    /// A forced close was begun.
    ForcedClose {
        /// Why.
        reason: String,
    },
}
