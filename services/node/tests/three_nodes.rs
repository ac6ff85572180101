//! Three nodes in this process, each on a database of its own, on real UDP and one embedded chain: everything that a small operator's node does.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use adnl::keys::PrivateKey;
use devnet::{Devnet, ServeOptions, Served};
use rpc::{
    Connection, Health, InProcess, Metrics,
    engine::v1::{channel_service_client::ChannelServiceClient, *},
};
use signer::{KeySource, Keys, LocalSigner, Signer};
use store::Database;
use testkit::{Cluster, free_udp_port, wait_for};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tycho_types::models::StdAddr;

const TON: u128 = 1_000_000_000;
const DEPOSIT: u128 = 10 * TON;
const AMOUNT: u128 = TON / 10;
const LIMIT: Duration = Duration::from_secs(120);
const GLOBAL_ID: i32 = devnet::chain::GLOBAL_ID;

/// What others must know of a node, and its file.
struct Plan {
    key: [u8; 32],
    adnl_key: [u8; 32],
    udp: SocketAddr,
    folder: PathBuf,
    database: String,
}

impl Plan {
    async fn make(name: &str, files: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        let folder = files.join(name);
        std::fs::create_dir(&folder)?;
        // As the node's first start would: the others are told of the keys beforehand.
        let keys = Keys::open_or_create(&folder.join("keystore"), &KeySource::KeyFile(folder.join("secret")))?;
        let adnl = peer_gateway::load_or_create(&folder.join("adnl.key"))?;
        Ok(Self {
            key: LocalSigner::new(keys).channel_key(),
            adnl_key: *adnl.public().as_bytes(),
            udp: SocketAddr::from(([127, 0, 0, 1], free_udp_port()?)),
            folder,
            database: cluster.create_database(name).await?.url.to_string(),
        })
    }

    fn config(&self, others: &[&Plan], chain: &Served) -> anyhow::Result<node::Config> {
        let lite_servers: Vec<String> = chain
            .lite_servers
            .iter()
            .map(|s| format!("{{ address = \"{}\", key = \"{}\" }}", s.address, hex::encode(s.key.as_bytes())))
            .collect();
        let peers: Vec<String> = others
            .iter()
            .map(|p| {
                let (node, adnl) = (hex::encode(p.key), hex::encode(p.adnl_key));
                format!("{{ node_key = \"{node}\", adnl_key = \"{adnl}\", address = \"{}\" }}", p.udp)
            })
            .collect();
        let text = format!(
            "database = \"{}\"\ndata_dir = {:?}\nglobal_id = {GLOBAL_ID}\nsettable_clock = true\n\
             [gateway]\nlisten = \"{}\"\npeers = [{}]\n[indexer]\nlite_servers = [{}]\nfirst_block = 1\n",
            self.database,
            self.folder,
            self.udp,
            peers.join(", "),
            lite_servers.join(", "),
        );
        let file = self.folder.join("node.toml");
        std::fs::write(&file, text)?;
        Ok(rpc::config::load(Some(&file))?)
    }
}

struct Node {
    key: [u8; 32],
    api: ChannelServiceClient<Connection>,
    metrics: Metrics,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Node {
    async fn start(key: [u8; 32], config: node::Config) -> anyhow::Result<Self> {
        let (client, listener) = InProcess::new();
        let (health, metrics, stop) = (Health::new(), Metrics::default(), CancellationToken::new());
        let _until_it_runs = health.gate("shards", "the node to run");
        let running = tokio::spawn(node::run(config, Some(listener), health.clone(), metrics.clone(), stop.clone()));
        let ready = async || match (running.is_finished(), health.is_ready()) {
            (false, true) => Ok(()),
            (ended, _) => Err(format!("ended: {ended}; {}", health.waiting_for())),
        };
        wait_for("the node", LIMIT, ready).await?;
        Ok(Self { key, api: ChannelServiceClient::new(client.connect()), metrics, stop, running })
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        self.running.await?
    }

    async fn channel(&self, address: &str) -> Result<Channel, tonic::Status> {
        let request = GetChannelRequest { address: address.into() };
        Ok(self.api.clone().get_channel(request).await?.into_inner().channel.unwrap())
    }

    async fn wallet(&self) -> anyhow::Result<u128> {
        let balance = self.api.clone().get_balance(GetBalanceRequest {}).await?.into_inner();
        Ok(balance.balances[0].wallet_nano.parse()?)
    }

    async fn until(&self, address: &str, what: impl Fn(&Channel) -> bool) -> anyhow::Result<()> {
        wait_for("the channel", LIMIT, async || match self.channel(address).await {
            Ok(channel) if what(&channel) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await
    }
}

fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

async fn open(opener: &Node, peer: &Node) -> anyhow::Result<String> {
    let request =
        OpenChannelRequest { request_id: uuid(), peer_key: peer.key.to_vec(), coin: None, top_up_nano: DEPOSIT.to_string() };
    let opened = wait_for("the session", LIMIT, async || opener.api.clone().open_channel(request.clone()).await).await?;
    let address = opened.into_inner().channel.unwrap().address;
    for node in [opener, peer] {
        let deposited = |side: &Option<ChannelSide>| side.as_ref().is_some_and(|s| s.deposited_nano == DEPOSIT.to_string());
        let there = |c: &Channel| c.status() == ChannelStatus::Active && (deposited(&c.our) || deposited(&c.their));
        node.until(&address, there).await?;
    }
    Ok(address)
}

/// Pays C from A over the chain that the planner finds; returns the fee.
async fn pay(a: &Node, c: &Node) -> anyhow::Result<u128> {
    let request = SendTransferRequest {
        request_id: uuid(),
        receiver_key: c.key.to_vec(),
        coin: None,
        amount_nano: AMOUNT.to_string(),
        ttl_seconds: 0,
        chain: vec![],
        max_fee_nano: None,
        wait: true,
    };
    // The planner may not have seen the channels yet.
    let sent = wait_for("the payment", LIMIT, async || a.api.clone().send_transfer(request.clone()).await).await?.into_inner();
    anyhow::ensure!(sent.status() == TransferStatus::Paid, "{sent:?}");
    Ok(sent.fee_nano.parse()?)
}

async fn balances(nodes: [&Node; 3], ab: &str, bc: &str, moved: u128, fees: u128) -> anyhow::Result<()> {
    let rows = [
        (nodes[0], ab, DEPOSIT - moved - fees),
        (nodes[1], ab, moved + fees),
        (nodes[1], bc, DEPOSIT - moved),
        (nodes[2], bc, moved),
    ];
    for (node, address, expected) in rows {
        let right = |side: &Option<ChannelSide>| side.as_ref().is_some_and(|s| s.available_nano == expected.to_string());
        node.until(address, |c| right(&c.our) && c.our.as_ref().is_some_and(|s| s.conditionals == 0)).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_open_pay_restart_and_settle_on_the_chain() -> anyhow::Result<()> {
    let devnet = Devnet::in_memory()?;
    let lite_servers = vec![(PrivateKey::from_seed(&[1; 32]), 0)];
    let options = ServeOptions { lite_servers, control_port: None, block_interval: Some(Duration::from_millis(200)) };
    let chain = devnet::serve(devnet.clone(), options).await?;
    let cluster = Cluster::temporary().await?;
    let files = tempfile::tempdir()?;
    let mut plans = Vec::new();
    for name in ["a", "b", "c"] {
        plans.push(Plan::make(name, files.path(), &cluster).await?);
    }
    let config = |i: usize| plans[i].config(&plans.iter().filter(|p| p.key != plans[i].key).collect::<Vec<_>>(), &chain);
    let (a, b, c) = tokio::try_join!(
        Node::start(plans[0].key, config(0)?),
        Node::start(plans[1].key, config(1)?),
        Node::start(plans[2].key, config(2)?),
    )?;
    for node in [&a, &b, &c] {
        let wallet = node.api.clone().get_info(GetInfoRequest {}).await?.into_inner().wallet_address;
        let wallet = wallet.parse::<ton::Address>()?;
        devnet.faucet(StdAddr::new(0, wallet.hash.into()), 100 * TON)?;
    }
    for node in [&a, &b, &c] {
        wait_for("the wallet", LIMIT, async || match node.wallet().await {
            Ok(nano) if nano > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
    }
    let (ab, bc) = (open(&a, &b).await?, open(&b, &c).await?);
    let (mut moved, mut fees) = (0, 0);
    for _ in 0..3 {
        fees += pay(&a, &c).await?;
        moved += AMOUNT;
    }
    assert!(fees > 0 && b.metrics.encode().contains("causeway_"));
    balances([&a, &b, &c], &ab, &bc, moved, fees).await?;

    let services = a.api.clone().get_info(GetInfoRequest {}).await?.into_inner().services;
    let names: Vec<_> = services.iter().map(|s| s.service.as_str()).collect();
    assert_eq!(names, ["database", "peer-gateway", "chain-indexer", "route-planner"]);
    assert!(services.iter().all(|s| s.ready), "{services:?}");

    // The node in the middle ends as by SIGTERM and comes back.
    b.stop().await?;
    let b = Node::start(plans[1].key, config(1)?).await?;
    fees += pay(&a, &c).await?;
    moved += AMOUNT;
    balances([&a, &b, &c], &ab, &bc, moved, fees).await?;

    // The chain's clock is the nodes'.
    devnet.advance(3600)?;
    for node in [&a, &b, &c] {
        wait_for("protocol time", LIMIT, async || {
            let info = node.api.clone().get_info(GetInfoRequest {}).await.map_err(|e| e.to_string())?.into_inner();
            let behind = i64::from(devnet.now()) - (info.protocol_time_unix_ms / 1000).cast_signed();
            if behind.abs() < 60 { Ok(()) } else { Err(format!("{behind} s behind")) }
        })
        .await?;
    }
    for (node, peer, address) in [(&b, &c, &bc), (&a, &b, &ab)] {
        let request = CloseChannelRequest { request_id: uuid(), address: address.clone(), force: false };
        node.api.clone().close_channel(request).await?;
        for side in [node, peer] {
            side.until(address, |c| c.status() == ChannelStatus::Closed).await?;
        }
    }
    let status = devnet.status();
    assert!(status.conserved, "{status:?}");
    for (node, plan) in [a, b, c].into_iter().zip(&plans) {
        node.stop().await?;
        let client = Database::new(&plan.database, "test")?.pool(1)?.get().await?;
        assert_eq!(store::engine::audit(&client).await?, []);
        assert_eq!(store::lease::members(&client).await?, []);
    }
    Ok(())
}
