//! What opening and closing costs on a channel that holds many open conditionals, and how long an engine takes to start with them.

use std::time::{Duration, Instant};

use anyhow::bail;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use rpc::engine::v1::*;
use testkit::{cpu_time, wait_for};
use testnet::{Network, Node, PATIENCE, send, transfer};

use super::AMOUNT;

/// Measured opens and closes.
const SAMPLES: usize = 500;
/// Opens and closes before.
const WARM_UP: usize = 100;
/// Opens at a time while the channel is filled.
const IN_FLIGHT: usize = 64;
/// So small that ten thousand fit.
const SMALL: u128 = 1_000;

/// Fills A-B up to each of these numbers in turn.
pub async fn measure(network: &mut Network, sizes: &[usize]) -> anyhow::Result<()> {
    println!("\n{:<34} {:>14} {:>12} {:>14}", "open conditionals on A-B", "CPU ms, median", "of the empty", "engine start s");
    let empty = cost(network).await?;
    let start = restart(network).await?;
    println!("{:<34} {empty:>14.2} {:>12} {start:>14.2}", 0, 1);
    let mut open = 0;
    for &size in sizes {
        fill(network, size - open).await?;
        open = size;
        let cost = cost(network).await?;
        let start = restart(network).await?;
        println!("{size:<34} {cost:>14.2} {:>12.2} {start:>14.2}", cost / empty);
    }
    Ok(())
}

/// CPU of both engines and Postgres for an open and a close, in milliseconds.
async fn cost(network: &Network) -> anyhow::Result<f64> {
    let [a, b, ..] = &network.nodes[..] else { bail!("nodes are missing") };
    let processes: Vec<u32> = [a.engines[0].id(), b.engines[0].id(), network.cluster.server_id()].into_iter().flatten().collect();
    let now = || processes.iter().map(|id| cpu_time(*id)).sum::<Duration>();
    let mut samples = Vec::with_capacity(SAMPLES);
    for turn in 0..WARM_UP + SAMPLES {
        let before = now();
        send(a, &transfer(b, AMOUNT)).await?;
        if turn >= WARM_UP {
            samples.push(now().saturating_sub(before));
        }
    }
    samples.sort_unstable();
    Ok(samples[SAMPLES / 2].as_secs_f64() * 1e3)
}

/// Opens so many virtual channels from A to B and leaves them open.
async fn fill(network: &Network, count: usize) -> anyhow::Result<()> {
    let [a, b, ..] = &network.nodes[..] else { bail!("nodes are missing") };
    stream::iter((0..count).map(|_| open(a, b))).buffer_unordered(IN_FLIGHT).try_for_each(async |()| Ok(())).await
}

async fn open(payer: &Node, receiver: &Node) -> anyhow::Result<()> {
    let request = OpenVirtualRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        receiver_key: receiver.key.to_vec(),
        coin: None,
        capacity_nano: SMALL.to_string(),
        ttl_seconds: 0,
        chain: Vec::new(),
        max_fee_nano: None,
    };
    payer.api().open_virtual(request).await?;
    Ok(())
}

/// Seconds from the start of A's engine, ended before, until it has paid.
async fn restart(network: &mut Network) -> anyhow::Result<f64> {
    network.nodes[0].engines[0].terminate()?;
    let started = Instant::now();
    network.nodes[0].engines[0].start()?;
    let a = &network.nodes[0];
    let ready = async || a.api().get_info(GetInfoRequest {}).await;
    wait_for("the engine", PATIENCE, ready).await?;
    let ready = started.elapsed();
    send(a, &transfer(&network.nodes[1], AMOUNT)).await?;
    println!(
        "    engine of A: API after {:.2} s, first payment after {:.2} s",
        ready.as_secs_f64(),
        started.elapsed().as_secs_f64()
    );
    Ok(ready.as_secs_f64())
}
