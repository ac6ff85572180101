//! Leases and shards: liveness by lease, safety by epoch (design 5). A database that is away freezes the engine; it does not exit.

use std::{collections::HashMap, sync::Arc, time::Duration};

use protocol::Key;
use store::{
    engine::Loaded,
    lease::{self, Owned},
};
use tracing::{error, info, warn};

use crate::{context::Context, peer::Peer, rebalance::Rebalance, registry::Tenure};

/// How long an engine is taken for alive without a sign.
pub const LEASE: Duration = Duration::from_secs(4);
/// How often it gives one.
const RENEW: Duration = Duration::from_millis(1_000);

/// Renews the lease, takes what nobody owns, drops what others took, gives back what is due to others, until the engine stops.
pub async fn keep(ctx: Arc<Context>) {
    let mut rebalance = Rebalance::default();
    loop {
        if let Err(error) = turn(&ctx).await {
            warn!(%error, "lease cannot be renewed");
        } else if let Err(error) = rebalance.turn(&ctx).await {
            warn!(%error, "shards cannot be given back");
        }
        tokio::select! {
            () = ctx.stop.cancelled() => break,
            () = ctx.free.notified() => {}
            () = tokio::time::sleep(RENEW) => {}
        }
    }
    // Nobody should need to take over while commits in flight are waited for.
    if let Err(error) = renew(&ctx).await {
        warn!(%error, "lease cannot be renewed");
    }
}

async fn renew(ctx: &Context) -> Result<(), store::Error> {
    let client = ctx.pool.get().await?;
    lease::renew(&client, &ctx.engine_id, &ctx.advertised, LEASE).await
}

/// At shutdown, when nothing is under way any more.
pub async fn leave(ctx: &Context) {
    match ctx.pool.get().await {
        Ok(client) => {
            if let Err(error) = lease::leave(&client, &ctx.engine_id).await {
                warn!(%error, "shards were not given up: others wait for the lease to run out");
            }
        }
        Err(error) => warn!(%error, "shards were not given up: others wait for the lease to run out"),
    }
}

async fn turn(ctx: &Arc<Context>) -> Result<(), store::Error> {
    renew(ctx).await?;
    let mut client = ctx.pool.get().await?;
    if let Some(reason) = store::engine::frozen(&client).await? {
        // Another engine of the node saw that the database is not the newest (design 4.10).
        error!(reason, "the node is frozen: this engine stops");
        ctx.frozen.cancel();
        ctx.stop.cancel();
        return Ok(());
    }
    let mine = lease::mine(&client, &ctx.engine_id).await?;
    let lost = ctx.registry.retain(&mine);
    if !lost.is_empty() {
        warn!(shards = lost.len(), "shards were taken over by another engine");
    }
    let taken = lease::take(&client, &ctx.engine_id).await?;
    // Rows that say ours but that this process never loaded: it was restarted under the same name.
    let mut fresh: Vec<Owned> = mine.into_iter().filter(|o| ctx.registry.epoch(o.shard).is_none()).collect();
    if !fresh.is_empty() {
        let numbers: Vec<Owned> = std::mem::take(&mut fresh);
        lease::release(&client, &ctx.engine_id, &numbers).await?;
        fresh = lease::take(&client, &ctx.engine_id).await?;
    }
    fresh.extend(taken);
    let changed = !fresh.is_empty() || !lost.is_empty();
    if !fresh.is_empty() {
        let numbers: Vec<u8> = fresh.iter().map(|o| o.shard).collect();
        let loaded = store::engine::load(&mut client, &numbers).await?;
        info!(shards = fresh.len(), channels = loaded.len(), "shards taken");
        drop(client);
        install(ctx, &fresh, loaded).await;
    }
    if changed {
        ctx.gateways.own(ctx.registry.owned());
        ctx.want_urgent().await;
        ctx.poke.notify_one();
    }
    ctx.shards_gate_update();
    Ok(())
}

async fn install(ctx: &Arc<Context>, owned: &[Owned], loaded: Vec<Loaded>) {
    // What an earlier ownership was busy with is not under way any more.
    ctx.tasks.forget_channels(&loaded.iter().map(|l| l.row.address).collect());
    let mut by_shard: HashMap<u8, HashMap<Key, Vec<protocol::Channel>>> = HashMap::new();
    for channel in loaded {
        let (shard, address) = (channel.shard, channel.row.address);
        match channel.into_channel() {
            Ok(channel) => {
                if let Err(error) = ctx.restore_guard(&channel).await {
                    warn!(%error, channel = hex::encode(address), "the signer refuses this channel's rows: it is left alone");
                    continue;
                }
                by_shard.entry(shard).or_default().entry(channel.row().peer).or_default().push(channel);
            }
            Err(error) => warn!(%error, channel = hex::encode(address), "channel cannot be loaded: it is left alone"),
        }
    }
    for owned in owned {
        let channels = by_shard.remove(&owned.shard).unwrap_or_default();
        let start = |tenure: &Tenure| {
            let start = |(key, channels)| (key, Peer::start(ctx.clone(), key, tenure, channels));
            channels.into_iter().map(start).collect()
        };
        ctx.registry.insert(*owned, ctx.stop.child_token(), start);
    }
}
