//! One payment channel as this node sees it: the pair of signed states and what goes on about them.

mod close;
mod dispute;
mod legs;
mod lock;
mod propose;
mod request;
mod respond;
mod row;
mod withdraw;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::VerifyingKey;
use wire::{
    conditionals::{Condition, Conditionals},
    state::{Body, State},
};

pub use dispute::Quarantined;
pub use row::{ChannelRow, Onchain, Pending, Status, Withdrawal, Work};

use crate::{
    Direction, Key, Leg, LegState,
    step::{Alarm, CallId, Effect, Env, Event, Outgoing, Side, Step, Task, Write},
};
use legs::LegSlot;
use lock::Lock;
use propose::{Flight, Retry};

/// A channel, its two dictionaries and its live legs, in memory.
pub struct Channel {
    row: ChannelRow,
    peer_key: VerifyingKey,
    ours: Conditionals,
    theirs: Conditionals,
    legs: BTreeMap<(Key, Direction), LegSlot>,
    /// Proposals to make, in order. Rebuilt from the legs at load.
    todo: VecDeque<Work>,
    /// When a leg wants to be looked at, in milliseconds.
    timers: BTreeSet<(u64, Key, Direction)>,
    lock: Lock,
    flight: Option<Flight>,
    retry: Retry,
    calls: BTreeMap<CallId, CallKind>,
    next_call: CallId,
    dirty: bool,
    dispute: dispute::Volatile,
    dispute_seen: u64,
    close: close::Volatile,
    withdraw: withdraw::Volatile,
}

/// What one of our calls was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CallKind {
    /// The lock or the proposal of the attempt in flight.
    Attempt,
    /// `closeVirtual` or `requestRemoveVirtual` for an incoming leg.
    Ask(Key),
    /// `isChannelUnlocked` for the peer's lock of this id.
    Watch(i64),
    /// `lock=false`: nobody waits for the answer.
    Unlock,
    /// The request for a cooperative close.
    Close,
    /// The request for a cooperative commit.
    Commit,
}

/// Why rows are not a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The peer's key is not a point on the curve.
    #[error("peer key: not a valid Ed25519 public key")]
    PeerKey,
    /// Two live conditions of one side share an index.
    #[error("conditions: two at one index")]
    Conditions,
    /// The conditions are not the ones that the agreed body commits to.
    #[error("conditions: not the dictionary of the agreed body")]
    Hash,
}

impl Channel {
    /// Rebuilds a channel from its rows: the agreed dictionaries of both sides, and every leg that is not final or has something released or
    /// untold.
    pub fn load(
        row: ChannelRow,
        ours: impl IntoIterator<Item = Condition>,
        theirs: impl IntoIterator<Item = Condition>,
        legs: impl IntoIterator<Item = Leg>,
    ) -> Result<Self, LoadError> {
        let peer_key = VerifyingKey::from_bytes(&row.peer).map_err(|_| LoadError::PeerKey)?;
        let mut channel = Self {
            peer_key,
            ours: Conditionals::from_conditions(ours).map_err(|_| LoadError::Conditions)?,
            theirs: Conditionals::from_conditions(theirs).map_err(|_| LoadError::Conditions)?,
            legs: BTreeMap::new(),
            todo: VecDeque::new(),
            timers: BTreeSet::new(),
            lock: Lock::default(),
            flight: None,
            retry: Retry::after_load(),
            calls: BTreeMap::new(),
            next_call: 1,
            dirty: false,
            dispute: Default::default(),
            dispute_seen: 0,
            close: Default::default(),
            withdraw: Default::default(),
            row,
        };
        if (channel.ours.root_hash(), channel.theirs.root_hash())
            != (channel.row.our.conditionals, channel.row.their.conditionals)
        {
            return Err(LoadError::Hash);
        }
        let pending = channel.row.pending.as_ref().map(|p| p.work);
        let mut legs: Vec<Leg> = legs.into_iter().collect();
        legs.sort_by_key(|leg| (leg.condition.deadline, leg.key()));
        for leg in legs {
            let work = match (leg.direction(), leg.state) {
                (Direction::Out, LegState::Opening) => Some(Work::Open(leg.key())),
                (Direction::Out, LegState::Closing) => Some(Work::Confirm(leg.key())),
                (Direction::Out, LegState::Removing) => Some(Work::Remove(leg.key())),
                _ => None,
            };
            channel.todo.extend(work.filter(|w| Some(*w) != pending));
            channel.put_leg(leg);
        }
        Ok(channel)
    }

    /// The persisted part.
    pub fn row(&self) -> &ChannelRow {
        &self.row
    }

    /// A side's agreed dictionary.
    pub fn conditionals(&self, side: Side) -> &Conditionals {
        match side {
            Side::Our => &self.ours,
            Side::Their => &self.theirs,
        }
    }

    /// A live leg.
    pub fn leg(&self, key: &Key, direction: Direction) -> Option<&Leg> {
        self.legs.get(&(*key, direction)).map(|slot| &slot.leg)
    }

    /// The live legs.
    pub fn legs(&self) -> impl Iterator<Item = &Leg> {
        self.legs.values().map(|slot| &slot.leg)
    }

    /// Nano that `side` can still promise or pay (payments 6). Negative would be credit, which nobody gives yet.
    pub fn available(&self, side: Side) -> i128 {
        let (own, other) = match side {
            Side::Our => (&self.row.our, &self.row.their),
            Side::Their => (&self.row.their, &self.row.our),
        };
        let chain = &self.row.onchain;
        let i = side as usize;
        let withdrawn = chain.withdrawn[i].max(self.row.pending_withdraw[i]);
        signed(other.sent) + signed(chain.deposited[i])
            - signed(withdrawn)
            - signed(own.sent)
            - signed(self.conditionals(side).locked())
    }

    /// Our current state as we would sign it now.
    pub fn own_state(&self) -> State {
        self.state_with(self.row.our)
    }

    fn state_with(&self, body: Body) -> State {
        State { channel_id: self.row.config.channel_id, body, counterparty: Some(self.row.their) }
    }

    /// Whether both sides hold a signature of the other (payments 3.2).
    pub fn is_ready(&self) -> bool {
        self.row.their_signed.is_some()
    }

    /// One event. See [`crate`] for what to do with the outcome.
    pub fn step(&mut self, env: &Env<'_>, event: Event) -> Step {
        let mut out = Step::default();
        match event {
            Event::Tick => {}
            Event::PeerUp => self.on_peer_up(env),
            Event::Proposal(proposal) => self.on_proposal(env, *proposal, &mut out),
            Event::Request { reply, action } => self.on_request(env, reply, action, &mut out),
            Event::Lock { reply, id, lock } => self.on_lock(env, reply, id, lock, &mut out),
            Event::IsUnlocked { reply, id } => self.on_is_unlocked(reply, id, &mut out),
            Event::Answer { call, answer } => self.on_answer(env, call, answer, &mut out),
            Event::Task { id, task } => {
                self.on_task(env, task, &mut out);
                out.writes.push(Write::TaskDone(id));
            }
            Event::Dictionary { seqno, conditions } => self.dispute.learn_dictionary(seqno, conditions),
        }
        self.drive(env, &mut out);
        if self.dirty {
            self.dirty = false;
            self.row.version += 1;
            out.writes.push(Write::Channel(Box::new(self.row.clone())));
        }
        out
    }

    /// When [`Event::Tick`] is due, in milliseconds of unix time.
    pub fn next_wake(&self) -> Option<u64> {
        let timer = self.timers.first().map(|t| t.0);
        // While the lock is not free its own wake leads on.
        let waits = self.row.pending.is_some() && self.flight.is_none() && self.may_propose() && self.lock.is_free();
        let retry = waits.then_some(self.retry.at);
        [timer, retry, self.lock.next_wake(), self.dispute_wake(), self.close_wake(), self.withdraw_wake()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whatever can be done now without a further event.
    fn drive(&mut self, env: &Env<'_>, out: &mut Step) {
        self.drive_lock(env, out);
        let first = self.goes_first(env);
        if !first {
            self.serve_waiting(env, out);
        }
        self.drive_legs(env, out);
        self.drive_close(env, out);
        self.drive_withdraw(env, out);
        self.drive_proposals(env, out);
        if first {
            self.serve_waiting(env, out);
        }
        self.drive_dispute(env, out);
    }

    fn on_task(&mut self, env: &Env<'_>, task: Task, out: &mut Step) {
        match task {
            Task::Open(open) => self.open_leg(env, *open, out),
            Task::Close { key, resolution } => self.close_leg(env, key, &resolution, out),
            Task::Unwind { key, reason } => self.unwind_leg(env, key, &reason, out),
            Task::Increment => self.want_increment(true),
            Task::CloseChannel { force: false } => self.begin_close(env),
            Task::CloseChannel { force: true } => self.force_close("asked for by the operator", out),
            Task::TopUp { order, amount } => self.order_top_up(order, amount, out),
            Task::Withdraw { request_id, amount } => self.begin_withdraw(env, request_id, amount, out),
            Task::LiftSuspension => self.lift_suspension(),
            Task::Chain(update) => self.on_chain(env, *update, out),
            Task::OrderFailed { order } => self.on_order_failed(&order),
        }
    }

    /// A peer that still has a state of ours that we do not suspends the channel again with the next one that it sends.
    fn lift_suspension(&mut self) {
        if self.row.suspended {
            self.row.suspended = false;
            self.dirty = true;
        }
    }

    fn on_peer_up(&mut self, env: &Env<'_>) {
        self.retry.at = self.retry.at.min(env.now);
        self.ask_all_now(env);
    }

    fn on_answer(&mut self, env: &Env<'_>, call: CallId, answer: Result<crate::Answer, crate::CallFailed>, out: &mut Step) {
        // An answer whose call was forgotten comes too late: evidence has ended the attempt (design 4.6).
        match self.calls.remove(&call) {
            None | Some(CallKind::Unlock) => {}
            Some(CallKind::Attempt) => self.on_attempt_answer(env, answer, out),
            Some(CallKind::Ask(key)) => self.on_ask_answer(env, key, answer),
            Some(CallKind::Watch(id)) => self.on_watch_answer(id, answer),
            Some(CallKind::Close) => self.on_close_answer(env, answer, out),
            Some(CallKind::Commit) => self.on_commit_answer(env, answer, out),
        }
    }

    fn call(&mut self, kind: CallKind, request: Outgoing, out: &mut Step) -> CallId {
        let call = self.next_call;
        self.next_call += 1;
        self.calls.insert(call, kind);
        out.effects.push(Effect::Call { call, request });
        call
    }

    fn alarm(&self, alarm: Alarm, out: &mut Step) {
        out.effects.push(Effect::Alarm(alarm));
    }
}

/// Amounts have at most 120 bits, so the sums of payments 6 fit.
fn signed(nano: u128) -> i128 {
    i128::try_from(nano).expect("amounts have at most 120 bits")
}
