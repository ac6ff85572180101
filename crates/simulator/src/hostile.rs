//! One node that lies. It runs the honest node's code inside, so that it gets everywhere, and lies at its edges: about what it stored, with
//! what it signs, and on the chain. With a friend among the senders it also knows virtual keys.

use std::{collections::VecDeque, rc::Rc};

use contract::{CloseToSign, Message, Pair, SettleToSign, Side, ToSign, constants};
use ed25519_dalek::Signer;
use protocol::{Address, BUSY, Direction, Status};
use wire::{
    conditionals::{Conditionals, Settlement, resolutions_cell},
    message::{
        Action, Answer, CommitVirtual, CooperativeClose, Decision, IncrementStates, ProposalDecision, ProposeAction,
        RemoveVirtual, RentCapacity, Request, RequestAction, RequestChannelLock, RequestRemoveVirtual,
    },
    resolution::Resolution,
    state::{Body, SignedState, State},
};

use crate::{
    gateway::QueryId,
    indexer::{challenge_message, side_of, start_message},
    world::{Happening, World},
};

/// How many old queries it keeps to replay.
const MEMORY: usize = 40;

#[derive(Debug, Default)]
pub(crate) struct Hostile {
    /// A sender that tells it the virtual keys.
    pub(crate) friend: Option<usize>,
    /// How often it lies, permille.
    pub(crate) lies: u64,
    /// Old queries, with whom they were for.
    pub(crate) recorded: Vec<(usize, Vec<u8>)>,
    /// What it does with the next proposals that it gets, in a scenario.
    pub(crate) script: VecDeque<Lie>,
}

/// A lie about a proposal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lie {
    RefuseAfterStoring,
    AgreeWithoutStoring,
}

impl World {
    fn lies(&mut self, node: usize, share: u64) -> bool {
        let lies = self.nodes[node].hostile.as_ref().map_or(0, |h| h.lies);
        self.rng.chance(lies * share / 100)
    }

    /// Whether the scenario wants this lie now.
    fn scripted(&mut self, node: usize, lie: Lie) -> bool {
        let script = self.nodes[node].hostile.as_mut().map(|h| &mut h.script);
        script.is_some_and(|s| s.pop_front_if(|next| *next == lie).is_some())
    }

    fn hostile_sign(&self, node: usize, state: State) -> SignedState {
        SignedState { signature: self.nodes[node].key.sign(&state.hash()).to_bytes(), state }
    }

    /// What it asks, instead of what its honest half wants to ask. `None`: nothing.
    pub(crate) fn hostile_request(&mut self, node: usize, to: usize, mut request: Request) -> Option<Request> {
        let bytes = request.to_boxed();
        let at = self.rng.index(MEMORY);
        if let Some(hostile) = &mut self.nodes[node].hostile {
            match hostile.recorded.get_mut(at) {
                Some(old) => *old = (to, bytes),
                None => hostile.recorded.push((to, bytes)),
            }
        }
        match &mut request {
            Request::RequestAction(r) => {
                if let Action::CloseVirtual(close) = &r.action
                    && self.lies(node, 150)
                {
                    let key = close.key;
                    if self.rng.chance(500) {
                        self.coverage.hit("hostile: withholds a resolution");
                        return None;
                    }
                    self.coverage.hit("hostile: demands the removal instead of the payment");
                    r.action = Action::RequestRemoveVirtual(RequestRemoveVirtual { key });
                }
            }
            Request::ProposeAction(p) => {
                if self.lies(node, 40)
                    && let Ok(signed) = SignedState::from_cell(p.state.as_ref())
                {
                    let state = self.other_copy(node, &p.channel_addr, signed.state);
                    p.state = self.hostile_sign(node, state).to_cell();
                } else if self.lies(node, 20) {
                    self.coverage.hit("hostile: leaves the proof out");
                    p.conditionals = None;
                } else if self.lies(node, 20)
                    && let Ok(mut signed) = SignedState::from_cell(p.state.as_ref())
                {
                    self.coverage.hit("hostile: another sum in its proposal");
                    signed.state.body.sent += 1_000_000_000_000;
                    p.state = self.hostile_sign(node, signed.state).to_cell();
                }
            }
            _ => {}
        }
        Some(request)
    }

    /// The same state with another copy of the honest side's body: an old one, a made up one, or one with a seqno that was never signed.
    fn other_copy(&mut self, node: usize, channel: &Address, state: State) -> State {
        let Some(peer) = self.peer_of(node, channel) else { return state };
        let old: Vec<Body> = self.signed.get(&(peer, *channel)).map_or(vec![], |all| all.iter().map(|s| s.state.body).collect());
        let mut copy = if old.is_empty() { Body::start(0) } else { old[self.rng.index(old.len())] };
        match self.rng.below(6) {
            0 => {
                self.coverage.hit("hostile: a copy with an unknown seqno");
                copy.seqno += 1_000;
            }
            1 => {
                self.coverage.hit("hostile: a made up copy");
                copy.sent += 1;
            }
            _ => self.coverage.hit("hostile: an old copy"),
        }
        State { counterparty: Some(copy), ..state }
    }

    /// What it answers, instead of what its honest half answers.
    pub(crate) fn hostile_answer(&mut self, node: usize, to: usize, answer: &Answer) -> Answer {
        let _ = to;
        match answer {
            Answer::ProposalDecision(d) if d.agreed => self.lie_about_proposal(node, d),
            Answer::Decision(d) if self.lies(node, 60) => {
                self.coverage.hit("hostile: the opposite decision");
                Answer::Decision(Decision {
                    agreed: !d.agreed,
                    reason: if d.agreed { "no".into() } else { String::new() },
                    signature: None,
                })
            }
            other => other.clone(),
        }
    }

    fn lie_about_proposal(&mut self, node: usize, honest: &ProposalDecision) -> Answer {
        let state = honest.signed_state.as_ref().and_then(|cell| SignedState::from_cell(cell.as_ref()).ok());
        Answer::ProposalDecision(match state {
            Some(_) if self.scripted(node, Lie::RefuseAfterStoring) || self.lies(node, 120) => {
                self.coverage.hit("hostile: refuses after storing");
                ProposalDecision::refuse("no")
            }
            Some(_) if self.lies(node, 40) => {
                self.coverage.hit("hostile: says busy after storing");
                ProposalDecision::refuse(BUSY)
            }
            Some(mut signed) if self.lies(node, 40) => {
                self.coverage.hit("hostile: agrees with a wrong signature");
                signed.signature[7] ^= 1;
                ProposalDecision { signed_state: Some(signed.to_cell()), ..honest.clone() }
            }
            Some(signed) if self.lies(node, 40) => {
                self.coverage.hit("hostile: agrees with an old copy");
                let copy = signed.state.counterparty.map(|c| Body { seqno: c.seqno.saturating_sub(1), ..c });
                let state = State { counterparty: copy, ..signed.state };
                ProposalDecision { signed_state: Some(self.hostile_sign(node, state).to_cell()), ..honest.clone() }
            }
            Some(mut signed) if self.lies(node, 30) => {
                self.coverage.hit("hostile: agrees and takes back what it sent");
                signed.state.body.sent /= 2;
                ProposalDecision { signed_state: Some(self.hostile_sign(node, signed.state).to_cell()), ..honest.clone() }
            }
            _ => honest.clone(),
        })
    }

    /// Whether it answers a query without showing it to its honest half.
    pub(crate) fn hostile_query(&mut self, id: QueryId, from: usize, to: usize, request: &Request) -> bool {
        let answer = match request {
            Request::ProposeAction(p) if self.scripted(to, Lie::AgreeWithoutStoring) || self.lies(to, 40) => {
                let Some(answer) = self.agree_without_storing(to, p) else { return false };
                answer
            }
            Request::ProposeAction(_) if self.lies(to, 40) => {
                self.coverage.hit("hostile: refuses without looking");
                Answer::ProposalDecision(ProposalDecision::refuse("no"))
            }
            Request::ProposeAction(_) | Request::RequestAction(_) if self.lies(to, 20) => {
                self.coverage.hit("hostile: says nothing");
                return true;
            }
            Request::IsChannelUnlocked(_) if self.lies(to, 300) => {
                self.coverage.hit("hostile: still holds the lock");
                Answer::Decision(Decision::refuse("still locked"))
            }
            _ => return false,
        };
        self.post_answer(id, to, from, Rc::new(answer.to_boxed()));
        true
    }

    fn agree_without_storing(&mut self, node: usize, p: &ProposeAction) -> Option<Answer> {
        let proposed = SignedState::from_cell(p.state.as_ref()).ok()?;
        let own = self.nodes[node].store.channels.get(&p.channel_addr)?.row.our;
        self.coverage.hit("hostile: agrees without storing");
        let state = State { channel_id: proposed.state.channel_id, body: own, counterparty: Some(proposed.state.body) };
        let signed_state = Some(self.hostile_sign(node, state).to_cell());
        Some(Answer::ProposalDecision(ProposalDecision { agreed: true, reason: String::new(), signed_state }))
    }

    // ---- on its own

    /// Even when nothing else happens it looks at the chain now and then.
    pub(crate) fn evil_by_the_clock(&mut self) {
        let pause = self.rng.between(20_000, 150_000);
        self.after(pause, Happening::EvilClock);
        self.next_evil();
    }

    pub(crate) fn next_evil(&mut self) {
        let Some(node) = self.nodes.iter().position(|n| n.hostile.is_some()) else { return };
        let mine: Vec<Address> = self.links.iter().filter(|l| l.ends.contains(&node)).map(|l| l.address).collect();
        let channel = mine[self.rng.index(mine.len())];
        let Some(peer) = self.peer_of(node, &channel) else { return };
        if self.evil_on_chain(node, channel) {
            return;
        }
        let request = match self.rng.below(8) {
            0..3 => {
                let recorded = self.nodes[node].hostile.as_ref().map_or(&[][..], |h| &h.recorded);
                if recorded.is_empty() {
                    return;
                }
                let (to, bytes) = recorded[self.rng.index(recorded.len())].clone();
                self.coverage.hit("hostile: replays an old query");
                return self.post_query(None, node, to, bytes, 7_000);
            }
            3 => {
                self.coverage.hit("hostile: takes the lock and keeps it");
                let lock_id = self.rng.next() as i64;
                Request::from(RequestChannelLock { lock_id, channel, lock: true })
            }
            4 => {
                let key = self.random_key(node, &channel);
                self.coverage.hit("hostile: demands a removal");
                Request::from(RequestAction {
                    channel_addr: channel,
                    action: Action::RequestRemoveVirtual(RequestRemoveVirtual { key }),
                })
            }
            5 => self.forged_close(node, channel),
            6 => self.forged_proposal(node, channel),
            _ => {
                self.coverage.hit("hostile: garbage");
                let mut bytes = vec![0; self.rng.between(1, 200) as usize];
                self.rng.fill(&mut bytes);
                return self.post_query(None, node, peer, bytes, 1_000);
            }
        };
        self.post_query(None, node, peer, request.to_boxed(), 1_000);
    }

    fn random_key(&mut self, node: usize, channel: &Address) -> [u8; 32] {
        let legs: Vec<[u8; 32]> = self.nodes[node].store.channels[channel].legs.keys().map(|(key, _)| *key).collect();
        if legs.is_empty() { [3; 32] } else { legs[self.rng.index(legs.len())] }
    }

    fn forged_close(&mut self, node: usize, channel: Address) -> Request {
        self.coverage.hit("hostile: asks for a close in its favour");
        let row = &self.nodes[node].store.channels[&channel].row;
        let side = side_of(row);
        let (our, their, channel_id) = (row.our, row.their, row.config.channel_id);
        let greed = if self.rng.chance(500) { 0 } else { 1_000_000 };
        let sent = Pair::of(side, our.sent.saturating_sub(greed), their.sent);
        let part = CloseToSign { channel_id, sent, seqnos: Pair::of(side, our.seqno + 1, their.seqno + 1) };
        let signature = self.nodes[node].key.sign(&part.hash()).to_bytes();
        let message = Message::CooperativeClose { signatures: Pair::of(side, signature, [0; 64]), part };
        let action = Action::CooperativeClose(CooperativeClose { signed_close_request: message.to_cell() });
        Request::from(RequestAction { channel_addr: channel, action })
    }

    /// A proposal that its honest half would never make.
    fn forged_proposal(&mut self, node: usize, channel: Address) -> Request {
        self.coverage.hit("hostile: a forged proposal");
        let row = &self.nodes[node].store.channels[&channel].row;
        let mut body = Body { seqno: row.our.seqno + 1, ..row.our };
        let (their, channel_id) = (row.their, row.config.channel_id);
        let key = self.random_key(node, &channel);
        let action = match self.rng.below(5) {
            0 => Action::RentCapacity(RentCapacity { till: i64::MAX, amount: 1 }),
            1 => Action::CommitVirtual(CommitVirtual { key, prepay_amount: 1 }),
            2 => Action::RemoveVirtual(RemoveVirtual { key }),
            3 => {
                body.sent = body.sent.saturating_sub(1_000);
                Action::IncrementStates(IncrementStates { want_response: true })
            }
            _ => {
                body.conditionals = [0; 32];
                Action::IncrementStates(IncrementStates { want_response: false })
            }
        };
        let rows = self.nodes[node].store.conditions_at(&channel, protocol::Side::Our, u64::MAX - 1);
        let proof = Conditionals::from_conditions(rows).ok().and_then(|d| d.proof_of_root());
        let state = State { channel_id, body, counterparty: Some(their) };
        let conditionals = if body.conditionals == [0; 32] { None } else { proof };
        let lock_id = (self.rng.next() >> 1) as i64;
        let state = self.hostile_sign(node, state).to_cell();
        Request::from(ProposeAction { lock_id, channel_addr: channel, action, state, conditionals })
    }

    // ---- on the chain

    /// Start with any body ever signed by either side, challenge with any, settle everything it can, finish.
    fn evil_on_chain(&mut self, node: usize, channel: Address) -> bool {
        let Some(storage) = self.chain.contracts.get(&channel).map(|c| c.storage) else { return false };
        if !storage.initialised {
            return false;
        }
        let now = self.now / 1000;
        let side = side_of(&self.nodes[node].store.channels[&channel].row);
        match storage.quarantine {
            None => {
                let eager = if self.quiet { 100 } else { 8 };
                if !self.rng.chance(eager) {
                    return false;
                }
                let Some(states) = self.any_states(node, &channel, side) else { return false };
                let message = start_message(&self.nodes[node].key, side, storage.channel_id, states);
                self.evil_message(
                    node,
                    &channel,
                    constants::CLOSE_VALUE,
                    &message,
                    "hostile: starts a close with some old states",
                );
            }
            Some(q) if storage.may_challenge(now) && q.committed_by != side => {
                if !self.rng.chance(300) {
                    return false;
                }
                let Some(states) = self.any_states(node, &channel, side) else { return false };
                let message = challenge_message(&self.nodes[node].key, side, storage.channel_id, states);
                self.evil_message(node, &channel, constants::CLOSE_VALUE, &message, "hostile: challenges with some old state");
            }
            Some(q) if storage.may_settle(now) => {
                let body = *q.bodies.get(side.other());
                let Some(part) = self.settle_everything(node, &channel, storage.channel_id, &body) else { return false };
                let signature = self.nodes[node].key.sign(&part.hash()).to_bytes();
                let message = Message::SettleConditionals { from: side, signature, part };
                self.evil_message(node, &channel, constants::SETTLE_VALUE, &message, "hostile: settles what it can");
            }
            Some(_) if storage.may_finish(now) => {
                self.evil_message(node, &channel, constants::CLOSE_VALUE, &Message::Finish, "hostile: finishes");
            }
            Some(_) => return false,
        }
        true
    }

    /// Starts a close with a body of its own that promises nothing, made for the occasion.
    pub(crate) fn start_with_nothing(&mut self, node: usize, channel: Address) -> Option<()> {
        self.nodes[node].hostile.get_or_insert_default();
        let row = &self.nodes[node].store.channels[&channel].row;
        let (side, victim) = (side_of(row), row.their_signed?);
        let body = Body { seqno: row.our.seqno + 50, sent: row.our.sent, conditionals: [0; 32] };
        let state = State { channel_id: row.config.channel_id, body, counterparty: Some(victim.state.body) };
        let states = Pair::of(side, self.hostile_sign(node, state), victim);
        let message = start_message(&self.nodes[node].key, side, state.channel_id, states);
        self.evil_message(node, &channel, constants::CLOSE_VALUE, &message, "hostile: starts a close with nothing promised");
        Some(())
    }

    fn evil_message(&mut self, node: usize, channel: &Address, value: u128, message: &Message, what: &'static str) {
        let worked = self.transact(node, channel, value, &message.to_cell());
        self.say(|w| {
            let quarantine = w.chain.contracts.get(channel).and_then(|c| c.storage.quarantine);
            let bodies = quarantine.map(|q| (q.bodies.a.seqno, q.bodies.a.sent, q.bodies.b.seqno, q.bodies.b.sent));
            format!("chain: {} {} {what}: {worked:?} {bodies:?}", w.nodes[node].name, hex::encode(&channel[..4]))
        });
        if worked.is_ok() {
            self.coverage.hit(what);
        }
    }

    /// Some state of the honest side, and one of its own that fits.
    fn any_states(&mut self, node: usize, channel: &Address, side: Side) -> Option<Pair<SignedState>> {
        let peer = self.peer_of(node, channel)?;
        let theirs = self.signed.get(&(peer, *channel)).cloned()?;
        let own = self.nodes[node].store.channels[channel].row.our;
        let victim = match self.rng.below(3) {
            0 => *theirs.last()?,
            _ => theirs[self.rng.index(theirs.len())],
        };
        let copy = victim.state.counterparty.unwrap_or(Body::start(0));
        let body = match self.rng.below(3) {
            0 if own.seqno >= copy.seqno && own.sent >= copy.sent => own,
            1 => Body { seqno: copy.seqno + 50, sent: copy.sent, conditionals: [0; 32] },
            _ => copy,
        };
        let state = State { channel_id: victim.state.channel_id, body, counterparty: Some(victim.state.body) };
        Some(Pair::of(side, self.hostile_sign(node, state), victim))
    }

    /// Every condition of the honest side that it has, or can make, a resolution for.
    fn settle_everything(&mut self, node: usize, channel: &Address, channel_id: [u8; 16], body: &Body) -> Option<SettleToSign> {
        let peer = self.peer_of(node, channel)?;
        let store = &self.nodes[peer].store;
        let rows = store.channels[channel].bodies.get(&body.seqno)?;
        let signed = rows.iter().find(|row| row.body.conditionals == body.conditionals)?;
        let dictionary = store.own_dictionary(channel, signed);
        let legs = &self.nodes[node].store.channels[channel].legs;
        let seconds = self.now / 1000;
        let mut found = vec![];
        for condition in dictionary.iter().filter(|c| u64::from(c.deadline) >= seconds) {
            let own = legs.get(&(condition.key, Direction::In)).and_then(|leg| leg.resolution);
            let betrayed = self.payments.iter().find(|p| p.public == condition.key && p.betrayed);
            let told = betrayed.map(|p| Resolution::sign(&p.key, condition.capacity));
            if let Some(resolution) = told.or(own)
                && resolution.amount <= condition.capacity
            {
                found.push((condition.index(), resolution));
            }
        }
        let indices: Vec<u32> = found.iter().map(|(index, _)| *index).collect();
        if indices.is_empty() {
            return None;
        }
        let proof = Settlement::new(&dictionary).proof(&indices).ok()??;
        Some(SettleToSign { channel_id, resolutions: resolutions_cell(found), proof })
    }

    /// The honest neighbours leave: whatever the hostile node does from now on, the chain decides.
    pub(crate) fn leave_hostile(&mut self) {
        for link in self.links.clone() {
            for node in link.ends {
                let Some(peer) = self.peer_of(node, &link.address) else { continue };
                if self.nodes[peer].hostile.is_some()
                    && self.nodes[node].store.channels[&link.address].row.status != Status::Closed
                {
                    self.order_task(node, link.address, protocol::Task::CloseChannel { force: true });
                }
            }
        }
    }
}
