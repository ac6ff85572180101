//! One connection that commits batch after batch.
//!
//! Every batch has a number that the database keeps with its shards. When the connection is lost before the answer came, the same batch is
//! sent again under the same number on a new connection: whether the first one was applied or not, it is applied once, and the answer is certain.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::{Notify, mpsc};
use tokio_postgres::{Client, Row, Statement};

use super::{
    Counts, MAX_BATCH, Verdict,
    group::{Group, Job, group},
    statement::{Arguments, COMMIT},
};
use crate::{Database, Error, value::Misfit};
use protocol::Key;

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How long a change without haste waits for one to ride along with.
const RIDE: Duration = Duration::from_millis(4);
/// How long channels that were committed together wait for each other.
const MEET: Duration = Duration::from_millis(1);
/// So many times together is no chance any more.
const HABIT: u32 = 2;
/// What makes the load high: about 500 changes per second.
const HIGH: f64 = 20.0;
const HALF_LIFE: Duration = Duration::from_millis(30);

/// SQLSTATEs that `engine.commit` raises.
mod raised {
    pub(super) const STALE: &str = "CWS01";
    pub(super) const GOES_BACK: &str = "CWS02";
    pub(super) const TASK_GONE: &str = "CWS03";
    pub(super) const OVERTAKEN: &str = "CWS04";
}

/// What became of a batch.
enum Outcome {
    Applied,
    /// Nothing was applied, because of these: places of shards in the batch, keys, and commands.
    Barred {
        lost: Vec<usize>,
        used: Vec<Key>,
        known: Vec<String>,
    },
    /// Nothing was applied; when the batch has one change, this is its verdict.
    Refused(Verdict),
}

pub(super) struct Lane {
    database: Database,
    session: Option<Session>,
    /// The number of the last batch.
    batch: i64,
    /// Told of each commit.
    committed: Arc<Notify>,
}

struct Session {
    client: Client,
    commit: Statement,
}

impl Lane {
    pub(super) async fn start(database: Database, committed: Arc<Notify>) -> Result<Self, Error> {
        let session = Session::open(&database).await?;
        let batch = session.first_batch().await?;
        Ok(Self { database, session: Some(session), batch, committed })
    }

    pub(super) async fn run(mut self, mut queue: mpsc::UnboundedReceiver<Job>, counts: Arc<Counts>) {
        let mut jobs = Vec::new();
        let (mut load, mut company) = (Load::default(), Company::default());
        while queue.recv_many(&mut jobs, MAX_BATCH).await > 0 {
            // What is already being made, of a task that was handed over early say, goes along.
            tokio::task::yield_now().await;
            while jobs.len() < MAX_BATCH
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            if load.is_high() {
                gather(&mut jobs, &mut queue).await;
                company.meet(&mut jobs, &mut queue).await;
            }
            load.count(jobs.len());
            counts.batch(jobs.len());
            self.settle(std::mem::take(&mut jobs)).await;
        }
    }

    /// Ends when every job has its verdict. A batch that fails as a whole is taken apart until what failed stands alone.
    async fn settle(&mut self, jobs: Vec<Job>) {
        let mut todo = VecDeque::from([group(jobs)]);
        while let Some(mut groups) = todo.pop_front() {
            if groups.is_empty() {
                continue;
            }
            match self.execute(&groups).await {
                Outcome::Applied => {
                    self.committed.notify_one();
                    groups.into_iter().flat_map(|g| g.jobs).for_each(|job| job.end(Verdict::Applied));
                }
                Outcome::Barred { lost, used, known } => {
                    let apart = bar(&mut groups, &lost, &used, &known);
                    todo.push_front(groups);
                    for group in apart {
                        self.settle_one_by_one(group).await;
                    }
                }
                Outcome::Refused(_) if groups.len() > 1 => groups.into_iter().rev().for_each(|g| todo.push_front(vec![g])),
                Outcome::Refused(verdict) => {
                    for group in groups {
                        if group.jobs.len() == 1 {
                            group.fail(verdict.clone());
                        } else {
                            self.settle_one_by_one(group).await;
                        }
                    }
                }
            }
        }
    }

    /// The changes of a group that failed as a whole. The first that fails takes the rest with it.
    async fn settle_one_by_one(&mut self, group: Group) {
        let mut failed = false;
        for single in group.split() {
            if failed {
                single.fail(Verdict::Stale);
                continue;
            }
            let verdict = match self.execute(std::slice::from_ref(&single)).await {
                Outcome::Applied => {
                    self.committed.notify_one();
                    Verdict::Applied
                }
                Outcome::Barred { lost, .. } if !lost.is_empty() => Verdict::NotOwner,
                Outcome::Barred { known, .. } if !known.is_empty() => Verdict::KnownRequest,
                Outcome::Barred { used, .. } => used.first().map_or(Verdict::Stale, |key| Verdict::UsedKey(*key)),
                Outcome::Refused(verdict) => verdict,
            };
            failed = verdict != Verdict::Applied;
            single.fail(verdict);
        }
    }

    /// Sends a batch until its outcome is known.
    async fn execute(&mut self, groups: &[Group]) -> Outcome {
        self.batch += 1;
        let arguments = Arguments::of(self.batch, groups);
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.attempt(&arguments).await {
                Ok(row) => return read_answer(&row),
                Err(error) => error,
            };
            if let Some(verdict) = refusal(&error) {
                return Outcome::Refused(verdict);
            }
            if is_overtaken(&error) {
                // Another committer writes to our shards under our epoch. The batch was not applied: the memory is to be loaded again.
                match self.number_again().await {
                    Ok(batch) => self.batch = batch,
                    Err(error) => tracing::warn!(%error, "no new batch numbers yet"),
                }
                return Outcome::Refused(Verdict::Stale);
            }
            tracing::warn!(%error, batch = self.batch, "commit without an answer: repeating it");
            self.session = None;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&mut self, arguments: &Arguments) -> Result<Row, Error> {
        let session = self.session().await?;
        Ok(session.client.query_one(&session.commit, &arguments.as_slice()).await?)
    }

    async fn number_again(&mut self) -> Result<i64, Error> {
        self.session().await?.first_batch().await
    }

    async fn session(&mut self) -> Result<&Session, Error> {
        if self.session.is_none() {
            self.session = Some(Session::open(&self.database).await?);
        }
        self.session.as_ref().ok_or(Error::Closed)
    }
}

impl Session {
    async fn open(database: &Database) -> Result<Self, Error> {
        let client = database.committer().await?;
        let commit = client.prepare(COMMIT).await?;
        Ok(Self { client, commit })
    }

    /// A number above that of every batch of every committer so far.
    async fn first_batch(&self) -> Result<i64, Error> {
        Ok(self.client.query_one("SELECT nextval('engine.committer') << 32", &[]).await?.try_get(0)?)
    }
}

/// Changes that nobody at the peer waits for ride along with the next one that somebody does: it is never far when the load is high.
async fn gather(jobs: &mut Vec<Job>, queue: &mut mpsc::UnboundedReceiver<Job>) {
    let until = Instant::now() + RIDE;
    while jobs.len() < MAX_BATCH && jobs.iter().all(|job| job.change.patient) {
        match tokio::time::timeout_at(until.into(), queue.recv()).await {
            Ok(Some(job)) => jobs.push(job),
            Ok(None) | Err(_) => return,
        }
    }
}

/// Channels that are committed together wait for each other the next time: their answers come back at about the same time, and one commit costs about
/// as much as two.
#[derive(Default)]
struct Company {
    /// How many channels were committed together last.
    channels: usize,
    /// How often that was so of late; chance makes no habit.
    habit: u32,
}

impl Company {
    async fn meet(&mut self, jobs: &mut Vec<Job>, queue: &mut mpsc::UnboundedReceiver<Job>) {
        let until = Instant::now() + MEET;
        let expected = if self.habit >= HABIT { self.channels } else { 0 };
        while jobs.len() < MAX_BATCH && channels(jobs) < expected {
            match tokio::time::timeout_at(until.into(), queue.recv()).await {
                Ok(Some(job)) => jobs.push(job),
                Ok(None) | Err(_) => break,
            }
        }
        self.channels = channels(jobs);
        self.habit = if self.channels > 1 { (self.habit + 1).min(3 * HABIT) } else { self.habit.saturating_sub(HABIT) };
    }
}

/// How many channels somebody waits for.
fn channels(jobs: &[Job]) -> usize {
    let mut channels: Vec<_> = jobs.iter().filter(|job| !job.change.patient).map(|job| job.change.channel).collect();
    channels.sort_unstable();
    channels.dedup();
    channels.len()
}

/// How many changes came lately: each counts for half as much after [`HALF_LIFE`].
struct Load {
    level: f64,
    at: Instant,
}

impl Default for Load {
    fn default() -> Self {
        Self { level: 0.0, at: Instant::now() }
    }
}

impl Load {
    fn is_high(&self) -> bool {
        self.now() >= HIGH
    }

    fn count(&mut self, changes: usize) {
        self.level = self.now() + changes as f64;
        self.at = Instant::now();
    }

    fn now(&self) -> f64 {
        self.level * (-self.at.elapsed().as_secs_f64() / HALF_LIFE.as_secs_f64()).exp2()
    }
}

/// Ends the groups of shards that are lost. Those with a used key or a known command are given back: tried one by one, each has a verdict of its own.
fn bar(groups: &mut Vec<Group>, lost: &[usize], used: &[Key], known: &[String]) -> Vec<Group> {
    let fences = super::statement::fences(groups);
    let lost: Vec<_> = lost.iter().filter_map(|place| fences.get(place.wrapping_sub(1))).collect();
    let mut apart = Vec::new();
    for group in std::mem::take(groups) {
        if lost.contains(&&group.fence()) {
            let (shard, epoch) = group.fence();
            tracing::warn!(shard, epoch, changes = group.jobs.len(), "not the owner any more: nothing was applied");
            group.jobs.into_iter().for_each(|job| job.end(Verdict::NotOwner));
        } else if used.iter().any(|key| group.has_key(key)) || known.iter().any(|id| group.has_request(id)) {
            apart.push(group);
        } else {
            groups.push(group);
        }
    }
    apart
}

fn read_answer(row: &Row) -> Outcome {
    let lost: Option<Vec<i64>> = row.get(0);
    let used: Option<Vec<Vec<u8>>> = row.get(1);
    let known: Option<Vec<String>> = row.get(2);
    if lost.is_none() && used.is_none() && known.is_none() {
        return Outcome::Applied;
    }
    Outcome::Barred {
        lost: lost.unwrap_or_default().into_iter().filter_map(|place| place.try_into().ok()).collect(),
        used: used.unwrap_or_default().into_iter().filter_map(|key| key.try_into().ok()).collect(),
        known: known.unwrap_or_default(),
    }
}

/// The verdict when the database has refused, and so undone, the batch for certain. Nothing when it was only disturbed, or the outcome is unknown.
fn refusal(error: &Error) -> Option<Verdict> {
    let Error::Database(error) = error else { return None };
    let Some(db) = error.as_db_error() else {
        // What cannot be written into the statement was never sent.
        let unsent = std::error::Error::source(error).is_some_and(|source| source.is::<Misfit>());
        return unsent.then(|| Verdict::Refused(error.to_string()));
    };
    match db.code().code() {
        raised::STALE => Some(Verdict::Stale),
        raised::TASK_GONE => Some(Verdict::TaskGone),
        raised::GOES_BACK => Some(Verdict::Refused(db.message().into())),
        // Data exception, integrity constraint violation.
        code if code.starts_with("22") || code.starts_with("23") => {
            Some(Verdict::Refused(db.constraint().or(db.column()).unwrap_or(db.message()).into()))
        }
        _ => None,
    }
}

fn is_overtaken(error: &Error) -> bool {
    matches!(error, Error::Database(error) if error.code().is_some_and(|code| code.code() == raised::OVERTAKEN))
}
