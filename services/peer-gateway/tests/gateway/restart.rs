//! A gateway is killed and starts again at once, within the same second (network 3.13).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rpc::ClientConfig;
use rpc::gateway::v1::{CallFailure, Transport};
use testkit::{Cluster, Process, free_port, wait_for};

use crate::world::{Engine, Key, Node, PATIENCE, owner, query};

fn start(config: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_causeway-peer-gateway"));
    Process::spawn("gateway", command.arg("--config").arg(config)).unwrap()
}

async fn attach(node: &Node, port: u16, peer: &Key) -> Engine {
    let connection = ClientConfig::plain(format!("http://127.0.0.1:{port}")).connect("gateway").unwrap();
    let engine = Engine::attach(connection, &node.key, "one").await;
    engine.own(vec![owner(peer, 1)]).await;
    engine
}

/// Asks until there is an answer.
async fn ask(from: &Engine, to: &mut Engine, asker: &Key, asked: &Key, data: &[u8]) {
    let asking = wait_for("answer", PATIENCE, async || {
        let query = rpc::gateway::v1::OutgoingQuery { timeout_ms: 2_000, ..query(asked, 1, Transport::Adnl, data) };
        from.call(query).await.map_err(|failure: CallFailure| failure.as_str_name())
    });
    let answering = async {
        loop {
            let query = to.next_query().await;
            to.answer(&query, owner(asker, 1), b"here").await;
        }
    };
    tokio::select! {
        answer = asking => assert_eq!(&answer.unwrap()[..], b"here"),
        () = answering => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_gateway_is_back_at_once() {
    let cluster = Cluster::temporary().await.unwrap();
    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let gateway_a = a.start(&[(b.public(), &b)], "");
    let mut engine_a = gateway_a.engine(&a, "one").await;
    engine_a.own(vec![owner(&b.public(), 1)]).await;
    engine_a.want(&[b.public()]).await;

    let (folder, port) = (tempfile::tempdir().unwrap(), free_port().unwrap());
    let config = folder.path().join("gateway.toml");
    std::fs::write(&config, b.config(&[], &format!("server = {{ listen = '127.0.0.1:{port}' }}"))).unwrap();
    let mut process = start(&config);
    let mut engine_b = attach(&b, port, &a.public()).await;
    engine_b.until_connected(&a.public()).await;
    ask(&engine_a, &mut engine_b, &a.public(), &b.public(), b"1111").await;

    process.kill().unwrap();
    let mut process = start(&config);
    let mut engine_b = attach(&b, port, &a.public()).await;
    engine_b.until_connected(&a.public()).await;
    ask(&engine_a, &mut engine_b, &a.public(), &b.public(), b"2222").await;
    ask(&engine_b, &mut engine_a, &b.public(), &a.public(), b"3333").await;

    let status = process.terminate(Duration::from_secs(30)).unwrap();
    assert!(status.success(), "{status}");
}
