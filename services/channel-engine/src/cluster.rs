//! The other engines of the node. A task for a shard that one of them owns is told to it at once (design 3); polling stays the fallback, so
//! that nothing here has to succeed. What they do to their channels is read from the database, for choosing where to forward.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use protocol::{Address, Key};
use rpc::{
    ClientConfig, Connection,
    config::ConfigError,
    engine::v1::{
        PokeRequest, PokeResponse,
        channel_service_client::ChannelServiceClient,
        cluster_service_client::ClusterServiceClient,
        cluster_service_server::{ClusterService, ClusterServiceServer},
    },
};
use store::lease;
use tokio::{sync::Notify, time::timeout};
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use crate::{context::Context, gateways::lock};

/// How long another engine may take to hear a poke: as long as it would take to see the task by itself.
const HEAR: Duration = Duration::from_millis(200);
/// How long owners are remembered.
const OWNERS: Duration = Duration::from_secs(1);
/// How often the other engines' channels are looked at.
const LOOK: Duration = Duration::from_secs(2);

/// Shards of other engines that have new tasks.
#[derive(Default)]
pub struct Pokes {
    shards: Mutex<BTreeSet<u8>>,
    some: Notify,
}

impl Pokes {
    /// The owner of this shard is to be poked. Never waits; what comes while a poke is under way goes into the next one.
    pub fn poke(&self, shard: u8) {
        lock(&self.shards).insert(shard);
        self.some.notify_one();
    }
}

/// Pokes the owners, until the engine stops.
pub async fn poke(ctx: Arc<Context>) {
    let mut owners = Owners { read: None, by_shard: HashMap::new(), clients: HashMap::new() };
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = ctx.pokes.some.notified() => {}
        }
        if let Err(error) = owners.read(&ctx).await {
            debug!(%error, "owners of shards cannot be read");
        }
        let shards = std::mem::take(&mut *lock(&ctx.pokes.shards));
        let calls = owners.of(shards).into_iter().map(|(mut engine, shards)| async move {
            let request = PokeRequest { shards };
            matches!(timeout(HEAR, engine.poke(request)).await, Ok(Ok(_)))
        });
        let heard = futures::future::join_all(calls).await;
        ctx.metrics.pokes_sent.inc_by(heard.into_iter().filter(|heard| *heard).count() as u64);
    }
}

/// Who owns what, as of a moment ago.
struct Owners {
    read: Option<Instant>,
    by_shard: HashMap<u8, String>,
    clients: HashMap<String, ClusterServiceClient<Connection>>,
}

impl Owners {
    async fn read(&mut self, ctx: &Context) -> Result<(), store::Error> {
        if self.read.is_some_and(|read| read.elapsed() < OWNERS) {
            return Ok(());
        }
        self.read = Some(Instant::now());
        let members = lease::members(&ctx.pool.get().await?).await?;
        let others = members.into_iter().filter(|m| m.alive && m.engine != ctx.engine_id && !m.address.is_empty());
        self.by_shard.clear();
        for other in others {
            if !self.clients.contains_key(&other.address) {
                match ctx.engine_at(&other.address) {
                    Ok(connection) => drop(self.clients.insert(other.address.clone(), ClusterServiceClient::new(connection))),
                    Err(error) => warn!(engine = other.engine, %error, "engine cannot be poked"),
                }
            }
            self.by_shard.extend(other.shards.iter().map(|s| (s.shard, other.address.clone())));
        }
        let addresses: BTreeSet<&String> = self.by_shard.values().collect();
        self.clients.retain(|address, _| addresses.contains(address));
        Ok(())
    }

    fn of(&self, shards: BTreeSet<u8>) -> Vec<(ClusterServiceClient<Connection>, Vec<u32>)> {
        let mut by_owner: BTreeMap<&String, Vec<u32>> = BTreeMap::new();
        for shard in shards {
            if let Some(address) = self.by_shard.get(&shard) {
                by_owner.entry(address).or_default().push(shard.into());
            }
        }
        by_owner.into_iter().filter_map(|(address, shards)| Some((self.clients.get(address)?.clone(), shards))).collect()
    }
}

/// The end that is poked.
pub struct Cluster(Arc<Context>);

impl Cluster {
    /// The service, ready for a server.
    pub fn server(ctx: Arc<Context>) -> ClusterServiceServer<Self> {
        ClusterServiceServer::new(Self(ctx))
    }
}

#[tonic::async_trait]
impl ClusterService for Cluster {
    async fn poke(&self, request: Request<PokeRequest>) -> Result<Response<PokeResponse>, Status> {
        let owned = self.0.registry.shards();
        if request.get_ref().shards.iter().any(|shard| owned.iter().any(|own| u32::from(*own) == *shard)) {
            self.0.metrics.pokes_received.inc();
            self.0.poke.notify_one();
        }
        Ok(Response::new(PokeResponse {}))
    }
}

/// Keeps the hints about other engines' channels fresh, until the engine stops. One that owns all shards has nothing to look at.
pub async fn look(ctx: Arc<Context>) {
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        if ctx.registry.shards().len() < store::lease::SHARDS
            && let Err(error) = ctx.look_at_others().await
        {
            warn!(%error, "channels of other engines cannot be read");
        }
    }
}

impl Context {
    async fn look_at_others(&self) -> Result<(), store::Error> {
        let client = self.pool.get().await?;
        let channels = store::engine::open_channels(&client).await?;
        self.hints.replace(&channels, |peer| !self.owns(peer));
        Ok(())
    }

    /// Looks at the channels with one peer whose shard another engine owns.
    pub async fn look_at_peer(&self, peer: &Key) -> Result<(), store::Error> {
        const CHANNELS: u32 = 100;
        if !self.owns(peer) {
            let client = self.pool.get().await?;
            let channels = store::engine::channels(&client, Some(peer), false, None, CHANNELS).await?;
            self.hints.replace(&channels, |other| other == peer);
        }
        Ok(())
    }

    /// The channel to promise `amount` on. Before one of another engine is called too poor its rows are looked at: the hint may be old.
    pub async fn channel_towards(&self, peer: &Key, amount: u128) -> Option<Address> {
        let found = self.hints.towards(peer, amount);
        if found.is_some() {
            return found;
        }
        if let Err(error) = self.look_at_peer(peer).await {
            warn!(%error, "channels of other engines cannot be read");
        }
        self.hints.towards(peer, amount)
    }

    /// The API of the engine that owns the peer's shard, if it is another one.
    pub async fn owner_elsewhere(&self, peer: &Key) -> anyhow::Result<Option<ChannelServiceClient<Connection>>> {
        let shard = store::shard_of(peer);
        let members = lease::members(&self.pool.get().await?).await?;
        let owner = members.into_iter().find(|m| m.alive && m.shards.iter().any(|owned| owned.shard == shard));
        let owner = owner.filter(|owner| owner.engine != self.engine_id && !owner.address.is_empty());
        Ok(owner.map(|owner| self.engine_at(&owner.address)).transpose()?.map(ChannelServiceClient::new))
    }

    fn engine_at(&self, address: &str) -> Result<Connection, ConfigError> {
        let how = self.reached.clone().unwrap_or_else(|| ClientConfig::plain(""));
        ClientConfig { endpoint: address.into(), ..how }.connect("cluster")
    }

    /// Whether this engine owns the peer's shard.
    pub fn owns(&self, peer: &Key) -> bool {
        self.registry.epoch(store::shard_of(peer)).is_some()
    }
}
