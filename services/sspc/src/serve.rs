//! The service: the calls of SSPC over gRPC, a stream to peers, and the guard. Start, work, stop.

use std::collections::HashMap;
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
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::accept::{Limit, Policy};
use crate::api::Api;
use crate::connect::{Account, Contract, Fees};
use crate::node::Node;

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
    /// Seconds that a proposal of ours may be opened and accepted, and one of a peer's at most.
    #[serde(default = "default_proposal")]
    pub proposal_seconds: u64,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// The Ethereum node and the contract.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// JSON-RPC over http or https.
    pub rpc: String,
    /// PEM file with the authorities that the node's certificate must be of; without it those of the system.
    pub authorities: Option<std::path::PathBuf>,
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
    /// The most that transactions may cost, whatever the node says.
    #[serde(default)]
    pub fees: Fees,
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
    /// Most that we deposit in one channel in the native coin, decimal text in its smallest unit.
    pub most_deposit_units: String,
    /// Most that we have deposited at once in the channels that others proposed, in the native coin.
    pub most_total_units: String,
    /// Native coin that an acceptance leaves in the account, to pay for disputes.
    pub reserve_units: String,
    /// Tokens that are accepted; others are not, since a token's code decides what a deposit in it is worth and what it costs.
    #[serde(default)]
    pub tokens: Vec<TokenConfig>,
    /// Shortest time to answer a forced close.
    pub least_period_seconds: u32,
}

/// A token in which proposals are accepted.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenConfig {
    /// Its contract.
    pub address: Address,
    /// Most that we deposit in one channel, decimal text in its smallest unit.
    pub most_deposit_units: String,
    /// Most that we have deposited at once.
    pub most_total_units: String,
}

impl AcceptConfig {
    /// By token; zero is the native coin.
    fn limits(&self) -> Result<HashMap<Address, Limit>, ConfigError> {
        let native = (Address::ZERO, "accept", &self.most_deposit_units, &self.most_total_units);
        let tokens = self.tokens.iter();
        let tokens = tokens.map(|token| (token.address, "accept.tokens", &token.most_deposit_units, &token.most_total_units));
        let limit = |(address, table, deposit, total): (Address, &str, &String, &String)| {
            let deposit = units(table, "most_deposit_units", deposit)?;
            Ok((address, Limit { deposit, total: units(table, "most_total_units", total)? }))
        };
        std::iter::once(native).chain(tokens).map(limit).collect()
    }
}

fn units(table: &str, field: &str, text: &str) -> Result<Amount, ConfigError> {
    let number = text.parse().map(Amount::new);
    number.map_err(|_| ConfigError::rule(format!("{table}.{field}"), "must be decimal text below 2^128"))
}

fn default_guard() -> u64 {
    15
}

fn default_proposal() -> u64 {
    86_400
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
        if self.proposal_seconds == 0 {
            return Err(ConfigError::rule("proposal_seconds", "must be at least 1"));
        }
        self.chain.fees.validate("chain.fees")?;
        let Some(accept) = &self.accept else { return Ok(()) };
        accept.limits()?;
        units("accept", "reserve_units", &accept.reserve_units)?;
        if u64::from(accept.least_period_seconds) < self.least_period() {
            return Err(ConfigError::rule("accept.least_period_seconds", "must be at least 8 times guard_seconds"));
        }
        Ok(())
    }

    /// Shortest period of a channel, in seconds: a guard that is late once or twice must still be in time.
    fn least_period(&self) -> u64 {
        self.guard_seconds.saturating_mul(8)
    }

    fn account(&self) -> Account {
        let ChainConfig { rpc, authorities, key_file, variant, confirmations, poll_ms, fees, .. } = self.chain.clone();
        let proposal_seconds = self.proposal_seconds;
        Account { rpc, authorities, key_file, variant, confirmations, poll_ms, proposal_seconds, fees }
    }

    async fn policy(&self, tools: &Tools) -> anyhow::Result<Option<Policy>> {
        let Some(accept) = &self.accept else { return Ok(None) };
        let place = self.account().place(self.chain.contract, tools).await?;
        let reserve = units("accept", "reserve_units", &accept.reserve_units)?;
        Ok(Some(Policy { place, limits: accept.limits()?, reserve, least_period: accept.least_period_seconds }))
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
    node.watched.register(&metrics);
    gate.open();
    if let Some(address) = config.listen {
        let listener = TcpListener::bind(address).await.with_context(|| format!("configuration field `listen`: {address}"))?;
        tracing::info!(address = %listener.local_addr()?, "listening for peers");
        tokio::spawn(node.clone().listen(listener));
    }
    for peer in &config.peers {
        tokio::spawn(node.clone().connect(peer.endpoint, Some(peer.address)));
    }
    let mut guard = tokio::spawn(node.clone().guard(Duration::from_secs(config.guard_seconds)));
    let least_period = u32::try_from(config.least_period()).unwrap_or(u32::MAX);
    let api = Api::server(Arc::clone(&node), place, own, least_period);
    let server = Server::new(&config.server, "server", &health).await?.add_service(api).bind().await?;
    tracing::info!(address = %server.local_addr(), account = %own, "serving");
    supervise(server.serve(shutdown.clone()), &mut guard, &shutdown).await?;
    if !guard.is_finished() {
        guard.await?;
    }
    tracing::info!("stopped");
    Ok(())
}

/// Serves until the end, or until the guard has ended before it should: channels without a guard are worse than a service that is down, which
/// whoever runs it starts again.
async fn supervise(
    served: impl Future<Output = Result<(), rpc::ServerError>>,
    guard: &mut JoinHandle<()>,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let mut served = std::pin::pin!(served);
    tokio::select! {
        served = &mut served => Ok(served?),
        ended = guard => {
            ended.context("the guard")?;
            anyhow::ensure!(shutdown.is_cancelled(), "the guard has ended");
            Ok(served.await?)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_ends_with_its_guard() {
        let shutdown = CancellationToken::new();
        let for_ever = std::future::pending::<Result<(), rpc::ServerError>>;
        let mut panics = tokio::spawn(async { panic!("a defect, for the test") });
        assert!(supervise(for_ever(), &mut panics, &shutdown).await.is_err());
        let mut ends = tokio::spawn(async {});
        assert!(supervise(for_ever(), &mut ends, &shutdown).await.is_err());
        // On the way down it may end first.
        shutdown.cancel();
        let mut ends = tokio::spawn(async {});
        supervise(async { Ok(()) }, &mut ends, &shutdown).await.unwrap();
    }
}
