//! Payments, and the close that both agree on.

use super::{Effect, HALF_OF_ROUNDS, MAX_ROUND_JUMP, MAX_UNREACHED_ROUNDS, Refusal, Risk, Step};
use crate::amount::{Amount, Party, Round};
use crate::message::Message;
use crate::record::{Phase, Record, SignedClose, SignedState};
use crate::signature::Signature;
use crate::typed::{Balances, Payload, State};

impl Record {
    pub(super) fn pay(&self, amount: Amount) -> Step {
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
        let (round, reached) = (state.round, self.reached);
        if round.get().saturating_sub(reached.get()) > MAX_UNREACHED_ROUNDS {
            return Err(Refusal::Unacknowledged { round, reached });
        }
        Ok((self.clone(), vec![Effect::Sign(Payload::State(state))]))
    }

    pub(super) fn sign_close(&self) -> Step {
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

    pub(super) fn signed(&self, payload: Payload, signature: Signature) -> Step {
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

    pub(super) fn received(&self, signed: SignedState, counted: Amount) -> Step {
        if self.phase != Phase::Open {
            return Err(self.phase_refused());
        }
        let State { round, balances } = signed.state;
        if round.signer() != Some(self.role.other()) {
            return Err(Refusal::Parity(round));
        }
        if round <= self.held_round() {
            return Ok((self.clone(), vec![Effect::Deliver(self.acknowledgement())]));
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
        let reached = self.reached.max(round);
        let next = Self { held: Some(signed), included: counted, acknowledged, reached, received, ..self.changed() };
        let mut effects = vec![Effect::Persist, Effect::Credit(credit), Effect::Deliver(next.acknowledgement())];
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

    /// Not kept by itself: it only saves sending again, and holds up payments while it is missing.
    pub(super) fn acknowledged(&self, counted: Amount, round: Round) -> (Self, Vec<Effect>) {
        let known = counted > self.acknowledged && counted <= self.paid;
        let acknowledged = if known { counted } else { self.acknowledged };
        // A peer that claims more than there is knows all that there is.
        let reached = self.reached.max(round.min(self.current().round));
        (Self { acknowledged, reached, ..self.clone() }, Vec::new())
    }

    /// What we have of the peer's payments.
    #[must_use]
    pub fn acknowledgement(&self) -> Message {
        Message::Ack { counted: self.received, round: self.current().round }
    }

    pub(super) fn close_received(&self, close: SignedClose) -> Step {
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

    /// There is something that the peer may have missed.
    #[must_use]
    pub fn is_unheard(&self) -> bool {
        !self.resend().1.is_empty()
    }

    /// What the peer may have missed. All of it was kept before.
    pub(super) fn resend(&self) -> (Record, Vec<Effect>) {
        let mut effects = Vec::new();
        let unheard = self.role == Party::A && self.reached == Round::OPENING;
        if unheard && matches!(self.phase, Phase::Draft | Phase::Proposed | Phase::Open) {
            // Also when it is open: without a deposit of b nothing shows that b knows of it.
            let Self { place, params, expires, .. } = *self;
            effects.push(Effect::Deliver(Message::Propose { place, params, expires }));
            effects.extend(self.id.map(|id| Effect::Deliver(Message::Opened(id))));
        }
        match self.phase {
            Phase::CloseSigned(close) => effects.push(Effect::Deliver(Message::CloseOffer(close))),
            Phase::Open if self.crossed() => effects.extend(self.rebased().map(Effect::Sign)),
            Phase::Open if self.acknowledged < self.paid => effects.extend(self.payment().map(Effect::Deliver)),
            _ => {}
        }
        (self.clone(), effects)
    }

    /// Our newest state as the peer gets it: it contains all payments before it.
    #[must_use]
    pub fn payment(&self) -> Option<Message> {
        self.given.map(|signed| Message::Pay { signed, counted: self.received })
    }
}
