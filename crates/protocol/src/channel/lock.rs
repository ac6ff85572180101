//! The channel lock (payments 4.2). The left side is its master. Fairness: who holds it makes at most [`RUN`] proposals in a row while the other side
//! waits (design 5).

use super::{CallKind, Channel};
use crate::{
    Answer, BUSY, CallFailed,
    step::{Effect, Env, Outgoing, ReplyId, Response, Step},
};

/// How long a lock request may wait for our own attempt to end.
const WAIT_MS: u64 = 2_000;
/// A granted lock is a lease.
const LEASE_MS: u64 = 60_000;
/// How often the holder of a granted lock is asked whether it still holds it.
const WATCH_MS: u64 = 5_000;
/// Proposals in a row. More than one, because the lock's way to the right side and back costs as much as a proposal; few, because the left cannot see
/// when it is the right's last.
const RUN: u32 = 4;

/// The lock as this process holds it. Never persisted: whoever holds it asks again.
#[derive(Debug, Default)]
pub(super) struct Lock {
    held: Held,
    waiting: Option<Waiting>,
    /// The right side: under which id it asked for the lock, until it gives it back.
    asked: Option<i64>,
    /// Own proposals in a row: the right's under one id, the left's while the right waits.
    run: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Held {
    #[default]
    Free,
    /// An attempt of ours.
    Own,
    /// The right side has it.
    Peer { id: i64, since: u64, watch_at: u64 },
}

#[derive(Debug)]
struct Waiting {
    reply: ReplyId,
    id: i64,
    until: u64,
}

impl Lock {
    pub(super) fn next_wake(&self) -> Option<u64> {
        let held = match self.held {
            Held::Peer { since, watch_at, .. } => Some(watch_at.min(since + LEASE_MS)),
            Held::Free | Held::Own => None,
        };
        [held, self.waiting.as_ref().map(|w| w.until)].into_iter().flatten().min()
    }

    /// Whether a proposal of the peer under `id` may be handled now.
    pub(super) fn admits(&self, id: i64) -> bool {
        match self.held {
            Held::Free => true,
            Held::Own => false,
            Held::Peer { id: holder, .. } => holder == id,
        }
    }

    /// A proposal came under the granted lock: the lease starts anew.
    pub(super) fn renew(&mut self, env: &Env<'_>) {
        if let Held::Peer { since, .. } = &mut self.held {
            *since = env.now;
        }
    }

    /// Takes the lock for an attempt of ours, if nobody has it and it is our turn.
    pub(super) fn take(&mut self, env: &Env<'_>) -> bool {
        let free = self.held == Held::Free && (self.waiting.is_none() || self.is_our_turn(env));
        if free {
            self.held = Held::Own;
            self.run = if self.waiting.is_some() { self.run + 1 } else { 1 };
        }
        free
    }

    /// Whether we go first although the other side waits: not for so long that it is refused in the end, again and again.
    fn is_our_turn(&self, env: &Env<'_>) -> bool {
        (1..RUN).contains(&self.run) && self.waiting.as_ref().is_none_or(|waiting| env.now + WAIT_MS / 2 < waiting.until)
    }

    pub(super) fn is_free(&self) -> bool {
        self.held == Held::Free && self.waiting.is_none()
    }

    /// The right side asks the left for it.
    pub(super) fn ask(&mut self, id: i64) {
        self.asked = Some(id);
    }

    /// The left has refused.
    pub(super) fn refused(&mut self) {
        self.asked = None;
    }

    /// Keeps the right side's lock for one more proposal, if there may be one. It has to be made in the same step.
    pub(super) fn keep(&mut self) -> bool {
        let keeps = self.held == Held::Own && self.asked.is_some() && self.run < RUN;
        self.run += u32::from(keeps);
        keeps
    }

    /// The id under which the right side still has the lock.
    pub(super) fn kept(&self) -> Option<i64> {
        self.asked.filter(|_| self.held == Held::Own)
    }

    /// Ends our own hold. The id to tell the left, if it was asked.
    pub(super) fn release(&mut self) -> Option<i64> {
        if self.held == Held::Own {
            self.held = Held::Free;
        }
        self.asked.take()
    }

    fn grant(&mut self, id: i64, env: &Env<'_>) {
        self.run = 0;
        self.held = Held::Peer { id, since: env.now, watch_at: env.now + WATCH_MS };
    }
}

impl Channel {
    pub(super) fn on_lock(&mut self, env: &Env<'_>, reply: ReplyId, id: i64, lock: bool, out: &mut Step) {
        if id <= 0 {
            return refuse(reply, "lock id must be positive", out);
        }
        if !self.row.left {
            return refuse(reply, "this side is not the lock master", out);
        }
        if !lock {
            if matches!(self.lock.held, Held::Peer { id: holder, .. } if holder == id) {
                self.lock.held = Held::Free;
                // The other side has had its run: ours is next, even if it asks again already.
                self.lock.run = 1;
            }
            if let Some(given_up) = self.lock.waiting.take_if(|w| w.id == id) {
                refuse(given_up.reply, BUSY, out);
            }
            return agree(reply, out);
        }
        match self.lock.held {
            Held::Peer { id: holder, .. } if holder == id => agree(reply, out),
            Held::Free if self.lock.waiting.is_none() => {
                self.lock.grant(id, env);
                agree(reply, out);
            }
            // Held under another id: who asks has given that one back, and its word is on the way.
            Held::Own | Held::Peer { .. } if self.lock.waiting.is_none() => {
                self.lock.waiting = Some(Waiting { reply, id, until: env.now + WAIT_MS });
            }
            _ => refuse(reply, BUSY, out),
        }
    }

    pub(super) fn on_is_unlocked(&mut self, reply: ReplyId, id: i64, out: &mut Step) {
        // "not locked any more": an attempt under that id is not running now (design 4.6)
        let running = self.flight.is_some() && self.row.pending.as_ref().is_some_and(|p| p.lock_id == id);
        if running { refuse(reply, "still locked", out) } else { agree(reply, out) }
    }

    pub(super) fn drive_lock(&mut self, env: &Env<'_>, out: &mut Step) {
        if let Held::Peer { id, since, watch_at } = self.lock.held {
            if env.now >= since + LEASE_MS {
                self.lock.held = Held::Free;
            } else if env.now >= watch_at {
                self.lock.held = Held::Peer { id, since, watch_at: env.now + WATCH_MS };
                self.call(CallKind::Watch(id), Outgoing::IsUnlocked { id }, out);
            }
        }
    }

    /// Whether our own proposals come before the other side's request for the lock.
    pub(super) fn goes_first(&self, env: &Env<'_>) -> bool {
        self.lock.is_our_turn(env)
    }

    /// Answers a request for the lock that waits, if it can be now or has waited long enough.
    pub(super) fn serve_waiting(&mut self, env: &Env<'_>, out: &mut Step) {
        let Some(waiting) = self.lock.waiting.take() else { return };
        if self.lock.held == Held::Free {
            self.lock.grant(waiting.id, env);
            agree(waiting.reply, out);
        } else if env.now >= waiting.until {
            refuse(waiting.reply, BUSY, out);
        } else {
            self.lock.waiting = Some(waiting);
        }
    }

    pub(super) fn on_watch_answer(&mut self, id: i64, answer: Result<Answer, CallFailed>) {
        let unlocked = matches!(answer, Ok(Answer::Decision { agreed: true, .. }));
        if unlocked && matches!(self.lock.held, Held::Peer { id: holder, .. } if holder == id) {
            self.lock.held = Held::Free;
        }
    }
}

pub(super) fn agree(reply: ReplyId, out: &mut Step) {
    out.effects.push(Effect::Reply { reply, answer: Response::Decision { agreed: true, reason: String::new() } });
}

pub(super) fn refuse(reply: ReplyId, reason: &str, out: &mut Step) {
    out.effects.push(Effect::Reply { reply, answer: Response::Decision { agreed: false, reason: reason.into() } });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Policy;

    #[test]
    fn the_left_goes_first_a_few_times_and_never_so_long_that_the_right_is_refused() {
        let policy = Policy::ton();
        let at = |now| Env { now, random: 7, policy: &policy, released_elsewhere: 0, used_key: None };
        for (pause, turns) in [(1, RUN), (WAIT_MS / 4, 2), (WAIT_MS, 1)] {
            let mut lock = Lock::default();
            assert!(lock.take(&at(0)));
            lock.waiting = Some(Waiting { reply: 1, id: 9, until: WAIT_MS });
            let mut run = 1;
            loop {
                lock.release();
                if !lock.take(&at(pause * u64::from(run))) {
                    break;
                }
                run += 1;
            }
            assert_eq!(run, turns.min(RUN), "a proposal takes {pause} ms");
        }
    }
}
