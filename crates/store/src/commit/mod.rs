//! The fenced commit (design 4.3, 5): changes of many channels in one durable statement, each with a verdict of its own.
//!
//! A commit writes what must be checked at once (fence, heads of channels, keys, commands, tasks, orders), and the rest into the journal, which is
//! folded into the tables a moment later.

mod change;
mod fold;
mod group;
mod head;
mod lane;
mod later;
mod statement;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

pub use change::{Change, Fence};
pub use fold::fold;

use crate::{Database, Error};
use group::Job;
use protocol::Key;

/// Changes in one statement at most.
pub const MAX_BATCH: usize = 256;

/// What became of a change. With anything but `Applied` nothing of it was written, its effects must not get out, and the channel's memory is to be
/// thrown away and loaded again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Durable.
    Applied,
    /// Another engine owns the shard, or we do under a newer epoch. If the connection broke as well, the change may be durable: the next owner
    /// has it then, and lets its effects out.
    NotOwner,
    /// The channel has another version, or a change in front of this one failed.
    Stale,
    /// The virtual key was used before: to be decided again with [`protocol::Env::used_key`].
    UsedKey(Key),
    /// The command of the change is on record already: to be looked up there.
    KnownRequest,
    /// A task that the change has applied is not there: it was applied before.
    TaskGone,
    /// The database refused the rows: what must never happen would have (design 4). The name of the rule.
    Refused(String),
}

/// Collects changes and commits them. Lives as long as the engine; one per engine.
pub struct Committer {
    lanes: Vec<mpsc::UnboundedSender<Job>>,
    tasks: Vec<JoinHandle<()>>,
    counts: Arc<Counts>,
    folder: JoinHandle<()>,
    /// Ends the folder.
    last: CancellationToken,
    spoiled: watch::Receiver<Option<String>>,
}

/// How much was committed, refused changes included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Groups of changes that were taken together.
    pub batches: u64,
    /// Changes in them.
    pub changes: u64,
}

#[derive(Default)]
struct Counts {
    batches: AtomicU64,
    changes: AtomicU64,
}

impl Counts {
    fn batch(&self, changes: usize) {
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
    }
}

impl Committer {
    /// Connects `lanes` connections, each with its task. A shard's changes go through the same one always.
    ///
    /// # Panics
    /// When `lanes` is 0.
    pub async fn start(database: &Database, lanes: usize) -> Result<Self, Error> {
        assert!(lanes > 0, "a committer has lanes");
        let (mut senders, mut tasks, counts) = (Vec::new(), Vec::new(), Arc::new(Counts::default()));
        let committed = Arc::new(Notify::new());
        for _ in 0..lanes {
            let lane = lane::Lane::start(database.clone(), committed.clone()).await?;
            let (sender, receiver) = mpsc::unbounded_channel();
            senders.push(sender);
            tasks.push(tokio::spawn(lane.run(receiver, counts.clone())));
        }
        let (last, (spoil, spoiled)) = (CancellationToken::new(), watch::channel(None));
        let fold = fold::keep(database.clone(), committed, last.clone());
        let folder = tokio::spawn(async move {
            let reason = match tokio::spawn(fold).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(error) if error.is_panic() => "the journal is folded no more: a panic".into(),
                Err(_) => return,
            };
            spoil.send_replace(Some(reason));
        });
        Ok(Self { lanes: senders, tasks, counts, folder, last, spoiled })
    }

    /// Ends, with the reason, when what was committed can never come into the tables: the database contradicts this engine's memory, and nothing
    /// more may be signed on its word.
    pub fn spoiled(&self) -> impl Future<Output = String> + Send + use<> {
        let mut spoiled = self.spoiled.clone();
        async move {
            match spoiled.wait_for(Option::is_some).await.map(|reason| reason.clone()) {
                Ok(Some(reason)) => reason,
                _ => std::future::pending().await,
            }
        }
    }

    /// Whether changes of these shards are committed one after the other, in the order in which they are queued.
    pub fn same_lane(&self, one: u8, other: u8) -> bool {
        self.lane(one) == self.lane(other)
    }

    fn lane(&self, shard: u8) -> usize {
        usize::from(shard) % self.lanes.len()
    }

    /// Queues a change at once; the future ends when its outcome is known for certain. A database that is away is waited for.
    ///
    /// Errors: [`Error::Closed`] after a shutdown.
    pub fn commit(&self, change: Change) -> impl Future<Output = Result<Verdict, Error>> + Send + use<> {
        let (answer, verdict) = oneshot::channel();
        let lane = &self.lanes[self.lane(change.shard)];
        let queued = lane.send(Job { change, answer }).is_ok();
        async move {
            if !queued {
                return Err(Error::Closed);
            }
            verdict.await.map_err(|_| Error::Closed)
        }
    }

    /// How much was committed since the start.
    pub fn batches(&self) -> Batches {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Batches { batches: read(&self.counts.batches), changes: read(&self.counts.changes) }
    }

    /// Ends when everything that was queued has its verdict, and the journal is folded as far as the database answers.
    pub async fn shutdown(self) {
        drop(self.lanes);
        for task in self.tasks {
            // A lane that panicked has dropped its answers already.
            let _ = task.await;
        }
        self.last.cancel();
        let _ = self.folder.await;
    }
}
