//! The engine's configuration: a TOML file and `CAUSEWAY__…` variables, checked at start.

use std::path::PathBuf;

use protocol::{Policy, Timing};
use rpc::{ClientConfig, ServerConfig, TelemetryConfig, config::ConfigError};
use serde::Deserialize;

/// Everything that an engine is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this engine, unique in the cluster and stable over restarts.
    pub engine_id: String,
    /// Postgres connection string or URL.
    pub database: String,
    /// Connections for queries.
    #[serde(default = "pool_size")]
    pub pool_size: usize,
    /// Committer tasks: each has a connection, a shard always has the same one.
    #[serde(default = "committers")]
    pub committers: usize,
    /// How often rows that nobody can ask for any more are thrown away, in seconds.
    #[serde(default = "prune_seconds")]
    pub prune_seconds: u32,
    /// The API. May be left out inside one process only.
    pub server: Option<ServerConfig>,
    /// How the node's other engines reach this one; with the same TLS and token it reaches them. By default plain text where `server` listens.
    pub cluster: Option<ClientConfig>,
    /// Metrics and health over HTTP.
    pub metrics: Option<ServerConfig>,
    /// The node's keys.
    pub keystore: KeystoreConfig,
    /// All gateways of the node.
    #[serde(default)]
    pub gateways: Vec<ClientConfig>,
    /// The planner; without it only neighbours can be paid, and chains that are given whole.
    pub planner: Option<ClientConfig>,
    /// The indexer: wallet balance for the API, and the clock when it is settable.
    pub indexer: Option<ClientConfig>,
    /// The chain's global id: -239 is the main network. The wallet's address depends on it.
    #[serde(default = "global_id")]
    pub global_id: i32,
    /// File with the code of the live network's contract, a BoC as bytes or hex (payments 7.1). With it this node deploys such channels; without
    /// it their peer has to.
    pub live_code: Option<PathBuf>,
    /// Terms for TON.
    #[serde(default)]
    pub ton: TonConfig,
    /// Whether the chain's clock may be set (an embedded chain): protocol time then follows the blocks. Leave it false otherwise.
    #[serde(default)]
    pub settable_clock: bool,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Where the keys are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoreConfig {
    /// The encrypted file; made at the first start.
    pub path: PathBuf,
    /// File with 32 random bytes that it is encrypted under.
    pub key_file: PathBuf,
    /// Where this engine remembers how often it was started; must outlive the database's backups.
    pub state_file: PathBuf,
}

/// The operator's terms. Both ends of a channel must have the same durations, fine and storage fee (payments 9.5).
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TonConfig {
    /// Seconds reserved to get a transaction onto the chain.
    pub buffer_seconds: u32,
    /// Quarantine of new channels, in seconds.
    pub quarantine_seconds: u32,
    /// Window for settling, in seconds.
    pub conditional_close_seconds: u32,
    /// The least time a condition must live beyond what closing takes.
    pub min_safe_seconds: u32,
    /// Fine for closing with a stale state. Coin units.
    pub misbehavior_fine: String,
    /// What the contract keeps for its storage. Coin units.
    pub storage_fee: String,
    /// Whether others may pay through this node.
    pub allow_tunneling: bool,
    /// The most that one payment through this node may carry, fees included. Coin units.
    pub proxy_max_capacity: String,
    /// The least fee for it. Coin units.
    pub proxy_min_fee: String,
    /// The fee in percent of what is passed on.
    pub proxy_fee_percent: f64,
    /// The most that may be free upstream while it is still payable downstream, per peer. Coin units. Default: `proxy_max_capacity`.
    pub risk_limit: Option<String>,
    /// Whether peers may take money out of a channel that stays open. When the withdrawal is on the chain, a peer that falls silent before the next
    /// exchange of states leaves what is in the channel out of our reach (payments 10.1.6).
    pub sign_withdrawals: bool,
}

impl Default for TonConfig {
    fn default() -> Self {
        let timing = Timing::DEFAULT;
        Self {
            buffer_seconds: timing.buffer,
            quarantine_seconds: timing.quarantine,
            conditional_close_seconds: timing.conditional_close,
            min_safe_seconds: timing.min_safe,
            misbehavior_fine: "3".into(),
            storage_fee: "0.25".into(),
            allow_tunneling: true,
            proxy_max_capacity: "5".into(),
            proxy_min_fee: "0.0005".into(),
            proxy_fee_percent: 0.5,
            risk_limit: None,
            sign_withdrawals: false,
        }
    }
}

fn pool_size() -> usize {
    8
}

fn global_id() -> i32 {
    -239
}

fn committers() -> usize {
    1
}

fn prune_seconds() -> u32 {
    3_600
}

impl Config {
    /// See `cluster`. Nothing when no address is known beforehand: this engine is not poked, and reads its queue in its own time.
    pub fn cluster(&self) -> Option<ClientConfig> {
        let reachable = |server: &&ServerConfig| {
            let plain = server.tls.is_none() && server.token_file.is_none();
            plain && server.listen.port() != 0 && !server.listen.ip().is_unspecified()
        };
        let server = self.server.as_ref().filter(reachable);
        self.cluster.clone().or_else(|| server.map(|server| ClientConfig::plain(format!("http://{}", server.listen))))
    }

    /// Checks what the shape alone does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.engine_id.is_empty() || self.engine_id.len() > 64 {
            return Err(ConfigError::rule("engine_id", "must have 1 to 64 characters"));
        }
        if !(1..=64).contains(&self.pool_size) {
            return Err(ConfigError::rule("pool_size", "must be 1 to 64"));
        }
        if !(1..=4).contains(&self.committers) {
            return Err(ConfigError::rule("committers", "must be 1 to 4"));
        }
        if self.prune_seconds == 0 {
            return Err(ConfigError::rule("prune_seconds", "must be positive"));
        }
        self.server.as_ref().map_or(Ok(()), |server| server.validate("server"))?;
        self.ton.policy().map(|_| ())
    }
}

impl Config {
    /// The live contract's code, if it is at hand.
    pub fn live_code(&self) -> Result<Option<ton::Cell>, ConfigError> {
        let Some(path) = &self.live_code else { return Ok(None) };
        let rule = |rule: String| ConfigError::rule("live_code", rule);
        let file = std::fs::read(path).map_err(|error| rule(format!("cannot be read: {error}")))?;
        let bytes = std::str::from_utf8(&file).ok().and_then(|text| hex::decode(text.trim()).ok()).unwrap_or(file);
        let code = ton::decode_boc(&bytes).map_err(|error| rule(format!("must be a BoC, as bytes or hex: {error}")))?;
        if contract::CodeKind::of(&code) != contract::CodeKind::LIVE {
            return Err(rule("must be the live network's contract".into()));
        }
        Ok(Some(code))
    }
}

impl TonConfig {
    /// The terms as the protocol takes them.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let coins = |field: &str, text: &str| {
            ton::parse_amount(text, 9).map_err(|error| ConfigError::rule(format!("ton.{field}"), error.to_string()))
        };
        let proxy_max_capacity = coins("proxy_max_capacity", &self.proxy_max_capacity)?;
        let risk_limit = match &self.risk_limit {
            Some(text) => coins("risk_limit", text)?,
            None => proxy_max_capacity,
        };
        if wire::fees::Rate::from_percent(self.proxy_fee_percent).is_none() {
            return Err(ConfigError::rule("ton.proxy_fee_percent", "must be a number of at least 0"));
        }
        Ok(Policy {
            timing: Timing {
                buffer: self.buffer_seconds,
                quarantine: self.quarantine_seconds,
                conditional_close: self.conditional_close_seconds,
                min_safe: self.min_safe_seconds,
            },
            fine: coins("misbehavior_fine", &self.misbehavior_fine)?,
            storage_fee: coins("storage_fee", &self.storage_fee)?,
            allow_tunneling: self.allow_tunneling,
            proxy_max_capacity,
            proxy_min_fee: coins("proxy_min_fee", &self.proxy_min_fee)?,
            proxy_fee_percent: self.proxy_fee_percent,
            risk_limit,
            sign_commits: self.sign_withdrawals,
            ..Policy::ton()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_code(path: &std::path::Path) -> Config {
        let text = format!(
            "engine_id = 'e'\ndatabase = 'postgres://localhost/x'\nlive_code = {path:?}\n[keystore]\npath = 'k'\nkey_file = 's'\nstate_file = 'e.state'\n"
        );
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn another_code_than_the_live_one_is_refused_by_field() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("code.boc");
        assert!(with_code(&file).live_code().unwrap_err().to_string().contains("live_code"), "no file");
        let boc = ton::encode_boc(&channel_contract_ton::code());
        for bytes in [b"no BoC".to_vec(), boc.clone(), hex::encode(boc).into_bytes()] {
            std::fs::write(&file, bytes).unwrap();
            assert!(with_code(&file).live_code().unwrap_err().to_string().contains("live_code"));
        }
    }
}
