//! `causeway-route-planner`: see the library.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use route_planner::{Config, Listener};
use rpc::{Health, Metrics, Server, Telemetry};

#[global_allocator]
static ALLOCATOR: rpc::Allocator = rpc::Allocator;

/// Finds chains of channels with their fees and deadlines.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables such as CAUSEWAY__SERVER__LISTEN override it.
    #[arg(long, env = "CAUSEWAY_CONFIG")]
    config: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = rpc::config::load(arguments.config.as_deref())?;
    config.validate()?;
    let _telemetry = Telemetry::start("causeway-route-planner", &config.telemetry).context("telemetry")?;
    let shutdown = rpc::shutdown_signal().context("signals")?;
    let (health, metrics) = (Health::new(), Metrics::default());
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", &health, &metrics)?.bind().await?;
        tracing::info!(address = %server.local_addr(), "metrics");
        tokio::spawn(server.serve(shutdown.clone()));
    }
    let gateway = config.gateway.as_ref().map(|gateway| gateway.connect("gateway")).transpose()?;
    let listener = Listener::Network(config.server.clone().context("configuration field `server` must be set")?);
    route_planner::run(config, gateway, listener, &health, &metrics, shutdown).await?;
    Ok(())
}
