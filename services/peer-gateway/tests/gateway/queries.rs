//! What passes between engines and peers, and what does not.

use adnl::keys::PrivateKey;
use adnl::{Endpoint, QueryError};
use rpc::gateway::v1::{CallFailure, OutgoingQuery, Transport};
use std::time::Duration;
use testkit::Cluster;
use tl::Object as _;
use wire::message::{NODE_VERSION, Ping, Pong, ProposeChannelConfig, RequestChannelLock};

use crate::world::{Engine, Gateway, Key, Node, owner, query};

/// A short time for silence: an answer over loopback takes about a thousandth of it.
const SILENCE_MS: u32 = 1_500;

fn small(lock_id: i64) -> Vec<u8> {
    RequestChannelLock { lock_id, channel: [7; 32], lock: true }.to_boxed()
}

async fn connected(cluster: &Cluster) -> ((Node, Gateway, Engine), (Node, Gateway, Engine)) {
    let (a, b) = (Node::new(cluster, "a").await, Node::new(cluster, "b").await);
    let (gateway_a, gateway_b) = (a.start(&[(b.public(), &b)], ""), b.start(&[], ""));
    let (mut engine_a, mut engine_b) = (gateway_a.engine(&a, "one").await, gateway_b.engine(&b, "one").await);
    engine_a.own(vec![owner(&b.public(), 5)]).await;
    engine_b.own(vec![owner(&a.public(), 1)]).await;
    engine_a.want(&[b.public()]).await;
    engine_a.until_connected(&b.public()).await;
    engine_b.until_connected(&a.public()).await;
    assert!(gateway_a.health.is_ready() && gateway_b.health.is_ready());
    ((a, gateway_a, engine_a), (b, gateway_b, engine_b))
}

/// One question and its answer.
async fn round_trip(from: &Engine, to: &mut Engine, question: OutgoingQuery, asker: &Key, answer_epoch: u64) {
    let (transport, data) = (question.transport(), question.data.clone());
    let reply: Vec<u8> = data.iter().rev().copied().collect();
    let answering = async {
        let query = to.next_query().await;
        assert_eq!((&query.peer_key[..], query.transport(), &query.data), (&asker[..], transport, &data));
        to.answer(&query, owner(asker, answer_epoch), &reply).await;
    };
    let (answer, ()) = tokio::join!(from.call(question), answering);
    assert_eq!(answer.unwrap(), reply);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_travel_both_ways_on_both_transports() {
    let cluster = Cluster::temporary().await.unwrap();
    let ((a, gateway_a, mut engine_a), (b, gateway_b, mut engine_b)) = connected(&cluster).await;
    let large: Vec<u8> = (0..20_000u32).map(|i| (i % 251) as u8).collect();
    for (transport, data) in [(Transport::Adnl, small(1)), (Transport::Rldp, small(2)), (Transport::Rldp, large)] {
        round_trip(&engine_a, &mut engine_b, query(&b.public(), 5, transport, &data), &a.public(), 1).await;
        round_trip(&engine_b, &mut engine_a, query(&a.public(), 1, transport, &data), &b.public(), 5).await;
    }

    // A new stream of the same engine takes the old one's place, and hears of sessions at once.
    let mut again = gateway_a.engine(&a, "one").await;
    again.until_connected(&b.public()).await;
    engine_a.ended.cancelled().await;

    // Nobody answers for a peer without owner: the peer hears nothing.
    let silent = OutgoingQuery { timeout_ms: SILENCE_MS, ..query(&a.public(), 1, Transport::Adnl, &small(3)) };
    assert_eq!(engine_b.call(silent).await, Err(CallFailure::Timeout));
    assert!(again.queries.try_recv().is_err());
    let unknown = engine_b.call(query(&[9; 32], 1, Transport::Adnl, &small(4))).await;
    assert_eq!(unknown, Err(CallFailure::NotConnected));

    for (gateway, peer) in [(&gateway_a, b.public()), (&gateway_b, a.public())] {
        let peers = gateway.client().list_peers(rpc::gateway::v1::ListPeersRequest::default()).await.unwrap().into_inner().peers;
        assert_eq!((peers.len(), &peers[0].peer_key[..]), (1, &peer[..]));
    }
    gateway_a.stop.cancel();
    gateway_a.ended.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_former_owner_is_shut_out() {
    let cluster = Cluster::temporary().await.unwrap();
    let ((a, gateway_a, mut old), (b, _gateway_b, mut engine_b)) = connected(&cluster).await;
    let mut new = gateway_a.engine(&a, "two").await;
    new.own(vec![owner(&b.public(), 6)]).await;
    round_trip(&new, &mut engine_b, query(&b.public(), 6, Transport::Adnl, &small(1)), &a.public(), 1).await;

    // Its queries are not sent, and what the peer asks goes to the new owner.
    let late = old.call(query(&b.public(), 5, Transport::Adnl, &small(2))).await;
    assert_eq!(late, Err(CallFailure::Dropped));
    round_trip(&engine_b, &mut new, query(&a.public(), 1, Transport::Adnl, &small(3)), &b.public(), 6).await;
    assert!(engine_b.queries.try_recv().is_err() && old.queries.try_recv().is_err());

    // A wrong shard is no way around.
    let mut wrong = query(&b.public(), 9, Transport::Adnl, &small(4));
    wrong.owner = Some(rpc::gateway::v1::ShardEpoch { shard: u32::from(store::shard_of(&b.public())) ^ 1, epoch: 9 });
    assert_eq!(old.call(wrong).await, Err(CallFailure::Dropped));

    // The answer of an owner that lost the shard meanwhile is dropped.
    let asked = OutgoingQuery { timeout_ms: SILENCE_MS, ..query(&a.public(), 1, Transport::Adnl, &small(5)) };
    let answering = async {
        let query_of_peer = new.next_query().await;
        old.own(vec![owner(&b.public(), 7)]).await;
        // What an engine says is taken in order, so this result shows that the new ownership is known.
        assert_eq!(old.call(query(&[9; 32], 1, Transport::Adnl, &small(6))).await, Err(CallFailure::NotConnected));
        new.answer(&query_of_peer, owner(&b.public(), 6), b"late").await;
    };
    let (answer, ()) = tokio::join!(engine_b.call(asked), answering);
    assert_eq!(answer, Err(CallFailure::Timeout));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strangers_are_heard_with_little() {
    let cluster = Cluster::temporary().await.unwrap();
    let node = Node::new(&cluster, "a").await;
    let gateway = node.start(&[], "");
    let mut engine = gateway.engine(&node, "one").await;
    let config = adnl::Config {
        key: PrivateKey::generate(),
        epoch: std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32,
        listen: ([127, 0, 0, 1], 0).into(),
        advertise: None,
    };
    let (stranger, _incoming) = Endpoint::bind(config, drop).await.unwrap();
    let peer = stranger.introduce(node.adnl.public(), node.udp).await.unwrap();
    let patience = Duration::from_secs(20);

    let pong = stranger.query(peer, Ping { value: 77 }.to_boxed(), patience).await.unwrap();
    assert_eq!(Pong::from_boxed(&pong).unwrap().value, 77);

    let terms = ProposeChannelConfig {
        jetton_addr: None,
        ec_id: 0,
        excess_fee: 1,
        quarantine_duration: 1,
        misbehavior_fine: 1,
        conditional_close_duration: 1,
        node_version: NODE_VERSION,
        code_hash: [1; 32],
    };
    let asking = stranger.query(peer, terms.to_boxed(), patience);
    let answering = async {
        let query = engine.next_query().await;
        assert_eq!((query.peer_key.len(), &query.data[..]), (0, &terms.to_boxed()[..]));
        engine.answer(&query, owner(&[0; 32], 0), b"terms").await;
    };
    let (answer, ()) = tokio::join!(asking, answering);
    assert_eq!(&answer.unwrap()[..], b"terms");

    let silence = Duration::from_millis(SILENCE_MS.into());
    assert_eq!(stranger.query(peer, small(1), silence).await, Err(QueryError::Timeout));
    assert!(engine.queries.try_recv().is_err());
}
