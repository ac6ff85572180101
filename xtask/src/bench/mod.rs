//! `cargo xtask bench`: how many transfers a network of real processes makes per second, how long each takes and what it costs.
//!
//! A transfer is A→B→C with auto-close, begun by the RPC and ended when A has stored the answer to its confirmClose. CPU is user and system
//! time of the services and of Postgres, without the chain and the load generator. `cargo xtask bench network` measures the network stack.

mod load;
mod meter;
mod network;
mod open;
mod stages;

use std::path::PathBuf;

use anyhow::bail;
use testkit::PostgresBinaries;
use testnet::{Network, Node, Plan, TON, open as open_channel, send, transfer};

use crate::interrupt::unless_interrupted;
use load::Load;
use meter::Meter;
use stages::Stages;

/// What each transfer carries.
const AMOUNT: u128 = TON / 1000;
/// What each channel's opener deposits.
const DEPOSIT: u128 = 400 * TON;
/// Transfers before anything is measured.
const WARM_UP: usize = 100;

#[derive(clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Measure this instead
    #[command(subcommand)]
    instead: Option<Instead>,
    /// Build without optimisation
    #[arg(long)]
    debug: bool,
    /// Keep the data, keys and logs here: a folder that is empty or not there
    #[arg(long)]
    work_dir: Option<PathBuf>,
    /// Transfers per row with 64 in flight; rows with one in flight take a quarter
    #[arg(long, default_value_t = 2000)]
    transfers: usize,
    /// Open virtual channels of the rows about them; none with an empty list
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 10_000])]
    conditionals: Vec<usize>,
}

#[derive(clap::Subcommand)]
enum Instead {
    /// Queries of ADNL and RLDP between two processes on loopback, a flood, the memory of a peer, and what gateways cost
    Network,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if let Some(Instead::Network) = arguments.instead {
        return network::run();
    }
    let binaries = crate::build::services(arguments.debug)?;
    PostgresBinaries::install_if_missing()?;
    tokio::runtime::Runtime::new()?.block_on(unless_interrupted(bench(arguments, binaries)))
}

async fn bench(arguments: &Arguments, binaries: PathBuf) -> anyhow::Result<()> {
    let temporary = tempfile::tempdir()?;
    let folder = arguments.work_dir.as_deref().unwrap_or(temporary.path());
    let plan = Plan { keep: arguments.work_dir.is_some(), ..Plan::three(&binaries, folder) };
    let mut network = Network::start(&plan, |_| ()).await?;
    for (name, value) in network.cluster.settings(&["fsync", "full_page_writes", "synchronous_commit"]).await? {
        println!("Postgres: {name} = {value}");
    }
    let [a, b, c] = &network.nodes[..] else { bail!("three nodes are planned") };
    open_channel(a, b, DEPOSIT).await?;
    open_channel(b, c, DEPOSIT).await?;
    // The planner's first look at the channels, everybody's plans and caches.
    send(a, &transfer(c, DEPOSIT / 100)).await?;
    Load { pairs: &[(a, c)], in_flight: 8, transfers: WARM_UP }.run().await?;
    let many = arguments.transfers;
    let few = (many / 4).max(1);
    println!(
        "\n{:<34} {:>10} {:>9} {:>9} {:>9} {:>8}",
        "transfers of A-B-C", "per second", "p50 ms", "p99 ms", "CPU ms", "clients"
    );
    row(&network, "payer left, 1 in flight", &[(a, c)], 1, few).await?;
    row(&network, "payer left, 64 in flight", &[(a, c)], 64, many).await?;
    row(&network, "payer right, 1 in flight", &[(c, a)], 1, few).await?;
    row(&network, "payer right, 64 in flight", &[(c, a)], 64, many).await?;
    row(&network, "both directions, 64 in flight", &[(a, c), (c, a)], 64, many).await?;
    let totals = network.chain.totals()?;
    anyhow::ensure!(totals.minted == totals.held + totals.fees, "the chain is not conserved: {totals:?}");
    open::measure(&mut network, &arguments.conditionals).await
}

async fn row(network: &Network, name: &str, pairs: &[(&Node, &Node)], in_flight: usize, transfers: usize) -> anyhow::Result<()> {
    let (meter, stages) = (Meter::start(network).await?, Stages::read(network).await?);
    let done = Load { pairs, in_flight, transfers }.run().await?;
    let cost = meter.stop(network, transfers).await?;
    println!(
        "{name:<34} {:>10.0} {:>9.1} {:>9.1} {:>9.2} {:>8}",
        done.per_second(),
        done.percentile(50),
        done.percentile(99),
        cost.total(),
        in_flight
    );
    cost.print();
    Stages::read(network).await?.print_since(&stages);
    Ok(())
}
