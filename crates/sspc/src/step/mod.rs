//! The state machine: what a party does when something happens. Pure; whoever runs it does the effects in their order.
//!
//! - Everything that leaves ([`Effect::Deliver`], [`Effect::Submit`]) comes after [`Effect::Persist`] of the record that it follows from.
//! - A signature may be asked for before it is kept, since nobody has it until it is delivered: [`Effect::Sign`] changes nothing, the answer
//!   ([`Input::Signed`]) is kept, then delivered.
//! - The balance that a party can count on, [`Record::own_balance`], falls by own payments only.

mod payments;
mod transactions;

use alloy_primitives::{Address, B256};

use crate::amount::{Amount, Party, Round};
use crate::fees::{TooDear, Urgency};
use crate::message::Message;
use crate::params::ChannelId;
use crate::record::{Call, Closing, PaidRequest, Prepared, Record, SignedClose, SignedState};
use crate::signature::{Signature, Verifier};
use crate::typed::{Payload, Signable};

/// How far a state of the peer may lie above the newest one, so that it cannot burn the rounds (4.3.2).
pub const MAX_ROUND_JUMP: u64 = 1 << 20;
/// How far our newest round may lie above the newest one that the peer is known to have: half of what it takes, so that it takes all of it.
pub const MAX_UNREACHED_ROUNDS: u64 = MAX_ROUND_JUMP / 2;
/// Rounds after which [`Risk::RoundsHalfUsed`] is raised.
pub const HALF_OF_ROUNDS: u64 = 1 << 47;

/// Something that the peer's signature was checked on. Made by [`Proven::state`] and [`Proven::close`] only.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Proven<T>(T);

impl Proven<SignedState> {
    /// Checks the peer's signature on a state.
    pub fn state(signable: &Signable, peer: &mut Verifier, signed: SignedState) -> Option<Self> {
        peer.verify(&signable.digest(&Payload::State(signed.state)), &signed.signature).then_some(Self(signed))
    }
}

impl Proven<SignedClose> {
    /// Checks the peer's signature on a close.
    pub fn close(signable: &Signable, peer: &mut Verifier, signed: SignedClose) -> Option<Self> {
        peer.verify(&signable.digest(&Payload::Close(signed.balances)), &signed.signature).then_some(Self(signed))
    }
}

/// A channel as its contract shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OnChain {
    /// Not there.
    Absent,
    /// a has deposited.
    Proposed,
    /// Open.
    Open,
    /// A forced close runs.
    Closing(Closing),
    /// Paid out; what a got.
    Closed(Amount),
    /// a took its proposal back.
    Cancelled,
}

/// What happens to a channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Input {
    /// The owner wants a transaction: open, at this Unix time.
    Open(u64),
    /// See [`Call::Accept`]; at this Unix time.
    Accept(u64),
    /// See [`Call::Cancel`].
    Cancel,
    /// See [`Call::Approve`].
    Approve(Amount),
    /// See [`Call::Withdraw`].
    Withdraw(Address),
    /// The owner pays.
    Pay(Amount),
    /// The payment before it, in the same change, was made for a request: so that it is not made for it again.
    PaidFor(PaidRequest),
    /// The owner wants to close together: sign a close of the current balances.
    SignClose,
    /// The owner submits the peer's close.
    CoopClose,
    /// The owner leaves alone.
    ForceClose,
    /// A stale close of the peer is to be answered.
    Dispute,
    /// The deadline of a forced close is over, by this Unix time.
    Finish(u64),
    /// The signer's answer to [`Effect::Sign`].
    Signed(Payload, Signature),
    /// The chain client's answer to [`Effect::Prepare`], at this Unix time.
    Prepared(Call, Prepared, u64),
    /// The transaction on its way has waited too long: it is to offer more.
    Raise(Urgency),
    /// The chain client's answer to [`Effect::Raise`].
    Raised {
        /// The transaction that offers less.
        of: B256,
        /// The same, offering more.
        by: Prepared,
        /// Unix time.
        now: u64,
    },
    /// A transaction failed, or is no longer needed.
    Dropped(Prepared),
    /// The contract has named the channel (`SspcCompact`).
    Named(ChannelId),
    /// A payment of the peer; `counted` is how much of our payments the peer says it contains.
    Received {
        /// The peer's newer state.
        signed: Proven<SignedState>,
        /// Part of our `paid`.
        counted: Amount,
    },
    /// The peer has this much of our payments.
    Acknowledged {
        /// Part of our `paid`.
        counted: Amount,
        /// The newest round that it knows.
        round: Round,
    },
    /// The peer's close.
    CloseReceived(Proven<SignedClose>),
    /// The chain shows the channel so.
    Chain(OnChain),
    /// The stream to the peer is new, or the peer may have missed something.
    Resend,
}

/// What is to be done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Keep the record durably, before anything that follows.
    Persist,
    /// Sign; answer with [`Input::Signed`].
    Sign(Payload),
    /// Make the transaction; answer with [`Input::Prepared`].
    Prepare(Call),
    /// Make the transaction anew with a higher offer; answer with [`Input::Raised`].
    Raise(Prepared, Urgency),
    /// Send the transaction.
    Submit(Prepared),
    /// Send to the peer.
    Deliver(Message),
    /// We were paid this much.
    Credit(Amount),
    /// Somebody should look.
    Alarm(Risk),
}

/// What can go wrong if nobody acts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Risk {
    /// The peer closes with a state older than what we hold.
    #[error("the peer closes with round {submitted}, we hold round {held}; to be answered before {deadline}")]
    StaleClose {
        /// On the chain.
        submitted: Round,
        /// Ours.
        held: Round,
        /// Unix time.
        deadline: u64,
    },
    /// A stale close is unanswered and its deadline is near.
    #[error("a stale close is unanswered and ends at {deadline}")]
    DeadlineNear {
        /// Unix time.
        deadline: u64,
    },
    /// A transaction waits for a block and cannot offer more.
    #[error("a transaction waits for a block: {0}")]
    Waits(TooDear),
    /// Half of the rounds are used: open a new channel in time.
    #[error("half of the rounds are used")]
    RoundsHalfUsed,
}

impl Risk {
    /// Its kind, for those who count.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::StaleClose { .. } => "stale-close",
            Self::DeadlineNear { .. } => "deadline-near",
            Self::Waits(_) => "waits",
            Self::RoundsHalfUsed => "rounds-half-used",
        }
    }
}

/// Why nothing was done.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// Not in this phase.
    #[error("not while the channel is {0}")]
    Phase(&'static str),
    /// Only the other party does this.
    #[error("party {0} cannot do this")]
    Role(Party),
    /// Another transaction is on its way.
    #[error("a transaction is on its way")]
    Busy,
    /// There is no transaction to raise.
    #[error("no transaction is on its way")]
    NothingPending,
    /// The limits of fees forbid it.
    #[error(transparent)]
    TooDear(#[from] TooDear),
    /// The proposal's time is over.
    #[error("the proposal was good until {0}")]
    Expired(u64),
    /// The peer must acknowledge before more is paid.
    #[error("the peer has acknowledged round {reached} only, round {round} is too far above it: wait for it")]
    Unacknowledged {
        /// Of the payment.
        round: Round,
        /// The newest that the peer is known to have.
        reached: Round,
    },
    /// More than we have.
    #[error("{asked} asked, {available} available")]
    Funds {
        /// By the owner.
        asked: Amount,
        /// To pay with.
        available: Amount,
    },
    /// A payment of nothing.
    #[error("a payment of nothing")]
    Nothing,
    /// No round is left, or a counter is full.
    #[error("the channel is used up")]
    UsedUp,
    /// The peer wants to close: it takes no payments.
    #[error("the peer has signed a close")]
    PeerCloses,
    /// What was signed is not what is to be signed now.
    #[error("the signature is for another state")]
    Outdated,
    /// The peer signs only its own rounds.
    #[error("round {0} is not the peer's to sign")]
    Parity(Round),
    /// Too far ahead.
    #[error("round {round} is more than {MAX_ROUND_JUMP} after {newest}")]
    Jump {
        /// The peer's.
        round: Round,
        /// The newest of both.
        newest: Round,
    },
    /// The balances do not sum to the deposits.
    #[error("balances of {0} and {1} are not the channel's total")]
    Total(Amount, Amount),
    /// The peer counts more of our payments than we made, or less than before.
    #[error("the peer counts {counted} of our payments; it must be {least} to {most}")]
    Counted {
        /// By the peer.
        counted: Amount,
        /// Counted before.
        least: Amount,
        /// Paid.
        most: Amount,
    },
    /// Our balance would not rise.
    #[error("the state gives us {offered}, must be more than {least}")]
    Lowered {
        /// In the peer's state.
        offered: Amount,
        /// Ours without the payment.
        least: Amount,
    },
    /// The peer's close gives us less than the current state.
    #[error("the close gives us {offered}, the current state {own}")]
    Worse {
        /// In the peer's close.
        offered: Amount,
        /// In the current state.
        own: Amount,
    },
    /// There is no close of the peer to submit.
    #[error("the peer has signed no close")]
    NoOffer,
    /// We hold nothing newer than what was submitted.
    #[error("we hold nothing newer than round {0}")]
    NothingNewer(Round),
    /// The deadline of the forced close is not over.
    #[error("the deadline is {0}")]
    TooEarly(u64),
}

type Step = Result<(Record, Vec<Effect>), Refusal>;

impl Record {
    /// What follows from `input`: the new record and what is to be done, in order. A refusal changes nothing.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn step(&self, input: Input) -> Step {
        match input {
            Input::Open(now) => self.in_time(now).and_then(|()| self.ask(Call::Open)),
            Input::Accept(now) => self.in_time(now).and_then(|()| self.ask(Call::Accept)),
            Input::Cancel => self.ask(Call::Cancel),
            Input::Approve(amount) => self.ask(Call::Approve(amount)),
            Input::Withdraw(to) => self.ask(Call::Withdraw(to)),
            Input::CoopClose => self.coop_close(),
            Input::ForceClose => self.ask(Call::Challenge(self.held)),
            Input::Dispute => self.dispute(),
            Input::Finish(now) => self.finish(now),
            Input::Pay(amount) => self.pay(amount),
            Input::PaidFor(request) => {
                Ok((Self { requests: self.with_request(request), ..self.changed() }, vec![Effect::Persist]))
            }
            Input::SignClose => self.sign_close(),
            Input::Signed(payload, signature) => self.signed(payload, signature),
            Input::Prepared(call, transaction, now) => self.prepared(call, transaction, now),
            Input::Raise(urgency) => self.raise(urgency),
            Input::Raised { of, by, now } => self.raised(of, by, now),
            Input::Dropped(transaction) => self.dropped(&transaction),
            Input::Named(id) => self.named(id),
            Input::Received { signed, counted } => self.received(signed.0, counted),
            Input::Acknowledged { counted, round } => Ok(self.acknowledged(counted, round)),
            Input::CloseReceived(close) => self.close_received(close.0),
            Input::Chain(seen) => self.chain(seen),
            Input::Resend => Ok(self.resend()),
        }
    }

    /// A copy with the next version, to be kept.
    fn changed(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    fn phase_refused(&self) -> Refusal {
        Refusal::Phase(self.phase.name())
    }
}
