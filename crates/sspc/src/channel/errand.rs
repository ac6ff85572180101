//! What takes blocks: a goal at the chain, approached in looks that do not wait. Between two looks the channel is free for others.

use alloy_primitives::{Address, B256, U256};
use tokio::time::{Instant, sleep};

use super::{Channel, Error};
use crate::amount::{Amount, Party};
use crate::chain::{approval, credit};
use crate::record::{Call, Phase};
use crate::step::{Input, Refusal};

/// Approvals in one errand: down to nothing, and up to the deposit.
const MAX_APPROVALS: u8 = 2;

/// What is wanted of the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Goal {
    /// [`Channel::open`].
    Open,
    /// [`Channel::accept`].
    Accept,
    /// [`Channel::cancel`].
    Cancel,
    /// [`Channel::coop_close`], with the close that was received.
    CoopClose,
    /// [`Channel::start_force_close`].
    StartForceClose,
    /// [`Channel::dispute_force_close`].
    DisputeForceClose,
    /// [`Channel::finish_force_close`].
    FinishForceClose,
    /// [`Channel::withdraw`], to an address.
    Withdraw(Address),
}

/// A goal, and what was done for it so far. Dropped at any time without harm: what counts is kept in the record.
#[derive(Clone, Debug)]
pub struct Errand {
    goal: Goal,
    /// The call was made in one of these transactions.
    sent: Vec<B256>,
    /// Approvals that were asked for.
    approvals: u8,
    withdrawn: U256,
}

impl Errand {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(goal: Goal) -> Self {
        Self { goal, sent: Vec::new(), approvals: 0, withdrawn: U256::ZERO }
    }

    /// What a withdrawal that has ended pulled.
    #[must_use]
    pub fn withdrawn(&self) -> U256 {
        self.withdrawn
    }
}

impl Channel {
    /// One look at the chain, and the next step towards a goal if there is one to make; whether the goal is reached. Never waits for a block:
    /// call it again, [`super::Settings::poll`] later. The goals' own calls do that, and hold the channel meanwhile.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn advance(&mut self, errand: &mut Errand) -> Result<bool, Error> {
        if self.record.pending.is_some() {
            self.note(errand);
            self.look_after().await?;
            // It may have been raised.
            self.note(errand);
            if self.record.pending.is_some() {
                return Ok(false);
            }
        }
        self.sync().await?;
        if self.reached(errand)? {
            if errand.goal == Goal::Open {
                // Tells the peer the name.
                self.run([Input::Resend]).await?;
            }
            return Ok(true);
        }
        if !errand.sent.is_empty() {
            // It has ended.
            return match self.lookout().receipt_of(&errand.sent).await? {
                Some((receipt, _)) if receipt.success => Ok(matches!(errand.goal, Goal::Withdraw(_))),
                Some(_) => Err(Error::Failed),
                // Raised meanwhile by a guard: what is still owed will tell.
                None if matches!(errand.goal, Goal::Withdraw(_)) => {
                    errand.sent.clear();
                    Ok(false)
                }
                None => Err(Error::Replaced),
            };
        }
        if !self.approved(errand).await? {
            return Ok(false);
        }
        self.submit(errand).await
    }

    /// Which transactions make the goal's call.
    fn note(&self, errand: &mut Errand) {
        if let Some(pending) = self.record.pending.as_ref().filter(|pending| serves(errand.goal, pending.call)) {
            errand.sent = pending.hashes().copied().collect();
        }
    }

    /// Looks until the goal is reached.
    pub(super) async fn reach(&mut self, goal: Goal) -> Result<Errand, Error> {
        let mut errand = Errand::new(goal);
        let until = Instant::now() + self.tools.settings.patience;
        while !self.advance(&mut errand).await? {
            if Instant::now() >= until {
                return Err(Error::Timeout);
            }
            sleep(self.tools.settings.poll).await;
        }
        Ok(errand)
    }

    fn reached(&self, errand: &Errand) -> Result<bool, Error> {
        let (goal, phase, role) = (errand.goal, self.record.phase, self.record.role);
        let there = match goal {
            Goal::Open if phase == Phase::Draft && role != Party::A => return Err(Refusal::Role(role).into()),
            Goal::Open => phase != Phase::Draft,
            Goal::Accept => phase == Phase::Open,
            Goal::Cancel => phase == Phase::Cancelled,
            // The peer may have answered it before we looked.
            Goal::StartForceClose if !errand.sent.is_empty() => matches!(phase, Phase::Closing(_) | Phase::Closed(_)),
            Goal::StartForceClose => matches!(phase, Phase::Closing(_)),
            Goal::CoopClose | Goal::DisputeForceClose | Goal::FinishForceClose => matches!(phase, Phase::Closed(_)),
            Goal::Withdraw(_) => return Ok(false),
        };
        let past = phase.is_final() || (goal == Goal::Accept && matches!(phase, Phase::Leaving | Phase::Closing(_)));
        if past && !there { Err(Refusal::Phase(phase.name()).into()) } else { Ok(there) }
    }

    /// Makes the call; whether there is none to make, since the goal is reached.
    async fn submit(&mut self, errand: &mut Errand) -> Result<bool, Error> {
        let now = self.tools.chain.head().await?.time;
        let input = match errand.goal {
            Goal::Open => Input::Open(now),
            Goal::Accept => Input::Accept(now),
            Goal::Cancel => Input::Cancel,
            Goal::CoopClose => Input::CoopClose,
            Goal::StartForceClose => Input::ForceClose,
            Goal::DisputeForceClose => Input::Dispute,
            Goal::FinishForceClose => Input::Finish(now),
            Goal::Withdraw(to) => {
                let (place, token) = (self.record.place, self.record.params.token);
                let owed = credit(self.tools.chain.as_ref(), &place, token).await?;
                if owed.is_zero() {
                    return Ok(true);
                }
                errand.withdrawn = owed;
                Input::Withdraw(to)
            }
        };
        let done = self.transact(input).await;
        // Kept even when the node did not take it: it is sent again at the next look.
        self.note(errand);
        if errand.sent.is_empty() { done.map(|()| false) } else { Ok(false) }
    }

    /// Whether the contract may take the deposit from the token.
    async fn approved(&mut self, errand: &mut Errand) -> Result<bool, Error> {
        let (phase, params) = (self.record.phase, self.record.params);
        let deposit = match errand.goal {
            Goal::Open => params.value_a,
            Goal::Accept if phase == Phase::Proposed && self.record.role == Party::B => params.value_b,
            _ => Amount::ZERO,
        };
        match approval(self.tools.chain.as_ref(), &self.target(), deposit).await? {
            // A token that approves and still allows nothing would make us pay for approvals for ever.
            Some(_) if errand.approvals >= MAX_APPROVALS => Err(Error::Failed),
            Some(amount) => {
                errand.approvals += 1;
                self.transact(Input::Approve(amount)).await.map(|()| false)
            }
            None => Ok(true),
        }
    }

    /// A transaction of ours: made, kept, sent.
    pub(super) async fn transact(&mut self, input: Input) -> Result<(), Error> {
        let chain = self.tools.chain.clone();
        let _turn = chain.lane().turn().await;
        self.run([input]).await
    }
}

fn serves(goal: Goal, call: Call) -> bool {
    matches!(
        (goal, call),
        (Goal::Open, Call::Open)
            | (Goal::Accept, Call::Accept)
            | (Goal::Cancel, Call::Cancel)
            | (Goal::CoopClose, Call::CooperativeClose(_))
            | (Goal::StartForceClose, Call::Challenge(_))
            | (Goal::DisputeForceClose, Call::Dispute(_))
            | (Goal::FinishForceClose, Call::Finish)
    ) || matches!((goal, call), (Goal::Withdraw(to), Call::Withdraw(other)) if to == other)
}
