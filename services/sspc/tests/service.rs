//! Two services on one simulated chain, a stream between them, each called over gRPC.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use causeway_sspc::{Api, Limit, Node, Policy};
use rpc::sspc::v1::channel_service_client::ChannelServiceClient;
use rpc::sspc::v1::*;
use rpc::{Connection, ErrorCode, Health, InProcess, Server};
use sspc::{
    Amount, Chain as _, Envelope, Identity, Link, LinkError, LocalKey, MemoryStore, Message, Place, Record, Round, Settings,
    Simulation, Store, StoreError, Tools, Variant, deploy,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const FUNDS: u64 = 1_000_000;
const PERIOD: u32 = 3_600;
/// Nothing takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

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
        Self::of(Variant::Word).await
    }

    async fn of(variant: Variant) -> Self {
        let chain = Simulation::new(5);
        let deployer = chain.account(Address::repeat_byte(1), U256::ZERO);
        let transaction = deploy(&deployer, variant, (60, 86_400)).await.unwrap();
        deployer.broadcast(&transaction).await.unwrap();
        let contract = chain.created(&transaction.hash).unwrap();
        Self { chain, place: Place { chain_id: 5, contract, variant }, stop: CancellationToken::new() }
    }

    async fn service(&self, seed: u8, most_deposit: Option<u128>) -> Service {
        self.service_at_depth(seed, most_deposit, 0).await
    }

    async fn service_at_depth(&self, seed: u8, most_deposit: Option<u128>, confirmations: u64) -> Service {
        self.service_with(seed, most_deposit, confirmations, Arc::new(MemoryStore::default())).await
    }

    async fn service_with(&self, seed: u8, most_deposit: Option<u128>, confirmations: u64, store: Arc<dyn Store>) -> Service {
        let key = LocalKey::from_bytes(&[seed; 32]).unwrap();
        let own = key.address();
        let tools = Tools {
            store,
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

    /// Takes what was carried; the answers.
    async fn receive(&mut self, envelope: Vec<u8>) -> Vec<Vec<u8>> {
        let request = ReceiveMoneyRequest { request_id: id(99), envelope };
        self.client.receive_money(request).await.unwrap().into_inner().envelopes
    }

    /// Pays; what is to be carried.
    async fn send(&mut self, request: u64, key: &[u8], units: &str) -> Vec<u8> {
        let (request_id, channel_key, amount_units) = (id(request), key.to_vec(), units.to_owned());
        let request = SendMoneyRequest { request_id, channel_key, amount_units, expected_paid_units: None };
        let envelope = self.client.send_money(request).await.unwrap().into_inner().envelope;
        assert!(is_payment(&envelope));
        envelope
    }

    async fn pay(&mut self, request: u64, key: &[u8], units: &str) -> Result<Channel, rpc::Error> {
        let (request_id, channel_key, amount_units) = (id(request), key.to_vec(), units.to_owned());
        let request = SendMoneyRequest { request_id, channel_key, amount_units, expected_paid_units: None };
        Ok(self.client.send_money(request).await?.into_inner().channel.unwrap())
    }
}

/// A stream from a to b.
async fn connect(a: &Service, b: &Service) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(b.node.clone().listen(listener));
    tokio::spawn(a.node.clone().connect(address, Some(b.own)));
    address
}

fn proposal(request: u64, peer: Address, peer_deposit: &str) -> ProposeChannelRequest {
    ProposeChannelRequest {
        request_id: id(request),
        peer_address: peer.to_vec(),
        own_deposit_units: "10000".to_owned(),
        peer_deposit_units: peer_deposit.to_owned(),
        period_seconds: PERIOD,
        token: Vec::new(),
    }
}

/// Both, a stream between them, and a channel that is open.
async fn open(world: &World) -> (Service, Service, Vec<u8>) {
    let (a, b) = (world.service(11, None).await, world.service(22, Some(8_000)).await);
    connect(&a, &b).await;
    open_between(a, b).await
}

async fn open_between(mut a: Service, mut b: Service) -> (Service, Service, Vec<u8>) {
    let propose = proposal(1, b.own, "8000");
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
    b.client.coop_close(CoopCloseRequest { request_id: id(17), channel_key: key.clone(), envelope: Vec::new() }).await.unwrap();
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
async fn payments_go_on_while_the_node_is_silent() {
    let world = World::new().await;
    let (mut a, mut b, key) = open(&world).await;
    world.chain.silence(true);
    // Some looks of the guards wait for the node meanwhile.
    for request in 0..50 {
        let paid = tokio::time::timeout(PATIENCE, a.pay(10 + request, &key, "2")).await;
        paid.expect("the guard has the channel").unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    b.until(&key, |channel| channel.received_units == "100").await;
    a.until(&key, |channel| channel.acknowledged_units == "100").await;
    world.chain.silence(false);
    a.client.start_force_close(StartForceCloseRequest { request_id: id(80), channel_key: key.clone() }).await.unwrap();
    b.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!(world.balance(b.own).await, FUNDS + 100, "the guards look again");
    world.stop.cancel();
}

#[tokio::test]
async fn a_channel_is_free_while_a_call_waits_for_blocks() {
    let world = World::new().await;
    let mut a = world.service_at_depth(11, None, 3).await;
    let propose = proposal(1, Address::repeat_byte(7), "0");
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
    let shown = tokio::time::timeout(PATIENCE, a.get(&key)).await.expect("the call has the channel").unwrap();
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
    connect(&a, &b).await;
    let peer = b.own;
    let propose = |request: u64, deposit: &str| proposal(request, peer, deposit);
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
    connect(&a, &b).await;
    let mut keys = Vec::new();
    for request in 1..=3 {
        let propose = proposal(request, b.own, "8000");
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
    a.client
        .coop_close(CoopCloseRequest { request_id: id(21), channel_key: keys[0].clone(), envelope: Vec::new() })
        .await
        .unwrap();
    b.until(&keys[2], |channel| channel.phase() == ChannelPhase::Open).await;
    world.stop.cancel();
}

#[tokio::test]
async fn an_impostor_moves_no_stream_and_is_not_heard() {
    let world = World::new().await;
    let (a, b) = (world.service(11, None).await, world.service(22, Some(8_000)).await);
    let address = connect(&a, &b).await;
    let (mut a, mut b, key) = open_between(a, b).await;
    let channel: B256 = key.as_slice().try_into().unwrap();
    // Anybody may know the channel's name and what it sends.
    let overheard = Message::Ack { counted: Amount::ZERO, round: Round::OPENING };
    let (identity, stranger) = (Identity::new().unwrap(), LocalKey::from_bytes(&[33; 32]).unwrap());
    let (mut link, there) = Link::dial(address, &identity, &stranger).await.unwrap();
    assert_eq!(there, b.own);
    link.send(&[Envelope { channel, message: overheard.clone() }]).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, link.receive(10)).await.expect("kept");
    assert!(matches!(told, Err(LinkError::Closed | LinkError::Io(_))), "told something");
    // Nor without a proof.
    let mut bare = Link::connect(address).await.unwrap();
    let _ = bare.send(&[Envelope { channel, message: overheard }]).await;
    assert!(bare.receive(10).await.is_err());
    // What b has to say goes to a, all the while.
    b.pay(11, &key, "45").await.unwrap();
    a.until(&key, |channel| channel.received_units == "45").await;
    b.until(&key, |channel| channel.acknowledged_units == "45").await;
    world.stop.cancel();
}

#[tokio::test]
async fn callers_carry_all_messages_themselves() {
    for variant in [Variant::Word, Variant::Compact] {
        let world = World::of(variant).await;
        // No streams, and b accepts nothing by itself.
        let (mut a, mut b) = (world.service(11, None).await, world.service(22, None).await);
        let proposed = a.client.propose_channel(proposal(1, b.own, "8000")).await.unwrap().into_inner();
        let key = proposed.channel.unwrap().channel_key;
        let take = |request: u64, envelope: Vec<u8>| TakeProposalRequest { request_id: id(request), envelope };
        let wrong = rpc::Error::from(a.client.take_proposal(take(2, proposed.envelope.clone())).await.unwrap_err());
        assert_eq!(wrong.violation().unwrap().0, "envelope", "a is not b");
        b.client.take_proposal(take(2, proposed.envelope)).await.unwrap();
        let open = OpenChannelRequest { request_id: id(3), channel_key: key.clone() };
        let opened = a.client.open_channel(open).await.unwrap().into_inner();
        b.receive(opened.envelope).await;
        b.client.accept_channel(AcceptChannelRequest { request_id: id(4), channel_key: key.clone() }).await.unwrap();
        a.until(&key, |channel| channel.phase() == ChannelPhase::Open).await;

        // Two payments cross; the one that loses is signed anew in the answer.
        let from_a = a.send(10, &key, "300").await;
        let from_b = b.send(11, &key, "45").await;
        let mut to_a = b.receive(from_a).await;
        to_a.push(from_b);
        let mut to_b = Vec::new();
        while !(to_a.is_empty() && to_b.is_empty()) {
            for envelope in std::mem::take(&mut to_a) {
                to_b.extend(a.receive(envelope).await);
            }
            for envelope in std::mem::take(&mut to_b) {
                let answers = b.receive(envelope).await;
                to_a.extend(answers.into_iter().filter(|answer| is_payment(answer)));
            }
            to_b.retain(|answer| is_payment(answer));
        }
        let channel = b.get(&key).await.unwrap();
        assert_eq!((channel.balance_a_units.as_str(), channel.balance_b_units.as_str()), ("9745", "8255"));

        let close = CreateCoopCloseRequest { request_id: id(16), channel_key: key.clone() };
        let envelope = a.client.create_coop_close(close).await.unwrap().into_inner().envelope;
        let submit = |envelope| CoopCloseRequest { request_id: id(17), channel_key: key.clone(), envelope };
        let payment = a.send(10, &key, "300").await;
        let wrong = rpc::Error::from(b.client.coop_close(submit(payment)).await.unwrap_err());
        assert_eq!(wrong.violation().unwrap().0, "envelope");
        b.client.coop_close(submit(envelope)).await.unwrap();
        a.until(&key, |channel| channel.phase() == ChannelPhase::Closed).await;
        assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS - 255, FUNDS + 255));
        world.stop.cancel();
    }
}

fn is_payment(envelope: &[u8]) -> bool {
    matches!(Envelope::decode(envelope).unwrap().message, Message::Pay { .. })
}

#[tokio::test]
async fn proposals_end_with_their_time() {
    let world = World::new().await;
    let (mut a, mut b) = (world.service(11, None).await, world.service(22, Some(8_000)).await);
    connect(&a, &b).await;
    let channel = a.client.propose_channel(proposal(1, b.own, "8000")).await.unwrap().into_inner().channel.unwrap();
    let key = channel.channel_key;
    b.until(&key, |channel| channel.is_b && channel.expires_unix > 0).await;
    world.chain.pass(86_401);
    while a.get(&key).await.is_some() || b.get(&key).await.is_some() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let list = b.client.list_channels(ListChannelsRequest::default()).await.unwrap().into_inner();
    assert!(list.channels.is_empty());
    world.stop.cancel();
}

/// A storage with a defect: it panics when it is to keep something about one channel.
#[derive(Default)]
struct Fragile {
    inner: MemoryStore,
    broken: std::sync::Mutex<Option<B256>>,
}

#[tonic::async_trait]
impl Store for Fragile {
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError> {
        self.inner.load(key).await
    }

    async fn keys(&self) -> Result<Vec<B256>, StoreError> {
        self.inner.keys().await
    }

    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        let broken = *self.broken.lock().unwrap();
        assert_ne!(broken, Some(record.key()), "a defect, for the test");
        self.inner.commit(expected, record).await
    }

    async fn remove(&self, key: &B256, expected: u64) -> Result<(), StoreError> {
        self.inner.remove(key, expected).await
    }
}

#[tokio::test]
async fn a_look_that_panics_keeps_the_guard_from_no_other_channel() {
    let world = World::new().await;
    let store = Arc::new(Fragile::default());
    let mut b = world.service_with(22, Some(8_000), 0, store.clone()).await;
    let mut a = world.service(11, None).await;
    connect(&a, &b).await;
    let mut keys = Vec::new();
    for request in [1, 2] {
        let proposed = a.client.propose_channel(proposal(request, b.own, "4000")).await.unwrap().into_inner();
        let key = proposed.channel.unwrap().channel_key;
        let open = OpenChannelRequest { request_id: id(10 + request), channel_key: key.clone() };
        a.client.open_channel(open).await.unwrap();
        b.until(&key, |channel| channel.phase() == ChannelPhase::Open).await;
        a.until(&key, |channel| channel.phase() == ChannelPhase::Open).await;
        a.pay(20 + request, &key, "500").await.unwrap();
        b.until(&key, |channel| channel.received_units == "500").await;
        keys.push(key);
    }
    *store.broken.lock().unwrap() = Some(keys[0].as_slice().try_into().unwrap());
    for (number, key) in (30..).zip(&keys) {
        let leave = StartForceCloseRequest { request_id: id(number), channel_key: key.clone() };
        a.client.start_force_close(leave).await.unwrap();
    }
    b.until(&keys[1], |channel| channel.phase() == ChannelPhase::Closed).await;
    // Once it is mended, the first one is answered as well.
    *store.broken.lock().unwrap() = None;
    b.until(&keys[0], |channel| channel.phase() == ChannelPhase::Closed).await;
    assert_eq!((world.balance(a.own).await, world.balance(b.own).await), (FUNDS - 1_000, FUNDS + 1_000));
    world.stop.cancel();
}

#[test]
fn the_example_of_the_readme_is_a_configuration_and_limits_that_cannot_work_are_refused() {
    let text = include_str!("../README.md");
    let example = text.split("```toml").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let read = |text: &str| -> causeway_sspc::serve::Config {
        let file = folder.path().join("sspc.toml");
        std::fs::write(&file, text).unwrap();
        rpc::config::load(Some(&file)).unwrap()
    };
    let config = read(example);
    config.validate().unwrap();
    assert_eq!(config.peers.len(), 1);
    for (field, other) in [
        ("guard_seconds", "guard_seconds = 0"),
        ("proposal_seconds", "proposal_seconds = 0"),
        ("chain.fees.most_per_gas_gwei", "most_per_gas_gwei = 0"),
        ("chain.fees.most_per_gas_urgent_gwei", "most_per_gas_urgent_gwei = 199"),
        ("chain.fees.most_gas", "most_gas = 699999"),
        ("chain.fees.most_per_channel_gwei", "most_per_channel_gwei = 699999999"),
        ("accept.least_period_seconds", "least_period_seconds = 119"),
    ] {
        let name = other.split(" =").next().unwrap();
        let line = example.lines().find(|line| line.starts_with(&format!("{name} ="))).unwrap();
        let error = read(&example.replace(line, other)).validate().unwrap_err().to_string();
        assert!(error.contains(&format!("`{field}`")), "{error}");
    }
}
