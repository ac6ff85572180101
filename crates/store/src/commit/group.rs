//! Consecutive changes of one channel are applied as one: a group.

use std::collections::HashMap;

use protocol::{Address, Key};
use tokio::sync::oneshot;

use super::{Verdict, change::Change, head::Head};

/// A change that waits for its verdict.
pub(super) struct Job {
    pub(super) change: Change,
    pub(super) answer: oneshot::Sender<Verdict>,
}

impl Job {
    pub(super) fn end(self, verdict: Verdict) {
        // Nobody waits any more when the actor was stopped.
        let _ = self.answer.send(verdict);
    }
}

/// Consecutive changes of one channel, the first one first.
pub(super) struct Group {
    pub(super) jobs: Vec<Job>,
}

impl Group {
    fn follows(&self, change: &Change) -> bool {
        self.jobs.last().is_some_and(|last| last.change.versions.1 == change.versions.0 && last.change.epoch == change.epoch)
    }

    pub(super) fn channel(&self) -> Address {
        self.jobs[0].change.channel
    }

    /// The shard and the epoch under which it must be ours.
    pub(super) fn fence(&self) -> (u8, i64) {
        (self.jobs[0].change.shard, self.jobs[0].change.epoch)
    }

    /// The version that the database must have when none of the changes writes the channel's row.
    pub(super) fn version(&self) -> i64 {
        self.jobs[0].change.versions.0
    }

    pub(super) fn has_key(&self, key: &Key) -> bool {
        self.jobs.iter().any(|job| job.change.now.keys.contains(key))
    }

    pub(super) fn has_request(&self, id: &str) -> bool {
        self.jobs.iter().any(|job| job.change.puts_on_record(id))
    }

    /// Tasks that were applied ahead of their rows.
    pub(super) fn early(&self) -> impl Iterator<Item = &str> {
        self.jobs.iter().flat_map(|job| job.change.early.iter().map(String::as_str))
    }

    pub(super) fn changes(&self) -> impl Iterator<Item = &Change> {
        self.jobs.iter().map(|job| &job.change)
    }

    /// Where the channel goes, if it moves.
    pub(super) fn head(&self) -> Option<Head> {
        self.changes().filter_map(|change| change.head.clone()).reduce(Head::then)
    }

    /// The first change has this verdict; the ones behind it were made of what is thrown away now.
    pub(super) fn fail(self, verdict: Verdict) {
        let mut verdict = Some(verdict);
        self.jobs.into_iter().for_each(|job| job.end(verdict.take().unwrap_or(Verdict::Stale)));
    }

    /// Each change for itself.
    pub(super) fn split(self) -> Vec<Group> {
        self.jobs.into_iter().map(|job| Group { jobs: vec![job] }).collect()
    }
}

/// Groups jobs by channel, in the order of each channel's first one. A change that does not follow the one before it is stale; one whose command is
/// in the group already is not applied with it: the rows of a group are one, and so the command would be on record once and carried out twice.
pub(super) fn group(jobs: Vec<Job>) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut places: HashMap<Address, usize> = HashMap::new();
    for job in jobs {
        match places.get(&job.change.channel).map(|place| &mut groups[*place]) {
            Some(group) if job.change.request_id().is_some_and(|id| group.has_request(id)) => job.end(Verdict::KnownRequest),
            Some(group) if group.follows(&job.change) => group.jobs.push(job),
            Some(_) => job.end(Verdict::Stale),
            None => {
                places.insert(job.change.channel, groups.len());
                groups.push(Group { jobs: vec![job] });
            }
        }
    }
    groups
}
