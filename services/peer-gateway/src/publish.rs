//! The DHT records of a gateway that can be reached (payments 2.1): its own address, and for the one gateway that publishes, the node's
//! ADNL id. A gateway without an address publishes nothing.

use std::sync::Arc;
use std::time::Duration;

use adnl::AddressList;
use adnl::keys::{PrivateKey, PublicKey};
use dht::{KeyDescription, PAYMENT_NODE, Value};
use tl::Object as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wire::message::NodeAddress;

use crate::gateway::{Gateway, unix_now};

/// How long a record holds (payments 2.1).
const TTL: u32 = 30 * 60;
/// How often it is stored anew.
const REFRESH: Duration = Duration::from_secs(180);
/// The same after a failure.
const RETRY: Duration = Duration::from_secs(5);
/// The right to publish is taken for so long, and renewed each third of it.
const LEASE: Duration = Duration::from_secs(30);

/// What is published.
pub(crate) struct Publisher {
    pub gateway: Arc<Gateway>,
    pub dht: dht::Client,
    pub adnl_key: PrivateKey,
    /// Until when the last record holds: of two records the longer-lived counts.
    pub last_ttl: u32,
}

impl Publisher {
    /// Publishes until stopped.
    pub async fn run(mut self, stop: CancellationToken) {
        let (mut address_due, mut node_due) = (Instant::now(), Instant::now());
        let (mut attached, mut advertised) = (self.gateway.hub.attached(), self.gateway.advertised.subscribe());
        loop {
            let addresses = advertised.borrow_and_update().clone();
            if addresses.addrs.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => return,
                    _ = advertised.changed() => continue,
                }
            }
            if address_due <= Instant::now() {
                address_due = Instant::now() + outcome("address", self.publish_address(&addresses).await);
            }
            // Without an engine nobody signs: then the right to publish is better left to another gateway.
            let signs = *attached.borrow_and_update();
            if !signs || !self.is_publisher().await {
                // Whoever takes over, or gets an engine, publishes at once.
                node_due = Instant::now();
            } else if node_due <= Instant::now() {
                node_due = Instant::now() + outcome("payment-node", self.publish_node().await);
            }
            let next = address_due.min(node_due.max(Instant::now() + RETRY)).min(Instant::now() + LEASE / 3);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep_until(next) => {}
                Ok(()) = attached.changed() => {}
                Ok(()) = advertised.changed() => address_due = Instant::now(),
            }
        }
    }

    async fn is_publisher(&self) -> bool {
        let pool = &self.gateway.directory.pool;
        let lease = async { store::gateway::publish(&pool.get().await?, &self.gateway.name, LEASE).await };
        let lease: Result<_, store::Error> = lease.await;
        lease.inspect_err(|error| tracing::warn!(%error, "the right to publish cannot be renewed")).is_ok_and(|own| own.is_some())
    }

    async fn publish_address(&mut self, addresses: &AddressList) -> Result<usize, String> {
        let ttl = self.next_ttl();
        let value = dht::address_value(&self.adnl_key, addresses, ttl);
        self.dht.store(&value).await.map_err(|error| error.to_string())
    }

    fn next_ttl(&mut self) -> u32 {
        self.last_ttl = (unix_now() + TTL).max(self.last_ttl + 1);
        self.last_ttl
    }

    async fn publish_node(&mut self) -> Result<usize, String> {
        let value = self.signed_node().await.ok_or("no engine signs the record")?;
        self.dht.store(&value).await.map_err(|error| error.to_string())
    }

    async fn signed_node(&mut self) -> Option<Value> {
        let (ttl, adnl_id) = (self.next_ttl(), self.gateway.endpoint.id());
        let owner = PublicKey::from_bytes(&self.gateway.node_key).ok()?;
        for engine in self.gateway.hub.engines() {
            let Some(signed) = engine.sign_node_record(&adnl_id.0, ttl).await else { continue };
            let mut description = KeyDescription::new(owner, PAYMENT_NODE);
            description.signature = signed.description_signature.to_vec();
            let data = NodeAddress { adnl_addr: adnl_id.0 }.to_boxed();
            let value = Value { description, data, ttl, signature: signed.value_signature.to_vec() };
            if value.is_valid() {
                return Some(value);
            }
            tracing::warn!(engine = engine.engine_id, "engine did not sign the node's record");
        }
        None
    }
}

fn outcome(record: &str, stored: Result<usize, String>) -> Duration {
    match stored {
        Ok(nodes) => {
            tracing::debug!(record, nodes, "record published");
            REFRESH
        }
        Err(error) => {
            tracing::warn!(record, error, "record not published");
            RETRY
        }
    }
}
