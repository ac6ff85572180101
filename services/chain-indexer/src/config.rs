//! The indexer's configuration: a TOML file and `CAUSEWAY__…` variables, checked at start.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use adnl::keys::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use liteapi::{Policy, ServerAddress};
use rpc::{ServerConfig, TelemetryConfig, config::ConfigError};
use serde::Deserialize;

/// Everything that an indexer is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this indexer, unique among the node's indexers: one of them leads, the others stand by.
    #[serde(default = "indexer_id")]
    pub indexer_id: String,
    /// Postgres connection string or URL.
    pub database: String,
    /// Connections to the database.
    #[serde(default = "pool_size")]
    pub pool_size: usize,
    /// The API.
    pub server: ServerConfig,
    /// Metrics and health over HTTP.
    pub metrics: Option<ServerConfig>,
    /// The node's keys; the wallet's is used.
    pub keystore: KeystoreConfig,
    /// The lite servers.
    #[serde(default)]
    pub lite_servers: Vec<LiteServerConfig>,
    /// A global configuration file (JSON) with more lite servers.
    pub global_config: Option<PathBuf>,
    /// Which masterchain blocks are believed.
    #[serde(default)]
    pub proofs: Proofs,
    /// The chain's global id: -239 is the main network. The wallet's address depends on it.
    #[serde(default = "global_id")]
    pub global_id: i32,
    /// The masterchain block to begin with, for a new database; 1 reads an embedded chain from its beginning. By default the newest block:
    /// channels that were opened before are seen when they next change.
    pub first_block: Option<u32>,
    /// Whether the chain's clock may be set (an embedded chain): protocol time then follows the blocks. Leave it false otherwise.
    #[serde(default)]
    pub settable_clock: bool,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Which masterchain blocks are believed (network 6.4). What is below them is proven in any case.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Proofs {
    /// Those that two lite servers name, or the only one.
    #[default]
    Fast,
    /// Those that validators' signatures lead to, from `validator.init_block` of the global configuration, or from a newer key block that was
    /// proven before. One honest server is enough.
    Secure,
}

/// Where the keys are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeystoreConfig {
    /// The encrypted file; made at the first start.
    pub path: PathBuf,
    /// File with 32 random bytes that it is encrypted under.
    pub key_file: PathBuf,
}

/// One lite server.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiteServerConfig {
    /// `ip:port`.
    pub address: SocketAddr,
    /// Its public key, 32 bytes as hex or base64.
    pub key: String,
}

fn indexer_id() -> String {
    "indexer".into()
}

fn pool_size() -> usize {
    4
}

fn global_id() -> i32 {
    -239
}

impl Config {
    /// Checks what the shape alone does not.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.indexer_id.is_empty() || self.indexer_id.len() > 64 {
            return Err(ConfigError::rule("indexer_id", "must have 1 to 64 characters"));
        }
        if !(2..=64).contains(&self.pool_size) {
            return Err(ConfigError::rule("pool_size", "must be 2 to 64"));
        }
        if self.first_block == Some(0) {
            return Err(ConfigError::rule("first_block", "must be at least 1"));
        }
        if self.lite_servers.is_empty() && self.global_config.is_none() {
            return Err(ConfigError::rule("lite_servers", "must name a server, unless `global_config` is set"));
        }
        if self.proofs == Proofs::Secure && self.global_config.is_none() {
            return Err(ConfigError::rule("proofs", "must be `fast`, unless `global_config` is set"));
        }
        self.server.validate("server")
    }

    /// Which masterchain blocks are believed.
    pub fn policy(&self) -> Result<Policy, ConfigError> {
        let Some(path) = self.global_config.as_ref().filter(|_| self.proofs == Proofs::Secure) else { return Ok(Policy::Fast) };
        let trusted = liteapi::init_block_of_global_config(&read_global_config(path)?);
        let rule = |error| ConfigError::rule("global_config", format!("has no `validator.init_block` to trust: {error}"));
        trusted.map(|trusted| Policy::Secure { trusted }).map_err(rule)
    }

    /// All lite servers, the configured ones first.
    pub fn servers(&self) -> Result<Vec<ServerAddress>, ConfigError> {
        let mut servers = Vec::new();
        for (i, server) in self.lite_servers.iter().enumerate() {
            let key = public_key(&server.key).ok_or_else(|| {
                ConfigError::rule(format!("lite_servers[{i}].key"), "must be a public key, 32 bytes as hex or base64")
            })?;
            servers.push(ServerAddress { address: server.address, key });
        }
        if let Some(path) = &self.global_config {
            let listed = ServerAddress::of_global_config(&read_global_config(path)?);
            let rule = |error| ConfigError::rule("global_config", format!("is no global configuration: {error}"));
            servers.extend(listed.map_err(rule)?);
        }
        if servers.is_empty() {
            return Err(ConfigError::rule("global_config", "names no lite server with an IPv4 address"));
        }
        Ok(servers)
    }
}

fn read_global_config(path: &Path) -> Result<String, ConfigError> {
    let rule = |error| ConfigError::rule("global_config", format!("cannot be read: {error}"));
    std::fs::read_to_string(path).map_err(rule)
}

fn public_key(text: &str) -> Option<PublicKey> {
    let bytes = hex::decode(text).or_else(|_| STANDARD.decode(text)).ok()?;
    PublicKey::from_bytes(&bytes.try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_hex_and_base64() {
        let key = adnl::keys::PrivateKey::from_seed(&[7; 32]).public();
        assert_eq!(public_key(&hex::encode(key.as_bytes())), Some(key));
        assert_eq!(public_key(&STANDARD.encode(key.as_bytes())), Some(key));
        assert_eq!(public_key("00"), None);
    }
}
