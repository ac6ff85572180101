//! Two services on one simulated chain, a stream between them, each called over gRPC.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, U256};
use causeway_sspc::{Api, Limit, Node, Policy};
use rpc::sspc::v1::channel_service_client::ChannelServiceClient;
use rpc::sspc::v1::*;
use rpc::{Connection, ErrorCode, Health, InProcess, Server};
use sspc::{Amount, Chain as _, LocalKey, MemoryStore, Place, Settings, Simulation, Tools, Variant, deploy};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const FUNDS: u64 = 1_000_000;
const PERIOD: u32 = 3_600;

struct Service {
    client: ChannelServiceClient<Connection>,
    own: Address,
    node: Arc<Node>,
}

struct World {
    chain: Simulation,
    place: Place,
    stop: CancellationToken,
}

impl World {
    async fn new() -> Self {
        let chain = Simulation::new(5);
        let deployer = chain.account(Address::repeat_byte(1), U256::ZERO);
        let transaction = deploy(&deployer, Variant::Word, (60, 86_400)).await.unwrap();
        deployer.broadcast(&transaction).await.unwrap();
        let contract = chain.created(&transaction.hash).unwrap();
        Self { chain, place: Place { chain_id: 5, contract, variant: Variant::Word }, stop: CancellationToken::new() }
    }

    async fn service(&self, seed: u8, most_deposit: Option<u128>) -> Service {
        self.service_at_depth(seed, most_deposit, 0).await
    }

    async fn service_at_depth(&self, seed: u8, most_deposit: Option<u128>, confirmations: u64) -> Service {
        let key = LocalKey::from_bytes(&[seed; 32]).unwrap();
        let own = key.address();
        let tools = Tools {
            store: Arc::new(MemoryStore::default()),
            chain: Arc::new(self.chain.account(own, U256::from(FUNDS))),
            signer: Arc::new(key),
            settings: Settings { confirmations, poll: Duration::from_millis(20), ..Settings::default() },
        };
        let place = self.place;
        let policy = most_deposit.map(|most| {
            let limit = Limit { deposit: Amount::new(most), total: Amount::new(2 * most) };
            let reserve = Amount::new(u128::from(FUNDS) - 3 * most);
            Policy { place, limits: [(Address::ZERO, limit)].into(), reserve, least_period: PERIOD }
        });
        let node = Node::start(tools, policy, self.stop.clone()).await.unwrap();
        tokio::spawn(node.clone().guard(Duration::from_millis(20)));
        let (near, far) = InProcess::new();
        let server = Server::in_process(&Health::new()).await.add_service(Api::server(node.clone(), place, own, PERIOD));
        tokio::spawn(server.serve_in_process(far, self.stop.clone()));
        Service { client: ChannelServiceClient::new(near.connect()), own, node }
    }

    async fn balance(&self, account: Address) -> u64 {
        let chain = self.chain.account(Address::repeat_byte(9), U256::ZERO);
        chain.balance(account).await.unwrap().to()
    }
}

fn id(number: u64) -> String {
    format!("00000000-0000-4000-8000-{number:012}")
}

impl Service {
    async fn get(&mut self, key: &[u8]) -> Option<Channel> {
        let request = GetChannelRequest { channel_key: key.to_vec() };
        self.client.get_channel(request).await.ok().and_then(|answer| answer.into_inner().channel)
    }

    /// Waits until the channel is as it should be.
    async fn until(&mut self, key: &[u8], there: impl Fn(&Channel) -> bool) -> Channel {
        let mut last = None;
        for _ in 0..1_500 {
            last = self.get(key).await;
            if let Some(channel) = last.take_if(|channel| there(channel)) {
                return channel;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("still {last:?}");
    }

    async fn pay(&mut self, request: u64, key: &[u8], units: &str) -> Result<Channel, rpc::Error> {
        let (request_id, channel_key, amount_units) = (id(request), key.to_vec(), units.to_owned());
        let request = SendMoneyRequest { request_id, channel_key, amount_units, expected_paid_units: None };
        Ok(self.client.send_money(request).await?.into_inner().channel.unwrap())
    }
}

/// Both, a stream between them, and a channel that is open.
async fn open(world: &World) -> (Service, Service, Vec<u8>) {
    let mut a = world.service(11, None).await;
    let mut b = world.service(22, Some(8_000)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(b.node.clone().listen(listener));
    tokio::spawn(a.node.clone().connect(address, Some(b.own)));
    let propose = ProposeChannelRequest {
        request_id: id(1),
        peer_address: b.own.to_vec(),
        own_deposit_units: "10000".to_owned(),
        peer_deposit_units: "8000".to_owned(),
        period_seconds: PERIOD,
        token: Vec::new(),
    };
    let channel = a.client.propose_channel(propose.clone()).await.unwrap().into_inner().channel.unwrap();
    let again = a.client.propose_channel(propose).await.unwrap().into_inner().channel.unwrap();
    assert_eq!(channel, again, "the same request is the same channel");
    let key = channel.channel_key;
    a.client.open_channel(OpenChannelRequest { request_id: id(2), channel_key: key.clone() }).await.unwrap();
    b.until(&key, |channel| channel.phase() == ChannelPhase::Open).await;
    a.until(&key, |channel| channel.phase() == ChannelPhase::Open).await;
    (a, b, key)
}

#[tokio::test]
async fn a_channel_is_opened_used_and_closed_over_grpc() {
    let world = World::new().await;
    let (mut a, mut b, key) = open(&world).await;
    a.pay(10, &key, "300").await.unwrap();
    a.pay(10, &key, "300").await.unwrap();
    b.pay(11, &key, "45").await.unwrap();
    let done = |channel: &Channel| channel.paid_units == channel.acknowledged_units && channel.received_units != "0";
    a.until(&key, done).await;
    let channel = b.until(&key, done).await;
    assert_eq!((channel.balance_a_units.as_str(), channel.balance_b_units.as_str()), ("9745", "8255"), "one request pays once");

    let reused = a.pay(10, &key, "301").await.unwrap_err();
    assert_eq!(reused.code(), ErrorCode::RequestIdReused);
    assert_eq!(a.pay(12, &key, "9746").await.unwrap_err().code(), ErrorCode::InsufficientBalance);
    assert_eq!(a.pay(13, &[0; 32], "1").await.unwrap_err().code(), ErrorCode::ChannelUnknown);
    assert_eq!(a.pay(14, &key, "01").await.unwrap_err().violation().unwrap().0, "amount_units");
    let stale = SendMoneyRequest {
        request_id: id(15),
        channel_key: key.clone(),
        amount_units: "1".to_owned(),
        expected_paid_units: Some("0".to_owned()),
    };
    let stale = rpc::Error::from(a.client.send_money(stale).await.unwrap_err());
    assert_eq!(stale.violation().unwrap().0, "expected_paid_units");

    a.client.create_coop_close(CreateCoopCloseRequest { request_id: id(16), channel_key: key.clone() }).await.unwrap();
    b.until(&key, |channel| channel.close_offered).await;
    b.client.coop_close(CoopCloseRequest { request_id: id(17), channel_key: key.clone() }).await.unwrap();
    a.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS - 255, FUNDS + 255));
    let list = a.client.list_channels(ListChannelsRequest::default()).await.unwrap().into_inner();
    assert_eq!((list.channels.len(), list.next_page_token.as_str()), (1, ""));
    world.stop.cancel();
}

#[tokio::test]
async fn the_guard_answers_a_stale_close_and_finishes_an_honest_one() {
    let world = World::new().await;
    let (mut a, mut b, key) = open(&world).await;
    a.pay(10, &key, "500").await.unwrap();
    b.until(&key, |channel| channel.received_units == "500").await;
    a.until(&key, |channel| channel.acknowledged_units == "500").await;
    // a leaves with the opening: b paid nothing, so a has nothing newer; b's guard answers with a's payment.
    a.client.start_force_close(StartForceCloseRequest { request_id: id(11), channel_key: key.clone() }).await.unwrap();
    b.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    a.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS - 500, FUNDS + 500));
    world.stop.cancel();

    let world = World::new().await;
    let (mut a, mut b, key) = open(&world).await;
    b.client.start_force_close(StartForceCloseRequest { request_id: id(12), channel_key: key.clone() }).await.unwrap();
    a.until(&key, |channel| channel.deadline_unix != 0).await;
    world.chain.pass(u64::from(PERIOD) + 1);
    b.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS, FUNDS));
    world.stop.cancel();
}

#[tokio::test]
async fn a_channel_that_is_always_busy_is_guarded() {
    let world = World::new().await;
    let (mut a, mut b, key) = open(&world).await;
    a.pay(10, &key, "500").await.unwrap();
    b.until(&key, |channel| channel.received_units == "500").await;
    // From now on somebody always has b's channel, and somebody always waits for it.
    let (name, node) = (key.as_slice().try_into().unwrap(), b.node.clone());
    for _ in 0..3 {
        let node = node.clone();
        tokio::spawn(async move {
            loop {
                let busy = async |_: &mut sspc::Channel| {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    Ok(())
                };
                node.with(&name, busy).await.unwrap();
            }
        });
    }
    a.client.start_force_close(StartForceCloseRequest { request_id: id(11), channel_key: key.clone() }).await.unwrap();
    a.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS - 500, FUNDS + 500));
    world.stop.cancel();
}

#[tokio::test]
async fn a_channel_is_free_while_a_call_waits_for_blocks() {
    let world = World::new().await;
    let mut a = world.service_at_depth(11, None, 3).await;
    let propose = ProposeChannelRequest {
        request_id: id(1),
        peer_address: vec![7; 20],
        own_deposit_units: "10000".to_owned(),
        peer_deposit_units: "0".to_owned(),
        period_seconds: PERIOD,
        token: Vec::new(),
    };
    let key = a.client.propose_channel(propose).await.unwrap().into_inner().channel.unwrap().channel_key;
    let mut client = a.client.clone();
    let request = OpenChannelRequest { request_id: id(2), channel_key: key.clone() };
    let opening = tokio::spawn(async move { client.open_channel(request).await });
    let deposited = async {
        while world.balance(a.own).await == FUNDS {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    deposited.await;
    // No block comes: the call waits, others do not wait for it.
    let patience = Duration::from_secs(60);
    let shown = tokio::time::timeout(patience, a.get(&key)).await.expect("the call has the channel").unwrap();
    assert_eq!(shown.phase(), ChannelPhase::Draft, "not deep enough to rely on");
    assert!(!opening.is_finished());
    (0..3).for_each(|_| world.chain.pass(1));
    let opened = opening.await.unwrap().unwrap().into_inner().channel.unwrap();
    assert_eq!(opened.phase(), ChannelPhase::Open);
    world.stop.cancel();
}

#[tokio::test]
async fn a_proposal_that_the_policy_forbids_is_not_taken() {
    let world = World::new().await;
    let mut a = world.service(11, None).await;
    let mut b = world.service(22, Some(7_999)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(b.node.clone().listen(listener));
    tokio::spawn(a.node.clone().connect(address, None));
    let peer = b.own;
    let propose = |request: u64, deposit: &str| ProposeChannelRequest {
        request_id: id(request),
        peer_address: peer.to_vec(),
        own_deposit_units: "10000".to_owned(),
        peer_deposit_units: deposit.to_owned(),
        period_seconds: PERIOD,
        token: Vec::new(),
    };
    let (greedy, fair) = (propose(1, "8000"), propose(2, "7999"));
    let greedy = a.client.propose_channel(greedy).await.unwrap().into_inner().channel.unwrap();
    // A token that is not listed: whatever its code does, it costs us nothing.
    let token = ProposeChannelRequest { token: vec![9; 20], ..propose(3, "1") };
    let token = a.client.propose_channel(token).await.unwrap().into_inner().channel.unwrap();
    let fair = a.client.propose_channel(fair).await.unwrap().into_inner().channel.unwrap();
    // In order on one stream: when the last is known, the others were refused.
    b.until(&fair.channel_key, |channel| channel.is_b).await;
    assert!(b.get(&greedy.channel_key).await.is_none());
    assert!(b.get(&token.channel_key).await.is_none());
    // The same id with other content is another request.
    let reused = rpc::Error::from(a.client.propose_channel(propose(2, "7998")).await.unwrap_err());
    assert_eq!(reused.code(), ErrorCode::RequestIdReused);
    world.stop.cancel();
}

#[tokio::test]
async fn acceptances_keep_to_the_total() {
    let world = World::new().await;
    let mut a = world.service(11, None).await;
    let mut b = world.service(22, Some(8_000)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(b.node.clone().listen(listener));
    tokio::spawn(a.node.clone().connect(address, Some(b.own)));
    let mut keys = Vec::new();
    for request in 1..=3 {
        let propose = ProposeChannelRequest {
            request_id: id(request),
            peer_address: b.own.to_vec(),
            own_deposit_units: "10000".to_owned(),
            peer_deposit_units: "8000".to_owned(),
            period_seconds: PERIOD,
            token: Vec::new(),
        };
        let key = a.client.propose_channel(propose).await.unwrap().into_inner().channel.unwrap().channel_key;
        a.client.open_channel(OpenChannelRequest { request_id: id(10 + request), channel_key: key.clone() }).await.unwrap();
        keys.push(key);
    }
    for key in &keys[..2] {
        b.until(key, |channel| channel.phase() == ChannelPhase::Open).await;
    }
    b.until(&keys[2], |channel| channel.phase() == ChannelPhase::Proposed).await;
    // One of the two is paid out: there is room for the third.
    b.client.create_coop_close(CreateCoopCloseRequest { request_id: id(20), channel_key: keys[0].clone() }).await.unwrap();
    a.until(&keys[0], |channel| channel.close_offered).await;
    assert_eq!(world.balance(b.own).await, FUNDS - 16_000, "two deposits, not three");
    a.client.coop_close(CoopCloseRequest { request_id: id(21), channel_key: keys[0].clone() }).await.unwrap();
    b.until(&keys[2], |channel| channel.phase() == ChannelPhase::Open).await;
    world.stop.cancel();
}

#[test]
fn the_example_of_the_readme_is_a_configuration() {
    let text = include_str!("../README.md");
    let example = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sspc.toml");
    std::fs::write(&file, example).unwrap();
    let config: causeway_sspc::serve::Config = rpc::config::load(Some(&file)).unwrap();
    config.validate().unwrap();
    assert_eq!(config.peers.len(), 1);
}
