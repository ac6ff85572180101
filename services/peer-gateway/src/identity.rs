//! The exclusive use of the ADNL key, and the epoch of this run.

use std::time::Duration;

use rpc::Gate;
use store::gateway::Identity;
use store::{Database, Pool};
use tokio_util::sync::CancellationToken;

use crate::gateway::unix_now;

/// Pause between tries while the database is away.
const RETRY: Duration = Duration::from_secs(1);
/// How often we look whether the key is still ours.
const CHECK: Duration = Duration::from_secs(1);
/// Peers refuse an epoch more than 60 s ahead of their clocks (network 3.6). With more than this we wait for the clock.
const MAX_AHEAD: u32 = 30;

/// Claims the key, trying until the database answers; none when stopped before. The epoch is stored before it is used, and above every
/// earlier one even after a restart in the same second (network 3.13).
pub(crate) async fn claim(
    database: &Database,
    pool: &Pool,
    key: &[u8; 32],
    gate: &Gate,
    stop: &CancellationToken,
) -> Option<Identity> {
    loop {
        let claimed = async {
            store::migrate(database).await?;
            store::gateway::claim(&pool.get().await?, key, unix_now()).await
        };
        let claimed: Result<_, store::Error> = claimed.await;
        match claimed {
            Ok(identity) => {
                gate.open();
                return wait_for_clock(identity, stop).await;
            }
            Err(error) => {
                tracing::warn!(%error, "the ADNL key cannot be claimed yet");
                gate.close("the database does not answer");
            }
        }
        pause(RETRY, stop).await?;
    }
}

async fn wait_for_clock(identity: Identity, stop: &CancellationToken) -> Option<Identity> {
    while identity.reinit > unix_now().saturating_add(MAX_AHEAD) {
        tracing::warn!(epoch = identity.reinit, "the clock is behind the last start; waiting for it");
        pause(RETRY, stop).await?;
    }
    Some(identity)
}

/// Returns when another process has claimed one of the keys. A database that is away takes nothing from us, but readiness.
pub(crate) async fn until_lost(pool: &Pool, identities: &[Identity], gate: &Gate) {
    loop {
        tokio::time::sleep(CHECK).await;
        let held = async {
            let client = pool.get().await?;
            for identity in identities {
                if !store::gateway::holds(&client, identity).await? {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let held: Result<_, store::Error> = held.await;
        match held {
            Ok(true) => gate.open(),
            Ok(false) => return,
            Err(error) => gate.close(format!("the database does not answer: {error}")),
        }
    }
}

/// Sleeps; none when stopped before.
async fn pause(time: Duration, stop: &CancellationToken) -> Option<()> {
    tokio::select! {
        () = stop.cancelled() => None,
        () = tokio::time::sleep(time) => Some(()),
    }
}
