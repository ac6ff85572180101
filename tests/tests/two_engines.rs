//! Node B has two engines, one owns A's shard and the other C's. In the middle of 200 transfers one of them stands still for longer than its
//! lease, or is killed, or the database is away: each transfer is paid exactly once, and a former owner changes nothing.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use causeway_tests::{Chance, Line, Owners, Scene, speaks_as_owner};
use testkit::wait_for;
use testnet::{Node, PATIENCE, Service};

const TRANSFERS: usize = 200;
/// How often an engine is stopped at most until one of its commits comes late.
const ROUNDS: usize = 5;
/// How long the databases are away.
const AWAY: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shards_of_two_engines_change_hands_in_the_middle() {
    let mut chance = Chance::new();
    // The two engines share the shards evenly, one has the lower half and the other the upper.
    let suits = |name: &str, key: &[u8; 32]| match name {
        "a" => store::shard_of(key) < 128,
        "c" => store::shard_of(key) >= 128,
        _ => true,
    };
    let mut line = Line::start(2, suits).await.unwrap();
    let owners = Owners::watch(line.b()).await.unwrap();

    let mut late = 0;
    for _ in 0..ROUNDS {
        until_shared(&line, &owners).await.unwrap();
        late += stopped_for_longer_than_its_lease(&mut line, &owners, &mut chance).await.unwrap();
        if late > 0 {
            break;
        }
    }
    assert!(late > 0, "no commit of a former owner was refused for its epoch in {ROUNDS} rounds");
    until_shared(&line, &owners).await.unwrap();
    killed_and_started_later(&mut line, &owners, &mut chance).await.unwrap();
    until_shared(&line, &owners).await.unwrap();
    databases_away(&mut line, &mut chance).await.unwrap();
    line.close().await.unwrap();
    assert_eq!(owners.intrusions().await.unwrap(), [""; 0]);
}

/// A's and C's shards lie on different engines.
async fn until_shared(line: &Line, owners: &Owners) -> anyhow::Result<()> {
    let (a, c) = (&line.network.nodes[0], &line.network.nodes[2]);
    wait_for("two owners", PATIENCE, async || {
        let members = owners.members().await?;
        ensure!(members.len() == 2 && members.iter().all(|member| member.alive && member.shards.len() == 128), "{members:?}");
        ensure!(owners.of(a).await?.0 != owners.of(c).await?.0);
        anyhow::Ok(())
    })
    .await
}

fn engine<'a>(node: &'a Node, name: &str) -> anyhow::Result<&'a Service> {
    node.engines.iter().find(|engine| engine.name() == name).context("no such engine")
}

/// Waits until the shard of `peer` has another owner than `former`, and that one has paid some more.
async fn until_taken_over(scene: &mut Scene<'_>, owners: &Owners, peer: usize, former: &str) -> anyhow::Result<(String, u64)> {
    let peer = &scene.nodes[peer];
    let taken = wait_for("a takeover", PATIENCE, async || {
        let (owner, epoch) = owners.of(peer).await?;
        ensure!(owner != former, "{owner} is still the owner");
        anyhow::Ok((owner, epoch))
    })
    .await?;
    let paid = scene.paid();
    scene.until_paid((paid + 10).min(TRANSFERS)).await;
    Ok(taken)
}

/// SIGSTOP, takeover, SIGCONT. How many commits of the former owner the fence refused: the versions of rows would stop most of them as well, so
/// that rows alone do not tell whether there is a fence.
async fn stopped_for_longer_than_its_lease(line: &mut Line, owners: &Owners, chance: &mut Chance) -> anyhow::Result<usize> {
    let moment = chance.between(20, 120) as usize;
    let (former, epoch) = owners.of(&line.network.nodes[0]).await?;
    println!("{former}, owner of A's shard, is stopped after transfer {moment}");
    line.pay(TRANSFERS, async |scene: &mut Scene<'_>| {
        scene.until_paid(moment).await;
        let [a, b, _] = scene.nodes else { anyhow::bail!("three nodes") };
        let stopped = engine(b, &former)?;
        stopped.pause()?;
        let (_, taken) = until_taken_over(scene, owners, 0, &former).await?;
        // Under the former owner's name nothing reaches the peer any more.
        ensure!(!speaks_as_owner(b, a, epoch).await?, "the gateway lets a former owner speak");
        ensure!(speaks_as_owner(b, a, taken).await?, "the gateway lets nobody speak");
        stopped.resume()
    })
    .await?;
    let (by_former, late) = (owners.changes(&line.network.nodes[0], &former, epoch).await?, line.b().gateway.log()?);
    ensure!(by_former > 0, "the former owner never changed anything: the watch sees nothing");
    println!("late parts dropped by the gateway: {}", late.matches("not sent by the owner").count());
    let refused = engine(line.b(), &former)?.log()?.matches("not the owner any more").count();
    println!("late commits refused: {refused}");
    ensure!(owners.intrusions().await?.is_empty(), "{:?}", owners.intrusions().await?);
    Ok(refused)
}

/// SIGKILL, takeover, and a new start.
async fn killed_and_started_later(line: &mut Line, owners: &Owners, chance: &mut Chance) -> anyhow::Result<()> {
    let moment = chance.between(20, 120) as usize;
    let (former, _) = owners.of(&line.network.nodes[2]).await?;
    println!("{former}, owner of C's shard, is killed after transfer {moment}");
    line.pay(TRANSFERS, async |scene: &mut Scene<'_>| {
        scene.until_paid(moment).await;
        let killed = engine(&scene.nodes[1], &former)?;
        killed.kill()?;
        until_taken_over(scene, owners, 2, &former).await?;
        killed.start()
    })
    .await?;
    ensure!(owners.intrusions().await?.is_empty(), "{:?}", owners.intrusions().await?);
    Ok(())
}

/// Postgres stops: nobody ends, and all go on when it is back.
async fn databases_away(line: &mut Line, chance: &mut Chance) -> anyhow::Result<()> {
    let moment = chance.between(20, 120) as usize;
    println!("Postgres is stopped after transfer {moment}");
    line.pay(TRANSFERS, async |scene: &mut Scene<'_>| {
        scene.until_paid(moment).await;
        scene.cluster.stop()?;
        tokio::time::sleep(AWAY).await;
        for service in scene.nodes.iter().flat_map(Node::services) {
            ensure!(service.is_running(), "{} has ended", service.name());
        }
        scene.cluster.start().await
    })
    .await
}
