//! Throws old rows away now and then.

use std::{sync::Arc, time::Duration};

use store::engine::Pruned;
use tracing::{info, warn};

use crate::context::Context;

/// Whose owner does it, so that one engine of the node does.
const SHARD: u8 = 0;
/// Pause between two batches.
const BREATH: Duration = Duration::from_millis(100);

/// Prunes every so often until the engine stops.
pub async fn keep(ctx: Arc<Context>, every: Duration) {
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(every) => {}
        }
        if ctx.registry.epoch(SHARD).is_some()
            && let Err(error) = prune(&ctx).await
        {
            warn!(%error, "old rows cannot be thrown away");
        }
    }
}

async fn prune(ctx: &Context) -> Result<(), store::Error> {
    loop {
        let pruned = store::engine::prune(&ctx.pool.get().await?).await?;
        if pruned == Pruned::default() || ctx.stop.is_cancelled() {
            return Ok(());
        }
        info!(?pruned, "old rows thrown away");
        tokio::time::sleep(BREATH).await;
    }
}
