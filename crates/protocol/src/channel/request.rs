//! What the peer asks us to propose or to sign (payments 4.7). No lock is needed.

use wire::{conditionals::Condition, message::Action, resolution::Resolution};

use super::{
    Channel, Status, Work,
    lock::{agree, refuse},
};
use crate::{
    Direction, Key, LegState,
    step::{Env, ReplyId, Step},
};

impl Channel {
    pub(super) fn on_request(&mut self, env: &Env<'_>, reply: ReplyId, action: Action, out: &mut Step) {
        if !self.is_ready() || self.row.suspended {
            return refuse(reply, "channel is not ready", out);
        }
        let verdict = match action {
            Action::CloseVirtual(a) => self.pay_when_asked(env, a.key, &a.state, out),
            Action::RequestRemoveVirtual(a) => self.remove_when_asked(a.key, out),
            Action::CooperativeClose(a) => return self.on_close_request(env, reply, &a.signed_close_request, out),
            Action::CooperativeCommit(a) => return self.on_commit_request(env, reply, &a.signed_commit_request, out),
            _ => Err("unexpected action"),
        };
        match verdict {
            Ok(()) => agree(reply, out),
            Err(reason) => refuse(reply, reason, out),
        }
    }

    /// closeVirtual: the payee shows a resolution of our condition.
    fn pay_when_asked(&mut self, env: &Env<'_>, key: Key, state: &ton::Cell, out: &mut Step) -> Result<(), &'static str> {
        self.must_accept()?;
        let condition = self.ours.get(Condition::index_of(&key)).filter(|c| c.key == key).ok_or("unknown virtual channel")?;
        let mut leg = self.leg(&key, Direction::Out).ok_or("unknown virtual channel")?.clone();
        let resolution = Resolution::from_cell(state.as_ref()).map_err(|_| "malformed state")?;
        if leg.resolution != Some(resolution) && !resolution.verify(&key) {
            return Err("wrong signature of the state");
        }
        if resolution.amount > condition.capacity {
            return Err("state is above the capacity");
        }
        if u64::from(condition.deadline) < env.seconds() {
            return Err("deadline has passed");
        }
        match leg.state {
            // Asked again: the proposal is on its way.
            LegState::Closing | LegState::Closed => Ok(()),
            LegState::Open => {
                leg.learn(&resolution);
                leg.state = LegState::Closing;
                self.pass_resolution_upstream(&leg, out);
                self.save_leg(leg, out);
                self.queue_work(Work::Confirm(key));
                Ok(())
            }
            _ => Err("virtual channel is being removed"),
        }
    }

    /// requestRemoveVirtual: the payee gives the condition up.
    fn remove_when_asked(&mut self, key: Key, out: &mut Step) -> Result<(), &'static str> {
        self.must_accept()?;
        let mut leg = self.leg(&key, Direction::Out).ok_or("unknown virtual channel")?.clone();
        match leg.state {
            LegState::Removing => Ok(()),
            LegState::Open => {
                leg.state = LegState::Removing;
                self.save_leg(leg, out);
                self.queue_work(Work::Remove(key));
                Ok(())
            }
            _ => Err("virtual channel is not open"),
        }
    }

    fn must_accept(&self) -> Result<(), &'static str> {
        if self.accepts() { Ok(()) } else { Err("channel is not active") }
    }

    pub(super) fn must_be_active(&self) -> Result<(), &'static str> {
        if self.row.status == Status::Active { Ok(()) } else { Err("channel is not active") }
    }
}
