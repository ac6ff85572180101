//! `causeway-chain-indexer`: see the library.

use std::path::PathBuf;

use clap::Parser;
use rpc::{Health, Metrics, Telemetry};

#[global_allocator]
static ALLOCATOR: rpc::Allocator = rpc::Allocator;

/// Reads the chain for a node: channel contracts, events for the engine; sends the node's transactions.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables such as CAUSEWAY__SERVER__LISTEN override it.
    #[arg(long)]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: chain_indexer::Config = rpc::config::load(arguments.config.as_deref())?;
    let _telemetry = Telemetry::start("chain-indexer", &config.telemetry)?;
    let stop = rpc::shutdown_signal()?;
    chain_indexer::run(config, None, Health::new(), Metrics::default(), stop).await
}
