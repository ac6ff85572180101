//! Our own proposals: written ahead, tried until there is evidence, never guessed (design 4.6, payments 4.3).

use std::collections::VecDeque;

use wire::{
    conditionals::Condition,
    message::{Action, ConfirmClose, IncrementStates, RemoveVirtual},
    state::{Body, SignedState, State},
};

use super::{CallKind, Channel, Pending, Status, Work};
use crate::{
    Answer, BUSY, CallFailed, Direction, Half, LegState,
    step::{Alarm, Attempt, Change, Env, Outcome, Outgoing, Side, SignedBody, Step, Write},
};

/// Why a channel is left, and nothing new is promised on it, while the peer holds a body that pays more than the agreed one.
const REFUSED_PAYMENT: &str = "the peer refused a payment that it had asked for";

/// After this long without evidence an operator should know.
const PENDING_LONG_MS: u64 = 60_000;

/// An attempt in flight. Volatile: after a restart the pending proposal is tried again.
#[derive(Debug)]
pub(super) struct Flight {
    /// Which body it carries; `None` while the right side still asks for the lock.
    sent: Option<Attempt>,
}

/// When and how to try the pending proposal next. Volatile.
#[derive(Debug)]
pub(super) struct Retry {
    pub(super) at: u64,
    busy: u32,
    failed: u32,
    refused: u32,
    target: Attempt,
    /// The first attempt after a load goes under the stored lock id without asking for the lock again (design 4.6).
    replay: bool,
    alarmed: bool,
}

impl Retry {
    fn fresh() -> Self {
        Self { at: 0, busy: 0, failed: 0, refused: 0, target: Attempt::Action, replay: false, alarmed: false }
    }
    pub(super) fn after_load() -> Self {
        Self { replay: true, ..Self::fresh() }
    }
}

/// `base · 2^n` up to `cap`, and up to as much again at random, so that two sides do not meet again and again.
fn backoff(base: u64, cap: u64, n: u32, random: u64) -> u64 {
    let wait = base.saturating_mul(1 << n.min(16)).min(cap);
    wait + random % (wait + 1)
}

impl Channel {
    pub(super) fn may_propose(&self) -> bool {
        self.accepts() && !self.row.suspended
    }

    /// Asks for an exchange of states, unless one is waiting already.
    pub(super) fn want_increment(&mut self, want_response: bool) {
        let want = want_response || self.row.increment.unwrap_or(false);
        self.row.increment = Some(want);
        self.dirty = true;
    }

    pub(super) fn drive_proposals(&mut self, env: &Env<'_>, out: &mut Step) {
        if self.may_propose() && self.flight.is_none() && !self.withdraw.is_asking() {
            if self.row.pending.is_none() {
                self.start_next(env, out);
            }
            self.begin_attempt(env, out);
        }
        if self.flight.is_none() {
            self.give_back(out);
        }
    }

    /// Takes the next proposal that is possible and writes it ahead. What would pay less than a void body waits.
    fn start_next(&mut self, env: &Env<'_>, out: &mut Step) {
        let owed = self.void_owed();
        if owed == 0
            && let Some(want_response) = self.row.increment.take()
        {
            return self.write_ahead(env, Work::Increment { want_response }, Change::None, 0, out);
        }
        if !self.is_ready() {
            return;
        }
        let mut waiting = VecDeque::new();
        let mut next = None;
        while let Some(work) = self.todo.pop_front() {
            match self.prepare(env, work) {
                Ok(Some((change, pays))) if pays >= owed => {
                    next = Some((work, change, pays));
                    break;
                }
                Ok(Some(_)) => waiting.push_back(work),
                Ok(None) => {}
                Err(reason) => self.leg_impossible(env, work, reason, out),
            }
        }
        let held = !waiting.is_empty() || self.row.increment.is_some();
        waiting.append(&mut self.todo);
        self.todo = waiting;
        match next {
            Some((work, change, pays)) => self.write_ahead(env, work, change, pays, out),
            None if held && !self.may_pay(env, owed) => self.force_close(REFUSED_PAYMENT, out),
            None => {}
        }
    }

    /// How much more than our agreed body the void one of its seqno pays. Until we have paid that much, nothing else is signed: of a later
    /// body that pays less and the void one, whichever we started a close from, a challenge with the other would cost the fine
    /// (payments 7.6.4).
    pub(super) fn void_owed(&self) -> u128 {
        self.row.void.map_or(0, |void| void.sent.saturating_sub(self.row.our.sent))
    }

    /// Whether a payment of that much may still come to be: the payee asks again for what it refused.
    fn may_pay(&self, env: &Env<'_>, owed: u128) -> bool {
        self.legs().filter(|leg| leg.direction() == Direction::Out).any(|leg| match leg.state {
            LegState::Open => env.now < leg.dead_at() && leg.condition.locked() >= owed,
            LegState::Closing => leg.due() >= owed,
            _ => false,
        })
    }

    /// What the proposal changes and how much `sent` grows; nothing when it is not wanted any more (payments 4.5, proposer's column).
    fn prepare(&self, env: &Env<'_>, work: Work) -> Result<Option<(Change, u128)>, &'static str> {
        let (Work::Open(key) | Work::Confirm(key) | Work::Remove(key)) = work else { return Ok(None) };
        let Some(leg) = self.leg(&key, Direction::Out) else { return Ok(None) };
        let condition = leg.condition;
        match (work, leg.state) {
            (Work::Open(_), LegState::Opening) => {
                if self.row.status != Status::Active {
                    return Err("channel is not active");
                }
                if self.void_owed() > 0 {
                    return Err(REFUSED_PAYMENT);
                }
                if u64::from(condition.deadline) < env.seconds() + self.row.safe_close + u64::from(env.policy.timing.min_safe) {
                    return Err("deadline is too near");
                }
                if self.available(Side::Our) < super::signed(condition.locked()) {
                    return Err("not enough balance");
                }
                if self.ours.get(condition.index()).is_some() {
                    return Err("another virtual channel has the same index");
                }
                if self.ours.len() >= env.policy.max_conditions {
                    return Err("too many open conditions");
                }
                Ok(Some((Change::Insert(condition), 0)))
            }
            (Work::Confirm(_), LegState::Closing) => Ok(Some((Change::Remove(key), leg.due()))),
            (Work::Remove(_), LegState::Removing) => Ok(Some((Change::Remove(key), 0))),
            _ => Ok(None),
        }
    }

    fn write_ahead(&mut self, env: &Env<'_>, work: Work, change: Change, pays: u128, out: &mut Step) {
        let conditionals = match &change {
            Change::None => self.row.our.conditionals,
            change => self.dictionary_with(change).root_hash(),
        };
        let body = Body { seqno: self.row.our.seqno + 1, sent: self.row.our.sent + pays, conditionals };
        let first = SignedBody { attempt: Attempt::Action, body, change };
        out.writes.push(Write::SignedBody(first.clone()));
        let lock_id = self.lock.kept().unwrap_or_else(|| ((env.random >> 1) as i64).max(1));
        self.row.pending = Some(Pending { work, first, lock_id, increment: false, since: env.now });
        self.retry = Retry::fresh();
        self.dirty = true;
    }

    fn dictionary_with(&self, change: &Change) -> wire::conditionals::Conditionals {
        let mut dictionary = self.ours.clone();
        apply(&mut dictionary, change);
        dictionary
    }

    /// Starts an attempt of the pending proposal when its time has come and the lock allows it.
    fn begin_attempt(&mut self, env: &Env<'_>, out: &mut Step) {
        let Some(pending) = &self.row.pending else { return };
        if env.now >= pending.since + PENDING_LONG_MS && !self.retry.alarmed {
            self.retry.alarmed = true;
            let seqno = pending.first.body.seqno;
            self.alarm(Alarm::PendingLong { seqno }, out);
        }
        if env.now < self.retry.at {
            return;
        }
        let lock_id = pending.lock_id;
        if self.lock.kept() == Some(lock_id) {
            self.send_proposal(out);
        } else if self.row.left || self.retry.replay {
            if self.lock.take(env) {
                if !self.row.left {
                    self.lock.ask(lock_id);
                }
                self.retry.replay = false;
                self.send_proposal(out);
            }
        } else if self.lock.is_free() {
            self.flight = Some(Flight { sent: None });
            self.lock.ask(lock_id);
            self.call(CallKind::Attempt, Outgoing::Lock { id: lock_id, lock: true }, out);
        }
    }

    fn send_proposal(&mut self, out: &mut Step) {
        let Some(pending) = &mut self.row.pending else { return };
        let plain = matches!(pending.work, Work::Increment { .. });
        let target = if plain { Attempt::Action } else { self.retry.target };
        if target == Attempt::Increment && !pending.increment {
            pending.increment = true;
            self.dirty = true;
            let body = self.increment_body();
            out.writes.push(Write::SignedBody(SignedBody { attempt: target, body, change: Change::None }));
        }
        let (body, lock_id) = match &self.row.pending {
            Some(p) if target == Attempt::Action => (p.first.body, p.lock_id),
            Some(p) => (self.increment_body(), p.lock_id),
            None => return,
        };
        let Some((action, proof)) = self.action_and_proof(target) else { return };
        self.flight = Some(Flight { sent: Some(target) });
        let state = self.state_with(body);
        self.call(CallKind::Attempt, Outgoing::Propose { lock_id, action, state, proof }, out);
    }

    /// The settling increment: the agreed state with the next seqno (design 4.1).
    fn increment_body(&self) -> Body {
        Body { seqno: self.row.our.seqno + 1, ..self.row.our }
    }

    fn action_and_proof(&self, target: Attempt) -> Option<(Action, Option<ton::Cell>)> {
        let pending = self.row.pending.as_ref()?;
        let work = match target {
            Attempt::Action => pending.work,
            Attempt::Increment => Work::Increment { want_response: false },
        };
        let dictionary = self.dictionary_with(match target {
            Attempt::Action => &pending.first.change,
            Attempt::Increment => &Change::None,
        });
        Some(match work {
            Work::Increment { want_response } => {
                (Action::IncrementStates(IncrementStates { want_response }), dictionary.proof_of_root())
            }
            Work::Open(key) => {
                let leg = self.leg(&key, Direction::Out)?;
                let Half::Out { action: Some(action), .. } = &leg.half else { return None };
                (Action::OpenVirtual((**action).clone()), dictionary.proof_of_entry(leg.condition.index()))
            }
            Work::Confirm(key) => {
                let leg = self.leg(&key, Direction::Out)?;
                let state = leg.resolution.as_ref()?.to_cell();
                (Action::ConfirmClose(ConfirmClose { key, state }), dictionary.proof_of_absence(leg.condition.index()))
            }
            Work::Remove(key) => {
                let index = Condition::index_of(&key);
                (Action::RemoveVirtual(RemoveVirtual { key }), dictionary.proof_of_absence(index))
            }
        })
    }

    pub(super) fn on_attempt_answer(&mut self, env: &Env<'_>, answer: Result<Answer, CallFailed>, out: &mut Step) {
        let Some(flight) = &self.flight else { return };
        let Some(sent) = flight.sent else { return self.on_lock_answer(env, answer, out) };
        match answer {
            Ok(Answer::Proposal { agreed: true, state: Some(state), .. }) => {
                let keeps = self.lock.keep();
                if !self.take_evidence(env, &state, keeps, out) {
                    // A cross check that fails says nothing (design 4.6).
                    self.end_attempt(out);
                    self.retry_later(env, |r| &mut r.failed, 250, 8_000);
                }
            }
            Ok(Answer::Proposal { reason, .. }) if reason == BUSY => {
                self.end_attempt(out);
                self.retry_later(env, |r| &mut r.busy, 2, 250);
            }
            Ok(Answer::Proposal { agreed: false, .. }) => {
                let seqno = self.row.our.seqno + 1;
                out.writes.push(Write::BodyOutcome { seqno, attempt: sent, outcome: Outcome::Refused });
                self.end_attempt(out);
                self.retry.target = match sent {
                    // The settling increment would pay less than an earlier void body.
                    Attempt::Action if self.void_owed() > 0 => Attempt::Action,
                    Attempt::Action => Attempt::Increment,
                    Attempt::Increment => Attempt::Action,
                };
                self.give_up_refused(env, out);
                if self.retry.refused == 0 {
                    self.retry.refused = 1;
                    self.retry.at = env.now;
                } else {
                    self.retry_later(env, |r| &mut r.refused, 50, 8_000);
                }
                self.dirty = true;
            }
            Ok(_) | Err(_) => {
                self.end_attempt(out);
                self.retry_later(env, |r| &mut r.failed, 250, 8_000);
            }
        }
    }

    /// The peer refuses a second time what it asked for, nothing else may be signed, and now the condition is dead.
    fn give_up_refused(&mut self, env: &Env<'_>, out: &mut Step) {
        let Some(Work::Confirm(key)) = self.row.pending.as_ref().map(|p| p.work) else { return };
        let dead = self.leg(&key, Direction::Out).is_none_or(|leg| env.now >= leg.dead_at());
        if dead && self.void_owed() > 0 {
            self.force_close(REFUSED_PAYMENT, out);
        }
    }

    fn on_lock_answer(&mut self, env: &Env<'_>, answer: Result<Answer, CallFailed>, out: &mut Step) {
        match answer {
            Ok(Answer::Decision { agreed: true, .. }) => {
                if self.lock.take(env) {
                    self.send_proposal(out);
                } else {
                    self.end_attempt(out);
                    self.retry_later(env, |r| &mut r.busy, 2, 250);
                }
            }
            Ok(Answer::Decision { agreed: false, .. }) => {
                self.flight = None;
                self.lock.refused();
                self.retry_later(env, |r| &mut r.busy, 2, 250);
            }
            Ok(_) | Err(_) => {
                self.end_attempt(out);
                self.retry_later(env, |r| &mut r.failed, 250, 8_000);
            }
        }
    }

    fn retry_later(&mut self, env: &Env<'_>, count: fn(&mut Retry) -> &mut u32, base: u64, cap: u64) {
        let n = *count(&mut self.retry);
        *count(&mut self.retry) = n.saturating_add(1);
        self.retry.at = env.now + backoff(base, cap, n, env.random);
    }

    /// Ends the attempt in flight: its answer will be dropped, the lock is given back (payments 4.2.2).
    pub(super) fn end_attempt(&mut self, out: &mut Step) {
        if self.flight.take().is_some() {
            self.calls.retain(|_, kind| *kind != CallKind::Attempt);
            self.give_back(out);
        }
    }

    fn give_back(&mut self, out: &mut Step) {
        if let Some(id) = self.lock.release() {
            self.call(CallKind::Unlock, Outgoing::Lock { id, lock: false }, out);
        }
    }

    /// Looks for evidence in a state of the peer that was not verified yet. The attempt ends with it; the lock is kept for the next one if `keeps`.
    fn take_evidence(&mut self, env: &Env<'_>, state: &SignedState, keeps: bool, out: &mut Step) -> bool {
        let copied = state.state.counterparty.is_some_and(|copy| self.pending_body(&copy).is_some());
        copied
            && state.state.channel_id == self.row.config.channel_id
            && state.verify(&self.peer_key)
            && self.resolve_by(env, state, keeps, out)
    }

    /// Looks for evidence in a state of this channel that the peer signed: a copy that is a body we signed at the pending seqno (design 4.6).
    /// Resolves the pending proposal and says whether it did.
    pub(super) fn take_verified_evidence(&mut self, env: &Env<'_>, state: &SignedState, out: &mut Step) -> bool {
        self.resolve_by(env, state, false, out)
    }

    fn resolve_by(&mut self, env: &Env<'_>, state: &SignedState, keeps: bool, out: &mut Step) -> bool {
        let Some(agreed) = state.state.counterparty.and_then(|copy| self.pending_body(&copy)) else { return false };
        if keeps {
            self.flight = None;
        }
        self.end_attempt(out);
        if state.state.body == self.row.their {
            self.keep_signature(state, out);
        }
        self.resolve(env, agreed, out);
        true
    }

    /// Which of our bodies at the pending seqno `copy` is. When both are the same body, the action is what it was signed for.
    fn pending_body(&self, copy: &Body) -> Option<Attempt> {
        let pending = self.row.pending.as_ref()?;
        if *copy == pending.first.body {
            Some(Attempt::Action)
        } else {
            (pending.increment && *copy == self.increment_body()).then_some(Attempt::Increment)
        }
    }

    /// Stores the peer's signature over its current body, unless the one we have covers a newer copy of ours.
    pub(super) fn keep_signature(&mut self, state: &SignedState, out: &mut Step) {
        let seqno = |s: &SignedState| s.state.counterparty.map_or(0, |c| c.seqno);
        let known = self.row.their_signed.as_ref().filter(|known| known.state.body == state.state.body);
        if known.is_none() {
            out.writes.push(Write::PeerState(*state));
        }
        if known.is_none_or(|known| seqno(known) <= seqno(state)) {
            self.row.their_signed = Some(*state);
            self.dirty = true;
        }
    }

    /// One body of the pending seqno is agreed: the other is void.
    fn resolve(&mut self, env: &Env<'_>, agreed: Attempt, out: &mut Step) {
        let Some(pending) = self.row.pending.take() else { return };
        let seqno = pending.first.body.seqno;
        assert_eq!(seqno, self.row.our.seqno + 1, "own seqno rises by one (design 4.4)");
        let body = match agreed {
            Attempt::Action => pending.first.body,
            Attempt::Increment => Body { seqno, ..self.row.our },
        };
        assert!(body.sent >= self.row.our.sent, "sent never goes down (design 4.4)");
        out.writes.push(Write::BodyOutcome { seqno, attempt: agreed, outcome: Outcome::Agreed });
        if pending.increment {
            let void = if agreed == Attempt::Action { Attempt::Increment } else { Attempt::Action };
            out.writes.push(Write::BodyOutcome { seqno, attempt: void, outcome: Outcome::Void });
        }
        if agreed == Attempt::Action {
            apply(&mut self.ours, &pending.first.change);
            match &pending.first.change {
                Change::None => {}
                Change::Insert(condition) => {
                    out.writes.push(Write::ConditionAdded { side: Side::Our, condition: *condition, since: seqno });
                }
                Change::Remove(key) => out.writes.push(Write::ConditionRemoved { side: Side::Our, key: *key, until: seqno }),
            }
        }
        self.row.our = body;
        self.row.void = Some(pending.first.body).filter(|void| void.sent > body.sent);
        self.dirty = true;
        debug_assert_eq!(self.ours.root_hash(), self.row.our.conditionals);
        match agreed {
            Attempt::Action => self.work_agreed(env, pending.work, out),
            Attempt::Increment => self.work_refused(env, pending.work, out),
        }
    }

    /// The body with the highest seqno, then sent, that we ever signed: what a forced close must start from, or a challenge with it costs
    /// the fine (payments 7.6.4). None pays more: see [`Self::void_owed`]. Of two that are alike in both, the increment: it promises nothing.
    pub(super) fn highest_signed(&self) -> Body {
        match &self.row.pending {
            Some(pending) if pending.increment && pending.first.body.sent == self.row.our.sent => self.increment_body(),
            Some(pending) => pending.first.body,
            None => self.row.void.unwrap_or(self.row.our),
        }
    }

    /// Whether `body` is one that we signed, as far as this memory knows.
    pub(super) fn is_known_body(&self, body: &Body) -> bool {
        *body == self.row.our || self.pending_body(body).is_some()
    }

    /// The highest seqno that we wrote ahead.
    pub(super) fn highest_seqno(&self) -> u64 {
        self.highest_signed().seqno
    }

    pub(super) fn queue_work(&mut self, work: Work) {
        self.todo.push_back(work);
    }

    /// The state to sign for an answer: the current own body with the peer's newest one.
    pub(super) fn answer_state(&self) -> State {
        self.own_state()
    }
}

/// Applies a change that was checked before.
fn apply(dictionary: &mut wire::conditionals::Conditionals, change: &Change) {
    match change {
        Change::None => {}
        Change::Insert(condition) => dictionary.insert(*condition).expect("the index was free when the proposal was made"),
        Change::Remove(key) => {
            dictionary.remove(Condition::index_of(key));
        }
    }
}
