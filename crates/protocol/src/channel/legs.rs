//! Legs on this channel: their timers, what they ask of the peer, whom they tell (payments 5.7, 5.8; design 4.7).

use wire::{
    conditionals::Condition,
    message::{Action, CloseVirtual, RequestRemoveVirtual},
    resolution::Resolution,
};

use super::{CallKind, Channel, Status, Work};
use crate::{
    Answer, CallFailed, Direction, Half, Key, Leg, LegState,
    step::{Env, NewTask, OpenLeg, Origin, Outgoing, RequestResult, Side, Step, Task, Write},
};

/// After the peer agreed to propose, how long to wait before asking again.
const ASK_AGAIN_MS: u64 = 10_000;
/// First pause after a refusal or silence: short, for a request may overtake our own answer to the opening. Doubles up to [`ASK_AGAIN_MS`].
const ASK_RETRY_MS: u64 = 10;
/// Doublings at most.
const ASK_DOUBLINGS: u32 = 10;
/// Pause while as many legs ask as may.
const ASK_CROWDED_MS: u64 = 500;
/// How many legs of one channel ask at the same time.
const MAX_ASKS: usize = 256;

/// A leg in memory, with its volatile half.
#[derive(Debug)]
pub(super) struct LegSlot {
    pub(super) leg: Leg,
    /// Where it stands in `timers`.
    wake: Option<u64>,
    /// When to ask the payer, or to propose the removal, again.
    ask_at: u64,
    asked: u32,
    asking: bool,
}

impl Channel {
    pub(super) fn our_key(&self) -> Key {
        if self.row.left { self.row.config.keys.a } else { self.row.config.keys.b }
    }

    /// Puts a leg into memory and sets its timer.
    pub(super) fn put_leg(&mut self, leg: Leg) {
        let id = (leg.key(), leg.direction());
        let (wake, ask_at, asked, asking) = match self.legs.remove(&id) {
            Some(old) if old.leg.state == leg.state => (old.wake, old.ask_at, old.asked, old.asking),
            Some(old) => (old.wake, 0, 0, old.asking),
            None => (None, 0, 0, false),
        };
        if let Some(at) = wake {
            self.timers.remove(&(at, id.0, id.1));
        }
        if leg.is_final() && leg.released == 0 && leg.told {
            return;
        }
        let mut slot = LegSlot { leg, wake: None, ask_at, asked, asking };
        slot.wake = self.leg_wake(&slot);
        if let Some(at) = slot.wake {
            self.timers.insert((at, id.0, id.1));
        }
        self.legs.insert(id, slot);
    }

    /// Writes a leg and keeps it in memory.
    pub(super) fn save_leg(&mut self, leg: Leg, out: &mut Step) {
        out.writes.push(Write::Leg(Box::new(leg.clone())));
        self.dirty = true;
        self.put_leg(leg);
    }

    fn leg_wake(&self, slot: &LegSlot) -> Option<u64> {
        let leg = &slot.leg;
        let ask = (!slot.asking).then_some(slot.ask_at);
        match (leg.direction(), leg.state) {
            (Direction::In, LegState::Open) => Some(leg.dead_at().max(slot.ask_at)),
            (Direction::In, LegState::Closing) => {
                let force = self.force_at(leg);
                let force = (self.row.force.is_none() && self.row.status != Status::Closed).then_some(force);
                [ask, force].into_iter().flatten().min()
            }
            (Direction::In, LegState::Removing) => ask,
            (Direction::Out, LegState::Open) => Some(leg.dead_at().max(slot.ask_at)),
            (Direction::Out, LegState::Opening | LegState::Closing | LegState::Removing) => None,
            // final, but released or untold: nothing to do before the promise is dead
            _ => Some(leg.dead_at()),
        }
    }

    /// When a resolution that we hold must go to the chain (design 4.8, payments 5.4).
    fn force_at(&self, leg: &Leg) -> u64 {
        (u64::from(leg.condition.deadline).saturating_sub(self.row.safe_close)) * 1000
    }

    pub(super) fn drive_legs(&mut self, env: &Env<'_>, out: &mut Step) {
        let mut asking = self.calls.values().filter(|k| matches!(k, CallKind::Ask(_))).count();
        while let Some(&(at, key, direction)) = self.timers.first() {
            if at > env.now {
                break;
            }
            self.timers.pop_first();
            let Some(slot) = self.legs.get_mut(&(key, direction)) else { continue };
            slot.wake = None;
            self.leg_due(env, key, direction, &mut asking, out);
        }
    }

    fn leg_due(&mut self, env: &Env<'_>, key: Key, direction: Direction, asking: &mut usize, out: &mut Step) {
        let Some(slot) = self.legs.get(&(key, direction)) else { return };
        let mut leg = slot.leg.clone();
        match (direction, leg.state) {
            (Direction::In, LegState::Open) => {
                leg.state = LegState::Removing;
                self.save_leg(leg, out);
            }
            (Direction::In, LegState::Closing | LegState::Removing) => self.ask_payer(env, key, asking, out),
            (Direction::Out, LegState::Open) => {
                // The payer removes expired conditions by itself (payments 10.3.7).
                leg.state = LegState::Removing;
                self.save_leg(leg, out);
                self.queue_work(Work::Remove(key));
            }
            _ if leg.is_final() => self.promise_died(leg, out),
            _ => {}
        }
    }

    /// Sends closeVirtual or requestRemoveVirtual, and goes to the chain when a resolution is not honoured in time.
    fn ask_payer(&mut self, env: &Env<'_>, key: Key, asking: &mut usize, out: &mut Step) {
        let Some(slot) = self.legs.get(&(key, Direction::In)) else { return };
        let (leg, asks) = (slot.leg.clone(), !slot.asking && env.now >= slot.ask_at);
        let closing = leg.state == LegState::Closing;
        if closing && env.now >= self.force_at(&leg) && self.row.force.is_none() && self.row.status != Status::Closed {
            self.force_close("a resolution was not honoured in time", out);
        }
        let may_ask = self.accepts() && !self.row.suspended && self.is_ready();
        if may_ask && asks && *asking < MAX_ASKS {
            *asking += 1;
            let action = match &leg.resolution {
                Some(resolution) if closing => Action::CloseVirtual(CloseVirtual { key, state: resolution.to_cell() }),
                _ => Action::RequestRemoveVirtual(RequestRemoveVirtual { key }),
            };
            self.call(CallKind::Ask(key), Outgoing::Request(action), out);
            self.reschedule(&key, |slot| slot.asking = true);
        } else {
            let later = env.now + ASK_CROWDED_MS;
            self.reschedule(&key, |slot| slot.ask_at = slot.ask_at.max(later));
        }
    }

    fn reschedule(&mut self, key: &Key, change: impl FnOnce(&mut LegSlot)) {
        let id = (*key, Direction::In);
        let Some(mut slot) = self.legs.remove(&id) else { return };
        if let Some(at) = slot.wake.take() {
            self.timers.remove(&(at, id.0, id.1));
        }
        change(&mut slot);
        slot.wake = self.leg_wake(&slot);
        if let Some(at) = slot.wake {
            self.timers.insert((at, id.0, id.1));
        }
        self.legs.insert(id, slot);
    }

    pub(super) fn on_ask_answer(&mut self, env: &Env<'_>, key: Key, answer: Result<Answer, CallFailed>) {
        let agreed = matches!(answer, Ok(Answer::Decision { agreed: true, .. }));
        self.reschedule(&key, |slot| {
            slot.asking = false;
            let pause = if agreed { ASK_AGAIN_MS } else { (ASK_RETRY_MS << slot.asked.min(ASK_DOUBLINGS)).min(ASK_AGAIN_MS) };
            slot.asked = slot.asked.saturating_add(1);
            slot.ask_at = env.now + pause;
        });
    }

    pub(super) fn ask_all_now(&mut self, env: &Env<'_>) {
        let waiting = |s: &LegSlot| matches!(s.leg.state, LegState::Closing | LegState::Removing) && s.ask_at > env.now;
        let keys: Vec<Key> =
            self.legs.iter().filter(|((_, d), s)| *d == Direction::In && waiting(s)).map(|((key, _), _)| *key).collect();
        for key in keys {
            self.reschedule(&key, |slot| slot.ask_at = env.now);
        }
    }

    // ---- tasks

    /// A new outgoing leg, from the API or from an incoming leg.
    pub(super) fn open_leg(&mut self, env: &Env<'_>, open: OpenLeg, out: &mut Step) {
        let key = open.condition.key;
        let sender = matches!(open.origin, Origin::Sender { .. });
        let half = Half::Out { origin: open.origin, action: Some(Box::new(open.action)) };
        let leg = Leg { condition: open.condition, state: LegState::Opening, resolution: None, half, released: 0, told: false };
        if let Some(known) = self.leg(&key, Direction::Out) {
            if !same_origin(known, &leg) {
                refuse_open(leg, "virtual key was used before", out);
            }
            return;
        }
        // The node's first leg of the key; a forwarder's first one is the incoming one (design 3).
        if sender && env.used_key == Some(key) {
            return refuse_open(leg, "virtual key was used before", out);
        }
        if self.row.status != Status::Active || self.row.suspended {
            return refuse_open(leg, "channel is not active", out);
        }
        if sender {
            out.writes.push(Write::VirtualKey(key));
        }
        self.save_leg(leg, out);
        self.queue_work(Work::Open(key));
    }

    /// A resolution for an incoming leg: from the outgoing leg, or from the API.
    pub(super) fn close_leg(&mut self, env: &Env<'_>, key: Key, resolution: &Resolution, out: &mut Step) {
        let Some(leg) = self.leg(&key, Direction::In) else { return };
        let mut leg = leg.clone();
        let usable = resolution.verify(&key) && resolution.amount <= leg.condition.capacity && env.now < leg.dead_at();
        if usable && !leg.is_final() && leg.learn(resolution) {
            leg.state = LegState::Closing;
            self.save_leg(leg, out);
        }
    }

    /// The next hop will not pay: give the incoming condition up.
    pub(super) fn unwind_leg(&mut self, _env: &Env<'_>, key: Key, _reason: &str, out: &mut Step) {
        let Some(leg) = self.leg(&key, Direction::In) else { return };
        if leg.state == LegState::Open {
            let leg = Leg { state: LegState::Removing, ..leg.clone() };
            self.save_leg(leg, out);
        }
    }

    // ---- outcomes of our proposals

    /// The proposal cannot be made: nothing was signed.
    pub(super) fn leg_impossible(&mut self, _env: &Env<'_>, work: Work, reason: &'static str, out: &mut Step) {
        let Work::Open(key) = work else { return };
        if let Some(leg) = self.leg(&key, Direction::Out).cloned() {
            self.refuse_leg(leg, reason, out);
        }
    }

    fn refuse_leg(&mut self, mut leg: Leg, reason: &str, out: &mut Step) {
        leg.state = LegState::Refused;
        tell(&mut leg, reason, out);
        self.save_leg(leg, out);
    }

    pub(super) fn work_agreed(&mut self, env: &Env<'_>, work: Work, out: &mut Step) {
        let (Work::Open(key) | Work::Confirm(key) | Work::Remove(key)) = work else { return };
        let Some(mut leg) = self.leg(&key, Direction::Out).cloned() else { return };
        match work {
            Work::Open(_) => {
                leg.state = LegState::Open;
                if let Half::Out { action, origin } = &mut leg.half {
                    *action = None;
                    if let Origin::Sender { request_id, .. } = origin {
                        let request_id = request_id.clone();
                        out.writes.push(Write::Result { request_id, result: RequestResult::Opened });
                    }
                }
            }
            Work::Confirm(_) => {
                leg.state = LegState::Closed;
                // An older body with the condition in it and a better resolution would still pay the rest (payments 7.6.4).
                let rest = leg.condition.capacity - leg.resolution.as_ref().map_or(0, |r| r.amount);
                self.release_or_wait(env, &mut leg, rest, "", out);
            }
            _ => {
                leg.state = LegState::Removed;
                let rest = leg.condition.locked();
                self.release_or_wait(env, &mut leg, rest, "removed at the next hop", out);
            }
        }
        self.save_leg(leg, out);
    }

    pub(super) fn work_refused(&mut self, env: &Env<'_>, work: Work, out: &mut Step) {
        let (Work::Open(key) | Work::Confirm(key) | Work::Remove(key)) = work else { return };
        let Some(mut leg) = self.leg(&key, Direction::Out).cloned() else { return };
        match work {
            Work::Open(_) => {
                leg.state = LegState::Refused;
                let rest = leg.condition.locked();
                self.release_or_wait(env, &mut leg, rest, "refused by the next hop", out);
                self.save_leg(leg, out);
            }
            _ => {
                // The condition stays; the payee may ask again, and the payer's timer tries again.
                leg.state = LegState::Open;
                self.save_leg(leg, out);
                let later = env.now + ASK_AGAIN_MS;
                if let Some(slot) = self.legs.get_mut(&(key, Direction::Out)) {
                    slot.ask_at = later;
                    let leg = slot.leg.clone();
                    self.put_leg(leg);
                }
            }
        }
    }

    /// Tells the other end at once while what is still payable stays within the risk limit, else when the promise is dead (design 4.7).
    fn release_or_wait(&mut self, env: &Env<'_>, leg: &mut Leg, rest: u128, reason: &str, out: &mut Step) {
        if rest == 0 || env.now >= leg.dead_at() {
            return tell(leg, reason, out);
        }
        if self.row.released + env.released_elsewhere + rest <= env.policy.risk_limit {
            leg.released = rest;
            self.row.released += rest;
            tell(leg, reason, out);
        }
    }

    /// Nobody can claim the condition any more.
    fn promise_died(&mut self, mut leg: Leg, out: &mut Step) {
        self.row.released -= leg.released;
        leg.released = 0;
        if !leg.told {
            tell(&mut leg, "not paid before its deadline", out);
        }
        self.save_leg(leg, out);
    }

    /// The resolution is the best there can be: the incoming side may be asked at once, in parallel with our payment. A smaller one waits
    /// until the condition here is gone, or the payee could show a better one on the chain after the payer paid us less. When the difference
    /// is above the risk limit it is gone only at its deadline: asking earlier would take the smaller sum and give up the claim to the
    /// larger one that we may still have to pay. It is in time: between the two deadlines lies all that enforcing on the chain takes
    /// (payments 5.4), for a node that is not away for long (docs/running.md).
    pub(super) fn pass_resolution_upstream(&mut self, leg: &Leg, out: &mut Step) {
        let whole = leg.resolution.as_ref().is_some_and(|r| r.amount == leg.condition.capacity);
        if let (true, Half::Out { origin: Origin::Forward { channel }, .. }) = (whole, &leg.half) {
            pass_close(leg, *channel, out);
        }
    }

    /// A condition of the peer ended: paid or removed.
    pub(super) fn incoming_ended(&mut self, key: Key, state: LegState, until: u64, out: &mut Step) {
        out.writes.push(Write::ConditionRemoved { side: Side::Their, key, until });
        if let Some(mut leg) = self.leg(&key, Direction::In).cloned() {
            leg.state = state;
            leg.told = true;
            self.save_leg(leg, out);
        }
    }

    /// The contract paid out: what was settled was learned before, the rest is dead for both sides.
    pub(super) fn abandon_legs(&mut self, out: &mut Step) {
        let legs: Vec<Leg> = self.legs().cloned().collect();
        for mut leg in legs {
            self.row.released -= leg.released;
            leg.released = 0;
            let paid = match leg.direction() {
                Direction::Out => leg.resolution.is_some(),
                Direction::In => self.row.settled.contains(&leg.condition.index()),
            };
            if !leg.is_final() {
                leg.state = if paid { LegState::Closed } else { LegState::Abandoned };
            }
            if !leg.told {
                tell(&mut leg, "the channel was closed", out);
            }
            self.save_leg(leg, out);
        }
    }

    /// The peer settled our condition on the chain: its resolution is worth as much as a closeVirtual (payments 8.3).
    pub(super) fn learn_from_chain(&mut self, index: u32, resolution: &Resolution, out: &mut Step) {
        let found =
            self.legs.values().find(|s| s.leg.direction() == Direction::Out && Condition::index_of(&s.leg.key()) == index);
        let Some(mut leg) = found.map(|s| s.leg.clone()) else { return };
        if !resolution.verify(&leg.key()) || resolution.amount > leg.condition.capacity {
            return;
        }
        leg.learn(resolution);
        if leg.is_final() && !leg.told {
            // Removed or refused, and paid on the chain all the same, from an older body (payments 7.6.4).
            leg.state = LegState::Closed;
        }
        if let Half::Out { origin: Origin::Forward { channel }, .. } = &leg.half {
            pass_close(&leg, *channel, out);
        }
        self.save_leg(leg, out);
    }

    /// Incoming legs whose resolution is still to be enforced, with what it brings.
    pub(super) fn claims(&self) -> impl Iterator<Item = &Leg> {
        self.legs().filter(|leg| leg.direction() == Direction::In && leg.state == LegState::Closing)
    }
}

/// Tells whoever waits for the outgoing leg. Incoming legs have nobody to tell.
fn tell(leg: &mut Leg, reason: &str, out: &mut Step) {
    leg.told = true;
    let Half::Out { origin, .. } = &leg.half else { return };
    match origin {
        Origin::Sender { request_id, .. } => {
            let result = match leg.state {
                LegState::Closed => RequestResult::Paid { amount: leg.due() },
                _ => RequestResult::Failed { reason: reason.into() },
            };
            out.writes.push(Write::Result { request_id: request_id.clone(), result });
        }
        Origin::Forward { channel } => {
            let channel = *channel;
            match (&leg.state, &leg.resolution) {
                (LegState::Closed, Some(_)) => pass_close(leg, channel, out),
                _ => {
                    let key = leg.key();
                    let id = format!("unwind:{}", hex::encode(key));
                    out.writes.push(Write::Task(NewTask { id, channel, task: Task::Unwind { key, reason: reason.into() } }));
                }
            }
        }
    }
}

fn pass_close(leg: &Leg, channel: crate::Address, out: &mut Step) {
    let Some(resolution) = leg.resolution else { return };
    let key = leg.key();
    let id = format!("close:{}:{}", hex::encode(key), resolution.amount);
    out.writes.push(Write::Task(NewTask { id, channel, task: Task::Close { key, resolution } }));
}

/// A leg that never comes to be: nothing is kept of it, for a row of its key may belong to another one.
fn refuse_open(mut leg: Leg, reason: &str, out: &mut Step) {
    leg.state = LegState::Refused;
    tell(&mut leg, reason, out);
}

fn same_origin(a: &Leg, b: &Leg) -> bool {
    let origin = |leg: &Leg| match &leg.half {
        Half::Out { origin, .. } => Some(origin.clone()),
        Half::In { .. } => None,
    };
    origin(a) == origin(b)
}
