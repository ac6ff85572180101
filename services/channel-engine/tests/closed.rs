//! Channels whose life is over.

mod network;

use network::{LIMIT, TON, World};
use rpc::engine::v1::ChannelStatus;
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
