//! The end of an engine, in an order in which nothing that was signed is lost, and nothing is sent after the shards were given back: no new
//! event, verdicts of the commits in flight, what they release, out to the gateways, and only then the shards (design 5).

use std::{sync::Arc, time::Duration};

use tokio::{task::JoinHandle, time::timeout};
use tracing::{info, warn};

use crate::{context::Context, ownership};

/// How long the lease's keeper may take to notice, with a statement of its own under way.
const KEEPER: Duration = Duration::from_millis(500);
/// How long commits in flight may take for their verdicts.
const COMMITS: Duration = Duration::from_secs(3);
/// How long giving the shards back may take.
const LEAVE: Duration = Duration::from_secs(2);

/// Waits for the engine to be stopped; ends when its shards are another's to take. What does not end in time is the next owner's: it loads
/// what was committed, and the fence keeps the rest out.
pub async fn drain(ctx: &Arc<Context>, keeper: JoinHandle<()>) {
    ctx.stop.cancelled().await;
    let _ = timeout(KEEPER, keeper).await;
    ctx.peers.close();
    if timeout(COMMITS, ctx.peers.wait()).await.is_err() {
        warn!("commits without a verdict are left to the next owner");
    }
    ctx.gateways.close().await;
    if timeout(LEAVE, ownership::leave(ctx)).await.is_err() {
        warn!("shards were not given up: others wait for the lease to run out");
    }
    info!("engine has given its shards back");
}
