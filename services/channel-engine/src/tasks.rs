//! The shard owner's end of `engine.task`: rows come by polling, or in memory right after the commit that inserted them (design 3).

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::Duration,
};

use protocol::{Address, NewTask};
use tracing::warn;

use crate::{context::Context, gateways::lock, peer::Message};

/// How often the queue is read when nobody pokes.
const POLL: Duration = Duration::from_millis(200);
/// Rows read at once.
const LIMIT: u32 = 512;

/// Tasks handed to peers' tasks and not yet applied, so that a row is not handed over twice. The commit would refuse it anyway.
#[derive(Default)]
pub struct Tasks(Mutex<Known>);

/// One handing over of a task.
pub type Ticket = u64;

/// When a task is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handed {
    /// Its row is there.
    Committed,
    /// Its row is being committed, and so is ahead of whatever is made of the task.
    Early,
}

#[derive(Default)]
struct Known {
    last: Ticket,
    under_way: HashMap<String, UnderWay>,
    /// Applied since the queue was last read: that reading may still bring their rows.
    applied: HashSet<String>,
    /// Applied in the time between the two readings before.
    applied_before: HashSet<String>,
}

struct UnderWay {
    ticket: Ticket,
    channel: Address,
    /// Of its row, 0 when it came right from the commit that inserted it.
    seq: i64,
}

impl Tasks {
    /// A ticket if the task is new to this engine. `seq` of its row, 0 when it comes right from the commit that inserted it.
    fn begin(&self, id: &str, channel: Address, seq: i64) -> Option<Ticket> {
        let handed = &mut *lock(&self.0);
        // What comes right from its commit may come after its row was read and applied.
        if handed.applied.contains(id) || (seq == 0 && handed.applied_before.contains(id)) || handed.under_way.contains_key(id) {
            return None;
        }
        handed.last += 1;
        handed.under_way.insert(id.into(), UnderWay { ticket: handed.last, channel, seq });
        Some(handed.last)
    }

    /// Whether this handing over still counts: since then the channel may have been loaded again, and the task handed over once more.
    pub fn is_current(&self, id: &str, ticket: Ticket) -> bool {
        lock(&self.0).under_way.get(id).is_some_and(|task| task.ticket == ticket)
    }

    /// The tasks were applied, their rows are gone. The same ids may come again as new tasks.
    pub fn applied(&self, ids: Vec<String>) {
        let mut handed = lock(&self.0);
        for id in ids {
            handed.under_way.remove(&id);
            handed.applied.insert(id);
        }
    }

    /// The task could not be applied: its row may be read again.
    pub fn forget(&self, id: &str) {
        lock(&self.0).under_way.remove(id);
    }

    /// Forgets everything handed to these channels.
    pub fn forget_channels(&self, channels: &HashSet<Address>) {
        lock(&self.0).under_way.retain(|_, task| !channels.contains(&task.channel));
    }

    /// How many are handed over and not applied.
    pub fn under_way(&self) -> usize {
        lock(&self.0).under_way.len()
    }

    /// The queue is about to be read: the rows that it need not bring.
    fn known(&self) -> Vec<i64> {
        let handed = &mut *lock(&self.0);
        handed.applied_before = std::mem::take(&mut handed.applied);
        handed.under_way.values().map(|task| task.seq).filter(|seq| *seq > 0).collect()
    }
}

impl Context {
    /// Hands tasks over in memory whose channel lives here; the owners of the others are poked, or find them by polling.
    pub fn hand_over(self: &Arc<Self>, tasks: Vec<NewTask>) {
        tasks.into_iter().for_each(|task| self.dispatch(task, 0, Handed::Committed));
    }

    /// Hands those tasks over whose channels live here and are committed behind `shard`'s changes, of which the last one brings the tasks: a
    /// chain of channels then takes one commit, not one after the other. Returns the rest. When that change fails, so does what was made of its
    /// tasks.
    pub fn hand_over_early(self: &Arc<Self>, shard: u8, tasks: Vec<NewTask>) -> Vec<NewTask> {
        let is_behind = |task: &NewTask| {
            let peer = self.hints.get(&task.channel).map(|hint| hint.peer);
            peer.is_some_and(|peer| self.owns(&peer) && self.committer.same_lane(shard, store::shard_of(&peer)))
        };
        let (early, rest): (Vec<_>, _) = tasks.into_iter().partition(is_behind);
        early.into_iter().for_each(|task| self.dispatch(task, 0, Handed::Early));
        rest
    }

    fn dispatch(self: &Arc<Self>, task: NewTask, seq: i64, handed: Handed) {
        let Some(hint) = self.hints.get(&task.channel) else { return };
        let Some(mailbox) = self.peer(&hint.peer) else {
            if seq == 0 {
                self.pokes.poke(store::shard_of(&hint.peer));
            }
            return;
        };
        let Some(ticket) = self.tasks.begin(&task.id, task.channel, seq) else { return };
        let id = task.id.clone();
        if !mailbox.send(Message::Task(task, ticket, handed)) {
            self.tasks.forget(&id);
        }
    }
}

/// Reads due tasks of the owned shards until the engine stops.
pub async fn poll(ctx: Arc<Context>) {
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
            () = ctx.poke.notified() => {}
        }
        if let Err(error) = read(&ctx).await {
            warn!(%error, "task queue cannot be read");
        }
    }
}

async fn read(ctx: &Arc<Context>) -> Result<(), store::Error> {
    let shards = ctx.registry.shards();
    if shards.is_empty() {
        return Ok(());
    }
    let client = ctx.pool.get().await?;
    let due = store::engine::due(&client, &shards, ctx.clock.now_ms(), &ctx.tasks.known(), LIMIT).await?;
    let unknown: HashSet<Address> =
        due.iter().map(|d| d.task.channel).filter(|channel| ctx.hints.get(channel).is_none()).collect();
    for channel in unknown {
        if let Some(summary) = store::engine::channel_of(&client, &channel).await? {
            ctx.hints.set_from(&summary);
        }
    }
    drop(client);
    for task in due {
        ctx.dispatch(task.task, task.seq, Handed::Committed);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHANNEL: Address = [1; 32];

    #[test]
    fn a_row_is_handed_over_once_while_it_is_under_way_and_while_a_reading_may_still_bring_it() {
        let tasks = Tasks::default();
        assert!(tasks.begin("a", CHANNEL, 7).is_some() && tasks.begin("a", CHANNEL, 7).is_none());
        assert_eq!(tasks.known(), [7]);
        tasks.applied(vec!["a".into()]);
        assert!(tasks.begin("a", CHANNEL, 7).is_none(), "read before it was applied");
        assert!(tasks.known().is_empty());
        assert!(tasks.begin("a", CHANNEL, 0).is_none(), "the commit that inserted it is heard of late");
        assert!(tasks.begin("a", CHANNEL, 8).is_some(), "a new task of the same name");
    }

    #[test]
    fn what_was_handed_over_before_a_reload_counts_no_more() {
        let tasks = Tasks::default();
        let before = tasks.begin("a", CHANNEL, 7).unwrap();
        assert!(tasks.is_current("a", before));
        tasks.forget_channels(&HashSet::from([CHANNEL]));
        assert!(!tasks.is_current("a", before));
        let after = tasks.begin("a", CHANNEL, 7).unwrap();
        assert!(tasks.is_current("a", after) && !tasks.is_current("a", before));
    }
}
