//! Where peers may be: the operator's word, what was remembered, the DHT (payments 2.1).

use std::net::SocketAddr;

use adnl::keys::PublicKey;
use store::Pool;

use crate::Key;
use crate::config::StaticPeer;
use crate::records::Place;

/// Remembered places tried for one node.
const MAX_REMEMBERED: usize = 3;

/// Sources of places, in the order in which they are asked.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    Configured,
    Remembered,
    Dht,
}

/// See the module.
pub(crate) struct Directory {
    pub configured: Vec<StaticPeer>,
    pub pool: Pool,
    pub dht: Option<dht::Client>,
}

impl Directory {
    /// Where this source says that the node is. Failures are logged and say nothing.
    pub async fn places(&self, source: Source, node: &Key) -> Vec<Place> {
        match source {
            Source::Configured => {
                let own = self.configured.iter().filter(|peer| peer.node_key.0 == *node);
                own.filter_map(|peer| place(&peer.adnl_key.0, peer.address)).collect()
            }
            Source::Remembered => self.remembered(node).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "remembered peers cannot be read");
                Vec::new()
            }),
            Source::Dht => self.in_dht(node).await.into_iter().collect(),
        }
    }

    async fn remembered(&self, node: &Key) -> Result<Vec<Place>, store::Error> {
        let client = self.pool.get().await?;
        let peers = store::gateway::peers_of(&client, node).await?;
        Ok(peers.iter().take(MAX_REMEMBERED).filter_map(remembered_place).collect())
    }

    async fn in_dht(&self, node: &Key) -> Option<Place> {
        let (dht, key) = (self.dht.as_ref()?, PublicKey::from_bytes(node).ok()?);
        let found = async { dht.find_address(dht.find_payment_node(&key).await?).await };
        match found.await {
            Ok((adnl_key, address)) => Some(Place { adnl_key, address: address.into() }),
            Err(error) => {
                tracing::debug!(node = hex::encode(node), %error, "not found in the DHT");
                None
            }
        }
    }
}

/// The place of a remembered peer.
pub(crate) fn remembered_place(peer: &store::gateway::Peer) -> Option<Place> {
    place(&peer.adnl_key, peer.address.parse().ok()?)
}

fn place(adnl_key: &[u8; 32], address: SocketAddr) -> Option<Place> {
    Some(Place { adnl_key: PublicKey::from_bytes(adnl_key).ok()?, address })
}
