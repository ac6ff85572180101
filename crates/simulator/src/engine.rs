//! An engine process, as the engine service will be: events in; the writes of a step committed under the shard's epoch; effects let out
//! only after that; what was in memory is thrown away and loaded again when a commit fails (design 3, 5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ed25519_dalek::Signer;
use protocol::{
    Address, Alarm, Answer, CallFailed, CallId, Channel, Effect, Env, Event, Key, Outgoing, ReplyId, Response, Status, Step,
    Task, Write,
    envelope::{self, ToSign},
};
use sha2::{Digest, Sha256};
use wire::{
    conditionals::Condition,
    instruction,
    message::{Action, ProposeAction, Request},
    resolution::Resolution,
    state::Body,
};

use crate::{
    Mutation,
    check::is_refusal,
    faults::CrashPoint,
    gateway::{Asker, QueryId},
    store::{Epoch, Fence, Verdict},
    world::{Happening, World},
};

/// One life of one engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At {
    pub(crate) node: usize,
    pub(crate) engine: usize,
    pub(crate) life: u32,
}

/// What an engine gets.
#[derive(Debug)]
pub(crate) enum ForEngine {
    Mail {
        channel: Address,
        mail: Mail,
    },
    /// The database answers the commit under way.
    Committed {
        channel: Address,
        generation: u64,
    },
}

/// What a channel's actor gets.
#[derive(Debug)]
pub(crate) enum Mail {
    Query { from: usize, id: QueryId, request: Box<Request> },
    Answer { generation: u64, call: CallId, answer: Box<Result<Answer, CallFailed>> },
    Tick { generation: u64 },
    PeerUp,
    Task { id: String, task: Box<Task> },
    Dictionary { generation: u64, seqno: u64, conditions: Vec<(Condition, Option<Resolution>)> },
}

#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) dead: bool,
    pub(crate) stopped: bool,
    pub(crate) life: u32,
    pub(crate) shards: BTreeMap<u8, Epoch>,
    pub(crate) actors: BTreeMap<Address, Actor>,
    pub(crate) generations: u64,
    pub(crate) next_reply: ReplyId,
    /// Which query each reply answers.
    pub(crate) replies: BTreeMap<ReplyId, (usize, QueryId)>,
    /// What arrived while the process was stopped.
    pub(crate) backlog: Vec<ForEngine>,
    /// Faults to come.
    pub(crate) crash: Option<CrashPoint>,
    pub(crate) unknown_commit: bool,
}

pub(crate) struct Actor {
    pub(crate) channel: Channel,
    pub(crate) generation: u64,
    pub(crate) shard: u8,
    pub(crate) epoch: Epoch,
    pub(crate) mailbox: VecDeque<Mail>,
    pub(crate) commit: Option<Commit>,
    pub(crate) tick_at: Option<u64>,
    pub(crate) tasks: BTreeSet<String>,
    /// Calls under way, with the body that was proposed.
    pub(crate) calls: BTreeMap<CallId, Option<Body>>,
    /// For coverage: the peer agreed to the pending proposal, but its answer was lost.
    pub(crate) unknown: bool,
}

pub(crate) struct Commit {
    pub(crate) step: Step,
    /// To be repeated when the virtual key turns out to be used.
    pub(crate) event: Option<Event>,
    pub(crate) crash: Option<CrashPoint>,
}

pub(crate) fn shard_of(peer: &Key) -> u8 {
    Sha256::digest(peer)[0]
}

impl World {
    pub(crate) fn engine(&mut self, at: At) -> Option<&mut Engine> {
        let engine = &mut self.nodes[at.node].engines[at.engine];
        (engine.life == at.life && !engine.dead).then_some(engine)
    }

    pub(crate) fn actor(&mut self, at: At, channel: &Address) -> Option<&mut Actor> {
        self.engine(at)?.actors.get_mut(channel)
    }

    pub(crate) fn at_of(&self, node: usize, engine: usize) -> At {
        At { node, engine, life: self.nodes[node].engines[engine].life }
    }

    /// The live actor of the channel's owner.
    pub(crate) fn owner_of(&self, node: usize, channel: &Address) -> Option<(At, &Actor)> {
        let peer = self.peer_of(node, channel)?;
        let (engine, _) = *self.nodes[node].store.shards.get(&shard_of(&self.nodes[peer].public))?;
        let e = &self.nodes[node].engines[engine];
        if e.dead {
            return None;
        }
        Some((self.at_of(node, engine), e.actors.get(channel)?))
    }

    // ---- events

    pub(crate) fn engine_event(&mut self, at: At, what: ForEngine) {
        let Some(engine) = self.engine(at) else { return };
        if engine.stopped {
            engine.backlog.push(what);
            return;
        }
        match what {
            ForEngine::Mail { channel, mail } => {
                if let Some(actor) = engine.actors.get_mut(&channel) {
                    actor.mailbox.push_back(mail);
                    self.pump(at, channel);
                } else {
                    self.coverage.hit("mail for a channel that the engine does not own");
                }
            }
            ForEngine::Committed { channel, generation } => self.committed(at, channel, generation),
        }
    }

    pub(crate) fn pump(&mut self, at: At, channel: Address) {
        loop {
            if self.broken.is_some() {
                return;
            }
            let Some(actor) = self.actor(at, &channel) else { return };
            if actor.commit.is_some() {
                return;
            }
            let Some(mail) = actor.mailbox.pop_front() else { break };
            if let Some(event) = self.event_of(at, &channel, mail) {
                self.step(at, channel, event, None);
            }
        }
        self.set_alarm_clock(at, channel);
    }

    fn set_alarm_clock(&mut self, at: At, channel: Address) {
        let now = self.now;
        let Some(actor) = self.actor(at, &channel) else { return };
        let Some(wake) = actor.channel.next_wake() else { return };
        let wake = wake.max(now + 1);
        if actor.tick_at.is_none_or(|set| set <= now || wake < set) {
            actor.tick_at = Some(wake);
            let mail = Mail::Tick { generation: actor.generation };
            self.at(wake, Happening::Engine(at, ForEngine::Mail { channel, mail }));
        }
    }

    fn event_of(&mut self, at: At, channel: &Address, mail: Mail) -> Option<Event> {
        let actor = self.actor(at, channel)?;
        match mail {
            Mail::Query { from, id, request } => self.query_event(at, from, id, *request),
            Mail::Answer { generation, call, answer } => {
                if generation != actor.generation {
                    return None;
                }
                actor.calls.remove(&call);
                Some(Event::Answer { call, answer: *answer })
            }
            Mail::Tick { generation } if generation == actor.generation => {
                actor.tick_at = None;
                Some(Event::Tick)
            }
            Mail::Tick { .. } => None,
            Mail::PeerUp => Some(Event::PeerUp),
            Mail::Task { id, task } => Some(Event::Task { id, task: *task }),
            Mail::Dictionary { generation, seqno, conditions } => {
                (generation == actor.generation).then_some(Event::Dictionary { seqno, conditions })
            }
        }
    }

    fn query_event(&mut self, at: At, from: usize, id: QueryId, request: Request) -> Option<Event> {
        let own = self.nodes[at.node].key.clone();
        let secret = envelope::instruction_key(&request).and_then(|key| self.secret(&own, &key));
        let instruction = match &request {
            Request::ProposeAction(ProposeAction { action: Action::OpenVirtual(a), .. }) => {
                secret.and_then(|secret| instruction::open(&a.instructions, &secret))
            }
            _ => None,
        };
        let node = &self.nodes[at.node];
        let next = instruction.as_ref().filter(|i| i.next_target != node.public);
        let next_channel =
            next.and_then(|i| self.channel_towards(at.node, &i.next_target, i.next_capacity.saturating_add(i.next_fee)));
        let engine = self.engine(at)?;
        engine.next_reply += 1;
        let reply = engine.next_reply;
        engine.replies.insert(reply, (from, id));
        match envelope::event(reply, request, instruction, next_channel) {
            Ok(event) => Some(event),
            Err(answer) => {
                let epoch = Epoch::MAX;
                self.send_answer(at.node, epoch, from, id, &answer);
                None
            }
        }
    }

    /// An active channel to `target`; one with enough balance first.
    pub(crate) fn channel_towards(&self, node: usize, target: &Key, nano: u128) -> Option<Address> {
        let active = self.links.iter().filter(|l| l.ends.contains(&node)).map(|l| l.address).filter(|channel| {
            let rows = self.nodes[node].store.channels.get(channel);
            rows.is_some_and(|r| r.row.peer == *target && r.row.status == Status::Active)
        });
        let all: Vec<Address> = active.collect();
        let rich = all.iter().find(|channel| {
            let available = self.owner_of(node, channel).map(|(_, actor)| actor.channel.available(protocol::Side::Our));
            available.is_some_and(|nano_there| nano_there >= nano as i128)
        });
        // A hint, and sometimes a wrong one: the outgoing leg decides again.
        rich.or(if nano.is_multiple_of(3) { all.first() } else { None }).copied()
    }

    fn step(&mut self, at: At, channel: Address, event: Event, used_key: Option<Key>) {
        let random = self.rng.next();
        let now = self.now;
        let node = &mut self.nodes[at.node];
        let peer = node.store.channels[&channel].row.peer;
        let others = node.store.channels.iter().filter(|(address, rows)| **address != channel && rows.row.peer == peer);
        let released_elsewhere = others.map(|(_, rows)| rows.row.released).sum();
        let again = match &event {
            Event::Proposal(p) if matches!(p.action, Action::OpenVirtual(_)) => Some(event.clone()),
            Event::Task { task: Task::Open(_), .. } => Some(event.clone()),
            _ => None,
        };
        let Some(actor) = node.engines[at.engine].actors.get_mut(&channel) else { return };
        let env = Env { now, random, policy: &node.policy, released_elsewhere, used_key };
        let locked = matches!(event, Event::Answer { answer: Ok(Answer::Decision { agreed: true, .. }), .. });
        let tick = matches!(event, Event::Tick);
        let agreed = matches!(event, Event::Answer { answer: Ok(Answer::Proposal { agreed: true, .. }), .. });
        let step = actor.channel.step(&env, event);
        let right = !actor.channel.row().left;
        if right && agreed && step.effects.iter().any(|e| matches!(e, Effect::Call { request: Outgoing::Propose { .. }, .. })) {
            self.coverage.hit("the right side keeps the lock for its next proposal");
        }
        let vain =
            tick && step.writes.is_empty() && step.effects.is_empty() && actor.channel.next_wake().is_some_and(|at| at <= now);
        if vain {
            let text = format!("{}: {:?} at {now}", node.name, actor.channel.next_wake());
            return self.broke("no tick is asked for in vain", text);
        }
        self.cover_step(at.node, &channel, &step);
        let crash = self.crash_for(at, &step, locked);
        if self.options.mutation == Some(Mutation::ReleaseBeforeCommit) && !step.writes.is_empty() {
            let effects = step.effects.clone();
            if !self.release(at, channel, effects, None) {
                return;
            }
        }
        if step.writes.is_empty() {
            if crash == Some(CrashPoint::BeforeCommit) {
                return self.crash_engine(at, "before the effects of a step without writes");
            }
            self.release(at, channel, step.effects, crash);
        } else if let Some(actor) = self.actor(at, &channel) {
            let generation = actor.generation;
            actor.commit = Some(Commit { step, event: again, crash });
            let latency = if self.quiet { 1 } else { self.commit_latency() };
            self.after(latency, Happening::Engine(at, ForEngine::Committed { channel, generation }));
        }
    }

    fn committed(&mut self, at: At, channel: Address, generation: u64) {
        let Some(actor) = self.actor(at, &channel) else { return };
        if actor.generation != generation {
            return;
        }
        let Some(commit) = actor.commit.take() else { return };
        let fence = Fence { shard: actor.shard, epoch: actor.epoch };
        if commit.crash == Some(CrashPoint::BeforeCommit) {
            return self.crash_engine(at, "before the commit");
        }
        let unknown = std::mem::take(&mut self.nodes[at.node].engines[at.engine].unknown_commit);
        if unknown && self.rng.chance(500) {
            self.coverage.hit("commit unknown: it was not applied");
            return self.reload(at, channel);
        }
        match self.apply(at.node, fence, channel, &commit.step) {
            Verdict::Applied if unknown => {
                self.coverage.hit("commit unknown: it was applied");
                return self.reload(at, channel);
            }
            Verdict::Applied => {}
            Verdict::NotOwner => {
                self.coverage.hit("commit refused: not owner");
                return self.lose_shard(at, fence.shard, fence.epoch);
            }
            Verdict::Stale => {
                self.coverage.hit("commit refused: stale version");
                return self.reload(at, channel);
            }
            Verdict::UsedKey(key) => {
                self.coverage.hit("commit refused: virtual key was used before");
                self.reload(at, channel);
                if let Some(event) = commit.event
                    && self.actor(at, &channel).is_some_and(|a| a.commit.is_none())
                {
                    self.step(at, channel, event, Some(key));
                }
                return self.pump(at, channel);
            }
        }
        if self.options.mutation == Some(Mutation::RefusalIsDefinite) && is_refusal(&commit.step.writes) {
            return self.reload(at, channel);
        }
        for write in &commit.step.writes {
            if let (Write::TaskDone(id), Some(actor)) = (write, self.actor(at, &channel)) {
                actor.tasks.remove(id);
            }
        }
        if commit.crash == Some(CrashPoint::AfterCommit) {
            return self.crash_engine(at, "after the commit, before any effect");
        }
        let released = self.options.mutation == Some(Mutation::ReleaseBeforeCommit);
        if released || self.release(at, channel, commit.step.effects, commit.crash) {
            self.pump(at, channel);
        }
    }

    /// Lets effects out in order. False when the process died over it.
    fn release(&mut self, at: At, channel: Address, effects: Vec<Effect>, crash: Option<CrashPoint>) -> bool {
        for (i, effect) in effects.into_iter().enumerate() {
            if (i > 0 && crash == Some(CrashPoint::BetweenEffects)) || crash == Some(CrashPoint::LockToProposal) {
                let between = if i > 0 { "between two effects" } else { "between lock grant and proposal" };
                self.crash_engine(at, between);
                return false;
            }
            let Some(actor) = self.actor(at, &channel) else { return false };
            let epoch = actor.epoch;
            match effect {
                Effect::Reply { reply, answer } => self.release_reply(at, channel, epoch, reply, answer),
                Effect::Call { call, request } => {
                    let signature = request.to_sign().and_then(|to_sign| self.sign(at.node, &channel, &to_sign));
                    let Some(actor) = self.actor(at, &channel) else { return false };
                    actor.calls.insert(call, request.proposed());
                    let left = actor.channel.row().left;
                    let asker = Asker { at, channel, generation: actor.generation, call };
                    let timeout = u64::from(request.timeout_ms());
                    let request = request.into_request(channel, left, signature);
                    self.send_call(asker, epoch, request, timeout);
                }
                Effect::LoadDictionary { seqno } => {
                    let conditions = self.nodes[at.node].store.dictionary(&channel, seqno);
                    self.coverage.hit("an older dictionary was loaded for a dispute");
                    if let Some(actor) = self.actor(at, &channel) {
                        let generation = actor.generation;
                        actor.mailbox.push_back(Mail::Dictionary { generation, seqno, conditions });
                    }
                }
                Effect::Alarm(alarm) => self.alarm(at.node, &channel, &alarm),
            }
        }
        true
    }

    fn send_call(&mut self, asker: Asker, epoch: Epoch, request: Request, timeout: u64) {
        let Some(to) = self.peer_of(asker.at.node, &asker.channel) else { return };
        let node = asker.at.node;
        self.say(|w| format!("{} -> {}: {}", w.nodes[node].name, w.nodes[to].name, describe(&request)));
        let request = if self.nodes[node].hostile.is_some() { self.hostile_request(node, to, request) } else { Some(request) };
        if let Some(request) = request {
            self.send_query(asker, epoch, to, &request, timeout);
        } else {
            let mail =
                Mail::Answer { generation: asker.generation, call: asker.call, answer: Box::new(Err(CallFailed::Timeout)) };
            self.after(timeout, Happening::Engine(asker.at, ForEngine::Mail { channel: asker.channel, mail }));
        }
    }

    fn release_reply(&mut self, at: At, channel: Address, epoch: Epoch, reply: ReplyId, answer: Response) {
        let signature = answer.to_sign().and_then(|to_sign| self.sign(at.node, &channel, &to_sign));
        let Some((to, id)) = self.engine(at).and_then(|engine| engine.replies.remove(&reply)) else { return };
        self.say(|w| match &answer {
            Response::Decision { agreed, reason } => {
                format!("{} -> {}: agreed {agreed} {reason}", w.nodes[at.node].name, w.nodes[to].name)
            }
            Response::Proposal { state, reason } => {
                format!("{} -> {}: proposal agreed {} {reason}", w.nodes[at.node].name, w.nodes[to].name, state.is_some())
            }
            _ => format!("{} -> {}: signs", w.nodes[at.node].name, w.nodes[to].name),
        });
        self.send_answer(at.node, epoch, to, id, &answer.into_answer(signature));
    }

    /// The signer: signs what the database has, and nothing else.
    fn sign(&mut self, node: usize, channel: &Address, to_sign: &ToSign<'_>) -> Option<[u8; 64]> {
        let hash = match to_sign {
            ToSign::State(state) => {
                self.check_signature(node, channel, state);
                state.hash()
            }
            ToSign::Close(close) => {
                self.check_close_signature(node, channel, close);
                contract::ToSign::hash(*close)
            }
            ToSign::Commit(commit) => {
                self.check_commit_signature(node, channel, commit);
                contract::ToSign::hash(*commit)
            }
        };
        let signature = self.nodes[node].key.sign(&hash).to_bytes();
        if let ToSign::State(state) = to_sign {
            self.record_state(node, channel, **state, signature);
        }
        Some(signature)
    }

    fn alarm(&mut self, node: usize, channel: &Address, alarm: &Alarm) {
        self.say(|w| format!("{}: alarm {alarm:?}", w.nodes[node].name));
        let honest =
            self.peer_of(node, channel).is_some_and(|p| self.nodes[p].hostile.is_none()) && self.nodes[node].hostile.is_none();
        match alarm {
            Alarm::StaleDatabase { seqno } if honest => {
                self.broke("no false alarm", format!("{}: stale database at seqno {seqno}", self.nodes[node].name));
            }
            Alarm::ForeignSignature { seqno } if self.nodes[node].hostile.is_none() => {
                self.broke("no signature without its row", format!("{}: on the chain, seqno {seqno}", self.nodes[node].name));
            }
            Alarm::StaleDatabase { .. } => self.coverage.hit("alarm: the peer shows an unknown seqno of ours"),
            Alarm::ForeignSignature { .. } => {}
            Alarm::Inconsistent { .. } => self.coverage.hit("alarm: another body at a stored seqno"),
            Alarm::PendingLong { .. } => self.coverage.hit("alarm: proposal pending for long"),
            Alarm::ForcedClose { .. } => self.coverage.hit("alarm: forced close begun"),
        }
    }

    // ---- coverage of what lies between two calls

    pub(crate) fn note_unknown(&mut self, asker: &Asker) {
        if let Some(actor) = self.actor(asker.at, &asker.channel) {
            actor.unknown = true;
        }
        let Some(peer) = self.peer_of(asker.at.node, &asker.channel) else { return };
        if self.owner_of(peer, &asker.channel).is_some_and(|(_, other)| other.unknown && other.channel.row().pending.is_some()) {
            self.coverage.hit("both sides with an unknown proposal at once");
        }
    }

    pub(crate) fn note_busy(&mut self, asker: &Asker) {
        if self.actor(asker.at, &asker.channel).is_some_and(|actor| actor.unknown) {
            self.coverage.hit("answer lost, then busy on replay");
        }
    }

    pub(crate) fn note_resolved(&mut self, node: usize, channel: &Address) {
        for engine in &mut self.nodes[node].engines {
            if let Some(actor) = engine.actors.get_mut(channel)
                && std::mem::take(&mut actor.unknown)
            {
                self.coverage.hit("an unknown outcome was resolved by evidence");
            }
        }
    }
}

fn describe(request: &Request) -> String {
    match request {
        Request::ProposeAction(p) => {
            let seqno = wire::state::SignedState::from_cell(p.state.as_ref()).map(|s| (s.state.body.seqno, s.state.body.sent));
            format!("propose {} {seqno:?} lock {:x}", name(&p.action), p.lock_id)
        }
        Request::RequestAction(r) => format!("request {}", name(&r.action)),
        Request::RequestChannelLock(l) => format!("lock {:x} {}", l.lock_id, l.lock),
        Request::IsChannelUnlocked(l) => format!("is unlocked {:x}", l.lock_id),
        _ => "other".into(),
    }
}

fn name(action: &Action) -> String {
    let kind = match action {
        Action::IncrementStates(_) => "incrementStates",
        Action::OpenVirtual(_) => "openVirtual",
        Action::CommitVirtual(_) => "commitVirtual",
        Action::ConfirmClose(_) => "confirmClose",
        Action::CloseVirtual(_) => "closeVirtual",
        Action::RemoveVirtual(_) => "removeVirtual",
        Action::RequestRemoveVirtual(_) => "requestRemoveVirtual",
        Action::RentCapacity(_) => "rentCapacity",
        Action::CooperativeClose(_) => "cooperativeClose",
        Action::CooperativeCommit(_) => "cooperativeCommit",
    };
    match action.virtual_key() {
        Some(key) => format!("{kind} {:02x}{:02x}", key[0], key[1]),
        None => kind.into(),
    }
}
