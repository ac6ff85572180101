//! `cargo xtask demo`: three nodes and a chain on this machine; money moves from A to C through B and is settled on the chain.

mod arithmetic;
mod serve;
mod steps;
mod table;

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::bail;
use rpc::engine::v1::*;
use testkit::{PostgresBinaries, wait_for};
use testnet::{
    Explorer, Network, Node, PATIENCE, Plan, TON, balance, close, deploy, open, send, transfer, until_exchanged, until_free,
    wallet_address,
};

use crate::interrupt::unless_interrupted;
use arithmetic::{Close, Side};
use steps::Steps;
use table::Table;

const DEPOSIT: u128 = 20 * TON;
const AMOUNT: u128 = TON / 100;
/// What a contract keeps for its rent: the nodes' default.
const RESERVE: u128 = TON / 4;

/// What happens before the run of transfers. The first are those of [`Network::start`].
const BUILDING: &[&str] = &[
    "Postgres up",
    "chain up",
    "nodes up",
    "wallets funded",
    "A-B deployed",
    "B-C deployed",
    "states exchanged",
    "virtual channel opened A-B-C",
    "resolution signed",
    "closed: C is paid",
];
/// What happens after it.
const CLOSING: &[&str] = &["balances stand still", "B-C closed cooperatively", "A-B closed cooperatively"];

#[derive(clap::Args)]
pub struct Arguments {
    /// Build without optimisation: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Keep the data, keys and logs here: a folder that is empty or not there
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Transfers from A to C
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1500))]
    transfers: u32,
    /// Open fresh channels after the table and keep everything running until Ctrl-C
    #[arg(long)]
    serve: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binaries = crate::build::services(arguments.debug)?;
    PostgresBinaries::install_if_missing()?;
    tokio::runtime::Runtime::new()?.block_on(unless_interrupted(story(arguments, &binaries)))
}

async fn story(arguments: &Arguments, binaries: &Path) -> anyhow::Result<()> {
    let temporary = tempfile::Builder::new().prefix("causeway-demo-").tempdir()?;
    let folder = arguments.work_dir.as_deref().unwrap_or(temporary.path());
    // Others are told of it: it must hold wherever they stand.
    let folder = std::path::absolute(folder)?;
    let plan = Plan { keep: arguments.work_dir.is_some(), ..Plan::three(binaries, &folder) };
    println!("data and logs: {}", folder.display());
    let mut steps = Steps::new(BUILDING);
    let network = Network::start(&plan, |_| steps.done()).await?;
    let [a, b, c] = &network.nodes[..] else { bail!("three nodes are planned") };
    let ab = deploy(a, b, DEPOSIT).await?;
    steps.done();
    let bc = deploy(b, c, DEPOSIT).await?;
    steps.done();
    until_exchanged([a, b], &ab).await?;
    until_exchanged([b, c], &bc).await?;
    steps.done();
    let places = places(&network, &ab, &bc)?;
    let before = balances(&places).await?;
    let mut fees = virtual_channel(a, c, &mut steps).await?;
    fees += transfers(a, c, arguments.transfers).await?;
    let table = settle(&network, &places, before, u128::from(arguments.transfers + 1) * AMOUNT, fees).await?;
    println!();
    table.print();
    table.check()?;
    println!("every row adds up to the nano");
    if arguments.serve {
        let channel = open(a, b, DEPOSIT).await?;
        open(b, c, DEPOSIT).await?;
        serve::invite(&network, &folder, binaries, &channel, plan.keep)?;
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// A node's side of a channel.
struct Place<'a> {
    node: &'a Node,
    channel: &'a str,
    row: &'static str,
}

/// The order of the table.
fn places<'a>(network: &'a Network, ab: &'a str, bc: &'a str) -> anyhow::Result<[Place<'a>; 4]> {
    let [a, b, c] = &network.nodes[..] else { bail!("three nodes are planned") };
    let place = |node, channel, row| Place { node, channel, row };
    Ok([place(a, ab, "A on A-B"), place(b, ab, "B on A-B"), place(b, bc, "B on B-C"), place(c, bc, "C on B-C")])
}

async fn balances(places: &[Place<'_>; 4]) -> anyhow::Result<[u128; 4]> {
    let mut all = [0; 4];
    for (nano, place) in all.iter_mut().zip(places) {
        *nano = balance(place.node, place.channel).await?;
    }
    Ok(all)
}

/// Opens a virtual channel through the nodes that the planner finds, signs its resolution, closes it. The fee.
async fn virtual_channel(payer: &Node, receiver: &Node, steps: &mut Steps) -> anyhow::Result<u128> {
    let mut api = payer.api();
    let open = OpenVirtualRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        receiver_key: receiver.key.to_vec(),
        coin: None,
        capacity_nano: AMOUNT.to_string(),
        ttl_seconds: 0,
        chain: Vec::new(),
        max_fee_nano: None,
    };
    let opened = wait_for("a route", PATIENCE, async || payer.api().open_virtual(open.clone()).await).await?.into_inner();
    let get = GetVirtualRequest { virtual_key: opened.virtual_key.clone() };
    until_status(receiver, &get, VirtualStatus::Active).await?;
    steps.done();
    let sign = SignResolutionRequest {
        signer: Some(sign_resolution_request::Signer::VirtualKey(opened.virtual_key)),
        amount_nano: AMOUNT.to_string(),
        receiver_key: Vec::new(),
    };
    let encrypted_state = api.sign_resolution(sign).await?.into_inner().encrypted_state;
    steps.done();
    receiver.api().close_virtual(CloseVirtualRequest { request_id: uuid::Uuid::new_v4().to_string(), encrypted_state }).await?;
    until_status(payer, &get, VirtualStatus::Closed).await?;
    steps.done();
    Ok(opened.fee_nano.parse()?)
}

async fn until_status(node: &Node, get: &GetVirtualRequest, status: VirtualStatus) -> anyhow::Result<()> {
    wait_for("the virtual channel", PATIENCE, async || {
        let shown = node.api().get_virtual(get.clone()).await?.into_inner().r#virtual;
        match shown {
            Some(v) if v.status() == status => Ok(()),
            other => Err(tonic::Status::unavailable(format!("{other:?}"))),
        }
    })
    .await
}

/// Sends transfers one after another. What they cost in fees.
async fn transfers(payer: &Node, receiver: &Node, count: u32) -> anyhow::Result<u128> {
    let bar = steps::bar(count as usize, "{spinner} [{bar:30}] {pos}/{len}  transfers from A to C, {per_sec}");
    let mut times = Vec::with_capacity(count as usize);
    let mut fees = 0;
    let begun = Instant::now();
    for _ in 0..count {
        let started = Instant::now();
        fees += send(payer, &transfer(receiver, AMOUNT)).await?.fee_nano.parse::<u128>()?;
        times.push(started.elapsed());
        bar.inc(1);
    }
    bar.finish_and_clear();
    let took = begun.elapsed().as_secs_f64();
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let rate = f64::from(count) / took;
    println!(
        "{took:>8.2} s  {count} transfers A-B-C, one after another: {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms",
        at(50),
        at(99)
    );
    Ok(fees)
}

/// Closes both channels when the balances stand still, and gathers what there is to check.
async fn settle(network: &Network, places: &[Place<'_>; 4], before: [u128; 4], moved: u128, fees: u128) -> anyhow::Result<Table> {
    let mut steps = Steps::new(CLOSING);
    let flows = [(0, moved + fees), (moved + fees, 0), (0, moved), (moved, 0)];
    for ((place, before), (received, paid)) in places.iter().zip(before).zip(flows) {
        // The last confirmations come after the payer's answer. What never comes is found in the table, with its row.
        let _ = until_free(place.node, place.channel, before + received - paid).await;
    }
    let after = balances(places).await?;
    steps.done();
    let sides = std::array::from_fn(|i| {
        let (received, paid) = flows[i];
        Side { row: places[i].row.into(), before: before[i], received, paid, after: after[i] }
    });
    let explorer = Explorer::new(network.chain.global_config())?;
    let second = close_channel(&explorer, &places[2..], &after[2..]).await?;
    steps.done();
    let first = close_channel(&explorer, &places[..2], &after[..2]).await?;
    steps.done();
    Ok(Table { sides, announced_fees: fees, closes: [first, second], totals: network.chain.totals()? })
}

/// Closes a channel from its left side, and reads from the chain how that went.
async fn close_channel(explorer: &Explorer, sides: &[Place<'_>], balances: &[u128]) -> anyhow::Result<Close> {
    let ([left, right], [left_balance, right_balance]) = (sides, balances) else { bail!("a channel has two sides") };
    let before = explorer.account(left.channel).await?;
    close(left.node, left.channel).await?;
    Ok(Close {
        rows: [left, right].map(|place| place.row.to_owned() + ", on the chain"),
        wallets: [wallet_address(left.node).await?, wallet_address(right.node).await?],
        balances: [*left_balance, *right_balance],
        reserve: RESERVE,
        closing: explorer.closing(left.channel, &before).await?,
    })
}
