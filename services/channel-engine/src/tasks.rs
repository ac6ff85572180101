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
pub struct Tasks(Mutex<Handed>);

#[derive(Default)]
struct Handed {
    /// Channel and row by id.
    under_way: HashMap<String, (Address, i64)>,
    /// Applied since the queue was last read: that reading may still bring their rows.
    applied: HashSet<String>,
}

impl Tasks {
    /// Whether the task is new to this engine. `seq` of its row, 0 when it comes right from the commit that inserted it.
    fn begin(&self, id: &str, channel: Address, seq: i64) -> bool {
        let mut handed = lock(&self.0);
        if seq > 0 && handed.applied.contains(id) {
            return false;
        }
        handed.under_way.insert(id.into(), (channel, seq)).is_none()
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
        lock(&self.0).under_way.retain(|_, (channel, _)| !channels.contains(channel));
    }

    /// The queue is about to be read: the rows that it need not bring.
    fn known(&self) -> Vec<i64> {
        let mut handed = lock(&self.0);
        handed.applied.clear();
        handed.under_way.values().map(|(_, seq)| *seq).filter(|seq| *seq > 0).collect()
    }
}

impl Context {
    /// Hands tasks over in memory whose channel lives here; the owners of the others are poked, or find them by polling.
    pub fn hand_over(self: &Arc<Self>, tasks: Vec<NewTask>) {
        for task in tasks {
            self.dispatch(task, 0);
        }
    }

    fn dispatch(self: &Arc<Self>, task: NewTask, seq: i64) {
        let Some(hint) = self.hints.get(&task.channel) else { return };
        let Some(mailbox) = self.peer(&hint.peer) else {
            if seq == 0 {
                self.pokes.poke(store::shard_of(&hint.peer));
            }
            return;
        };
        if self.tasks.begin(&task.id, task.channel, seq) && !mailbox.send(Message::Task(task.clone())) {
            self.tasks.forget(&task.id);
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
        ctx.dispatch(task.task, task.seq);
    }
    Ok(())
}
