//! Gateways with real UDP and a real database, and engines that only the tests know.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adnl::keys::PrivateKey;
use bytes::Bytes;
use ed25519_dalek::{Signer as _, SigningKey};
use peer_gateway::{Config, Error, Listener, load_or_create};
use rpc::gateway::v1::gateway_service_client::GatewayServiceClient;
use rpc::gateway::v1::{
    CallFailure, CallResult, EngineFrame, GatewayFrame, Hello, IncomingQuery, OutgoingAnswer, OutgoingQuery, Ownership,
    ShardEpoch, SignAuthenticate, SignNodeRecord, SignedAuthenticate, SignedNodeRecord, Transport, WantedPeers,
    call_result::Outcome,
};
use rpc::{Connection, Health, InProcess, Metrics};
use testkit::{Cluster, Database, free_udp_port};
use tl::Object as _;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

pub const PATIENCE: Duration = Duration::from_secs(60);

pub type Key = [u8; 32];

/// The owner's view of a peer's shard.
pub fn owner(peer: &Key, epoch: u64) -> ShardEpoch {
    ShardEpoch { shard: store::shard_of(peer).into(), epoch }
}

/// A node: its channel key, its gateway's key and place, its database.
pub struct Node {
    pub key: SigningKey,
    pub adnl: PrivateKey,
    pub udp: SocketAddr,
    pub database: Database,
    pub key_file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Node {
    pub async fn new(cluster: &Cluster, name: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key_file = folder.path().join("adnl.key");
        let key = SigningKey::from_bytes(&PrivateKey::generate().to_seed());
        let udp = ([127, 0, 0, 1], free_udp_port().unwrap()).into();
        let database = cluster.create_database(name).await.unwrap();
        Self { key, adnl: load_or_create(&key_file).unwrap(), udp, database, key_file, _folder: folder }
    }

    pub fn public(&self) -> Key {
        self.key.verifying_key().to_bytes()
    }

    /// Configuration as an operator writes it. The peers are at the places of these nodes, under these channel keys.
    pub fn config(&self, peers: &[(Key, &Node)], more: &str) -> String {
        let peers: Vec<_> = peers
            .iter()
            .map(|(key, peer)| {
                let adnl = hex::encode(peer.adnl.public().to_bytes());
                format!("{{ node_key = '{}', adnl_key = '{adnl}', address = '{}' }}", hex::encode(key), peer.udp)
            })
            .collect();
        format!(
            "name = '{}'\nnode_key = '{}'\nadnl_key_file = '{}'\nlisten = '{}'\npeers = [{}]\n{more}\n[database]\nurl = '{}'\n",
            self.database.name,
            hex::encode(self.public()),
            self.key_file.display(),
            self.udp,
            peers.join(", "),
            self.database.url,
        )
    }

    pub fn start(&self, peers: &[(Key, &Node)], more: &str) -> Gateway {
        Gateway::start(&self.config(peers, more))
    }
}

/// A gateway in this process.
pub struct Gateway {
    pub seam: InProcess,
    pub health: Health,
    pub stop: CancellationToken,
    pub ended: JoinHandle<Result<(), Error>>,
}

impl Gateway {
    pub fn start(config: &str) -> Self {
        let config: Config = toml::from_str(config).unwrap();
        let (seam, listener) = InProcess::new();
        let (health, stop) = (Health::new(), CancellationToken::new());
        let ended = tokio::spawn({
            let (health, stop) = (health.clone(), stop.clone());
            async move { peer_gateway::run(config, Listener::InProcess(listener), &health, &Metrics::default(), stop).await }
        });
        Self { seam, health, stop, ended }
    }

    pub fn client(&self) -> GatewayServiceClient<Connection> {
        GatewayServiceClient::new(self.seam.connect())
    }

    pub async fn engine(&self, node: &Node, name: &str) -> Engine {
        Engine::attach(self.seam.connect(), &node.key, name).await
    }
}

type Calls = Arc<Mutex<HashMap<u64, oneshot::Sender<CallResult>>>>;

/// An engine that signs for its node, answers nothing by itself and remembers what it hears.
pub struct Engine {
    pub frames: mpsc::Sender<EngineFrame>,
    pub queries: mpsc::UnboundedReceiver<IncomingQuery>,
    /// Peers whose session is up.
    pub sessions: watch::Receiver<BTreeSet<Key>>,
    pub ended: CancellationToken,
    calls: Calls,
    next: AtomicU64,
}

impl Engine {
    /// Attaches, as often as it takes.
    pub async fn attach(connection: Connection, key: &SigningKey, name: &str) -> Self {
        let attached = testkit::wait_for("gateway", PATIENCE, async || Self::try_attach(connection.clone(), key, name).await);
        attached.await.unwrap()
    }

    pub async fn try_attach(connection: Connection, key: &SigningKey, name: &str) -> Result<Self, tonic::Status> {
        let (frames, stream) = mpsc::channel(16);
        let hello = Hello { engine_id: name.into(), node_key: key.verifying_key().to_bytes().to_vec().into() };
        frames.try_send(EngineFrame { hello: Some(hello), ..EngineFrame::default() }).unwrap();
        let mut incoming = GatewayServiceClient::new(connection).attach(ReceiverStream::new(stream)).await?.into_inner();
        let (query_sender, queries) = mpsc::unbounded_channel();
        let (session_sender, sessions) = watch::channel(BTreeSet::new());
        let (calls, ended) = (Calls::default(), CancellationToken::new());
        let mut reader = Reader {
            key: key.clone(),
            frames: frames.clone(),
            queries: query_sender,
            sessions: session_sender,
            calls: calls.clone(),
        };
        let end = ended.clone().drop_guard();
        tokio::spawn(async move {
            let _end = end;
            while let Ok(Some(frame)) = incoming.message().await {
                reader.take(frame).await;
            }
        });
        Ok(Self { frames, queries, sessions, ended, calls, next: AtomicU64::new(1) })
    }

    pub async fn own(&self, shards: Vec<ShardEpoch>) {
        let frame = EngineFrame { ownership: Some(Ownership { shards }), ..EngineFrame::default() };
        self.frames.send(frame).await.unwrap();
    }

    pub async fn want(&self, peers: &[Key]) {
        let peer_keys = peers.iter().map(|peer| Bytes::copy_from_slice(peer)).collect();
        let frame = EngineFrame { wanted_peers: Some(WantedPeers { peer_keys }), ..EngineFrame::default() };
        self.frames.send(frame).await.unwrap();
    }

    pub async fn until_connected(&mut self, peer: &Key) {
        let up = self.sessions.wait_for(|sessions| sessions.contains(peer));
        tokio::time::timeout(PATIENCE, up).await.expect("a session in time").expect("an attached engine");
    }

    pub async fn until_lost(&mut self, peer: &Key) {
        let down = self.sessions.wait_for(|sessions| !sessions.contains(peer));
        tokio::time::timeout(PATIENCE, down).await.expect("the session's end in time").expect("an attached engine");
    }

    pub async fn call(&self, query: OutgoingQuery) -> Result<Bytes, CallFailure> {
        let (call_id, (done, result)) = (self.next.fetch_add(1, Ordering::Relaxed), oneshot::channel());
        self.calls.lock().unwrap().insert(call_id, done);
        let query = OutgoingQuery { call_id, ..query };
        self.frames.send(EngineFrame { queries: vec![query], ..EngineFrame::default() }).await.unwrap();
        let result = tokio::time::timeout(PATIENCE, result).await.expect("a result in time").expect("an attached engine");
        match result.outcome.unwrap() {
            Outcome::Answer(answer) => Ok(answer),
            Outcome::Failure(failure) => Err(CallFailure::try_from(failure).unwrap()),
        }
    }

    pub async fn next_query(&mut self) -> IncomingQuery {
        tokio::time::timeout(PATIENCE, self.queries.recv()).await.expect("a query in time").expect("an attached engine")
    }

    pub async fn answer(&self, query: &IncomingQuery, owner: ShardEpoch, data: &[u8]) {
        let answer = OutgoingAnswer { query_id: query.query_id, owner: Some(owner), data: Bytes::copy_from_slice(data) };
        self.frames.send(EngineFrame { answers: vec![answer], ..EngineFrame::default() }).await.unwrap();
    }
}

/// A query with room to change.
pub fn query(peer: &Key, epoch: u64, transport: Transport, data: &[u8]) -> OutgoingQuery {
    OutgoingQuery {
        call_id: 0,
        peer_key: Bytes::copy_from_slice(peer),
        owner: Some(owner(peer, epoch)),
        transport: transport.into(),
        data: Bytes::copy_from_slice(data),
        timeout_ms: 7_000,
        may_connect: false,
    }
}

struct Reader {
    key: SigningKey,
    frames: mpsc::Sender<EngineFrame>,
    queries: mpsc::UnboundedSender<IncomingQuery>,
    sessions: watch::Sender<BTreeSet<Key>>,
    calls: Calls,
}

impl Reader {
    async fn take(&mut self, frame: GatewayFrame) {
        for session in frame.sessions {
            let peer = Key::try_from(&session.peer_key[..]).unwrap();
            self.sessions.send_modify(|sessions| {
                let _ = if session.connected { sessions.insert(peer) } else { sessions.remove(&peer) };
            });
        }
        for result in frame.results {
            let done = self.calls.lock().unwrap().remove(&result.call_id).expect("one result for each call");
            let _ = done.send(result);
        }
        for query in frame.queries {
            let _ = self.queries.send(query);
        }
        let signed = EngineFrame {
            signed_authenticates: frame.sign_authenticates.iter().map(|request| self.authenticate(request)).collect(),
            signed_node_records: frame.sign_node_records.iter().map(|request| self.node_record(request)).collect(),
            ..EngineFrame::default()
        };
        if signed != EngineFrame::default() {
            let _ = self.frames.send(signed).await;
        }
    }

    fn authenticate(&self, request: &SignAuthenticate) -> SignedAuthenticate {
        let own = Key::try_from(&request.own_adnl_id[..]).unwrap();
        let peer = Key::try_from(&request.peer_adnl_id[..]).unwrap();
        let digest = wire::authenticate::digest(&own, &peer, request.timestamp_unix);
        SignedAuthenticate {
            request_id: request.request_id,
            public_key: self.key.verifying_key().to_bytes().to_vec().into(),
            signature: self.key.sign(&digest).to_vec().into(),
        }
    }

    fn node_record(&self, request: &SignNodeRecord) -> SignedNodeRecord {
        let owner = PrivateKey::from_seed(&self.key.to_bytes());
        let adnl_addr = Key::try_from(&request.adnl_id[..]).unwrap();
        let data = wire::message::NodeAddress { adnl_addr }.to_boxed();
        let value = dht::Value::signed(&owner, dht::PAYMENT_NODE, data, request.expires_at_unix);
        SignedNodeRecord {
            request_id: request.request_id,
            public_key: self.key.verifying_key().to_bytes().to_vec().into(),
            description_signature: value.description.signature.into(),
            value_signature: value.signature.into(),
        }
    }
}
