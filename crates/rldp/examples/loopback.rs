//! Prints how fast two nodes of one process talk over loopback: `cargo run -p rldp --release --example loopback`.

use adnl::keys::{AdnlId, PrivateKey};
use adnl::{Config, Endpoint, Incoming, PeerRecord};
use bytes::Bytes;
use rldp::{IncomingQuery, Rldp};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

const TIMEOUT: Duration = Duration::from_secs(10);
const QUERIES: usize = 20_000;

async fn node(key: &PrivateKey) -> (Endpoint, Incoming) {
    let epoch = std::time::UNIX_EPOCH.elapsed().expect("the clock is right").as_secs() as u32;
    let config = Config { key: key.clone(), epoch, listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    Endpoint::bind(config, drop).await.expect("loopback works")
}

fn serve(mut incoming: Incoming, mut rldp_queries: mpsc::Receiver<IncomingQuery>) {
    tokio::spawn(async move {
        while let Some(query) = incoming.queries.recv().await {
            let _ = query.responder.answer(query.data).await;
        }
    });
    tokio::spawn(async move {
        while let Some(query) = rldp_queries.recv().await {
            let _ = query.responder.answer(query.data).await;
        }
    });
}

#[derive(Clone)]
enum Way {
    Adnl(Endpoint),
    Rldp(Rldp),
}

async fn ask(way: &Way, peer: AdnlId, data: Bytes) {
    match way {
        Way::Adnl(endpoint) => drop(endpoint.query(peer, data, TIMEOUT).await.expect("answered")),
        Way::Rldp(rldp) => drop(rldp.query(peer, data, 1 << 20, TIMEOUT).await.expect("answered")),
    }
}

async fn measure(name: &str, way: Way, peer: AdnlId, size: usize, parallel: usize) {
    let data = Bytes::from(vec![7; size]);
    ask(&way, peer, data.clone()).await;
    let begin = Instant::now();
    let askers: Vec<_> = (0..parallel)
        .map(|_| {
            let (way, data) = (way.clone(), data.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                for _ in 0..QUERIES / parallel / (1 + size / 4096) {
                    let begin = Instant::now();
                    ask(&way, peer, data.clone()).await;
                    times.push(begin.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for asker in askers {
        times.extend(asker.await.expect("no panic"));
    }
    let rate = times.len() as f64 / begin.elapsed().as_secs_f64();
    times.sort();
    let at = |part: f64| times[(times.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    println!("{name:5} {size:6} B  x{parallel:<3}  {rate:8.0}/s  p50 {:7.0} us  p99 {:7.0} us", at(0.5), at(0.99));
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (a, a_incoming) = node(&a_key).await;
    let (b, mut b_incoming) = node(&b_key).await;
    let (a_rldp, _a_queries) = Rldp::start(a.clone(), a_incoming.customs);
    let customs = std::mem::replace(&mut b_incoming.customs, mpsc::channel(1).1);
    let (_b_rldp, b_queries) = Rldp::start(b.clone(), customs);
    serve(b_incoming, b_queries);
    let record = PeerRecord { key: b_key.public(), address: Some(b.local_addr()), channel_date: 0 };
    let peer = a.add_peer(record).await.expect("added");
    for parallel in [1, 32] {
        measure("adnl", Way::Adnl(a.clone()), peer, 24, parallel).await;
        measure("adnl", Way::Adnl(a.clone()), peer, 1200, parallel).await;
        for size in [600, 2048, 3500, 60_000] {
            measure("rldp", Way::Rldp(a_rldp.clone()), peer, size, parallel).await;
        }
    }
    println!("{:?}", a.stats().await.expect("running"));
}
