//! Everything there is in a run, and the loop that lets it happen.

use std::collections::{BTreeMap, BTreeSet};

use contract::CodeKind;
use ed25519_dalek::SigningKey;
use protocol::{Address, ChainUpdate, Key, Policy, Timing};
use wire::state::SignedState;

use crate::{
    Options,
    actions::Payment,
    chain::{Chain, Wallet},
    coverage::Coverage,
    engine::{At, Engine, ForEngine},
    gateway::{Delivery, Gateway, Network, QueryId},
    hostile::Hostile,
    rng::Rng,
    store::Store,
};

/// Where a run starts: milliseconds of unix time.
pub(crate) const START_MS: u64 = 1_800_000_000_000;
/// Coins of a fresh wallet.
pub(crate) const WALLET_NANO: u128 = 5_000_000_000_000;

/// Short enough that a run sees deadlines pass.
pub(crate) const TIMING: Timing = Timing { buffer: 600, quarantine: 600, conditional_close: 300, min_safe: 60 };

/// The contract that the simulated chain applies the rules of.
pub(crate) const CODE: CodeKind = CodeKind::LIVE;

/// Small enough that a run sees it reached.
const RISK_LIMIT: u128 = 1_500_000_000;

/// Something that will happen.
#[derive(Debug)]
pub(crate) enum Happening {
    /// Something reaches a node over the network.
    Deliver(Delivery),
    /// A query without an answer so far: send it again, or give up.
    Retransmit(QueryId),
    /// Something for an engine; waits while the engine is stopped, is lost when it died.
    Engine(At, ForEngine),
    /// A dead engine's process is started again.
    EngineStart {
        node: usize,
        engine: usize,
    },
    /// SIGCONT.
    Resume {
        node: usize,
        engine: usize,
    },
    /// The lease of an engine that was dead or stopped runs out.
    LeaseOut {
        node: usize,
        engine: usize,
        life: u32,
    },
    /// A gateway learns who owns a shard.
    Owner {
        node: usize,
        shard: u8,
        at: At,
        epoch: u64,
    },
    /// A session comes up again.
    SessionUp {
        a: usize,
        b: usize,
    },
    /// Answers get through again.
    Unmute {
        from: usize,
        to: usize,
    },
    /// Engines look at the task table.
    Poll(usize),
    /// The indexer looks at the order table.
    Orders(usize),
    /// The order's transactions are executed.
    Transaction {
        node: usize,
        order: String,
    },
    /// The indexer of a node saw a transaction.
    Update {
        node: usize,
        channel: Address,
        update: Box<ChainUpdate>,
    },
    /// The indexer saw that an order failed.
    OrderFailed {
        node: usize,
        channel: Address,
        order: String,
    },
    /// The sender hands the receiver a resolution, or the receiver gives up.
    Resolve {
        payment: usize,
        amount: Option<u128>,
    },
    NextAction,
    NextFault,
    NextEvil,
    EvilClock,
}

/// What a run found wrong.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) invariant: &'static str,
    pub(crate) text: String,
}

pub(crate) struct Node {
    pub(crate) name: char,
    pub(crate) key: SigningKey,
    pub(crate) public: Key,
    pub(crate) wallet: Wallet,
    pub(crate) policy: Policy,
    pub(crate) store: Store,
    pub(crate) engines: Vec<Engine>,
    pub(crate) gateway: Gateway,
    pub(crate) hostile: Option<Hostile>,
    /// Until when the order of updates of a channel is taken.
    pub(crate) indexed_until: BTreeMap<Address, u64>,
    pub(crate) polled_at: Option<u64>,
    pub(crate) orders_at: Option<u64>,
    /// When its last order will be executed.
    pub(crate) sent_until: u64,
    /// No engine of it starts before.
    pub(crate) away_until: u64,
    /// It was away for longer than a node may be: nobody else may lose by it, but it may.
    pub(crate) careless: bool,
    /// What this node lost to being the one who deployed: the contract's reserve goes to side A.
    pub(crate) reserves: u128,
}

/// A channel between two nodes; the first one is side A.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) address: Address,
    pub(crate) ends: [usize; 2],
}

pub(crate) struct World {
    pub(crate) options: Options,
    pub(crate) now: u64,
    pub(crate) rng: Rng,
    queue: BTreeMap<(u64, u64), Happening>,
    queued: u64,
    pub(crate) nodes: Vec<Node>,
    pub(crate) links: Vec<Link>,
    pub(crate) by_address: BTreeMap<Address, usize>,
    pub(crate) net: Network,
    pub(crate) chain: Chain,
    pub(crate) payments: Vec<Payment>,
    pub(crate) coverage: Coverage,
    pub(crate) log: Vec<String>,
    pub(crate) broken: Option<Broken>,
    /// No faults any more: the run is to come to rest.
    pub(crate) quiet: bool,
    pub(crate) actions_left: usize,
    pub(crate) actions_done: usize,
    pub(crate) events: u64,
    pub(crate) commits: u64,
    pub(crate) orders_executed: BTreeSet<(usize, String)>,
    /// What was signed by whom, where a hostile node may use it.
    pub(crate) signed: BTreeMap<(usize, Address), Vec<SignedState>>,
    pub(crate) instruction_keys: Vec<SigningKey>,
    pub(crate) secrets: BTreeMap<([u8; 32], Key), Option<[u8; 32]>>,
    /// Whether a contract was closed without both sides' agreement.
    pub(crate) forced: bool,
    /// A scenario says when engines come back and what becomes of virtual channels.
    pub(crate) scripted: bool,
    /// The virtual key of the next payment, when it shall not be a fresh one.
    pub(crate) next_key: Option<SigningKey>,
}

impl World {
    pub(crate) fn new(seed: u64, options: Options) -> Self {
        Self {
            actions_left: options.actions,
            options,
            now: START_MS,
            rng: Rng::new(seed),
            queue: BTreeMap::new(),
            queued: 0,
            nodes: vec![],
            links: vec![],
            by_address: BTreeMap::new(),
            net: Network::default(),
            chain: Chain::default(),
            payments: vec![],
            coverage: Coverage::default(),
            log: vec![],
            broken: None,
            quiet: true,
            actions_done: 0,
            events: 0,
            commits: 0,
            orders_executed: BTreeSet::new(),
            signed: BTreeMap::new(),
            instruction_keys: vec![],
            secrets: BTreeMap::new(),
            forced: false,
            scripted: false,
            next_key: None,
        }
    }

    pub(crate) fn add_node(&mut self, engines: usize) -> usize {
        let key = SigningKey::from_bytes(&self.rng.bytes32());
        let wallet = self.rng.bytes32();
        self.chain.mint(wallet, WALLET_NANO);
        let n = self.nodes.len();
        self.nodes.push(Node {
            name: (b'A' + n as u8) as char,
            public: key.verifying_key().to_bytes(),
            key,
            wallet,
            // Every second node signs withdrawals.
            policy: Policy { timing: TIMING, risk_limit: RISK_LIMIT, sign_commits: n.is_multiple_of(2), ..Policy::ton() },
            store: Store::default(),
            engines: (0..engines).map(|_| Engine::default()).collect(),
            gateway: Gateway::default(),
            hostile: None,
            indexed_until: BTreeMap::new(),
            polled_at: None,
            orders_at: None,
            sent_until: 0,
            away_until: 0,
            careless: false,
            reserves: 0,
        });
        n
    }

    /// The other end of a channel.
    pub(crate) fn peer_of(&self, node: usize, channel: &Address) -> Option<usize> {
        let link = &self.links[*self.by_address.get(channel)?];
        Some(if link.ends[0] == node { link.ends[1] } else { link.ends[0] })
    }

    pub(crate) fn at(&mut self, time: u64, what: Happening) {
        self.queued += 1;
        self.queue.insert((time.max(self.now), self.queued), what);
    }

    pub(crate) fn after(&mut self, delay: u64, what: Happening) {
        self.at(self.now + delay, what);
    }

    pub(crate) fn say(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.options.trace {
            let line = format!("{:>12.3}  {}", (self.now - START_MS) as f64 / 1000.0, text(self));
            self.log.push(line);
        }
    }

    /// Records the first violation; the run ends there.
    pub(crate) fn broke(&mut self, invariant: &'static str, text: impl Into<String>) {
        if self.broken.is_none() {
            let text = text.into();
            self.say(|_| format!("BROKEN {invariant}: {text}"));
            self.broken = Some(Broken { invariant, text });
        }
    }

    /// Lets the next thing happen. False when nothing is left or something broke.
    pub(crate) fn advance(&mut self, until: u64) -> bool {
        if self.broken.is_some() {
            return false;
        }
        match self.queue.first_key_value() {
            Some((&(time, _), _)) if time <= until => {}
            _ => {
                self.now = self.now.max(until);
                return false;
            }
        }
        let Some(((time, _), what)) = self.queue.pop_first() else { return false };
        self.now = time;
        self.events += 1;
        self.happen(what);
        true
    }

    pub(crate) fn run_until(&mut self, until: u64) {
        while self.advance(until) {}
    }

    fn happen(&mut self, what: Happening) {
        match what {
            Happening::Deliver(delivery) => self.deliver(delivery),
            Happening::Retransmit(query) => self.retransmit(query),
            Happening::Engine(at, what) => self.engine_event(at, what),
            Happening::EngineStart { node, engine } => self.start_engine(node, engine),
            Happening::Resume { node, engine } => self.resume_engine(node, engine),
            Happening::LeaseOut { node, engine, life } => self.lease_out(node, engine, life),
            Happening::Owner { node, shard, at, epoch } => self.nodes[node].gateway.learn_owner(shard, at, epoch),
            Happening::SessionUp { a, b } => self.session_up(a, b),
            Happening::Unmute { from, to } => {
                self.net.mute.remove(&(from, to));
            }
            Happening::Poll(node) => self.poll_tasks(node),
            Happening::Orders(node) => self.take_orders(node),
            Happening::Transaction { node, order } => self.execute_order(node, &order),
            Happening::Update { node, channel, update } => self.index_update(node, channel, *update),
            Happening::OrderFailed { node, channel, order } => self.index_failure(node, channel, order),
            Happening::Resolve { payment, amount } => self.resolve_payment(payment, amount),
            Happening::NextAction => self.next_action(),
            Happening::NextFault => self.next_fault(),
            Happening::NextEvil => self.next_evil(),
            Happening::EvilClock => self.evil_by_the_clock(),
        }
    }
}
