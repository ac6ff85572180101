//! A change: what one step of a channel's actor writes, as rows.

use protocol::{Address, Key, RequestResult, Write};

use super::{head::Head, later::Later};
use crate::{
    Error,
    chain::NewOrder,
    codec,
    engine::ContentHash,
    value::{Record, long},
};

/// What one step of a channel's actor writes. Applied whole or not at all.
#[derive(Debug)]
pub struct Change {
    pub(super) channel: Address,
    pub(super) shard: u8,
    pub(super) epoch: i64,
    /// The channel's version that the step began with, and ended with.
    pub(super) versions: (i64, i64),
    /// Whether it may wait a few milliseconds under load.
    pub(super) patient: bool,
    /// Tasks that the step applied and whose rows a change ahead of this one brings.
    pub(super) early: Vec<String>,
    /// Where the channel is after it, if it moved.
    pub(super) head: Option<Head>,
    pub(super) now: Now,
    /// [`Later`], encoded; empty when there is nothing.
    pub(super) later: Vec<u8>,
}

/// Rows that are written, and what they must not contradict is checked, in the commit itself.
#[derive(Debug, Default)]
pub(super) struct Now {
    pub(super) keys: Vec<Key>,
    /// The command that the change puts on record.
    pub(super) request: Option<(String, Record)>,
    pub(super) new_channel: Option<Record>,
    pub(super) tasks: Vec<Record>,
    pub(super) done: Vec<Record>,
    pub(super) orders: Vec<Record>,
}

/// Which channel a change belongs to, and under whose ownership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The channel whose actor made the change.
    pub channel: Address,
    /// The shard of its peer ([`crate::shard_of`]).
    pub shard: u8,
    /// The epoch under which we own the shard.
    pub epoch: u64,
    /// The channel's version after the step.
    pub version: u64,
}

impl Change {
    /// Encodes the writes of a step. `orders` are the messages made of the step's [`Write::Order`]s, in the same order.
    ///
    /// Errors: a number that fits no column, or writes that contradict each other or the fence. Nothing was tried then.
    pub fn new(fence: Fence, writes: Vec<Write>, orders: Vec<NewOrder>) -> Result<Self, Error> {
        let (mut now, mut later) = (Now::default(), Later::default());
        let (mut head, mut signed) = (None, Vec::new());
        let mut placed = orders.iter();
        for write in writes {
            match write {
                Write::Channel(row) if head.is_none() && row.address == fence.channel && row.version == fence.version => {
                    let base =
                        fence.version.checked_sub(1).ok_or(Error::Inconsistent("the channel's row is not the fenced one"))?;
                    if base == 0 {
                        now.new_channel = Some(codec::new_channel(&row, fence.shard)?);
                    }
                    later.channel = Some(codec::set_channel(&row, fence.shard, base)?);
                    head = Some(Head::of(&row, fence.shard, base)?);
                }
                Write::Channel(_) => return Err(Error::Inconsistent("the channel's row is not the fenced one")),
                Write::Order(order) => {
                    let message = placed.next().filter(|o| o.id == order.id);
                    now.orders.push(message.ok_or(Error::Inconsistent("an order without its message"))?.record());
                }
                Write::SignedBody(body) => {
                    later.bodies.push(codec::new_body(&fence.channel, &body)?);
                    signed.push((body.body.seqno, body.attempt));
                }
                other => put(&fence, other, &mut now, &mut later)?,
            }
        }
        later.drop_implied_outcomes();
        if placed.next().is_some() {
            return Err(Error::Inconsistent("more orders than the step has"));
        }
        match &mut head {
            Some(head) => head.sign(&signed)?,
            None if signed.is_empty() => {}
            None => return Err(Error::Inconsistent("a body is signed and the channel's row is not written")),
        }
        let (epoch, after) = (long("epoch", fence.epoch)?, long("version", fence.version)?);
        Ok(Self {
            channel: fence.channel,
            shard: fence.shard,
            epoch,
            versions: (after - i64::from(head.is_some()), after),
            patient: false,
            early: Vec::new(),
            head,
            now,
            later: if later.is_empty() { Vec::new() } else { later.encode(&fence.channel)? },
        })
    }

    /// The same change; under load it may wait a few milliseconds for others to be committed with. For what no peer waits for.
    #[must_use]
    pub fn patient(mut self, patient: bool) -> Self {
        self.patient = patient;
        self
    }

    /// The same change, made of a task that was handed over before the change that brings it was committed. That one is ahead of this in the
    /// same lane ([`super::Committer::same_lane`]): if it fails, the task is gone and this one fails too.
    #[must_use]
    pub fn of_early_task(mut self, id: String) -> Self {
        self.early.push(id);
        self
    }

    /// The same change, made of a command that is not on record yet: this puts it there. [`super::Verdict::KnownRequest`] when it was.
    ///
    /// [`super::Verdict::KnownRequest`]: super::Verdict::KnownRequest
    #[must_use]
    pub fn of_command(mut self, request_id: String, content: &ContentHash) -> Self {
        let record = codec::new_request(&request_id, content);
        self.now.request = Some((request_id, record));
        self
    }

    pub(super) fn request_id(&self) -> Option<&str> {
        self.now.request.as_ref().map(|(id, _)| id.as_str())
    }

    pub(super) fn puts_on_record(&self, id: &str) -> bool {
        self.request_id() == Some(id)
    }
}

fn put(fence: &Fence, write: Write, now: &mut Now, later: &mut Later) -> Result<(), Error> {
    let channel = &fence.channel;
    match write {
        Write::ConditionAdded { side, condition, since } => {
            let record = codec::add_condition(channel, side, &condition, since, None)?;
            later.added.insert((codec::side(side), condition.key), record);
        }
        Write::ConditionRemoved { side, key, until } => {
            later.remove_condition((codec::side(side), key), codec::remove_condition(channel, side, &key, until)?);
        }
        Write::BodyOutcome { seqno, attempt, outcome } => {
            let record = codec::set_outcome(channel, seqno, attempt, outcome)?;
            later.outcomes.insert((seqno, codec::attempt(attempt)), (codec::outcome(outcome), record));
        }
        Write::PeerState(state) => {
            later.peer_states.insert(state.state.body.seqno, codec::new_peer_state(channel, &state)?);
        }
        Write::Leg(leg) => {
            let direction = codec::direction(leg.direction());
            later.put_leg((leg.key(), direction), codec::set_leg(channel, &leg));
        }
        Write::VirtualKey(key) => now.keys.push(key),
        Write::Task(task) => now.tasks.push(codec::new_task(&task, 0)?),
        Write::TaskDone(id) => now.done.push(codec::done_task(&id, fence.shard)),
        Write::Result { request_id, result } => {
            let last = result != RequestResult::Opened;
            later.put_result(request_id.clone(), (last, codec::set_result(&request_id, &result)));
        }
        Write::Channel(_) | Write::Order(_) | Write::SignedBody(_) => return Err(Error::Inconsistent("handled by the caller")),
    }
    Ok(())
}
