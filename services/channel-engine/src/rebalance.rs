//! Shards for engines that join: an engine with more than its even share gives the rest back, a few at a time, each in the order of a whole
//! engine's end ([`crate::shutdown`]): no new event, verdicts of the commits in flight, what they release, out to the gateways, and only then
//! the shard. The next owner goes on from what was committed; to a peer it looks like a slow answer (design 5).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use store::lease;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::{cluster, context::Context, ownership::LEASE, registry::Tenure};

/// So long an engine has too much before it gives anything: nothing moves for one that comes and goes within a lease.
const SETTLED: Duration = LEASE;
/// Shards given back at once. The next ones only when others have taken these.
const FEW: usize = 16;
/// How long commits in flight may take for their verdicts, and what they release to get out. The lease must not run out meanwhile.
const FINISH: Duration = Duration::from_secs(1);

/// Since when this engine has more than its share.
#[derive(Default)]
pub struct Rebalance {
    since: Option<Instant>,
}

impl Rebalance {
    /// Gives back what is due to others by now.
    pub async fn turn(&mut self, ctx: &Arc<Context>) -> Result<(), store::Error> {
        let client = ctx.pool.get().await?;
        let excess = lease::excess(&client, &ctx.engine_id).await?;
        let unowned = if excess > 0 { lease::unowned(&client).await? } else { 0 };
        drop(client);
        let due = self.due(excess, unowned, Instant::now());
        if due == 0 {
            return Ok(());
        }
        let mut shards = ctx.registry.shards();
        shards.sort_unstable();
        shards.drain(..shards.len().saturating_sub(due));
        give(ctx, &shards).await
    }

    /// How many to give back, of `excess`, while nobody has taken `unowned`.
    fn due(&mut self, excess: usize, unowned: usize, now: Instant) -> usize {
        if excess == 0 {
            self.since = None;
            return 0;
        }
        let settled = now.duration_since(*self.since.get_or_insert(now)) >= SETTLED;
        if settled && unowned == 0 { excess.min(FEW) } else { 0 }
    }
}

async fn give(ctx: &Arc<Context>, shards: &[u8]) -> Result<(), store::Error> {
    let ended = ctx.registry.give_up(shards);
    let finish = async {
        futures::future::join_all(ended.iter().map(|tenure| tenure.peers.wait())).await;
        ctx.gateways.flush().await;
    };
    if timeout(FINISH, finish).await.is_err() {
        warn!(?shards, "what these shards have under way is left to their next owner");
    }
    // If this fails, the next turn finds shards that are ours and run nowhere, and takes them anew.
    let released: Vec<_> = ended.iter().map(Tenure::owned).collect();
    lease::release(&ctx.pool.get().await?, &ctx.engine_id, &released).await?;
    ctx.gateways.own(ctx.registry.owned());
    info!(?shards, "shards given back for other engines");
    cluster::tell_to_take(ctx).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_for_an_engine_that_comes_and_goes_and_never_much_at_once() {
        let mut rebalance = Rebalance::default();
        let start = Instant::now();
        let nearly = start + SETTLED - Duration::from_millis(1);
        assert_eq!(rebalance.due(128, 0, start), 0);
        assert_eq!(rebalance.due(128, 0, nearly), 0);
        assert_eq!(rebalance.due(0, 0, nearly), 0, "it is gone");
        assert_eq!(rebalance.due(128, 0, nearly), 0, "it is there again: counted anew");
        let settled = nearly + SETTLED;
        assert_eq!(rebalance.due(128, 0, settled), FEW);
        assert_eq!(rebalance.due(112, 3, settled), 0, "nobody has taken the last ones");
        assert_eq!(rebalance.due(3, 0, settled), 3);
    }
}
