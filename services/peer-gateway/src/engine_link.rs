//! Our end of the stream of one engine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adnl::keys::AdnlId;
use bytes::Bytes;
use rpc::gateway::v1::{
    CallResult, GatewayFrame, IncomingQuery, OutgoingAnswer, PeerSession, ShardEpoch, SignAuthenticate, SignNodeRecord,
    SignedAuthenticate, SignedNodeRecord,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::calls::Calls;
use crate::fair::FairQueue;
use crate::incoming::Asker;
use crate::metrics::Metrics;
use crate::shards::LinkId;
use crate::{Key, lock};

/// Parts that wait for the stream and must not be lost: when that is full, the stream is closed.
const QUEUE: usize = 16_384;
/// Queries of peers that wait for the stream. They may be lost: peers repeat them.
const MAX_WAITING: usize = 8_192;
/// Parts and bytes of one frame.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// How long an engine may take for an answer; the reference's handlers have as long (payments 1.4).
const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an engine may take for a signature.
const SIGN_TIMEOUT: Duration = Duration::from_secs(2);

/// Something for an engine, besides queries of peers.
pub(crate) enum Part {
    Session(PeerSession),
    Result(CallResult),
    SignAuthenticate(SignAuthenticate),
    SignNodeRecord(SignNodeRecord),
}

/// A query of a peer that the engine has not answered yet.
struct Unanswered {
    /// Whom the answer is for; a stranger's terms have no owner.
    peer: Option<Key>,
    asker: Asker,
    deadline: Instant,
}

/// See the module.
pub(crate) struct EngineLink {
    pub id: LinkId,
    pub engine_id: String,
    /// Room for the engine's calls.
    pub calls: Calls,
    parts: mpsc::Sender<Part>,
    /// Queries of peers, each peer in its turn.
    waiting: Mutex<FairQueue<AdnlId, IncomingQuery>>,
    /// There is something in it.
    asked: Notify,
    metrics: Metrics,
    stop: CancellationToken,
    next: AtomicU64,
    unanswered: Mutex<HashMap<u64, Unanswered>>,
    authenticates: Mutex<HashMap<u64, oneshot::Sender<SignedAuthenticate>>>,
    node_records: Mutex<HashMap<u64, oneshot::Sender<SignedNodeRecord>>>,
}

impl EngineLink {
    pub fn new(id: LinkId, engine_id: String, metrics: Metrics) -> (Arc<Self>, mpsc::Receiver<Part>) {
        let (parts, queue) = mpsc::channel(QUEUE);
        let link = Self {
            id,
            engine_id,
            calls: Calls::default(),
            parts,
            waiting: Mutex::new(FairQueue::new(MAX_WAITING)),
            asked: Notify::new(),
            metrics,
            stop: CancellationToken::new(),
            next: AtomicU64::new(1),
            unanswered: Mutex::default(),
            authenticates: Mutex::default(),
            node_records: Mutex::default(),
        };
        (Arc::new(link), queue)
    }

    /// Ends the stream.
    pub fn close(&self) {
        self.stop.cancel();
    }

    pub async fn closed(&self) {
        self.stop.cancelled().await;
    }

    fn next_id(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Queues a part. It must arrive, so a stream without room for it is ended, and the engine attaches anew.
    pub fn send(&self, part: Part) {
        if self.parts.try_send(part).is_err() && !self.stop.is_cancelled() {
            tracing::warn!(engine = self.engine_id, "stream is too far behind, closing it");
            self.close();
        }
    }

    /// Hands a query to the engine, in its ADNL peer's turn. When the engine is far behind, whoever has most queries waiting loses one,
    /// and is left in silence: peers repeat their queries. Whether this one was taken.
    pub fn ask(&self, adnl: AdnlId, peer: Option<Key>, mut query: IncomingQuery, asker: Asker) -> bool {
        query.query_id = self.next_id();
        let (id, bytes) = (query.query_id, query.data.len());
        lock(&self.unanswered).insert(id, Unanswered { peer, asker, deadline: Instant::now() + HANDLER_TIMEOUT });
        let dropped = {
            let mut waiting = lock(&self.waiting);
            let dropped = waiting.push(adnl, query, bytes);
            self.metrics.waiting_queries.set(waiting.len() as i64);
            dropped
        };
        self.asked.notify_one();
        let Some(dropped) = dropped else { return true };
        lock(&self.unanswered).remove(&dropped.query_id);
        if dropped.query_id != id {
            self.metrics.incoming("crowded_out");
        }
        dropped.query_id != id
    }

    /// The next query that is still waited for.
    fn next_query(&self) -> Option<IncomingQuery> {
        let mut waiting = lock(&self.waiting);
        let unanswered = lock(&self.unanswered);
        let next = std::iter::from_fn(|| waiting.pop()).find(|query| unanswered.contains_key(&query.query_id));
        self.metrics.waiting_queries.set(waiting.len() as i64);
        next
    }

    /// Whom an answer goes to, if `passes` lets it: none when it comes late.
    pub fn answered(&self, answer: &OutgoingAnswer, passes: impl FnOnce(&Key, Option<&ShardEpoch>) -> bool) -> Option<Asker> {
        let unanswered = lock(&self.unanswered).remove(&answer.query_id)?;
        let allowed = unanswered.peer.is_none_or(|peer| passes(&peer, answer.owner.as_ref()));
        allowed.then_some(unanswered.asker)
    }

    /// Forgets queries that the engine took too long for. To be called about every second.
    pub fn expire(&self, now: Instant) -> usize {
        let mut unanswered = lock(&self.unanswered);
        let before = unanswered.len();
        unanswered.retain(|_, query| query.deadline > now);
        before - unanswered.len()
    }

    /// A signature of the channel key for `authenticate`; none when the engine refuses or does not answer.
    pub async fn sign_authenticate(&self, own: &Key, peer: &Key, timestamp: i64) -> Option<SignedAuthenticate> {
        let (id, (done, signed)) = (self.next_id(), oneshot::channel());
        lock(&self.authenticates).insert(id, done);
        let request = SignAuthenticate {
            request_id: id,
            own_adnl_id: Bytes::copy_from_slice(own),
            peer_adnl_id: Bytes::copy_from_slice(peer),
            timestamp_unix: timestamp,
        };
        self.send(Part::SignAuthenticate(request));
        let signed = self.wait(signed).await;
        lock(&self.authenticates).remove(&id);
        signed
    }

    /// The signatures of the node's DHT record.
    pub async fn sign_node_record(&self, adnl_id: &Key, expires_at: u32) -> Option<SignedNodeRecord> {
        let (id, (done, signed)) = (self.next_id(), oneshot::channel());
        lock(&self.node_records).insert(id, done);
        self.send(Part::SignNodeRecord(SignNodeRecord {
            request_id: id,
            adnl_id: Bytes::copy_from_slice(adnl_id),
            expires_at_unix: expires_at,
        }));
        let signed = self.wait(signed).await;
        lock(&self.node_records).remove(&id);
        signed
    }

    async fn wait<T>(&self, signed: oneshot::Receiver<T>) -> Option<T> {
        tokio::select! {
            signed = tokio::time::timeout(SIGN_TIMEOUT, signed) => signed.ok()?.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    pub fn signed_authenticate(&self, signed: SignedAuthenticate) {
        if let Some(done) = lock(&self.authenticates).remove(&signed.request_id) {
            let _ = done.send(signed);
        }
    }

    pub fn signed_node_record(&self, signed: SignedNodeRecord) {
        if let Some(done) = lock(&self.node_records).remove(&signed.request_id) {
            let _ = done.send(signed);
        }
    }
}

/// Writes frames until the stream ends: each is what queued up while the one before was written.
pub(crate) async fn write_frames(
    link: &EngineLink,
    mut parts: mpsc::Receiver<Part>,
    frames: mpsc::Sender<Result<GatewayFrame, Status>>,
) {
    let writing = async {
        // The slot first: what comes meanwhile goes into the same frame.
        while let Ok(slot) = frames.reserve().await {
            let first = tokio::select! {
                part = parts.recv() => match part {
                    Some(part) => Some(part),
                    None => return,
                },
                () = link.asked.notified() => None,
            };
            let frame = frame(link, first, &mut parts);
            if frame != GatewayFrame::default() {
                slot.send(Ok(frame));
            }
        }
    };
    tokio::select! {
        () = writing => {}
        () = link.closed() => {}
    }
}

/// What must arrive first, then queries of peers in their turns.
fn frame(link: &EngineLink, first: Option<Part>, parts: &mut mpsc::Receiver<Part>) -> GatewayFrame {
    let (mut frame, mut bytes, mut room) = (GatewayFrame::default(), 0, BATCH);
    let mut next = first.or_else(|| parts.try_recv().ok());
    while let Some(part) = next {
        bytes += add(&mut frame, part);
        room -= 1;
        next = if room > 0 && bytes < BATCH_BYTES { parts.try_recv().ok() } else { None };
    }
    // However much else there is: half a frame is for peers.
    for _ in 0..room.max(BATCH / 2) {
        let Some(query) = link.next_query() else { return frame };
        bytes += query.data.len();
        frame.queries.push(query);
        if bytes >= 2 * BATCH_BYTES {
            break;
        }
    }
    // There may be more.
    link.asked.notify_one();
    frame
}

/// Returns about how many bytes were added.
fn add(frame: &mut GatewayFrame, part: Part) -> usize {
    use rpc::gateway::v1::call_result::Outcome;
    match part {
        Part::Session(session) => frame.sessions.push(session),
        Part::SignAuthenticate(request) => frame.sign_authenticates.push(request),
        Part::SignNodeRecord(request) => frame.sign_node_records.push(request),
        Part::Result(result) => {
            let bytes = if let Some(Outcome::Answer(data)) = &result.outcome { data.len() } else { 0 };
            frame.results.push(result);
            return bytes;
        }
    }
    0
}
