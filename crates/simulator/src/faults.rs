//! What goes wrong, and when.

use protocol::{Effect, Outgoing, Step};

use crate::{
    engine::At,
    world::{Happening, TIMING, World},
};

/// How long the whole of a node may be dead without risk, once in the time that closing on the chain takes: half of the shortest of the three
/// stretches that only a live node can use (time to get onto the chain, to challenge, to settle). The other half is for its transactions.
/// `docs/running.md` asks it of operators.
pub(crate) const ABSENCE_MS: u64 = shortest(TIMING) as u64 * 1000 / 2;

const fn shortest(timing: protocol::Timing) -> u32 {
    let protocol::Timing { buffer, quarantine, conditional_close, .. } = timing;
    let least = if buffer < quarantine { buffer } else { quarantine };
    if least < conditional_close { least } else { conditional_close }
}

/// Where an engine will die.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CrashPoint {
    /// Nothing of the step is stored.
    BeforeCommit,
    /// Everything is stored, nothing is let out.
    AfterCommit,
    /// Something was let out, something not.
    BetweenEffects,
    /// The peer granted the lock, the proposal is not sent.
    LockToProposal,
}

impl World {
    /// How long the database takes for a commit.
    pub(crate) fn commit_latency(&mut self) -> u64 {
        if self.rng.chance(5) {
            self.coverage.hit("database stalled");
            self.rng.between(500, 8_000)
        } else {
            self.rng.below(4)
        }
    }

    /// The crash that was planned for this engine, if this step is the place.
    pub(crate) fn crash_for(&mut self, at: At, step: &Step, locked: bool) -> Option<CrashPoint> {
        let engine = &mut self.nodes[at.node].engines[at.engine];
        let here = match engine.crash? {
            CrashPoint::BeforeCommit => !step.writes.is_empty(),
            CrashPoint::AfterCommit => !step.writes.is_empty() && !step.effects.is_empty(),
            CrashPoint::BetweenEffects => step.effects.len() > 1,
            CrashPoint::LockToProposal => {
                let proposes = |e: &Effect| matches!(e, Effect::Call { request: Outgoing::Propose { .. }, .. });
                locked && step.effects.iter().any(proposes)
            }
        };
        if here { engine.crash.take() } else { None }
    }

    /// How bad the network is until the next change.
    pub(crate) fn weather(&mut self) {
        let kind = self.rng.below(4);
        let (loss, duplication, slow) = match kind {
            0 => (0, 10, 0),
            1 => (30, 30, 10),
            2 => (150, 60, 40),
            _ => (300, 100, 100),
        };
        (self.net.loss, self.net.duplication, self.net.slow) = (loss, duplication, slow);
    }

    pub(crate) fn clear_weather(&mut self) {
        (self.net.loss, self.net.duplication, self.net.slow) = (0, 0, 0);
        self.net.mute.clear();
        self.net.deaf.clear();
    }

    pub(crate) fn next_fault(&mut self) {
        if self.quiet {
            return;
        }
        let node = self.rng.index(self.nodes.len());
        let engine = self.rng.index(self.nodes[node].engines.len());
        match self.rng.below(100) {
            0..30 => {
                const POINTS: [CrashPoint; 5] = [
                    CrashPoint::BeforeCommit,
                    CrashPoint::AfterCommit,
                    CrashPoint::BetweenEffects,
                    CrashPoint::LockToProposal,
                    CrashPoint::LockToProposal,
                ];
                let point = POINTS[self.rng.index(POINTS.len())];
                self.nodes[node].engines[engine].crash = Some(point);
            }
            30..35 => {
                let at = self.at_of(node, engine);
                self.crash_engine(at, "at another moment");
            }
            35..45 => {
                let how_long = self.rng.between(500, 15_000);
                self.stop_engine(node, engine, how_long);
            }
            45..55 => self.steal_shard(node),
            55..65 => self.nodes[node].engines[engine].unknown_commit = true,
            65..80 => {
                let i = self.rng.index(self.links.len());
                let [a, b] = self.links[i].ends;
                let how_long = self.rng.between(300, 12_000);
                self.coverage.hit("session down");
                self.session_down(a, b, how_long);
            }
            80..90 => {
                let i = self.rng.index(self.links.len());
                let [a, b] = self.links[i].ends;
                let how_long = self.rng.between(5_000, 16_000);
                self.answers_lost(a, b, how_long);
                if self.rng.chance(500) {
                    self.answers_lost(b, a, how_long);
                }
            }
            _ => self.weather(),
        }
    }

    /// What `from` is asked by `to` arrives, its answers do not.
    fn answers_lost(&mut self, from: usize, to: usize, how_long: u64) {
        if self.net.mute.insert((from, to)) {
            self.after(how_long, Happening::Unmute { from, to });
        }
    }

    /// SIGSTOP, for longer than the lease or not.
    pub(crate) fn stop_engine(&mut self, node: usize, engine: usize, how_long: u64) {
        let e = &mut self.nodes[node].engines[engine];
        if e.dead || e.stopped {
            return;
        }
        e.stopped = true;
        let life = e.life;
        self.coverage.hit("engine stopped");
        self.say(|w| format!("{}: engine {engine} is stopped", w.nodes[node].name));
        let lease = self.rng.between(3_000, 5_000);
        self.after(lease, Happening::LeaseOut { node, engine, life });
        self.after(how_long, Happening::Resume { node, engine });
    }

    /// A lease ran out while its engine is at work: the database was out of reach for it, or its clock is slow.
    pub(crate) fn steal_shard(&mut self, node: usize) {
        let shards: Vec<(u8, usize)> = self.nodes[node].store.shards.iter().map(|(s, (owner, _))| (*s, *owner)).collect();
        if shards.is_empty() {
            return;
        }
        let (shard, owner) = shards[self.rng.index(shards.len())];
        let others: Vec<usize> =
            (0..self.nodes[node].engines.len()).filter(|e| *e != owner && !self.nodes[node].engines[*e].dead).collect();
        let Some(other) = others.first() else { return };
        if self.nodes[node].engines[*other].stopped {
            return;
        }
        self.coverage.hit("shard changes owner in mid-action");
        self.take_over(node, *other, shard);
    }

    /// A node is away: everything of it is dead. When that is for longer than [`ABSENCE_MS`], or again too soon, what it loses is its own.
    pub(crate) fn node_gone(&mut self, node: usize, how_long: u64) {
        let away_until = self.nodes[node].away_until;
        let again = away_until > 0 && self.now < away_until + TIMING.safe_close() * 1000;
        if how_long > ABSENCE_MS || again {
            self.coverage.hit("node gone for long");
            self.nodes[node].careless = true;
        } else {
            self.coverage.hit("node gone for as long as it may");
        }
        self.say(|w| format!("{}: gone for {} s", w.nodes[node].name, how_long / 1000));
        for engine in 0..self.nodes[node].engines.len() {
            let at = self.at_of(node, engine);
            self.crash_engine(at, "at another moment");
        }
        self.nodes[node].away_until = self.now + how_long;
    }
}
