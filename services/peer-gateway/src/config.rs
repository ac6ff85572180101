//! What an operator sets.

use std::collections::HashSet;
use std::fmt;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::PathBuf;

use adnl::keys::PublicKey;
use rpc::config::ConfigError;
use rpc::{ServerConfig, TelemetryConfig};
use serde::{Deserialize, Deserializer};

/// Longest name of a gateway.
const MAX_NAME: usize = 64;

/// Configuration of a gateway.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this gateway, unique in the cluster and stable over restarts.
    pub name: String,
    /// Public channel key of the node, 64 hex digits. Engines with another key are refused.
    pub node_key: Hex32,
    /// File with the ADNL private key; made at the first start. Never two processes on one key.
    pub adnl_key_file: PathBuf,
    /// Local UDP address.
    pub listen: SocketAddr,
    /// UDP address that peers can reach. Without it the gateway only dials out and publishes nothing.
    pub external_address: Option<SocketAddrV4>,
    /// The network's configuration file (JSON), for the static nodes of its DHT. Without it peers are found by `peers` and memory only.
    pub network_config_file: Option<PathBuf>,
    /// A node of that DHT, run by this gateway. Without `network_config_file` it is the first one.
    pub dht: Option<DhtConfig>,
    /// Where peers are, for those who are not found otherwise; asked first.
    #[serde(default)]
    pub peers: Vec<StaticPeer>,
    /// The node's database.
    pub database: DatabaseConfig,
    /// gRPC, for engines, planner and operators. Not used inside one process.
    pub server: Option<ServerConfig>,
    /// HTTP: `/metrics`, `/livez`, `/readyz`.
    pub metrics: Option<ServerConfig>,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// A node of the DHT, at an address of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DhtConfig {
    /// Local UDP address.
    pub listen: SocketAddr,
    /// UDP address that others can reach.
    pub external_address: SocketAddrV4,
    /// File with its ADNL private key; made at the first start. By default `dht.key` beside the gateway's.
    pub adnl_key_file: Option<PathBuf>,
}

/// A peer whose place is known.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct StaticPeer {
    /// Channel key, 64 hex digits.
    pub node_key: Hex32,
    /// ADNL public key, 64 hex digits.
    pub adnl_key: Hex32,
    /// UDP address.
    pub address: SocketAddr,
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

/// 32 bytes, in hex in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hex32(pub [u8; 32]);

impl fmt::Debug for Hex32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl<'de> Deserialize<'de> for Hex32 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| serde::de::Error::custom("must be 64 hex digits"))?;
        Ok(Self(bytes))
    }
}

impl Config {
    /// Checks what the shape alone does not say.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if self.name.is_empty() || self.name.len() > MAX_NAME {
            return Err(ConfigError::rule("name", format!("must have 1 to {MAX_NAME} bytes")));
        }
        key("node_key", &self.node_key)?;
        if let Some(address) = self.external_address {
            reachable("external_address", address.into())?;
        }
        if let Some(dht) = &self.dht {
            reachable("dht.external_address", dht.external_address.into())?;
            if self.dht_key_file().as_ref() == Some(&self.adnl_key_file) {
                return Err(ConfigError::rule("dht.adnl_key_file", "must be another one than `adnl_key_file`"));
            }
            if dht.listen == self.listen && self.listen.port() != 0 {
                return Err(ConfigError::rule("dht.listen", "must be another address than `listen`"));
            }
        }
        let mut known = HashSet::new();
        for (index, peer) in self.peers.iter().enumerate() {
            let field = |name: &str| format!("peers[{index}].{name}");
            key(&field("node_key"), &peer.node_key)?;
            key(&field("adnl_key"), &peer.adnl_key)?;
            reachable(&field("address"), peer.address)?;
            if peer.node_key == self.node_key {
                return Err(ConfigError::rule(field("node_key"), "must not be the node's own"));
            }
            if !known.insert(peer.adnl_key) {
                return Err(ConfigError::rule(field("adnl_key"), "must not be there twice"));
            }
        }
        if self.database.max_connections == 0 {
            return Err(ConfigError::rule("database.max_connections", "must be at least 1"));
        }
        // The library's own text may quote the string, password and all.
        store::Database::new(&self.database.url, &self.name)
            .map_err(|_| ConfigError::rule("database.url", "must be a Postgres connection string or URL"))?;
        if let Some(server) = &self.server {
            server.validate("server")?;
        }
        self.metrics.as_ref().map_or(Ok(()), |metrics| metrics.validate("metrics"))
    }
}

impl Config {
    /// File with the key of the DHT node, if there is to be one.
    pub(crate) fn dht_key_file(&self) -> Option<PathBuf> {
        let dht = self.dht.as_ref()?;
        Some(dht.adnl_key_file.clone().unwrap_or_else(|| self.adnl_key_file.with_file_name("dht.key")))
    }
}

fn key(field: &str, key: &Hex32) -> Result<(), ConfigError> {
    PublicKey::from_bytes(&key.0).map(drop).map_err(|_| ConfigError::rule(field, "must be an ed25519 public key"))
}

/// Whether others can reach an address at all.
pub(crate) fn reachable(field: &str, address: SocketAddr) -> Result<(), ConfigError> {
    match address.ip().is_unspecified() || address.port() == 0 {
        true => Err(ConfigError::rule(field, "must be an address and port that can be reached")),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29";
    const OTHER: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn read(more: &str) -> Result<(), String> {
        let text = format!(
            "name = 'g'\nnode_key = '{KEY}'\nadnl_key_file = 'adnl.key'\nlisten = '127.0.0.1:0'\n{more}\n\
             [database]\nurl = 'postgres://causeway:secret@127.0.0.1:5432/causeway'"
        );
        let config: Config = toml::from_str(&text).map_err(|error| error.to_string())?;
        config.validate().map_err(|error| error.to_string())
    }

    #[test]
    fn a_small_configuration_is_enough() {
        read("").unwrap();
        read(&format!(
            "external_address = '1.2.3.4:5'\npeers = [{{ node_key = '{OTHER}', adnl_key = '{OTHER}', address = '1.2.3.4:5' }}]"
        ))
        .unwrap();
    }

    #[test]
    fn refusals_name_the_field() {
        let peer = |key: &str, address: &str| format!("{{ node_key = '{key}', adnl_key = '{OTHER}', address = '{address}' }}");
        let dht = |more: &str| format!("dht = {{ listen = '127.0.0.1:0', external_address = '1.2.3.4:5', {more} }}");
        let cases = [
            ("external_address = '0.0.0.0:5'".into(), "external_address"),
            (format!("peers = [{}]", peer(KEY, "1.2.3.4:5")), "peers[0].node_key"),
            (format!("peers = [{}]", peer(OTHER, "1.2.3.4:0")), "peers[0].address"),
            (format!("peers = [{0}, {0}]", peer(OTHER, "1.2.3.4:5")), "peers[1].adnl_key"),
            ("dht = { listen = '127.0.0.1:0', external_address = '1.2.3.4:0' }".into(), "dht.external_address"),
            (dht("adnl_key_file = 'adnl.key'"), "dht.adnl_key_file"),
            ("server = { listen = '1.2.3.4:5' }".into(), "server.listen"),
            ("metrics = { listen = '1.2.3.4:5' }".into(), "metrics.listen"),
            ("nmae = 1".into(), "nmae"),
        ];
        for (more, field) in cases {
            let error = read(&more).unwrap_err();
            assert!(error.contains(field), "{error:?} does not name {field}");
        }
    }
}
