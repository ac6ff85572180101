//! Keeps the rows of sessions and remembered peers like what is true here. Compared and repeated, so nothing is lost while the database
//! is away.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use adnl::keys::AdnlId;
use tokio_util::sync::CancellationToken;

use crate::Key;
use crate::gateway::Gateway;
use crate::records::Place;
use crate::sessions::Session;

/// How often addresses are looked at; sessions are written when they change.
const EVERY: Duration = Duration::from_secs(5);
/// Pause after a failure.
const RETRY: Duration = Duration::from_secs(1);

#[derive(PartialEq, Eq)]
struct Written {
    adnl: AdnlId,
    since: SystemTime,
    place: Option<Place>,
}

/// Writes until stopped.
pub(crate) async fn keep_rows(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut written = HashMap::new();
    loop {
        let pause = match write(&gateway, &mut written).await {
            Ok(()) => EVERY,
            Err(error) => {
                tracing::warn!(%error, "sessions cannot be written");
                RETRY
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = gateway.changed.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

async fn write(gateway: &Gateway, written: &mut HashMap<Key, Written>) -> Result<(), store::Error> {
    let sessions = gateway.hub.sessions_after(None, usize::MAX);
    let ended = |written: &HashMap<Key, Written>| -> Vec<Key> {
        written.keys().filter(|peer| sessions.binary_search_by(|session| session.peer.cmp(peer)).is_err()).copied().collect()
    };
    let now = |session: &Session| Written { adnl: session.adnl, since: session.since, place: gateway.records.get(&session.adnl) };
    let changed: Vec<_> = sessions.iter().filter(|session| written.get(&session.peer) != Some(&now(session))).collect();
    let ended = ended(written);
    if changed.is_empty() && ended.is_empty() {
        return Ok(());
    }
    let client = gateway.directory.pool.get().await?;
    for peer in ended {
        store::gateway::close_session(&client, &peer, &gateway.name).await?;
        written.remove(&peer);
    }
    for session in changed {
        let (new, old) = (now(session), written.get(&session.peer));
        if old.is_none_or(|old| (old.adnl, old.since) != (new.adnl, new.since)) {
            store::gateway::open_session(&client, &session.peer, &gateway.name).await?;
        }
        if let Some(place) = new.place {
            let peer = store::gateway::Peer {
                adnl_key: place.adnl_key.to_bytes(),
                node: Some(session.peer),
                address: place.address.to_string(),
                seen: SystemTime::now(),
            };
            store::gateway::remember_peer(&client, &peer).await?;
        }
        written.insert(session.peer, new);
    }
    Ok(())
}
