//! The planner as engines see it: a real database, a gateway whose peers tell terms, calls inside the process.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use contract::{Balance, Closing, Currency, Pair, Payment, Storage};
use protocol::Key;
use route_planner::{Config, DatabaseConfig, Listener, TimingConfig};
use rpc::common::v1::ChainHop;
use rpc::gateway::v1::gateway_service_server::{GatewayService, GatewayServiceServer};
use rpc::gateway::v1::{
    AdvertiseAddressRequest, AdvertiseAddressResponse, ConnectPeerRequest, ConnectPeerResponse, DisconnectPeerRequest,
    DisconnectPeerResponse, EngineFrame, GatewayFrame, ListPeersRequest, ListPeersResponse, PingPeerRequest, PingPeerResponse,
    QueryPeerRequest, QueryPeerResponse,
};
use rpc::planner::v1::planner_service_client::PlannerServiceClient;
use rpc::planner::v1::*;
use rpc::{Connection, Error, ErrorCode, Health, InProcess, Metrics, Server};
use store::chain::{Account, Progress};
use testkit::{Cluster, wait_for};
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use wire::Answer;
use wire::message::ChannelConfig;

const A: Key = [1; 32];
const B: Key = [2; 32];
const C: Key = [3; 32];
const D: Key = [4; 32];
/// Knows everybody and answers nobody.
const MUTE: Key = [5; 32];

/// What a node asks for forwarding, and how often each was asked.
#[derive(Clone, Default)]
struct Peers {
    fees: Arc<HashMap<Key, u128>>,
    asked: Arc<Mutex<Vec<Key>>>,
}

type Reply<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl GatewayService for Peers {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<GatewayFrame, Status>> + Send>>;

    async fn query_peer(&self, request: Request<QueryPeerRequest>) -> Reply<QueryPeerResponse> {
        let request = request.into_inner();
        let peer = Key::try_from(&request.peer_key[..]).unwrap();
        self.asked.lock().unwrap().push(peer);
        let Ok(wire::Request::ProposeChannelConfig(question)) = wire::Request::from_boxed(&request.data) else {
            return Err(Error::new(ErrorCode::InvalidField).into());
        };
        assert_eq!(question.quarantine_duration, 100, "asked about a channel like its own");
        let Some(fee) = self.fees.get(&peer) else { return Err(Error::new(ErrorCode::PeerUnreachable).into()) };
        let answer = Answer::ChannelConfig(ChannelConfig {
            ok: true,
            wallet_addr: [0; 32],
            reason: String::new(),
            proxy_allowed: true,
            proxy_min_fee: *fee,
            proxy_max_cap: 1_000_000,
            proxy_percent_fee_float: 1f64.to_bits(),
        });
        Ok(Response::new(QueryPeerResponse { data: answer.to_boxed().into() }))
    }

    async fn attach(&self, _: Request<Streaming<EngineFrame>>) -> Reply<Self::AttachStream> {
        Err(Status::unimplemented("not asked by the planner"))
    }

    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Reply<ListPeersResponse> {
        Err(Status::unimplemented("not asked by the planner"))
    }

    async fn ping_peer(&self, _: Request<PingPeerRequest>) -> Reply<PingPeerResponse> {
        Err(Status::unimplemented("not asked by the planner"))
    }

    async fn connect_peer(&self, _: Request<ConnectPeerRequest>) -> Reply<ConnectPeerResponse> {
        Err(Status::unimplemented("not asked by the planner"))
    }

    async fn disconnect_peer(&self, _: Request<DisconnectPeerRequest>) -> Reply<DisconnectPeerResponse> {
        Err(Status::unimplemented("not asked by the planner"))
    }

    async fn advertise_address(&self, _: Request<AdvertiseAddressRequest>) -> Reply<AdvertiseAddressResponse> {
        Err(Status::unimplemented("not asked by the planner"))
    }
}

/// A planner, its database and its peers.
struct World {
    planner: PlannerServiceClient<Connection>,
    peers: Peers,
    pool: store::Pool,
    url: String,
    shutdown: CancellationToken,
    _cluster: Cluster,
}

impl Drop for World {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// B asks 7 nano at least, D 3; both 1 %.
async fn world(channels: &[(u8, Key, Key, u128)]) -> World {
    let cluster = Cluster::temporary().await.unwrap();
    let url = cluster.create_database("node").await.unwrap().url;
    let database = store::Database::new(&url, "test").unwrap();
    store::migrate(&database).await.unwrap();
    let pool = database.pool(2).unwrap();
    let shutdown = CancellationToken::new();
    let peers = Peers { fees: Arc::new(HashMap::from([(B, 7), (D, 3)])), asked: Arc::default() };
    let planner = start(&url, &peers, &shutdown).await;
    let world = World { planner, peers, pool, url, shutdown, _cluster: cluster };
    world.open(channels).await;
    world
}

/// Another planner of the same node.
async fn start(url: &str, peers: &Peers, shutdown: &CancellationToken) -> PlannerServiceClient<Connection> {
    let (gateway, accept) = InProcess::new();
    let server = Server::in_process(&Health::new()).await.add_service(GatewayServiceServer::new(peers.clone()));
    tokio::spawn(server.serve_in_process(accept, shutdown.clone()));
    let (planner, accept) = InProcess::new();
    let config = Config {
        database: DatabaseConfig { url: url.into(), max_connections: 4 },
        gateway: None,
        server: None,
        metrics: None,
        max_hops: 4,
        timing: TimingConfig { buffer_seconds: 10, min_safe_seconds: 6, ..TimingConfig::default() },
        telemetry: Default::default(),
    };
    let (health, stop) = (Health::new(), shutdown.clone());
    let ready = health.clone();
    tokio::spawn(async move {
        let listener = Listener::InProcess(accept);
        route_planner::run(config, Some(gateway.connect()), listener, &health, &Metrics::default(), stop).await.unwrap();
    });
    // Lets it begin: until then nothing says that it is not ready.
    tokio::task::yield_now().await;
    let waited = wait_for("planner", Duration::from_secs(60), async || match ready.is_ready() {
        true => Ok(()),
        false => Err(ready.waiting_for()),
    });
    waited.await.unwrap();
    PlannerServiceClient::new(planner.connect())
}

impl World {
    /// The indexer sees channels, each with its balance on the first side.
    async fn open(&self, channels: &[(u8, Key, Key, u128)]) {
        let accounts = channels.iter().map(|(number, a, b, balance)| account(*number, *a, *b, *balance)).collect();
        let mut client = self.pool.get().await.unwrap();
        let cursor = store::chain::lead(&client, "indexer", Duration::from_secs(60)).await.unwrap().unwrap();
        let progress = Progress { accounts, ..Progress::default() };
        store::chain::advance(&mut client, cursor, cursor.seqno + 1, &progress).await.unwrap();
    }

    async fn find(&self, request: FindRouteRequest) -> Result<FindRouteResponse, Error> {
        Ok(self.planner.clone().find_route(request).await?.into_inner())
    }

    fn asked(&self, peer: Key) -> usize {
        self.peers.asked.lock().unwrap().iter().filter(|asked| **asked == peer).count()
    }
}

fn account(number: u8, a: Key, b: Key, balance: u128) -> Account {
    let wallet = ton::Address::basechain([7; 32]);
    let storage = Storage {
        initialised: true,
        balance: Balance { deposited: Pair { a: balance, b: 0 }, ..Balance::default() },
        keys: Pair { a, b },
        channel_id: [number; 16],
        closing: Closing { quarantine_duration: 100, misbehavior_fine: 5, conditional_close_duration: 50 },
        committed_seqnos: Pair { a: 0, b: 0 },
        quarantine: None,
        payment: Payment { storage_fee: 9, destinations: Pair { a: wallet, b: wallet }, currency: Currency::Ton },
    };
    Account { address: [number; 32], code_hash: [3; 32], lt: 1, storage }
}

fn wanted(to: Key, amount: u128) -> FindRouteRequest {
    FindRouteRequest { from_key: A.to_vec(), to_key: to.to_vec(), amount_nano: amount.to_string(), ..Default::default() }
}

fn nodes(route: &FindRouteResponse) -> Vec<Key> {
    route.hops.iter().map(|hop| Key::try_from(&hop.node_key[..]).unwrap()).collect()
}

fn fixed(key: Key, fee: Option<&str>) -> ChainHop {
    ChainHop { node_key: key.to_vec(), fee_nano: fee.map(str::to_owned), deadline_gap_seconds: None }
}

#[tokio::test]
async fn a_neighbour_is_paid_without_asking_anybody() {
    let world = world(&[(1, A, B, 1000)]).await;
    let route = world.find(wanted(B, 500)).await.unwrap();
    assert_eq!((nodes(&route), route.total_fee_nano.as_str()), (vec![B], "0"));
    // 10 + 100 + 50 + 6 for the channel, 120 for slow clocks.
    assert_eq!(route.hops[0].deadline_offset_seconds, 286);
    let exact = FindRouteRequest { exact_chain: vec![fixed(B, None)], ..wanted(B, 500) };
    assert_eq!(world.find(exact).await.unwrap(), route);
    assert_eq!(world.asked(B), 0);
}

#[tokio::test]
async fn the_cheaper_of_two_ways_is_taken_with_the_terms_of_its_nodes_and_they_are_kept() {
    let world = world(&[(1, A, B, 5000), (2, B, C, 5000), (3, A, D, 5000), (4, D, C, 5000)]).await;
    let route = world.find(wanted(C, 100)).await.unwrap();
    assert_eq!((nodes(&route), route.total_fee_nano.as_str()), (vec![D, C], "3"));
    let hop =
        |i: usize| (route.hops[i].capacity_nano.as_str(), route.hops[i].fee_nano.as_str(), route.hops[i].deadline_offset_seconds);
    assert_eq!(hop(0), ("100", "3", 572));
    assert_eq!(hop(1), ("100", "0", 286));
    let dear = FindRouteRequest { excluded_keys: vec![D.to_vec()], ..wanted(C, 2000) };
    assert_eq!(world.find(dear).await.unwrap().total_fee_nano, "20", "one percent is above the least");
    assert_eq!((world.asked(B), world.asked(D)), (1, 1), "nobody is asked twice");
    let other = start(&world.url, &world.peers, &world.shutdown).await;
    let again = other.clone().find_route(wanted(C, 100)).await.unwrap().into_inner();
    assert_eq!(again, route);
    assert_eq!((world.asked(B), world.asked(D)), (1, 1), "what one planner learnt the others know");
    let listed = other.clone().list_nodes(ListNodesRequest { page_size: 2, ..Default::default() }).await.unwrap().into_inner();
    assert_eq!(listed.nodes[1].terms.as_ref().unwrap().min_fee_nano, "7");
    let rest = ListNodesRequest { page_size: 100, page_token: listed.next_page_token };
    assert_eq!(other.clone().list_nodes(rest).await.unwrap().into_inner().nodes.len(), 2);
}

#[tokio::test]
async fn chains_of_the_caller_are_filled_in() {
    let world = world(&[(1, A, B, 5000), (2, B, C, 5000)]).await;
    let chain = |hops: Vec<ChainHop>| FindRouteRequest { exact_chain: hops, ..wanted(C, 100) };
    let given = world.find(chain(vec![fixed(B, Some("40")), fixed(C, None)])).await.unwrap();
    assert_eq!((given.total_fee_nano.as_str(), world.asked(B)), ("40", 0));
    let open = world.find(chain(vec![fixed(B, None), fixed(C, None)])).await.unwrap();
    assert_eq!((open.total_fee_nano.as_str(), world.asked(B)), ("7", 1));
    for (hops, code) in [
        (vec![fixed(B, None)], ErrorCode::InvalidField),
        (vec![fixed(B, None), fixed(C, Some("1"))], ErrorCode::InvalidField),
        (vec![fixed(B, None), fixed(B, None), fixed(C, None)], ErrorCode::InvalidField),
        (vec![fixed(C, None); 5], ErrorCode::ChainTooLong),
    ] {
        assert_eq!(world.find(chain(hops)).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn what_cannot_be_is_refused_with_its_reason() {
    let world = world(&[(1, A, B, 5000), (2, B, C, 5000), (3, C, MUTE, 5000), (4, MUTE, D, 5000)]).await;
    let code = async |request| world.find(request).await.unwrap_err().code();
    assert_eq!(code(wanted([9; 32], 1)).await, ErrorCode::NoRoute, "a node that nobody has a channel with");
    assert_eq!(code(wanted(C, 5001)).await, ErrorCode::NoRoute, "above every capacity");
    assert_eq!(code(FindRouteRequest { max_hops: 1, ..wanted(C, 5) }).await, ErrorCode::NoRoute);
    assert_eq!(code(FindRouteRequest { excluded_keys: vec![B.to_vec()], ..wanted(C, 5) }).await, ErrorCode::NoRoute);
    assert_eq!(code(FindRouteRequest { from_key: B.to_vec(), ..wanted(D, 5) }).await, ErrorCode::TermsUnavailable);
    assert_eq!(code(FindRouteRequest { from_key: B.to_vec(), ..wanted(D, 5) }).await, ErrorCode::TermsUnavailable);
    assert!(world.asked(MUTE) + world.asked(C) <= 2, "a silent node is left alone");
    assert_eq!(code(FindRouteRequest { ttl_seconds: 100, ..wanted(B, 5) }).await, ErrorCode::InvalidTtl);
    assert_eq!(code(FindRouteRequest { max_hops: 11, ..wanted(B, 5) }).await, ErrorCode::ChainTooLong);
    assert_eq!(code(wanted(B, 0)).await, ErrorCode::AmountOutOfRange);
    assert_eq!(code(wanted(B, 1 << 120)).await, ErrorCode::InvalidAmount);
    assert_eq!(code(wanted(A, 5)).await, ErrorCode::InvalidField);
    assert_eq!(code(FindRouteRequest { to_key: vec![1; 31], ..wanted(B, 5) }).await, ErrorCode::InvalidKey);
}

#[tokio::test]
async fn attempts_shift_the_choice_and_repeating_a_report_does_not() {
    let world = world(&[(1, A, B, 5000), (2, B, C, 5000), (3, A, D, 5000), (4, D, C, 5000)]).await;
    assert_eq!(nodes(&world.find(wanted(C, 100)).await.unwrap()), [D, C]);
    let hop = |key: Key, result: HopResult| HopReport {
        node_key: key.to_vec(),
        amount_nano: "100".into(),
        result: result.into(),
        reason: String::new(),
    };
    let report = ReportAttemptRequest {
        request_id: "0b0e5d6a-32ec-4a3f-9d5f-6d2d3c1a7b10".into(),
        from_key: A.to_vec(),
        coin: None,
        hops: vec![hop(D, HopResult::Agreed), hop(C, HopResult::Refused)],
    };
    world.planner.clone().report_attempt(report.clone()).await.unwrap();
    world.planner.clone().report_attempt(report.clone()).await.unwrap();
    assert_eq!(nodes(&world.find(wanted(C, 100)).await.unwrap()), [B, C], "dearer, and likelier to work");
    assert_eq!(nodes(&world.find(wanted(C, 99)).await.unwrap()), [D, C], "less was not tried");
    let only = FindRouteRequest { excluded_keys: vec![B.to_vec()], ..wanted(C, 100) };
    assert_eq!(nodes(&world.find(only).await.unwrap()), [D, C], "better than nothing");
    let learnt = store::route::attempts(&world.pool.get().await.unwrap()).await.unwrap();
    assert_eq!(learnt.iter().map(|attempt| attempt.failures).max(), Some(1));
    let passed = ReportAttemptRequest {
        request_id: "0b0e5d6a-32ec-4a3f-9d5f-6d2d3c1a7b11".into(),
        hops: vec![hop(D, HopResult::Agreed), hop(C, HopResult::Agreed)],
        ..report
    };
    world.planner.clone().report_attempt(passed).await.unwrap();
    assert_eq!(nodes(&world.find(wanted(C, 100)).await.unwrap()), [D, C]);
}

#[tokio::test]
async fn a_channel_that_opened_or_closed_a_moment_ago_counts() {
    let world = world(&[(1, A, B, 5000)]).await;
    assert_eq!(world.find(wanted(C, 100)).await.unwrap_err().code(), ErrorCode::NoRoute);
    world.open(&[(2, B, C, 5000)]).await;
    assert_eq!(nodes(&world.find(wanted(C, 100)).await.unwrap()), [B, C]);
}
