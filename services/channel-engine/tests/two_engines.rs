//! A node whose shards are spread over two engines (design 3, 5).

mod network;

use std::time::Duration;

use futures::FutureExt;
use network::{LIMIT, TON, World, uuid};
use rpc::{Metrics, engine::v1::*};
use store::shard_of;
use testkit::wait_for;

/// A world in which the shards of B's two neighbours are so.
async fn spread(so: fn(u8, u8) -> bool) -> anyhow::Result<World> {
    loop {
        let world = World::start(&["a", "b", "c"]).await?;
        if so(shard_of(&world.nodes[0].key), shard_of(&world.nodes[2].key)) {
            return Ok(world);
        }
    }
}

fn count(metrics: &Metrics, name: &str) -> u64 {
    let text = metrics.encode();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("causeway_engine_{name} ")));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_across_two_engines_do_not_wait_for_polling() -> anyhow::Result<()> {
    let world = spread(|a, c| a != c).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let second = world.join(1, "b-2").await?;
    let pool = &world.nodes[1].pool;
    let moved = "UPDATE engine.shard SET owner = 'b-2', epoch = epoch + 1 WHERE shard = $1";
    pool.get().await?.execute(moved, &[&i16::from(shard_of(&world.nodes[2].key))]).await?;
    wait_for("the second engine's shard", LIMIT, async || {
        if second.health.is_ready() { Ok(()) } else { Err(second.health.waiting_for()) }
    })
    .await?;
    // Opened by the second engine: the first one learns of it by looking.
    world.ask(1, &second);
    let bc = world.open(1, 2, 10 * TON).await?;
    let amount = TON / 10;
    let send = async || world.api(0).send_transfer(world.send(amount, uuid())).await;
    let mut paid = 0;
    let first = wait_for("the first payment", LIMIT, async || match send().await {
        Ok(sent) if sent.get_ref().status() == TransferStatus::Paid => Ok(()),
        other => Err(format!("{other:?}")),
    });
    first.await?;
    paid += 1;
    for _ in 0..10 {
        let sent = send().await?.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
        paid += 1;
    }
    // Forwarding goes from the first engine to the second, what was learnt comes back.
    for metrics in [&world.metrics(1), &second.metrics] {
        assert!(count(metrics, "pokes_sent_total") > 0 && count(metrics, "pokes_received_total") > 0, "{}", metrics.encode());
    }
    world.until_sent([ab, bc], paid, amount).await?;
    world.audit().await
}

/// What only the owner of a shard can do is asked of it, by whichever engine is called.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_opened_at_any_engine() -> anyhow::Result<()> {
    let world = spread(|a, c| a != c).await?;
    let second = world.join(1, "b-2").await?;
    let pool = &world.nodes[1].pool;
    let shard = i16::from(shard_of(&world.nodes[2].key));
    let moved = "UPDATE engine.shard SET owner = $2, epoch = epoch + 1 WHERE shard = $1";
    pool.get().await?.execute(moved, &[&shard, &"b-2"]).await?;
    wait_for("the second engine's shard", LIMIT, async || {
        if second.health.is_ready() { Ok(()) } else { Err(second.health.waiting_for()) }
    })
    .await?;
    let open = |peer: usize| OpenChannelRequest {
        request_id: uuid(),
        peer_key: world.nodes[peer].key.to_vec(),
        coin: None,
        top_up_nano: TON.to_string(),
    };
    let with_c = world.api(1).open_channel(open(2)).await?.into_inner().channel.unwrap();
    assert_eq!(with_c.peer_key, world.nodes[2].key);
    let with_a = second.api.clone().open_channel(open(0)).await?.into_inner().channel.unwrap();
    assert_eq!(with_a.peer_key, world.nodes[0].key);
    // An owner that is alive by its lease and does not answer.
    let client = pool.get().await?;
    store::lease::renew(&client, "b-9", "http://127.0.0.1:1", LIMIT).await?;
    let stranger = ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
    client.execute(moved, &[&i16::from(shard_of(&stranger)), &"b-9"]).await?;
    let request = OpenChannelRequest { peer_key: stranger.to_vec(), ..open(0) };
    wait_for("the first engine to name the owner", LIMIT, async || {
        let error = rpc::Error::from(world.api(1).open_channel(request.clone()).await.expect_err("nobody answers there"));
        let named = error.code() == rpc::ErrorCode::Unavailable && error.message().contains("`b-9`");
        if named { Ok(()) } else { Err(error) }
    })
    .await
}

/// How many shards each engine of a node owns, by name.
async fn shares(world: &World, node: usize) -> Result<Vec<(String, usize)>, String> {
    let client = world.nodes[node].pool.get().await.map_err(|e| e.to_string())?;
    let members = store::lease::members(&client).await.map_err(|e| e.to_string())?;
    Ok(members.into_iter().map(|m| (m.engine, m.shards.len())).collect())
}

async fn wait_for_shares(world: &World, node: usize, shards: &[(&str, usize)]) -> anyhow::Result<()> {
    let right: Vec<_> = shards.iter().map(|(engine, shards)| ((*engine).to_owned(), *shards)).collect();
    wait_for("even shares", LIMIT, async || match shares(world, node).await? {
        seen if seen == right => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_engine_that_joins_gets_its_share_and_payments_go_on() -> anyhow::Result<()> {
    let world = spread(|a, _| a >= 128).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let second = world.join(1, "b-2").await?;
    let amount = TON / 100;
    let (mut paid, mut slowest) = (0, Duration::ZERO);
    let mut even = std::pin::pin!(wait_for_shares(&world, 1, &[("b-1", 128), ("b-2", 128)]));
    let mut after = 0;
    while after < 10 {
        let begun = std::time::Instant::now();
        let sent = world.api(0).send_transfer(world.send(amount, uuid())).await?.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
        slowest = slowest.max(begun.elapsed());
        paid += 1;
        // The last ones run when every shard has its place.
        if after > 0 {
            after += 1;
        } else if let Some(even) = even.as_mut().now_or_never() {
            even?;
            after = 1;
        }
    }
    println!("{paid} payments, the slowest took {slowest:?}");
    assert!(second.health.is_ready());
    let moved = world.nodes[1].pool.get().await?.query_one("SELECT count(*) FROM engine.shard WHERE epoch > 1", &[]).await?;
    assert_eq!(moved.get::<_, i64>(0), 128, "each shard moves once");
    world.until_sent([ab, bc], paid, amount).await?;
    world.audit().await
}
