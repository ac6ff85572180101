//! Transactions, and what the chain shows.

use alloy_primitives::B256;

use super::{Effect, HALF_OF_ROUNDS, Input, OnChain, Refusal, Risk, Step};
use crate::amount::{Amount, Party};
use crate::fees::{TooDear, Urgency};
use crate::params::ChannelId;
use crate::record::{Call, Closing, MAX_RAISES, Pending, Phase, Prepared, Record, SignedClose};
use crate::typed::Balances;

impl Record {
    /// What a guard does now by itself: answer a stale close, finish one whose deadline is over, leave anew when a way out that was submitted
    /// came to nothing, take back a deposit that was not accepted in time.
    #[must_use]
    pub fn due(&self, now: u64) -> Option<Input> {
        if self.pending.is_some() {
            return None;
        }
        let closing = match self.phase {
            Phase::Closing(closing) => closing,
            Phase::Leaving => return Some(Input::ForceClose),
            Phase::Proposed if self.role == Party::A && self.is_over(now) => return Some(Input::Cancel),
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

    /// The proposal's time is over: it is neither opened nor accepted any more.
    #[must_use]
    pub fn is_over(&self, now: u64) -> bool {
        self.expires != 0 && now > self.expires
    }

    /// The proposal's time is over and nothing of ours can be in the channel, whatever the chain will show: the record may be forgotten.
    #[must_use]
    pub fn is_void(&self, now: u64) -> bool {
        let without_deposit = match (self.phase, self.role) {
            (Phase::Draft, _) | (Phase::Proposed, Party::B) => !self.deposit_signed,
            _ => false,
        };
        without_deposit && self.pending.is_none() && self.is_over(now)
    }

    pub(super) fn in_time(&self, now: u64) -> Result<(), Refusal> {
        if self.is_over(now) { Err(Refusal::Expired(self.expires)) } else { Ok(()) }
    }

    /// A stale close is to be answered, and something else is on its way. Once that is in a block it does not hold up the answer, however deep
    /// the block is: a period may be shorter than what it takes to rely on a block.
    #[must_use]
    pub fn is_held_up(&self) -> bool {
        let other = self.pending.as_ref().is_some_and(|pending| !matches!(pending.call, Call::Dispute(_)));
        other && matches!(self.phase, Phase::Closing(closing) if self.is_stale(&closing))
    }

    /// How soon a call must be in a block.
    #[must_use]
    pub fn urgency(&self, call: &Call) -> Urgency {
        match (self.phase, call) {
            // The answer to a stale close waits for whatever is on its way.
            (Phase::Closing(closing), _) if self.is_stale(&closing) => Urgency::Urgent,
            (Phase::Closing(_), Call::Dispute(_) | Call::CooperativeClose(_)) => Urgency::Urgent,
            _ => Urgency::Calm,
        }
    }

    /// Whether the transaction on its way has waited long enough for a block.
    #[must_use]
    pub fn is_raise_due(&self, now: u64, urgency: Urgency) -> bool {
        let waited = self.pending.as_ref().map(|pending| now.saturating_sub(pending.since));
        waited.is_some_and(|waited| waited >= urgency.wait(self.params.period))
    }

    /// All that transactions can cost when `more` is added, if that is allowed.
    ///
    /// # Errors
    /// It is more than `most`.
    pub fn charge(&self, more: Amount, most: Amount) -> Result<Amount, TooDear> {
        let asked = self.fees.plus(more).unwrap_or(Amount::new(u128::MAX));
        if asked > most { Err(TooDear::Total { asked, most }) } else { Ok(asked) }
    }

    fn is_stale(&self, closing: &Closing) -> bool {
        closing.by == self.role.other() && self.held_round() > closing.round
    }

    fn may(&self, call: &Call) -> Result<(), Refusal> {
        let party = match call {
            Call::Open | Call::Cancel => Some(Party::A),
            Call::Accept => Some(Party::B),
            Call::Approve(_) if self.phase == Phase::Draft => Some(Party::A),
            Call::Approve(_) => Some(Party::B),
            _ => None,
        };
        if party.is_some_and(|party| party != self.role) {
            return Err(Refusal::Role(self.role));
        }
        let fits = match call {
            Call::Open => self.phase == Phase::Draft,
            Call::Accept | Call::Cancel => self.phase == Phase::Proposed,
            Call::Approve(_) => matches!(self.phase, Phase::Draft | Phase::Proposed),
            Call::Withdraw(_) => true,
            Call::CooperativeClose(_) => {
                matches!(self.phase, Phase::Open | Phase::CloseSigned(_) | Phase::Leaving | Phase::Closing(_))
            }
            Call::Challenge(_) => matches!(self.phase, Phase::Open | Phase::CloseSigned(_) | Phase::Leaving),
            Call::Dispute(_) | Call::Finish => matches!(self.phase, Phase::Closing(_)),
        };
        if fits { Ok(()) } else { Err(self.phase_refused()) }
    }

    pub(super) fn ask(&self, call: Call) -> Step {
        self.may(&call)?;
        if self.pending.is_some() {
            return Err(Refusal::Busy);
        }
        Ok((self.clone(), vec![Effect::Prepare(call)]))
    }

    pub(super) fn coop_close(&self) -> Step {
        let close = self.offer.ok_or(Refusal::NoOffer)?;
        // Asked again: the peer may have paid after it signed the close, against the rules.
        self.not_worse(&close)?;
        self.ask(Call::CooperativeClose(close))
    }

    pub(super) fn not_worse(&self, close: &SignedClose) -> Result<(), Refusal> {
        let (offered, own) = (close.balances.of(self.role), self.own_balance());
        if offered < own { Err(Refusal::Worse { offered, own }) } else { Ok(()) }
    }

    pub(super) fn dispute(&self) -> Step {
        let Phase::Closing(closing) = self.phase else { return Err(self.phase_refused()) };
        match self.held {
            Some(held) if self.is_stale(&closing) => self.ask(Call::Dispute(held)),
            _ => Err(Refusal::NothingNewer(closing.round)),
        }
    }

    pub(super) fn finish(&self, now: u64) -> Step {
        match self.phase {
            Phase::Closing(closing) if now <= closing.deadline => Err(Refusal::TooEarly(closing.deadline)),
            _ => self.ask(Call::Finish),
        }
    }

    pub(super) fn prepared(&self, call: Call, transaction: Prepared, now: u64) -> Step {
        self.may(&call)?;
        if self.pending.is_some() {
            return Err(Refusal::Busy);
        }
        let mut next = self.changed();
        if next.phase == Phase::Open && matches!(call, Call::CooperativeClose(_) | Call::Challenge(_)) {
            next.phase = Phase::Leaving;
        }
        next.deposit_signed |= matches!(call, Call::Open | Call::Accept);
        next.fees = next.fees.plus(transaction.cost).unwrap_or(Amount::new(u128::MAX));
        next.pending = Some(Pending { call, transaction: transaction.clone(), since: now, earlier: Vec::new() });
        Ok((next, vec![Effect::Persist, Effect::Submit(transaction)]))
    }

    pub(super) fn raise(&self, urgency: Urgency) -> Step {
        let pending = self.pending.as_ref().ok_or(Refusal::NothingPending)?;
        if pending.earlier.len() >= MAX_RAISES {
            return Err(TooDear::Often(MAX_RAISES).into());
        }
        Ok((self.clone(), vec![Effect::Raise(pending.transaction.clone(), urgency)]))
    }

    pub(super) fn raised(&self, of: B256, by: Prepared, now: u64) -> Step {
        let pending = self.pending.as_ref().filter(|pending| pending.transaction.hash == of).ok_or(Refusal::NothingPending)?;
        let mut next = self.changed();
        // Only one of them will be in a block.
        let more = by.cost.minus(pending.transaction.cost).unwrap_or(Amount::ZERO);
        next.fees = next.fees.plus(more).unwrap_or(Amount::new(u128::MAX));
        let earlier = pending.earlier.iter().copied().chain([of]).collect();
        next.pending = Some(Pending { call: pending.call, transaction: by.clone(), since: now, earlier });
        Ok((next, vec![Effect::Persist, Effect::Submit(by)]))
    }

    pub(super) fn dropped(&self, transaction: &Prepared) -> Step {
        if self.pending.as_ref().is_none_or(|pending| pending.transaction.hash != transaction.hash) {
            return Ok((self.clone(), Vec::new()));
        }
        Ok((Self { pending: None, ..self.changed() }, vec![Effect::Persist]))
    }

    pub(super) fn named(&self, id: ChannelId) -> Step {
        let compact = matches!((self.id, id), (None | Some(ChannelId::Compact(_)), ChannelId::Compact(_)));
        if !compact || self.phase != Phase::Draft {
            return if self.id == Some(id) { Ok((self.clone(), Vec::new())) } else { Err(self.phase_refused()) };
        }
        Ok((Self { id: Some(id), ..self.changed() }, vec![Effect::Persist]))
    }

    pub(super) fn chain(&self, seen: OnChain) -> Step {
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
}
