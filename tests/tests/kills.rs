//! Any one process of any node is killed in the middle of 200 transfers and started again: each is paid exactly once.

use std::time::Duration;

use causeway_tests::{Chance, Line, Scene};
use testnet::{Node, Service};

const TRANSFERS: usize = 200;
/// Which process of a node.
const PROCESSES: [fn(&Node) -> &Service; 3] = [|node| &node.engines[0], |node| &node.gateway, |node| &node.indexer];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_the_nine_processes_is_killed() {
    let mut chance = Chance::new();
    let mut line = Line::start(1, |_, _| true).await.unwrap();
    for node in 0..3 {
        for (number, process) in PROCESSES.iter().enumerate() {
            // Every process of one node is started again at once: a gateway within the same second (network 3.13).
            let pause = if node == 1 || number == node { Duration::ZERO } else { Duration::from_secs(1) };
            let moment = (chance.between(20, 180) as usize, Duration::from_millis(chance.between(0, 200)));
            let name = process(&line.network.nodes[node]).name().to_owned();
            println!("{name}: killed {:?} after transfer {}, started again after {pause:?}", moment.1, moment.0);
            let begun = std::time::Instant::now();
            let paid = line.pay(TRANSFERS, async |scene: &mut Scene<'_>| {
                scene.until_paid(moment.0).await;
                tokio::time::sleep(moment.1).await;
                let service = process(&scene.nodes[node]);
                service.kill()?;
                tokio::time::sleep(pause).await;
                service.start()
            });
            paid.await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
            println!("{name}: {TRANSFERS} paid in {:.1?}", begun.elapsed());
        }
    }
    line.close().await.unwrap();
}
