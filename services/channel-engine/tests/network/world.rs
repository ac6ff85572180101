//! Nodes of a test: each has its own database, keys and engine. Engines can be started anew.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use protocol::{Address, ChainUpdate, Key, NewTask, Task};
use rpc::{
    ClientConfig, Connection, Health, Metrics,
    common::v1::ChainHop,
    engine::v1::{channel_service_client::ChannelServiceClient, *},
};
use store::{Database, Pool, chain};
use testkit::{Cluster, free_port, wait_for, wait_for_port};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{Network, time};

/// One TON in nano.
pub const TON: u128 = 1_000_000_000;
/// What the node in the middle gets for a transfer of [`World::send`].
const FEE: u128 = 1_000_000;
/// The most that anything takes on a busy machine.
pub const LIMIT: Duration = Duration::from_secs(60);

/// Seconds: old rows stay while a test looks at all rows.
const SELDOM: u32 = 3600;

/// One operator's node.
pub struct Node {
    /// Channel key.
    pub key: Key,
    /// The node's database.
    pub pool: Pool,
    home: Home,
    gateway: Connection,
    running: Mutex<Running>,
    ahead: Arc<AtomicI64>,
}

/// What a node's engines share.
#[derive(Clone)]
struct Home {
    folder: PathBuf,
    url: String,
    prune_seconds: u32,
}

/// A running engine.
pub struct Running {
    /// Its API.
    pub api: ChannelServiceClient<Connection>,
    /// What it measures.
    pub metrics: Metrics,
    /// Whether it is ready.
    pub health: Health,
    engine: JoinHandle<()>,
    stop: CancellationToken,
}

/// Nodes on one network and one Postgres.
pub struct World {
    /// By their place in `names`.
    pub nodes: Vec<Node>,
    /// What joins them.
    pub network: Arc<Network>,
    stop: CancellationToken,
    _cluster: Cluster,
    _files: tempfile::TempDir,
}

impl World {
    /// One node of each name.
    pub async fn start(names: &[&str]) -> anyhow::Result<Self> {
        Self::start_pruning(names, SELDOM).await
    }

    /// The same, where old rows are thrown away every so many seconds.
    pub async fn start_pruning(names: &[&str], prune_seconds: u32) -> anyhow::Result<Self> {
        let cluster = Cluster::temporary().await?;
        let files = tempfile::tempdir()?;
        let stop = CancellationToken::new();
        let network = Arc::new(Network::default());
        let mut nodes = Vec::new();
        for name in names {
            let url = cluster.create_database(name).await?.url.to_string();
            let folder = files.path().join(name);
            let key = make_keys(&folder)?;
            let gateway = network.gateway(key, &stop).await;
            let pool = Database::new(&url, "test")?.pool(2)?;
            let ahead = Arc::default();
            let first = format!("{name}-1");
            let home = Home { folder, url, prune_seconds };
            let running = Mutex::new(run(&first, &home, gateway.clone(), &ahead, &stop).await?);
            nodes.push(Node { key, pool, home, gateway, running, ahead });
        }
        Ok(Self { nodes, network, stop, _cluster: cluster, _files: files })
    }

    /// A client of the node's engine, as it is now.
    pub fn api(&self, node: usize) -> ChannelServiceClient<Connection> {
        self.nodes[node].running.lock().unwrap().api.clone()
    }

    /// The node's protocol time is this many seconds ahead: the next engine's, and that of one that has not begun at 0.
    pub fn set_time_ahead(&self, node: usize, seconds: i64) {
        self.nodes[node].ahead.store(seconds, Ordering::Relaxed);
    }

    /// Ends the node's engine and starts another one on the same database. `overlap`: the other is there before the first one ends, and takes its
    /// shards over.
    pub async fn replace_engine(&self, node: usize, engine: &str, overlap: bool) -> anyhow::Result<()> {
        let Node { home, gateway, running, ahead, .. } = &self.nodes[node];
        let next = run(engine, home, gateway.clone(), ahead, &self.stop);
        let before = async { self.stop_engine(node).await };
        let next = if overlap {
            let (next, ended) = tokio::join!(next, async {
                tokio::time::sleep(Duration::from_millis(500)).await;
                before.await
            });
            ended?;
            next?
        } else {
            before.await?;
            next.await?
        };
        *running.lock().unwrap() = next;
        Ok(())
    }

    /// Where the node's database is.
    pub fn database(&self, node: usize) -> &str {
        &self.nodes[node].home.url
    }

    /// Runs an engine with the node's keystore on some database until it ends.
    pub async fn run_on(&self, node: usize, database: &str) -> anyhow::Result<()> {
        let Node { home, gateway, .. } = &self.nodes[node];
        let config = config("elsewhere", &Home { url: database.into(), ..home.clone() }, free_port()?, false)?;
        let wiring = channel_engine::Wiring { listener: None, gateways: vec![gateway.clone()], planner: None, indexer: None };
        let stop = self.stop.child_token();
        channel_engine::run(config, wiring, Health::new(), Metrics::default(), stop).await
    }

    /// One more engine beside the node's first one, which keeps the shards that it has.
    pub async fn join(&self, node: usize, engine: &str) -> anyhow::Result<Running> {
        let Node { home, gateway, ahead, .. } = &self.nodes[node];
        launch(engine, home, gateway.clone(), ahead, &self.stop).await
    }

    /// From now on the node's API is another engine's.
    pub fn ask(&self, node: usize, engine: &Running) {
        self.nodes[node].running.lock().unwrap().api = engine.api.clone();
    }

    /// What the node's first engine measures.
    pub fn metrics(&self, node: usize) -> Metrics {
        self.nodes[node].running.lock().unwrap().metrics.clone()
    }

    /// Tells the node's engine to stop.
    pub fn stop_engine(&self, node: usize) -> JoinHandle<()> {
        let mut running = self.nodes[node].running.lock().unwrap();
        running.stop.cancel();
        std::mem::replace(&mut running.engine, tokio::spawn(async {}))
    }

    /// Agrees a channel, and tells both sides that the opener's deposit is on the chain.
    pub async fn open(&self, opener: usize, peer: usize, deposit: u128) -> anyhow::Result<Address> {
        self.open_with(opener, peer, [deposit, 0]).await
    }

    /// The same with deposits of both.
    pub async fn open_with(&self, opener: usize, peer: usize, deposits: [u128; 2]) -> anyhow::Result<Address> {
        let address = self.agree(opener, peer, deposits[0]).await?;
        for node in [opener, peer] {
            self.tell(node, address, 1, |storage| {
                storage.initialised = true;
                storage.balance.deposited = contract::Pair { a: deposits[0], b: deposits[1] };
            })
            .await?;
        }
        for node in [opener, peer] {
            self.wait_for_status(node, address, ChannelStatus::Active).await?;
        }
        Ok(address)
    }

    /// Agrees a channel that is not on the chain.
    pub async fn agree(&self, opener: usize, peer: usize, deposit: u128) -> anyhow::Result<Address> {
        let request = OpenChannelRequest {
            request_id: uuid(),
            peer_key: self.nodes[peer].key.to_vec(),
            coin: None,
            top_up_nano: deposit.to_string(),
        };
        let opened = wait_for("session", LIMIT, async || self.api(opener).open_channel(request.clone()).await).await?;
        Ok(opened.into_inner().channel.unwrap().address.parse::<ton::Address>()?.hash)
    }

    /// What the indexer would say of the channel's contract after the transaction `lt`.
    pub async fn tell(
        &self,
        node: usize,
        address: Address,
        lt: u64,
        change: impl Fn(&mut contract::Storage),
    ) -> anyhow::Result<()> {
        let mut client = self.nodes[node].pool.get().await?;
        let summary = store::engine::channel_of(&client, &address).await?.unwrap();
        let mut storage = summary.row.config.initial_storage();
        change(&mut storage);
        let update = ChainUpdate { lt, storage, settled: vec![], our_states: vec![] };
        let task =
            NewTask { id: format!("chain:{}:{lt}", hex::encode(address)), channel: address, task: Task::Chain(Box::new(update)) };
        let cursor = chain::lead(&client, "test", LIMIT).await?.unwrap();
        let progress = chain::Progress { tasks: vec![task], ..Default::default() };
        chain::advance(&mut client, cursor, cursor.seqno + 1, &progress).await?;
        Ok(())
    }

    /// Waits until the node shows the channel so.
    pub async fn wait_for_status(&self, node: usize, address: Address, status: ChannelStatus) -> anyhow::Result<()> {
        wait_for("channel", LIMIT, async || {
            let channel = get(&self.api(node), address).await?;
            if channel.status() == status { Ok(()) } else { Err(tonic::Status::unavailable(format!("{channel:?}"))) }
        })
        .await
    }

    /// A whole chain: nodes and what they keep.
    pub fn chain(&self, nodes: &[(usize, u128)]) -> Vec<ChainHop> {
        let hop = |(node, fee): &(usize, u128)| ChainHop {
            node_key: self.nodes[*node].key.to_vec(),
            fee_nano: Some(fee.to_string()),
            deadline_gap_seconds: None,
        };
        nodes.iter().map(hop).collect()
    }

    /// A transfer from the first node through the second to the third.
    pub fn send(&self, amount: u128, id: String) -> SendTransferRequest {
        SendTransferRequest {
            request_id: id,
            receiver_key: self.nodes[2].key.to_vec(),
            coin: None,
            amount_nano: amount.to_string(),
            ttl_seconds: 0,
            chain: self.chain(&[(1, FEE), (2, 0)]),
            max_fee_nano: None,
            wait: true,
        }
    }

    /// What is free on both sides of a channel, ours first, as the node sees it.
    pub async fn sides(&self, node: usize, address: Address) -> anyhow::Result<(i128, i128)> {
        let channel = get(&self.api(node), address).await?;
        let nano = |side: Option<ChannelSide>| side.unwrap().available_nano.parse::<i128>();
        Ok((nano(channel.our)?, nano(channel.their)?))
    }

    /// Waits until the nodes show these sides, ours first: whose call ended does not know what the others have confirmed yet.
    pub async fn until_sides(&self, right: &[(usize, Address, (u128, u128))]) -> anyhow::Result<()> {
        wait_for("balances", LIMIT, async || {
            for (node, address, (our, their)) in right {
                let (seen, right) = (self.sides(*node, *address).await?, (our.cast_signed(), their.cast_signed()));
                anyhow::ensure!(seen == right, "node {node} shows {seen:?}, not {right:?}");
            }
            anyhow::Ok(())
        })
        .await
    }

    /// Waits until all four views of the two channels, 10 TON each, show so many transfers of [`World::send`] with this amount.
    pub async fn until_sent(&self, [ab, bc]: [Address; 2], count: u128, amount: u128) -> anyhow::Result<()> {
        let (moved, fees, total) = (count * amount, count * FEE, 10 * TON);
        let (a, c) = ((total - moved - fees, moved + fees), (moved, total - moved));
        self.until_sides(&[(0, ab, a), (1, ab, (a.1, a.0)), (1, bc, (c.1, c.0)), (2, bc, c)]).await
    }

    /// Fails with what every node's audit finds.
    pub async fn audit(&self) -> anyhow::Result<()> {
        for node in &self.nodes {
            let findings = store::engine::audit(&node.pool.get().await?).await?;
            anyhow::ensure!(findings.is_empty(), "{findings:?}");
        }
        Ok(())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn make_keys(folder: &Path) -> anyhow::Result<Key> {
    std::fs::create_dir(folder)?;
    let key_file = folder.join("key");
    let mut secret = [0; 32];
    getrandom::fill(&mut secret)?;
    std::fs::write(&key_file, hex::encode(secret))?;
    std::fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    let keys = signer::Keys::open_or_create(&folder.join("keystore"), &signer::KeySource::KeyFile(key_file))?;
    Ok(signer::Signer::channel_key(&signer::LocalSigner::new(keys)))
}

/// An engine that owns shards.
async fn run(
    engine_id: &str,
    home: &Home,
    gateway: Connection,
    ahead: &Arc<AtomicI64>,
    stop: &CancellationToken,
) -> anyhow::Result<Running> {
    let running = launch(engine_id, home, gateway, ahead, stop).await?;
    let health = &running.health;
    wait_for("engine", LIMIT, async || if health.is_ready() { Ok(()) } else { Err(health.waiting_for()) }).await?;
    Ok(running)
}

async fn launch(
    engine_id: &str,
    home: &Home,
    gateway: Connection,
    ahead: &Arc<AtomicI64>,
    stop: &CancellationToken,
) -> anyhow::Result<Running> {
    let port = free_port()?;
    let settable = ahead.load(Ordering::Relaxed) != 0;
    let config = config(engine_id, home, port, settable)?;
    let indexer = if settable { Some(time::indexer(ahead.clone(), stop).await) } else { None };
    let wiring = channel_engine::Wiring { listener: None, gateways: vec![gateway], planner: None, indexer };
    let health = Health::new();
    // The engine adds its gates when it first runs; before that a health without gates is ready.
    let _not_yet = health.gate("shards", "the engine to run");
    let stop = stop.child_token();
    let metrics = Metrics::default();
    let (h, m, s) = (health.clone(), metrics.clone(), stop.clone());
    let engine = tokio::spawn(async move {
        if let Err(error) = channel_engine::run(config, wiring, h, m, s).await {
            eprintln!("engine: {error:#}");
        }
    });
    wait_for_port(engine_id, local(port), LIMIT).await?;
    let api = ChannelServiceClient::new(ClientConfig::plain(format!("http://{}", local(port))).connect("engine")?);
    Ok(Running { api, metrics, health, engine, stop })
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn config(engine_id: &str, home: &Home, port: u16, settable: bool) -> anyhow::Result<channel_engine::Config> {
    let Home { folder, url, prune_seconds } = home;
    let place = |name: &str| folder.join(name);
    let text = format!(
        "engine_id = \"{engine_id}\"\nsettable_clock = {settable}\nprune_seconds = {prune_seconds}\ndatabase = \"{url}\"\n[server]\nlisten = \"{}\"\n[keystore]\npath = {:?}\nkey_file = {:?}\nstate_file = {:?}\n",
        local(port),
        place("keystore"),
        place("key"),
        place("state")
    );
    let file = place(engine_id).with_extension("toml");
    std::fs::write(&file, text)?;
    Ok(rpc::config::load(Some(&file))?)
}

/// The channel as an engine shows it.
pub async fn get(api: &ChannelServiceClient<Connection>, address: Address) -> Result<Channel, tonic::Status> {
    let address = ton::Address::basechain(address).to_friendly(true);
    Ok(api.clone().get_channel(GetChannelRequest { address }).await?.into_inner().channel.unwrap())
}

/// A fresh request id.
pub fn uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}
