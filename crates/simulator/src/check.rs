//! What must never happen (design 4), one function each, after every commit, signature and transaction; and what must hold at rest.

use contract::{CloseToSign, CommitToSign};
use protocol::{
    Address, Attempt, ChannelRow, Direction, Half, LegState, Next, OrderMessage, Outcome, RequestResult, Side, Status, Step,
    Write,
};
use wire::state::{SignedState, State};

use crate::{
    Mutation,
    store::{ChannelRows, Fence, Store, Verdict},
    world::{WALLET_NANO, World},
};

type Check = Result<(), String>;

impl World {
    /// Commits a step and checks what came of it.
    pub(crate) fn apply(&mut self, node: usize, fence: Fence, channel: Address, step: &Step) -> Verdict {
        let mutation = self.options.mutation;
        let fenced = mutation != Some(Mutation::FenceOff);
        let store = &mut self.nodes[node].store;
        let owner = store.shards.get(&fence.shard).is_some_and(|(_, epoch)| *epoch == fence.epoch);
        let before = store.channels.get(&channel).map(|rows| rows.row.clone());
        let changed = mutated(mutation, store.channels.get(&channel), &step.writes);
        let writes = changed.as_ref().unwrap_or(&step.writes);
        let verdict = store.commit(fence, &channel, writes, fenced);
        if verdict != Verdict::Applied {
            return verdict;
        }
        self.commits += 1;
        if !store.new_orders.is_empty() {
            self.orders_soon(node);
        }
        if writes.iter().any(|w| matches!(w, Write::Task(_))) {
            self.poll_soon(node);
        }
        if self.nodes[node].hostile.is_some() {
            return verdict;
        }
        if !owner {
            let text = format!("{}: epoch {} of shard {:02x} is over", self.nodes[node].name, fence.epoch, fence.shard);
            self.broke("only the owner of a shard changes it", text);
        }
        if let Some(before) = before {
            self.check_commit(node, &channel, &before, step);
        }
        verdict
    }

    fn check_commit(&mut self, node: usize, channel: &Address, before: &ChannelRow, step: &Step) {
        let store = &self.nodes[node].store;
        let rows = &store.channels[channel];
        let limit = self.nodes[node].policy.risk_limit;
        let checks: [(&'static str, Check); 8] = [
            ("no body pays less than one signed before it", never_less(rows, &step.writes)),
            ("at most two bodies per seqno, one agreed", two_bodies(rows, &step.writes)),
            ("seqno, sent and version never go down", monotone(before, &rows.row)),
            ("pending proposals are written ahead", written_ahead(rows)),
            ("the released sum is the sum over the legs", released_is_the_sum(rows)),
            ("releases stay within the risk limit", released_within(store, &rows.row.peer, limit)),
            ("no credit is given", no_credit(rows)),
            ("each request ends once", ends_once(store, &step.writes)),
        ];
        for (invariant, check) in checks {
            if let Err(text) = check {
                let name = self.nodes[node].name;
                return self.broke(invariant, format!("{name} {}: {text}", hex::encode(&channel[..4])));
            }
        }
    }

    /// A state may only be signed when both its bodies are in committed rows (design 4.2).
    pub(crate) fn check_signature(&mut self, node: usize, channel: &Address, state: &State) {
        let n = &self.nodes[node];
        if n.hostile.is_some() {
            return;
        }
        let own = n.store.knows_body(channel, &state.body);
        let copy = state.counterparty.is_some_and(|copy| n.store.knows_peer_body(channel, &copy));
        if !(own && copy) {
            let text = format!("{}: own body known: {own}, peer's body known: {copy}, seqno {}", n.name, state.body.seqno);
            self.broke("nothing is signed before it is committed", text);
        }
        let closed = n_closed(&self.nodes[node].store, channel);
        if closed {
            self.broke("nothing is signed for a closed channel", format!("{} seqno {}", self.nodes[node].name, state.body.seqno));
        }
    }

    pub(crate) fn check_close_signature(&mut self, node: usize, channel: &Address, close: &CloseToSign) {
        let n = &self.nodes[node];
        if n.hostile.is_none() && n.store.channels[channel].row.close.as_ref() != Some(close) {
            self.broke("nothing is signed before it is committed", format!("{}: a cooperative close", n.name));
        }
    }

    /// A commit may only be signed when what it pays is not promised otherwise any more (payments 6.1).
    pub(crate) fn check_commit_signature(&mut self, node: usize, channel: &Address, commit: &CommitToSign) {
        let n = &self.nodes[node];
        let row = &n.store.channels[channel].row;
        let targets = if row.left { [commit.withdrawn.a, commit.withdrawn.b] } else { [commit.withdrawn.b, commit.withdrawn.a] };
        let written = (0..2).all(|i| row.pending_withdraw[i].max(row.onchain.withdrawn[i]) >= targets[i]);
        if n.hostile.is_none() && !written {
            self.broke("nothing is signed before it is committed", format!("{}: a cooperative commit", n.name));
        }
    }

    /// A forced close starts from the highest body that was ever signed (payments 7.6.4).
    pub(crate) fn check_order(&mut self, node: usize, channel: &Address, order: &OrderMessage) {
        let (OrderMessage::Start { our, .. } | OrderMessage::Challenge { our, .. }) = order else { return };
        let n = &self.nodes[node];
        if n.hostile.is_some() {
            return;
        }
        let rows = &n.store.channels[channel];
        let known = n.store.knows_body(channel, &our.body);
        let bodies = || rows.bodies.values().flatten().map(|b| b.body);
        let highest = (bodies().map(|b| b.seqno).max().unwrap_or(0), bodies().map(|b| b.sent).max().unwrap_or(0));
        // The order was written before: later bodies cannot exist, for nothing is signed in a dispute.
        let start = matches!(order, OrderMessage::Start { .. });
        if !known || (start && (our.body.seqno < highest.0 || our.body.sent < highest.1)) {
            let text = format!("{}: {:?} instead of {highest:?}", n.name, (our.body.seqno, our.body.sent));
            self.broke("a forced close uses the highest body signed", text);
        }
    }

    /// Over the chain: all balances + all fees = all minted.
    pub(crate) fn check_chain(&mut self) {
        let (total, minted) = (self.chain.total(), self.chain.minted);
        if total != minted {
            self.broke("value is conserved on the chain", format!("{total} of {minted}"));
        }
    }

    pub(crate) fn record_state(&mut self, node: usize, channel: &Address, state: State, signature: [u8; 64]) {
        let Some(peer) = self.peer_of(node, channel) else { return };
        if self.nodes[node].hostile.is_some() || self.nodes[peer].hostile.is_some() {
            let states = self.signed.entry((node, *channel)).or_default();
            states.push(SignedState { signature, state });
        }
    }

    // ---- coverage of what a step decides

    pub(crate) fn cover_step(&mut self, node: usize, channel: &Address, step: &Step) {
        for write in &step.writes {
            if let Write::Leg(leg) = write {
                let (key, due, released) = (leg.key(), leg.due(), leg.released);
                self.say(|w| {
                    let (name, at) = (w.nodes[node].name, hex::encode(&channel[..4]));
                    let (direction, state) = (leg.direction(), leg.state);
                    format!("{name} {at}: leg {direction:?} {:02x}{:02x} {state:?} due {due} released {released}", key[0], key[1])
                });
            }
            let what = match write {
                Write::SignedBody(b) if b.attempt == Attempt::Increment => "refusal, then another proposal at the same seqno",
                Write::BodyOutcome { attempt, outcome: Outcome::Agreed, .. } => {
                    self.note_resolved(node, channel);
                    match attempt {
                        Attempt::Action => "proposal agreed",
                        Attempt::Increment => "refused: the settling increment was agreed",
                    }
                }
                Write::BodyOutcome { attempt: Attempt::Increment, outcome: Outcome::Void, .. } => "refused, but stored after all",
                Write::Result { result, .. } => match result {
                    RequestResult::Opened => "request: opened",
                    RequestResult::Paid { .. } => "request: paid",
                    RequestResult::Failed { .. } => "request: failed",
                },
                Write::Leg(leg) if leg.released > 0 && leg.is_final() => "released within the risk limit before the deadline",
                Write::Leg(leg) if leg.is_final() && !leg.told => "above the risk limit: upstream waits for the deadline",
                Write::Leg(leg) => match (leg.direction(), leg.state) {
                    (Direction::In, LegState::Closed) => "incoming leg paid",
                    (Direction::In, LegState::Removed) => "incoming leg removed",
                    (Direction::Out, LegState::Closed) => "outgoing leg paid",
                    (Direction::Out, LegState::Removed) => "outgoing leg removed",
                    (Direction::Out, LegState::Refused) => "outgoing leg refused",
                    (_, LegState::Abandoned) => "leg abandoned with its contract",
                    (Direction::Out, LegState::Removing) => "outgoing leg being removed",
                    (Direction::In, LegState::Removing) => "incoming leg given up",
                    _ => continue,
                },
                _ => continue,
            };
            self.coverage.hit(what);
        }
    }

    // ---- at rest

    /// Whether everything that was begun between honest nodes has ended; else what has not.
    pub(crate) fn unsettled(&self) -> Option<String> {
        for link in &self.links {
            let hostile = link.ends.iter().any(|n| self.nodes[*n].hostile.is_some());
            let honest = link.ends.iter().filter(|n| self.nodes[**n].hostile.is_none());
            for n in honest {
                let name = self.nodes[*n].name;
                let store = &self.nodes[*n].store;
                let rows = &store.channels[&link.address];
                if let Some(what) = open_matters(rows, hostile) {
                    return Some(format!("{name} {}: {what}", hex::encode(&link.address[..4])));
                }
            }
            if !hostile && let Some(what) = self.disagreement(link.ends, &link.address) {
                return Some(what);
            }
        }
        for node in self.nodes.iter().filter(|n| n.hostile.is_none()) {
            if let Some(row) = node.store.tasks.values().next() {
                return Some(format!("{}: task {} was never applied", node.name, row.id));
            }
            if let Some((id, _)) = node.store.orders.iter().find(|(_, o)| !o.taken) {
                return Some(format!("{}: order {id} was never sent", node.name));
            }
        }
        self.payments
            .iter()
            .find(|p| !ended(&self.nodes[p.sender].store, &p.request_id))
            .map(|p| format!("{} has no end", p.request_id))
    }

    fn disagreement(&self, ends: [usize; 2], channel: &Address) -> Option<String> {
        let [a, b] = ends.map(|n| &self.nodes[n].store.channels[channel].row);
        let names = format!("{}-{} {}", self.nodes[ends[0]].name, self.nodes[ends[1]].name, hex::encode(&channel[..4]));
        if (a.status == Status::Closed) != (b.status == Status::Closed) {
            return Some(format!("{names}: {:?} and {:?}", a.status, b.status));
        }
        let agree = a.our == b.their && b.our == a.their;
        (a.status != Status::Closed && !agree)
            .then(|| format!("{names}: the states differ: {:?} {:?}, {:?} {:?}", a.our, b.their, b.our, a.their))
    }

    /// What must hold when nothing is under way any more.
    pub(crate) fn check_end(&mut self) {
        if let Some(what) = self.unsettled() {
            self.say_rows();
            return self.broke("no honest channel is stuck", what);
        }
        if let Err(text) = self.payments_are_exact() {
            return self.broke("each request is paid exactly once or failed", text);
        }
        if let Err(text) = self.wealth_is_kept() {
            return self.broke("no honest node loses more than its risk limit", text);
        }
        if let Err(text) = self.dictionaries_rebuild() {
            self.broke("the dictionary of every state is in the rows", text);
        }
    }

    /// For the log of a run that got stuck.
    fn say_rows(&mut self) {
        for link in self.links.clone() {
            for n in link.ends {
                self.say(|w| {
                    let row = &w.nodes[n].store.channels[&link.address].row;
                    let (name, at) = (w.nodes[n].name, hex::encode(&link.address[..4]));
                    let chain = (row.onchain.lt, row.onchain.inited, &row.onchain.quarantine);
                    let orders = (&row.ordered, row.order_round, &row.close, &row.force);
                    format!(
                        "{name} {at}: {:?} {:?} {:?} pending {:?} {chain:?} {orders:?}",
                        row.status, row.our, row.their, row.pending
                    )
                });
            }
        }
    }

    fn payments_are_exact(&self) -> Check {
        let hostile = self.nodes.iter().any(|n| n.hostile.is_some());
        for p in self.payments.iter().filter(|_| !hostile && !self.forced) {
            if p.route.iter().any(|n| self.nodes[*n].careless) {
                // It may have paid out what it did not claim in time.
                continue;
            }
            let receiver = p.route.last().copied().unwrap_or(p.sender);
            let rows = &self.nodes[receiver].store.channels;
            let leg = rows.values().find_map(|r| r.legs.get(&(p.public, Direction::In)));
            let received = leg.filter(|l| l.state == LegState::Closed && matches!(l.half, Half::In { next: Next::Receiver, .. }));
            let paid = self.nodes[p.sender].store.results.get(&p.request_id).and_then(|r| r.last());
            let same_key = self.payments.iter().filter(|q| q.public == p.public).count() > 1;
            match (paid, received) {
                (Some(RequestResult::Paid { .. }), Some(leg)) if leg.resolution.is_some() => {}
                (Some(RequestResult::Failed { .. }), None) => {}
                _ if same_key => {}
                (paid, received) => return Err(format!("{}: {paid:?}, received: {}", p.request_id, received.is_some())),
            }
        }
        Ok(())
    }

    fn wealth_is_kept(&self) -> Check {
        let hostile = self.nodes.iter().find_map(|n| n.hostile.as_ref());
        for (n, node) in self.nodes.iter().enumerate() {
            if node.hostile.is_some() || node.careless || hostile.is_some_and(|h| h.friend == Some(n)) {
                continue;
            }
            let mut has = self.chain.wallets[&node.wallet] as i128;
            let mut earned = 0i128;
            let mut closed = 0;
            for (address, rows) in &node.store.channels {
                if rows.row.status != Status::Closed {
                    let (chain, row) = (&rows.row.onchain, &rows.row);
                    has +=
                        chain.deposited[0] as i128 - chain.withdrawn[0] as i128 + row.their.sent as i128 - row.our.sent as i128;
                } else if self.chain.contracts.contains_key(address) {
                    closed += 1;
                }
                for leg in rows.legs.values().filter(|l| l.state == LegState::Closed) {
                    match leg.direction() {
                        Direction::In => earned += leg.due() as i128,
                        Direction::Out => earned -= leg.due() as i128,
                    }
                }
            }
            let fees = self.chain.fees_of.get(&node.wallet).copied().unwrap_or(0) + node.reserves;
            let least = WALLET_NANO as i128 - fees as i128 + earned;
            let risk = if hostile.is_some() { node.policy.risk_limit as i128 } else { 0 };
            if has < least - risk {
                return Err(format!("{} has {has}, should have {least}: {} less", node.name, least - has));
            }
            let most = least + ((node.policy.storage_fee + contract::constants::CLOSE_VALUE) * closed) as i128;
            if hostile.is_none() && !self.forced && has > most {
                return Err(format!("{} has {has}, should have at most {most}", node.name));
            }
        }
        Ok(())
    }

    fn dictionaries_rebuild(&mut self) -> Check {
        for n in 0..self.nodes.len() {
            for (address, rows) in &self.nodes[n].store.channels {
                let store = &self.nodes[n].store;
                for body in rows.bodies.values().flatten() {
                    if self.rng.chance(250) && store.own_dictionary(address, body).root_hash() != body.body.conditionals {
                        return Err(format!("{}: own body {}", self.nodes[n].name, body.body.seqno));
                    }
                }
                for state in &rows.peer_states {
                    let body = &state.state.body;
                    if self.rng.chance(250) {
                        let conditions = store.conditions_at(address, Side::Their, body.seqno);
                        let hash = wire::conditionals::Conditionals::from_conditions(conditions).map(|d| d.root_hash());
                        if hash.ok() != Some(body.conditionals) {
                            return Err(format!("{}: peer body {}", self.nodes[n].name, body.seqno));
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

fn n_closed(store: &Store, channel: &Address) -> bool {
    store.channels.get(channel).is_some_and(|rows| rows.row.status == Status::Closed)
}

/// The writes as a broken shell would make them; `None`: as they are.
fn mutated(mutation: Option<Mutation>, rows: Option<&ChannelRows>, writes: &[Write]) -> Option<Vec<Write>> {
    let without_pending = |w: &Write| match w {
        Write::Channel(row) => Write::Channel(Box::new(ChannelRow { pending: None, ..(**row).clone() })),
        other => other.clone(),
    };
    match mutation? {
        Mutation::WriteAheadOff => {
            Some(writes.iter().filter(|w| !matches!(w, Write::SignedBody(_))).map(without_pending).collect())
        }
        Mutation::RefusalIsDefinite if is_refusal(writes) => {
            let mut changed: Vec<Write> = writes.iter().map(without_pending).collect();
            let work = rows?.row.pending.as_ref().map(|p| p.work)?;
            if let protocol::Work::Open(key) = work
                && let Some(leg) = rows?.legs.get(&(key, Direction::Out))
            {
                changed.push(Write::Leg(Box::new(protocol::Leg { state: LegState::Refused, ..leg.clone() })));
            }
            Some(changed)
        }
        _ => None,
    }
}

/// Whether the writes note that an action was refused.
pub(crate) fn is_refusal(writes: &[Write]) -> bool {
    writes.iter().any(|w| matches!(w, Write::BodyOutcome { attempt: Attempt::Action, outcome: Outcome::Refused, .. }))
}

/// Design 4.1: the second body of a seqno is the agreed state with the next seqno; there is no third; one is agreed at most.
fn two_bodies(rows: &ChannelRows, writes: &[Write]) -> Check {
    for write in writes {
        let seqno = match write {
            Write::SignedBody(body) => body.body.seqno,
            Write::BodyOutcome { seqno, .. } => *seqno,
            _ => continue,
        };
        let bodies = rows.bodies.get(&seqno).map_or(&[][..], Vec::as_slice);
        let agreed = bodies.iter().filter(|b| b.outcome == Some(Outcome::Agreed)).count();
        let actions = bodies.iter().filter(|b| b.attempt == Attempt::Action).count();
        if bodies.len() > 2 || agreed > 1 || actions > 1 {
            return Err(format!("seqno {seqno}: {} bodies, {actions} actions, {agreed} agreed", bodies.len()));
        }
        let base = &rows.row.our;
        let plain = |b: &&crate::store::BodyRow| b.attempt == Attempt::Increment && b.outcome.is_none();
        if let Some(b) = bodies.iter().find(plain)
            && base.seqno + 1 == seqno
            && (b.body.sent, b.body.conditionals) != (base.sent, base.conditionals)
        {
            return Err(format!("seqno {seqno}: the second body is no increment"));
        }
    }
    Ok(())
}

/// Payments 7.6.4: a challenge with a body of a higher seqno or of a higher sent costs the fine, so the newest body must have both. Bodies below
/// the committed seqno are dead.
fn never_less(rows: &ChannelRows, writes: &[Write]) -> Check {
    let committed = rows.row.onchain.committed[0];
    for write in writes {
        let Write::SignedBody(new) = write else { continue };
        let earlier = rows.bodies.range(committed..new.body.seqno).flat_map(|(_, bodies)| bodies);
        if let Some(old) = earlier.map(|b| b.body).find(|old| old.sent > new.body.sent) {
            return Err(format!("seqno {} pays {}, seqno {} paid {}", new.body.seqno, new.body.sent, old.seqno, old.sent));
        }
    }
    Ok(())
}

fn monotone(before: &ChannelRow, after: &ChannelRow) -> Check {
    let rank = |r: &ChannelRow| [r.our.seqno.into(), r.our.sent, r.their.seqno.into(), r.their.sent, r.version.into()];
    let (old, new) = (rank(before), rank(after));
    if old.iter().zip(&new).all(|(old, new)| old <= new) { Ok(()) } else { Err(format!("{old:?} became {new:?}")) }
}

/// A pending proposal has its body in the rows (design 4.6).
fn written_ahead(rows: &ChannelRows) -> Check {
    let Some(pending) = &rows.row.pending else { return Ok(()) };
    let bodies = rows.bodies.get(&pending.first.body.seqno);
    let there = bodies.is_some_and(|bodies| bodies.iter().any(|b| b.body == pending.first.body));
    if there { Ok(()) } else { Err(format!("seqno {}", pending.first.body.seqno)) }
}

fn released_is_the_sum(rows: &ChannelRows) -> Check {
    let sum: u128 = rows.legs.values().map(|leg| leg.released).sum();
    if sum == rows.row.released { Ok(()) } else { Err(format!("{} for legs of {sum}", rows.row.released)) }
}

fn released_within(store: &Store, peer: &protocol::Key, limit: u128) -> Check {
    let sum: u128 = store.channels.values().filter(|r| r.row.peer == *peer).map(|r| r.row.released).sum();
    if sum <= limit { Ok(()) } else { Err(format!("{sum} of {limit}")) }
}

/// In an open channel neither side promises more than it has (payments 10.1.11).
fn no_credit(rows: &ChannelRows) -> Check {
    let row = &rows.row;
    if row.status != Status::Active || !row.onchain.inited {
        return Ok(());
    }
    for (side, own, other) in [(Side::Our, &row.our, &row.their), (Side::Their, &row.their, &row.our)] {
        let live = rows.conditions.iter().filter(|c| c.side == side && c.until.is_none());
        let locked: u128 = live.map(|c| c.condition.locked()).sum();
        let i = side as usize;
        let withdrawn = row.onchain.withdrawn[i].max(row.pending_withdraw[i]);
        let has = other.sent as i128 + row.onchain.deposited[i] as i128 - withdrawn as i128;
        if has < own.sent as i128 + locked as i128 {
            return Err(format!("{side:?}: has {has}, sent {} and locked {locked}", own.sent));
        }
    }
    Ok(())
}

fn ends_once(store: &Store, writes: &[Write]) -> Check {
    for write in writes {
        let Write::Result { request_id, .. } = write else { continue };
        let ends = store.results[request_id].iter().filter(|r| !matches!(r, RequestResult::Opened)).count();
        if ends > 1 {
            return Err(format!("{request_id}: {:?}", store.results[request_id]));
        }
    }
    Ok(())
}

fn ended(store: &Store, request: &str) -> bool {
    store.results.get(request).is_some_and(|r| r.iter().any(|r| !matches!(r, RequestResult::Opened)))
}

/// What is still under way on a channel.
fn open_matters(rows: &ChannelRows, peer_is_hostile: bool) -> Option<String> {
    let row = &rows.row;
    if row.status == Status::Closed {
        return None;
    }
    if peer_is_hostile && row.onchain.inited {
        return Some(format!("still {:?} with the hostile peer", row.status));
    }
    if row.suspended && !peer_is_hostile {
        return Some("suspended".into());
    }
    if peer_is_hostile {
        return None;
    }
    if matches!(row.status, Status::Closing | Status::Disputed) {
        return Some(format!("still {:?}", row.status));
    }
    if let Some(pending) = &row.pending {
        return Some(format!("pending {:?} since {}", pending.work, pending.since));
    }
    if row.withdrawal.is_some() {
        return Some("a withdrawal is under way".into());
    }
    if row.increment.is_some() {
        return Some("an increment is wanted".into());
    }
    if let Some(leg) = rows.legs.values().find(|leg| !leg.is_final()) {
        return Some(format!("leg {:?} {} is {:?}", leg.direction(), hex::encode(&leg.key()[..2]), leg.state));
    }
    let live = rows.conditions.iter().filter(|c| c.until.is_none()).count();
    (live > 0).then(|| format!("{live} conditions"))
}
