//! What a query between two engines costs their gateways: two gateway processes of one thread each on loopback, engines that answer after a
//! while, as real ones do when they have written what they answer. `cargo run -p peer-gateway --release --example gateways -- <gateway binary>`;
//! `cargo xtask bench network` does it all.

#[allow(dead_code, reason = "the tests use more of it")]
#[path = "../tests/gateway/world.rs"]
mod world;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc::ClientConfig;
use rpc::gateway::v1::{EngineFrame, OutgoingAnswer, OutgoingQuery, Transport};
use testkit::{Cluster, Process, free_port};

use world::{Engine, Node, owner, query};

/// How long each row asks, and what goes before it uncounted.
const ROW: Duration = Duration::from_millis(2500);
const WARM_UP: Duration = Duration::from_millis(500);
/// What an engine takes to answer: about a durable commit.
const THINKING: Duration = Duration::from_millis(2);
/// Sizes of a proposal and of its answer.
const QUESTION: usize = 1400;
const ANSWER: usize = 500;

struct Gateway {
    process: Process,
    engine: Engine,
}

impl Gateway {
    async fn start(binary: &Path, folder: &Path, node: &Node, peer: &Node) -> Self {
        let port = free_port().expect("a free port");
        let config = folder.join(format!("{}.toml", node.database.name));
        let more = format!("server = {{ listen = '127.0.0.1:{port}' }}\ntelemetry = {{ level = 'warn' }}");
        std::fs::write(&config, node.config(&[(peer.public(), peer)], &more)).expect("a folder to write to");
        let mut command = Command::new(binary);
        command.arg("--config").arg(&config).env("TOKIO_WORKER_THREADS", "1");
        let process = Process::spawn("gateway", &mut command).expect("it starts");
        let connection = ClientConfig::plain(format!("http://127.0.0.1:{port}")).connect("gateway").expect("an address");
        let engine = Engine::attach(connection, &node.key, "one").await;
        engine.own(vec![owner(&peer.public(), 1)]).await;
        Self { process, engine }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let binary = PathBuf::from(std::env::args().nth(1).expect("the path of causeway-peer-gateway"));
    let cluster = Cluster::temporary().await.expect("Postgres");
    let folder = tempfile::tempdir().expect("a folder");
    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let asker = Gateway::start(&binary, folder.path(), &a, &b).await;
    let mut answerer = Gateway::start(&binary, folder.path(), &b, &a).await;
    asker.engine.want(&[b.public()]).await;
    answerer.engine.until_connected(&a.public()).await;
    println!("{:<38} {:>9} {:>8} {:>8} {:>10} {:>10}", "", "per s", "p50 us", "p99 us", "CPU us", "CPU us");
    println!("{:<38} {:>9} {:>8} {:>8} {:>10} {:>10}", "", "", "", "", "asking", "answering");
    for in_flight in [1, 8, 64] {
        row(&asker, &mut answerer, &a, &b, in_flight).await;
    }
}

/// Asks, so many at a time, and prints what it took.
async fn row(asker: &Gateway, answerer: &mut Gateway, a: &Node, b: &Node, in_flight: usize) {
    let (frames, owner) = (answerer.engine.frames.clone(), owner(&a.public(), 1));
    let processes = [asker.process.id(), answerer.process.id()];
    let answering = async {
        while let Some(query) = answerer.engine.queries.recv().await {
            let (frames, data) = (frames.clone(), Bytes::from_static(&[8; ANSWER]));
            let answer = OutgoingAnswer { query_id: query.query_id, owner: Some(owner), data };
            tokio::spawn(async move {
                tokio::time::sleep(THINKING).await;
                let _ = frames.send(EngineFrame { answers: vec![answer], ..EngineFrame::default() }).await;
            });
        }
    };
    let measuring = async {
        ask(&asker.engine, b, in_flight, WARM_UP).await;
        let (before, start) = (processes.map(cpu), Instant::now());
        let times = ask(&asker.engine, b, in_flight, ROW).await;
        (times, start.elapsed(), [0, 1].map(|i| cpu(processes[i]).saturating_sub(before[i])))
    };
    let (mut times, took, cpu) = tokio::select! {
        measured = measuring => measured,
        () = answering => panic!("the answering engine was detached"),
    };
    times.sort_unstable();
    let percentile = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e6;
    let [asking, answering] = cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / times.len() as f64);
    let (name, rate) = (format!("two gateways, RLDP2, {in_flight} in flight"), times.len() as f64 / took.as_secs_f64());
    println!("{name:<38} {rate:>9.0} {:>8.0} {:>8.0} {asking:>10.1} {answering:>10.1}", percentile(50), percentile(99));
}

async fn ask(engine: &Engine, of: &Node, in_flight: usize, span: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let one = async || {
        let mut times = Vec::new();
        while start.elapsed() < span {
            let begin = Instant::now();
            let query = OutgoingQuery { timeout_ms: 10_000, ..query(&of.public(), 1, Transport::Rldp, &[7; QUESTION]) };
            engine.call(query).await.expect("an answer");
            times.push(begin.elapsed());
        }
        times
    };
    futures::future::join_all((0..in_flight).map(|_| one())).await.concat()
}

/// User and system time of a process so far, of all its threads.
fn cpu(process: u32) -> Duration {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
