use crate::lookup::Lookup;
use crate::node::Node;
use crate::overlay::OverlayNodes;
use crate::query::{Answer, Query};
use crate::value::{Key, KeyId, OVERLAY_NODES, Owner, Value};
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use adnl::{AddressList, Endpoint};
use std::net::SocketAddrV4;
use std::time::{Duration, UNIX_EPOCH};
use tl::{Object, Reader, Writer};
use tokio::task::JoinSet;

/// Name of the key under which an ADNL node publishes its address list.
pub const ADDRESS: &str = "address";
/// Name of the key under which a payment node publishes its ADNL id; the owner is its channel key.
pub const PAYMENT_NODE: &str = "payment-node";
/// How long one node is waited for (network 5.3).
const TIMEOUT: Duration = Duration::from_secs(3);
/// Nodes asked for in one query.
const ASK_FOR: u32 = crate::lookup::K as u32;

/// Why a search or a store failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nobody has a valid value.
    #[error("value not found")]
    NotFound,
    /// No node answered.
    #[error("no DHT node answers")]
    Unreachable,
    /// The value is not what its name promises.
    #[error("malformed value")]
    Malformed,
}

/// `payments.nodeAddress`: what a payment node publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentNode(pub AdnlId);

impl Object for PaymentNode {
    const ID: u32 = tl::id("payments.nodeAddress adnl_addr:int256 = payments.NodeAddress");

    fn write_bare(&self, w: &mut Writer) {
        w.raw(self.0.as_bytes());
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, tl::Error> {
        r.int256("adnl_addr").map(|id| Self(AdnlId(id)))
    }
}

/// The record of an ADNL node's addresses, to be stored again before `ttl` is over.
pub fn address_value(key: &PrivateKey, addresses: &AddressList, ttl: u32) -> Value {
    Value::signed(key, ADDRESS, addresses.to_boxed(), ttl)
}

/// Searches and stores through an endpoint. Keeps nothing but the nodes that it begins with; refreshing is the caller's timer.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    nodes: Vec<Node>,
    /// Present if we are a node ourselves: whom we ask learns of us.
    own: Option<Node>,
}

impl Client {
    /// A client that begins with these nodes, from the network's configuration.
    pub fn new(endpoint: Endpoint, nodes: Vec<Node>) -> Self {
        Self { endpoint, nodes, own: None }
    }

    /// A node that asks others.
    pub(crate) fn member(endpoint: Endpoint, nodes: Vec<Node>, own: Node) -> Self {
        Self { endpoint, nodes, own: Some(own) }
    }

    /// The nodes nearest to a position that answer.
    pub(crate) async fn nearest(&self, position: KeyId) -> Vec<Node> {
        let found = self.search(position, Query::FindNode(position, ASK_FOR)).await;
        found.map(|(_, nearest)| nearest).unwrap_or_default()
    }

    /// The value of a key: the first valid one that a node has.
    pub async fn find_value(&self, key: &Key) -> Result<Value, Error> {
        self.search(key.id(), Query::FindValue(key.id(), ASK_FOR)).await?.0.ok_or(Error::NotFound)
    }

    /// Stores a value at the nearest nodes; how many took it.
    pub async fn store(&self, value: &Value) -> Result<usize, Error> {
        let key = value.key_id();
        let (_, nearest) = self.search(key, Query::FindNode(key, ASK_FOR)).await?;
        let query = Query::Store(Box::new(value.clone()));
        let mut stores = JoinSet::new();
        for node in nearest {
            let (client, query) = (self.clone(), query.clone());
            stores.spawn(async move { client.ask(node, &query).await });
        }
        let answers = stores.join_all().await;
        match answers.iter().filter(|(_, answer)| matches!(answer, Some(Answer::Stored))).count() {
            0 => Err(Error::Unreachable),
            stored => Ok(stored),
        }
    }

    /// Where an ADNL node is, and its key.
    pub async fn find_address(&self, node: AdnlId) -> Result<(PublicKey, SocketAddrV4), Error> {
        let value = self.find_value(&Key::new(node, ADDRESS)).await?;
        let addresses = AddressList::from_boxed(&value.data).map_err(|_| Error::Malformed)?;
        let address = addresses.addrs.first().ok_or(Error::Malformed)?;
        Ok((value.description.owner.ed25519().ok_or(Error::Malformed)?, *address))
    }

    /// The nodes of the overlay of this name, of one DHT node's list.
    pub async fn find_overlay_nodes(&self, name: &[u8]) -> Result<OverlayNodes, Error> {
        let overlay = Owner::Overlay(name.to_vec()).id();
        let value = self.find_value(&Key::new(overlay, OVERLAY_NODES)).await?;
        OverlayNodes::from_boxed(&value.data).map_err(|_| Error::Malformed)
    }

    /// The ADNL id of the payment node with this channel key.
    pub async fn find_payment_node(&self, channel_key: &PublicKey) -> Result<AdnlId, Error> {
        let value = self.find_value(&Key::new(channel_key.id(), PAYMENT_NODE)).await?;
        PaymentNode::from_boxed(&value.data).map(|node| node.0).map_err(|_| Error::Malformed)
    }

    /// Asks nearer and nearer nodes, until one has a valid value or the nearest have answered.
    async fn search(&self, target: KeyId, query: Query) -> Result<(Option<Value>, Vec<Node>), Error> {
        let mut lookup = Lookup::new(target, self.nodes.iter().cloned());
        let mut asking = JoinSet::new();
        loop {
            while let Some(node) = lookup.next_to_ask() {
                let (client, query) = (self.clone(), query.clone());
                asking.spawn(async move { client.ask(node, &query).await });
            }
            let Some(answered) = asking.join_next().await else { break };
            let Ok((node, answer)) = answered else { continue };
            match answer {
                Some(Answer::Found(value)) if is_current(&value, &target) => return Ok((Some(*value), Vec::new())),
                Some(Answer::Nodes(nodes) | Answer::NotFound(nodes)) => lookup.answered(&node, nodes.0),
                _ => lookup.failed(&node),
            }
        }
        match lookup.into_nearest() {
            nearest if nearest.is_empty() => Err(Error::Unreachable),
            nearest => Ok((None, nearest)),
        }
    }

    /// What a node answers, if it does in time.
    pub(crate) async fn ask(&self, node: Node, query: &Query) -> (Node, Option<Answer>) {
        let answer = async {
            let peer = self.endpoint.introduce(node.key, node.address()?).await.ok()?;
            let answer = self.endpoint.query(peer, query.from(self.own.as_ref()), TIMEOUT).await.ok()?;
            Answer::parse(&answer).ok()
        };
        let answer = answer.await;
        (node, answer)
    }
}

fn is_current(value: &Value, target: &KeyId) -> bool {
    let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    value.key_id() == *target && u64::from(value.ttl) > now && value.is_valid()
}
