//! Who gets a session, and which process may use a key.

use peer_gateway::{Config, Error, Listener};
use rpc::gateway::v1::{
    CallFailure, ConnectPeerRequest, DisconnectPeerRequest, ListPeersRequest, OutgoingQuery, PingPeerRequest, QueryPeerRequest,
    Transport,
};
use rpc::{ErrorCode, Health, InProcess, Metrics};
use testkit::Cluster;
use tl::Object as _;
use tokio_util::sync::CancellationToken;
use wire::message::{Ping, Pong, RequestChannelLock};

use crate::world::{Engine, Node, PATIENCE, owner, query};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_another_key_than_wanted_is_refused() {
    let cluster = Cluster::temporary().await.unwrap();
    let (a, b, c) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await, Node::new(&cluster, "c").await);
    // At the place where A looks for C is B.
    let (gateway_a, gateway_b) = (a.start(&[(c.public(), &b)], ""), b.start(&[], ""));
    let (engine_a, _engine_b) = (gateway_a.engine(&a, "one").await, gateway_b.engine(&b, "one").await);
    let mut client = gateway_a.client();
    let connect = ConnectPeerRequest { peer_key: c.public().to_vec().into(), ..ConnectPeerRequest::default() };
    let error = rpc::Error::from(client.connect_peer(connect).await.unwrap_err());
    assert_eq!(error.code(), ErrorCode::PeerUnreachable);
    assert!(error.message().contains("another channel key"), "{error}");
    engine_a.own(vec![owner(&c.public(), 1)]).await;
    let asked = OutgoingQuery { may_connect: true, ..query(&c.public(), 1, Transport::Adnl, b"1234") };
    assert_eq!(engine_a.call(asked).await, Err(CallFailure::NotConnected));
    assert!(engine_a.sessions.borrow().is_empty());
    assert_eq!(client.list_peers(ListPeersRequest::default()).await.unwrap().into_inner().peers, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn operators_connect_ping_ask_and_disconnect() {
    let cluster = Cluster::temporary().await.unwrap();
    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let (gateway_a, gateway_b) = (a.start(&[], ""), b.start(&[], ""));
    let (mut engine_a, _engine_b) = (gateway_a.engine(&a, "one").await, gateway_b.engine(&b, "one").await);
    let mut client = gateway_a.client();
    let peer_key = bytes::Bytes::copy_from_slice(&b.public());
    let unknown = client.ping_peer(PingPeerRequest { peer_key: peer_key.clone() }).await.unwrap_err();
    assert_eq!(rpc::Error::from(unknown).code(), ErrorCode::PeerUnreachable);

    let connect = ConnectPeerRequest {
        peer_key: peer_key.clone(),
        udp_address: b.udp.to_string(),
        adnl_key: b.adnl.public().to_bytes().to_vec().into(),
    };
    let peer = client.connect_peer(connect).await.unwrap().into_inner().peer.unwrap();
    assert_eq!((&peer.peer_key, &peer.adnl_id[..], peer.udp_address), (&peer_key, &b.adnl.id().0[..], b.udp.to_string()));
    engine_a.until_connected(&b.public()).await;
    let pong = client.ping_peer(PingPeerRequest { peer_key: peer_key.clone() }).await.unwrap().into_inner();
    assert!(pong.round_trip_micros > 0);

    let ask = |data: Vec<u8>| QueryPeerRequest { peer_key: peer_key.clone(), data: data.into(), ..QueryPeerRequest::default() };
    let answer = client.query_peer(ask(Ping { value: 5 }.to_boxed())).await.unwrap().into_inner().data;
    assert_eq!(Pong::from_boxed(&answer).unwrap().value, 5);
    let money = RequestChannelLock { lock_id: 1, channel: [0; 32], lock: true };
    let refused = rpc::Error::from(client.query_peer(ask(money.to_boxed())).await.unwrap_err());
    assert_eq!((refused.code(), refused.violation().unwrap().0), (ErrorCode::InvalidField, "data"));

    client.disconnect_peer(DisconnectPeerRequest { peer_key }).await.unwrap();
    engine_a.until_lost(&b.public()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_of_other_nodes_and_second_processes_are_refused() {
    let cluster = Cluster::temporary().await.unwrap();
    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let first = a.start(&[], "");
    let engine = first.engine(&a, "one").await;
    let Err(foreign) = Engine::try_attach(first.seam.connect(), &b.key, "one").await else { panic!("a foreign engine attached") };
    let foreign = rpc::Error::from(foreign);
    assert_eq!(foreign.violation().unwrap().0, "hello.node_key");

    // Whoever claims the key last has it. (Another UDP address, since the first one is still taken.)
    let mut config: Config = toml::from_str(&a.config(&[], "")).unwrap();
    config.listen = ([127, 0, 0, 1], 0).into();
    let ((_seam, listener), stop, health) = (InProcess::new(), CancellationToken::new(), Health::new());
    let metrics = Metrics::default();
    let second = peer_gateway::run(config, Listener::InProcess(listener), &health, &metrics, stop.clone());
    let first_ends = async {
        let ended = tokio::time::timeout(PATIENCE, first.ended).await.expect("the first process ends");
        assert!(matches!(ended.unwrap(), Err(Error::KeyLost)));
        tokio::time::timeout(PATIENCE, engine.ended.cancelled()).await.expect("its engine notices");
        assert!(health.waiting_for().contains("no engine"), "{}", health.waiting_for());
        stop.cancel();
    };
    let (second, ()) = tokio::join!(second, first_ends);
    second.unwrap();
}
