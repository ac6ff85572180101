//! One node: its database, keys, configurations and processes.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use rpc::{ClientConfig, Connection, engine::v1::channel_service_client::ChannelServiceClient};
use signer::{KeySource, Keys, LocalSigner, Signer as _};
use testkit::{Cluster, Database, free_port, free_udp_port};

use crate::{Plan, service::Service};

/// A node of real processes.
#[derive(Debug)]
pub struct Node {
    /// Its name.
    pub name: &'static str,
    /// Its channel key.
    pub key: [u8; 32],
    /// Its database.
    pub database: Database,
    /// Its engines.
    pub engines: Vec<Service>,
    /// Where each of them serves its metrics.
    pub metrics: Vec<SocketAddr>,
    /// Its gateway.
    pub gateway: Service,
    /// Its indexer.
    pub indexer: Service,
    /// Its planner.
    pub planner: Service,
    apis: Vec<ChannelServiceClient<Connection>>,
}

impl Node {
    /// Writes the configurations and starts the processes, in no particular order: each waits for what it needs.
    pub(crate) async fn start(
        name: &'static str,
        engines: usize,
        plan: &Plan,
        cluster: &Cluster,
        global_config: &Path,
    ) -> anyhow::Result<Self> {
        let folder = plan.folder.join(name);
        fs::create_dir_all(&folder)?;
        let key = make_keys(&folder, |key| (plan.suits)(name, key))?;
        let database = cluster.create_database(name).await?;
        let files =
            Files { name, key, folder: &folder, database: &database.local_url, global_config, engine: (plan.engine)(name) };
        let ports = || -> anyhow::Result<SocketAddr> { Ok(SocketAddr::from(([127, 0, 0, 1], free_port()?))) };
        let (gateway_at, indexer_at, planner_at) = (ports()?, ports()?, ports()?);
        let launch = |service: &str, id: &str, config: String, address: SocketAddr| {
            Service::launch(id.into(), &plan.binaries.join(format!("causeway-{service}")), &folder, &config, address)
        };
        let (mut running, mut metrics) = (Vec::new(), Vec::new());
        let mut apis = Vec::new();
        for number in 1..=engines {
            let (id, address, metrics_at) = (format!("{name}-engine-{number}"), ports()?, ports()?);
            let config = files.engine(&id, address, metrics_at, gateway_at, indexer_at, planner_at);
            metrics.push(metrics_at);
            running.push(launch("channel-engine", &id, config, address)?);
            apis.push(ChannelServiceClient::new(ClientConfig::plain(format!("http://{address}")).connect("engine")?));
        }
        let gateway = launch("peer-gateway", &format!("{name}-gateway"), files.gateway(gateway_at)?, gateway_at)?;
        let indexer = launch("chain-indexer", &format!("{name}-indexer"), files.indexer(indexer_at), indexer_at)?;
        let planner = launch("route-planner", &format!("{name}-planner"), files.planner(planner_at, gateway_at), planner_at)?;
        Ok(Self { name, key, database, engines: running, metrics, gateway, indexer, planner, apis })
    }

    /// Waits until all its processes serve.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        for service in self.services() {
            service.until_ready().await?;
        }
        Ok(())
    }

    /// Its API, at the first engine.
    pub fn api(&self) -> ChannelServiceClient<Connection> {
        self.api_at(0)
    }

    /// Its API, at an engine.
    pub fn api_at(&self, engine: usize) -> ChannelServiceClient<Connection> {
        self.apis[engine].clone()
    }

    /// `http://…` of its API.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.engines[0].address())
    }

    /// All its processes.
    pub fn services(&self) -> impl Iterator<Item = &Service> {
        self.engines.iter().chain([&self.gateway, &self.indexer, &self.planner])
    }
}

/// Makes the node's keystore as the services would at their first start, and reads its channel key: the gateway is told.
fn make_keys(folder: &Path, suits: impl Fn(&[u8; 32]) -> bool) -> anyhow::Result<[u8; 32]> {
    let (secret, keystore) = (folder.join("secret"), folder.join("keystore"));
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no randomness: {error}"))?;
    fs::write(&secret, hex::encode(bytes))?;
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600))?;
    loop {
        let key = LocalSigner::new(Keys::open_or_create(&keystore, &KeySource::KeyFile(secret.clone()))?).channel_key();
        if suits(&key) {
            return Ok(key);
        }
        fs::remove_file(&keystore)?;
    }
}

/// The configuration files of a node.
struct Files<'a> {
    name: &'a str,
    key: [u8; 32],
    folder: &'a Path,
    database: &'a str,
    global_config: &'a Path,
    engine: &'static str,
}

impl Files<'_> {
    fn engine(
        &self,
        id: &str,
        at: SocketAddr,
        metrics: SocketAddr,
        gateway: SocketAddr,
        indexer: SocketAddr,
        planner: SocketAddr,
    ) -> String {
        format!(
            "engine_id = \"{id}\"\ndatabase = \"{}\"\nglobal_id = -3\nsettable_clock = true\ngateways = [{}]\nindexer = {}\nplanner = {}\n\
             [server]\nlisten = \"{at}\"\n[metrics]\nlisten = \"{metrics}\"\n{}state_file = {:?}\n{}",
            self.database,
            client(gateway),
            client(indexer),
            client(planner),
            self.keystore(),
            self.folder.join(format!("{id}.state")),
            self.engine,
        )
    }

    fn gateway(&self, at: SocketAddr) -> anyhow::Result<String> {
        let udp = SocketAddr::from(([127, 0, 0, 1], free_udp_port()?));
        Ok(format!(
            "name = \"{}\"\nnode_key = \"{}\"\nadnl_key_file = {:?}\nlisten = \"{udp}\"\nexternal_address = \"{udp}\"\n\
             network_config_file = {:?}\n[server]\nlisten = \"{at}\"\n[database]\nurl = \"{}\"\n",
            self.name,
            hex::encode(self.key),
            self.folder.join("adnl.key"),
            self.global_config,
            self.database,
        ))
    }

    fn indexer(&self, at: SocketAddr) -> String {
        format!(
            "indexer_id = \"{}\"\ndatabase = \"{}\"\nglobal_id = -3\nglobal_config = {:?}\nfirst_block = 1\nsettable_clock = true\n\
             [server]\nlisten = \"{at}\"\n{}",
            self.name,
            self.database,
            self.global_config,
            self.keystore(),
        )
    }

    fn planner(&self, at: SocketAddr, gateway: SocketAddr) -> String {
        format!("gateway = {}\n[server]\nlisten = \"{at}\"\n[database]\nurl = \"{}\"\n", client(gateway), self.database)
    }

    fn keystore(&self) -> String {
        let file = |name: &str| -> PathBuf { self.folder.join(name) };
        format!("[keystore]\npath = {:?}\nkey_file = {:?}\n", file("keystore"), file("secret"))
    }
}

fn client(address: SocketAddr) -> String {
    format!("{{ endpoint = \"http://{address}\" }}")
}
