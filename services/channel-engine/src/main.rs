//! `causeway-channel-engine`: see the library.

use std::path::PathBuf;

use clap::Parser;
use rpc::{Health, Metrics, Telemetry};

#[global_allocator]
static ALLOCATOR: rpc::Allocator = rpc::Allocator;

/// Owns channels: proposals, requests, legs, timers; serves the node's API.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables such as CAUSEWAY__SERVER__LISTEN override it.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Ends a freeze of the node and exits. First read the runbook on frozen nodes.
    #[arg(long)]
    end_freeze: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: channel_engine::Config = rpc::config::load(arguments.config.as_deref())?;
    if arguments.end_freeze {
        println!("{}", channel_engine::end_freeze(&config.database).await?);
        return Ok(());
    }
    let _telemetry = Telemetry::start("channel-engine", &config.telemetry)?;
    let stop = rpc::shutdown_signal()?;
    let wiring = channel_engine::Wiring::from_config(&config)?;
    channel_engine::run(config, wiring, Health::new(), Metrics::default(), stop).await
}
