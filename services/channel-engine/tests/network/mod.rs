//! A network of engines without sockets: each node's gateway is a real gRPC service behind the in-process seam that hands queries straight to the
//! other node's gateway. The protobuf, the TL bytes, the engines and Postgres are the real ones.

// Each test file uses its part.
#![allow(dead_code, unused_imports)]

mod rows;
mod time;
mod world;

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use protocol::Key;
use rpc::gateway::v1::{
    gateway_service_server::{GatewayService, GatewayServiceServer},
    *,
};
use rpc::{Connection, Health, InProcess, Server};
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

pub use rows::Rows;
pub use world::{LIMIT, TON, World, get, uuid};

/// Answers that nobody gave by then are given up.
const LONGEST: Duration = Duration::from_secs(3);
/// Queries that are kept to be looked at.
const RECORDED: usize = 10_000;

/// Who is attached, and who waits for the answer to which query.
#[derive(Default)]
pub struct Network {
    engines: Mutex<Vec<Engine>>,
    waiting: Mutex<HashMap<u64, Asker>>,
    next: AtomicU64,
    recorded: Mutex<Vec<Query>>,
    cut: Mutex<Vec<[Key; 2]>>,
    lost: Mutex<Vec<u32>>,
}

/// A query that passed.
#[derive(Clone)]
pub struct Query {
    /// Who asked.
    pub from: Key,
    /// Whom.
    pub to: Key,
    /// Boxed request.
    pub data: Vec<u8>,
}

/// An engine's stream.
struct Engine {
    id: u64,
    node: Key,
    frames: mpsc::Sender<GatewayFrame>,
    /// Epochs by shard.
    owned: HashMap<u32, u64>,
}

enum Asker {
    Engine { id: u64, call: u64 },
    Test(oneshot::Sender<Vec<u8>>),
}

enum Delivery {
    Sent,
    /// Cut, or nobody there owns the asker's shard: dropped, as the real gateway does (design 3).
    Dropped,
    NoNode,
}

impl Network {
    /// The gateway of one node.
    pub async fn gateway(self: &Arc<Self>, node: Key, stop: &CancellationToken) -> Connection {
        let (client, listener) = InProcess::new();
        let service = GatewayServiceServer::new(Gateway { network: self.clone(), node });
        let server = Server::in_process(&Health::new()).await.add_service(service);
        tokio::spawn(server.serve_in_process(listener, stop.clone()));
        client.connect()
    }

    /// Asks `to` as if `from` had, with any bytes. Nothing if there is no answer within `patience`.
    pub async fn ask(&self, from: Key, to: Key, data: Vec<u8>, patience: Duration) -> Option<Vec<u8>> {
        let (tx, rx) = oneshot::channel();
        let id = self.next();
        self.waiting.lock().unwrap().insert(id, Asker::Test(tx));
        self.deliver(&to, IncomingQuery { query_id: id, peer_key: from.to_vec().into(), transport: 0, data: data.into() });
        let answer = tokio::time::timeout(patience, rx).await;
        self.waiting.lock().unwrap().remove(&id);
        answer.ok()?.ok()
    }

    /// From now on nothing passes between these two.
    pub fn cut(&self, one: Key, other: Key) {
        self.cut.lock().unwrap().push([one, other]);
    }

    /// The answer to the next query of this constructor is lost.
    pub fn lose_answer_to(&self, constructor: u32) {
        self.lost.lock().unwrap().push(constructor);
    }

    fn loses(&self, query: &[u8]) -> bool {
        let mut lost = self.lost.lock().unwrap();
        let place = lost.iter().position(|constructor| query.starts_with(&constructor.to_le_bytes()));
        place.map(|place| lost.swap_remove(place)).is_some()
    }

    /// The queries that engines sent so far.
    pub fn recorded(&self) -> Vec<Query> {
        self.recorded.lock().unwrap().clone()
    }

    fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    fn attach(&self, node: Key, frames: mpsc::Sender<GatewayFrame>) -> u64 {
        let id = self.next();
        let mut engines = self.engines.lock().unwrap();
        let peers = engines.iter().map(|e| e.node).filter(|k| *k != node);
        let sessions = peers.map(|key| session(key, true)).collect();
        let _ = frames.try_send(GatewayFrame { sessions, ..Default::default() });
        engines.iter().filter(|e| e.node != node).for_each(|e| e.sessions(session(node, true)));
        engines.push(Engine { id, node, frames, owned: HashMap::new() });
        id
    }

    fn detach(&self, id: u64) {
        let mut engines = self.engines.lock().unwrap();
        let Some(place) = engines.iter().position(|e| e.id == id) else { return };
        let node = engines.swap_remove(place).node;
        if engines.iter().all(|e| e.node != node) {
            engines.iter().for_each(|e| e.sessions(session(node, false)));
        }
    }

    fn deliver(&self, to: &Key, query: IncomingQuery) -> Delivery {
        let from = Key::try_from(&query.peer_key[..]).unwrap();
        if self.cut.lock().unwrap().iter().any(|pair| pair.contains(&from) && pair.contains(to)) {
            return Delivery::Dropped;
        }
        let shard = store::shard_of(&from).into();
        let engines = self.engines.lock().unwrap();
        if engines.iter().all(|e| e.node != *to) {
            return Delivery::NoNode;
        }
        let owner = engines.iter().filter(|e| e.node == *to).max_by_key(|e| e.owned.get(&shard).copied());
        let Some(owner) = owner.filter(|e| e.owned.contains_key(&shard)) else { return Delivery::Dropped };
        let sent = owner.frames.try_send(GatewayFrame { queries: vec![query], ..Default::default() });
        if sent.is_ok() { Delivery::Sent } else { Delivery::NoNode }
    }

    fn result(&self, engine: u64, call_id: u64, outcome: call_result::Outcome) {
        let result = CallResult { call_id, outcome: Some(outcome) };
        if let Some(engine) = self.engines.lock().unwrap().iter().find(|e| e.id == engine) {
            let _ = engine.frames.try_send(GatewayFrame { results: vec![result], ..Default::default() });
        }
    }

    /// No answer in time: as with the real gateway, nobody knows what the peer did.
    fn expire(self: &Arc<Self>, query: u64, after: Duration) {
        let network = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(Asker::Engine { id, call }) = network.waiting.lock().unwrap().remove(&query) {
                network.result(id, call, call_result::Outcome::Failure(CallFailure::Timeout.into()));
            }
        });
    }

    fn frame(self: &Arc<Self>, from: Key, engine: u64, frame: EngineFrame) {
        if let Some(ownership) = frame.ownership {
            let owned = ownership.shards.into_iter().map(|s| (s.shard, s.epoch)).collect();
            if let Some(engine) = self.engines.lock().unwrap().iter_mut().find(|e| e.id == engine) {
                engine.owned = owned;
            }
        }
        for query in frame.queries {
            let (to, call) = (Key::try_from(&query.peer_key[..]).unwrap(), query.call_id);
            {
                let mut recorded = self.recorded.lock().unwrap();
                if recorded.len() < RECORDED {
                    recorded.push(Query { from, to, data: query.data.to_vec() });
                }
            }
            let id = self.next();
            self.waiting.lock().unwrap().insert(id, Asker::Engine { id: engine, call });
            let patience = Duration::from_millis(query.timeout_ms.into());
            // An answer to another id is one that nobody waits for.
            let (query_id, patience) =
                if self.loses(&query.data) { (self.next(), patience) } else { (id, patience.min(LONGEST)) };
            self.expire(id, patience);
            let incoming =
                IncomingQuery { query_id, peer_key: from.to_vec().into(), transport: query.transport, data: query.data };
            if let Delivery::NoNode = self.deliver(&to, incoming) {
                self.waiting.lock().unwrap().remove(&id);
                self.result(engine, call, call_result::Outcome::Failure(CallFailure::NotConnected.into()));
            }
        }
        for answer in frame.answers {
            match self.waiting.lock().unwrap().remove(&answer.query_id) {
                Some(Asker::Engine { id, call }) => self.result(id, call, call_result::Outcome::Answer(answer.data)),
                Some(Asker::Test(tx)) => drop(tx.send(answer.data.into())),
                None => {}
            }
        }
    }
}

impl Engine {
    fn sessions(&self, session: PeerSession) {
        let _ = self.frames.try_send(GatewayFrame { sessions: vec![session], ..Default::default() });
    }
}

fn session(peer: Key, connected: bool) -> PeerSession {
    PeerSession { peer_key: peer.to_vec().into(), connected }
}

struct Gateway {
    network: Arc<Network>,
    node: Key,
}

#[tonic::async_trait]
impl GatewayService for Gateway {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<GatewayFrame, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<EngineFrame>>) -> Result<Response<Self::AttachStream>, Status> {
        let (tx, rx) = mpsc::channel(4096);
        let (network, node) = (self.network.clone(), self.node);
        let id = network.attach(node, tx);
        let mut frames = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                network.frame(node, id, frame);
            }
            network.detach(id);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx).map(Ok))))
    }

    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn ping_peer(&self, _: Request<PingPeerRequest>) -> Result<Response<PingPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn connect_peer(&self, _: Request<ConnectPeerRequest>) -> Result<Response<ConnectPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn disconnect_peer(&self, _: Request<DisconnectPeerRequest>) -> Result<Response<DisconnectPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }

    async fn advertise_address(&self, _: Request<AdvertiseAddressRequest>) -> Result<Response<AdvertiseAddressResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn query_peer(&self, _: Request<QueryPeerRequest>) -> Result<Response<QueryPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
}
