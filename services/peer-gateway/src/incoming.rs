//! Queries of peers: answered here, or passed to the engine that owns the peer's shard.

use std::sync::Arc;
use std::time::Instant;

use adnl::keys::AdnlId;
use bytes::Bytes;
use rpc::gateway::v1::{IncomingQuery, Transport};
use tl::Object as _;
use tokio::sync::mpsc;
use wire::message::{Authenticate, MAX_MESSAGE_BYTES, Ping, Pong, ProposeChannelConfig};

use crate::gateway::{Gateway, constructor};
use crate::limits::{Kind, Room};

/// Where an answer goes.
enum Responder {
    Adnl(adnl::Responder),
    Rldp(rldp::Responder),
}

/// Who waits for an answer; silence if it is dropped.
pub(crate) struct Asker {
    responder: Responder,
    _room: Room,
}

impl Asker {
    pub async fn answer(self, data: impl Into<Bytes>) {
        let sent = match self.responder {
            Responder::Adnl(responder) => responder.answer(data).await.map_err(|error| error.to_string()),
            Responder::Rldp(responder) => responder.answer(data).await.map_err(|error| error.to_string()),
        };
        if let Err(error) = sent {
            tracing::debug!(error, "answer not sent");
        }
    }
}

/// Takes ADNL queries until the endpoint is closed.
pub(crate) async fn take_adnl(gateway: Arc<Gateway>, mut queries: mpsc::Receiver<adnl::IncomingQuery>) {
    while let Some(query) = queries.recv().await {
        take(&gateway, query.peer_id, Transport::Adnl, query.data, Responder::Adnl(query.responder)).await;
    }
}

/// Takes RLDP queries until the endpoint is closed.
pub(crate) async fn take_rldp(gateway: Arc<Gateway>, mut queries: mpsc::Receiver<rldp::IncomingQuery>) {
    while let Some(query) = queries.recv().await {
        take(&gateway, query.peer, Transport::Rldp, query.data, Responder::Rldp(query.responder)).await;
    }
}

async fn take(gateway: &Arc<Gateway>, adnl: AdnlId, transport: Transport, data: Bytes, responder: Responder) {
    let (Some(id), true) = (constructor(&data), data.len() <= MAX_MESSAGE_BYTES) else {
        return gateway.metrics.incoming("malformed");
    };
    let session = gateway.hub.session_of_adnl(&adnl);
    let kind = match &session {
        _ if id == Authenticate::ID => Kind::Authenticate,
        Some(_) => Kind::Peer,
        None => Kind::Stranger,
    };
    let room = match gateway.limits.admit(adnl, kind, data.len(), Instant::now()) {
        Ok(room) => room,
        Err(limit) => return gateway.metrics.incoming(limit.name()),
    };
    let asker = Asker { responder, _room: room };
    match (id, session) {
        (Ping::ID, _) => {
            let Ok(ping) = Ping::from_boxed(&data) else { return gateway.metrics.incoming("malformed") };
            gateway.metrics.incoming("ping");
            asker.answer(Pong { value: ping.value }.to_boxed()).await;
        }
        (Authenticate::ID, _) => {
            gateway.metrics.incoming("authenticate");
            let gateway = gateway.clone();
            tokio::spawn(async move {
                if let Some(answer) = gateway.answer_authenticate(adnl, &data).await {
                    asker.answer(answer).await;
                }
            });
        }
        (_, Some(session)) => {
            let passed = gateway
                .hub
                .owner_of(&session.peer)
                .map(|engine| engine.ask(adnl, Some(session.peer), query(&session.peer, transport, data), asker));
            gateway.metrics.incoming(outcome(passed, "no_owner"));
        }
        // Terms are told to anybody (payments 1.4), so by any engine.
        (ProposeChannelConfig::ID, None) => {
            let engine = gateway.hub.engines().into_iter().next();
            let passed = engine.map(|engine| engine.ask(adnl, None, query(&[], transport, data), asker));
            gateway.metrics.incoming(outcome(passed, "no_owner"));
        }
        (_, None) => gateway.metrics.incoming("not_authenticated"),
    }
}

fn query(peer: &[u8], transport: Transport, data: Bytes) -> IncomingQuery {
    IncomingQuery { query_id: 0, peer_key: Bytes::copy_from_slice(peer), transport: transport.into(), data }
}

fn outcome(passed: Option<bool>, nobody: &'static str) -> &'static str {
    match passed {
        Some(true) => "passed",
        Some(false) => "engine_behind",
        None => nobody,
    }
}
