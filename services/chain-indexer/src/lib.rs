//! The chain indexer: reads every basechain block through several lite servers, keeps the public graph of channels, turns transactions at the
//! node's channels into events for the engine, and sends what the engine ordered through the node's wallet (design 3).
//!
//! Not here: decisions (`protocol`), the queue's and cursor's rows (`store::chain`), checks of what lite servers say (`liteapi`).
//!
//! Invariants
//! - What blocks showed is written in the transaction that moves the cursor: a restart neither loses nor doubles it.
//! - A wallet message is written before it is sent, and sent again unchanged. It is given up only when a block later than its last second
//!   shows the seqno unmoved, or when another message took its seqno. One is under way at most.
//! - An order ends by what its own message did at its destination, never by a guess.
//! - Of a node's indexers one leads; whatever a former leader writes is refused by the cursor's epoch.

mod api;
mod channels;
mod config;
mod effect;
mod follow;
mod lite;
mod metrics;
mod orders;
mod scanner;
mod sender;
mod trust;
mod wallet_view;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use contract::{CodeKind, KnownCodes};
use liteapi::{Client, ClientOptions, Policy};
use rpc::indexer::v1::indexer_service_server::IndexerServiceServer;
use rpc::{Health, InProcessListener, Server};
use signer::{KeySource, Keys, LocalSigner, Signer};
use store::Database;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use wallet::Wallet;

pub use config::{Config, KeystoreConfig, LiteServerConfig, Proofs};

use metrics::Metrics;
use scanner::Scanner;
use sender::Sender;
use worker::{View, Worker};

/// Runs an indexer until `stop`. The API is served on `listener`, or where the configuration says.
pub async fn run(
    config: Config,
    listener: Option<InProcessListener>,
    health: Health,
    metrics: rpc::Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    config.validate()?;
    let servers = config.servers()?;
    let database_gate = health.gate("chain-database", "the database");
    let chain_gate = health.gate("chain", "the chain to be read up to its head");
    let database = Database::new(&config.database, &format!("causeway-indexer {}", config.indexer_id))?;
    let database_ready = || store::migrate(&database);
    wait_for("database", &stop, database_ready).await?;
    let pool = database.pool(config.pool_size)?;
    database_gate.open();
    let keys = Keys::open_or_create(&config.keystore.path, &KeySource::KeyFile(config.keystore.key_file.clone()))?;
    let signer: Arc<dyn Signer> = Arc::new(LocalSigner::new(keys));
    store::engine::claim(&pool.get().await?, &signer.channel_key()).await?;
    let wallet = Wallet::new(&signer.wallet_key(), wallet::wallet_id(config.global_id))?;
    let address = ton::Address::basechain(wallet.address().address.0);
    let known = store::chain::accounts_since(&pool.get().await?, 0).await?;
    info!(wallet = address.to_friendly(false), channels = known.len(), lite_servers = servers.len(), "indexer starts");

    let (view, seen) = watch::channel(View::default());
    let own_metrics = Metrics::new(&metrics);
    let ours = CodeKind { hash: channel_contract_ton::CODE_HASH, depth: channel_contract_ton::CODE_DEPTH };
    let codes = KnownCodes::new([ours, CodeKind::LIVE]);
    let policy = trust::policy(config.policy()?, &pool).await?;
    if let Policy::Secure { trusted } = policy {
        info!(block = trusted.seqno, "proofs begin at this masterchain block");
    }
    let client = Arc::new(Client::new(servers, ClientOptions { policy, ..ClientOptions::default() })?);
    let worker = Worker {
        id: config.indexer_id.clone(),
        pool: pool.clone(),
        client: client.clone(),
        scanner: Scanner::default(),
        channels: channels::Channels::new(codes, signer.channel_key(), known.into_iter().map(|account| account.address)),
        sender: Sender::new(pool.clone(), signer, wallet, own_metrics.clone()),
        trust: Default::default(),
        metrics: own_metrics,
        gate: chain_gate,
        view,
        first_block: config.first_block,
        settable_clock: config.settable_clock,
    };
    let worker = tokio::spawn(worker.run(stop.clone()));
    let api = IndexerServiceServer::new(api::Api { pool, client, wallet: address, view: seen });
    let served = serve(&config, listener, api, &health, &metrics, &stop).await;
    stop.cancel();
    worker.await?;
    served
}

async fn serve(
    config: &Config,
    listener: Option<InProcessListener>,
    api: IndexerServiceServer<api::Api>,
    health: &Health,
    metrics: &rpc::Metrics,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", health, metrics)?.bind().await?;
        let stop = stop.clone();
        tokio::spawn(async move { server.serve(stop).await });
    }
    match listener {
        Some(listener) => Server::in_process(health).await.add_service(api).serve_in_process(listener, stop.clone()).await?,
        None => {
            let server = Server::new(&config.server, "server", health).await?.add_service(api).bind().await?;
            info!(address = %server.local_addr(), "API listens");
            server.serve(stop.clone()).await?;
        }
    }
    Ok(())
}

/// Tries until it works or the indexer stops: services start in any order.
async fn wait_for<F, E>(what: &str, stop: &CancellationToken, mut attempt: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    const PAUSE: Duration = Duration::from_millis(500);
    loop {
        match attempt().await {
            Ok(()) => return Ok(()),
            Err(error) => warn!(%error, "waiting for the {what}"),
        }
        tokio::select! {
            () = stop.cancelled() => anyhow::bail!("stopped while waiting for the {what}"),
            () = tokio::time::sleep(PAUSE) => {}
        }
    }
}
