//! One event of one channel: its step, its commit, and what leaves behind the verdict (design 4.2).

use std::time::Instant;

use futures::FutureExt;
use protocol::{
    Address, CallFailed, Effect, Env, Event, Key, NewTask, Outgoing, RequestResult, Response, Side, Step, Task, Write,
};
use signer::Step as SignerStep;
use store::{Change, Fence, Verdict, engine::ContentHash};
use tokio::sync::oneshot;
use tracing::{error, warn};

use super::{
    Message, Peer,
    release::{Release, Target, step_of},
};
use crate::{gateways::NoAnswer, results::Outcome};

/// A command that its channel puts on record in the commit that carries it out.
pub struct Command {
    /// The caller's id.
    pub request_id: String,
    /// What it asks for.
    pub content: ContentHash,
    /// Told when it is committed; dropped when it was not, or nobody knows.
    pub committed: oneshot::Sender<()>,
}

/// Where an event comes from, as far as its commit must know.
pub(super) enum Source {
    /// What happened, or a task whose row is there.
    Event,
    /// The task of this id, whose row is being committed ahead of it.
    EarlyTask(String),
    Command(Command),
}

impl Source {
    /// Marks a change with what it comes from. The caller, if one waits for it.
    fn mark(self, change: Change) -> (Change, Option<oneshot::Sender<()>>) {
        match self {
            Self::Event => (change, None),
            Self::EarlyTask(id) => (change.of_early_task(id), None),
            Self::Command(Command { request_id, content, committed }) => {
                (change.of_command(request_id, &content), Some(committed))
            }
        }
    }
}

/// What the rest of the engine learns when a change is committed.
#[derive(Default)]
struct News {
    tasks: Vec<NewTask>,
    done: Vec<String>,
    results: Vec<(String, RequestResult)>,
}

impl News {
    fn of(writes: &[Write]) -> Self {
        let mut news = Self::default();
        for write in writes {
            match write {
                Write::Task(task) => news.tasks.push(task.clone()),
                Write::TaskDone(id) => news.done.push(id.clone()),
                Write::Result { request_id, result } => news.results.push((request_id.clone(), result.clone())),
                _ => {}
            }
        }
        news
    }
}

/// What comes out of the commit queue, in order.
pub(super) struct Committed {
    address: Address,
    generation: u64,
    /// When it was handed to the committer, if anything was.
    begun: Option<Instant>,
    verdict: Verdict,
    release: Vec<Release>,
    news: News,
    caller: Option<oneshot::Sender<()>>,
}

impl Peer {
    pub(super) async fn step(&mut self, address: Address, event: Event) {
        self.step_from(address, event, Source::Event).await;
    }

    /// One event of one channel: step, hand the writes to the committer, queue the effects behind the verdict.
    pub(super) async fn step_from(&mut self, address: Address, event: Event, source: Source) {
        let Some(mut step) = self.react(&address, event) else { return };
        let of_command = matches!(source, Source::Command(_));
        if of_command {
            // It was in no queue.
            step.writes.retain(|write| !matches!(write, Write::TaskDone(_)));
        }
        let slot = &self.slots[&address];
        let (generation, version) = (slot.generation, slot.channel.row().version);
        if !step.writes.is_empty() {
            self.ctx.hints.update(&slot.channel);
        }
        let patient = !step.effects.iter().any(is_awaited);
        let targets = self.targets(address, generation, step.effects);
        let signing = async {
            let release = Release::prepare(&self.ctx, targets).await?;
            Ok::<_, signer::Error>((release, self.ctx.orders(&self.slots[&address].channel, &step.writes).await?))
        };
        let (release, orders) = match signing.await {
            Ok(signed) => signed,
            Err(error) => {
                // The memory is ahead of what can be signed: it must not go on.
                error!(%error, "signing refused, channel is loaded again");
                return self.poison(address);
            }
        };
        let mut news = News::of(&step.writes);
        let (mut verdict, mut caller) = (None, None);
        if !step.writes.is_empty() || of_command {
            let change = match Change::new(self.fence(address, version), step.writes, orders) {
                Ok(change) => change,
                Err(error) => {
                    error!(%error, "writes that are no change, channel is loaded again");
                    return self.poison(address);
                }
            };
            let (change, waiting) = source.mark(change);
            caller = waiting;
            verdict = Some(self.ctx.committer.commit(change.patient(patient)));
            // The change is queued: what is made of its tasks comes behind it.
            news.tasks = self.ctx.hand_over_early(self.owner.shard as u8, news.tasks);
        }
        let begun = verdict.is_some().then(Instant::now);
        self.commits.push_back(
            async move {
                let verdict = match verdict {
                    // A committer that is closed says nothing about the change: neither do we.
                    Some(verdict) => verdict.await.unwrap_or(Verdict::NotOwner),
                    None => Verdict::Applied,
                };
                Committed { address, generation, begun, verdict, release, news, caller }
            }
            .boxed(),
        );
    }

    /// What the protocol makes of an event.
    fn react(&mut self, address: &Address, event: Event) -> Option<Step> {
        let others = self.slots.iter().filter(|(other, _)| *other != address);
        let released_elsewhere = others.map(|(_, slot)| slot.channel.row().released).sum();
        let env = Env {
            now: self.ctx.clock.now_ms(),
            random: self.ctx.random(),
            policy: &self.ctx.policy,
            released_elsewhere,
            used_key: used_key(&event, &self.used_keys),
        };
        let step = self.slots.get_mut(address)?.channel.step(&env, event);
        self.ctx.metrics.steps.inc();
        Some(step)
    }

    pub(super) fn fence(&self, channel: Address, version: u64) -> Fence {
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
                    let asked = self.replies.remove(&reply)?;
                    Some(Target::Reply { asked, answer })
                }
                Effect::Call { call, request } => {
                    let step = request.proposed().map_or(SignerStep::Answer, |body| step_of(channel, &body));
                    Some(Target::Call { channel: address, left, generation, call, request: Box::new(request), step })
                }
                Effect::LoadDictionary { seqno } => Some(Target::LoadDictionary { channel: address, seqno }),
                Effect::Alarm(alarm) => Some(Target::Alarm { channel: address, alarm }),
            })
            .collect()
    }

    /// A verdict came: lets the effects out, or throws the memory away. Whether the task goes on.
    pub(super) async fn committed(&mut self, done: Committed) -> bool {
        let current = self.slots.get(&done.address).is_some_and(|s| s.generation == done.generation);
        if let Some(begun) = done.begun {
            self.ctx.metrics.commit(begun, &done.verdict);
        }
        match done.verdict {
            // Nothing was written, but what it was made of was thrown away meanwhile: a change before it failed.
            Verdict::Applied if done.begun.is_none() && !current => true,
            Verdict::Applied => {
                if let Some(caller) = done.caller {
                    // The caller may have gone.
                    let _ = caller.send(());
                }
                for release in done.release {
                    self.let_out(release).await;
                }
                for (request_id, result) in done.news.results {
                    self.ctx.metrics.payment(&result);
                    self.ctx.results.finish(&request_id, Outcome::from(result));
                }
                self.ctx.tasks.applied(done.news.done);
                self.ctx.hand_over(done.news.tasks);
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
            Release::Reply { asked, data } => {
                self.answer(asked.gateway, asked.query_id, data);
                self.ctx.metrics.answer(asked.at);
            }
            Release::Call { channel, generation, call, proposed, kind, query } => {
                let (mailbox, metrics, begun) = (self.mailbox.clone(), self.ctx.metrics.clone(), Instant::now());
                let query = crate::gateways::Query { peer: self.key, owner: self.owner, ..query };
                let deliver = Box::new(move |answer: Result<Vec<u8>, NoAnswer>| {
                    metrics.call(kind, begun);
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
