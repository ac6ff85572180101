use crate::lookup::K;
use crate::member::Survey;
use crate::node::{Node, Nodes, distance};
use crate::query::{Answer, Query};
use crate::value::{KeyId, Value};
use adnl::IncomingQuery;
use adnl::keys::AdnlId;
use std::collections::HashMap;
use tokio::sync::mpsc;

/// Longest life of a value, with some slack for clocks (network 5.3).
const MAX_TTL: u32 = 3600 + 60;
/// A value is kept unless so many nodes more than [`K`] are nearer to it.
const NEARER: usize = 10;
/// Values and nodes kept.
const MAX_VALUES: usize = 65_536;
const MAX_NODES: usize = 1024;

/// A node that left so many surveys without answer is forgotten (network 5.3).
const MAX_MISSES: u32 = 3;

/// A node of the DHT: keeps values and names the nodes that it knows. Without network and clock; [`Server::join`] gives it both.
///
/// It does not hand values on; whoever stores a value refreshes it.
#[derive(Debug)]
pub struct Server {
    own: Node,
    nodes: HashMap<AdnlId, Known>,
    values: HashMap<KeyId, Value>,
}

#[derive(Debug)]
struct Known {
    node: Node,
    /// Surveys without answer since the last one with.
    misses: u32,
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

    /// Presents itself otherwise from now on: at another address.
    pub(crate) fn present(&mut self, own: Node) {
        self.own = own;
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
        match self.values.remove(&key) {
            Some(known) if known.ttl > now => drop(self.values.insert(key, known.merge(value))),
            None if self.values.len() >= MAX_VALUES => {}
            _ => drop(self.values.insert(key, value)),
        }
    }

    fn meet(&mut self, node: Node) {
        let id = node.id();
        let newer = self.nodes.get(&id).is_none_or(|known| known.node.version < node.version);
        let room = self.nodes.len() < MAX_NODES || self.nodes.contains_key(&id);
        if newer && room && id != self.own.id() && node.address().is_some() && node.is_valid() {
            self.nodes.insert(id, Known { node, misses: 0 });
        }
    }

    /// The nodes that it knows, in no order.
    pub fn nodes(&self) -> Vec<Node> {
        self.nodes.values().map(|known| known.node.clone()).collect()
    }

    /// Takes in who answered, forgets who has not for too long. How many are known now.
    pub(crate) fn surveyed(&mut self, survey: &Survey) -> usize {
        for node in &survey.alive {
            self.meet(node.clone());
            self.nodes.entry(node.id()).and_modify(|known| known.misses = 0);
        }
        for id in &survey.silent {
            if let Some(known) = self.nodes.get_mut(id) {
                known.misses += 1;
            }
        }
        self.nodes.retain(|_, known| known.misses < MAX_MISSES);
        self.nodes.len()
    }

    /// Never names the asker to itself: older clients cannot stand it (network 5.5).
    fn nearest(&self, key: &KeyId, k: u32, asker: AdnlId) -> Nodes {
        let mut nodes: Vec<_> = self.nodes.iter().filter(|(id, _)| **id != asker).collect();
        nodes.sort_by_cached_key(|(id, _)| distance(key, id.as_bytes()));
        Nodes(nodes.into_iter().take(K.min(k as usize)).map(|(_, known)| known.node.clone()).collect())
    }

    /// Serves the queries of an endpoint until it closes. Knows no nodes but those that it was given and those that introduce themselves;
    /// [`Server::join`] looks for them.
    pub async fn run(mut self, mut queries: mpsc::Receiver<IncomingQuery>) {
        while let Some(query) = queries.recv().await {
            self.answer(query).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use adnl::keys::PrivateKey;

    fn node(of: u8, version: u32) -> Node {
        Node::present(&PrivateKey::from_seed(&[of; 32]), std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 9), version)
    }

    #[test]
    fn who_leaves_three_surveys_without_answer_is_forgotten() {
        let mut server = Server::new(node(1, 1), [node(2, 1), node(3, 1)]);
        let silent = || Survey { alive: vec![node(2, 2), node(4, 1)], silent: vec![node(3, 1).id()] };
        assert_eq!((server.surveyed(&silent()), server.surveyed(&silent())), (3, 3));
        // One answer is enough to be known as before.
        server.surveyed(&Survey { alive: vec![node(3, 1)], silent: vec![] });
        assert_eq!((server.surveyed(&silent()), server.surveyed(&silent()), server.surveyed(&silent())), (3, 3, 2));
        let mut versions: Vec<_> = server.nodes().iter().map(|node| (node.id(), node.version)).collect();
        let mut expected = vec![(node(2, 2).id(), 2), (node(4, 1).id(), 1)];
        versions.sort();
        expected.sort();
        assert_eq!(versions, expected);
    }

    #[test]
    fn a_newer_presentation_takes_the_place_of_an_older_one_only() {
        let mut server = Server::new(node(1, 1), [node(2, 5)]);
        for (version, expected) in [(4, 5), (5, 5), (6, 6)] {
            server.meet(node(2, version));
            assert_eq!(server.nodes()[0].version, expected);
        }
        let mut forged = node(2, 7);
        forged.signature[3] ^= 1;
        server.meet(forged);
        assert_eq!(server.nodes()[0].version, 6);
    }
}
