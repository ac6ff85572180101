//! Channels whose life is over.

mod network;

use network::{LIMIT, TON, World, uuid};
use rpc::engine::v1::{ChannelStatus, TransferStatus};
use testkit::wait_for;

/// An engine does not load closed channels when it starts. What the chain or a command still has for one of them is applied all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_task_for_a_closed_channel_that_is_not_loaded_is_applied() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    let channel = world.open(0, 1, TON).await?;
    world.tell(0, channel, 2, |storage| storage.initialised = false).await?;
    world.wait_for_status(0, channel, ChannelStatus::Closed).await?;
    world.replace_engine(0, "a-2", false).await?;
    world.tell(0, channel, 3, |storage| storage.initialised = false).await?;
    let pool = &world.nodes[0].pool;
    wait_for("no task", LIMIT, async || {
        let client = pool.get().await.map_err(|e| e.to_string())?;
        let tasks = client.query_one("SELECT count(*) FROM engine.task", &[]).await.map_err(|e| e.to_string())?;
        if tasks.get::<_, i64>(0) == 0 { Ok(()) } else { Err(format!("{tasks:?}")) }
    })
    .await?;
    let summary = store::engine::channel_of(&pool.get().await?, &channel).await?.unwrap();
    assert_eq!((summary.row.onchain.lt, summary.row.status), (3, protocol::Status::Closed));
    world.audit().await
}

/// An engine throws away the states of closed channels and the results of old commands.
#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_can_ask_for_any_more_is_thrown_away() -> anyhow::Result<()> {
    let world = World::start_pruning(&["a", "b", "c"], 1).await?;
    let ab = world.open(0, 1, TON).await?;
    let bc = world.open(1, 2, TON).await?;
    let ids = [uuid(), uuid()];
    for id in &ids {
        let sent = world.api(0).send_transfer(world.send(TON / 10, id.clone())).await?.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
    }
    world.tell(1, bc, 2, |storage| storage.initialised = false).await?;
    world.wait_for_status(1, bc, ChannelStatus::Closed).await?;
    let client = world.nodes[0].pool.get().await?;
    let aged = "UPDATE engine.request SET at = now() - interval '8 days' WHERE request_id = $1";
    assert_eq!(client.execute(aged, &[&ids[0]]).await?, 1);
    wait_for("only the other command", LIMIT, async || {
        let left = client.query("SELECT request_id FROM engine.request WHERE request_id = ANY ($1)", &[&&ids[..]]).await?;
        let left: Vec<String> = left.iter().map(|row| row.get(0)).collect();
        anyhow::ensure!(left == ids[1..], "{left:?}");
        anyhow::Ok(())
    })
    .await?;
    let states = async |node: usize, channel: &[u8]| {
        let count = "SELECT (SELECT count(*) FROM engine.signed_body WHERE channel = $1), \
                     (SELECT count(*) FROM engine.peer_state WHERE channel = $1)";
        let row = world.nodes[node].pool.get().await?.query_one(count, &[&channel]).await?;
        anyhow::Ok([row.get::<_, i64>(0), row.get::<_, i64>(1)])
    };
    wait_for("no states of the closed channel", LIMIT, async || {
        let states = states(1, &bc).await?;
        anyhow::ensure!(states == [0, 0], "{states:?}");
        anyhow::Ok(())
    })
    .await?;
    assert!(states(1, &ab).await?.iter().all(|states| *states > 0), "the open channel needs them");
    world.audit().await
}
