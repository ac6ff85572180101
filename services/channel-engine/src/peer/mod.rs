//! One task per peer: it owns our half of every channel with that peer, feeds them events one at a time, and lets effects out only after
//! their commit (design 4.2, 5).

mod open;
mod release;

use std::{
    collections::{HashMap, HashSet},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use protocol::{
    Address, CallFailed, CallId, Channel, Effect, Env, Event, Key, Outgoing, Response, Side, Task, Write,
    envelope::{channel_of, event, instruction_key},
};
use rpc::gateway::v1::{OutgoingAnswer, ShardEpoch};
use signer::{SecretUse, Step};
use store::{Change, Fence, Verdict, engine::ContentHash};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use wire::{Request, message};

use crate::{
    context::Context,
    gateways::NoAnswer,
    registry::Tenure,
    results::Outcome,
    tasks::{Handed, Ticket},
};
use release::{Release, Target};

pub(crate) use release::step_of;

/// Queries of the peer that wait for this task; more are dropped, the peer repeats them.
const QUERIES: usize = 512;
/// Of the first channel that a peer's task holds.
const FIRST_GENERATION: u64 = 1;
/// How long to wait before a channel is loaded again after a failed load; doubles each time, up to [`RELOAD_MAX`].
const RELOAD: Duration = Duration::from_millis(500);
const RELOAD_MAX: Duration = Duration::from_secs(60);

/// Something for a peer's task.
pub enum Message {
    /// A query of the peer, from this gateway.
    Query {
        /// Which gateway.
        gateway: usize,
        /// Its name for the query.
        query_id: u64,
        /// The query.
        request: Box<Request>,
    },
    /// The answer to a call.
    Answer {
        /// Our channel.
        channel: Address,
        /// Which load of the channel made the call.
        generation: u64,
        /// Which call.
        call: CallId,
        /// The outcome.
        answer: Result<protocol::Answer, CallFailed>,
    },
    /// A task handed over under this ticket.
    Task(protocol::NewTask, Ticket, Handed),
    /// A command of the API, not on record yet.
    Command(protocol::NewTask, Command),
    /// The peer's session came up.
    SessionUp,
    /// Agree a new channel with the peer (payments 7.8).
    Open(open::Done),
    /// The peer said something to our offer, or nothing.
    Offered(Box<open::Offered>),
    /// A commit went wrong: load the channel again.
    Reload(Address),
}

/// A command that its channel puts on record in the commit that carries it out.
pub struct Command {
    /// The caller's id.
    pub request_id: String,
    /// What it asks for.
    pub content: ContentHash,
    /// Told when it is committed; dropped when it was not, or nobody knows.
    pub done: oneshot::Sender<()>,
}

/// Where an event comes from, as far as its commit must know.
enum Source {
    /// What happened, or a task whose row is there.
    Event,
    /// The task of this id, whose row is being committed ahead of it.
    EarlyTask(String),
    Command(Command),
}

/// The way to a peer's task.
#[derive(Clone)]
pub struct Mailbox {
    queries: mpsc::Sender<Message>,
    /// Bounded by what is asked: answers to our calls, tasks read in batches, commands.
    internal: mpsc::UnboundedSender<Message>,
}

impl Mailbox {
    /// A peer's query: dropped when too many wait.
    pub fn query(&self, message: Message) {
        if self.queries.try_send(message).is_err() {
            debug!("query dropped: too many wait for this peer");
        }
    }

    /// Anything else. Whether the task is still there.
    pub fn send(&self, message: Message) -> bool {
        self.internal.send(message).is_ok()
    }
}

struct Slot {
    channel: Channel,
    generation: u64,
    /// Milliseconds of protocol time: when it was loaded.
    since: u64,
}

/// What comes out of the commit queue, in order.
struct Committed {
    address: Address,
    generation: u64,
    /// When it was handed to the committer, if anything was.
    begun: Option<Instant>,
    verdict: Verdict,
    release: Vec<Release>,
    tasks: Vec<protocol::NewTask>,
    done: Vec<String>,
    results: Vec<(String, protocol::RequestResult)>,
    command: Option<oneshot::Sender<()>>,
}

/// A peer's task.
pub struct Peer {
    ctx: Arc<Context>,
    key: Key,
    owner: ShardEpoch,
    slots: HashMap<Address, Slot>,
    /// Being loaded: not in `slots` for a moment. After so many attempts.
    loading: HashMap<Address, u32>,
    next_generation: u64,
    mailbox: Mailbox,
    replies: HashMap<u64, (usize, u64)>,
    next_reply: u64,
    commits: FuturesOrdered<BoxFuture<'static, Committed>>,
    used_keys: Vec<Key>,
    /// An offer of ours is under way.
    offering: bool,
}

impl Peer {
    /// Starts the task for `channels` of one peer under one ownership.
    pub fn start(ctx: Arc<Context>, key: Key, tenure: &Tenure, channels: Vec<Channel>) -> Mailbox {
        let (queries, query_rx) = mpsc::channel(QUERIES);
        let (internal, internal_rx) = mpsc::unbounded_channel();
        let mailbox = Mailbox { queries, internal };
        let mut peer = Self {
            ctx,
            key,
            owner: tenure.owner,
            slots: HashMap::new(),
            loading: HashMap::new(),
            next_generation: FIRST_GENERATION,
            mailbox: mailbox.clone(),
            replies: HashMap::new(),
            next_reply: 1,
            commits: FuturesOrdered::new(),
            used_keys: Vec::new(),
            offering: false,
        };
        for channel in channels {
            peer.put(channel);
        }
        let all = peer.ctx.peers.clone();
        tenure.peers.spawn(all.track_future(peer.run(query_rx, internal_rx, tenure.stop.clone())));
        mailbox
    }

    fn put(&mut self, channel: Channel) {
        let generation = self.next_generation;
        self.next_generation += 1;
        self.ctx.hints.update(&channel);
        let since = self.ctx.clock.now_ms();
        self.slots.insert(channel.row().address, Slot { channel, generation, since });
    }

    async fn run(
        mut self,
        mut queries: mpsc::Receiver<Message>,
        mut internal: mpsc::UnboundedReceiver<Message>,
        stop: CancellationToken,
    ) {
        self.tick_all().await;
        loop {
            let wake = self.sleep();
            tokio::select! {
                biased;
                () = stop.cancelled() => return self.drain().await,
                Some(committed) = self.commits.next(), if !self.commits.is_empty() => {
                    if !self.committed(committed).await {
                        return;
                    }
                }
                message = internal.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                message = queries.recv() => match message {
                    Some(message) => self.handle(message).await,
                    None => return,
                },
                () = wake => self.tick_all().await,
            }
            let idle = || queries.is_empty() && internal.is_empty();
            if self.is_stranger() && self.ctx.registry.retire(&self.key, &self.owner, idle) {
                return;
            }
        }
    }

    /// At the end of the shard's or the engine's time: what is being committed is waited for and let out, and nothing new begins.
    async fn drain(mut self) {
        while !self.ctx.frozen.is_cancelled()
            && let Some(committed) = self.commits.next().await
        {
            if !self.committed(committed).await {
                break;
            }
        }
        self.ctx.tasks.forget_channels(&self.slots.keys().copied().collect());
    }

    /// The peer never had a channel here, and none is being offered.
    fn is_stranger(&self) -> bool {
        self.next_generation == FIRST_GENERATION && self.commits.is_empty() && self.loading.is_empty() && !self.offering
    }

    fn sleep(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        match self.slots.values().filter_map(|s| s.channel.next_wake()).min() {
            None => futures::future::pending().boxed(),
            Some(at) => self.ctx.clock.sleep_until(at).boxed(),
        }
    }

    async fn tick_all(&mut self) {
        let now = self.ctx.clock.now_ms();
        let due: Vec<Address> =
            self.slots.iter().filter(|(_, s)| s.channel.next_wake().is_some_and(|at| at <= now)).map(|(a, _)| *a).collect();
        for address in due {
            self.step(address, Event::Tick).await;
        }
    }

    async fn handle(&mut self, message: Message) {
        match message {
            Message::Query { gateway, query_id, request } => self.query(gateway, query_id, *request).await,
            Message::Answer { channel, generation, call, answer } => {
                if let Ok(protocol::Answer::Proposal { agreed: false, reason, .. }) = &answer
                    && reason != protocol::BUSY
                {
                    info!(channel = hex::encode(channel), reason, "the peer refused a proposal");
                }
                if self.slots.get(&channel).is_some_and(|s| s.generation == generation) {
                    self.step(channel, Event::Answer { call, answer }).await;
                }
            }
            Message::Task(row, ticket, handed) => self.task(row, ticket, handed).await,
            Message::Command(task, command) => {
                let event = Event::Task { id: task.id, task: task.task };
                self.step_from(task.channel, event, Source::Command(command)).await;
            }
            Message::SessionUp => {
                for address in self.slots.keys().copied().collect::<Vec<_>>() {
                    self.step(address, Event::PeerUp).await;
                }
            }
            Message::Open(done) => self.open_channel(done),
            Message::Offered(offered) => self.offered(*offered).await,
            Message::Reload(address) => self.reload(address).await,
        }
    }

    async fn query(&mut self, gateway: usize, query_id: u64, request: Request) {
        let Some(address) = channel_of(&request) else {
            if let Request::OpenChannelOffchain(open) = request {
                self.accept_channel(gateway, query_id, open).await;
            }
            return;
        };
        if !self.slots.contains_key(&address) {
            return self.unknown_channel(gateway, query_id, &address, &request);
        }
        let mut next_channel = None;
        let mut instruction = None;
        if let Some(key) = instruction_key(&request)
            && let Request::ProposeAction(message::ProposeAction { action: wire::Action::OpenVirtual(a), .. }) = &request
            && let Ok(secret) = self.ctx.signer.shared_secret(SecretUse::OwnInstruction, &key).await
        {
            instruction = wire::instruction::open(&a.instructions, &secret);
            if let Some(i) = &instruction
                && i.next_target != self.ctx.key
            {
                next_channel = self.ctx.channel_towards(&i.next_target, i.next_capacity.saturating_add(i.next_fee)).await;
            }
        }
        let reply = self.next_reply;
        self.next_reply += 1;
        match event(reply, request, instruction, next_channel) {
            Ok(event) => {
                self.replies.insert(reply, (gateway, query_id));
                self.step(address, event).await;
            }
            Err(answer) => self.answer(gateway, query_id, answer.to_boxed()),
        }
    }

    /// A channel that is only being loaded again is busy: any other refusal would say that the proposal failed.
    fn unknown_channel(&self, gateway: usize, query_id: u64, address: &Address, request: &Request) {
        let reason = if self.loading.contains_key(address) { protocol::BUSY } else { "channel is not known" };
        let answer = match request {
            Request::ProposeAction(_) => message::Answer::ProposalDecision(message::ProposalDecision::refuse(reason)),
            _ => message::Answer::Decision(message::Decision::refuse(reason)),
        };
        self.answer(gateway, query_id, answer.to_boxed());
    }

    fn answer(&self, gateway: usize, query_id: u64, data: Vec<u8>) {
        self.ctx.gateways.answer(gateway, OutgoingAnswer { query_id, owner: Some(self.owner), data: data.into() });
    }

    async fn task(&mut self, row: protocol::NewTask, ticket: Ticket, handed: Handed) {
        if !self.ctx.tasks.is_current(&row.id, ticket) {
            return;
        }
        if self.slots.contains_key(&row.channel) {
            let source = match handed {
                Handed::Committed => Source::Event,
                Handed::Early => Source::EarlyTask(row.id.clone()),
            };
            self.step_from(row.channel, Event::Task { id: row.id, task: row.task }, source).await;
        } else if !self.loading.contains_key(&row.channel) {
            // Closed, and left out when the shard was loaded. Its tasks count as under way until it is there: they are not read again and again.
            self.load_again(row.channel);
        }
    }

    async fn step(&mut self, address: Address, event: Event) {
        self.step_from(address, event, Source::Event).await;
    }

    /// One event of one channel: step, hand the writes to the committer, queue the effects behind the verdict.
    async fn step_from(&mut self, address: Address, event: Event, source: Source) {
        let released_elsewhere = self.slots.iter().filter(|(a, _)| **a != address).map(|(_, s)| s.channel.row().released).sum();
        let Some(slot) = self.slots.get_mut(&address) else { return };
        let env = Env {
            now: self.ctx.clock.now_ms(),
            random: self.ctx.random(),
            policy: &self.ctx.policy,
            released_elsewhere,
            used_key: used_key(&event, &self.used_keys),
        };
        let mut step = slot.channel.step(&env, event);
        self.ctx.metrics.steps.inc();
        if matches!(source, Source::Command(_)) {
            // It was in no queue.
            step.writes.retain(|write| !matches!(write, Write::TaskDone(_)));
        }
        let generation = slot.generation;
        if !step.writes.is_empty() {
            self.ctx.hints.update(&slot.channel);
        }
        let patient = !step.effects.iter().any(is_awaited);
        let targets = self.targets(address, generation, step.effects);
        let release = Release::prepare(&self.ctx, targets).await;
        let (release, orders) = match (release, self.ctx.orders(&self.slots[&address].channel, &step.writes).await) {
            (Ok(release), Ok(orders)) => (release, orders),
            (Err(error), _) | (_, Err(error)) => {
                // The memory is ahead of what can be signed: it must not go on.
                error!(%error, "signing refused, channel is loaded again");
                return self.poison(address);
            }
        };
        let mut tasks = Vec::new();
        let mut done = Vec::new();
        let mut results = Vec::new();
        for write in &step.writes {
            match write {
                Write::Task(task) => tasks.push(task.clone()),
                Write::TaskDone(id) => done.push(id.clone()),
                Write::Result { request_id, result } => results.push((request_id.clone(), result.clone())),
                _ => {}
            }
        }
        let mut command = None;
        let verdict = if step.writes.is_empty() && !matches!(source, Source::Command(_)) {
            None
        } else {
            let version = self.slots[&address].channel.row().version;
            match Change::new(self.fence(address, version), step.writes, orders) {
                Ok(change) => {
                    let change = match source {
                        Source::Event => change,
                        Source::EarlyTask(id) => change.of_early_task(id),
                        Source::Command(Command { request_id, content, done }) => {
                            command = Some(done);
                            change.of_command(request_id, &content)
                        }
                    };
                    let verdict = self.ctx.committer.commit(change.patient(patient));
                    // The change is queued: what is made of its tasks comes behind it.
                    tasks = self.ctx.hand_over_early(self.owner.shard as u8, tasks);
                    Some(verdict)
                }
                Err(error) => {
                    error!(%error, "writes that are no change, channel is loaded again");
                    return self.poison(address);
                }
            }
        };
        let begun = verdict.is_some().then(Instant::now);
        self.commits.push_back(
            async move {
                let verdict = match verdict {
                    // A committer that is closed says nothing about the change: neither do we.
                    Some(verdict) => verdict.await.unwrap_or(Verdict::NotOwner),
                    None => Verdict::Applied,
                };
                Committed { address, generation, begun, verdict, release, tasks, done, results, command }
            }
            .boxed(),
        );
    }

    fn fence(&self, channel: Address, version: u64) -> Fence {
        Fence { channel, shard: self.owner.shard as u8, epoch: self.owner.epoch, version }
    }

    /// Gives each effect its way out.
    fn targets(&mut self, address: Address, generation: u64, effects: Vec<Effect>) -> Vec<Target> {
        let Some(slot) = self.slots.get(&address) else { return Vec::new() };
        let (left, channel) = (slot.channel.row().left, &slot.channel);
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Reply { reply, answer } => {
                    let (gateway, query_id) = self.replies.remove(&reply)?;
                    Some(Target::Reply { gateway, query_id, answer })
                }
                Effect::Call { call, request } => {
                    let step = request.proposed().map_or(Step::Answer, |body| step_of(channel, &body));
                    Some(Target::Call { channel: address, left, generation, call, request: Box::new(request), step })
                }
                Effect::LoadDictionary { seqno } => Some(Target::LoadDictionary { channel: address, seqno }),
                Effect::Alarm(alarm) => Some(Target::Alarm { channel: address, alarm }),
            })
            .collect()
    }

    /// A verdict came: lets the effects out, or throws the memory away. Whether the task goes on.
    async fn committed(&mut self, done: Committed) -> bool {
        let current = self.slots.get(&done.address).is_some_and(|s| s.generation == done.generation);
        if let Some(begun) = done.begun {
            self.ctx.metrics.commit(begun, &done.verdict);
        }
        match done.verdict {
            // Nothing was written, but what it was made of was thrown away meanwhile: a change before it failed.
            Verdict::Applied if done.begun.is_none() && !current => true,
            Verdict::Applied => {
                if let Some(command) = done.command {
                    // The caller may have gone.
                    let _ = command.send(());
                }
                for release in done.release {
                    self.let_out(release).await;
                }
                for (request_id, result) in done.results {
                    self.ctx.metrics.payment(&result);
                    self.ctx.results.finish(&request_id, Outcome::from(result));
                }
                self.ctx.tasks.applied(done.done);
                self.ctx.hand_over(done.tasks);
                true
            }
            Verdict::NotOwner => {
                warn!(shard = self.owner.shard, "no longer the owner: nothing of this shard is done here any more");
                self.ctx.registry.lost(&self.owner);
                false
            }
            Verdict::UsedKey(key) => {
                self.used_keys.push(key);
                if self.used_keys.len() > 1024 {
                    self.used_keys.remove(0);
                }
                if current {
                    self.poison(done.address);
                }
                true
            }
            verdict @ (Verdict::Stale | Verdict::KnownRequest | Verdict::TaskGone | Verdict::Refused(_)) => {
                if current {
                    warn!(channel = hex::encode(done.address), ?verdict, "not committed, channel is loaded again");
                    self.poison(done.address);
                }
                true
            }
        }
    }

    /// What is in memory may not be what is in the database: forget it, load it again.
    fn poison(&mut self, address: Address) {
        self.slots.remove(&address);
        self.load_again(address);
    }

    fn load_again(&mut self, address: Address) {
        self.loading.insert(address, 0);
        self.mailbox.send(Message::Reload(address));
    }

    async fn reload(&mut self, address: Address) {
        match self.load(&address).await {
            Ok(Some(channel)) => {
                self.loading.remove(&address);
                self.put(channel);
                // What was handed over before is read again.
                self.ctx.tasks.forget_channels(&HashSet::from([address]));
                self.ctx.poke.notify_one();
                self.step(address, Event::Tick).await;
            }
            Ok(None) => {
                self.loading.remove(&address);
            }
            Err(error) => {
                warn!(%error, channel = hex::encode(address), "channel cannot be loaded, trying again");
                let attempts = self.loading.entry(address).or_default();
                let pause = RELOAD.saturating_mul(1 << (*attempts).min(16)).min(RELOAD_MAX);
                *attempts += 1;
                let mailbox = self.mailbox.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    mailbox.send(Message::Reload(address));
                });
            }
        }
    }

    async fn load(&mut self, address: &Address) -> anyhow::Result<Option<Channel>> {
        let mut client = self.ctx.pool.get().await?;
        let Some(loaded) = store::engine::load_channel(&mut client, address).await? else { return Ok(None) };
        let channel = loaded.into_channel()?;
        self.ctx.restore_guard(&channel).await?;
        Ok(Some(channel))
    }

    async fn quarantined(
        &mut self,
        channel: &Address,
        seqno: u64,
    ) -> Result<Vec<(wire::Condition, Option<wire::Resolution>)>, store::Error> {
        let client = self.ctx.pool.get().await?;
        store::engine::dictionary_with_resolutions(&client, channel, Side::Their, seqno).await
    }

    async fn let_out(&mut self, release: Release) {
        match release {
            Release::Reply { gateway, query_id, data } => self.answer(gateway, query_id, data),
            Release::Call { channel, generation, call, proposed, query } => {
                let mailbox = self.mailbox.clone();
                let query = crate::gateways::Query { peer: self.key, owner: self.owner, ..query };
                let deliver = Box::new(move |answer: Result<Vec<u8>, NoAnswer>| {
                    let answer = match answer {
                        Ok(bytes) => protocol::envelope::answer(proposed.as_ref(), &bytes),
                        Err(NoAnswer::NotConnected) => Err(CallFailed::NotConnected),
                        Err(NoAnswer::Timeout) => Err(CallFailed::Timeout),
                    };
                    mailbox.send(Message::Answer { channel, generation, call, answer });
                });
                self.ctx.gateways.call(query, deliver);
            }
            Release::LoadDictionary { channel, seqno } => match self.quarantined(&channel, seqno).await {
                Ok(conditions) => Box::pin(self.step(channel, Event::Dictionary { seqno, conditions })).await,
                Err(error) => warn!(%error, "quarantined dictionary cannot be loaded"),
            },
            Release::Alarm { channel, alarm } => self.ctx.alarm(&channel, &alarm).await,
        }
    }
}

/// Whether the pair's next state waits for this effect: nothing else can be proposed on the channel meanwhile.
fn is_awaited(effect: &Effect) -> bool {
    match effect {
        Effect::Reply { answer, .. } => matches!(answer, Response::Proposal { .. }),
        Effect::Call { request, .. } => matches!(request, Outgoing::Propose { .. } | Outgoing::Lock { .. }),
        Effect::LoadDictionary { .. } | Effect::Alarm(_) => true,
    }
}

/// The key of this event, if the database has refused it before.
fn used_key(event: &Event, used: &[Key]) -> Option<Key> {
    let key = match event {
        Event::Proposal(p) => p.action.virtual_key().copied(),
        Event::Task { task: Task::Open(open), .. } => Some(open.condition.key),
        _ => None,
    };
    key.filter(|key| used.contains(key))
}
