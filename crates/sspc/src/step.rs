//! The state machine: what a party does when something happens. Pure; whoever runs it does the effects in their order.
//!
//! - Everything that leaves ([`Effect::Deliver`], [`Effect::Submit`]) comes after [`Effect::Persist`] of the record that it follows from.
//! - A signature may be asked for before it is kept, since nobody has it until it is delivered: [`Effect::Sign`] changes nothing, the answer
//!   ([`Input::Signed`]) is kept, then delivered.
//! - The balance that a party can count on, [`Record::own_balance`], falls by own payments only.

use crate::amount::{Amount, Party, Round};
use crate::message::Message;
use crate::params::ChannelId;
use crate::record::{Call, Closing, PaidRequest, Pending, Phase, Prepared, Record, SignedClose, SignedState};
use crate::signature::{Signature, Verifier};
use crate::typed::{Balances, Payload, Signable, State};

/// How far a state of the peer may lie above the newest one, so that it cannot burn the rounds (4.3.2).
pub const MAX_ROUND_JUMP: u64 = 1 << 20;
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
    /// The owner wants a transaction: open, accept, cancel.
    Open,
    /// See [`Call::Accept`].
    Accept,
    /// See [`Call::Cancel`].
    Cancel,
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
    /// The chain client's answer to [`Effect::Prepare`].
    Prepared(Call, Prepared),
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
    Acknowledged(Amount),
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
    /// Half of the rounds are used: open a new channel in time.
    #[error("half of the rounds are used")]
    RoundsHalfUsed,
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
            Input::Open => self.ask(Call::Open),
            Input::Accept => self.ask(Call::Accept),
            Input::Cancel => self.ask(Call::Cancel),
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
            Input::Prepared(call, transaction) => self.prepared(call, transaction),
            Input::Dropped(transaction) => self.dropped(&transaction),
            Input::Named(id) => self.named(id),
            Input::Received { signed, counted } => self.received(signed.0, counted),
            Input::Acknowledged(counted) => self.acknowledged(counted),
            Input::CloseReceived(close) => self.close_received(close.0),
            Input::Chain(seen) => self.chain(seen),
            Input::Resend => Ok(self.resend()),
        }
    }

    /// What a guard does now by itself: answer a stale close, finish one whose deadline is over, leave anew when a way out that was submitted
    /// came to nothing.
    #[must_use]
    pub fn due(&self, now: u64) -> Option<Input> {
        if self.pending.is_some() {
            return None;
        }
        let closing = match self.phase {
            Phase::Closing(closing) => closing,
            Phase::Leaving => return Some(Input::ForceClose),
            _ => return None,
        };
        if self.is_stale(&closing) {
            return Some(Input::Dispute);
        }
        (now > closing.deadline).then_some(Input::Finish(now))
    }

    /// What somebody should know at this time.
    #[must_use]
    pub fn risk(&self, now: u64) -> Option<Risk> {
        match self.phase {
            Phase::Closing(closing) if self.is_stale(&closing) => {
                let near = closing.deadline.saturating_sub(now) <= u64::from(self.params.period) / 4;
                near.then_some(Risk::DeadlineNear { deadline: closing.deadline })
            }
            Phase::Open if self.current().round.get() >= HALF_OF_ROUNDS => Some(Risk::RoundsHalfUsed),
            _ => None,
        }
    }

    fn is_stale(&self, closing: &Closing) -> bool {
        closing.by == self.role.other() && self.held_round() > closing.round
    }

    /// A copy with the next version, to be kept.
    fn changed(&self) -> Self {
        Self { version: self.version + 1, ..self.clone() }
    }

    fn phase_refused(&self) -> Refusal {
        Refusal::Phase(self.phase.name())
    }

    fn may(&self, call: &Call) -> Result<(), Refusal> {
        let party = match call {
            Call::Open | Call::Cancel => Some(Party::A),
            Call::Accept => Some(Party::B),
            _ => None,
        };
        if party.is_some_and(|party| party != self.role) {
            return Err(Refusal::Role(self.role));
        }
        let fits = match call {
            Call::Open => self.phase == Phase::Draft,
            Call::Accept | Call::Cancel => self.phase == Phase::Proposed,
            Call::CooperativeClose(_) => {
                matches!(self.phase, Phase::Open | Phase::CloseSigned(_) | Phase::Leaving | Phase::Closing(_))
            }
            Call::Challenge(_) => matches!(self.phase, Phase::Open | Phase::CloseSigned(_) | Phase::Leaving),
            Call::Dispute(_) | Call::Finish => matches!(self.phase, Phase::Closing(_)),
        };
        if fits { Ok(()) } else { Err(self.phase_refused()) }
    }

    fn ask(&self, call: Call) -> Step {
        self.may(&call)?;
        if self.pending.is_some() {
            return Err(Refusal::Busy);
        }
        Ok((self.clone(), vec![Effect::Prepare(call)]))
    }

    fn coop_close(&self) -> Step {
        let close = self.offer.ok_or(Refusal::NoOffer)?;
        // Asked again: the peer may have paid after it signed the close, against the rules.
        self.not_worse(&close)?;
        self.ask(Call::CooperativeClose(close))
    }

    fn not_worse(&self, close: &SignedClose) -> Result<(), Refusal> {
        let (offered, own) = (close.balances.of(self.role), self.own_balance());
        if offered < own { Err(Refusal::Worse { offered, own }) } else { Ok(()) }
    }

    fn dispute(&self) -> Step {
        let Phase::Closing(closing) = self.phase else { return Err(self.phase_refused()) };
        match self.held {
            Some(held) if self.is_stale(&closing) => self.ask(Call::Dispute(held)),
            _ => Err(Refusal::NothingNewer(closing.round)),
        }
    }

    fn finish(&self, now: u64) -> Step {
        match self.phase {
            Phase::Closing(closing) if now <= closing.deadline => Err(Refusal::TooEarly(closing.deadline)),
            _ => self.ask(Call::Finish),
        }
    }

    fn prepared(&self, call: Call, transaction: Prepared) -> Step {
        self.may(&call)?;
        if self.pending.is_some() {
            return Err(Refusal::Busy);
        }
        let mut next = self.changed();
        if next.phase == Phase::Open && matches!(call, Call::CooperativeClose(_) | Call::Challenge(_)) {
            next.phase = Phase::Leaving;
        }
        next.pending = Some(Pending { call, transaction: transaction.clone() });
        Ok((next, vec![Effect::Persist, Effect::Submit(transaction)]))
    }

    fn dropped(&self, transaction: &Prepared) -> Step {
        if self.pending.as_ref().is_none_or(|pending| pending.transaction.hash != transaction.hash) {
            return Ok((self.clone(), Vec::new()));
        }
        Ok((Self { pending: None, ..self.changed() }, vec![Effect::Persist]))
    }

    fn named(&self, id: ChannelId) -> Step {
        let compact = matches!((self.id, id), (None | Some(ChannelId::Compact(_)), ChannelId::Compact(_)));
        if !compact || self.phase != Phase::Draft {
            return if self.id == Some(id) { Ok((self.clone(), Vec::new())) } else { Err(self.phase_refused()) };
        }
        Ok((Self { id: Some(id), ..self.changed() }, vec![Effect::Persist]))
    }

    fn pay(&self, amount: Amount) -> Step {
        if self.phase != Phase::Open || self.id.is_none() {
            return Err(self.phase_refused());
        }
        if self.offer.is_some() {
            return Err(Refusal::PeerCloses);
        }
        if amount.is_zero() {
            return Err(Refusal::Nothing);
        }
        let available = self.own_balance();
        let left = available.minus(amount).ok_or(Refusal::Funds { asked: amount, available })?;
        self.paid.plus(amount).ok_or(Refusal::UsedUp)?;
        let state = self.next_state(left).ok_or(Refusal::UsedUp)?;
        Ok((self.clone(), vec![Effect::Sign(Payload::State(state))]))
    }

    fn sign_close(&self) -> Step {
        match self.phase {
            // Nothing else can be signed, so the same again.
            Phase::CloseSigned(close) => return Ok((self.clone(), vec![Effect::Deliver(Message::CloseOffer(close))])),
            Phase::Open if self.id.is_some() => {}
            _ => return Err(self.phase_refused()),
        }
        if self.crossed() {
            return Err(Refusal::Outdated);
        }
        Ok((self.clone(), vec![Effect::Sign(Payload::Close(self.current().balances))]))
    }

    fn signed(&self, payload: Payload, signature: Signature) -> Step {
        if self.phase != Phase::Open {
            return Err(self.phase_refused());
        }
        match payload {
            Payload::State(state) => self.signed_state(SignedState { state, signature }),
            Payload::Close(balances) if balances == self.current().balances && !self.crossed() => {
                let close = SignedClose { balances, signature };
                let next = Self { phase: Phase::CloseSigned(close), ..self.changed() };
                Ok((next, vec![Effect::Persist, Effect::Deliver(Message::CloseOffer(close))]))
            }
            Payload::Close(_) => Err(Refusal::Outdated),
        }
    }

    fn signed_state(&self, signed: SignedState) -> Step {
        let own = signed.state.balances.of(self.role);
        // The same state as we would ask for now, or a larger payment: between asking and the answer nothing else may have happened.
        if self.next_state(own) != Some(signed.state) {
            return Err(Refusal::Outdated);
        }
        let funds = self.params.deposit(self.role).plus(self.received).ok_or(Refusal::UsedUp)?;
        let paid = funds.minus(own).filter(|paid| *paid > self.paid || (*paid == self.paid && self.crossed()));
        let mut next = self.changed();
        next.paid = paid.ok_or(Refusal::Outdated)?;
        next.given = Some(signed);
        let message = next.payment().ok_or(Refusal::Outdated)?;
        Ok((next, vec![Effect::Persist, Effect::Deliver(message)]))
    }

    fn received(&self, signed: SignedState, counted: Amount) -> Step {
        if self.phase != Phase::Open {
            return Err(self.phase_refused());
        }
        let State { round, balances } = signed.state;
        if round.signer() != Some(self.role.other()) {
            return Err(Refusal::Parity(round));
        }
        if round <= self.held_round() {
            return Ok((self.clone(), vec![Effect::Deliver(Message::Ack(self.received))]));
        }
        let newest = self.current().round;
        if round < newest {
            // We have signed a higher one: ours wins, the peer signs its payment anew (4.3.2).
            return Ok((self.clone(), Vec::new()));
        }
        if round.get() - newest.get() > MAX_ROUND_JUMP {
            return Err(Refusal::Jump { round, newest });
        }
        if balances.a.plus(balances.b) != Some(self.params.total()) {
            return Err(Refusal::Total(balances.a, balances.b));
        }
        if counted < self.included || counted > self.paid {
            return Err(Refusal::Counted { counted, least: self.included, most: self.paid });
        }
        let received = self.received_in(balances, counted)?;
        let credit = received.minus(self.received).unwrap_or(Amount::ZERO);
        let acknowledged = self.acknowledged.max(counted);
        let next = Self { held: Some(signed), included: counted, acknowledged, received, ..self.changed() };
        let mut effects = vec![Effect::Persist, Effect::Credit(credit), Effect::Deliver(Message::Ack(received))];
        if newest.get() < HALF_OF_ROUNDS && round.get() >= HALF_OF_ROUNDS {
            effects.push(Effect::Alarm(Risk::RoundsHalfUsed));
        }
        effects.extend(next.rebased().map(Effect::Sign));
        Ok((next, effects))
    }

    /// All that we were paid when our balance is that of `balances` and `counted` of our payments are in it; more than before.
    fn received_in(&self, balances: Balances, counted: Amount) -> Result<Amount, Refusal> {
        let (offered, deposit) = (balances.of(self.role), self.params.deposit(self.role));
        let base = deposit.plus(self.received).and_then(|funds| funds.minus(counted)).ok_or(Refusal::UsedUp)?;
        let credit = offered.minus(base).filter(|credit| !credit.is_zero()).ok_or(Refusal::Lowered { offered, least: base })?;
        let received = self.received.plus(credit).ok_or(Refusal::UsedUp)?;
        // The own deposit and all receipts must stay countable.
        deposit.plus(received).ok_or(Refusal::UsedUp)?;
        Ok(received)
    }

    fn acknowledged(&self, counted: Amount) -> Step {
        // Not kept by itself: it only saves sending again.
        let known = counted > self.acknowledged && counted <= self.paid;
        let acknowledged = if known { counted } else { self.acknowledged };
        Ok((Self { acknowledged, ..self.clone() }, Vec::new()))
    }

    fn close_received(&self, close: SignedClose) -> Step {
        if !matches!(self.phase, Phase::Open | Phase::CloseSigned(_) | Phase::Leaving | Phase::Closing(_)) {
            return Err(self.phase_refused());
        }
        let Balances { a, b } = close.balances;
        if a.plus(b) != Some(self.params.total()) {
            return Err(Refusal::Total(a, b));
        }
        self.not_worse(&close)?;
        Ok((Self { offer: Some(close), ..self.changed() }, vec![Effect::Persist]))
    }

    fn chain(&self, seen: OnChain) -> Step {
        let phase = match (self.phase, seen) {
            (phase, _) if phase.is_final() => phase,
            (Phase::Draft, OnChain::Proposed) => Phase::Proposed,
            (Phase::Draft | Phase::Proposed, OnChain::Open) => Phase::Open,
            (_, OnChain::Closing(closing)) => Phase::Closing(closing),
            (Phase::Draft | Phase::Proposed, OnChain::Cancelled) => Phase::Cancelled,
            // A reorganisation took the forced close back; what was given up stays given up.
            (Phase::Closing(_), OnChain::Open) => Phase::Leaving,
            (_, OnChain::Closed(a)) => {
                let b = self.params.total().minus(a).unwrap_or(Amount::ZERO);
                Phase::Closed(Balances { a, b })
            }
            (phase, _) => phase,
        };
        if phase == self.phase {
            return Ok((self.clone(), Vec::new()));
        }
        let next = Self { phase, ..self.changed() };
        let mut effects = vec![Effect::Persist];
        if let Phase::Closing(closing) = phase
            && next.is_stale(&closing)
        {
            let (submitted, deadline) = (closing.round, closing.deadline);
            effects.push(Effect::Alarm(Risk::StaleClose { submitted, held: next.held_round(), deadline }));
        }
        Ok((next, effects))
    }

    /// What the peer may have missed. All of it was kept before.
    fn resend(&self) -> (Record, Vec<Effect>) {
        let mut effects = Vec::new();
        match (self.phase, self.role, self.id) {
            (Phase::Draft | Phase::Proposed, Party::A, id) => {
                effects.push(Effect::Deliver(Message::Propose { place: self.place, params: self.params }));
                effects.extend(id.map(|id| Effect::Deliver(Message::Opened(id))));
            }
            (Phase::CloseSigned(close), ..) => effects.push(Effect::Deliver(Message::CloseOffer(close))),
            (Phase::Open, ..) if self.crossed() => effects.extend(self.rebased().map(Effect::Sign)),
            (Phase::Open, ..) if self.acknowledged < self.paid => effects.extend(self.payment().map(Effect::Deliver)),
            _ => {}
        }
        (self.clone(), effects)
    }

    /// Our newest state as the peer gets it.
    fn payment(&self) -> Option<Message> {
        self.given.map(|signed| Message::Pay { signed, counted: self.received })
    }
}
