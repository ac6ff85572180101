//! Engine processes: which shards they own, how they die, come back, and get their tasks (design 3, 5).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::Address;

use crate::{
    engine::{Actor, At, Mail, shard_of},
    store::Epoch,
    world::{Happening, Node, World},
};

impl World {
    // ---- ownership

    /// An engine takes a shard: the next epoch, then the channels from their rows.
    pub(crate) fn take_over(&mut self, node: usize, engine: usize, shard: u8) {
        let epoch = self.nodes[node].store.take_shard(shard, engine);
        let at = self.at_of(node, engine);
        self.say(|w| format!("{}: engine {engine} takes shard {shard:02x}, epoch {epoch}", w.nodes[node].name));
        self.nodes[node].engines[engine].shards.insert(shard, epoch);
        let delay = self.rng.below(100);
        self.after(delay, Happening::Owner { node, shard, at, epoch });
        for i in 0..self.links.len() {
            let link = &self.links[i];
            let channel = link.address;
            if link.ends.contains(&node) && self.peer_of(node, &channel).is_some_and(|p| shard_of(&self.nodes[p].public) == shard)
            {
                self.load_actor(at, channel, shard, epoch);
            }
        }
        self.poll_soon(node);
    }

    /// Loads a channel that was just added into its owner's memory.
    pub(crate) fn adopt(&mut self, node: usize, channel: Address) {
        let Some(peer) = self.peer_of(node, &channel) else { return };
        let shard = shard_of(&self.nodes[peer].public);
        match self.nodes[node].store.shards.get(&shard).copied() {
            Some((engine, epoch)) if !self.nodes[node].engines[engine].dead => {
                let at = self.at_of(node, engine);
                if self.nodes[node].engines[engine].shards.get(&shard) == Some(&epoch) {
                    self.load_actor(at, channel, shard, epoch);
                }
            }
            Some(_) => {}
            None => {
                let alive: Vec<usize> =
                    (0..self.nodes[node].engines.len()).filter(|e| !self.nodes[node].engines[*e].dead).collect();
                if let Some(first) = alive.get(self.rng.index(alive.len().max(1))) {
                    self.take_over(node, *first, shard);
                }
            }
        }
    }

    fn load_actor(&mut self, at: At, channel: Address, shard: u8, epoch: Epoch) {
        if !self.nodes[at.node].store.channels.contains_key(&channel) {
            return;
        }
        let loaded = self.nodes[at.node].store.load(&channel);
        let Some(engine) = self.engine(at) else { return };
        engine.generations += 1;
        let old = engine.actors.remove(&channel);
        let mut mailbox: VecDeque<Mail> = VecDeque::new();
        if let Some(old) = old {
            // Queries stay; tasks are read again from their rows; answers and ticks were for the old memory.
            mailbox.extend(old.mailbox.into_iter().filter(|mail| matches!(mail, Mail::Query { .. } | Mail::PeerUp)));
        }
        let generation = engine.generations;
        mailbox.push_back(Mail::Tick { generation });
        let actor = Actor {
            channel: loaded,
            generation,
            shard,
            epoch,
            mailbox,
            commit: None,
            tick_at: None,
            tasks: BTreeSet::new(),
            calls: BTreeMap::new(),
            unknown: false,
        };
        engine.actors.insert(channel, actor);
        self.poll_soon(at.node);
        self.pump(at, channel);
    }

    pub(crate) fn reload(&mut self, at: At, channel: Address) {
        if let Some(actor) = self.actor(at, &channel) {
            let (shard, epoch) = (actor.shard, actor.epoch);
            self.load_actor(at, channel, shard, epoch);
        }
    }

    pub(crate) fn lose_shard(&mut self, at: At, shard: u8, epoch: Epoch) {
        if let Some(engine) = self.engine(at)
            && engine.shards.get(&shard) == Some(&epoch)
        {
            engine.shards.remove(&shard);
            engine.actors.retain(|_, actor| actor.shard != shard);
        }
    }

    // ---- tasks

    pub(crate) fn poll_soon(&mut self, node: usize) {
        let delay = self.rng.between(1, 60);
        let due = self.now + delay;
        if self.nodes[node].polled_at.is_none_or(|at| at <= self.now || at > due) {
            self.nodes[node].polled_at = Some(due);
            self.at(due, Happening::Poll(node));
        }
    }

    pub(crate) fn poll_tasks(&mut self, node: usize) {
        for e in 0..self.nodes[node].engines.len() {
            let at = self.at_of(node, e);
            let Node { store, engines, .. } = &mut self.nodes[node];
            let engine = &mut engines[e];
            if engine.dead || engine.stopped {
                continue;
            }
            let mut woken = BTreeSet::new();
            for row in store.tasks.values() {
                if let Some(actor) = engine.actors.get_mut(&row.channel)
                    && !actor.tasks.contains(&row.id)
                {
                    actor.tasks.insert(row.id.clone());
                    actor.mailbox.push_back(Mail::Task { id: row.id.clone(), task: Box::new(row.task.clone()) });
                    woken.insert(row.channel);
                }
            }
            for channel in woken {
                self.pump(at, channel);
            }
        }
    }

    // ---- processes

    pub(crate) fn crash_engine(&mut self, at: At, point: &'static str) {
        let Some(engine) = self.engine(at) else { return };
        engine.dead = true;
        engine.stopped = false;
        engine.actors.clear();
        engine.shards.clear();
        engine.replies.clear();
        engine.backlog.clear();
        engine.crash = None;
        engine.unknown_commit = false;
        self.coverage.hit(match point {
            "before the commit" => "crash before the commit",
            "after the commit, before any effect" => "crash after the commit, before any effect",
            "between two effects" => "crash between two effects",
            "between lock grant and proposal" => "crash between lock grant and proposal",
            _ => "crash at another moment",
        });
        self.say(|w| format!("{}: engine {} dies {point}", w.nodes[at.node].name, at.engine));
        let lease = self.rng.between(3_000, 5_000);
        self.after(lease, Happening::LeaseOut { node: at.node, engine: at.engine, life: at.life });
        if !self.scripted {
            let back = self.rng.between(500, 8_000);
            self.after(back, Happening::EngineStart { node: at.node, engine: at.engine });
        }
    }

    pub(crate) fn start_engine(&mut self, node: usize, engine: usize) {
        let away_until = self.nodes[node].away_until;
        if self.now < away_until {
            return self.at(away_until, Happening::EngineStart { node, engine });
        }
        let e = &mut self.nodes[node].engines[engine];
        if !e.dead {
            return;
        }
        e.dead = false;
        e.life += 1;
        self.coverage.hit("engine restarted from its rows");
        self.say(|w| format!("{}: engine {engine} starts", w.nodes[node].name));
        let mine = |(_, (owner, _)): &(&u8, &(usize, u64))| *owner == engine;
        let shards: Vec<u8> = self.nodes[node].store.shards.iter().filter(mine).map(|(shard, _)| *shard).collect();
        for shard in shards {
            self.take_over(node, engine, shard);
        }
    }

    /// The shards of an engine whose lease ran out go to another one.
    pub(crate) fn lease_out(&mut self, node: usize, engine: usize, life: u32) {
        let e = &self.nodes[node].engines[engine];
        if e.life != life || !(e.dead || e.stopped) {
            return;
        }
        let Some(other) = self.nodes[node].engines.iter().position(|e| !e.dead && !e.stopped) else { return };
        let shards: Vec<u8> =
            self.nodes[node].store.shards.iter().filter(|(_, (owner, _))| *owner == engine).map(|(shard, _)| *shard).collect();
        for shard in shards {
            self.coverage.hit("shard taken over after its owner's lease ran out");
            self.take_over(node, other, shard);
        }
    }

    pub(crate) fn resume_engine(&mut self, node: usize, engine: usize) {
        let e = &mut self.nodes[node].engines[engine];
        if !e.stopped {
            return;
        }
        e.stopped = false;
        let at = At { node, engine, life: e.life };
        let backlog = std::mem::take(&mut e.backlog);
        self.say(|w| format!("{}: engine {engine} continues", w.nodes[node].name));
        for what in backlog {
            self.engine_event(at, what);
        }
        self.poll_soon(node);
    }
}
