//! `causeway-devnet`: an embedded TON chain as a process of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use adnl::keys::PrivateKey;
use anyhow::{Context, Result, bail};
use clap::Parser;
use devnet::{Devnet, ServeOptions, Served, global_config, serve};
use serde_json::{Value, json};
use tracing_subscriber::EnvFilter;

/// An embedded TON chain: real TVM, real blocks, served on loopback to lite clients.
///
/// Prints one line of JSON with its ports when it is ready. The chain of the data directory goes on where it was, also after a kill.
#[derive(Parser)]
#[command(name = "causeway-devnet", version)]
struct Options {
    /// Where the chain, the lite servers' keys and the global config file live.
    #[arg(long, env = "CAUSEWAY_DEVNET_DATA_DIR")]
    data_dir: PathBuf,
    /// Port of a lite server; give it several times for several servers, 0 takes a free port.
    #[arg(long = "lite-port", env = "CAUSEWAY_DEVNET_LITE_PORTS", value_delimiter = ',', default_values_t = [0, 0])]
    lite_ports: Vec<u16>,
    /// Port of the control interface (HTTP); 0 takes a free port.
    #[arg(long, env = "CAUSEWAY_DEVNET_CONTROL_PORT", default_value_t = 0)]
    control_port: u16,
    /// Milliseconds between blocks; 0 seals blocks only when the control interface is told to.
    #[arg(long, env = "CAUSEWAY_DEVNET_BLOCK_INTERVAL_MS", default_value_t = 400)]
    block_interval_ms: u64,
    /// UDP port of the network's DHT node, which payment nodes find each other with; 0 takes a free port.
    #[arg(long, env = "CAUSEWAY_DEVNET_DHT_PORT", default_value_t = 0)]
    dht_port: u16,
}

#[tokio::main]
async fn main() -> Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let options = Options::parse();
    if options.lite_ports.is_empty() {
        bail!("--lite-port: at least one lite server is needed");
    }
    let devnet = Devnet::open(&options.data_dir).context("--data-dir")?;
    let keys = lite_server_keys(&options.data_dir, options.lite_ports.len())?;
    let interval = options.block_interval_ms;
    let serve_options = ServeOptions {
        lite_servers: keys.into_iter().zip(options.lite_ports.iter().copied()).collect(),
        control_port: Some(options.control_port),
        block_interval: (interval > 0).then(|| Duration::from_millis(interval)),
    };
    let mut served = serve(devnet.clone(), serve_options).await.context("binding the ports")?;
    let dht = start_dht(&options).await.context("--dht-port")?;
    let config = write_global_config(&options, &devnet, &served, &dht)?;
    println!("{}", ready_line(&served, &config));
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = served.ended() => bail!("a part of the devnet ended"),
    }
}

/// What a parent process needs to know.
fn ready_line(served: &Served, config: &Path) -> Value {
    json!({
        "lite_servers": served.lite_servers.iter().map(|s| s.address.to_string()).collect::<Vec<_>>(),
        "control": served.control.map(|c| c.to_string()),
        "global_config": config,
    })
}

/// A DHT of one node. What it keeps is gone when it ends: whoever published publishes again within the hour.
async fn start_dht(options: &Options) -> Result<dht::Node> {
    let key = key_file(&options.data_dir.join("dht.key"))?;
    let now = u32::try_from(UNIX_EPOCH.elapsed()?.as_secs())?;
    let listen = SocketAddr::from(([127, 0, 0, 1], options.dht_port));
    let config = adnl::Config { key: key.clone(), epoch: now, listen, advertise: None };
    let (endpoint, incoming) = adnl::Endpoint::bind(config, drop).await?;
    let SocketAddr::V4(address) = endpoint.local_addr() else { bail!("not bound to IPv4") };
    let node = dht::Node::present(&key, address, now);
    let server = dht::Server::new(node.clone(), []);
    tokio::spawn(async move {
        server.run(incoming.queries).await;
        endpoint.close().await;
    });
    Ok(node)
}

fn write_global_config(options: &Options, devnet: &Devnet, served: &Served, dht: &dht::Node) -> Result<PathBuf> {
    let dht = dht::dht_section(std::slice::from_ref(dht));
    let (zero_state, key_block) = devnet.read(|l| (*l.zero_state(), *l.key_block()));
    let config = global_config(&served.lite_servers, &zero_state, &key_block, dht);
    let path = options.data_dir.join("global.config.json");
    let partial = path.with_extension("partial");
    std::fs::write(&partial, serde_json::to_vec_pretty(&config)?)?;
    std::fs::rename(&partial, &path)?;
    Ok(path)
}

/// The keys of the first start, and more if more servers are wanted.
fn lite_server_keys(data_dir: &Path, count: usize) -> Result<Vec<PrivateKey>> {
    (0..count).map(|index| key_file(&data_dir.join(format!("lite-server-{index}.key")))).collect()
}

/// Reads the key, or makes one and the file.
fn key_file(path: &Path) -> Result<PrivateKey> {
    if let Ok(text) = std::fs::read_to_string(path) {
        let mut seed = [0; 32];
        hex::decode_to_slice(text.trim(), &mut seed).with_context(|| format!("{}", path.display()))?;
        return Ok(PrivateKey::from_seed(&seed));
    }
    let key = PrivateKey::generate();
    std::fs::write(path, hex::encode(key.to_seed()))?;
    Ok(key)
}
