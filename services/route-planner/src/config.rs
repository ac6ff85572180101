//! Configuration.

use std::fmt;

use protocol::Timing;
use protocol::route::MAX_HOPS;
use rpc::config::ConfigError;
use rpc::{ClientConfig, ServerConfig, TelemetryConfig};
use serde::Deserialize;

/// Configuration of a planner.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node's database.
    pub database: DatabaseConfig,
    /// A peer gateway of the node, for asking terms. Without it only chains whose nodes' terms are known or given are found.
    pub gateway: Option<ClientConfig>,
    /// gRPC, for engines. Not used inside one process.
    pub server: Option<ServerConfig>,
    /// HTTP: `/metrics`, `/livez`, `/readyz`.
    pub metrics: Option<ServerConfig>,
    /// Most hops of a route when the caller says nothing, the receiver's included.
    #[serde(default = "default_hops")]
    pub max_hops: u32,
    /// What the gaps between deadlines are reckoned with.
    #[serde(default)]
    pub timing: TimingConfig,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

fn default_hops() -> u32 {
    6
}

/// The node's database.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// Connection string or URL, as libpq takes it.
    pub url: String,
    /// Most connections.
    #[serde(default = "default_connections")]
    pub max_connections: usize,
}

fn default_connections() -> usize {
    4
}

/// The URL may hold a password.
impl fmt::Debug for DatabaseConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DatabaseConfig").field("max_connections", &self.max_connections).finish_non_exhaustive()
    }
}

/// Seconds that a gap has beyond what the channel's own contract says (payments 5.4).
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields, default)]
pub struct TimingConfig {
    /// Reserved to get a transaction onto the chain.
    pub buffer_seconds: u32,
    /// The least time that a condition must live beyond what closing takes.
    pub min_safe_seconds: u32,
    /// Quarantine of a channel that is not in the graph.
    pub quarantine_seconds: u32,
    /// Window for conditionals of a channel that is not in the graph.
    pub conditional_close_seconds: u32,
}

impl Default for TimingConfig {
    fn default() -> Self {
        let Timing { buffer, quarantine, conditional_close, min_safe } = Timing::DEFAULT;
        Self {
            buffer_seconds: buffer,
            min_safe_seconds: min_safe,
            quarantine_seconds: quarantine,
            conditional_close_seconds: conditional_close,
        }
    }
}

impl TimingConfig {
    /// For channels that are not in the graph; the others' contracts say more.
    pub(crate) fn timing(&self) -> Timing {
        Timing {
            buffer: self.buffer_seconds,
            quarantine: self.quarantine_seconds,
            conditional_close: self.conditional_close_seconds,
            min_safe: self.min_safe_seconds,
        }
    }
}

impl Config {
    /// Checks what the shape alone does not say.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.max_hops == 0 || self.max_hops as usize > MAX_HOPS {
            return Err(ConfigError::rule("max_hops", format!("must be 1 to {MAX_HOPS}")));
        }
        if self.database.max_connections == 0 {
            return Err(ConfigError::rule("database.max_connections", "must be at least 1"));
        }
        // The library's own text may quote the string, password and all.
        store::Database::new(&self.database.url, "route-planner")
            .map_err(|_| ConfigError::rule("database.url", "must be a Postgres connection string or URL"))?;
        if let Some(server) = &self.server {
            server.validate("server")?;
        }
        self.metrics.as_ref().map_or(Ok(()), |metrics| metrics.validate("metrics"))
    }
}
