//! Queries of engines to peers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rpc::gateway::v1::call_result::Outcome;
use rpc::gateway::v1::{CallFailure, CallResult, OutgoingQuery};
use tokio::time::Instant;

use crate::Key;
use crate::engine_link::{EngineLink, Part};
use crate::gateway::Gateway;

/// Longest time that an engine may give a call.
const MAX_TIMEOUT: Duration = Duration::from_secs(60);

/// Begins a query. Its result goes into the stream, whatever it is.
pub(crate) fn start(gateway: &Arc<Gateway>, link: &Arc<EngineLink>, query: OutgoingQuery) {
    let peer = Key::try_from(&query.peer_key[..]).ok().filter(|peer| gateway.hub.passes(peer, query.owner.as_ref()));
    let Some(peer) = peer else { return finish(gateway, link, query.call_id, Err(CallFailure::Dropped)) };
    let Some(room) = link.calls.admit(peer) else {
        gateway.metrics.outgoing("limited");
        return finish(gateway, link, query.call_id, Err(CallFailure::Dropped));
    };
    let (gateway, link) = (gateway.clone(), link.clone());
    tokio::spawn(async move {
        let id = query.call_id;
        let answer = call(&gateway, &peer, query).await;
        finish(&gateway, &link, id, answer);
        drop(room);
    });
}

fn finish(gateway: &Gateway, link: &EngineLink, call_id: u64, answer: Result<Bytes, CallFailure>) {
    gateway.metrics.outgoing(match &answer {
        Ok(_) => "answered",
        Err(CallFailure::NotConnected) => "not_connected",
        Err(CallFailure::Dropped) => "dropped",
        Err(CallFailure::Timeout | CallFailure::Unspecified) => "timeout",
    });
    let outcome = match answer {
        Ok(answer) => Outcome::Answer(answer),
        Err(failure) => Outcome::Failure(failure.into()),
    };
    link.send(Part::Result(CallResult { call_id, outcome: Some(outcome) }));
}

async fn call(gateway: &Arc<Gateway>, peer: &Key, query: OutgoingQuery) -> Result<Bytes, CallFailure> {
    let deadline = Instant::now() + Duration::from_millis(query.timeout_ms.into()).min(MAX_TIMEOUT);
    let session = match gateway.hub.session_of_peer(peer) {
        Some(session) => session,
        None if query.may_connect => {
            let connected = tokio::time::timeout_at(deadline, gateway.connect(peer, None)).await;
            let session = connected.ok().and_then(Result::ok).ok_or(CallFailure::NotConnected)?;
            // Connecting took time, in which the shard may have moved.
            if !gateway.hub.passes(peer, query.owner.as_ref()) {
                return Err(CallFailure::Dropped);
            }
            session
        }
        None => return Err(CallFailure::NotConnected),
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let (transport, data) = (query.transport(), query.data);
    gateway.query_session(&session, transport, data, left).await
}
