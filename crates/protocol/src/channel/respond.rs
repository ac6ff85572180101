//! Proposals of the peer (payments 4.5). The order is the design's: evidence, idempotency by body, lock, status, the rest (design 4.6).

use ed25519_dalek::{Signature, VerifyingKey};
use wire::{
    conditionals::{Condition, Conditionals, UpdateProof},
    message::{Action, OpenVirtual},
    resolution::Resolution,
    state::Body,
};

use super::{Channel, Status};
use crate::{
    BUSY, Direction, Half, Key, Leg, LegState, Next, Proposal,
    step::{Alarm, Effect, Env, NewTask, OpenLeg, Origin, ReplyId, Response, Side, Step, Task, Write},
};

/// A refusal: the text for the peer. Nothing else happens.
type Refusal = &'static str;

/// What an accepted proposal changes, beyond the bodies.
struct Accepted {
    theirs: Conditionals,
    effect: Consequence,
}

enum Consequence {
    Increment {
        want_response: bool,
    },
    Opened(Box<Opened>),
    Closed(Key),
    Removed(Key),
    /// The peer did it again: its dictionary does not change.
    Again,
}

struct Opened {
    leg: Leg,
    forward: Option<(crate::Address, OpenLeg)>,
}

impl Channel {
    pub(super) fn on_proposal(&mut self, env: &Env<'_>, p: Proposal, out: &mut Step) {
        let reply = p.reply;
        if p.lock_id <= 0 {
            return refuse(reply, "lock id must be positive", out);
        }
        if p.state.state.channel_id != self.row.config.channel_id {
            return refuse(reply, "state of another channel", out);
        }
        let Some(copy) = p.state.state.counterparty else {
            return refuse(reply, "state without counterparty data", out);
        };
        if !p.state.verify(&self.peer_key) {
            return refuse(reply, "wrong signature", out);
        }
        self.take_verified_evidence(env, &p.state, out);
        if self.row.status == Status::Closed {
            // Not even the current state is signed again (design 4.11). What was pending is not in memory any more: no seqno is unknown.
            return refuse(reply, "channel is not active", out);
        }
        let unknown = copy.seqno > self.highest_seqno();
        let body = p.state.state.body;
        if unknown {
            // Only the peer's word: it can sign any copy. The fenced commit of the suspension proves that this memory is what the database
            // has (design 4.10).
            self.alarm(Alarm::StaleDatabase { seqno: copy.seqno }, out);
            self.row.suspended = true;
            self.dirty = true;
            return refuse(reply, "unknown state", out);
        }
        if self.row.suspended {
            return refuse(reply, "channel is suspended", out);
        }
        if body == self.row.their && self.is_ready() {
            self.keep_signature(&p.state, out);
            // Even when nothing else changes: a former owner of the shard must not answer (design 4.3).
            self.dirty = true;
            return self.answer_agreed(reply, out);
        }
        if !self.lock.admits(p.lock_id) {
            return refuse(reply, BUSY, out);
        }
        match self.check(env, &p, body, copy) {
            Err(reason) => {
                if body.seqno <= self.row.their.seqno {
                    self.alarm(Alarm::Inconsistent { seqno: body.seqno }, out);
                }
                refuse(reply, reason, out);
            }
            Ok(accepted) => {
                self.lock.renew(env);
                self.accept(env, p, accepted, out);
            }
        }
    }

    fn check(&self, env: &Env<'_>, p: &Proposal, body: Body, copy: Body) -> Result<Accepted, Refusal> {
        if !self.accepts() {
            return Err("channel is not active");
        }
        let their = self.row.their;
        if body.seqno != their.seqno + 1 {
            return Err("inconsistent state: another seqno is stored");
        }
        if copy != self.row.our {
            return Err("inconsistent state: another counterparty body");
        }
        if body.sent < their.sent {
            return Err("sent went down");
        }
        let paid = body.sent - their.sent;
        let proof = UpdateProof::verify(p.proof.as_ref(), &body.conditionals).map_err(|_| "invalid update proof")?;
        if !self.is_ready() && !matches!(p.action, Action::IncrementStates(_)) {
            return Err("states were not exchanged yet");
        }
        let accepted = match &p.action {
            Action::IncrementStates(a) => {
                let effect = Consequence::Increment { want_response: a.want_response };
                unpaid(paid, Accepted { theirs: self.theirs.clone(), effect })
            }
            Action::OpenVirtual(a) => unpaid(paid, self.check_open(env, p, a, &proof)?),
            Action::ConfirmClose(a) => self.check_confirm(a.key, &a.state, paid, &proof),
            Action::RemoveVirtual(a) => unpaid(paid, self.check_remove(env, a.key, &proof)?),
            Action::CommitVirtual(_) => Err("prepayment is not supported"),
            Action::RentCapacity(_) => Err("capacity is not rented out"),
            Action::CooperativeCommit(_) => Err("withdrawals are executed by their owner"),
            _ => Err("unexpected action"),
        }?;
        if accepted.theirs.root_hash() != body.conditionals {
            return Err("conditionals differ");
        }
        // Collateral: value is never credited (payments 10.1.11).
        let before = super::signed(paid) + super::signed(accepted.theirs.locked()) - super::signed(self.theirs.locked());
        if self.available(Side::Their) < before {
            return Err("not enough balance");
        }
        Ok(accepted)
    }

    fn check_open(&self, env: &Env<'_>, p: &Proposal, a: &OpenVirtual, proof: &UpdateProof) -> Result<Accepted, Refusal> {
        self.must_be_active()?;
        let key = a.channel_key;
        let entry = proof.lookup(Condition::index_of(&key)).map_err(|_| "the proof does not show the entry")?;
        let condition = entry.ok_or("the proof does not show the entry")?;
        if condition.key != key {
            return Err("entry of another virtual key");
        }
        if condition.capacity == 0 {
            return Err("capacity must be positive");
        }
        if condition.prepay != 0 {
            return Err("prepay must be zero");
        }
        if self.theirs.get(condition.index()).is_some() {
            return Err("virtual channel index is occupied");
        }
        if env.used_key == Some(key) || self.leg(&key, Direction::In).is_some() || self.leg(&key, Direction::Out).is_some() {
            return Err("virtual key was used before");
        }
        if self.theirs.len() >= env.policy.max_conditions {
            return Err("too many open conditions");
        }
        let min_safe = u64::from(env.policy.timing.min_safe);
        if u64::from(condition.deadline) < env.seconds() + self.row.safe_close + min_safe {
            return Err("deadline is too near");
        }
        if !instructions_signed(a) {
            return Err("wrong signature of the instructions");
        }
        let instruction = p.instruction.as_ref().ok_or("no instruction for this node")?;
        if instruction.target != self.our_key() {
            return Err("instruction for another node");
        }
        let expected = (instruction.expected_capacity, instruction.expected_fee, instruction.expected_deadline);
        if expected != (condition.capacity, condition.fee, i64::from(condition.deadline)) {
            return Err("condition differs from the instruction");
        }
        let mut theirs = self.theirs.clone();
        theirs.insert(condition).map_err(|_| "virtual channel index is occupied")?;
        let opened = if instruction.next_target == self.our_key() {
            self.receive(&condition, a, instruction)?
        } else {
            self.forward(env, p, &condition, a, instruction)?
        };
        Ok(Accepted { theirs, effect: Consequence::Opened(Box::new(opened)) })
    }

    /// Final receiver (payments 5.6). Nobody gives credit yet, so the balance rule is the common one.
    fn receive(
        &self,
        condition: &Condition,
        a: &OpenVirtual,
        instruction: &wire::instruction::Instruction,
    ) -> Result<Opened, Refusal> {
        let resolution = match &instruction.final_state {
            None => None,
            Some(cell) => {
                let resolution = Resolution::from_cell(cell.as_ref()).map_err(|_| "malformed final state")?;
                if !resolution.verify(&condition.key) {
                    return Err("wrong signature of the final state");
                }
                if resolution.amount != condition.capacity {
                    return Err("final state must pay the whole capacity");
                }
                Some(resolution)
            }
        };
        let state = if resolution.is_some() { LegState::Closing } else { LegState::Open };
        let half = Half::In { next: Next::Receiver, sender: a.instruction_key };
        Ok(Opened { leg: new_leg(condition, state, resolution, half), forward: None })
    }

    /// Forwarding node (payments 5.5).
    fn forward(
        &self,
        env: &Env<'_>,
        p: &Proposal,
        condition: &Condition,
        a: &OpenVirtual,
        i: &wire::instruction::Instruction,
    ) -> Result<Opened, Refusal> {
        let gap = self.row.safe_close + u64::from(env.policy.timing.min_safe);
        let next_deadline = u32::try_from(i.next_deadline).map_err(|_| "next deadline is out of range")?;
        if u64::from(next_deadline) + gap > u64::from(condition.deadline) {
            return Err("deadlines of the hops are too close");
        }
        if i.next_capacity == 0 || i.next_capacity > condition.capacity {
            return Err("next capacity is out of range");
        }
        if !env.policy.allow_tunneling {
            return Err("virtual channels may not pass");
        }
        let passing = i.next_capacity.checked_add(i.next_fee).ok_or("amount is out of range")?;
        if passing > env.policy.proxy_max_capacity {
            return Err("amount is above the limit for passing virtual channels");
        }
        let wanted = env.policy.proxy_fee(passing).ok_or("amount is out of range")?;
        if condition.fee.checked_sub(i.next_fee).is_none_or(|fee| fee < wanted) {
            return Err("fee is too small");
        }
        let channel = p.next_channel.ok_or("no channel with enough balance to the next node")?;
        let next =
            Condition { key: condition.key, capacity: i.next_capacity, fee: i.next_fee, prepay: 0, deadline: next_deadline };
        let action = OpenVirtual { instruction_key: i.next_instruction_key, ..a.clone() };
        let open = OpenLeg { condition: next, action, origin: Origin::Forward { channel: self.row.address } };
        let half = Half::In { next: Next::Forward(channel), sender: a.instruction_key };
        Ok(Opened { leg: new_leg(condition, LegState::Open, None, half), forward: Some((channel, open)) })
    }

    fn check_confirm(&self, key: Key, state: &ton::Cell, paid: u128, proof: &UpdateProof) -> Result<Accepted, Refusal> {
        let Some(mut theirs) = self.without(key, proof)? else { return unpaid(paid, self.again()) };
        let leg = self.leg(&key, Direction::In).ok_or("unknown virtual channel")?;
        let resolution = Resolution::from_cell(state.as_ref()).map_err(|_| "malformed state")?;
        if leg.resolution != Some(resolution) && !resolution.verify(&key) {
            return Err("wrong signature of the state");
        }
        if resolution.amount > leg.condition.capacity {
            return Err("state is above the capacity");
        }
        if leg.state != LegState::Closing {
            return Err("closing was not asked for");
        }
        if leg.resolution.as_ref().is_none_or(|known| known.amount > resolution.amount) {
            return Err("a better state is known");
        }
        if paid != resolution.amount + leg.condition.fee {
            return Err("sent does not grow by what is due");
        }
        theirs.remove(leg.condition.index());
        Ok(Accepted { theirs, effect: Consequence::Closed(key) })
    }

    fn check_remove(&self, env: &Env<'_>, key: Key, proof: &UpdateProof) -> Result<Accepted, Refusal> {
        let Some(mut theirs) = self.without(key, proof)? else { return Ok(self.again()) };
        let leg = self.leg(&key, Direction::In).ok_or("unknown virtual channel")?;
        if leg.state != LegState::Removing && env.now < leg.dead_at() {
            return Err("removal is not wanted and the deadline has not passed");
        }
        theirs.remove(leg.condition.index());
        Ok(Accepted { theirs, effect: Consequence::Removed(key) })
    }

    /// The peer's dictionary, if it still has the key that the proof shows absent.
    fn without(&self, key: Key, proof: &UpdateProof) -> Result<Option<Conditionals>, Refusal> {
        let index = Condition::index_of(&key);
        if proof.lookup(index).map_err(|_| "the proof does not show the absence")?.is_some() {
            return Err("the entry is still there");
        }
        match self.theirs.get(index) {
            Some(condition) if condition.key != key => Err("entry of another virtual key"),
            Some(_) => Ok(Some(self.theirs.clone())),
            None => Ok(None),
        }
    }

    fn again(&self) -> Accepted {
        Accepted { theirs: self.theirs.clone(), effect: Consequence::Again }
    }

    fn accept(&mut self, env: &Env<'_>, p: Proposal, accepted: Accepted, out: &mut Step) {
        let body = p.state.state.body;
        assert!(body.seqno == self.row.their.seqno + 1 && body.sent >= self.row.their.sent, "design 4.4");
        self.theirs = accepted.theirs;
        self.row.their = body;
        self.row.their_signed = Some(p.state);
        self.dirty = true;
        out.writes.push(Write::PeerState(p.state));
        match accepted.effect {
            Consequence::Again => {}
            Consequence::Increment { want_response } => {
                if want_response {
                    self.want_increment(false);
                }
            }
            Consequence::Opened(opened) => self.opened(body.seqno, *opened, out),
            Consequence::Closed(key) => self.incoming_ended(key, LegState::Closed, body.seqno, out),
            Consequence::Removed(key) => self.incoming_ended(key, LegState::Removed, body.seqno, out),
        }
        let _ = env;
        self.answer_agreed(p.reply, out);
    }

    fn opened(&mut self, since: u64, opened: Opened, out: &mut Step) {
        let Opened { leg, forward } = opened;
        out.writes.push(Write::VirtualKey(leg.key()));
        out.writes.push(Write::ConditionAdded { side: Side::Their, condition: leg.condition, since });
        if let Some((channel, open)) = forward {
            let id = format!("open:{}", hex::encode(leg.key()));
            out.writes.push(Write::Task(NewTask { id, channel, task: Task::Open(Box::new(open)) }));
        }
        self.save_leg(leg, out);
    }

    fn answer_agreed(&self, reply: ReplyId, out: &mut Step) {
        let answer = Response::Proposal { state: Some(self.answer_state()), reason: String::new() };
        out.effects.push(Effect::Reply { reply, answer });
    }
}

/// The virtual key signed the list (payments 5.3).
fn instructions_signed(a: &OpenVirtual) -> bool {
    let bytes = OpenVirtual::bytes_to_sign(&a.instructions);
    let signature = Signature::from_bytes(&a.signature);
    VerifyingKey::from_bytes(&a.channel_key).is_ok_and(|key| key.verify_strict(&bytes, &signature).is_ok())
}

fn unpaid(paid: u128, accepted: Accepted) -> Result<Accepted, Refusal> {
    if paid == 0 { Ok(accepted) } else { Err("sent must not change") }
}

fn new_leg(condition: &Condition, state: LegState, resolution: Option<Resolution>, half: Half) -> Leg {
    Leg { condition: *condition, state, resolution, half, released: 0, told: false }
}

fn refuse(reply: ReplyId, reason: &str, out: &mut Step) {
    out.effects.push(Effect::Reply { reply, answer: Response::Proposal { state: None, reason: reason.into() } });
}
