//! The unknown outcome (design 4.6 at the database), and a database that is away.

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use common::*;
use protocol::{Attempt, Write};
use store::{Committer, Database, Verdict, lease};
use testkit::Cluster;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Passes a database's connections on. While `mute` is set, answers are swallowed, and the connection is cut at the first of them.
async fn proxy(to: u16, mute: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", to)).await.unwrap();
            let (mut from_client, mut to_client) = client.into_split();
            let (mut from_server, mut to_server) = server.into_split();
            let questions = tokio::spawn(async move {
                let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
            });
            let mute = mute.clone();
            tokio::spawn(async move {
                let mut buffer = [0; 8192];
                while let Ok(n @ 1..) = from_server.read(&mut buffer).await {
                    if mute.swap(false, Ordering::SeqCst) {
                        questions.abort();
                        return; // the answer is lost, and so is the connection
                    }
                    if to_client.write_all(&buffer[..n]).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

fn port_of(url: &str) -> u16 {
    url.rsplit_once(':').unwrap().1.split_once('/').unwrap().0.parse().unwrap()
}

#[tokio::test]
async fn a_commit_whose_answer_was_lost_is_applied_once_and_reported_rightly() {
    let node = Node::start().await;
    let mute = Arc::new(AtomicBool::new(false));
    let port = port_of(&node.url);
    let through = proxy(port, mute.clone()).await;
    let url = node.url.replace(&format!(":{port}/"), &format!(":{through}/"));
    let committer = Committer::start(&Database::new(&url, "store-test").unwrap(), 1).await.unwrap();
    let mut channel = node.channel(&committer, 1).await;

    for seqno in 1..=5 {
        mute.store(true, Ordering::SeqCst);
        // A second insert of the body would be refused, a second update of the row stale.
        let change = channel.change(vec![Write::VirtualKey(virtual_key(seqno as u8)), signed(seqno, Attempt::Action)]);
        assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
        assert!(!mute.load(Ordering::SeqCst), "no answer was lost");
    }
    assert_eq!(node.version(&channel).await, 6);
    assert_eq!(node.count("SELECT count(*) FROM engine.signed_body", &[]).await, 5);

    // The same for refusals: the takeover happened, the answer that said so got lost.
    let client = node.pool.get().await.unwrap();
    client.execute("UPDATE engine.shard SET epoch = epoch + 1", &[]).await.unwrap();
    mute.store(true, Ordering::SeqCst);
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::NotOwner);
    assert!(!mute.load(Ordering::SeqCst), "no answer was lost");
    assert_eq!(node.version(&channel).await, 6);
}

#[tokio::test]
async fn what_was_applied_when_the_shard_was_taken_before_the_answer_came_is_the_next_owners() {
    let node = Node::start().await;
    let mute = Arc::new(AtomicBool::new(false));
    let port = port_of(&node.url);
    let through = proxy(port, mute.clone()).await;
    let url = node.url.replace(&format!(":{port}/"), &format!(":{through}/"));
    let committer = Committer::start(&Database::new(&url, "store-test").unwrap(), 1).await.unwrap();
    let mut channel = node.channel(&committer, 1).await;
    // As soon as the commit is durable, the shard has another owner: before the engine can ask again.
    let client = node.pool.get().await.unwrap();
    client
        .batch_execute(
            "CREATE FUNCTION seize() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                UPDATE engine.shard SET epoch = epoch + 1; RETURN NULL; END $$;
             CREATE CONSTRAINT TRIGGER seize AFTER INSERT ON engine.virtual_key DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION seize();",
        )
        .await
        .unwrap();
    mute.store(true, Ordering::SeqCst);
    let verdict = committer.commit(channel.change(vec![Write::VirtualKey(virtual_key(1))])).await.unwrap();
    // Its effects do not get out here: the next owner has the change, and goes on from there.
    assert_eq!(verdict, Verdict::NotOwner);
    assert_eq!(node.version(&channel).await, 2);
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::NotOwner);
}

#[tokio::test]
async fn a_killed_backend_is_survived() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let (blocker, connection) = tokio_postgres::connect(&node.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    blocker.batch_execute("BEGIN; LOCK TABLE engine.head IN EXCLUSIVE MODE").await.unwrap();
    let verdict = committer.commit(channel.change(vec![signed(1, Attempt::Action)]));
    let kill = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                WHERE datname = current_database() AND state = 'active' AND query LIKE '%engine.commit(%' AND pid <> pg_backend_pid()";
    while node.count(kill, &[]).await == 0 {}
    blocker.batch_execute("COMMIT").await.unwrap();
    assert_eq!(verdict.await.unwrap(), Verdict::Applied);
    assert_eq!(node.version(&channel).await, 2);
}

#[tokio::test]
async fn a_stopped_database_is_waited_for() {
    let mut cluster = Cluster::temporary().await.unwrap();
    let url = cluster.create_database("node").await.unwrap().url;
    let database = Database::new(&url, "store-test").unwrap();
    store::migrate(&database).await.unwrap();
    let pool = database.pool(2).unwrap();
    {
        let client = pool.get().await.unwrap();
        lease::renew(&client, ENGINE, "", LEASE).await.unwrap();
        lease::take(&client, ENGINE).await.unwrap();
    }
    let committer = Committer::start(&database, 2).await.unwrap();
    let mut channels: Vec<_> = (0..6).map(TestChannel::new).collect();
    for channel in &mut channels {
        assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    }
    for kill in [false, true] {
        if kill {
            cluster.kill().unwrap()
        } else {
            cluster.stop().unwrap()
        };
        let verdicts: Vec<_> = channels.iter_mut().map(|c| committer.commit(c.change(vec![]))).collect();
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        cluster.start().await.unwrap();
        for verdict in verdicts {
            assert_eq!(verdict.await.unwrap(), Verdict::Applied);
        }
    }
    let client = pool.get().await.unwrap();
    store::engine::fold(&client).await.unwrap();
    let versions: Vec<i64> =
        client.query("SELECT version FROM engine.channel", &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(versions, [3; 6]);
    committer.shutdown().await;
}
