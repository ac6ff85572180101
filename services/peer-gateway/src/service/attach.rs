use std::sync::Arc;
use std::time::{Duration, Instant};

use rpc::gateway::v1::{EngineFrame, GatewayFrame};
use rpc::{Error, ErrorCode};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use crate::Key;
use crate::engine_link::{EngineLink, write_frames};
use crate::gateway::Gateway;
use crate::outgoing;

/// How long an engine may take to say who it is.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest name of an engine.
const MAX_ENGINE_ID: usize = 128;
/// Frames on their way into the transport. Few: what waits is better off in a batch.
const FRAMES: usize = 2;
/// How often queries are looked for that the engine took too long for.
const EXPIRE: Duration = Duration::from_secs(1);

/// Takes an engine's stream; returns ours.
pub(super) async fn attach(
    gateway: &Arc<Gateway>,
    mut engine: Streaming<EngineFrame>,
) -> Result<ReceiverStream<Result<GatewayFrame, Status>>, Status> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, engine.message()).await;
    let mut first = first.map_err(|_| Error::new(ErrorCode::Timeout))??.unwrap_or_default();
    let field = |field: &str, rule: &str| Error::field(ErrorCode::InvalidField, field, rule);
    let hello = first.hello.take().ok_or_else(|| field("hello", "must be in the first frame"))?;
    if hello.engine_id.is_empty() || hello.engine_id.len() > MAX_ENGINE_ID {
        return Err(field("hello.engine_id", "must have 1 to 128 bytes").into());
    }
    if hello.node_key[..] != gateway.node_key {
        return Err(field("hello.node_key", "must be the channel key of the gateway's node").into());
    }
    let mut queue = None;
    let (link, welcome) = gateway.hub.attach(|id| {
        let (link, parts) = EngineLink::new(id, hello.engine_id.clone(), gateway.metrics.clone());
        queue = Some(parts);
        link
    });
    tracing::info!(engine = link.engine_id, "engine attached");
    let (frames, stream) = mpsc::channel(FRAMES);
    // There is room: it is new.
    let _ = frames.try_send(Ok(welcome));
    if let Some(parts) = queue {
        let link = link.clone();
        tokio::spawn(async move {
            write_frames(&link, parts, frames).await;
            link.close();
        });
    }
    tokio::spawn(read(gateway.clone(), link, engine, first));
    Ok(ReceiverStream::new(stream))
}

async fn read(gateway: Arc<Gateway>, link: Arc<EngineLink>, mut engine: Streaming<EngineFrame>, first: EngineFrame) {
    let mut tick = tokio::time::interval(EXPIRE);
    apply(&gateway, &link, first).await;
    let reason = loop {
        tokio::select! {
            () = link.closed() => break "closed".to_owned(),
            _ = tick.tick() => {
                let late = link.expire(Instant::now());
                if late > 0 {
                    tracing::warn!(engine = link.engine_id, late, "engine left queries without answer");
                }
            }
            frame = engine.message() => match frame {
                Ok(Some(frame)) => apply(&gateway, &link, frame).await,
                Ok(None) => break "ended by the engine".to_owned(),
                Err(status) => break status.to_string(),
            },
        }
    };
    gateway.hub.detach(link.id);
    tracing::info!(engine = link.engine_id, reason, "engine detached");
}

/// Parts in the order of their fields.
async fn apply(gateway: &Arc<Gateway>, link: &Arc<EngineLink>, frame: EngineFrame) {
    if let Some(ownership) = frame.ownership {
        gateway.hub.own(link.id, &ownership.shards);
    }
    if let Some(wanted) = frame.wanted_peers {
        let peers = wanted.peer_keys.iter().filter_map(|peer| Key::try_from(&peer[..]).ok());
        gateway.hub.want(link.id, peers.filter(|peer| *peer != gateway.node_key).collect());
    }
    for query in frame.queries {
        outgoing::start(gateway, link, query);
    }
    for answer in frame.answers {
        if let Some(asker) = link.answered(&answer, |peer, owner| gateway.hub.passes(peer, owner)) {
            asker.answer(answer.data).await;
        }
    }
    frame.signed_authenticates.into_iter().for_each(|signed| link.signed_authenticate(signed));
    frame.signed_node_records.into_iter().for_each(|signed| link.signed_node_record(signed));
}
