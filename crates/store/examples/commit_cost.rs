//! What a commit costs: latency, and CPU of the Postgres backend, for one change and for batches, and what loading costs. Prints, asserts nothing.
//!
//! `cargo run --release -p store --example commit_cost`

use std::time::{Duration, Instant};

use contract::CodeKind;
use protocol::{
    Attempt, Change as Difference, ChannelRow, Half, Leg, LegState, Next, Outcome, Policy, Side, SignedBody, Write, opening,
};
use store::{Change, Committer, Database, Fence, Pool, Verdict, engine, lease};
use testkit::Cluster;
use wire::{Body, Condition};

const ENGINE: &str = "bench";
const CHANNELS: u64 = 256;
const ROUNDS: u64 = 2_000;

struct Channel {
    row: ChannelRow,
    shard: u8,
    open: Vec<Condition>,
}

fn key(n: u64) -> [u8; 32] {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&n.to_le_bytes());
    ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes()
}

impl Channel {
    fn new(n: u64) -> Self {
        let parties = opening::Parties { a: (key(u64::MAX), [1; 32]), b: (key(n), [2; 32]) };
        let config = opening::open_config(&Policy::ton(), &parties, 1_700_000_000);
        let row = opening::new_channel(&Policy::ton(), &CodeKind::LIVE, config, parties.a.0);
        Self { shard: store::shard_of(&parties.b.0), row, open: Vec::new() }
    }

    fn change(&mut self, mut writes: Vec<Write>) -> Change {
        self.row.version += 1;
        writes.push(Write::Channel(Box::new(self.row.clone())));
        let fence = Fence { channel: self.row.address, shard: self.shard, epoch: 1, version: self.row.version };
        Change::new(fence, writes, vec![]).expect("a change that fits")
    }

    /// What the end of one proposal with the write-ahead of the next one writes: open a virtual channel, later close it.
    fn action(&mut self, n: u64, hold: bool) -> Vec<Write> {
        let seqno = self.row.our.seqno + 1;
        let half = Half::Out { origin: protocol::Origin::Forward { channel: [3; 32] }, action: None };
        let resolution = wire::Resolution { signature: [5; 64], amount: 1 };
        let (change, condition, state) = match self.open.pop() {
            Some(gone) if !hold => (Difference::Remove(gone.key), gone, LegState::Closed),
            other => {
                self.open.extend(other);
                let condition =
                    Condition { key: key(n << 20 | seqno), capacity: 1_000_000_000, fee: 1, prepay: 0, deadline: 1_800_000_000 };
                self.open.push(condition);
                (Difference::Insert(condition), condition, LegState::Open)
            }
        };
        let body = Body { seqno, sent: self.row.our.sent + 1, conditionals: [seqno as u8; 32] };
        let mut writes = vec![
            Write::SignedBody(SignedBody { attempt: Attempt::Action, body, change: change.clone() }),
            Write::Leg(Box::new(Leg {
                condition,
                state,
                resolution: Some(resolution),
                half,
                released: 0,
                told: state == LegState::Closed,
            })),
        ];
        match change {
            Difference::Insert(condition) => writes.push(Write::ConditionAdded { side: Side::Our, condition, since: seqno }),
            Difference::Remove(key) => writes.push(Write::ConditionRemoved { side: Side::Our, key, until: seqno }),
            Difference::None => {}
        }
        if seqno > 1 {
            writes.push(Write::BodyOutcome { seqno: seqno - 1, attempt: Attempt::Action, outcome: Outcome::Agreed });
        }
        self.row.our = body;
        writes
    }
}

/// Time on a CPU of all threads of a process, from the scheduler's account in nanoseconds.
fn cpu_of(pid: i32) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let times =
        threads.filter_map(|t| std::fs::read_to_string(t.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(times.sum())
}

async fn backend(pool: &Pool) -> anyhow::Result<i32> {
    let sql = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%engine.commit%' AND pid <> pg_backend_pid()";
    Ok(pool.get().await?.query_one(sql, &[]).await?.try_get(0)?)
}

async fn measure(
    name: &str,
    pool: &Pool,
    committer: &Committer,
    channels: &mut [Channel],
    batch: usize,
    rounds: u64,
) -> anyhow::Result<()> {
    let pid = backend(pool).await?;
    let (mut took, before, own) = (Vec::new(), cpu_of(pid), cpu_of(std::process::id() as i32));
    for round in 0..rounds {
        let changes: Vec<_> = (0..batch)
            .map(|i| {
                let n = (round as usize * batch + i) % channels.len();
                let writes = channels[n].action(n as u64, false);
                channels[n].change(writes)
            })
            .collect();
        let start = Instant::now();
        let verdicts: Vec<_> = changes.into_iter().map(|change| committer.commit(change)).collect();
        for verdict in verdicts {
            anyhow::ensure!(verdict.await? == Verdict::Applied);
        }
        took.push(start.elapsed());
    }
    took.sort();
    let server = (cpu_of(pid) - before) / rounds as u32;
    let client = (cpu_of(std::process::id() as i32) - own) / rounds as u32;
    let (p50, p99) = (took[took.len() / 2], took[took.len() * 99 / 100]);
    println!(
        "{name:<34} p50 {p50:>9.1?}  p99 {p99:>9.1?}  backend CPU {server:>9.1?}  per change {:>7.1?}  client CPU {client:>9.1?}",
        server / batch as u32
    );
    Ok(())
}

/// For comparison: the cheapest durable write there is, one row by its key.
async fn measure_single_update(database_url: &str) -> anyhow::Result<()> {
    let (client, connection) = tokio_postgres::connect(database_url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    let update = client.prepare("UPDATE engine.cluster SET starts = starts + 1").await?;
    let (start, before) = (Instant::now(), cpu_of(pid));
    for _ in 0..ROUNDS {
        client.execute(&update, &[]).await?;
    }
    let (took, cpu) = (start.elapsed() / ROUNDS as u32, (cpu_of(pid) - before) / ROUNDS as u32);
    println!("{:<34} mean {took:>8.1?}                 backend CPU {cpu:>9.1?}", "a bare UPDATE of one row");
    Ok(())
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let cluster = Cluster::temporary().await?;
    let url = cluster.create_database("bench").await?.url;
    let database = Database::new(&url, "bench")?;
    store::migrate(&database).await?;
    let pool = database.pool(4)?;
    let client = pool.get().await?;
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let value: String = client.query_one(&format!("SHOW {setting}"), &[]).await?.get(0);
        println!("{setting} = {value}");
    }
    lease::renew(&client, ENGINE, "", Duration::from_secs(3_600)).await?;
    lease::take(&client, ENGINE).await?;
    let committer = Committer::start(&database, 1).await?;
    let mut channels: Vec<Channel> = (0..CHANNELS).map(Channel::new).collect();
    for verdict in channels.iter_mut().map(|c| committer.commit(c.change(vec![]))).collect::<Vec<_>>() {
        anyhow::ensure!(verdict.await? == Verdict::Applied);
    }
    measure_single_update(&url).await?;
    measure("(warm-up)", &pool, &committer, &mut channels, 1, 500).await?;
    measure("one change", &pool, &committer, &mut channels, 1, ROUNDS).await?;
    for batch in [8, 64, 256] {
        measure(&format!("batch of {batch}"), &pool, &committer, &mut channels, batch, ROUNDS / batch as u64 + 20).await?;
    }
    measure("one channel, 1 change", &pool, &committer, &mut channels[..1], 1, ROUNDS).await?;

    let mut held = Channel::new(CHANNELS);
    let mut verdicts = vec![committer.commit(held.change(vec![]))];
    for _ in 0..10_000 {
        let mut writes = held.action(CHANNELS, true);
        if let Some(Write::Leg(leg)) = writes.get(1) {
            let half = Half::In { next: Next::Receiver, sender: [1; 32] };
            writes.push(Write::Leg(Box::new(Leg { half, ..(**leg).clone() })));
        }
        verdicts.push(committer.commit(held.change(writes)));
    }
    for verdict in verdicts {
        anyhow::ensure!(verdict.await? == Verdict::Applied);
    }
    let mut client = pool.get().await?;
    for _ in 0..3 {
        let start = Instant::now();
        let loaded = engine::load(&mut client, &[held.shard]).await?;
        let conditions: usize = loaded.iter().map(|l| l.ours.len() + l.theirs.len()).sum();
        let legs: usize = loaded.iter().map(|l| l.legs.len()).sum();
        println!("loading a shard with {conditions} conditions and {legs} legs: {:.0?}", start.elapsed());
    }
    measure("one change, 10,000 conditions open", &pool, &committer, std::slice::from_mut(&mut held), 1, ROUNDS).await?;
    committer.shutdown().await;
    Ok(())
}
