//! How fast two of our stacks talk over loopback, each in a process of its own with one thread:
//! `cargo run -p rldp --release --example network`, or `cargo xtask bench network`.
//!
//! Goals, on a machine of the reference's kind: an ADNL query in 60 µs and 60,000 a second at 64 in flight; an RLDP query and answer of
//! 2 KiB in 200 µs and 12,000 a second at 32; a peer in 64 KiB; a flood that leaves p99 within three times of idle.

mod child;
mod load;
mod roles;

use adnl::keys::PrivateKey;
use adnl::{Endpoint, PeerRecord};
use child::Child;
use load::{Load, Times, Way};
use rldp::Rldp;
use std::time::Duration;

/// How long each row asks, and what goes before it uncounted.
const ROW: Duration = Duration::from_millis(2500);
const WARM_UP: Duration = Duration::from_millis(300);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        [] => run(bench()),
        ["serve"] => run(roles::serve()),
        ["echo"] => roles::echo(),
        ["flood", id, address, sources] => roles::flood(id, address, sources),
        _ => panic!("no arguments are needed"),
    }
}

fn run(task: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime starts").block_on(task);
}

async fn bench() {
    let raw = roles::ping_pong(&Child::start(&["echo"]), WARM_UP, ROW / 3);
    println!("{:<38} {:>9} {:>8} {:>8} {:>10} {:>10}", "", "per s", "p50 us", "p99 us", "CPU us", "CPU us");
    println!("{:<38} {:>9} {:>8} {:>8} {:>10} {:>10}", "", "", "", "", "asker", "answerer");
    raw.print("raw UDP ping-pong, 24 B");
    let server = Child::start(&["serve"]);
    let (endpoint, incoming) = roles::bind(&PrivateKey::generate()).await;
    let (rldp, _queries) = Rldp::start(endpoint.clone(), incoming.customs);
    let record = PeerRecord { key: server.key(), address: Some(server.address()), channel_date: 0 };
    let peer = endpoint.add_peer(record).await.expect("added");
    let row = async |way: Way, size: usize, in_flight: usize| {
        Load { way, peer, size, in_flight, answerer: server.id() }.run(WARM_UP, ROW).await
    };
    for (size, in_flight) in [(24, 1), (24, 64), (1200, 64)] {
        let times = row(Way::Adnl(endpoint.clone()), size, in_flight).await;
        times.print(&format!("ADNL query, {size} B, {in_flight} in flight"));
    }
    for (size, in_flight) in [(2048, 1), (2048, 32)] {
        let times = row(Way::Rldp(rldp.clone()), size, in_flight).await;
        times.print(&format!("RLDP2 query, {size} B, {in_flight} in flight"));
    }
    for sources in roles::FLOOD_SOURCES {
        flood(&server, &endpoint, sources).await;
    }
    drop(server);
    memory();
}

/// The same query with and without a flood of forged root packets, in turns: so what else the machine does meets both alike.
async fn flood(server: &Child, endpoint: &Endpoint, sources: u8) {
    let load = Load { way: Way::Adnl(endpoint.clone()), peer: server.key().id(), size: 24, in_flight: 1, answerer: server.id() };
    let (mut idle, mut flooded) = (Times::default(), Times::default());
    for _ in 0..roles::FLOODS {
        idle.add(load.run(WARM_UP / 3, roles::FLOOD_TIME).await);
        let (id, address) = (server.key().id().to_string(), server.address().to_string());
        let flooder = Child::start(&["flood", &id, &address, &sources.to_string()]);
        flooded.add(load.run(WARM_UP / 3, roles::FLOOD_TIME).await);
        drop(flooder);
    }
    idle.print("ADNL query, 24 B, between floods");
    flooded.print("ADNL query, 24 B, during a flood");
    let ratio = flooded.percentile(99.0) / idle.percentile(99.0);
    let (count, each, time) = (roles::FLOODS, roles::FLOOD, roles::FLOOD_TIME);
    println!(
        "    {count} floods of {each} forged root packets in {time:?}, source addresses {sources}: p99 {ratio:.1} times that of idle"
    );
}

/// What a fresh server's memory grows by when a thousand peers connect.
fn memory() {
    let server = Child::start(&["serve"]);
    // The first ones make it allocate what it needs once.
    let first = roles::connect(&server, 1);
    let before = server.resident();
    let connected = roles::connect(&server, roles::PEERS);
    let grown = server.resident().saturating_sub(before);
    println!("    {first} + {connected} peers connected: {} bytes of resident memory each", grown / connected.max(1));
}
