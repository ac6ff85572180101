//! Keeps wanted peers connected (payments 2.3), greets those remembered after a start, and follows what ADNL reports.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use adnl::Notice;
use adnl::keys::AdnlId;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Key;
use crate::directory::remembered_place;
use crate::gateway::Gateway;

/// Pause after an answered ping, and after a first failure (payments 2.3). Each further failure doubles it, up to a limit.
const PING_EVERY: Duration = Duration::from_secs(10);
const RETRY_FIRST: Duration = Duration::from_secs(3);
const RETRY_MAX: Duration = Duration::from_secs(48);
/// A peer that nobody wants any more is kept for so long: its shard may be moving between engines.
const LINGER: Duration = Duration::from_secs(30);
/// How often tasks are compared with what is wanted, besides every change.
const RECONCILE: Duration = Duration::from_secs(1);
/// Whom we greet after a start: so many, seen since then at the latest.
const MAX_GREETED: u32 = 1_024;
const GREET_SEEN_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// Runs one task per wanted peer.
pub(crate) async fn keep_wanted(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut wanted = gateway.hub.wanted();
    let mut kept: HashMap<Key, JoinHandle<()>> = HashMap::new();
    let mut tick = tokio::time::interval(RECONCILE);
    loop {
        kept.retain(|_, task| !task.is_finished());
        let missing: Vec<Key> = wanted.borrow_and_update().iter().filter(|peer| !kept.contains_key(*peer)).copied().collect();
        for peer in missing {
            let keep = keep(gateway.clone(), peer, gateway.hub.wanted(), stop.clone());
            kept.insert(peer, tokio::spawn(keep));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
            changed = wanted.changed() => if changed.is_err() { return },
        }
    }
}

async fn keep(gateway: Arc<Gateway>, peer: Key, wanted: watch::Receiver<HashSet<Key>>, stop: CancellationToken) {
    let mut unwanted_since = None;
    let mut failures = 0;
    loop {
        if wanted.borrow().contains(&peer) {
            unwanted_since = None;
        } else if unwanted_since.get_or_insert_with(Instant::now).elapsed() >= LINGER {
            break;
        }
        failures = match round(&gateway, &peer).await {
            true => 0,
            false => failures + 1,
        };
        let pause = pause_after(failures);
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
    if let Some(session) = gateway.hub.session_of_peer(&peer) {
        gateway.disconnect(&session, "not wanted any more").await;
    }
}

/// The pause after so many failures in a row.
fn pause_after(failures: u32) -> Duration {
    match failures {
        0 => PING_EVERY,
        _ => RETRY_FIRST.saturating_mul(1 << (failures - 1).min(16)).min(RETRY_MAX),
    }
}

/// Connects if need be, and pings. Whether the peer is there.
async fn round(gateway: &Arc<Gateway>, peer: &Key) -> bool {
    let session = match gateway.connect(peer, None).await {
        Ok(session) => session,
        Err(error) => {
            tracing::debug!(peer = hex::encode(peer), %error, "wanted peer cannot be reached");
            gateway.metrics.kept("unreachable");
            return false;
        }
    };
    gateway.pin(&session).await;
    let pong = gateway.ping(&session).await;
    gateway.metrics.kept(if pong.is_ok() { "pong" } else { "no_pong" });
    if pong.is_err() {
        gateway.end_session(&session, "no pong");
    }
    pong.is_ok()
}

/// After a start peers may believe in what the run before agreed with them (network 3.13): we speak first.
pub(crate) async fn greet_remembered(gateway: Arc<Gateway>, stop: CancellationToken) {
    let mut attached = gateway.hub.attached();
    tokio::select! {
        () = stop.cancelled() => return,
        _ = attached.wait_for(|any| *any) => {}
    }
    let peers = async {
        let client = gateway.directory.pool.get().await?;
        store::gateway::peers(&client, MAX_GREETED).await
    };
    let peers = peers.await.unwrap_or_else(|error: store::Error| {
        tracing::warn!(%error, "remembered peers cannot be read");
        Vec::new()
    });
    let since = SystemTime::now() - GREET_SEEN_WITHIN;
    for peer in peers.into_iter().filter(|peer| peer.seen >= since) {
        let (Some(node), Some(place)) = (peer.node, remembered_place(&peer)) else { continue };
        let gateway = gateway.clone();
        tokio::spawn(async move {
            if gateway.hub.session_of_peer(&node).is_none()
                && let Err(error) = gateway.connect(&node, Some(place)).await
            {
                tracing::debug!(peer = hex::encode(node), %error, "remembered peer cannot be reached");
            }
        });
    }
}

/// Follows restarts and ends of ADNL peers.
pub(crate) async fn follow_notices(gateway: Arc<Gateway>, mut notices: mpsc::Receiver<Notice>) {
    while let Some(notice) = notices.recv().await {
        match notice {
            Notice::Up(_) => {}
            Notice::Reset(adnl) => doubt(&gateway, adnl),
            Notice::Gone(adnl) => {
                gateway.records.forget(&adnl);
                doubt(&gateway, adnl);
            }
        }
    }
}

fn doubt(gateway: &Arc<Gateway>, adnl: AdnlId) {
    if let Some(session) = gateway.hub.session_of_adnl(&adnl) {
        tokio::spawn(gateway.clone().recheck(session));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_with_failures_up_to_a_limit() {
        let seconds: Vec<u64> = (0..8).map(|failures| pause_after(failures).as_secs()).collect();
        assert_eq!(seconds, [10, 3, 6, 12, 24, 48, 48, 48]);
        assert_eq!(pause_after(u32::MAX), RETRY_MAX);
    }
}
