//! `cargo xtask demo`: three nodes and a chain on this machine; money moves from A to C through B and is settled on the chain.

mod chain;
mod node;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use rpc::{common::v1::ChainHop, engine::v1::*};
use testkit::{Cluster, PostgresBinaries, wait_for};

use chain::Chain;
use node::{Node, Plan};

const TON: u128 = 1_000_000_000;
const DEPOSIT: u128 = 20 * TON;
const AMOUNT: u128 = TON / 100;
const FEE: u128 = 1_000_000;
const LIMIT: Duration = Duration::from_secs(90);

#[derive(clap::Args)]
pub struct Arguments {
    /// Build without optimisation: quicker to build, slower to run
    #[arg(long)]
    debug: bool,
    /// Keep the data, keys and logs here
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
    let binaries = build(arguments.debug)?;
    PostgresBinaries::install_if_missing()?;
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        tokio::select! {
            done = story(arguments, &binaries) => done,
            _ = tokio::signal::ctrl_c() => bail!("stopped"),
        }
    })
}

fn build(debug: bool) -> anyhow::Result<PathBuf> {
    let packages = ["devnet", "channel-engine", "peer-gateway", "chain-indexer", "route-planner", "cli"];
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root()).args(["build", "--bins"]);
    command.args(packages.iter().flat_map(|p| ["-p", p]));
    if !debug {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "the services do not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    Ok(target.join(if debug { "debug" } else { "release" }))
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
    let folder = arguments.work_dir.clone().unwrap_or_else(|| temporary.path().into());
    std::fs::create_dir_all(&folder)?;
    println!("data and logs: {}", folder.display());
    let mut steps = Steps(Instant::now());
    let cluster = Cluster::temporary().await?;
    steps.done("Postgres up");
    let chain = Chain::start(&binaries.join("causeway-devnet"), &folder.join("chain")).await?;
    steps.done("chain up");
    let mut plans = Vec::new();
    for name in ["a", "b", "c"] {
        plans.push(Plan::make(name, &folder, &cluster).await?);
    }
    let mut nodes = Vec::new();
    for plan in &plans {
        let others: Vec<&Plan> = plans.iter().filter(|p| p.key != plan.key).collect();
        nodes.push(plan.start(binaries, &others, &chain.global_config).await?);
    }
    steps.done("three nodes up");
    let mut wallets = Vec::new();
    for node in &nodes {
        let address = info(node).await?.wallet_address;
        chain.faucet(&address, 100 * TON)?;
        wallets.push(address);
    }
    for node in &nodes {
        wait_for("wallet", LIMIT, async || match wallet(node).await {
            Ok(nano) if nano > 0 => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await?;
    }
    steps.done("wallets funded");
    let ab = open(&nodes[0], &nodes[1]).await?;
    steps.done("A-B deployed, states exchanged");
    let bc = open(&nodes[1], &nodes[2]).await?;
    steps.done("B-C deployed, states exchanged");
    virtual_channel(&nodes).await?;
    steps.done("virtual channel opened A-B-C, resolution signed, closed");
    transfers(&nodes, arguments.transfers).await?;
    steps.done("transfers");
    let table = off_chain(&nodes, &ab, &bc, arguments.transfers as u128).await?;
    for (node, address) in [(&nodes[1], &bc), (&nodes[0], &ab)] {
        close(node, address).await?;
    }
    steps.done("B-C and A-B closed cooperatively");
    print!("{table}");
    let status = chain.status()?;
    println!("over the chain: all balances + all fees = all minted: {}", status["conserved"]);
    ensure!(status["conserved"] == true, "row chain: not conserved: {status}");
    if arguments.serve {
        open(&nodes[0], &nodes[1]).await?;
        open(&nodes[1], &nodes[2]).await?;
        for node in &nodes {
            println!("node {}: causeway --node {} list", node.name.to_uppercase(), node.endpoint);
        }
        println!("node C's key: {}", hex::encode(nodes[2].key));
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn info(node: &Node) -> anyhow::Result<GetInfoResponse> {
    Ok(node.api.clone().get_info(GetInfoRequest {}).await?.into_inner())
}

async fn wallet(node: &Node) -> anyhow::Result<u128> {
    let balance = node.api.clone().get_balance(GetBalanceRequest {}).await?.into_inner();
    let nano = &balance.balances.first().context("no balance")?.wallet_nano;
    Ok(nano.parse()?)
}

async fn open(opener: &Node, peer: &Node) -> anyhow::Result<String> {
    let request = OpenChannelRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        peer_key: peer.key.to_vec(),
        coin: None,
        top_up_nano: DEPOSIT.to_string(),
    };
    let opened = wait_for("the channel", LIMIT, async || opener.api.clone().open_channel(request.clone()).await).await?;
    let address = opened.into_inner().channel.context("no channel")?.address;
    for node in [opener, peer] {
        wait_for("the deposit", LIMIT, async || match channel(node, &address).await {
            Ok(c) if c.status() == ChannelStatus::Active && c.our.iter().chain(&c.their).any(|s| s.deposited_nano != "0") => {
                Ok(())
            }
            other => Err(format!("{other:?}")),
        })
        .await?;
    }
    Ok(address)
}

async fn channel(node: &Node, address: &str) -> anyhow::Result<Channel> {
    let request = GetChannelRequest { address: address.into() };
    node.api.clone().get_channel(request).await?.into_inner().channel.context("no channel")
}

fn hops(nodes: &[Node]) -> Vec<ChainHop> {
    let hop = |node: &Node, fee: u128| ChainHop {
        node_key: node.key.to_vec(),
        fee_nano: Some(fee.to_string()),
        deadline_gap_seconds: None,
    };
    vec![hop(&nodes[1], FEE), hop(&nodes[2], 0)]
}

async fn virtual_channel(nodes: &[Node]) -> anyhow::Result<()> {
    let mut a = nodes[0].api.clone();
    let open = OpenVirtualRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        receiver_key: nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: AMOUNT.to_string(),
        ttl_seconds: 0,
        chain: hops(nodes),
        max_fee_nano: None,
    };
    let opened = a.open_virtual(open).await?.into_inner();
    let sign = SignResolutionRequest {
        signer: Some(sign_resolution_request::Signer::VirtualKey(opened.virtual_key.clone())),
        amount_nano: AMOUNT.to_string(),
        receiver_key: nodes[2].key.to_vec(),
    };
    let encrypted_state = a.sign_resolution(sign).await?.into_inner().encrypted_state;
    let request = CloseVirtualRequest { request_id: uuid::Uuid::new_v4().to_string(), encrypted_state };
    wait_for("the condition at C", LIMIT, async || nodes[2].api.clone().close_virtual(request.clone()).await).await?;
    let get = GetVirtualRequest { virtual_key: opened.virtual_key };
    wait_for("the payment", LIMIT, async || {
        let shown = a.clone().get_virtual(get.clone()).await?.into_inner().r#virtual;
        match shown {
            Some(v) if v.status() == VirtualStatus::Closed => Ok(()),
            other => Err(tonic::Status::unavailable(format!("{other:?}"))),
        }
    })
    .await
    .map(drop)
}

async fn transfers(nodes: &[Node], count: usize) -> anyhow::Result<()> {
    let mut times = Vec::with_capacity(count);
    let begun = Instant::now();
    for _ in 0..count {
        let request = SendTransferRequest {
            request_id: uuid::Uuid::new_v4().to_string(),
            receiver_key: nodes[2].key.to_vec(),
            coin: None,
            amount_nano: AMOUNT.to_string(),
            ttl_seconds: 0,
            chain: hops(nodes),
            max_fee_nano: None,
            wait: true,
        };
        let started = Instant::now();
        let sent = nodes[0].api.clone().send_transfer(request).await?.into_inner();
        ensure!(sent.status() == TransferStatus::Paid, "transfer: {:?} {}", sent.status(), sent.failure);
        times.push(started.elapsed());
    }
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)].as_secs_f64() * 1e3;
    let rate = count as f64 / begun.elapsed().as_secs_f64();
    println!("            {count} transfers one after another: {rate:.0}/s, p50 {:.1} ms, p99 {:.1} ms", at(50), at(99));
    Ok(())
}

/// Waits until the last confirmations are in, checks every side to the nano, and lays the table out.
async fn off_chain(nodes: &[Node], ab: &str, bc: &str, count: u128) -> anyhow::Result<String> {
    let moved = (count + 1) * AMOUNT;
    let fees = (count + 1) * FEE;
    let rows = [
        ("A on A-B", &nodes[0], ab, DEPOSIT, DEPOSIT - moved - fees),
        ("B on A-B", &nodes[1], ab, 0, moved + fees),
        ("B on B-C", &nodes[1], bc, DEPOSIT, DEPOSIT - moved),
        ("C on B-C", &nodes[2], bc, 0, moved),
    ];
    let mut table = format!("\n{:<10} {:>16} {:>16} {:>16}\n", "side", "before", "after", "expected");
    for (name, node, address, before, expected) in rows {
        let seen = wait_for(name, LIMIT, async || {
            let nano = channel(node, address).await?.our.context("no side")?.available_nano.parse::<u128>()?;
            ensure!(nano == expected, "row {name}: {nano} is not {expected}");
            anyhow::Ok(nano)
        })
        .await?;
        table += &format!("{name:<10} {before:>16} {seen:>16} {expected:>16}\n");
    }
    Ok(table + &format!("fees earned by B: {fees} nano\n"))
}

async fn close(node: &Node, address: &str) -> anyhow::Result<()> {
    let request = CloseChannelRequest { request_id: uuid::Uuid::new_v4().to_string(), address: address.into(), force: false };
    node.api.clone().close_channel(request).await?;
    wait_for("the closing", LIMIT, async || match channel(node, address).await {
        Ok(c) if c.status() == ChannelStatus::Closed => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
    .map(drop)
}
