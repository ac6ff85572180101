//! One file for a whole node: what all services share is said once, the rest stands in the section of its service, under the names that the
//! service has alone.

use std::path::{Path, PathBuf};

use rpc::config::{ConfigError, section};
use rpc::{ServerConfig, TelemetryConfig};
use serde::Deserialize;
use signer::{KeySource, Keys, LocalSigner, Signer};
use toml::{Table, Value};

/// Configuration of a node.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Name of this node's process, unique among those on one database.
    #[serde(default = "name")]
    pub name: String,
    /// Postgres connection string or URL.
    pub database: String,
    /// Folder of the keystore (`keystore`), the ADNL key (`adnl.key`) and the start counter (`engine.state`); made at the first start. The
    /// counter must outlive backups of the database.
    pub data_dir: PathBuf,
    /// File with the 32 random bytes (hex) that the keystore is encrypted under; made with it. Default: `secret` in `data_dir`; better on
    /// another medium.
    pub key_file: Option<PathBuf>,
    /// The network's configuration file (JSON): lite servers and static nodes of the DHT.
    pub network: Option<PathBuf>,
    /// The chain's global id: -239 is the main network. The wallet's address depends on it.
    pub global_id: Option<i32>,
    /// Whether the chain's clock may be set (an embedded chain): protocol time then follows the blocks. Leave it false otherwise.
    #[serde(default)]
    pub settable_clock: bool,
    /// The API. Without it only the embedding program reaches the node.
    pub server: Option<ServerConfig>,
    /// HTTP: `/metrics`, `/livez`, `/readyz`.
    pub metrics: Option<ServerConfig>,
    /// The channel-engine's own fields, such as `[engine.ton]`.
    #[serde(default)]
    pub engine: Table,
    /// The peer-gateway's: at least `listen`, its UDP address.
    #[serde(default)]
    pub gateway: Table,
    /// The chain-indexer's: `lite_servers`, `first_block`.
    #[serde(default)]
    pub indexer: Table,
    /// The route-planner's.
    #[serde(default)]
    pub planner: Table,
    /// Logs and traces.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

fn name() -> String {
    "node".into()
}

/// The URL of the database may hold a password.
impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config").field("name", &self.name).field("data_dir", &self.data_dir).finish_non_exhaustive()
    }
}

/// The services' configurations, and whose node it is.
pub(crate) struct Services {
    pub node_key: [u8; 32],
    pub engine: channel_engine::Config,
    pub gateway: peer_gateway::Config,
    pub indexer: chain_indexer::Config,
    pub planner: route_planner::Config,
}

impl Config {
    /// Makes the keys at the first start, and the configuration of each service.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub(crate) fn services(&self) -> anyhow::Result<Services> {
        std::fs::create_dir_all(&self.data_dir)
            .map_err(|error| ConfigError::rule("data_dir", format!("must be a folder that can be made: {error}")))?;
        let keys = Keys::open_or_create(&self.place("keystore"), &KeySource::KeyFile(self.key_file()))?;
        let node_key = LocalSigner::new(keys).channel_key();
        let engine = self.engine()?;
        let timing = Table::from_iter([
            ("buffer_seconds".into(), engine.ton.buffer_seconds.into()),
            ("min_safe_seconds".into(), engine.ton.min_safe_seconds.into()),
            ("quarantine_seconds".into(), engine.ton.quarantine_seconds.into()),
            ("conditional_close_seconds".into(), engine.ton.conditional_close_seconds.into()),
        ]);
        Ok(Services {
            node_key,
            engine,
            gateway: self.gateway(&node_key)?,
            indexer: self.indexer()?,
            planner: self.planner(timing)?,
        })
    }

    fn engine(&self) -> Result<channel_engine::Config, ConfigError> {
        let mut keystore = self.keystore();
        keystore.insert("state_file".into(), text(&self.place("engine.state")));
        let mut shared = self.shared("engine_id");
        shared.insert("database".into(), self.database.clone().into());
        shared.insert("keystore".into(), keystore.into());
        shared.extend(self.chain());
        let unused = ["server", "metrics", "telemetry", "gateways", "planner", "indexer"];
        let mut config: channel_engine::Config = fill("engine", &self.engine, shared, &unused)?;
        config.server = self.server.clone();
        config.validate().map_err(|error| inside("engine", error))?;
        Ok(config)
    }

    fn gateway(&self, node_key: &[u8; 32]) -> Result<peer_gateway::Config, ConfigError> {
        let mut shared = self.shared("name");
        shared.insert("database".into(), self.database_table());
        shared.insert("node_key".into(), hex::encode(node_key).into());
        shared.insert("adnl_key_file".into(), text(&self.place("adnl.key")));
        if let Some(network) = &self.network {
            shared.insert("network_config_file".into(), text(network));
        }
        let config: peer_gateway::Config = fill("gateway", &self.gateway, shared, &["server", "metrics", "telemetry"])?;
        config.validate().map_err(|error| inside("gateway", error))?;
        Ok(config)
    }

    fn indexer(&self) -> Result<chain_indexer::Config, ConfigError> {
        let mut shared = self.shared("indexer_id");
        shared.insert("database".into(), self.database.clone().into());
        shared.insert("keystore".into(), self.keystore().into());
        shared.extend(self.chain());
        // Inside one process it listens nowhere.
        shared.insert("server".into(), Table::from_iter([("listen".into(), "127.0.0.1:0".into())]).into());
        if let Some(network) = &self.network {
            shared.insert("global_config".into(), text(network));
        }
        let config: chain_indexer::Config = fill("indexer", &self.indexer, shared, &["metrics", "telemetry"])?;
        config.validate().and_then(|()| config.servers().map(drop)).map_err(|error| inside("indexer", error))?;
        Ok(config)
    }

    fn planner(&self, timing: Table) -> Result<route_planner::Config, ConfigError> {
        let shared = Table::from_iter([("database".into(), self.database_table()), ("timing".into(), timing.into())]);
        let unused = ["server", "metrics", "telemetry", "gateway"];
        let config: route_planner::Config = fill("planner", &self.planner, shared, &unused)?;
        config.validate().map_err(|error| inside("planner", error))?;
        Ok(config)
    }

    fn shared(&self, name: &str) -> Table {
        Table::from_iter([(name.into(), self.name.clone().into())])
    }

    fn chain(&self) -> Table {
        let mut table = Table::from_iter([("settable_clock".into(), self.settable_clock.into())]);
        if let Some(id) = self.global_id {
            table.insert("global_id".into(), i64::from(id).into());
        }
        table
    }

    fn keystore(&self) -> Table {
        Table::from_iter([("path".into(), text(&self.place("keystore"))), ("key_file".into(), text(&self.key_file()))])
    }

    fn database_table(&self) -> Value {
        Table::from_iter([("url".into(), self.database.clone().into())]).into()
    }

    fn place(&self, name: &str) -> PathBuf {
        self.data_dir.join(name)
    }

    fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| self.place("secret"))
    }
}

fn text(path: &Path) -> Value {
    path.to_string_lossy().into_owned().into()
}

/// A service's configuration: its section and what all share. What is shared, or has no meaning inside one process, is not said in a section.
fn fill<T: serde::de::DeserializeOwned>(name: &str, own: &Table, shared: Table, unused: &[&str]) -> Result<T, ConfigError> {
    if let Some(field) = own.keys().find(|field| shared.contains_key(*field) || unused.contains(&field.as_str())) {
        return Err(ConfigError::rule(format!("{name}.{field}"), "must not be set: it is the whole node's"));
    }
    let mut all = shared;
    all.extend(own.clone());
    section(all, name)
}

fn inside(name: &str, error: ConfigError) -> ConfigError {
    match error {
        ConfigError::Field { field, rule } => ConfigError::rule(format!("{name}.{field}"), rule),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(more: &str) -> Result<Services, String> {
        let folder = tempfile::tempdir().unwrap();
        let text = format!(
            "database = 'postgres://causeway:secret@127.0.0.1:5432/causeway'\ndata_dir = {:?}\n{more}",
            folder.path().join("data")
        );
        let config: Config = section(text.parse().map_err(|error| format!("{error}"))?, "").map_err(|error| error.to_string())?;
        config.services().map_err(|error| error.to_string())
    }

    const REST: &str = "[gateway]\nlisten = '127.0.0.1:0'\n[indexer]\nlite_servers = [{ address = '127.0.0.1:1', key = '3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29' }]\n";

    #[test]
    fn a_few_lines_are_enough() {
        let services = services(&format!("global_id = -3\n{REST}[engine.ton]\nbuffer_seconds = 7")).unwrap();
        assert_eq!((services.engine.global_id, services.indexer.global_id), (-3, -3));
        assert_eq!(services.gateway.node_key.0, services.node_key);
        assert_eq!(services.planner.timing.buffer_seconds, 7);
        assert!(services.engine.server.is_none());
    }

    #[test]
    fn refusals_name_the_field() {
        let cases = [
            ("[gateway]\n", "`gateway.listen` must be set"),
            ("[gateway]\nlisten = '127.0.0.1:0'\nnmae = 1\n", "`gateway.nmae` is not valid"),
            ("[gateway]\nlisten = '127.0.0.1:0'\nname = 'x'\n", "`gateway.name` must not be set"),
            ("[engine]\nserver = { listen = '127.0.0.1:0' }\n", "`engine.server` must not be set"),
            ("[gateway]\nlisten = '127.0.0.1:0'\n", "`indexer.lite_servers` must name a server"),
            (
                "[gateway]\nlisten = '127.0.0.1:0'\n[indexer]\nlite_servers = [{ address = '127.0.0.1:1', key = '00' }]\n",
                "`indexer.lite_servers[0].key` must be",
            ),
            ("[engine.ton]\nproxy_min_fee = 'x'\n", "`engine.ton.proxy_min_fee`"),
            ("colour = 1\n", "`colour` is not valid"),
        ];
        for (more, expected) in cases {
            let Err(error) = services(more) else { panic!("{more} is taken") };
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
