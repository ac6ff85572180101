use crate::lookup::K;
use crate::node::{Node, Nodes, distance};
use crate::query::{Answer, Query};
use crate::value::{KeyId, Value};
use adnl::IncomingQuery;
use adnl::keys::AdnlId;
use std::collections::HashMap;
use std::time::UNIX_EPOCH;
use tokio::sync::mpsc;

/// Longest life of a value, with some slack for clocks (network 5.3).
const MAX_TTL: u32 = 3600 + 60;
/// A value is kept unless so many nodes more than [`K`] are nearer to it.
const NEARER: usize = 10;
/// Values and nodes kept.
const MAX_VALUES: usize = 65_536;
const MAX_NODES: usize = 1024;

/// A node of a closed network's DHT: keeps values and names the nodes that it knows. Without network and clock.
///
/// It does not look for other nodes, check that they live or hand values on; whoever stores a value refreshes it.
#[derive(Debug)]
pub struct Server {
    own: Node,
    nodes: HashMap<AdnlId, Node>,
    values: HashMap<KeyId, Value>,
}

impl Server {
    /// A server that presents itself as `own`, and knows these others.
    pub fn new(own: Node, others: impl IntoIterator<Item = Node>) -> Self {
        let mut server = Self { own, nodes: HashMap::new(), values: HashMap::new() };
        others.into_iter().for_each(|node| server.meet(node));
        server
    }

    /// Our presentation.
    pub fn own(&self) -> &Node {
        &self.own
    }

    /// Answers a query; none for one that breaks a rule. `now` in unix seconds.
    pub fn handle(&mut self, now: u32, asker: AdnlId, query: &[u8]) -> Option<Answer> {
        let (introduced, query) = Query::parse(query).ok()?;
        if let Some(node) = introduced.filter(|node| node.id() == asker) {
            self.meet(node);
        }
        Some(match query {
            Query::Ping(id) => Answer::Pong(id),
            Query::GetAddresses => Answer::Addresses(Box::new(self.own.clone())),
            Query::FindNode(key, k) => Answer::Nodes(self.nearest(&key, k, asker)),
            Query::FindValue(key, k) => match self.values.get(&key).filter(|value| value.ttl > now) {
                Some(value) => Answer::Found(Box::new(value.clone())),
                None => Answer::NotFound(self.nearest(&key, k, asker)),
            },
            Query::Store(value) => {
                if value.ttl > now.saturating_add(MAX_TTL) || !value.is_valid() {
                    return None;
                }
                self.keep(now, *value);
                Answer::Stored
            }
        })
    }

    fn keep(&mut self, now: u32, value: Value) {
        let key = value.key_id();
        let own = distance(&key, self.own.id().as_bytes());
        let nearer = self.nodes.keys().filter(|id| distance(&key, id.as_bytes()) < own).count();
        if value.ttl <= now || nearer >= K + NEARER {
            return;
        }
        if self.values.len() >= MAX_VALUES {
            self.values.retain(|_, value| value.ttl > now);
        }
        let longer = self.values.get(&key).is_none_or(|known| known.ttl < value.ttl);
        if longer && (self.values.len() < MAX_VALUES || self.values.contains_key(&key)) {
            self.values.insert(key, value);
        }
    }

    fn meet(&mut self, node: Node) {
        let id = node.id();
        let newer = self.nodes.get(&id).is_none_or(|known| known.version < node.version);
        let room = self.nodes.len() < MAX_NODES || self.nodes.contains_key(&id);
        if newer && room && id != self.own.id() && node.address().is_some() && node.is_valid() {
            self.nodes.insert(id, node);
        }
    }

    /// Never names the asker to itself: older clients cannot stand it (network 5.5).
    fn nearest(&self, key: &KeyId, k: u32, asker: AdnlId) -> Nodes {
        let mut nodes: Vec<_> = self.nodes.iter().filter(|(id, _)| **id != asker).collect();
        nodes.sort_by_cached_key(|(id, _)| distance(key, id.as_bytes()));
        Nodes(nodes.into_iter().take(K.min(k as usize)).map(|(_, node)| node.clone()).collect())
    }

    /// Serves the queries of an endpoint until it closes.
    pub async fn run(mut self, mut queries: mpsc::Receiver<IncomingQuery>) {
        while let Some(query) = queries.recv().await {
            let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() as u32;
            match self.handle(now, query.peer_id, &query.data) {
                Some(answer) => {
                    let _ = query.responder.answer(answer.to_bytes()).await;
                }
                None => tracing::debug!(peer = %query.peer_id, "query refused"),
            }
        }
    }
}
