//! The public graph, in memory: every open TON channel that the indexer recorded, and what attempts taught of it.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use contract::{Closing, Currency, Pair, Side};
use protocol::{Address, Key, Timing};
use store::chain::Account;
use store::route::Attempt;

use crate::search::Edge;

/// After this a failure is forgotten: balances have moved.
const FORGET_FAILURE: Duration = Duration::from_secs(3_600);
/// Failures beyond this make nothing more doubtful.
const MAX_DOUBT: u32 = 10;

/// An open channel.
#[derive(Debug, Clone)]
pub(crate) struct Channel {
    pub keys: Pair<Key>,
    pub closing: Closing,
    pub storage_fee: u128,
    pub code_hash: [u8; 32],
    /// What each side owns as far as the chain knows, nano.
    balances: Pair<u128>,
}

impl Channel {
    /// The channel of an account; `None` when it is not open, or not in TON.
    fn of(account: &Account) -> Option<Self> {
        let s = &account.storage;
        if !s.initialised || s.quarantine.is_some() || s.payment.currency != Currency::Ton {
            return None;
        }
        let balance = |side| s.balance.of(side).max(0).unsigned_abs();
        Some(Self {
            keys: s.keys,
            closing: s.closing,
            storage_fee: s.payment.storage_fee,
            code_hash: account.code_hash,
            balances: Pair { a: balance(Side::A), b: balance(Side::B) },
        })
    }

    fn side_of(&self, key: &Key) -> Option<Side> {
        [Side::A, Side::B].into_iter().find(|side| self.keys.get(*side) == key)
    }
}

/// The channels by address, and what attempts taught by channel and payer.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    channels: BTreeMap<Address, Channel>,
    /// The block up to which the chain's changes are in it.
    pub block: u32,
    attempts: HashMap<(Address, Key), Attempt>,
}

/// The graph for one search.
#[derive(Debug)]
pub(crate) struct View {
    /// Keys of the nodes, sorted; their places are their numbers in `edges`.
    pub nodes: Vec<Key>,
    pub edges: Vec<Edge>,
}

impl Graph {
    /// Takes over what the chain shows of a contract now.
    pub fn apply(&mut self, account: &Account) {
        match Channel::of(account) {
            Some(channel) => self.channels.insert(account.address, channel),
            None => self.channels.remove(&account.address),
        };
    }

    /// Takes over what attempts taught.
    pub fn learn(&mut self, attempts: impl IntoIterator<Item = Attempt>) {
        self.attempts.extend(attempts.into_iter().map(|attempt| ((attempt.channel, attempt.payer), attempt)));
    }

    /// Number of open channels.
    pub fn len(&self) -> usize {
        self.channels.len()
    }

    /// Both directions of every channel, without the excluded nodes, as a payment of `amount` nano sees them.
    pub fn view(&self, amount: u128, excluded: &[Key], now: SystemTime) -> View {
        let open = || self.channels.iter().filter(|(_, c)| !excluded.contains(&c.keys.a) && !excluded.contains(&c.keys.b));
        let mut nodes: Vec<Key> = open().flat_map(|(_, channel)| [channel.keys.a, channel.keys.b]).collect();
        nodes.sort_unstable();
        nodes.dedup();
        let mut edges = Vec::new();
        for (address, channel) in open() {
            for side in [Side::A, Side::B] {
                let (payer, payee) = (channel.keys.get(side), channel.keys.get(side.other()));
                let number = |key| nodes.binary_search(key).expect("every key is in it");
                edges.push(Edge {
                    from: number(payer),
                    to: number(payee),
                    // Off the chain all of it may have come to the payer's side.
                    capacity: channel.balances.a.saturating_add(channel.balances.b),
                    doubt: self.doubt(address, channel, side, amount, now),
                });
            }
        }
        View { nodes, edges }
    }

    /// What speaks against `amount` passing from this side: attempts, and when there were none the side's balance on the chain.
    fn doubt(&self, address: &Address, channel: &Channel, side: Side, amount: u128, now: SystemTime) -> u32 {
        let from_chain = u32::from(*channel.balances.get(side) < amount);
        let Some(attempt) = self.attempts.get(&(*address, *channel.keys.get(side))) else { return from_chain };
        let recent = now.duration_since(attempt.at).is_ok_and(|age| age < FORGET_FAILURE) || attempt.at > now;
        if recent && attempt.failed.is_some_and(|failed| failed <= amount) {
            return attempt.failures.clamp(1, MAX_DOUBT);
        }
        if attempt.passed.is_some_and(|passed| passed >= amount) { 0 } else { from_chain }
    }

    /// Open channels between two nodes.
    pub fn between<'a>(&'a self, a: &'a Key, b: &'a Key) -> impl Iterator<Item = (&'a Address, &'a Channel)> {
        self.channels.iter().filter(move |(_, c)| c.side_of(a).is_some_and(|side| c.keys.get(side.other()) == b))
    }

    /// What must lie between the deadlines around `node` when `payer` pays it: enough for the slowest channel between them, as the
    /// payer chooses one (payments 5.4). `timing` says how long it takes when there is none.
    pub fn gap(&self, payer: &Key, node: &Key, timing: Timing) -> u64 {
        let of = |channel: &Channel| {
            let (quarantine, conditional_close) =
                (channel.closing.quarantine_duration, channel.closing.conditional_close_duration);
            Timing { quarantine, conditional_close, ..timing }.hop_gap()
        };
        self.between(payer, node).map(|(_, channel)| of(channel)).max().unwrap_or_else(|| timing.hop_gap())
    }

    /// An open channel of a node, whose terms it has accepted.
    pub fn channel_of(&self, node: &Key) -> Option<&Channel> {
        self.channels.values().find(|channel| channel.side_of(node).is_some())
    }

    /// Every node with the number of its open channels, by key.
    pub fn nodes(&self) -> BTreeMap<Key, u32> {
        let mut nodes = BTreeMap::new();
        for key in self.channels.values().flat_map(|channel| [channel.keys.a, channel.keys.b]) {
            *nodes.entry(key).or_default() += 1;
        }
        nodes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use contract::{Balance, Payment, Storage};

    use super::*;

    /// An open channel with these balances; the address is its number.
    pub fn account(number: u8, a: Key, b: Key, balances: (u128, u128)) -> Account {
        let wallet = ton::Address::basechain([7; 32]);
        let storage = Storage {
            initialised: true,
            balance: Balance { deposited: Pair { a: balances.0, b: balances.1 }, ..Balance::default() },
            keys: Pair { a, b },
            channel_id: [number; 16],
            closing: Closing { quarantine_duration: 100, misbehavior_fine: 5, conditional_close_duration: 50 },
            committed_seqnos: Pair { a: 0, b: 0 },
            quarantine: None,
            payment: Payment { storage_fee: 9, destinations: Pair { a: wallet, b: wallet }, currency: Currency::Ton },
        };
        Account { address: [number; 32], code_hash: [3; 32], lt: 1, storage }
    }

    fn attempt(passed: Option<u128>, failed: Option<u128>, failures: u32, at: SystemTime) -> Attempt {
        Attempt { channel: [1; 32], payer: [0xaa; 32], passed, failed, failures, at }
    }

    #[test]
    fn only_open_channels_in_ton_are_in_it() {
        let mut graph = Graph::default();
        let open = account(1, [0xaa; 32], [0xbb; 32], (10, 5));
        graph.apply(&open);
        assert_eq!(graph.len(), 1);
        let mut other = open.clone();
        other.address = [2; 32];
        other.storage.payment.currency = Currency::Extra(7);
        graph.apply(&other);
        assert_eq!(graph.len(), 1);
        let mut closed = open;
        closed.storage.initialised = false;
        graph.apply(&closed);
        assert_eq!(graph.len(), 0);
    }

    #[test]
    fn both_sides_together_are_the_capacity_and_the_own_balance_is_a_hint() {
        let mut graph = Graph::default();
        graph.apply(&account(1, [0xbb; 32], [0xaa; 32], (10, 5)));
        let view = graph.view(7, &[], SystemTime::now());
        assert_eq!(view.nodes, [[0xaa; 32], [0xbb; 32]]);
        let edge = |from| *view.edges.iter().find(|edge| edge.from == from).unwrap();
        assert_eq!(edge(1), Edge { from: 1, to: 0, capacity: 15, doubt: 0 });
        assert_eq!(edge(0), Edge { from: 0, to: 1, capacity: 15, doubt: 1 });
        assert!(graph.view(7, &[[0xaa; 32]], SystemTime::now()).edges.is_empty());
    }

    #[test]
    fn attempts_count_more_than_the_chain_and_failures_are_forgotten() {
        let now = SystemTime::now();
        let doubt = |attempt: Attempt, amount| {
            let mut graph = Graph::default();
            graph.apply(&account(1, [0xaa; 32], [0xbb; 32], (0, 50)));
            graph.learn([attempt]);
            graph.view(amount, &[], now).edges.iter().find(|edge| edge.from == 0).unwrap().doubt
        };
        assert_eq!(doubt(attempt(Some(20), None, 0, now), 20), 0);
        assert_eq!(doubt(attempt(Some(20), None, 0, now), 21), 1);
        assert_eq!(doubt(attempt(Some(20), Some(10), 3, now), 10), 3);
        assert_eq!(doubt(attempt(Some(20), Some(10), 3, now), 9), 0);
        assert_eq!(doubt(attempt(None, Some(10), 99, now), 10), MAX_DOUBT);
        assert_eq!(doubt(attempt(None, Some(10), 99, now - FORGET_FAILURE), 10), 1);
    }

    #[test]
    fn gaps_are_those_of_the_slowest_channel_between_two() {
        let mut graph = Graph::default();
        let mut slow = account(1, [0xaa; 32], [0xbb; 32], (1, 1));
        graph.apply(&slow);
        slow.address = [2; 32];
        slow.storage.closing.quarantine_duration = 200;
        graph.apply(&slow);
        let timing = Timing { buffer: 10, quarantine: 1, conditional_close: 1, min_safe: 6 };
        assert_eq!(graph.gap(&[0xbb; 32], &[0xaa; 32], timing), 10 + 200 + 50 + 6);
        assert_eq!(graph.gap(&[0xbb; 32], &[0xcc; 32], timing), 18);
        assert_eq!(graph.nodes()[&[0xaa; 32]], 2);
    }
}
