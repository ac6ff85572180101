//! The other engines of the node. A task for a shard that one of them owns is told to it at once (design 3), and so are shards that it may take;
//! polling stays the fallback, so that none of these has to succeed. What needs the owner of a shard itself is asked of it, once. What others do to their
//! channels is read from the database, for choosing where to forward.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use protocol::{Address, Key};
use rpc::{
    ClientConfig, Connection, Error, ErrorCode,
    engine::v1::{
        AgreeChannelRequest, AgreeChannelResponse, PokeRequest, PokeResponse, TakeRequest, TakeResponse,
        cluster_service_client::ClusterServiceClient,
        cluster_service_server::{ClusterService, ClusterServiceServer},
    },
};
use store::lease::{self, Member};
use tokio::{
    sync::{Notify, oneshot},
    time::timeout,
};
use tonic::{Request, Response, Status};
use tracing::{debug, warn};

use crate::{context::Context, gateways::lock, peer::Message};

/// How long another engine may take to hear a poke: as long as it would take to see the task by itself.
const HEAR: Duration = Duration::from_millis(200);
/// How long owners are remembered.
const OWNERS: Duration = Duration::from_secs(1);
/// The most that agreeing a channel takes at its peer's owner: terms and offer, twice.
const AGREE: Duration = Duration::from_secs(90);
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

/// Connections to the node's other engines, by address.
pub struct Others {
    how: ClientConfig,
    clients: Mutex<HashMap<String, ClusterServiceClient<Connection>>>,
}

impl Others {
    /// `how`: what reaches them, but for the address.
    pub fn new(how: ClientConfig) -> Self {
        Self { how, clients: Mutex::default() }
    }

    /// A way to the engine, if it tells an address that can be used.
    fn client(&self, engine: &Member) -> Option<ClusterServiceClient<Connection>> {
        if engine.address.is_empty() {
            return None;
        }
        let mut clients = lock(&self.clients);
        if let Some(client) = clients.get(&engine.address) {
            return Some(client.clone());
        }
        let config = ClientConfig { endpoint: engine.address.clone(), ..self.how.clone() };
        match config.connect("cluster") {
            Ok(connection) => {
                let client = ClusterServiceClient::new(connection);
                clients.insert(engine.address.clone(), client.clone());
                Some(client)
            }
            Err(error) => {
                warn!(engine = engine.engine, %error, "engine cannot be reached");
                None
            }
        }
    }

    /// Forgets engines that are gone.
    fn keep(&self, members: &[Member]) {
        lock(&self.clients).retain(|address, _| members.iter().any(|m| m.address == *address));
    }
}

/// Pokes the owners, until the engine stops.
pub async fn poke(ctx: Arc<Context>) {
    let mut owners = Owners::default();
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = ctx.pokes.some.notified() => {}
        }
        if let Err(error) = owners.read(&ctx).await {
            debug!(%error, "owners of shards cannot be read");
        }
        let shards = std::mem::take(&mut *lock(&ctx.pokes.shards));
        let calls = owners.of(&ctx, &shards).into_iter().map(|(mut engine, shards)| async move {
            let request = PokeRequest { shards };
            matches!(timeout(HEAR, engine.poke(request)).await, Ok(Ok(_)))
        });
        let heard = futures::future::join_all(calls).await;
        ctx.metrics.pokes_sent.inc_by(heard.into_iter().filter(|heard| *heard).count() as u64);
    }
}

/// Who owns what, as of a moment ago.
#[derive(Default)]
struct Owners {
    read: Option<Instant>,
    others: Vec<Member>,
}

impl Owners {
    async fn read(&mut self, ctx: &Context) -> Result<(), store::Error> {
        if self.read.is_some_and(|read| read.elapsed() < OWNERS) {
            return Ok(());
        }
        self.read = Some(Instant::now());
        self.others = ctx.others_alive().await?;
        Ok(())
    }

    fn of(&self, ctx: &Context, shards: &BTreeSet<u8>) -> Vec<(ClusterServiceClient<Connection>, Vec<u32>)> {
        let owned = |other: &Member| {
            let owned: Vec<u32> = other.shards.iter().filter(|s| shards.contains(&s.shard)).map(|s| s.shard.into()).collect();
            if owned.is_empty() { None } else { Some((ctx.others.client(other)?, owned)) }
        };
        self.others.iter().filter_map(owned).collect()
    }
}

/// Shards are there for others to take: they need not wait for their next look.
pub async fn tell_to_take(ctx: &Context) -> Result<(), store::Error> {
    let others = ctx.others_alive().await?;
    let calls = others.iter().filter_map(|other| ctx.others.client(other)).map(|mut engine| async move {
        if let Ok(Err(error)) = timeout(HEAR, engine.take(TakeRequest {})).await {
            debug!(%error, "engine was not told of shards that it may take");
        }
    });
    futures::future::join_all(calls).await;
    Ok(())
}

/// The end that others call.
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

    async fn take(&self, _: Request<TakeRequest>) -> Result<Response<TakeResponse>, Status> {
        self.0.free.notify_one();
        Ok(Response::new(TakeResponse {}))
    }

    async fn agree_channel(&self, request: Request<AgreeChannelRequest>) -> Result<Response<AgreeChannelResponse>, Status> {
        let malformed = |_| Error::field(ErrorCode::InvalidKey, "peer_key", "must have 32 bytes");
        let peer = Key::try_from(&request.get_ref().peer_key[..]).map_err(malformed)?;
        let address = self.0.agree_channel_here(&peer).await?;
        Ok(Response::new(AgreeChannelResponse { address: address.to_vec() }))
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
    /// The node's other engines.
    async fn others_alive(&self) -> Result<Vec<Member>, store::Error> {
        let mut members = lease::members(&self.pool.get().await?).await?;
        members.retain(|m| m.alive && m.engine != self.engine_id);
        self.others.keep(&members);
        Ok(members)
    }

    /// Agrees a new channel with the peer: here, or at the engine that owns its shard.
    pub async fn agree_channel(self: &Arc<Self>, peer: &Key) -> Result<Address, Error> {
        match self.agree_channel_here(peer).await {
            Err(error) if error.code() == ErrorCode::NotOwner => self.agree_channel_there(peer).await,
            ended => ended,
        }
    }

    async fn agree_channel_here(self: &Arc<Self>, peer: &Key) -> Result<Address, Error> {
        let not_owner = || Error::new(ErrorCode::NotOwner);
        let (tx, rx) = oneshot::channel();
        self.peer(peer).ok_or_else(not_owner)?.send(Message::Open(tx));
        // Dropped with the peer's task: the shard has gone meanwhile.
        rx.await.map_err(|_| not_owner())?
    }

    async fn agree_channel_there(&self, peer: &Key) -> Result<Address, Error> {
        let unavailable = |error| Error::with_message(ErrorCode::Unavailable, error);
        let shard = store::shard_of(peer);
        let others = self.others_alive().await.map_err(|error| unavailable(error.to_string()))?;
        let owner = others.iter().find(|other| other.shards.iter().any(|owned| owned.shard == shard));
        let owner = owner.ok_or_else(|| Error::new(ErrorCode::NotOwner))?;
        let failed = |why: &str| unavailable(format!("engine `{}`, which owns this peer's shard: {why}", owner.engine));
        let mut client = self.others.client(owner).ok_or_else(|| failed("it tells no address"))?;
        match timeout(AGREE, client.agree_channel(AgreeChannelRequest { peer_key: peer.to_vec() })).await {
            Ok(Ok(agreed)) => {
                let address = Address::try_from(&agreed.get_ref().address[..]);
                address.map_err(|_| Error::with_message(ErrorCode::Internal, "an address of another length"))
            }
            Ok(Err(status)) => {
                let error = Error::from(status);
                Err(if error.code() == ErrorCode::Unavailable { failed(error.message()) } else { error })
            }
            Err(_) => Err(failed("it does not answer")),
        }
    }

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

    /// Whether this engine owns the peer's shard.
    pub fn owns(&self, peer: &Key) -> bool {
        self.registry.epoch(store::shard_of(peer)).is_some()
    }
}
