//! Closing alone: what to send to the contract, decided from what the chain shows and the time (payments 7.6.3 to 7.6.5, 8.3).
//!
//! Every order is derived from the state in front of it, so a lost or failed transaction is simply ordered again in the next round.

use std::collections::BTreeMap;

use contract::{CloseToSign, Pair, SettleToSign, Storage};
use wire::{
    conditionals::{Condition, Conditionals, Settlement, resolutions_cell},
    resolution::Resolution,
    state::{Body, SignedState},
};

use super::{Channel, Onchain, Status};
use crate::step::{Alarm, ChainUpdate, Effect, Env, Order, OrderMessage, Step, Write};

/// How long after the contract's time limits we act, for the chain's clock may be behind ours (payments 8.2).
const MARGIN_S: u64 = 3;
/// Conditions per settle message: 10 take 69,000 gas of a million (payments 7.6.5).
const SETTLE_BATCH: usize = 10;

/// The contract's quarantine from our view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Our body.
    pub our: Body,
    /// The peer's body.
    pub their: Body,
    /// The peer's dictionary before anything was settled.
    pub their_base: [u8; 32],
    /// When it began, in seconds.
    pub started_at: u64,
    /// Whether the state in it was put there by us.
    pub by_us: bool,
    /// Whether the one challenge was used.
    pub challenged: bool,
}

/// What was loaded for the dispute, while the process lives.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    asked: Option<u64>,
    loaded: Option<(u64, Conditionals, BTreeMap<u32, Resolution>)>,
}

impl Volatile {
    pub(super) fn learn_dictionary(&mut self, seqno: u64, conditions: Vec<(Condition, Option<Resolution>)>) {
        let resolutions = conditions.iter().filter_map(|(c, r)| Some((c.index(), (*r)?))).collect();
        let Ok(dictionary) = Conditionals::from_conditions(conditions.into_iter().map(|(c, _)| c)) else { return };
        self.loaded = Some((seqno, dictionary, resolutions));
    }
}

impl Channel {
    /// A command, or a deadline: leave without the peer.
    pub(super) fn force_close(&mut self, reason: &str, out: &mut Step) {
        // Before the first exchange, and after a commit until the next one, there is no state of the peer to start with: freezing the channel would only keep it from coming.
        let possible = self.row.onchain.inited && self.is_ready() && self.can_start(self.row.onchain.committed);
        if self.row.force.is_some() || self.row.status == Status::Closed || !possible {
            return;
        }
        self.row.force = Some(reason.into());
        self.row.status = Status::Disputed;
        self.dirty = true;
        self.alarm(Alarm::ForcedClose { reason: reason.into() }, out);
    }

    /// The first top-up deploys the contract, whichever side makes it (payments 7.8.6).
    pub(super) fn order_top_up(&mut self, id: String, amount: u128, out: &mut Step) {
        if self.row.status != Status::Active {
            return;
        }
        if !self.row.onchain.inited {
            let init = Order { id: format!("init:{id}"), message: OrderMessage::Init };
            out.writes.push(Write::Order(Box::new(init)));
            self.row.deploys.push(id.clone());
            self.dirty = true;
        }
        out.writes.push(Write::Order(Box::new(Order { id, message: OrderMessage::TopUp { amount } })));
    }

    pub(super) fn on_order_failed(&mut self, order: &str) {
        let deploys = self.row.deploys.len();
        self.row.deploys.retain(|id| id != order);
        self.dirty |= deploys != self.row.deploys.len();
        self.withdraw_order_failed(order);
        if self.row.ordered.as_deref() == Some(order) {
            self.row.ordered = None;
            self.row.settling.clear();
            self.row.order_round += 1;
            self.dirty = true;
            self.close_order_failed();
        }
    }

    // ---- what the chain shows

    pub(super) fn on_chain(&mut self, env: &Env<'_>, update: ChainUpdate, out: &mut Step) {
        if update.lt <= self.row.onchain.lt {
            return;
        }
        self.dirty = true;
        for state in &update.our_states {
            self.check_own_signature(state, out);
        }
        for (index, resolution) in &update.settled {
            self.learn_from_chain(*index, resolution, out);
        }
        let view = self.view(update.lt, &update.storage);
        let was = std::mem::replace(&mut self.row.onchain, view);
        if self.row.onchain.deposited[0] > was.deposited[0] && !self.row.deploys.is_empty() {
            // A node's orders are executed one after the other.
            self.row.deploys.remove(0);
        }
        let now = &self.row.onchain;
        for (pending, done) in self.row.pending_withdraw.iter_mut().zip(now.withdrawn) {
            // Another commit may have landed than the one that was signed last, which is still good (payments 6.1).
            *pending = if *pending <= done { 0 } else { *pending };
        }
        if now.committed != was.committed {
            // Earlier ones cannot land any more.
            if now.committed.iter().zip(self.row.signed_commit).any(|(committed, signed)| *committed >= signed) {
                self.row.pending_withdraw[1] = 0;
                if self.row.withdrawal.is_none() {
                    self.row.pending_withdraw[0] = 0;
                }
            }
            self.row.void.take_if(|void| void.seqno < self.row.onchain.committed[0]);
        }
        self.note_quarantine(&was);
        if was.inited && !self.row.onchain.inited {
            self.row.status = Status::Closed;
            // Whatever is answered to it says nothing any more.
            self.end_attempt(out);
            self.row.pending = None;
            self.todo.clear();
            self.abandon_legs(out);
        } else if !was.inited && self.row.onchain.inited && !self.is_ready() && self.row.left {
            self.want_increment(true);
        }
        self.committed_anew(&was);
        self.wanted_close_begins();
        self.withdrawal_seen(out);
        let _ = env;
    }

    /// A commit landed: it ends a quarantine with older states, and older states are worth nothing any more (payments 7.6.1). Where nothing
    /// can be started with, only an exchange helps.
    fn committed_anew(&mut self, was: &Onchain) {
        let now = &self.row.onchain;
        if now.committed == was.committed || !now.inited || now.quarantine.is_some() {
            return;
        }
        let committed = now.committed;
        let late = |close: &CloseToSign| self.pair_of(&close.seqnos).iter().zip(committed).any(|(seqno, done)| *seqno <= done);
        if self.row.close.as_ref().is_some_and(late) {
            // The commit landed in the place of the close, which cannot any more: another one, after an exchange.
            self.row.close = None;
            self.row.status = Status::Active;
            self.close_again();
        }
        let usable = self.can_start(committed);
        if self.row.status == Status::Disputed && (self.row.force.is_none() || !usable) {
            self.row.status = Status::Active;
            self.row.force = None;
        }
        if !usable {
            self.want_increment(true);
        }
    }

    /// Whether our newest state and the peer's could start a close when these are the committed seqnos, ours first: each body, and the copies
    /// of them (payments 7.6.3).
    pub(super) fn can_start(&self, [our, their]: [u64; 2]) -> bool {
        let Some(signed) = self.row.their_signed else { return false };
        let copied = signed.state.counterparty.map_or(0, |copy| copy.seqno);
        self.highest_seqno() >= our && signed.state.body.seqno >= their && copied >= our
    }

    fn view(&self, lt: u64, storage: &Storage) -> Onchain {
        let ours_first = |pair: &Pair<u128>| self.pair_of(pair);
        let quarantine = storage.quarantine.as_ref().map(|q| {
            let [our, their] = self.pair_of(&q.bodies);
            Quarantined {
                our,
                their,
                their_base: their.conditionals,
                started_at: u64::from(q.started_at),
                by_us: (q.committed_by == contract::Side::A) == self.row.left,
                challenged: q.challenged,
            }
        });
        Onchain {
            lt,
            inited: storage.initialised,
            deposited: ours_first(&storage.balance.deposited),
            withdrawn: ours_first(&storage.balance.withdrawn),
            committed: self.pair_of(&storage.committed_seqnos),
            quarantine,
        }
    }

    /// Keeps what a quarantine began with, and moves the settling on when the contract's hash shows that it was done.
    fn note_quarantine(&mut self, was: &Onchain) {
        let Some(q) = &mut self.row.onchain.quarantine else { return };
        if self.row.status != Status::Closed {
            self.row.status = Status::Disputed;
        }
        match &was.quarantine {
            Some(old) if old.started_at == q.started_at && old.their.seqno == q.their.seqno && old.challenged == q.challenged => {
                q.their_base = old.their_base;
                if old.their.conditionals != q.their.conditionals {
                    let done = std::mem::take(&mut self.row.settling);
                    self.row.settled.extend(done);
                }
            }
            _ => {
                self.row.settled.clear();
                self.row.settling.clear();
            }
        }
    }

    /// One of our signatures on the chain over a body that we do not have means that this database is not the newest (design 4.10).
    fn check_own_signature(&self, state: &SignedState, out: &mut Step) {
        let body = &state.state.body;
        let ours = ed25519_dalek::VerifyingKey::from_bytes(&self.our_key()).is_ok_and(|key| state.verify(&key));
        // Below the pending seqno memory has only one of two bodies: the void one was ours as well.
        let unknown = body.seqno > self.row.our.seqno && !self.is_known_body(body);
        if ours && unknown {
            self.alarm(Alarm::ForeignSignature { seqno: body.seqno }, out);
        }
    }

    // ---- what to do about it

    fn times(&self, q: &Quarantined) -> (u64, u64) {
        let quarantine_end = q.started_at + u64::from(self.row.config.closing.quarantine_duration);
        (quarantine_end, quarantine_end + u64::from(self.row.config.closing.conditional_close_duration))
    }

    pub(super) fn dispute_wake(&self) -> Option<u64> {
        let q = self.row.onchain.quarantine.as_ref()?;
        let (quarantine_end, finish) = self.times(q);
        let next = [quarantine_end + MARGIN_S, finish + MARGIN_S].into_iter().map(|s| s * 1000);
        next.into_iter().find(|at| *at > self.dispute_seen)
    }

    pub(super) fn drive_dispute(&mut self, env: &Env<'_>, out: &mut Step) {
        self.dispute_seen = env.now;
        if self.row.status != Status::Disputed || !self.row.onchain.inited {
            return;
        }
        let Some((kind, message)) = self.wanted_order(env, out) else { return };
        let id = format!("{kind}:{}:{}", hex::encode(self.row.address), self.row.order_round);
        if self.row.ordered.as_ref() != Some(&id) {
            self.row.ordered = Some(id.clone());
            self.dirty = true;
            out.writes.push(Write::Order(Box::new(Order { id, message })));
        }
    }

    /// The next message that the contract should get from us, with a name that is the same until it has worked.
    fn wanted_order(&mut self, env: &Env<'_>, out: &mut Step) -> Option<(String, OrderMessage)> {
        let their = self.row.their_signed;
        let Some(q) = self.row.onchain.quarantine.clone() else {
            self.row.force.as_ref()?;
            let our = self.state_with(self.highest_signed());
            return Some((format!("start:{}", our.body.seqno), OrderMessage::Start { our, their: their? }));
        };
        let (quarantine_end, finish) = self.times(&q);
        let now = env.seconds();
        if now < quarantine_end {
            let their = their.filter(|_| !q.by_us && !q.challenged)?;
            let our = self.state_with(self.highest_signed());
            return self
                .challenge_pays(&q, out)?
                .then(|| (format!("challenge:{}", q.started_at), OrderMessage::Challenge { our, their }));
        }
        if now >= finish + MARGIN_S {
            return Some((format!("finish:{}", q.started_at), OrderMessage::Finish));
        }
        if now >= quarantine_end + MARGIN_S && now < finish {
            let to_sign = self.next_settlement(env, &q, out)?;
            let name = format!("settle:{}:{}", q.started_at, hex::encode(&q.their.conditionals[..8]));
            return Some((name, OrderMessage::Settle(Box::new(to_sign))));
        }
        None
    }

    /// Whether putting the peer's newest state in place of the quarantined one brings us more: what it sent, what its conditions will pay,
    /// and the fine when the one in quarantine was stale (payments 10.1.7). `None` while the quarantined dictionary is not loaded.
    fn challenge_pays(&mut self, q: &Quarantined, out: &mut Step) -> Option<bool> {
        if q.their == self.row.their {
            return Some(false);
        }
        let newest = self.row.their.sent + self.claims().map(|leg| leg.due()).sum::<u128>();
        let (dictionary, resolutions) = self.quarantined_dictionary(q, out)?;
        let claimable: u128 = dictionary.iter().filter_map(|c| resolutions.get(&c.index()).map(|r| r.amount + c.fee)).sum();
        let stale = self.row.their.seqno > q.their.seqno || self.row.their.sent > q.their.sent;
        let fine = if stale { self.row.config.closing.misbehavior_fine } else { 0 };
        Some(newest + fine > q.their.sent + claimable)
    }

    /// The dictionary that a quarantine began with, and the resolutions that we hold for it; asks for it when it is not in memory. Of a body
    /// that we never stored (one that we refused, or one made for the dispute) nothing can be proved, so it is as good as empty.
    fn quarantined_dictionary(&mut self, q: &Quarantined, out: &mut Step) -> Option<(Conditionals, BTreeMap<u32, Resolution>)> {
        if q.their_base == self.theirs.root_hash() {
            let resolutions = self.claims().filter_map(|leg| Some((leg.condition.index(), leg.resolution?))).collect();
            return Some((self.theirs.clone(), resolutions));
        }
        if let Some((seqno, dictionary, resolutions)) = &self.dispute.loaded
            && *seqno == q.their.seqno
        {
            let stored = dictionary.root_hash() == q.their_base;
            return Some(if stored { (dictionary.clone(), resolutions.clone()) } else { Default::default() });
        }
        if self.dispute.asked != Some(q.their.seqno) {
            self.dispute.asked = Some(q.their.seqno);
            out.effects.push(Effect::LoadDictionary { seqno: q.their.seqno });
        }
        None
    }

    /// The next batch of conditions to settle: only such as will not throw and bring something, for one that throws voids the whole message
    /// (payments 10.1.5).
    fn next_settlement(&mut self, env: &Env<'_>, q: &Quarantined, out: &mut Step) -> Option<SettleToSign> {
        let (dictionary, resolutions) = self.quarantined_dictionary(q, out)?;
        let done: Vec<u32> = self.row.settled.clone();
        let (_, finish) = self.times(q);
        let pays = |index: &u32, r: &Resolution| {
            dictionary.get(*index).is_some_and(|c| {
                u64::from(c.deadline) >= env.seconds().min(finish)
                    && r.amount <= c.capacity
                    && c.prepay <= r.amount
                    && r.amount + c.fee > c.prepay
            })
        };
        let batch: BTreeMap<u32, Resolution> =
            resolutions.into_iter().filter(|(index, r)| !done.contains(index) && pays(index, r)).take(SETTLE_BATCH).collect();
        if batch.is_empty() {
            return None;
        }
        let mut settlement = Settlement::new(&dictionary);
        settlement.settle(&done).ok()?;
        let indices: Vec<u32> = batch.keys().copied().collect();
        let proof = settlement.proof(&indices).ok()??;
        let resolutions = resolutions_cell(batch);
        if self.row.settling.is_empty() {
            self.row.settling = indices;
            self.dirty = true;
        }
        Some(SettleToSign { channel_id: self.row.config.channel_id, resolutions, proof })
    }
}
