//! The channel engine: owns channels, feeds `protocol` with events and carries out what it decides (design 3, 5).
//!
//! Not here: decisions about money (`protocol`), sockets to peers (`peer-gateway`), the chain (`chain-indexer`).
//!
//! Invariants
//! - nothing signed leaves before its commit's verdict ([`peer`]);
//! - a shard's peers have tasks only in the engine that owns it; the fence of each commit has the last word ([`ownership`]);
//! - a failed commit throws the channel's memory away; it is loaded again, never patched.

mod api;
mod clock;
mod cluster;
mod config;
mod context;
mod gateways;
mod hints;
mod inbound;
mod metrics;
mod ownership;
mod payment;
mod peer;
mod prune;
mod rebalance;
mod registry;
mod results;
mod shutdown;
mod tasks;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use contract::CodeKind;
use rpc::engine::v1::{channel_service_server::ChannelServiceServer, cluster_service_server::ClusterServiceServer};
use rpc::{ClientConfig, Connection, Health, InProcessListener, Metrics, Server, config::ConfigError};
use signer::{KeySource, Keys, LocalSigner, Signer, StartState};
use store::{Committer, Database, engine::Started};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use clock::Clock;
pub use config::{Config, KeystoreConfig, TonConfig};

use context::Context;

/// How the engine is reached, and how it reaches the others: over ports, or inside one process.
pub struct Wiring {
    /// The API inside the process, beside the port that the configuration says.
    pub listener: Option<InProcessListener>,
    /// One connection per gateway.
    pub gateways: Vec<Connection>,
    /// The planner.
    pub planner: Option<Connection>,
    /// The indexer.
    pub indexer: Option<Connection>,
}

impl Wiring {
    /// Connections as configured.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let gateways =
            config.gateways.iter().enumerate().map(|(i, g)| g.connect(&format!("gateways[{i}]"))).collect::<Result<_, _>>()?;
        Ok(Self {
            listener: None,
            gateways,
            planner: config.planner.as_ref().map(|c| c.connect("planner")).transpose()?,
            indexer: config.indexer.as_ref().map(|c| c.connect("indexer")).transpose()?,
        })
    }

    /// Whose health `GetInfo` tells.
    fn partners(&self, config: &Config) -> Vec<api::Partner> {
        let partner = |service, config: Option<&ClientConfig>, connection: &Connection| api::Partner {
            service,
            endpoint: config.map_or_else(String::new, |config| config.endpoint.clone()),
            connection: connection.clone(),
        };
        let gateways = self.gateways.iter().enumerate().map(|(i, c)| partner("peer-gateway", config.gateways.get(i), c));
        let indexer = self.indexer.iter().map(|c| partner("chain-indexer", config.indexer.as_ref(), c));
        let planner = self.planner.iter().map(|c| partner("route-planner", config.planner.as_ref(), c));
        gateways.chain(indexer).chain(planner).collect()
    }
}

/// Runs an engine until `stop`.
pub async fn run(
    config: Config,
    wiring: Wiring,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    config.validate()?;
    if wiring.listener.is_none() && config.server.is_none() {
        return Err(ConfigError::rule("server", "must be set").into());
    }
    let database_gate = health.gate("database", "the database");
    let shards_gate = health.gate("shards", "a shard of the cluster");
    let database = Database::new(&config.database, &format!("causeway-engine {}", config.engine_id))?;
    wait_for("database", &stop, || store::migrate(&database)).await?;
    let pool = database.pool(config.pool_size)?;
    let keys = Keys::open_or_create(&config.keystore.path, &KeySource::KeyFile(config.keystore.key_file.clone()))?;
    let signer: Arc<dyn Signer> = Arc::new(LocalSigner::new(keys));
    count_start(&config, &signer.channel_key(), &pool).await?;
    if let Some(reason) = store::engine::frozen(&pool.get().await?).await? {
        anyhow::bail!("the node is frozen and signs nothing: {reason} (docs/runbooks)");
    }
    database_gate.open();
    let Some(clock) = clock(&config, &wiring, &health, &stop).await? else { return Ok(()) };
    let committer = Committer::start(&database, config.committers).await?;
    let key = signer.channel_key();
    let wallet = wallet::Wallet::new(&signer.wallet_key(), wallet::wallet_id(config.global_id))?.address().address.0;
    let partners = wiring.partners(&config);
    let (incoming, incoming_rx) = watch::channel(None);
    let gateways = gateways::Gateways::start(wiring.gateways, config.engine_id.clone(), key, incoming_rx);
    let reached = config.cluster();
    let ctx = Arc::new(Context {
        engine_id: config.engine_id.clone(),
        advertised: reached.as_ref().map_or_else(String::new, |cluster| cluster.endpoint.clone()),
        key,
        wallet,
        policy: config.ton.policy()?,
        codes: vec![CodeKind { hash: channel_contract_ton::CODE_HASH, depth: channel_contract_ton::CODE_DEPTH }, CodeKind::LIVE],
        live_code: config.live_code()?,
        pool,
        committer,
        signer,
        gateways,
        clock,
        registry: Default::default(),
        hints: Default::default(),
        tasks: Default::default(),
        results: Default::default(),
        poke: Notify::new(),
        free: Notify::new(),
        others: cluster::Others::new(reached.unwrap_or_else(|| ClientConfig::plain(""))),
        pokes: Default::default(),
        metrics: metrics::Metrics::register(&metrics),
        shards_gate,
        urgent: Mutex::new(Vec::new()),
        peers: Default::default(),
        stop,
        frozen: CancellationToken::new(),
    });
    incoming.send_replace(Some(Arc::new(inbound::Inbound(ctx.clone())) as Arc<dyn gateways::Incoming>));
    info!(node = hex::encode(key), engine = config.engine_id, "engine starts");
    let keeper = tokio::spawn(ownership::keep(ctx.clone()));
    tokio::spawn(tasks::poll(ctx.clone()));
    tokio::spawn(results::poll(ctx.clone()));
    tokio::spawn(prune::keep(ctx.clone(), Duration::from_secs(config.prune_seconds.into())));
    tokio::spawn(cluster::poke(ctx.clone()));
    tokio::spawn(cluster::look(ctx.clone()));
    tokio::spawn(metrics::keep(ctx.clone()));
    tokio::spawn(freeze_when_spoiled(ctx.clone()));
    let services = (api::service(ctx.clone(), wiring.planner, wiring.indexer, partners), cluster::Cluster::server(ctx.clone()));
    let serving = async {
        let served = serve(&config, wiring.listener, services, &health, &metrics, &ctx.stop).await;
        // It may have ended by itself.
        ctx.stop.cancel();
        served
    };
    let (served, ()) = tokio::join!(serving, shutdown::drain(&ctx, keeper));
    served
}

/// Nothing more is signed once what was committed contradicts the tables (design 4).
async fn freeze_when_spoiled(ctx: Arc<Context>) {
    tokio::select! {
        () = ctx.stop.cancelled() => {}
        reason = ctx.committer.spoiled() => ctx.freeze(&reason).await,
    }
}

/// Ends a freeze: the operator's decision, who has shell access to the node. Not a call of the API: no engine of a frozen node serves one, and no token
/// of a client should allow it. What there was to end, in words.
///
/// # Errors
/// The database does not answer.
pub async fn end_freeze(database: &str) -> anyhow::Result<String> {
    let client = Database::new(database, "causeway end-freeze")?.pool(1)?.get().await?;
    let Some(reason) = store::engine::frozen(&client).await? else {
        return Ok("the node is not frozen".into());
    };
    store::engine::thaw(&client).await?;
    Ok(format!("the node is frozen no more; it was: {reason}"))
}

async fn serve(
    config: &Config,
    listener: Option<InProcessListener>,
    (api, cluster): (ChannelServiceServer<api::Api>, ClusterServiceServer<cluster::Cluster>),
    health: &Health,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", health, metrics)?.bind().await?;
        let stop = stop.clone();
        tokio::spawn(async move { server.serve(stop).await });
    }
    let inside = async {
        let Some(listener) = listener else { return Ok(()) };
        let server = Server::in_process(health).await.add_service(api.clone());
        anyhow::Ok(server.serve_in_process(listener, stop.clone()).await?)
    };
    let outside = async {
        let Some(server) = &config.server else { return Ok(()) };
        let server = Server::new(server, "server", health).await?.add_service(api.clone()).add_service(cluster).bind().await?;
        info!(address = %server.local_addr(), "API listens");
        anyhow::Ok(server.serve(stop.clone()).await?)
    };
    tokio::try_join!(inside, outside).map(drop)
}

/// Protocol time; `None` when stopped before the chain's was known.
async fn clock(config: &Config, wiring: &Wiring, health: &Health, stop: &CancellationToken) -> anyhow::Result<Option<Clock>> {
    if !config.settable_clock {
        return Ok(Some(Clock::default()));
    }
    let indexer =
        wiring.indexer.clone().ok_or_else(|| ConfigError::rule("indexer", "must be set when `settable_clock` is true"))?;
    let gate = health.gate("clock", "the chain's clock");
    let clock = Clock::follow(indexer, stop.clone()).await;
    gate.open();
    Ok(clock)
}

/// Compares the start counters of database and state file, and counts this start in both (design 4.10). The database must be this key's.
async fn count_start(config: &Config, node: &protocol::Key, pool: &store::Pool) -> anyhow::Result<()> {
    let path = &config.keystore.state_file;
    let known = StartState::load(path)?;
    let parse = |text: &str| -> anyhow::Result<[u8; 16]> {
        <[u8; 16]>::try_from(hex::decode(text)?).map_err(|_| anyhow::anyhow!("keystore.state_file: malformed cluster id"))
    };
    let file = match &known {
        Some(state) => Some(Started { cluster: parse(&state.cluster_id)?, counter: state.starts }),
        None => None,
    };
    let started = store::engine::start(&pool.get().await?, node, file).await?;
    StartState { cluster_id: hex::encode(started.cluster), starts: started.counter }.store(path)?;
    Ok(())
}

/// Tries until it works or the engine stops: services start in any order.
async fn wait_for<F, E>(what: &str, stop: &CancellationToken, mut attempt: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) => warn!(%error, "waiting for the {what}"),
        }
        tokio::select! {
            () = stop.cancelled() => anyhow::bail!("stopped while waiting for the {what}"),
            () = tokio::time::sleep(Duration::from_millis(500)) => {}
        }
    }
}
