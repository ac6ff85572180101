//! Streams to the node's peer gateways. One per gateway, batches in both directions (design 3).

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use protocol::Key;
use rpc::{
    Connection,
    gateway::v1::{
        CallFailure, EngineFrame, GatewayFrame, Hello, IncomingQuery, OutgoingAnswer, OutgoingQuery, Ownership, ShardEpoch,
        SignAuthenticate, SignNodeRecord, SignedAuthenticate, SignedNodeRecord, Transport, WantedPeers, call_result::Outcome,
        gateway_service_client::GatewayServiceClient,
    },
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

/// Parts of frames that wait for a stream. A full queue drops the part: peers repeat their queries, and calls fail as not sent.
const QUEUE: usize = 8_192;
/// Parts in one frame.
const BATCH: usize = 256;
/// How long a gateway may take to read to the end of a stream.
const FINISH: Duration = Duration::from_secs(1);
/// The gateway ends each call in its time. One that says nothing for so long after it has lost it.
const GRACE: Duration = Duration::from_secs(5);
/// How often such calls are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Pause before a lost stream is attached again.
const REATTACH: Duration = Duration::from_millis(200);

/// Why a call has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing was sent.
    NotConnected,
    /// Unknown whether the peer got it.
    Timeout,
}

/// Takes the answer of a call.
pub type Deliver = Box<dyn FnOnce(Result<Vec<u8>, NoAnswer>) + Send>;

/// What gateways bring. Must not block.
pub trait Incoming: Send + Sync + 'static {
    /// A peer's query; answered through [`Gateways::answer`] with the same `gateway`.
    fn query(&self, gateway: usize, query: IncomingQuery);
    /// A peer's session came up or went down.
    fn session(&self, peer: Key, connected: bool);
    /// A signature over `payments.authenticate`.
    fn sign_authenticate(&self, gateway: usize, request: SignAuthenticate);
    /// The signatures of the node's DHT record.
    fn sign_node_record(&self, gateway: usize, request: SignNodeRecord);
}

/// A query to a peer.
#[derive(Debug, Clone)]
pub struct Query {
    /// Whom.
    pub peer: Key,
    /// Under which ownership.
    pub owner: ShardEpoch,
    /// Boxed request.
    pub data: Vec<u8>,
    /// Over RLDP rather than ADNL.
    pub rldp: bool,
    /// How long to wait.
    pub timeout_ms: u32,
    /// Connect first if there is no session.
    pub may_connect: bool,
}

/// A peer's session: at which gateway, and since when this engine knows of it.
#[derive(Debug, Clone, Copy)]
struct Session {
    link: usize,
    since: SystemTime,
}

enum Part {
    Query(OutgoingQuery),
    Answer(OutgoingAnswer),
    Authenticate(SignedAuthenticate),
    NodeRecord(SignedNodeRecord),
    /// Tells that everything before it has gone into frames.
    Mark(oneshot::Sender<()>),
}

struct Link {
    parts: mpsc::Sender<Part>,
    calls: Calls,
}

/// Calls by id.
type Calls = Arc<Mutex<HashMap<u64, Call>>>;

/// A call that waits for its answer.
struct Call {
    deliver: Deliver,
    until: Instant,
}

/// All gateways of the node, as an engine sees them.
pub struct Gateways {
    links: Vec<Link>,
    /// The newest session of each peer.
    sessions: Mutex<HashMap<Key, Session>>,
    next_call: AtomicU64,
    standing: watch::Sender<Standing>,
    tasks: TaskTracker,
    closing: CancellationToken,
}

/// What each stream must know from its first frame on.
#[derive(Debug, Clone, Default)]
struct Standing {
    ownership: Vec<ShardEpoch>,
    wanted: Vec<Key>,
}

/// What a link's task works on.
struct LinkTask {
    index: usize,
    hello: Hello,
    client: GatewayServiceClient<Connection>,
    parts: mpsc::Receiver<Part>,
    calls: Calls,
    standing: watch::Receiver<Standing>,
    closing: CancellationToken,
}

impl Gateways {
    /// Keeps one stream to each gateway until closed. `incoming` is asked for when the first frame comes.
    pub fn start(
        connections: Vec<Connection>,
        engine_id: String,
        node_key: Key,
        incoming: watch::Receiver<Option<Arc<dyn Incoming>>>,
    ) -> Arc<Self> {
        let (standing, standing_rx) = watch::channel(Standing::default());
        let closing = CancellationToken::new();
        let mut links = Vec::new();
        let mut tasks = Vec::new();
        for (index, connection) in connections.into_iter().enumerate() {
            let (tx, parts) = mpsc::channel(QUEUE);
            let calls = Arc::new(Mutex::new(HashMap::new()));
            links.push(Link { parts: tx, calls: calls.clone() });
            tasks.push(LinkTask {
                index,
                hello: Hello { engine_id: engine_id.clone(), node_key: node_key.to_vec().into() },
                client: GatewayServiceClient::new(connection)
                    .max_decoding_message_size(64 << 20)
                    .max_encoding_message_size(64 << 20),
                parts,
                calls,
                standing: standing_rx.clone(),
                closing: closing.clone(),
            });
        }
        let gateways = Arc::new(Self {
            links,
            sessions: Mutex::new(HashMap::new()),
            next_call: AtomicU64::new(1),
            standing,
            tasks: TaskTracker::new(),
            closing,
        });
        let calls = gateways.links.iter().map(|link| link.calls.clone()).collect();
        gateways.tasks.spawn(sweep(calls, gateways.closing.clone()));
        for task in tasks {
            gateways.tasks.spawn(task.run(gateways.clone(), incoming.clone()));
        }
        gateways
    }

    /// Ends all streams. What was queued before is with the gateways then, if they read it within a second; nothing is taken any more.
    pub async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Tells every gateway which shards this engine owns.
    pub fn own(&self, ownership: Vec<ShardEpoch>) {
        self.standing.send_modify(|s| s.ownership = ownership);
    }

    /// Tells every gateway whom to keep connected.
    pub fn want(&self, peers: Vec<Key>) {
        self.standing.send_if_modified(|s| {
            let changed = s.wanted != peers;
            s.wanted = peers;
            changed
        });
    }

    /// Since when a session with the peer is up somewhere, as far as this engine knows.
    pub fn connected_since(&self, peer: &Key) -> Option<SystemTime> {
        lock(&self.sessions).get(peer).map(|session| session.since)
    }

    /// Asks a peer. `deliver` is called exactly once.
    pub fn call(&self, query: Query, deliver: Deliver) {
        let link = match lock(&self.sessions).get(&query.peer) {
            Some(session) => Some(session.link),
            None => (query.may_connect && !self.links.is_empty()).then_some(0),
        };
        let Some(link) = link.and_then(|i| self.links.get(i)) else { return deliver(Err(NoAnswer::NotConnected)) };
        let call_id = self.next_call.fetch_add(1, Ordering::Relaxed);
        let until = Instant::now() + Duration::from_millis(query.timeout_ms.into()) + GRACE;
        let part = Part::Query(OutgoingQuery {
            call_id,
            peer_key: query.peer.to_vec().into(),
            owner: Some(query.owner),
            transport: if query.rldp { Transport::Rldp } else { Transport::Adnl }.into(),
            data: query.data.into(),
            timeout_ms: query.timeout_ms,
            may_connect: query.may_connect,
        });
        // Under the lock, as in `lost`: a call is there with its part, or neither is.
        let mut calls = lock(&link.calls);
        if link.parts.try_send(part).is_ok() {
            calls.insert(call_id, Call { deliver, until });
        } else {
            drop(calls);
            deliver(Err(NoAnswer::NotConnected));
        }
    }

    /// Answers a peer's query.
    pub fn answer(&self, gateway: usize, answer: OutgoingAnswer) {
        self.part(gateway, Part::Answer(answer));
    }

    /// Hands a signature to the gateway that asked for it.
    pub fn authenticate(&self, gateway: usize, signed: SignedAuthenticate) {
        self.part(gateway, Part::Authenticate(signed));
    }

    /// Hands the record's signatures to the gateway that asked for them.
    pub fn node_record(&self, gateway: usize, signed: SignedNodeRecord) {
        self.part(gateway, Part::NodeRecord(signed));
    }

    /// Waits until what was queued before is on its way to the gateways, or lost with a stream.
    pub async fn flush(&self) {
        let marks = self.links.iter().filter_map(|link| {
            let (mark, passed) = oneshot::channel();
            link.parts.try_send(Part::Mark(mark)).ok().map(|()| passed)
        });
        futures::future::join_all(marks).await;
    }

    fn part(&self, gateway: usize, part: Part) {
        // A full queue means a stream that is down or far behind: the asker repeats its query.
        if let Some(link) = self.links.get(gateway) {
            let _ = link.parts.try_send(part);
        }
    }
}

impl LinkTask {
    async fn run(mut self, gateways: Arc<Gateways>, mut incoming: watch::Receiver<Option<Arc<dyn Incoming>>>) {
        let Ok(handler) = incoming.wait_for(Option::is_some).await.map(|h| h.clone()) else { return };
        let Some(handler) = handler else { return };
        let closing = self.closing.clone();
        while !closing.is_cancelled() {
            if let Err(status) = self.attached(&gateways, &handler).await {
                warn!(gateway = self.index, %status, "gateway stream lost, attaching again");
            }
            self.lost(&gateways, &handler);
            tokio::select! {
                () = closing.cancelled() => {}
                () = tokio::time::sleep(REATTACH) => {}
            }
        }
    }

    /// One attachment, until the stream ends.
    async fn attached(&mut self, gateways: &Gateways, handler: &Arc<dyn Incoming>) -> Result<(), tonic::Status> {
        let (frames, outgoing) = mpsc::channel::<EngineFrame>(4);
        let mut first = self.standing_frame();
        first.hello = Some(self.hello.clone());
        frames.try_send(first).map_err(|_| tonic::Status::internal("new stream is full"))?;
        let closing = self.closing.clone();
        let mut stream = tokio::select! {
            () = closing.cancelled() => return Ok(()),
            attached = self.client.attach(ReceiverStream::new(outgoing)) => attached?.into_inner(),
        };
        info!(gateway = self.index, "attached to gateway");
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            tokio::select! {
                () = closing.cancelled() => break,
                frame = stream.message() => match frame? {
                    Some(frame) => self.dispatch(frame, gateways, handler),
                    None => return Ok(()),
                },
                changed = self.standing.changed() => {
                    changed.map_err(|_| tonic::Status::cancelled("engine stops"))?;
                    let frame = self.standing_frame();
                    frames.send(frame).await.map_err(|_| tonic::Status::unavailable("stream closed"))?;
                }
                // The slot first: what waits meanwhile goes into the same frame.
                slot = frames.reserve() => {
                    let slot = slot.map_err(|_| tonic::Status::unavailable("stream closed"))?;
                    tokio::select! {
                        () = closing.cancelled() => {}
                        frame = stream.message() => match frame? {
                            Some(frame) => self.dispatch(frame, gateways, handler),
                            None => return Ok(()),
                        },
                        changed = self.standing.changed() => {
                            changed.map_err(|_| tonic::Status::cancelled("engine stops"))?;
                            slot.send(self.standing_frame());
                        }
                        count = self.parts.recv_many(&mut batch, BATCH) => {
                            if count == 0 {
                                return Ok(());
                            }
                            let (frame, marks) = frame_of(batch.drain(..));
                            slot.send(frame);
                            marks.into_iter().for_each(|mark| mark.send(()).unwrap_or_default());
                        }
                    }
                }
            }
        }
        self.finish(frames, stream).await
    }

    /// Sends what is queued, and waits until the gateway has read it: it ends its stream when it has seen the end of ours.
    async fn finish(
        &mut self,
        frames: mpsc::Sender<EngineFrame>,
        mut stream: tonic::Streaming<GatewayFrame>,
    ) -> Result<(), tonic::Status> {
        self.parts.close();
        let finish = async {
            let mut batch = Vec::with_capacity(BATCH);
            while self.parts.recv_many(&mut batch, BATCH).await > 0 && frames.send(frame_of(batch.drain(..)).0).await.is_ok() {}
            drop(frames);
            while let Ok(Some(_)) = stream.message().await {}
        };
        tokio::time::timeout(FINISH, finish).await.map_err(|_| tonic::Status::deadline_exceeded("gateway reads too slowly"))
    }

    fn standing_frame(&mut self) -> EngineFrame {
        let standing = self.standing.borrow_and_update().clone();
        EngineFrame {
            ownership: Some(Ownership { shards: standing.ownership }),
            wanted_peers: Some(WantedPeers { peer_keys: standing.wanted.iter().map(|k| k.to_vec().into()).collect() }),
            ..EngineFrame::default()
        }
    }

    fn dispatch(&self, frame: GatewayFrame, gateways: &Gateways, handler: &Arc<dyn Incoming>) {
        for session in frame.sessions {
            let Ok(peer) = Key::try_from(&session.peer_key[..]) else { continue };
            {
                let mut sessions = lock(&gateways.sessions);
                if session.connected {
                    sessions.insert(peer, Session { link: self.index, since: SystemTime::now() });
                } else if sessions.get(&peer).is_some_and(|session| session.link == self.index) {
                    sessions.remove(&peer);
                }
            }
            handler.session(peer, session.connected);
        }
        for result in frame.results {
            let Some(call) = lock(&self.calls).remove(&result.call_id) else { continue };
            (call.deliver)(match result.outcome {
                Some(Outcome::Answer(data)) => Ok(data.into()),
                Some(Outcome::Failure(f)) if f == i32::from(CallFailure::Timeout) => Err(NoAnswer::Timeout),
                Some(Outcome::Failure(_)) => Err(NoAnswer::NotConnected),
                None => Err(NoAnswer::Timeout),
            });
        }
        for query in frame.queries {
            handler.query(self.index, query);
        }
        for request in frame.sign_authenticates {
            handler.sign_authenticate(self.index, request);
        }
        for request in frame.sign_node_records {
            handler.sign_node_record(self.index, request);
        }
    }

    /// The stream is gone: nobody knows what became of the calls on it, and the sessions on it are not ours to use.
    fn lost(&mut self, gateways: &Gateways, handler: &Arc<dyn Incoming>) {
        let lost: Vec<Call> = {
            let mut calls = lock(&self.calls);
            while self.parts.try_recv().is_ok() {}
            calls.drain().map(|(_, call)| call).collect()
        };
        lost.into_iter().for_each(|call| (call.deliver)(Err(NoAnswer::Timeout)));
        let index = self.index;
        let gone: Vec<Key> =
            lock(&gateways.sessions).extract_if(|_, session| session.link == index).map(|(peer, _)| peer).collect();
        gone.into_iter().for_each(|peer| handler.session(peer, false));
    }
}

/// Ends calls that a gateway does not: whoever asked waits for ever otherwise, and with it a whole channel.
async fn sweep(links: Vec<Calls>, closing: CancellationToken) {
    while tokio::time::timeout(SWEEP, closing.cancelled()).await.is_err() {
        let now = Instant::now();
        for calls in &links {
            let late: Vec<Call> = lock(calls).extract_if(|_, call| call.until <= now).map(|(_, call)| call).collect();
            late.into_iter().for_each(|call| (call.deliver)(Err(NoAnswer::Timeout)));
        }
    }
}

/// The parts in one frame, and the marks that were between them.
fn frame_of(parts: impl Iterator<Item = Part>) -> (EngineFrame, Vec<oneshot::Sender<()>>) {
    let (mut frame, mut marks) = (EngineFrame::default(), Vec::new());
    for part in parts {
        match part {
            Part::Query(query) => frame.queries.push(query),
            Part::Answer(answer) => frame.answers.push(answer),
            Part::Authenticate(signed) => frame.signed_authenticates.push(signed),
            Part::NodeRecord(signed) => frame.signed_node_records.push(signed),
            Part::Mark(mark) => marks.push(mark),
        }
    }
    (frame, marks)
}

/// These maps are only touched in short critical sections that cannot panic half-way, so a poisoned lock is still whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
