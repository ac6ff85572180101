//! The statement of a batch: one array of rows per table.

use std::collections::HashSet;

use tokio_postgres::types::ToSql;

use super::{group::Group, later::journal_row};
use crate::{codec, value::Record};

/// Calls `engine.commit` with [`Arguments`].
pub(super) const COMMIT: &str = "SELECT lost, used, known FROM engine.commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";

/// The arguments of `engine.commit`, in its order.
pub(super) struct Arguments {
    batch: i64,
    shards: Vec<i16>,
    epochs: Vec<i64>,
    keys: Vec<Vec<u8>>,
    requests: Vec<Record>,
    new_channels: Vec<Record>,
    seen: Vec<Record>,
    heads: Vec<Record>,
    tasks: Vec<Record>,
    done: Vec<Record>,
    orders: Vec<Record>,
    changes: Option<Vec<u8>>,
}

/// The shards of a batch with their epochs, each once, in ascending order: everybody locks them in the same order.
pub(super) fn fences(groups: &[Group]) -> Vec<(u8, i64)> {
    let mut fences: Vec<_> = groups.iter().map(Group::fence).collect();
    fences.sort_unstable();
    fences.dedup();
    fences
}

impl Arguments {
    pub(super) fn of(batch: i64, groups: &[Group]) -> Self {
        let fences = fences(groups);
        let mut a = Self {
            batch,
            shards: fences.iter().map(|(shard, _)| i16::from(*shard)).collect(),
            epochs: fences.iter().map(|(_, epoch)| *epoch).collect(),
            keys: Vec::new(),
            requests: Vec::new(),
            new_channels: Vec::new(),
            seen: Vec::new(),
            heads: Vec::new(),
            tasks: Vec::new(),
            done: Vec::new(),
            orders: Vec::new(),
            changes: journal_row(groups.iter().flat_map(Group::changes).map(|change| change.later.as_slice())),
        };
        groups.iter().for_each(|group| a.add(group));
        a.drop_tasks_that_came_and_went(groups);
        a
    }

    /// A task that was handed over ahead of its row, and applied in the same batch, needs no row.
    fn drop_tasks_that_came_and_went(&mut self, groups: &[Group]) {
        let early: HashSet<&str> = groups.iter().flat_map(Group::early).collect();
        if early.is_empty() {
            return;
        }
        let is_early = |id: &str| early.contains(id);
        let posted: HashSet<String> =
            self.tasks.iter().filter_map(codec::task_id).filter(|id| is_early(id)).map(Into::into).collect();
        let gone = |task: &Record| codec::task_id(task).is_some_and(|id| posted.contains(id));
        self.tasks.retain(|task| !gone(task));
        self.done.retain(|task| !gone(task));
    }

    fn add(&mut self, group: &Group) {
        match group.head() {
            Some(head) => self.heads.push(head.record()),
            None => self.seen.push(codec::seen_channel(&group.channel(), group.version())),
        }
        for now in group.changes().map(|change| &change.now) {
            self.keys.extend(now.keys.iter().map(|key| key.to_vec()));
            self.requests.extend(now.request.iter().map(|(_, record)| record.clone()));
            self.new_channels.extend(now.new_channel.clone());
            self.tasks.extend(now.tasks.iter().cloned());
            self.done.extend(now.done.iter().cloned());
            self.orders.extend(now.orders.iter().cloned());
        }
    }

    pub(super) fn as_slice(&self) -> [&(dyn ToSql + Sync); 12] {
        [
            &self.batch,
            &self.shards,
            &self.epochs,
            &self.keys,
            &self.requests,
            &self.new_channels,
            &self.seen,
            &self.heads,
            &self.tasks,
            &self.done,
            &self.orders,
            &self.changes,
        ]
    }
}
