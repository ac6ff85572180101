//! `causeway-peer-gateway`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use peer_gateway::{Config, Listener};
use rpc::{Health, Metrics, Server, Telemetry};

#[global_allocator]
static ALLOCATOR: rpc::Allocator = rpc::Allocator;

/// Sessions with the peers of a node: ADNL, RLDP, discovery, authentication.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML). Variables CAUSEWAY__... override it.
    #[arg(long, env = "CAUSEWAY_CONFIG")]
    config: Option<PathBuf>,
    /// Print the section `dht` of a network configuration with this gateway's DHT node in it, and end
    #[arg(long)]
    print_dht_section: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let config: Config = rpc::config::load(arguments.config.as_deref())?;
    config.validate()?;
    if arguments.print_dht_section {
        println!("{:#}", peer_gateway::dht_section(&config)?);
        return Ok(());
    }
    let _telemetry = Telemetry::start("causeway-peer-gateway", &config.telemetry).context("telemetry")?;
    let shutdown = rpc::shutdown_signal().context("signals")?;
    let (health, metrics) = (Health::new(), Metrics::default());
    if let Some(server) = &config.metrics {
        let server = Server::metrics(server, "metrics", &health, &metrics)?.bind().await?;
        tracing::info!(address = %server.local_addr(), "metrics");
        tokio::spawn(server.serve(shutdown.clone()));
    }
    let listener = Listener::Network(config.server.clone().context("configuration field `server` must be set")?);
    peer_gateway::run(config, listener, &health, &metrics, shutdown).await?;
    Ok(())
}
