//! A change: what one step of a channel's actor writes, as rows.

use std::collections::BTreeMap;

use protocol::{Address, Attempt, Direction, Key, Outcome, RequestResult, Side, Write};

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
    pub(super) rows: Rows,
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
        let mut rows = Rows::default();
        let mut placed = orders.iter();
        let mut written = 0;
        for write in writes {
            match write {
                Write::Channel(row) if row.address == fence.channel && row.version == fence.version && row.version > 0 => {
                    written += 1;
                    if row.version == 1 {
                        rows.new_channel = Some(codec::new_channel(&row, fence.shard)?);
                    }
                    rows.channel = Some(codec::set_channel(&row, fence.shard, fence.version - 1)?);
                }
                Write::Channel(_) => return Err(Error::Inconsistent("the channel's row is not the fenced one")),
                Write::Order(order) => {
                    let message = placed.next().filter(|o| o.id == order.id);
                    rows.orders.push(message.ok_or(Error::Inconsistent("an order without its message"))?.record());
                }
                other => rows.put(&fence, other)?,
            }
        }
        rows.drop_implied_outcomes();
        if written > 1 || placed.next().is_some() {
            return Err(Error::Inconsistent("more channel rows or orders than the step has"));
        }
        let (epoch, after) = (long("epoch", fence.epoch)?, long("version", fence.version)?);
        Ok(Self {
            channel: fence.channel,
            shard: fence.shard,
            epoch,
            versions: (after - i64::from(written), after),
            patient: false,
            early: Vec::new(),
            rows,
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
        self.rows.requests.insert(request_id.clone(), codec::new_request(&request_id, content));
        self
    }
}

/// Rows of one channel by table. Of several writes to one row the last one counts.
#[derive(Debug, Default, Clone)]
pub(super) struct Rows {
    pub(super) keys: Vec<Key>,
    pub(super) requests: BTreeMap<String, Record>,
    pub(super) new_channel: Option<Record>,
    pub(super) channel: Option<Record>,
    pub(super) removed: BTreeMap<(Side, Key), Record>,
    pub(super) added: BTreeMap<(Side, Key), Record>,
    pub(super) bodies: Vec<Record>,
    pub(super) outcomes: BTreeMap<(u64, Attempt), (Outcome, Record)>,
    pub(super) peer_states: BTreeMap<u64, Record>,
    pub(super) legs: BTreeMap<(Key, bool), Record>,
    pub(super) tasks: Vec<Record>,
    pub(super) done: Vec<Record>,
    pub(super) orders: Vec<Record>,
    pub(super) results: BTreeMap<String, (bool, Record)>,
}

impl Rows {
    fn put(&mut self, fence: &Fence, write: Write) -> Result<(), Error> {
        let channel = &fence.channel;
        match write {
            Write::ConditionAdded { side, condition, since } => {
                let record = codec::add_condition(channel, side, &condition, since, None)?;
                self.added.insert((side, condition.key), record);
            }
            Write::ConditionRemoved { side, key, until } => {
                self.remove_condition(side, key, codec::remove_condition(channel, side, &key, until)?);
            }
            Write::SignedBody(body) => self.bodies.push(codec::new_body(channel, &body)?),
            Write::BodyOutcome { seqno, attempt, outcome } => {
                self.outcomes.insert((seqno, attempt), (outcome, codec::set_outcome(channel, seqno, attempt, outcome)?));
            }
            Write::PeerState(state) => {
                self.peer_states.insert(state.state.body.seqno, codec::new_peer_state(channel, &state)?);
            }
            Write::Leg(leg) => {
                self.legs.insert((leg.key(), leg.direction() == Direction::Out), codec::set_leg(channel, &leg));
            }
            Write::VirtualKey(key) => self.keys.push(key),
            Write::Task(task) => self.tasks.push(codec::new_task(&task, 0)?),
            Write::TaskDone(id) => self.done.push(codec::done_task(&id, fence.shard)),
            Write::Result { request_id, result } => {
                let last = result != RequestResult::Opened;
                self.put_result(request_id.clone(), (last, codec::set_result(&request_id, &result)));
            }
            Write::Channel(_) | Write::Order(_) => return Err(Error::Inconsistent("handled by the caller")),
        }
        Ok(())
    }

    /// A condition that came and went in one group is one row from the start.
    fn remove_condition(&mut self, side: Side, key: Key, removal: Record) {
        match (self.added.get_mut(&(side, key)), removal.0.last()) {
            (Some(added), Some(until)) => {
                if let Some(field) = added.0.last_mut() {
                    *field = until.clone();
                }
            }
            _ => {
                self.removed.insert((side, key), removal);
            }
        }
    }

    /// Where a seqno has but one body, the channel's row says that it is agreed. Of two, it is written which: both outcomes come in one change.
    fn drop_implied_outcomes(&mut self) {
        let mut count = BTreeMap::new();
        self.outcomes.keys().for_each(|(seqno, _)| *count.entry(*seqno).or_insert(0) += 1);
        self.outcomes.retain(|(seqno, _), (outcome, _)| *outcome != Outcome::Agreed || count[seqno] > 1);
    }

    /// `Opened` never replaces an outcome.
    fn put_result(&mut self, id: String, result: (bool, Record)) {
        if self.results.get(&id).is_none_or(|known| !known.0) {
            self.results.insert(id, result);
        }
    }

    /// Adds what a later change of the same channel writes.
    pub(super) fn absorb(&mut self, later: Rows) {
        self.keys.extend(later.keys);
        self.requests.extend(later.requests);
        self.new_channel = self.new_channel.take().or(later.new_channel);
        self.channel = match (self.channel.take(), later.channel) {
            (Some(first), Some(mut last)) => {
                last.0[BASE_FIELD] = first.0[BASE_FIELD].clone();
                Some(last)
            }
            (first, last) => last.or(first),
        };
        for ((side, key), removal) in later.removed {
            self.remove_condition(side, key, removal);
        }
        self.added.extend(later.added);
        self.bodies.extend(later.bodies);
        self.outcomes.extend(later.outcomes);
        self.peer_states.extend(later.peer_states);
        self.legs.extend(later.legs);
        self.tasks.extend(later.tasks);
        self.done.extend(later.done);
        self.orders.extend(later.orders);
        for (id, result) in later.results {
            self.put_result(id, result);
        }
    }
}

/// Where `base` stands in `engine.set_channel`.
const BASE_FIELD: usize = 2;
