//! One run from its seed to rest.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use crate::{
    Mutation,
    coverage::Coverage,
    hostile::Hostile,
    world::{Broken, Happening, World},
};

/// How a run is made, besides its seed.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What operators and users do.
    pub actions: usize,
    /// A defect of the shell that must be noticed.
    pub mutation: Option<Mutation>,
    /// Whether to keep a log of everything that happens.
    pub trace: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { actions: 200, mutation: None, trace: false }
    }
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Report {
    /// Its seed.
    pub seed: u64,
    /// The invariant that was broken and how, if one was.
    pub failure: Option<String>,
    /// Faults, refusals and recovery paths that fired.
    pub coverage: Coverage,
    /// How many actions were begun.
    pub actions: usize,
    /// How many things happened.
    pub events: u64,
    /// How many changes were committed.
    pub commits: u64,
    /// The log, when it was asked for.
    pub log: Vec<String>,
}

impl Report {
    /// The command that shows it happen again, with its log.
    pub fn replay(&self, options: &Options) -> String {
        let actions = options.actions;
        let more = if actions == Options::default().actions { String::new() } else { format!(" --actions {actions}") };
        format!("cargo xtask simulate --seed {}{more} --trace", self.seed)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.failure.as_deref().unwrap_or("ok");
        write!(f, "seed {}: {what} ({} actions, {} events, {} commits)", self.seed, self.actions, self.events, self.commits)
    }
}

/// Nano that each side puts into a channel at the start.
const DEPOSIT: u128 = 20_000_000_000;
/// How long a run may need to come to rest, in milliseconds: the longest deadline, a forced close behind it, and some.
const REST_MS: u64 = 30_000_000;
/// How often it is looked at whether a run came to rest.
const LOOK_MS: u64 = 120_000;

/// One run. The same seed and options give the same report.
pub fn run(seed: u64, options: &Options) -> Report {
    let mut world = World::new(seed, *options);
    let outcome = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        world.broken = Some(Broken { invariant: "nothing panics", text: text.unwrap_or_default() });
    }
    world.report(seed)
}

impl World {
    pub(crate) fn report(&mut self, seed: u64) -> Report {
        Report {
            seed,
            failure: self.broken.as_ref().map(|b| format!("{}: {}", b.invariant, b.text)),
            coverage: std::mem::take(&mut self.coverage),
            actions: self.actions_done,
            events: self.events,
            commits: self.commits,
            log: std::mem::take(&mut self.log),
        }
    }

    fn live(&mut self) {
        self.build();
        let ready = self.now + 120_000;
        self.run_until(ready);
        self.quiet = false;
        self.weather();
        self.after(1, Happening::NextAction);
        self.choose_hostile();
        while self.actions_left > 0 && self.advance(u64::MAX) {}
        let last = self.now + 5_000;
        self.run_until(last);
        self.come_to_rest();
    }

    /// Topology, engines, channels with deposits on both sides.
    fn build(&mut self) {
        let pairs: &[[usize; 2]] = match self.rng.below(4) {
            0 => &[[0, 1], [1, 2]],
            1 => &[[0, 1], [2, 0], [0, 3]],
            2 => &[[0, 1], [2, 1], [2, 3]],
            _ => &[[0, 1], [1, 2], [2, 0]],
        };
        let nodes = pairs.iter().flatten().max().map_or(0, |n| n + 1);
        for _ in 0..nodes {
            let engines = self.rng.between(1, 2) as usize;
            self.add_node(engines);
        }
        for [a, b] in pairs {
            if let Some(channel) = self.open_channel(*a, *b) {
                self.top_up(*a, channel, DEPOSIT);
                self.top_up(*b, channel, DEPOSIT);
            }
        }
    }

    fn choose_hostile(&mut self) {
        if !self.rng.chance(350) {
            return;
        }
        let node = self.rng.index(self.nodes.len());
        let friend = (node + self.rng.between(1, self.nodes.len() as u64 - 1) as usize) % self.nodes.len();
        let friend = self.rng.chance(500).then_some(friend);
        let lies = self.rng.between(200, 1_000);
        self.nodes[node].hostile = Some(Hostile { friend, lies, ..Hostile::default() });
        self.after(1_000, Happening::EvilClock);
        self.coverage.hit("runs with a hostile node");
    }

    /// Faults stop, everything comes back, time passes.
    pub(crate) fn come_to_rest(&mut self) {
        self.quiet = true;
        self.actions_left = 0;
        self.clear_weather();
        self.all_sessions_up();
        for node in 0..self.nodes.len() {
            self.nodes[node].away_until = 0;
            for engine in 0..self.nodes[node].engines.len() {
                let e = &mut self.nodes[node].engines[engine];
                e.crash = None;
                e.unknown_commit = false;
                self.start_engine(node, engine);
                self.resume_engine(node, engine);
            }
        }
        if self.nodes.iter().any(|n| n.hostile.is_some()) {
            self.leave_hostile();
        }
        let end = self.now + REST_MS;
        while self.now < end && self.broken.is_none() {
            let look = self.now + LOOK_MS;
            self.run_until(look);
            if self.unsettled().is_none() {
                break;
            }
        }
        if self.broken.is_none() {
            self.check_end();
        }
    }
}

/// Faults and recovery paths that must have fired in any large set of runs.
pub const REQUIRED_PATHS: &[&str] = &[
    "answer lost, then busy on replay",
    "both sides with an unknown proposal at once",
    "refusal, then another proposal at the same seqno",
    "refused: the settling increment was agreed",
    "refused, but stored after all",
    "an unknown outcome was resolved by evidence",
    "crash before the commit",
    "crash after the commit, before any effect",
    "crash between two effects",
    "crash between lock grant and proposal",
    "crash at another moment",
    "engine restarted from its rows",
    "engine stopped",
    "shard changes owner in mid-action",
    "shard taken over after its owner's lease ran out",
    "every answer lost: the peer had agreed",
    "commit refused: not owner",
    "commit refused: virtual key was used before",
    "commit unknown: it was applied",
    "commit unknown: it was not applied",
    "database stalled",
    "gateway: query of a former owner dropped",
    "gateway: answer of a former owner dropped",
    "gateway: answer repeated from the cache",
    "network: query lost",
    "network: answer lost",
    "network: late copy of a query",
    "session down",
    "node gone for long",
    "node gone for as long as it may",
    "call without a session",
    "call timed out",
    "proposal answered busy",
    "lock answered busy",
    "the right side keeps the lock for its next proposal",
    "request: paid",
    "request: failed",
    "incoming leg paid",
    "incoming leg removed",
    "outgoing leg refused",
    "released within the risk limit before the deadline",
    "above the risk limit: upstream waits for the deadline",
    "leg abandoned with its contract",
    "channel opened anew after a close",
    "channel with other terms refused",
    "order: initialise",
    "order: top up",
    "order: cooperative close",
    "order: withdraw",
    "command: withdraw",
    "command: lift suspension",
    "order: start an uncooperative close",
    "order: challenge",
    "order: settle",
    "order: finish",
    "order: failed, and was reported so",
    "order: the contract refused it",
    "chain: closed without the peer",
    "an older dictionary was loaded for a dispute",
    "alarm: the peer shows an unknown seqno of ours",
    "alarm: another body at a stored seqno",
    "alarm: proposal pending for long",
    "alarm: forced close begun",
    "hostile: refuses after storing",
    "hostile: agrees without storing",
    "hostile: agrees with a wrong signature",
    "hostile: agrees with an old copy",
    "hostile: replays an old query",
    "hostile: withholds a resolution",
    "hostile: demands the removal instead of the payment",
    "hostile: a copy with an unknown seqno",
    "hostile: starts a close with some old states",
    "hostile: challenges with some old state",
    "hostile: settles what it can",
    "hostile: finishes",
];

/// Reasons for which an honest node must have refused something of a peer. (That a close request differs is a matter of a few seeds in a thousand: the
/// protocol's own tests ask so.)
pub const REQUIRED_REFUSALS: &[&str] = &[
    "amount is above the limit for passing virtual channels",
    "a better state is known",
    "capacity must be positive",
    "channel is not active",
    "condition differs from the instruction",
    "deadline is too near",
    "deadlines of the hops are too close",
    "fee is too small",
    "final state must pay the whole capacity",
    "inconsistent state: another counterparty body",
    "inconsistent state: another seqno is stored",
    "next capacity is out of range",
    "no channel with enough balance to the next node",
    "no instruction for this node",
    "not enough balance",
    "sent must not change",
    "something is still open on the channel",
    "still locked",
    "unknown state",
    "unknown virtual channel",
    "virtual channel is being removed",
    "virtual channel is not open",
    "virtual key was used before",
    "withdrawals are not signed for this peer",
    "wrong signature of the final state",
    "wrong signature of the instructions",
];
