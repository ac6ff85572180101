//! A node of the DHT, for operators who want one (network 5): a few of them are a DHT. On a port and a key of its own, so that strangers of
//! the DHT and the peers of the node do not meet.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Instant;

use adnl::keys::PrivateKey;
use adnl::{AddressList, Endpoint};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::config::DhtConfig;
use crate::limits::{Kind, Limits};
use crate::run::Error;

/// Queries that wait for the node.
const ADMITTED: usize = 64;

/// Hands on what each asker may ask: a store costs signature checks, and everybody may ask.
async fn admit(mut queries: mpsc::Receiver<adnl::IncomingQuery>, admitted: mpsc::Sender<adnl::IncomingQuery>) {
    let limits = Limits::default();
    while let Some(query) = queries.recv().await {
        let room = limits.admit(query.peer_id, Kind::Stranger, query.data.len(), Instant::now());
        if room.is_ok() && admitted.send(query).await.is_err() {
            return;
        }
    }
}

/// A running node.
pub(crate) struct DhtNode {
    key: PrivateKey,
    endpoint: Endpoint,
    presented: watch::Sender<dht::Node>,
}

impl DhtNode {
    /// Binds UDP and starts to serve; finds the others through `bootstrap`, and is the first one where that is empty.
    pub async fn start(
        config: &DhtConfig,
        key: PrivateKey,
        epoch: u32,
        bootstrap: Vec<dht::Node>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self, Error> {
        let address = config.external_address;
        let adnl = adnl::Config { key: key.clone(), epoch, listen: config.listen, advertise: Some(address) };
        // Sessions of a DHT node may begin anew with each start: nothing is kept of them.
        let (endpoint, incoming) =
            Endpoint::bind(adnl, drop).await.map_err(|source| Error::Bind { address: config.listen, source })?;
        let node = dht::Node::present(&key, address, epoch);
        tracing::info!(adnl_id = %endpoint.id(), address = %endpoint.local_addr(), others = bootstrap.len(),
            dht_section = %dht::dht_section(std::slice::from_ref(&node)), "DHT node is up");
        let (presented, own) = watch::channel(node.clone());
        let (admitted, queries) = mpsc::channel(ADMITTED);
        tasks.spawn(admit(incoming.queries, admitted));
        tasks.spawn(dht::Server::new(node, []).join(endpoint.clone(), bootstrap, queries, own));
        Ok(Self { key, endpoint, presented })
    }

    /// How it presents itself to others.
    pub fn presented(&self) -> dht::Node {
        self.presented.borrow().clone()
    }

    /// How this process reaches it, wherever others do.
    pub fn local(&self) -> Option<dht::Node> {
        let SocketAddr::V4(address) = self.endpoint.local_addr() else { return None };
        let ip = if address.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *address.ip() };
        Some(dht::Node::present(&self.key, SocketAddrV4::new(ip, address.port()), self.presented().version))
    }

    /// Others reach it at another address from now on.
    pub async fn advertise(&self, address: SocketAddrV4) -> Result<(), adnl::QueryError> {
        let AddressList { version, .. } = self.endpoint.advertise(Some(address)).await?;
        self.presented.send_replace(dht::Node::present(&self.key, address, version));
        Ok(())
    }

    /// What its port saw.
    pub async fn stats(&self) -> Option<adnl::Stats> {
        self.endpoint.stats().await.ok()
    }

    /// Ends it.
    pub async fn close(&self) {
        self.endpoint.close().await;
    }
}
