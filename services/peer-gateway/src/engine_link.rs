//! Our end of the stream of one engine.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc::gateway::v1::{
    CallResult, GatewayFrame, IncomingQuery, OutgoingAnswer, PeerSession, ShardEpoch, SignAuthenticate, SignNodeRecord,
    SignedAuthenticate, SignedNodeRecord,
};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::incoming::Asker;
use crate::shards::LinkId;
use crate::{Key, lock};

/// Parts that wait for the stream. The last half is for what must not be lost: when even that is full, the stream is closed.
const QUEUE: usize = 16_384;
/// Parts and bytes of one frame.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 4 << 20;
/// Queries of an engine under way; more are refused.
const MAX_CALLS: usize = 4_096;
/// How long an engine may take for an answer; the reference's handlers have as long (payments 1.4).
const HANDLER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long an engine may take for a signature.
const SIGN_TIMEOUT: Duration = Duration::from_secs(2);

/// Something for an engine.
pub(crate) enum Part {
    Session(PeerSession),
    Query(IncomingQuery),
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
    pub calls: Arc<Semaphore>,
    parts: mpsc::Sender<Part>,
    stop: CancellationToken,
    next: AtomicU64,
    unanswered: Mutex<HashMap<u64, Unanswered>>,
    authenticates: Mutex<HashMap<u64, oneshot::Sender<SignedAuthenticate>>>,
    node_records: Mutex<HashMap<u64, oneshot::Sender<SignedNodeRecord>>>,
}

impl EngineLink {
    pub fn new(id: LinkId, engine_id: String) -> (Arc<Self>, mpsc::Receiver<Part>) {
        let (parts, queue) = mpsc::channel(QUEUE);
        let link = Self {
            id,
            engine_id,
            calls: Arc::new(Semaphore::new(MAX_CALLS)),
            parts,
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

    /// Queues a part. Queries are dropped when the engine is far behind: peers repeat them. Anything else must arrive, so a stream
    /// without room for it is ended, and the engine attaches anew. Whether it was queued.
    pub fn send(&self, part: Part) -> bool {
        if matches!(part, Part::Query(_)) && self.parts.capacity() < QUEUE / 2 {
            return false;
        }
        let sent = self.parts.try_send(part).is_ok();
        if !sent && !self.stop.is_cancelled() {
            tracing::warn!(engine = self.engine_id, "stream is too far behind, closing it");
            self.close();
        }
        sent
    }

    /// Hands a query of a peer to the engine. Whether it was taken; if not, the peer is left in silence.
    pub fn ask(&self, peer: Option<Key>, mut query: IncomingQuery, asker: Asker) -> bool {
        query.query_id = self.next_id();
        let id = query.query_id;
        lock(&self.unanswered).insert(id, Unanswered { peer, asker, deadline: Instant::now() + HANDLER_TIMEOUT });
        let sent = self.send(Part::Query(query));
        if !sent {
            lock(&self.unanswered).remove(&id);
        }
        sent
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
            let Some(first) = parts.recv().await else { return };
            slot.send(Ok(frame(first, &mut parts)));
        }
    };
    tokio::select! {
        () = writing => {}
        () = link.closed() => {}
    }
}

fn frame(first: Part, parts: &mut mpsc::Receiver<Part>) -> GatewayFrame {
    let (mut frame, mut bytes, mut next) = (GatewayFrame::default(), 0, Some(first));
    for _ in 0..BATCH {
        let Some(part) = next.take() else { break };
        bytes += add(&mut frame, part);
        if bytes >= BATCH_BYTES {
            break;
        }
        next = parts.try_recv().ok();
    }
    // A part that was taken belongs to this frame even when it is one more than a batch.
    if let Some(part) = next {
        add(&mut frame, part);
    }
    frame
}

/// Returns about how many bytes were added.
fn add(frame: &mut GatewayFrame, part: Part) -> usize {
    use rpc::gateway::v1::call_result::Outcome;
    match part {
        Part::Session(session) => frame.sessions.push(session),
        Part::SignAuthenticate(request) => frame.sign_authenticates.push(request),
        Part::SignNodeRecord(request) => frame.sign_node_records.push(request),
        Part::Query(query) => {
            let bytes = query.data.len();
            frame.queries.push(query);
            return bytes;
        }
        Part::Result(result) => {
            let bytes = if let Some(Outcome::Answer(data)) = &result.outcome { data.len() } else { 0 };
            frame.results.push(result);
            return bytes;
        }
    }
    0
}
