//! `cargo xtask demo`: three nodes and a chain on this machine; money moves from A to C through B and is settled on the chain.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{bail, ensure};
use rpc::engine::v1::*;
use testkit::{PostgresBinaries, wait_for};
use testnet::{Network, Node, PATIENCE, Plan, TON, close, open, send, transfer, until_free};

const DEPOSIT: u128 = 20 * TON;
const AMOUNT: u128 = TON / 100;

#[derive(clap::Args)]
pub struct Arguments {
    /// Build without optimisation: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Keep the data, keys and logs here: a folder that is empty or not there
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Transfers from A to C
    #[arg(long, default_value_t = 200)]
    transfers: usize,
    /// Open fresh channels after the table and keep everything running until Ctrl-C
    #[arg(long)]
    serve: bool,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let binaries = crate::build::services(arguments.debug)?;
    PostgresBinaries::install_if_missing()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        tokio::select! {
            done = story(arguments, &binaries) => done,
            _ = tokio::signal::ctrl_c() => bail!("stopped"),
        }
    })
}

/// Says what was done and how long it took.
struct Steps(Instant);

impl Steps {
    fn done(&mut self, what: &str) {
        println!("{:>8.2} s  {what}", self.0.elapsed().as_secs_f64());
        self.0 = Instant::now();
    }
}

async fn story(arguments: &Arguments, binaries: &Path) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.work_dir.as_deref().unwrap_or(temporary.path());
    let plan = Plan { keep: arguments.work_dir.is_some(), ..Plan::three(binaries, folder) };
    println!("data and logs: {}", folder.display());
    let mut steps = Steps(Instant::now());
    let network = Network::start(&plan, |what| steps.done(what)).await?;
    let [a, b, c] = &network.nodes[..] else { bail!("three nodes are planned") };
    let ab = open(a, b, DEPOSIT).await?;
    steps.done("A-B deployed, states exchanged");
    let bc = open(b, c, DEPOSIT).await?;
    steps.done("B-C deployed, states exchanged");
    let mut fees = virtual_channel(a, c).await?;
    steps.done("virtual channel opened A-B-C, resolution signed, closed");
    fees += transfers(a, c, arguments.transfers).await?;
    steps.done("transfers");
    let table = off_chain(&network, &ab, &bc, (arguments.transfers as u128 + 1) * AMOUNT, fees).await?;
    for (node, address) in [(b, &bc), (a, &ab)] {
        close(node, address).await?;
    }
    steps.done("B-C and A-B closed cooperatively");
    print!("{table}");
    let totals = network.chain.totals()?;
    ensure!(totals.minted == totals.held + totals.fees, "row chain: not conserved: {totals:?}");
    println!("over the chain: all balances + all fees = all minted = {} nano", totals.minted);
    if arguments.serve {
        open(a, b, DEPOSIT).await?;
        open(b, c, DEPOSIT).await?;
        for node in &network.nodes {
            println!("node {}: causeway --node {} list", node.name.to_uppercase(), node.endpoint());
        }
        println!("node C's key: {}", hex::encode(c.key));
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// Opens a virtual channel through the nodes that the planner finds, signs its resolution, closes it. The fee.
async fn virtual_channel(payer: &Node, receiver: &Node) -> anyhow::Result<u128> {
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
    let sign = SignResolutionRequest {
        signer: Some(sign_resolution_request::Signer::VirtualKey(opened.virtual_key.clone())),
        amount_nano: AMOUNT.to_string(),
        receiver_key: receiver.key.to_vec(),
    };
    let encrypted_state = api.sign_resolution(sign).await?.into_inner().encrypted_state;
    let request = CloseVirtualRequest { request_id: uuid::Uuid::new_v4().to_string(), encrypted_state };
    wait_for("the condition at C", PATIENCE, async || receiver.api().close_virtual(request.clone()).await).await?;
    let get = GetVirtualRequest { virtual_key: opened.virtual_key };
    wait_for("the payment", PATIENCE, async || {
        let shown = payer.api().get_virtual(get.clone()).await?.into_inner().r#virtual;
        match shown {
            Some(v) if v.status() == VirtualStatus::Closed => Ok(()),
            other => Err(tonic::Status::unavailable(format!("{other:?}"))),
        }
    })
    .await?;
    Ok(opened.fee_nano.parse()?)
}

/// Sends transfers one after another. What they cost in fees.
async fn transfers(payer: &Node, receiver: &Node, count: usize) -> anyhow::Result<u128> {
    let mut times = Vec::with_capacity(count);
    let mut fees = 0;
    let begun = Instant::now();
    for _ in 0..count {
        let started = Instant::now();
        fees += send(payer, &transfer(receiver, AMOUNT)).await?.fee_nano.parse::<u128>()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("            {count} transfers one after another: {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
    Ok(fees)
}

/// Waits until the last confirmations are in, checks every side to the nano, and lays the table out.
async fn off_chain(network: &Network, ab: &str, bc: &str, moved: u128, fees: u128) -> anyhow::Result<String> {
    let [a, b, c] = &network.nodes[..] else { bail!("three nodes are planned") };
    let rows = [
        ("A on A-B", a, ab, DEPOSIT, DEPOSIT - moved - fees),
        ("B on A-B", b, ab, 0, moved + fees),
        ("B on B-C", b, bc, DEPOSIT, DEPOSIT - moved),
        ("C on B-C", c, bc, 0, moved),
    ];
    let mut table = format!("\n{:<10} {:>16} {:>16} {:>16}\n", "side", "before", "after", "expected");
    for (name, node, address, before, expected) in rows {
        until_free(node, address, expected).await.map_err(|error| error.context(format!("row {name}")))?;
        table += &format!("{name:<10} {before:>16} {expected:>16} {expected:>16}\n");
    }
    Ok(table + &format!("fees earned by B: {fees} nano\n"))
}
