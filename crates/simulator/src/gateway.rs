//! Sessions between nodes: queries that are repeated under their id, answers that are cached under it, loss, duplication, delay; and the
//! gateway's part of the fence: frames of a former owner of a shard are dropped (design 3).

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use protocol::{Address, BUSY, CallFailed, CallId, envelope};
use wire::message::{Answer, Request};

use crate::{
    engine::{At, ForEngine, Mail, shard_of},
    world::{Happening, World},
};

pub(crate) type QueryId = u64;

/// ADNL repeats an unanswered query that often (payments 1.1).
const RETRANSMIT_MS: u64 = 250;

/// Where an answer goes.
#[derive(Debug, Clone)]
pub(crate) struct Asker {
    pub(crate) at: At,
    pub(crate) channel: Address,
    pub(crate) generation: u64,
    pub(crate) call: CallId,
}

#[derive(Debug)]
struct Query {
    /// Nobody waits for the answer of what a hostile node makes up.
    asker: Option<Asker>,
    from: usize,
    to: usize,
    bytes: Rc<Vec<u8>>,
    deadline: u64,
    /// The peer agreed, but the answer was lost.
    agreed_lost: bool,
}

#[derive(Debug)]
pub(crate) enum Delivery {
    Query {
        id: QueryId,
        from: usize,
        to: usize,
        bytes: Rc<Vec<u8>>,
        /// A copy that the receiver's cache does not know, such as one from before its restart.
        raw: bool,
    },
    Answer {
        id: QueryId,
        from: usize,
        to: usize,
        bytes: Rc<Vec<u8>>,
    },
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    next: QueryId,
    queries: BTreeMap<QueryId, Query>,
    down: BTreeSet<(usize, usize)>,
    /// Permille of frames lost and doubled.
    pub(crate) loss: u64,
    pub(crate) duplication: u64,
    /// Permille of frames that take seconds instead of milliseconds.
    pub(crate) slow: u64,
    /// Whose answers to whom are lost; who gets no queries from whom. For scenarios.
    pub(crate) mute: BTreeSet<(usize, usize)>,
    pub(crate) deaf: BTreeSet<(usize, usize)>,
}

/// A node's gateway process. It outlives engines.
#[derive(Debug, Default)]
pub(crate) struct Gateway {
    owners: BTreeMap<u8, (At, u64)>,
    highest: BTreeMap<u8, u64>,
    /// Queries seen: their answer, once there is one.
    seen: BTreeMap<(usize, QueryId), Option<Rc<Vec<u8>>>>,
}

impl Gateway {
    pub(crate) fn learn_owner(&mut self, shard: u8, at: At, epoch: u64) {
        if self.owners.get(&shard).is_none_or(|(_, known)| *known < epoch) {
            self.owners.insert(shard, (at, epoch));
        }
        let highest = self.highest.entry(shard).or_default();
        *highest = epoch.max(*highest);
    }

    /// Whether a frame of this epoch may go out.
    fn admits(&mut self, shard: u8, epoch: u64) -> bool {
        let highest = self.highest.entry(shard).or_default();
        *highest = epoch.max(*highest);
        epoch == *highest
    }
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl World {
    pub(crate) fn connected(&self, a: usize, b: usize) -> bool {
        !self.net.down.contains(&pair(a, b))
    }

    pub(crate) fn session_down(&mut self, a: usize, b: usize, for_ms: u64) {
        if self.net.down.insert(pair(a, b)) {
            self.after(for_ms, Happening::SessionUp { a, b });
        }
    }

    pub(crate) fn session_up(&mut self, a: usize, b: usize) {
        if !self.net.down.remove(&pair(a, b)) {
            return;
        }
        for (node, peer) in [(a, b), (b, a)] {
            let shard = shard_of(&self.nodes[peer].public);
            let Some((at, _)) = self.nodes[node].gateway.owners.get(&shard).copied() else { continue };
            for channel in self.channels_between(node, peer) {
                self.engine_event(at, ForEngine::Mail { channel, mail: Mail::PeerUp });
            }
        }
    }

    pub(crate) fn all_sessions_up(&mut self) {
        for (a, b) in self.net.down.clone() {
            self.session_up(a, b);
        }
    }

    fn delay(&mut self) -> u64 {
        if self.rng.chance(self.net.slow) { self.rng.between(200, 9_000) } else { self.rng.between(1, 30) }
    }

    /// Sends a query of an engine's; the outcome comes back to it as mail.
    pub(crate) fn send_query(&mut self, asker: Asker, epoch: u64, to: usize, request: &Request, timeout: u64) {
        let from = asker.at.node;
        let shard = shard_of(&self.nodes[to].public);
        if !self.nodes[from].gateway.admits(shard, epoch) {
            self.coverage.hit("gateway: query of a former owner dropped");
            return;
        }
        if !self.connected(from, to) {
            self.coverage.hit("call without a session");
            let mail =
                Mail::Answer { generation: asker.generation, call: asker.call, answer: Box::new(Err(CallFailed::NotConnected)) };
            return self.after(1, Happening::Engine(asker.at, ForEngine::Mail { channel: asker.channel, mail }));
        }
        self.post_query(Some(asker), from, to, request.to_boxed(), timeout);
    }

    pub(crate) fn post_query(&mut self, asker: Option<Asker>, from: usize, to: usize, bytes: Vec<u8>, timeout: u64) {
        self.net.next += 1;
        let id = self.net.next;
        let query = Query { asker, from, to, bytes: Rc::new(bytes), deadline: self.now + timeout, agreed_lost: false };
        self.net.queries.insert(id, query);
        self.transmit(id);
        self.after(RETRANSMIT_MS, Happening::Retransmit(id));
    }

    fn transmit(&mut self, id: QueryId) {
        let Some(query) = self.net.queries.get(&id) else { return };
        let (from, to, bytes) = (query.from, query.to, query.bytes.clone());
        if self.rng.chance(self.net.duplication) {
            self.coverage.hit("network: late copy of a query");
            let delay = self.rng.between(1, 30_000);
            self.after(delay, Happening::Deliver(Delivery::Query { id, from, to, bytes: bytes.clone(), raw: true }));
        }
        if self.rng.chance(self.net.loss) || self.net.deaf.contains(&(to, from)) {
            return self.coverage.hit("network: query lost");
        }
        let delay = self.delay();
        self.after(delay, Happening::Deliver(Delivery::Query { id, from, to, bytes, raw: false }));
    }

    pub(crate) fn retransmit(&mut self, id: QueryId) {
        let Some(query) = self.net.queries.get(&id) else { return };
        let connected = self.connected(query.from, query.to);
        if self.now < query.deadline && connected {
            self.transmit(id);
            return self.after(RETRANSMIT_MS, Happening::Retransmit(id));
        }
        let Some(query) = self.net.queries.remove(&id) else { return };
        let Some(asker) = query.asker else { return };
        self.coverage.hit("call timed out");
        if query.agreed_lost {
            self.coverage.hit("every answer lost: the peer had agreed");
            self.note_unknown(&asker);
        }
        let mail = Mail::Answer { generation: asker.generation, call: asker.call, answer: Box::new(Err(CallFailed::Timeout)) };
        self.engine_event(asker.at, ForEngine::Mail { channel: asker.channel, mail });
    }

    pub(crate) fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Query { id, from, to, bytes, raw } if self.connected(from, to) => {
                self.query_arrived(id, from, to, &bytes, raw)
            }
            Delivery::Answer { id, from, to, bytes } if self.connected(from, to) => self.answer_arrived(id, to, &bytes),
            _ => self.coverage.hit("network: frame of a dead session"),
        }
    }

    fn query_arrived(&mut self, id: QueryId, from: usize, to: usize, bytes: &[u8], raw: bool) {
        if !raw {
            let seen = self.nodes[to].gateway.seen.get(&(from, id)).cloned();
            match seen {
                Some(Some(answer)) => {
                    self.coverage.hit("gateway: answer repeated from the cache");
                    return self.post_answer(id, to, from, answer);
                }
                Some(None) => return self.coverage.hit("gateway: repeated query under way"),
                None => {
                    self.nodes[to].gateway.seen.insert((from, id), None);
                }
            }
        }
        let Ok(request) = Request::from_boxed(bytes) else { return self.coverage.hit("malformed query") };
        let Some(channel) = envelope::channel_of(&request) else { return };
        if self.peer_of(to, &channel) != Some(from) {
            return self.coverage.hit("query about a channel of others");
        }
        if self.nodes[to].hostile.is_some() && self.hostile_query(id, from, to, &request) {
            return;
        }
        let shard = shard_of(&self.nodes[from].public);
        match self.nodes[to].gateway.owners.get(&shard) {
            Some((at, _)) => {
                let at = *at;
                self.engine_event(at, ForEngine::Mail { channel, mail: Mail::Query { from, id, request: Box::new(request) } });
            }
            None => self.coverage.hit("gateway: query for a shard without owner"),
        }
    }

    /// Lets an answer of an engine out.
    pub(crate) fn send_answer(&mut self, node: usize, epoch: u64, to: usize, id: QueryId, answer: &Answer) {
        let shard = shard_of(&self.nodes[to].public);
        if !self.nodes[node].gateway.admits(shard, epoch) {
            return self.coverage.hit("gateway: answer of a former owner dropped");
        }
        let bytes = Rc::new(match self.nodes[node].hostile.is_some() {
            true => self.hostile_answer(node, to, answer).to_boxed(),
            false => answer.to_boxed(),
        });
        self.nodes[node].gateway.seen.insert((to, id), Some(bytes.clone()));
        self.post_answer(id, node, to, bytes);
    }

    pub(crate) fn post_answer(&mut self, id: QueryId, from: usize, to: usize, bytes: Rc<Vec<u8>>) {
        if self.rng.chance(self.net.loss) || self.net.mute.contains(&(from, to)) {
            self.coverage.hit("network: answer lost");
            if let Some(query) = self.net.queries.get_mut(&id)
                && let Ok(Answer::ProposalDecision(decision)) = Answer::from_boxed(&bytes)
                && decision.agreed
            {
                query.agreed_lost = true;
            }
            return;
        }
        let delay = self.delay();
        self.after(delay, Happening::Deliver(Delivery::Answer { id, from, to, bytes }));
    }

    fn answer_arrived(&mut self, id: QueryId, to: usize, bytes: &[u8]) {
        let Some(query) = self.net.queries.remove(&id) else { return };
        let Some(asker) = query.asker else { return };
        if query.from != to {
            return;
        }
        let Some(actor) = self.actor(asker.at, &asker.channel) else { return };
        if actor.generation != asker.generation {
            return self.coverage.hit("answer for an actor that is gone");
        }
        let proposed = actor.calls.get(&asker.call).copied().flatten();
        let answer = envelope::answer(proposed.as_ref(), bytes);
        match &answer {
            Ok(protocol::Answer::Proposal { agreed: false, reason, .. }) if reason == BUSY => {
                self.coverage.hit("proposal answered busy");
                self.note_busy(&asker);
            }
            Ok(protocol::Answer::Decision { agreed: false, reason, .. }) if reason == BUSY => {
                self.coverage.hit("lock answered busy");
                self.note_busy(&asker);
            }
            Ok(
                protocol::Answer::Proposal { agreed: false, reason, .. }
                | protocol::Answer::Decision { agreed: false, reason, .. },
            ) if self.nodes[query.to].hostile.is_none() => {
                self.coverage.refusal(reason);
            }
            Err(_) => self.coverage.hit("malformed answer"),
            _ => {}
        }
        let mail = Mail::Answer { generation: asker.generation, call: asker.call, answer: Box::new(answer) };
        self.engine_event(asker.at, ForEngine::Mail { channel: asker.channel, mail });
    }

    pub(crate) fn channels_between(&self, a: usize, b: usize) -> Vec<Address> {
        self.links.iter().filter(|l| pair(l.ends[0], l.ends[1]) == pair(a, b)).map(|l| l.address).collect()
    }
}
