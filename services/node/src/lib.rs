//! A whole node in one process: the four services of the cluster (design 2), joined without ports. For small operators, and for programs
//! that embed a node.
//!
//! ```no_run
//! # async fn embed() -> anyhow::Result<()> {
//! use rpc::{Health, InProcess, Metrics, engine::v1::channel_service_client::ChannelServiceClient};
//! use tokio_util::sync::CancellationToken;
//!
//! let config: node::Config = rpc::config::load(Some("node.toml".as_ref()))?;
//! let (api, listener) = InProcess::new();
//! let stop = CancellationToken::new();
//! let running = tokio::spawn(node::run(config, Some(listener), Health::new(), Metrics::default(), stop.clone()));
//! let client = ChannelServiceClient::new(api.connect());
//! # drop(client);
//! stop.cancel();
//! running.await?
//! # }
//! ```
//!
//! What it is not: another implementation. The services are the same code, say the same protobuf to each other, and share nothing but the
//! database and the keystore, so a node grows into a cluster by a change of configuration.
//!
//! Invariants
//! - the engine ends before the services that it needs to end well: what it lets out at its end still reaches the gateway;
//! - a service that ends by itself ends the node, with that service's error.

mod config;

use anyhow::Context as _;
use peer_gateway::Listener as GatewayListener;
use route_planner::Listener as PlannerListener;
use rpc::config::ConfigError;
use rpc::{Gate, Health, InProcess, InProcessListener, Metrics, Server};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::info;

pub use config::Config;

/// Runs a node until `stop`; then its engine gives its shards back and everything ends. The API is served where the configuration says, and
/// on `listener`. Ready when all services are.
///
/// # Errors
/// A field of the configuration breaks a rule; a service cannot start, or ended without being asked to.
pub async fn run(
    config: Config,
    listener: Option<InProcessListener>,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if listener.is_none() && config.server.is_none() {
        return Err(ConfigError::rule("server", "must be set").into());
    }
    let services = config.services()?;
    info!(node = hex::encode(services.node_key), "node starts");
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", &health, &metrics)?.bind().await?;
        let stop = stop.clone();
        tokio::spawn(async move { server.serve(stop).await });
    }
    let (gateway, gateway_listener) = InProcess::new();
    let (indexer, indexer_listener) = InProcess::new();
    let (planner, planner_listener) = InProcess::new();
    let wiring = channel_engine::Wiring {
        listener,
        gateways: vec![gateway.connect()],
        planner: Some(planner.connect()),
        indexer: Some(indexer.connect()),
    };
    let (engine_stop, stop_others) = (stop.child_token(), CancellationToken::new());
    let mut others = JoinSet::new();
    {
        let (part, metrics, stop) = (Part::new("peer-gateway", &health), metrics.clone(), stop_others.clone());
        others.spawn(part.run(async move |health| {
            let listener = GatewayListener::InProcess(gateway_listener);
            Ok(peer_gateway::run(services.gateway, listener, &health, &metrics, stop).await?)
        }));
    }
    {
        let (part, metrics, stop) = (Part::new("chain-indexer", &health), metrics.clone(), stop_others.clone());
        others.spawn(
            part.run(async move |health| {
                chain_indexer::run(services.indexer, Some(indexer_listener), health, metrics, stop).await
            }),
        );
    }
    {
        let (part, metrics, stop) = (Part::new("route-planner", &health), metrics.clone(), stop_others.clone());
        others.spawn(part.run(async move |health| {
            let listener = PlannerListener::InProcess(planner_listener);
            Ok(route_planner::run(services.planner, Some(gateway.connect()), listener, &health, &metrics, stop).await?)
        }));
    }
    let engine = channel_engine::run(services.engine, wiring, health, metrics, engine_stop.clone());
    let mut engine = tokio::spawn(async move { engine.await.context("channel-engine") });
    let first = tokio::select! {
        ended = &mut engine => Some(ended?),
        Some(ended) = others.join_next() => {
            engine_stop.cancel();
            Some(ended?.and(engine.await?))
        }
    };
    stop_others.cancel();
    let mut result = first.unwrap_or(Ok(()));
    while let Some(ended) = others.join_next().await {
        result = result.and(ended?);
    }
    info!("node has ended");
    result
}

/// One of the services that the engine works with. Its gates have names of their own, so its health is one gate of the node's.
struct Part {
    name: &'static str,
    gate: Gate,
}

impl Part {
    fn new(name: &'static str, health: &Health) -> Self {
        Self { name, gate: health.gate(name, "starts") }
    }

    async fn run(self, service: impl AsyncFnOnce(Health) -> anyhow::Result<()>) -> anyhow::Result<()> {
        let health = Health::new();
        let mut ready = health.subscribe();
        let show = async {
            loop {
                match *ready.borrow_and_update() {
                    true => self.gate.open(),
                    false => self.gate.close(health.waiting_for()),
                }
                if ready.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::select! {
            // The service first: it says what it waits for before anybody looks.
            biased;
            ended = service(health.clone()) => ended.context(self.name),
            () = show => Ok(()),
        }
    }
}
