//! Closing together with the peer (payments 4.7, 7.6.2).
//!
//! Once our signature of a close is out, the peer may bring it to the chain at any time: from then on nothing else is agreed on the channel.

use contract::{CloseToSign, Message, Pair, ToSign};
use ton::Cell;
use wire::conditionals::Conditionals;

use super::{CallKind, Channel, Status, lock::refuse};
use crate::{
    Answer, CallFailed,
    step::{Effect, Env, Order, OrderMessage, Outgoing, ReplyId, Response, Step, Write},
};

/// First pause between requests for the peer's signature; doubles up to [`ASK_MAX_MS`].
const ASK_MS: u64 = 1_000;
const ASK_MAX_MS: u64 = 60_000;

/// The request for the peer's signature, while the process lives.
#[derive(Debug, Default)]
pub(super) struct Volatile {
    at: u64,
    asked: u32,
    asking: bool,
    /// The peer's signature is in an order.
    ordered: bool,
}

impl Channel {
    /// Whether changes of existing conditions are still agreed.
    pub(super) fn accepts(&self) -> bool {
        match self.row.status {
            Status::Active => true,
            Status::Closing => self.row.close.is_none(),
            Status::Disputed | Status::Closed => false,
        }
    }

    /// A command of the operator: no new virtual channels; when the present ones are gone, the channel is closed.
    pub(super) fn begin_close(&mut self, env: &Env<'_>) {
        self.close.at = env.now;
        self.row.close_wanted = true;
        self.dirty = true;
        self.wanted_close_begins();
    }

    /// A contract that does not exist cannot be closed, and a deposit may be on its way: the close waits until it is there.
    pub(super) fn wanted_close_begins(&mut self) {
        if self.row.close_wanted && self.row.status == Status::Active && self.row.onchain.inited {
            self.row.status = Status::Closing;
            self.dirty = true;
        }
    }

    pub(super) fn close_wake(&self) -> Option<u64> {
        let waits = self.row.close.is_some() || self.commit_is_in_the_way();
        (self.row.status == Status::Closing && self.row.close_wanted && !self.close.asking && !self.close.ordered && waits)
            .then_some(self.close.at.max(1))
    }

    pub(super) fn drive_close(&mut self, env: &Env<'_>, out: &mut Step) {
        if self.row.status != Status::Closing || !self.row.close_wanted || self.close.asking || self.close.ordered {
            return;
        }
        if self.commit_is_in_the_way() && env.now >= self.close.at {
            self.close.at = env.now + ASK_MS;
            self.want_increment(true);
        }
        if self.row.close.is_none() && self.settled(env) && self.is_ready() && !self.row.suspended {
            self.row.close = Some(self.close_to_sign());
            self.dirty = true;
            self.close_instead(out);
            self.close.at = env.now;
        }
        if let Some(to_sign) = self.row.close.clone()
            && env.now >= self.close.at
        {
            self.close.asking = true;
            self.call(CallKind::Close, Outgoing::RequestClose(to_sign), out);
        }
    }

    /// Whether we may ask for a close: nothing is under way, and nothing can be claimed.
    fn settled(&self, env: &Env<'_>) -> bool {
        self.row.pending.is_none()
            && self.flight.is_none()
            && self.row.increment.is_none()
            && self.is_beyond(self.row.asked_commit)
            && self.nothing_claimable(env)
    }

    /// A commit with the seqnos that a close would have may be on its way to the contract: only after an exchange of states can both land.
    fn commit_is_in_the_way(&self) -> bool {
        self.row.close.is_none()
            && !(self.is_beyond(self.row.asked_commit) && self.is_beyond(self.row.signed_commit))
            && self.row.pending.is_none()
            && self.flight.is_none()
            && self.row.increment.is_none()
    }

    /// No condition that can still be claimed, nothing promised to the chain or on its way there. A proposal of ours may be pending: the peer that asks for a
    /// close has signed it and agrees to nothing any more, so there will be no other end of it. The close pays by the agreed states, and the
    /// contract's end makes the proposal void.
    fn nothing_claimable(&self, env: &Env<'_>) -> bool {
        let dead = |c: &Conditionals| c.iter().all(|c| u64::from(c.deadline) < env.seconds());
        self.row.deploys.is_empty()
            && dead(&self.ours)
            && dead(&self.theirs)
            && self.row.withdrawal.as_ref().is_none_or(|w| w.peer_signature.is_none())
            && self.is_beyond(self.row.signed_commit)
    }

    /// Both seqnos one above the current ones (payments 7.7).
    pub(super) fn close_to_sign(&self) -> CloseToSign {
        let (a, b) = if self.row.left { (&self.row.our, &self.row.their) } else { (&self.row.their, &self.row.our) };
        CloseToSign {
            channel_id: self.row.config.channel_id,
            sent: Pair { a: a.sent, b: b.sent },
            seqnos: Pair { a: a.seqno + 1, b: b.seqno + 1 },
        }
    }

    pub(super) fn on_close_answer(&mut self, env: &Env<'_>, answer: Result<Answer, CallFailed>, out: &mut Step) {
        self.close.asking = false;
        self.close.at = env.now + (ASK_MS << self.close.asked.min(6)).min(ASK_MAX_MS);
        self.close.asked = self.close.asked.saturating_add(1);
        let Some(to_sign) = self.row.close.clone() else { return };
        let Ok(Answer::Decision { agreed: true, signature: Some(peer_signature), .. }) = answer else { return };
        if to_sign.verify(&self.row.peer, &peer_signature) {
            self.order_close(to_sign, peer_signature, out);
        }
    }

    fn order_close(&mut self, to_sign: CloseToSign, peer_signature: [u8; 64], out: &mut Step) {
        self.close.ordered = true;
        let id = format!("close:{}:{}:{}", hex::encode(self.row.address), to_sign.seqnos.a, self.row.order_round);
        self.row.ordered = Some(id.clone());
        self.dirty = true;
        out.writes
            .push(Write::Order(Box::new(Order { id, message: OrderMessage::CooperativeClose { to_sign, peer_signature } })));
    }

    /// The close that was signed is void.
    pub(super) fn close_again(&mut self) {
        self.close = Volatile::default();
    }

    /// A close transaction failed: ask again, with an order of its own.
    pub(super) fn close_order_failed(&mut self) {
        self.close.ordered = false;
    }

    /// The peer's signature of the two.
    pub(super) fn peers_of<'a>(&self, signatures: &'a Pair<[u8; 64]>) -> &'a [u8; 64] {
        if self.row.left { &signatures.b } else { &signatures.a }
    }

    /// Ours first.
    pub(super) fn pair_of<T: Copy>(&self, pair: &Pair<T>) -> [T; 2] {
        if self.row.left { [pair.a, pair.b] } else { [pair.b, pair.a] }
    }

    pub(super) fn on_close_request(&mut self, env: &Env<'_>, reply: ReplyId, request: &Cell, out: &mut Step) {
        match self.check_close(env, request) {
            Err(reason) => refuse(reply, reason, out),
            Ok(to_sign) => {
                // Evidence for a proposal that was pending moves the seqnos on: then it is another close of the same sums.
                if self.row.close.as_ref() != Some(&to_sign) {
                    self.row.status = Status::Closing;
                    self.row.close = Some(to_sign.clone());
                    self.dirty = true;
                    self.close_instead(out);
                }
                out.effects.push(Effect::Reply { reply, answer: Response::SignClose(to_sign) });
            }
        }
    }

    fn check_close(&self, env: &Env<'_>, request: &Cell) -> Result<CloseToSign, &'static str> {
        if !matches!(self.row.status, Status::Active | Status::Closing) {
            return Err("channel is not active");
        }
        if !self.nothing_claimable(env) {
            return Err("something is still open on the channel");
        }
        let Ok(Message::CooperativeClose { signatures, part: to_sign }) = Message::parse(request.as_ref()) else {
            return Err("malformed close request");
        };
        if to_sign != self.close_to_sign() {
            return Err("close request differs from the current states");
        }
        if !to_sign.verify(&self.row.peer, self.peers_of(&signatures)) {
            return Err("wrong signature of the close request");
        }
        Ok(to_sign)
    }
}
