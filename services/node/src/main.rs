//! `causeway-node`: see the library.

use std::path::PathBuf;

use clap::Parser;
use rpc::{Health, Metrics, Telemetry};

#[global_allocator]
static ALLOCATOR: rpc::Allocator = rpc::Allocator;

/// A whole node in one process: channels, peers, the chain and routes on one database.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables such as CAUSEWAY__SERVER__LISTEN override it.
    #[arg(long, env = "CAUSEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Ends a freeze of the node and exits. First read the runbook on frozen nodes.
    #[arg(long)]
    end_freeze: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: node::Config = rpc::config::load(arguments.config.as_deref())?;
    if arguments.end_freeze {
        println!("{}", channel_engine::end_freeze(&config.database).await?);
        return Ok(());
    }
    let _telemetry = Telemetry::start("causeway-node", &config.telemetry)?;
    let stop = rpc::shutdown_signal()?;
    node::run(config, None, Health::new(), Metrics::default(), stop).await
}
