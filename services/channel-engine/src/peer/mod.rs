//! One task per peer: it owns our half of every channel with that peer, feeds them events one at a time, and lets effects out only after
//! their commit (design 4.2, 5).

mod open;
mod release;
mod reload;
mod step;

use std::{collections::HashMap, pin::Pin, sync::Arc, time::Instant};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesOrdered};
use protocol::{
    Address, CallFailed, CallId, Channel, Event, Key,
    envelope::{channel_of, event, instruction_key},
};
use rpc::gateway::v1::{OutgoingAnswer, ShardEpoch};
use signer::SecretUse;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};
use wire::{Request, message};

use crate::{
    context::Context,
    registry::Tenure,
    tasks::{Handed, Ticket},
};
use step::{Committed, Source};

pub(crate) use release::step_of;
pub use step::Command;

/// Queries of the peer that wait for this task; more are dropped, the peer repeats them.
const QUERIES: usize = 512;
/// Of the first channel that a peer's task holds.
const FIRST_GENERATION: u64 = 1;

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

/// A query that waits for our answer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    gateway: usize,
    query_id: u64,
    at: Instant,
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
    replies: HashMap<u64, Asked>,
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
        let (internal, mut internal_rx) = mpsc::unbounded_channel();
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
        let stop = tenure.stop.clone();
        let task = async move {
            peer.run(query_rx, &mut internal_rx, stop).await;
            // A command that is being sent in this moment is dropped too, so that its caller does not wait for ever.
            internal_rx.close();
            while internal_rx.recv().await.is_some() {}
        };
        tenure.peers.spawn(all.track_future(task));
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
        internal: &mut mpsc::UnboundedReceiver<Message>,
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
                self.replies.insert(reply, Asked { gateway, query_id, at: Instant::now() });
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
}
