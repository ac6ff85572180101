use crate::node::{Node, distance};
use crate::value::KeyId;

/// Nodes that a search ends with, and that a value is stored at (network 5.3).
pub const K: usize = 10;
/// Nodes asked at a time.
const PARALLEL: usize = 3;
/// Nodes remembered in one search.
const MAX_CANDIDATES: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    Asked,
    Answered,
    Failed,
}

/// A search for the nodes nearest to a position: asks the nearest known, takes in those that they name, until the nearest [`K`] have
/// answered. Without network: the caller asks.
#[derive(Debug)]
pub struct Lookup {
    target: KeyId,
    /// Nearest first.
    candidates: Vec<(Node, State)>,
}

impl Lookup {
    /// A search that begins with these nodes.
    pub fn new(target: KeyId, nodes: impl IntoIterator<Item = Node>) -> Self {
        let mut lookup = Self { target, candidates: Vec::new() };
        lookup.add(nodes);
        lookup
    }

    /// Takes in nodes. Those without address or valid signature are ignored.
    pub fn add(&mut self, nodes: impl IntoIterator<Item = Node>) {
        for node in nodes {
            let known = self.candidates.iter().any(|(known, _)| known.key == node.key);
            if !known && node.address().is_some() && node.is_valid() {
                self.candidates.push((node, State::New));
            }
        }
        let target = self.target;
        self.candidates.sort_by_cached_key(|(node, _)| distance(&target, node.id().as_bytes()));
        // Whoever is asked must stay; what is far and new may go.
        while self.candidates.len() > MAX_CANDIDATES
            && let Some(at) = self.candidates.iter().rposition(|(_, state)| *state == State::New)
        {
            self.candidates.remove(at);
        }
    }

    /// The next node to ask, unless enough are being asked or the search is over.
    pub fn next_to_ask(&mut self) -> Option<Node> {
        if self.candidates.iter().filter(|(_, state)| *state == State::Asked).count() >= PARALLEL {
            return None;
        }
        let mut nearest = self.candidates.iter_mut().filter(|(_, state)| *state != State::Failed).take(K);
        let (node, state) = nearest.find(|(_, state)| *state == State::New)?;
        *state = State::Asked;
        Some(node.clone())
    }

    /// A node answered, and named others.
    pub fn answered(&mut self, node: &Node, nodes: impl IntoIterator<Item = Node>) {
        self.set(node, State::Answered);
        self.add(nodes);
    }

    /// A node did not answer.
    pub fn failed(&mut self, node: &Node) {
        self.set(node, State::Failed);
    }

    fn set(&mut self, node: &Node, to: State) {
        if let Some((_, state)) = self.candidates.iter_mut().find(|(known, _)| known.key == node.key) {
            *state = to;
        }
    }

    /// The nearest nodes that answered.
    pub fn into_nearest(self) -> Vec<Node> {
        let answered = self.candidates.into_iter().filter(|(_, state)| *state == State::Answered);
        answered.take(K).map(|(node, _)| node).collect()
    }
}
