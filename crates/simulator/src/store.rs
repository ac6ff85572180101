//! A node's database: rows as [`protocol::Write`] defines them, changed only by fenced, all-or-nothing commits (design 3, 4.3, 5).

use std::collections::{BTreeMap, BTreeSet};

use protocol::{
    Address, Attempt, Change, Channel, ChannelRow, Direction, Key, Leg, NewTask, Order, Outcome, RequestResult, Side, SignedBody,
    Task, Write,
};
use wire::{
    conditionals::{Condition, Conditionals},
    resolution::Resolution,
    state::{Body, SignedState},
};

/// Which engine of a node.
pub(crate) type EngineId = usize;
pub(crate) type Epoch = u64;

/// Who changes something, and under which epoch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fence {
    pub(crate) shard: u8,
    pub(crate) epoch: Epoch,
}

/// What became of a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Applied,
    NotOwner,
    /// The row has another version than the change was made from.
    Stale,
    UsedKey(Key),
}

/// A condition of either side, from its first seqno to the first one without it (design 5).
#[derive(Debug, Clone)]
pub(crate) struct ConditionRow {
    pub(crate) side: Side,
    pub(crate) condition: Condition,
    pub(crate) since: u64,
    pub(crate) until: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) struct BodyRow {
    pub(crate) attempt: Attempt,
    pub(crate) body: Body,
    pub(crate) change: Change,
    pub(crate) outcome: Option<Outcome>,
}

#[derive(Debug, Clone)]
pub(crate) struct TaskRow {
    pub(crate) id: String,
    pub(crate) channel: Address,
    pub(crate) task: Task,
}

#[derive(Debug, Clone)]
pub(crate) struct OrderRow {
    pub(crate) channel: Address,
    pub(crate) order: Order,
    /// Taken by the indexer.
    pub(crate) taken: bool,
}

/// Everything of one channel.
#[derive(Debug, Clone)]
pub(crate) struct ChannelRows {
    pub(crate) row: ChannelRow,
    pub(crate) conditions: Vec<ConditionRow>,
    pub(crate) bodies: BTreeMap<u64, Vec<BodyRow>>,
    pub(crate) peer_states: Vec<SignedState>,
    pub(crate) legs: BTreeMap<(Key, Direction), Leg>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) shards: BTreeMap<u8, (EngineId, Epoch)>,
    pub(crate) channels: BTreeMap<Address, ChannelRows>,
    pub(crate) virtual_keys: BTreeSet<Key>,
    pub(crate) tasks: BTreeMap<u64, TaskRow>,
    task_ids: BTreeMap<String, u64>,
    next_task: u64,
    pub(crate) orders: BTreeMap<String, OrderRow>,
    /// Orders that the indexer has not taken yet.
    pub(crate) new_orders: Vec<String>,
    pub(crate) results: BTreeMap<String, Vec<RequestResult>>,
}

impl Store {
    /// Gives a shard to an engine under the next epoch.
    pub(crate) fn take_shard(&mut self, shard: u8, engine: EngineId) -> Epoch {
        let entry = self.shards.entry(shard).or_insert((engine, 0));
        *entry = (engine, entry.1 + 1);
        entry.1
    }

    pub(crate) fn add_channel(&mut self, row: ChannelRow) {
        let rows = ChannelRows { row, conditions: vec![], bodies: BTreeMap::new(), peer_states: vec![], legs: BTreeMap::new() };
        self.channels.insert(rows.row.address, rows);
    }

    /// Inserts a task; a row with the same id stays as it is.
    pub(crate) fn add_task(&mut self, new: NewTask) -> bool {
        if self.task_ids.contains_key(&new.id) {
            return false;
        }
        self.task_ids.insert(new.id.clone(), self.next_task);
        self.tasks.insert(self.next_task, TaskRow { id: new.id, channel: new.channel, task: new.task });
        self.next_task += 1;
        true
    }

    /// One statement: everything or nothing. `fenced` is off only in the mutation check.
    pub(crate) fn commit(&mut self, fence: Fence, channel: &Address, writes: &[Write], fenced: bool) -> Verdict {
        let owner = self.shards.get(&fence.shard).is_some_and(|(_, epoch)| *epoch == fence.epoch);
        if !owner && fenced {
            return Verdict::NotOwner;
        }
        let Some(rows) = self.channels.get(channel) else { return Verdict::Stale };
        for write in writes {
            match write {
                Write::Channel(row) if row.version != rows.row.version + 1 => return Verdict::Stale,
                Write::TaskDone(id) if !self.task_ids.contains_key(id) => return Verdict::Stale,
                Write::VirtualKey(key) if self.virtual_keys.contains(key) => return Verdict::UsedKey(*key),
                _ => {}
            }
        }
        for write in writes {
            self.apply(channel, write);
        }
        Verdict::Applied
    }

    fn apply(&mut self, channel: &Address, write: &Write) {
        let rows = self.channels.get_mut(channel).expect("checked by commit");
        match write {
            Write::Channel(row) => rows.row = (**row).clone(),
            Write::ConditionAdded { side, condition, since } => {
                rows.conditions.push(ConditionRow { side: *side, condition: *condition, since: *since, until: None });
            }
            Write::ConditionRemoved { side, key, until } => {
                let live = |c: &&mut ConditionRow| c.side == *side && c.condition.key == *key && c.until.is_none();
                if let Some(row) = rows.conditions.iter_mut().find(live) {
                    row.until = Some(*until);
                }
            }
            Write::SignedBody(SignedBody { attempt, body, change }) => {
                let row = BodyRow { attempt: *attempt, body: *body, change: change.clone(), outcome: None };
                rows.bodies.entry(body.seqno).or_default().push(row);
            }
            Write::BodyOutcome { seqno, attempt, outcome } => {
                let bodies = rows.bodies.get_mut(seqno).into_iter().flatten();
                for body in bodies.filter(|b| b.attempt == *attempt) {
                    body.outcome = Some(*outcome);
                }
            }
            Write::PeerState(state) => rows.peer_states.push(*state),
            Write::Leg(leg) => {
                rows.legs.insert((leg.key(), leg.direction()), (**leg).clone());
            }
            Write::VirtualKey(key) => {
                self.virtual_keys.insert(*key);
            }
            Write::Task(new) => {
                self.add_task(new.clone());
            }
            Write::TaskDone(id) => {
                if let Some(n) = self.task_ids.remove(id) {
                    self.tasks.remove(&n);
                }
            }
            Write::Order(order) => {
                if !self.orders.contains_key(&order.id) {
                    self.new_orders.push(order.id.clone());
                    self.orders.insert(order.id.clone(), OrderRow { channel: *channel, order: (**order).clone(), taken: false });
                }
            }
            Write::Result { request_id, result } => self.results.entry(request_id.clone()).or_default().push(result.clone()),
        }
    }

    /// The channel as an engine that takes it over builds it.
    pub(crate) fn load(&self, channel: &Address) -> Channel {
        let rows = &self.channels[channel];
        let live = |side| rows.conditions.iter().filter(move |c| c.side == side && c.until.is_none()).map(|c| c.condition);
        let legs = rows.legs.values().filter(|leg| !leg.is_final() || leg.released > 0 || !leg.told).cloned();
        Channel::load(rows.row.clone(), live(Side::Our), live(Side::Their), legs).expect("rows of our own are well-formed")
    }

    /// A side's agreed conditions at a seqno.
    pub(crate) fn conditions_at(&self, channel: &Address, side: Side, seqno: u64) -> Vec<Condition> {
        let rows = &self.channels[channel].conditions;
        let there = |c: &&ConditionRow| c.side == side && c.since <= seqno && c.until.is_none_or(|until| seqno < until);
        rows.iter().filter(there).map(|c| c.condition).collect()
    }

    /// The peer's dictionary at a seqno with the resolutions that we hold ([`protocol::Effect::LoadDictionary`]).
    pub(crate) fn dictionary(&self, channel: &Address, seqno: u64) -> Vec<(Condition, Option<Resolution>)> {
        let legs = &self.channels[channel].legs;
        let resolution = |c: &Condition| legs.get(&(c.key, Direction::In)).and_then(|leg| leg.resolution);
        self.conditions_at(channel, Side::Their, seqno).into_iter().map(|c| (c, resolution(&c))).collect()
    }

    /// The dictionary of one of our bodies, agreed or not.
    pub(crate) fn own_dictionary(&self, channel: &Address, body: &BodyRow) -> Conditionals {
        let mut conditions = self.conditions_at(channel, Side::Our, body.body.seqno - 1);
        match &body.change {
            Change::None => {}
            Change::Insert(condition) => conditions.push(*condition),
            Change::Remove(key) => conditions.retain(|c| c.key != *key),
        }
        Conditionals::from_conditions(conditions).unwrap_or_default()
    }

    /// Whether this body of ours was committed.
    pub(crate) fn knows_body(&self, channel: &Address, body: &Body) -> bool {
        let Some(rows) = self.channels.get(channel) else { return false };
        let start = body.sent == 0 && body.conditionals == [0; 32] && !rows.bodies.contains_key(&body.seqno);
        rows.row.our == *body
            || rows.bodies.get(&body.seqno).is_some_and(|bodies| bodies.iter().any(|b| b.body == *body))
            || (start && rows.bodies.first_key_value().is_none_or(|(first, _)| body.seqno < *first))
    }

    /// Whether this body of the peer was committed.
    pub(crate) fn knows_peer_body(&self, channel: &Address, body: &Body) -> bool {
        let Some(rows) = self.channels.get(channel) else { return false };
        let start = body.sent == 0 && body.conditionals == [0; 32];
        rows.row.their == *body || rows.peer_states.iter().rev().any(|s| s.state.body == *body) || start
    }
}
