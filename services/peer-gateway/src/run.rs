//! Start, work, stop.

use std::path::PathBuf;
use std::sync::Arc;

use adnl::keys::PrivateKey;
use adnl::{AddressList, Endpoint};
use rldp::Rldp;
use rpc::config::ConfigError;
use rpc::{Health, InProcessListener, Metrics, Server, ServerConfig, ServerError};
use store::{Database, Pool};
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::connect::MAX_DIALS;
use crate::dht_node::DhtNode;
use crate::directory::Directory;
use crate::gateway::{Gateway, unix_now};
use crate::hub::Hub;
use crate::key_file::{KeyFileError, load_or_create};
use crate::limits::Limits;
use crate::publish::Publisher;
use crate::records::Records;
use crate::service::Service;
use crate::{identity, incoming, journal, keeper};

/// Largest network configuration file.
const MAX_NETWORK_CONFIG: u64 = 4 << 20;

/// Where engines find the service.
pub enum Listener {
    /// At an address.
    Network(ServerConfig),
    /// Inside this process.
    InProcess(InProcessListener),
}

/// Why a gateway cannot start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The ADNL key.
    #[error(transparent)]
    KeyFile(#[from] KeyFileError),
    /// The database cannot be used as configured.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The UDP address cannot be bound.
    #[error("cannot listen on UDP {address}: {source}")]
    Bind {
        /// Which address.
        address: std::net::SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The gRPC server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// Another process has claimed the ADNL key.
    #[error("another process uses the ADNL key now")]
    KeyLost,
}

/// Runs a gateway until `shutdown`. Ready when the database answers and an engine is attached.
///
/// # Errors
/// See [`Error`]. A database that does not answer is waited for.
pub async fn run(
    config: Config,
    listener: Listener,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let gate = health.gate("database", "not asked yet");
    let mut keys = vec![load_or_create(&config.adnl_key_file)?];
    if let Some(file) = config.dht_key_file() {
        keys.push(load_or_create(&file)?);
    }
    let database = Database::new(&config.database.url, &config.name)?;
    let pool = database.pool(config.database.max_connections)?;
    let mut identities = Vec::new();
    for key in &keys {
        match identity::claim(&database, &pool, key.public().as_bytes(), &gate, &shutdown).await {
            Some(identity) => identities.push(identity),
            None => return Ok(()),
        }
    }
    let stop = shutdown.child_token();
    let _stop_at_any_end = stop.clone().drop_guard();
    let owned = identities.iter().zip(keys).map(|(identity, key)| (key, identity.reinit)).collect();
    let (gateway, mut tasks) = start(&config, owned, pool.clone(), health, metrics, &stop).await?;
    let served = serve(listener, health, gateway.clone(), shutdown);
    let result = tokio::select! {
        served = served => served.map_err(Error::from),
        () = identity::until_lost(&pool, &identities, &gate) => Err(Error::KeyLost),
    };
    stop.cancel();
    gateway.hub.close();
    tasks.shutdown().await;
    gateway.endpoint.close().await;
    if let Some(node) = &gateway.dht_node {
        node.close().await;
    }
    if result.is_ok() {
        forget_rows(&pool, &config.name).await;
    }
    tracing::info!("stopped");
    result
}

/// Binds UDP and starts the tasks that live as long as the gateway. Keys and epochs: the gateway's, then those of the DHT node if there is to be one.
async fn start(
    config: &Config,
    keys: Vec<(PrivateKey, u32)>,
    pool: Pool,
    health: &Health,
    metrics: &Metrics,
    stop: &CancellationToken,
) -> Result<(Arc<Gateway>, JoinSet<()>), Error> {
    let metrics = crate::metrics::Metrics::register(metrics);
    store::gateway::close_sessions(&pool.get().await.map_err(store::Error::from)?, &config.name).await?;
    let mut keys = keys.into_iter();
    let Some((key, epoch)) = keys.next() else { return Err(Error::KeyLost) };
    let mut nodes = config.network_config_file.as_ref().map(dht_nodes).transpose()?.unwrap_or_default();
    let mut tasks = JoinSet::new();
    let mut dht_node = None;
    if let (Some(dht), Some((key, epoch))) = (&config.dht, keys.next()) {
        let node = DhtNode::start(dht, key, epoch, nodes.clone(), &mut tasks).await?;
        nodes.splice(0..0, node.local());
        dht_node = Some(node);
    }
    let records = Arc::new(Records::default());
    let adnl = adnl::Config { key: key.clone(), epoch, listen: config.listen, advertise: config.external_address };
    let journal = records.clone();
    let (endpoint, incoming) = Endpoint::bind(adnl, move |record| journal.set(&record))
        .await
        .map_err(|source| Error::Bind { address: config.listen, source })?;
    let (rldp, rldp_queries) = Rldp::start(endpoint.clone(), incoming.customs);
    let dht = (!nodes.is_empty()).then(|| dht::Client::new(endpoint.clone(), nodes));
    let addrs = config.external_address.into_iter().collect();
    let advertised = AddressList { addrs, version: epoch, reinit_date: epoch, ..AddressList::default() };
    let engines = health.gate("engine", "no engine is attached");
    let gateway = Arc::new(Gateway {
        name: config.name.clone(),
        node_key: config.node_key.0,
        hub: Hub::new(config.name.clone(), endpoint.id(), engines, metrics.clone()),
        endpoint,
        rldp,
        limits: Limits::default(),
        records,
        directory: Directory { configured: config.peers.clone(), pool, dht: dht.clone() },
        advertised: watch::Sender::new(advertised),
        dht_node,
        metrics,
        dialling: Default::default(),
        dials: Semaphore::new(MAX_DIALS),
        changed: Notify::new(),
    });
    tracing::info!(adnl_id = %gateway.endpoint.id(), adnl_key = hex::encode(key.public().to_bytes()),
        address = %gateway.endpoint.local_addr(), epoch, "UDP is up");
    tasks.spawn(incoming::take_adnl(gateway.clone(), incoming.queries));
    tasks.spawn(incoming::take_rldp(gateway.clone(), rldp_queries));
    tasks.spawn(keeper::follow_notices(gateway.clone(), incoming.notices));
    tasks.spawn(keeper::keep_wanted(gateway.clone(), stop.clone()));
    tasks.spawn(keeper::greet_remembered(gateway.clone(), stop.clone()));
    tasks.spawn(journal::keep_rows(gateway.clone(), stop.clone()));
    tasks.spawn(crate::metrics::follow_endpoints(gateway.clone(), stop.clone()));
    if let Some(dht) = dht {
        let publisher = Publisher { gateway: gateway.clone(), dht, adnl_key: key, last_ttl: 0 };
        tasks.spawn(publisher.run(stop.clone()));
    }
    Ok((gateway, tasks))
}

/// The `dht` section of a network configuration with this gateway's DHT node as the static one, for others to begin with. Makes its key if there
/// is none.
///
/// # Errors
/// The configuration breaks a rule or has no section `dht`; the key file.
pub fn dht_section(config: &Config) -> Result<serde_json::Value, Error> {
    config.validate()?;
    let (Some(dht), Some(file)) = (&config.dht, config.dht_key_file()) else {
        return Err(ConfigError::rule("dht", "must be set").into());
    };
    let node = dht::Node::present(&load_or_create(&file)?, dht.external_address, unix_now());
    Ok(dht::dht_section(&[node]))
}

fn dht_nodes(path: &PathBuf) -> Result<Vec<dht::Node>, ConfigError> {
    let rule = |rule: String| ConfigError::rule("network_config_file", rule);
    let size = std::fs::metadata(path).map_err(|error| rule(format!("must be readable ({error})")))?.len();
    if size > MAX_NETWORK_CONFIG {
        return Err(rule(format!("must be at most {MAX_NETWORK_CONFIG} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| rule(format!("must be readable ({error})")))?;
    let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| rule(format!("must be JSON ({error})")))?;
    let nodes = dht::static_nodes(&json);
    match nodes.is_empty() {
        true => Err(rule("must have valid nodes in `dht.static_nodes`".into())),
        false => Ok(nodes),
    }
}

/// Serves engines. Streams end with the shutdown: they would never end by themselves.
async fn serve(
    listener: Listener,
    health: &Health,
    gateway: Arc<Gateway>,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let end_streams = async {
        shutdown.cancelled().await;
        gateway.hub.close();
        std::future::pending::<()>().await;
    };
    let serving = async {
        match listener {
            Listener::Network(config) => {
                let server = Server::new(&config, "server", health).await?.add_service(Service::server(gateway.clone()));
                let server = server.bind().await?;
                tracing::info!(address = %server.local_addr(), "serving engines");
                server.serve(shutdown.clone()).await
            }
            Listener::InProcess(listener) => {
                let server = Server::in_process(health).await.add_service(Service::server(gateway.clone()));
                server.serve_in_process(listener, shutdown.clone()).await
            }
        }
    };
    tokio::select! {
        served = serving => served,
        () = end_streams => Ok(()),
    }
}

/// Nobody has sessions here any more, and somebody else may publish.
async fn forget_rows(pool: &Pool, name: &str) {
    let forgotten = async {
        let client = pool.get().await?;
        store::gateway::close_sessions(&client, name).await?;
        store::gateway::stop_publishing(&client, name).await
    };
    let forgotten: Result<_, store::Error> = forgotten.await;
    if let Err(error) = forgotten {
        tracing::warn!(%error, "rows of this gateway remain");
    }
}
