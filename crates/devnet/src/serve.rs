use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use adnl::keys::PrivateKey;
use liteapi::ServerAddress;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tracing::error;

use crate::control;
use crate::node::Devnet;

/// What is served where. All of it listens on loopback only: a devnet has no business on a network.
pub struct ServeOptions {
    /// One lite server for each: its key and port; port 0 takes a free one.
    pub lite_servers: Vec<(PrivateKey, u16)>,
    /// Port of the control interface; 0 takes a free one, none leaves it out.
    pub control_port: Option<u16>,
    /// Time between blocks; none seals blocks on demand only.
    pub block_interval: Option<Duration>,
}

/// A devnet being served. Stops when dropped.
pub struct Served {
    /// The lite servers with their real ports.
    pub lite_servers: Vec<ServerAddress>,
    /// The control interface.
    pub control: Option<SocketAddr>,
    tasks: JoinSet<()>,
}

impl Served {
    /// Returns when a part of it has ended, which it should not.
    pub async fn ended(&mut self) {
        self.tasks.join_next().await;
    }
}

/// Binds all ports and serves until the result is dropped.
pub async fn serve(devnet: Devnet, options: ServeOptions) -> io::Result<Served> {
    let mut served = Served { lite_servers: Vec::new(), control: None, tasks: JoinSet::new() };
    for (key, port) in options.lite_servers {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        served.lite_servers.push(ServerAddress { address: listener.local_addr()?, key: key.public() });
        served.tasks.spawn(liteapi::serve(listener, vec![key], Arc::new(devnet.clone())));
    }
    if let Some(port) = options.control_port {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        served.control = Some(listener.local_addr()?);
        let router = control::router(devnet.clone());
        served.tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                error!(%error, "the control interface ended");
            }
        });
    }
    if let Some(period) = options.block_interval {
        served.tasks.spawn(async move {
            if let Err(error) = devnet.produce_blocks(period).await {
                error!(%error, "no more blocks");
            }
        });
    }
    Ok(served)
}
