//! Withdrawing together with the peer: a cooperative commit that both sign (payments 4.7, 6.1 to 6.3, 7.6.1).
//!
//! Once the commit is on the chain, states below its seqnos are worth nothing there, and a peer that falls silent would leave us with none
//! (payments 10.1.6). So states of its seqnos are exchanged before we bring it there. The peer could bring it there at once: only a peer
//! that may be waited for is asked, or answered, at all; both are the operator's decision.

use contract::{CommitToSign, Message, Pair, ToSign};
use ton::Cell;

use super::{CallKind, Channel, Status, Withdrawal, lock::refuse};
use crate::{
    Answer, CallFailed,
    step::{Change, Effect, Env, Order, OrderMessage, Outgoing, ReplyId, RequestResult, Response, Side, Step, Write},
};

/// First pause between requests for the peer's signature; doubles up to [`ASK_MAX_MS`].
const ASK_MS: u64 = 1_000;
const ASK_MAX_MS: u64 = 60_000;
/// A refusal may be a matter of the moment (a proposal under way); so many in a row are an answer.
const REFUSALS: u32 = 4;

/// The request for the peer's signature, while the process lives.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    at: u64,
    asked: u32,
    refused: u32,
    asking: bool,
}

impl Volatile {
    /// The peer compares the request with the current states: nothing is proposed while it does.
    pub(super) fn is_asking(&self) -> bool {
        self.asking
    }
}

impl Channel {
    /// A command of the operator.
    pub(super) fn begin_withdraw(&mut self, env: &Env<'_>, request_id: String, amount: u128, out: &mut Step) {
        if let Err(reason) = self.may_withdraw(amount) {
            let result = RequestResult::Failed { reason: reason.into() };
            return out.writes.push(Write::Result { request_id, result });
        }
        // What is promised to the chain is not promised to the peer (payments 6.3).
        self.row.pending_withdraw[0] = self.withdrawal_target(Side::Our) + amount;
        self.row.withdrawal = Some(Withdrawal { request_id, amount, asked: None, peer_signature: None, order: None, tries: 0 });
        self.withdraw = Volatile { at: env.now, ..Volatile::default() };
        self.dirty = true;
    }

    fn may_withdraw(&self, amount: u128) -> Result<(), &'static str> {
        self.must_be_active()?;
        if !self.row.onchain.inited || !self.is_ready() || self.row.suspended || self.row.close_wanted {
            return Err("channel is not ready");
        }
        if self.row.withdrawal.is_some() {
            return Err("another withdrawal is under way");
        }
        if amount == 0 {
            return Err("amount must be positive");
        }
        // The peer may have agreed to the pending proposal already.
        let promised = match self.row.pending.as_ref().map(|p| &p.first.change) {
            Some(Change::Insert(condition)) => condition.locked(),
            _ => 0,
        };
        if self.available(Side::Our) < super::signed(amount) + super::signed(promised) {
            return Err("not enough balance");
        }
        Ok(())
    }

    /// All that a side ever withdrew or was promised that it may.
    fn withdrawal_target(&self, side: Side) -> u128 {
        let i = side as usize;
        self.row.pending_withdraw[i].max(self.row.onchain.withdrawn[i])
    }

    pub(super) fn withdraw_wake(&self) -> Option<u64> {
        self.may_ask().then_some(self.withdraw.at.max(1))
    }

    /// Whether the peer's signature is wanted, and nothing is under way that would change what it compares the request with.
    fn may_ask(&self) -> bool {
        self.row.withdrawal.as_ref().is_some_and(|w| w.peer_signature.is_none())
            && self.may_propose()
            && !self.withdraw.asking
            && self.row.pending.is_none()
            && self.flight.is_none()
            && self.row.increment.is_none()
            && self.lock.is_free()
    }

    pub(super) fn drive_withdraw(&mut self, env: &Env<'_>, out: &mut Step) {
        if !self.may_propose() {
            return;
        }
        match self.row.withdrawal.clone() {
            Some(Withdrawal { peer_signature: None, .. }) if self.may_ask() && env.now >= self.withdraw.at => {
                self.ask_for_commit(out);
            }
            Some(Withdrawal { asked: Some(to_sign), peer_signature: Some(signature), order: None, tries, .. })
                if self.can_start(self.pair_of(&to_sign.seqnos)) =>
            {
                let seqno = to_sign.seqnos.a;
                let id = format!("withdraw:{}:{seqno}:{tries}", hex::encode(self.row.address));
                if let Some(withdrawal) = &mut self.row.withdrawal {
                    withdrawal.order = Some(id.clone());
                    self.dirty = true;
                }
                let message = OrderMessage::CooperativeCommit { to_sign, peer_signature: signature };
                out.writes.push(Write::Order(Box::new(Order { id, message })));
            }
            _ => {}
        }
    }

    fn ask_for_commit(&mut self, out: &mut Step) {
        let to_sign = self.commit_to_sign();
        self.row.asked_commit = self.pair_of(&to_sign.seqnos);
        if let Some(withdrawal) = &mut self.row.withdrawal {
            withdrawal.asked = Some(to_sign.clone());
        }
        self.dirty = true;
        self.withdraw.asking = true;
        self.call(CallKind::Commit, Outgoing::RequestCommit(to_sign), out);
    }

    /// The current sums, both seqnos one above the current ones (payments 7.7).
    fn commit_to_sign(&self) -> CommitToSign {
        let close = self.close_to_sign();
        let [our, their] = [Side::Our, Side::Their].map(|side| self.withdrawal_target(side));
        let withdrawn = if self.row.left { Pair { a: our, b: their } } else { Pair { a: their, b: our } };
        CommitToSign { channel_id: close.channel_id, sent: close.sent, seqnos: close.seqnos, withdrawn }
    }

    pub(super) fn on_commit_answer(&mut self, env: &Env<'_>, answer: Result<Answer, CallFailed>, out: &mut Step) {
        self.withdraw.asking = false;
        let pause = (ASK_MS << self.withdraw.asked.min(6)).min(ASK_MAX_MS);
        self.withdraw.at = env.now + pause + env.random % pause;
        self.withdraw.asked = self.withdraw.asked.saturating_add(1);
        let Some(asked) = self.row.withdrawal.as_ref().and_then(|w| w.asked.clone()) else { return };
        match answer {
            Ok(Answer::Decision { agreed: true, signature: Some(signature), .. }) if asked.verify(&self.row.peer, &signature) => {
                if let Some(withdrawal) = &mut self.row.withdrawal {
                    withdrawal.peer_signature = Some(signature);
                }
                self.want_increment(true);
            }
            Ok(Answer::Decision { agreed: false, reason, .. }) => {
                self.withdraw.refused += 1;
                if self.withdraw.refused >= REFUSALS {
                    self.withdrawal_refused(&reason, out);
                }
            }
            Ok(_) | Err(_) => self.withdraw.refused = 0,
        }
    }

    /// The money is free again. Our signature is out: if the peer brings the commit to the chain one day, the contract pays us, and the
    /// states that are exchanged now can still be used.
    fn withdrawal_refused(&mut self, reason: &str, out: &mut Step) {
        self.end_withdrawal(RequestResult::Failed { reason: format!("the peer refuses: {reason}") }, out);
        self.want_increment(true);
    }

    fn end_withdrawal(&mut self, result: RequestResult, out: &mut Step) {
        let Some(withdrawal) = self.row.withdrawal.take() else { return };
        let done = self.row.onchain.withdrawn[0];
        let promised = self.row.pending_withdraw[0].saturating_sub(withdrawal.amount);
        if matches!(result, RequestResult::Failed { .. }) {
            self.row.pending_withdraw[0] = if promised > done { promised } else { 0 };
        }
        self.dirty = true;
        out.writes.push(Write::Result { request_id: withdrawal.request_id, result });
    }

    /// Whether both sides have exchanged states of a commit's seqnos: then a close of the next ones is good whether the commit lands or not.
    pub(super) fn is_beyond(&self, [our, their]: [u64; 2]) -> bool {
        self.row.our.seqno >= our && self.row.their.seqno >= their
    }

    /// A close is signed: it pays what the withdrawal would have.
    pub(super) fn close_instead(&mut self, out: &mut Step) {
        self.end_withdrawal(RequestResult::Failed { reason: "the channel is being closed".into() }, out);
    }

    /// What the chain shows of our withdrawal.
    pub(super) fn withdrawal_seen(&mut self, out: &mut Step) {
        let Some(withdrawal) = &self.row.withdrawal else { return };
        let target = withdrawal.asked.as_ref().map(|commit| self.pair_of(&commit.withdrawn)[0]);
        if target.is_some_and(|target| self.row.onchain.withdrawn[0] >= target) {
            let amount = withdrawal.amount;
            self.end_withdrawal(RequestResult::Paid { amount }, out);
        } else if self.row.status == Status::Closed {
            self.end_withdrawal(RequestResult::Failed { reason: "the channel was closed".into() }, out);
        }
    }

    /// The order failed: the commit is still good, and is brought there again.
    pub(super) fn withdraw_order_failed(&mut self, order: &str) {
        if let Some(withdrawal) = &mut self.row.withdrawal
            && withdrawal.order.as_deref() == Some(order)
        {
            withdrawal.order = None;
            withdrawal.tries += 1;
            self.dirty = true;
        }
    }

    /// cooperativeCommit: the peer executes a withdrawal. After it lands, a peer that falls silent leaves us without usable states, so the
    /// operator must have allowed it (payments 10.1.6).
    pub(super) fn on_commit_request(&mut self, env: &Env<'_>, reply: ReplyId, request: &Cell, out: &mut Step) {
        match self.check_commit(env, request) {
            Err(reason) => refuse(reply, reason, out),
            Ok(to_sign) => {
                let promised = [Side::Our, Side::Their].map(|side| self.withdrawal_target(side));
                for (i, target) in self.pair_of(&to_sign.withdrawn).into_iter().enumerate() {
                    self.row.pending_withdraw[i] = target.max(promised[i]);
                }
                self.row.signed_commit = self.pair_of(&to_sign.seqnos);
                self.dirty = true;
                out.effects.push(Effect::Reply { reply, answer: Response::SignCommit(to_sign) });
            }
        }
    }

    fn check_commit(&self, env: &Env<'_>, request: &Cell) -> Result<CommitToSign, &'static str> {
        if !env.policy.sign_commits {
            return Err("withdrawals are not signed for this peer");
        }
        self.must_be_active()?;
        if self.row.pending.is_some() {
            return Err("a proposal is pending");
        }
        let Ok(Message::CooperativeCommit { signatures, part: to_sign }) = Message::parse(request.as_ref()) else {
            return Err("malformed commit request");
        };
        let close = self.close_to_sign();
        if (to_sign.channel_id, to_sign.sent, to_sign.seqnos) != (close.channel_id, close.sent, close.seqnos) {
            return Err("commit request differs from the current states");
        }
        for (side, target) in [Side::Our, Side::Their].into_iter().zip(self.pair_of(&to_sign.withdrawn)) {
            // A peer that gave up an earlier withdrawal may ask for a smaller one; the earlier one stays promised.
            let least = if side == Side::Our { self.withdrawal_target(side) } else { self.row.onchain.withdrawn[1] };
            if target < least {
                return Err("withdrawal went down");
            }
            if self.available(side) < super::signed(target.saturating_sub(self.withdrawal_target(side))) {
                return Err("not enough balance");
            }
        }
        if !to_sign.verify(&self.row.peer, self.peers_of(&signatures)) {
            return Err("wrong signature of the commit request");
        }
        Ok(to_sign)
    }
}
