//! One node: its database, keys, configuration files, and four processes.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context;
use rpc::{ClientConfig, Connection, engine::v1::channel_service_client::ChannelServiceClient};
use signer::{KeySource, Keys, LocalSigner, Signer};
use testkit::{Cluster, Process, free_port, free_udp_port, wait_for_port};

/// What is decided before anything starts, so that nodes can be told of each other.
pub struct Plan {
    pub name: &'static str,
    pub key: [u8; 32],
    folder: PathBuf,
    adnl_key: [u8; 32],
    udp: SocketAddr,
    ports: [u16; 4],
    database: String,
}

/// A running node.
pub struct Node {
    pub name: &'static str,
    pub key: [u8; 32],
    pub endpoint: String,
    pub api: ChannelServiceClient<Connection>,
    _processes: Vec<Process>,
}

impl Plan {
    pub async fn make(name: &'static str, folder: &Path, cluster: &Cluster) -> anyhow::Result<Self> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let key_file = folder.join("secret");
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
        fs::write(&key_file, hex::encode(secret))?;
        fs::set_permissions(&key_file, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        let keys = Keys::open_or_create(&folder.join("keystore"), &KeySource::KeyFile(key_file))?;
        let key = LocalSigner::new(keys).channel_key();
        let adnl = peer_gateway::load_or_create(&folder.join("adnl.key"))?;
        Ok(Self {
            name,
            key,
            adnl_key: *adnl.public().as_bytes(),
            udp: SocketAddr::from(([127, 0, 0, 1], free_udp_port()?)),
            ports: [free_port()?, free_port()?, free_port()?, free_port()?],
            database: cluster.create_database(name).await?.url.to_string(),
            folder,
        })
    }

    /// Writes the four configurations and starts the four processes, in no particular order: each waits for what it needs.
    pub async fn start(&self, binaries: &Path, peers: &[&Plan], global_config: &str) -> anyhow::Result<Node> {
        let [engine, gateway, indexer, planner] = self.ports;
        let (folder, database) = (&self.folder, &self.database);
        let keystore = format!("path = {:?}\nkey_file = {:?}\n", folder.join("keystore"), folder.join("secret"));
        let listen = |port: u16| format!("[server]\nlisten = \"127.0.0.1:{port}\"\n");
        let client = |port: u16| format!("{{ endpoint = \"http://127.0.0.1:{port}\" }}");
        let known: String = peers
            .iter()
            .map(|p| {
                let (node, adnl, address) = (hex::encode(p.key), hex::encode(p.adnl_key), p.udp);
                format!("[[peers]]\nnode_key = \"{node}\"\nadnl_key = \"{adnl}\"\naddress = \"{address}\"\n")
            })
            .collect();
        let files = [
            (
                "channel-engine",
                format!(
                    "engine_id = \"{}-1\"\ndatabase = \"{database}\"\nglobal_id = -3\nsettable_clock = true\ngateways = [{}]\nplanner = {}\nindexer = {}\n{}[keystore]\n{keystore}state_file = {:?}\n",
                    self.name,
                    client(gateway),
                    client(planner),
                    client(indexer),
                    listen(engine),
                    folder.join("engine.state"),
                ),
            ),
            (
                "peer-gateway",
                format!(
                    "name = \"{}-1\"\nnode_key = \"{}\"\nadnl_key_file = {:?}\nlisten = \"{}\"\n{}[database]\nurl = \"{database}\"\n{known}",
                    self.name,
                    hex::encode(self.key),
                    folder.join("adnl.key"),
                    self.udp,
                    listen(gateway),
                ),
            ),
            (
                "chain-indexer",
                format!(
                    "indexer_id = \"{}-1\"\ndatabase = \"{database}\"\nglobal_id = -3\nglobal_config = {global_config:?}\nfirst_block = 1\nsettable_clock = true\n{}[keystore]\n{keystore}",
                    self.name,
                    listen(indexer),
                ),
            ),
            ("route-planner", format!("gateway = {}\n{}[database]\nurl = \"{database}\"\n", client(gateway), listen(planner))),
        ];
        let mut processes = Vec::new();
        for (service, text) in files {
            let config = folder.join(format!("{service}.toml"));
            fs::write(&config, text)?;
            let log = File::create(folder.join(format!("{service}.log")))?;
            let mut command = Command::new(binaries.join(format!("causeway-{service}")));
            command.arg("--config").arg(&config).stdout(log.try_clone()?).stderr(log);
            processes.push(Process::spawn(format!("{} {service}", self.name), &mut command)?);
        }
        let address = SocketAddr::from(([127, 0, 0, 1], engine));
        wait_for_port(&format!("node {}", self.name), address, Duration::from_secs(60)).await.context("see the logs")?;
        let endpoint = format!("http://{address}");
        let api = ChannelServiceClient::new(ClientConfig::plain(&endpoint).connect("demo")?);
        Ok(Node { name: self.name, key: self.key, endpoint, api, _processes: processes })
    }
}
