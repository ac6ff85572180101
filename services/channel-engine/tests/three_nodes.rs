//! Three engines on one Postgres, joined by an in-memory network that carries the real protobuf.

mod network;

use std::{sync::Arc, time::Duration};

use network::Network;
use protocol::{Address, ChainUpdate, Key, NewTask, Task};
use rpc::{
    Connection, Health, InProcess, Metrics,
    common::v1::ChainHop,
    engine::v1::{channel_service_client::ChannelServiceClient, *},
};
use store::{Database, chain};
use testkit::{Cluster, wait_for};
use tokio_util::sync::CancellationToken;

const TON: u128 = 1_000_000_000;
const LIMIT: Duration = Duration::from_secs(60);

struct Node {
    key: Key,
    api: ChannelServiceClient<Connection>,
    pool: store::Pool,
}

struct World {
    nodes: Vec<Node>,
    stop: CancellationToken,
    _cluster: Cluster,
    _files: tempfile::TempDir,
}

impl World {
    async fn start(names: &[&str]) -> anyhow::Result<Self> {
        let cluster = Cluster::temporary().await?;
        let files = tempfile::tempdir()?;
        let stop = CancellationToken::new();
        let network = Arc::new(Network::default());
        let mut nodes = Vec::new();
        for name in names {
            let url = cluster.create_database(name).await?.url.to_string();
            let folder = files.path().join(name);
            std::fs::create_dir(&folder)?;
            let key_file = folder.join("key");
            let path = folder.join("keystore");
            let source = signer::KeySource::KeyFile(key_file.clone());
            let mut secret = [0; 32];
            getrandom::fill(&mut secret)?;
            std::fs::write(&key_file, hex::encode(secret))?;
            std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
            let keys = signer::LocalSigner::new(signer::Keys::open_or_create(&path, &source)?);
            let key = signer::Signer::channel_key(&keys);
            let text = format!(
                "engine_id = \"{name}\"\ndatabase = \"{url}\"\n[server]\nlisten = \"127.0.0.1:0\"\n[keystore]\npath = {path:?}\nkey_file = {key_file:?}\nstate_file = {:?}\n",
                folder.join("state")
            );
            let file = folder.join("engine.toml");
            std::fs::write(&file, text)?;
            let config: channel_engine::Config = rpc::config::load(Some(&file))?;
            let gateway = network.gateway(key, &stop).await;
            let (client, listener) = InProcess::new();
            let wiring =
                channel_engine::Wiring { listener: Some(listener), gateways: vec![gateway], planner: None, indexer: None };
            let health = Health::new();
            let (h, s) = (health.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = channel_engine::run(config, wiring, h, Metrics::default(), s).await {
                    eprintln!("engine: {error:#}");
                }
            });
            wait_for("engine", LIMIT, async || if health.is_ready() { Ok(()) } else { Err(health.waiting_for()) }).await?;
            let pool = Database::new(&url, "test")?.pool(2)?;
            nodes.push(Node { key, api: ChannelServiceClient::new(client.connect()), pool });
        }
        Ok(Self { nodes, stop, _cluster: cluster, _files: files })
    }

    /// Agrees a channel, and tells both sides that the opener's deposit is on the chain.
    async fn open(&mut self, opener: usize, peer: usize, deposit: u128) -> anyhow::Result<Address> {
        let request = OpenChannelRequest {
            request_id: uuid(),
            peer_key: self.nodes[peer].key.to_vec(),
            coin: None,
            top_up_nano: deposit.to_string(),
        };
        let api = &self.nodes[opener].api;
        let opened = wait_for("session", LIMIT, async || api.clone().open_channel(request.clone()).await).await?;
        let address = opened.into_inner().channel.unwrap().address.parse::<ton::Address>()?.hash;
        for node in [opener, peer] {
            let mut client = self.nodes[node].pool.get().await?;
            let summary = store::engine::channel_of(&client, &address).await?.unwrap();
            let mut storage = summary.row.config.initial_storage();
            storage.initialised = true;
            storage.balance.deposited = contract::Pair { a: deposit, b: 0 };
            let update = ChainUpdate { lt: 1, storage, settled: vec![], our_states: vec![] };
            let task =
                NewTask { id: format!("chain:{}", hex::encode(address)), channel: address, task: Task::Chain(Box::new(update)) };
            let cursor = chain::lead(&client, "test", LIMIT).await?.unwrap();
            let progress = chain::Progress { tasks: vec![task], ..Default::default() };
            chain::advance(&mut client, cursor, cursor.seqno + 1, &progress).await?;
        }
        for node in [opener, peer] {
            let api = &self.nodes[node].api;
            wait_for("channel", LIMIT, async || {
                let channel = get(api, address).await?;
                if channel.status() == ChannelStatus::Active {
                    Ok(())
                } else {
                    Err(tonic::Status::unavailable(format!("{channel:?}")))
                }
            })
            .await?;
        }
        Ok(address)
    }

    fn chain(&self, nodes: &[(usize, u128)]) -> Vec<ChainHop> {
        let hop = |(node, fee): &(usize, u128)| ChainHop {
            node_key: self.nodes[*node].key.to_vec(),
            fee_nano: Some(fee.to_string()),
            deadline_gap_seconds: None,
        };
        nodes.iter().map(hop).collect()
    }

    fn send(&self, amount: u128, id: String) -> SendTransferRequest {
        SendTransferRequest {
            request_id: id,
            receiver_key: self.nodes[2].key.to_vec(),
            coin: None,
            amount_nano: amount.to_string(),
            ttl_seconds: 0,
            chain: self.chain(&[(1, 1_000_000), (2, 0)]),
            max_fee_nano: None,
            wait: true,
        }
    }

    async fn sides(&self, node: usize, address: Address) -> anyhow::Result<(i128, i128)> {
        let channel = get(&self.nodes[node].api, address).await?;
        let nano = |side: Option<ChannelSide>| side.unwrap().available_nano.parse::<i128>();
        Ok((nano(channel.our)?, nano(channel.their)?))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn get(api: &ChannelServiceClient<Connection>, address: Address) -> Result<Channel, tonic::Status> {
    let address = ton::Address::basechain(address).to_friendly(true);
    Ok(api.clone().get_channel(GetChannelRequest { address }).await?.into_inner().channel.unwrap())
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn transfers_pass_the_middle_node_and_every_nano_is_accounted_for() -> anyhow::Result<()> {
    let mut world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let mut api = world.nodes[0].api.clone();
    let count = 20u128;
    for i in 0..count {
        let id = uuid();
        let sent = api.send_transfer(world.send(TON / 10, id.clone())).await?.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
        if i == 0 {
            let again = api.send_transfer(world.send(TON / 10, id.clone())).await?.into_inner();
            assert_eq!((again.status(), &again.virtual_key), (TransferStatus::Paid, &sent.virtual_key));
            let other = api.send_transfer(world.send(TON / 5, id)).await.unwrap_err();
            assert_eq!(rpc::Error::from(other).code(), rpc::ErrorCode::RequestIdReused);
        }
    }
    let moved = (count * TON / 10).cast_signed();
    let fees = (count * 1_000_000).cast_signed();
    let total = (10 * TON).cast_signed();
    // A has paid when the call ends; the last confirmations downstream are not waited for by it.
    wait_for("balances", LIMIT, async || {
        let seen = [world.sides(0, ab).await, world.sides(1, ab).await, world.sides(1, bc).await, world.sides(2, bc).await];
        let seen = seen.map(|s| s.ok());
        let (a, c) = ((total - moved - fees, moved + fees), (moved, total - moved));
        let right = [Some(a), Some((a.1, a.0)), Some((c.1, c.0)), Some(c)];
        if seen == right { Ok(()) } else { Err(format!("{seen:?} is not {right:?}")) }
    })
    .await?;
    for node in &world.nodes {
        let findings = store::engine::audit(&node.pool.get().await?).await?;
        assert!(findings.is_empty(), "{findings:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_needs_no_route_and_no_money() -> anyhow::Result<()> {
    let mut world = World::start(&["a", "b", "c"]).await?;
    world.open(0, 1, TON / 2).await?;
    world.open(1, 2, TON / 2).await?;
    let mut api = world.nodes[0].api.clone();
    // After two there is no money for a third, and without a chain and a planner no route.
    let sent = api.send_transfer(world.send(TON / 5, uuid())).await?.into_inner();
    assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
    let first = world.send(TON / 5, uuid());
    let bare = |request: &SendTransferRequest| SendTransferRequest { chain: vec![], ..request.clone() };
    let sent = api.send_transfer(first.clone()).await?.into_inner();
    assert_eq!(api.send_transfer(bare(&first)).await?.into_inner(), sent);
    let without_waiting = SendTransferRequest { wait: false, ..bare(&first) };
    assert_eq!(api.send_transfer(without_waiting).await?.into_inner(), sent);
    let new = SendTransferRequest { request_id: uuid(), ..bare(&first) };
    assert_eq!(rpc::Error::from(api.send_transfer(new).await.unwrap_err()).code(), rpc::ErrorCode::NoRoute);
    let other = SendTransferRequest { amount_nano: "1".into(), ..bare(&first) };
    assert_eq!(rpc::Error::from(api.send_transfer(other).await.unwrap_err()).code(), rpc::ErrorCode::RequestIdReused);

    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: (TON / 20).to_string(),
        ttl_seconds: 0,
        chain: world.chain(&[(1, 1_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    let again = OpenVirtualRequest { chain: vec![], ..open.clone() };
    let opened = api.open_virtual(open).await?.into_inner();
    assert_eq!(opened.virtual_seed.len(), 32);
    let repeated = api.open_virtual(again.clone()).await?.into_inner();
    assert_eq!(repeated, OpenVirtualResponse { virtual_seed: vec![], ..opened });
    let other = OpenVirtualRequest { capacity_nano: TON.to_string(), ..again };
    assert_eq!(rpc::Error::from(api.open_virtual(other).await.unwrap_err()).code(), rpc::ErrorCode::RequestIdReused);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_channel_is_signed_and_closed_by_its_receiver() -> anyhow::Result<()> {
    let mut world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let (mut a, mut c) = (world.nodes[0].api.clone(), world.nodes[2].api.clone());
    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: TON.to_string(),
        ttl_seconds: 100_000,
        chain: world.chain(&[(1, 10_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    let opened = a.open_virtual(open).await?.into_inner();
    assert_eq!(opened.virtual_seed.len(), 32);
    let receiver_key = world.nodes[2].key.to_vec();
    let sign = |amount: u128| SignResolutionRequest {
        signer: Some(sign_resolution_request::Signer::VirtualKey(opened.virtual_key.clone())),
        amount_nano: amount.to_string(),
        receiver_key: receiver_key.clone(),
    };
    let above = a.sign_resolution(sign(TON + 1)).await.unwrap_err();
    assert_eq!(rpc::Error::from(above).code(), rpc::ErrorCode::ResolutionAboveCapacity);
    let signed = a.sign_resolution(sign(TON)).await?.into_inner().encrypted_state;
    let close = |text: String| CloseVirtualRequest { request_id: uuid(), encrypted_state: text };
    let tampered = format!("A{}", &signed[1..]);
    assert!(c.close_virtual(close(tampered)).await.is_err());
    wait_for("condition at the receiver", LIMIT, async || c.clone().close_virtual(close(signed.clone())).await).await?;
    wait_for("payment", LIMIT, async || {
        let (a, b) = (world.sides(0, ab).await.ok(), world.sides(2, bc).await.ok());
        let right = (Some((8_990_000_000, 1_010_000_000)), Some((1_000_000_000, 9_000_000_000)));
        if (a, b) == right { Ok(()) } else { Err(format!("{a:?} {b:?}")) }
    })
    .await?;
    let second = c.close_virtual(close(signed)).await.unwrap_err();
    assert_eq!(rpc::Error::from(second).code(), rpc::ErrorCode::VirtualNotOpen);
    Ok(())
}
