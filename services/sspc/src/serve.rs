//! The service: the calls of SSPC over gRPC, a stream to peers, and the guard. Start, work, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::Context as _;
use rpc::config::ConfigError;
use rpc::{Health, Metrics, Server, ServerConfig, Telemetry, TelemetryConfig};
use serde::Deserialize;
use sspc::{Amount, Tools};
use tokio::net::TcpListener;

use crate::api::Api;
use crate::connect::{Account, Contract};
use crate::node::{Node, Policy};

/// Configuration of the service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// gRPC.
    pub server: ServerConfig,
    /// HTTP: `/metrics`, `/livez`, `/readyz`.
    pub metrics: Option<ServerConfig>,
    /// The Ethereum node and the contract.
    pub chain: ChainConfig,
    /// Folder of the records, or the URL of a Postgres database.
    pub data: String,
    /// Where peers connect; without it only streams that the service opens itself.
    pub listen: Option<SocketAddr>,
    /// Peers that the service keeps a stream to.
    #[serde(default)]
    pub peers: Vec<PeerConfig>,
    /// Which proposals are accepted by themselves; without it none, and no proposal is taken.
    pub accept: Option<AcceptConfig>,
    /// Seconds between two rounds of the guard; the shortest period that is accepted must be much longer.
    #[serde(default = "default_guard")]
    pub guard_seconds: u64,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The Ethereum node and the contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC over HTTP.
    pub rpc: String,
    /// File with the private key, 64 hex digits.
    pub key_file: std::path::PathBuf,
    /// Address of the contract.
    pub contract: Address,
    /// Which contract it is.
    #[serde(default = "default_variant")]
    pub variant: Contract,
    /// Blocks on top of one before it is relied on.
    #[serde(default = "default_confirmations")]
    pub confirmations: u64,
    /// Milliseconds between two looks at the chain in one call.
    #[serde(default = "default_poll")]
    pub poll_ms: u64,
}

/// Where a peer listens.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerConfig {
    /// Its account.
    pub address: Address,
    /// IP address and port.
    pub endpoint: SocketAddr,
}

/// Proposals that are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AcceptConfig {
    /// Most that we deposit, decimal text in the token's smallest unit.
    pub most_deposit_units: String,
    /// Shortest time to answer a forced close.
    pub least_period_seconds: u32,
}

fn default_guard() -> u64 {
    15
}

fn default_variant() -> Contract {
    Contract::Word
}

fn default_confirmations() -> u64 {
    3
}

fn default_poll() -> u64 {
    2_000
}

impl Config {
    /// Checks what the shape alone does not say.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.server.validate("server")?;
        if self.guard_seconds == 0 {
            return Err(ConfigError::rule("guard_seconds", "must be at least 1"));
        }
        let Some(accept) = &self.accept else { return Ok(()) };
        if accept.most_deposit_units.parse::<u128>().is_err() {
            return Err(ConfigError::rule("accept.most_deposit_units", "must be decimal text below 2^128"));
        }
        // A guard that is late once or twice must still be in time.
        if u64::from(accept.least_period_seconds) < self.guard_seconds.saturating_mul(8) {
            return Err(ConfigError::rule("accept.least_period_seconds", "must be at least 8 times guard_seconds"));
        }
        Ok(())
    }

    fn account(&self) -> Account {
        let ChainConfig { rpc, key_file, variant, confirmations, poll_ms, .. } = self.chain.clone();
        Account { rpc, key_file, variant, confirmations, poll_ms }
    }

    async fn policy(&self, tools: &Tools) -> anyhow::Result<Option<Policy>> {
        let Some(accept) = &self.accept else { return Ok(None) };
        let place = self.account().place(self.chain.contract, tools).await?;
        let most_deposit = Amount::new(accept.most_deposit_units.parse()?);
        Ok(Some(Policy { place, most_deposit, least_period: accept.least_period_seconds }))
    }
}

/// Runs the service until a signal.
///
/// # Errors
/// It cannot start, or a part of it failed.
pub async fn run(config: Config) -> anyhow::Result<()> {
    config.validate()?;
    let _telemetry = Telemetry::start("causeway-sspc", &config.telemetry).context("telemetry")?;
    let shutdown = rpc::shutdown_signal().context("signals")?;
    let (health, metrics) = (Health::new(), Metrics::default());
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", &health, &metrics)?.bind().await?;
        tracing::info!(address = %server.local_addr(), "metrics");
        tokio::spawn(server.serve(shutdown.clone()));
    }
    let gate = health.gate("channels", "reading the records");
    let tools = config.account().tools(&config.data).await?;
    let place = config.account().place(config.chain.contract, &tools).await?;
    let policy = config.policy(&tools).await?;
    let own = tools.signer.address();
    let node = Node::start(tools, policy, shutdown.clone()).await?;
    gate.open();
    if let Some(address) = config.listen {
        let listener = TcpListener::bind(address).await.with_context(|| format!("configuration field `listen`: {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "listening for peers");
        tokio::spawn(node.clone().listen(listener));
    }
    for peer in &config.peers {
        tokio::spawn(node.clone().connect(peer.endpoint, Some(peer.address)));
    }
    let guard = tokio::spawn(node.clone().guard(Duration::from_secs(config.guard_seconds)));
    let api = Api::server(Arc::clone(&node), place, own);
    let server = Server::new(&config.server, "server", &health).await?.add_service(api).bind().await?;
    tracing::info!(address = %server.local_addr(), account = %own, "serving");
    server.serve(shutdown).await?;
    guard.await?;
    tracing::info!("stopped");
    Ok(())
}
