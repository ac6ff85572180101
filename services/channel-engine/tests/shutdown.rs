//! An engine that is told to stop (design 5).

mod network;

use network::{LIMIT, TON, World, uuid};
use rpc::engine::v1::*;
use store::{lease, shard_of};
use testkit::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn what_is_being_committed_gets_out_before_the_shards_are_given_back() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.open(0, 1, 10 * TON).await?;
    let (a, b) = (world.nodes[0].key, world.nodes[1].key);
    // Nothing of A's shard can be committed at B while this is held.
    let mut holder = world.nodes[1].pool.get().await?;
    let held = holder.transaction().await?;
    held.execute("SELECT FROM engine.shard WHERE shard = $1 FOR UPDATE", &[&i16::from(shard_of(&a))]).await?;
    let request = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: b.to_vec(),
        coin: None,
        capacity_nano: TON.to_string(),
        ttl_seconds: 0,
        chain: vec![],
        max_fee_nano: None,
    };
    let mut api = world.api(0);
    let opening = tokio::spawn(async move { api.open_virtual(request).await });
    let pool = world.nodes[1].pool.clone();
    wait_for("a commit at B that waits", LIMIT, async || {
        let client = pool.get().await.map_err(|e| e.to_string())?;
        let waiting = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        let rows = client.query(waiting, &[]).await.map_err(|e| e.to_string())?;
        if rows.is_empty() { Err("none".to_owned()) } else { Ok(()) }
    })
    .await?;
    let engine = world.stop_engine(1);
    // Its server is gone: it has seen the signal.
    wait_for("B to take no calls", LIMIT, async || match world.api(1).get_info(GetInfoRequest {}).await {
        Ok(_) => Err("still answers"),
        Err(_) => Ok(()),
    })
    .await?;
    assert!(!engine.is_finished() && !opening.is_finished());
    held.rollback().await?;
    engine.await?;
    assert_eq!(lease::members(&holder).await?, []);
    let owned = holder.query("SELECT FROM engine.shard WHERE owner IS NOT NULL", &[]).await?;
    assert!(owned.is_empty());
    // B is gone for good: only an answer that it let out at its end can have opened this.
    let opened = opening.await??.into_inner();
    let virtual_key = opened.virtual_key;
    let shown = world.api(0).get_virtual(GetVirtualRequest { virtual_key }).await?.into_inner();
    assert_eq!(shown.r#virtual.unwrap().status(), VirtualStatus::Active);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_engine_goes_on_where_the_stopped_one_was() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let (count, stop_at) = (20u128, 7);
    for i in 0..count {
        let mut api = world.api(0);
        let request = world.send(TON / 10, uuid());
        let paying = tokio::spawn(async move { api.send_transfer(request).await });
        if i == stop_at {
            world.replace_engine(1, "b-2", false).await?;
        }
        let sent = paying.await??.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
    }
    let members = lease::members(&world.nodes[1].pool.get().await?).await?;
    assert_eq!(members.iter().map(|m| m.engine.as_str()).collect::<Vec<_>>(), ["b-2"]);
    world.until_sent([ab, bc], count, TON / 10).await?;
    world.audit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_engine_of_a_frozen_node_stops() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.open(0, 1, 10 * TON).await?;
    let pool = &world.nodes[1].pool;
    store::engine::freeze(&pool.get().await?, "test").await?;
    wait_for("B to take no calls", LIMIT, async || match world.api(1).get_info(GetInfoRequest {}).await {
        Ok(_) => Err("still answers"),
        Err(_) => Ok(()),
    })
    .await?;
    wait_for("B to leave", LIMIT, async || {
        let members = lease::members(&pool.get().await.map_err(|e| e.to_string())?).await.map_err(|e| e.to_string())?;
        if members.is_empty() { Ok(()) } else { Err(format!("{members:?}")) }
    })
    .await?;
    // The operator has looked into it.
    let ended = channel_engine::end_freeze(world.database(1)).await?;
    assert_eq!(ended, "the node is frozen no more; it was: test");
    assert_eq!(channel_engine::end_freeze(world.database(1)).await?, "the node is not frozen");
    world.replace_engine(1, "b-2", false).await?;
    world.api(1).get_info(GetInfoRequest {}).await?;
    Ok(())
}

/// A database has the channels of one key: with another keystore its states could not be signed, and its deadlines not be kept.
#[tokio::test(flavor = "multi_thread")]
async fn an_engine_refuses_the_database_of_another_node() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    let (a, b) = (world.nodes[0].key, world.nodes[1].key);
    world.stop_engine(1).await?;
    let ended = tokio::time::timeout(LIMIT, world.run_on(1, world.database(0))).await?;
    let Err(refused) = ended else { anyhow::bail!("ran on the other node's database") };
    let wanted = format!("the database belongs to node {}, the keystore is that of node {}", hex::encode(a), hex::encode(b));
    assert_eq!(refused.to_string(), wanted);
    Ok(())
}
