//! What takes blocks: a goal at the chain, approached in looks that do not wait. Between two looks the channel is free for others.

use alloy_primitives::{Address, B256, U256};
use tokio::time::{Instant, sleep};

use super::{Channel, Error};
use crate::amount::{Amount, Party};
use crate::chain::{Request, approve, credit, withdraw};
use crate::record::{Call, Phase, Prepared};
use crate::step::{Input, Refusal};

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
    /// The contract's call was made in this transaction.
    sent: Option<B256>,
    /// A transaction that is not kept, since it may be made twice without harm: an approval, a withdrawal.
    plain: Option<Prepared>,
    withdrawn: U256,
}

impl Errand {
    /// Nothing is done yet.
    #[must_use]
    pub fn new(goal: Goal) -> Self {
        Self { goal, sent: None, plain: None, withdrawn: U256::ZERO }
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
        if let Goal::Withdraw(to) = errand.goal {
            return self.pull(errand, to).await;
        }
        if let Some(pending) = self.record.pending.clone() {
            if serves(errand.goal, pending.call) {
                errand.sent = Some(pending.transaction.hash);
            }
            self.look_after(&pending.transaction).await?;
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
        if let Some(sent) = errand.sent {
            // It has ended and the goal is not reached.
            return match self.tools.chain.receipt(&sent).await? {
                Some(receipt) if receipt.success => Ok(false),
                Some(_) => Err(Error::Failed),
                None => Err(Error::Replaced),
            };
        }
        if !self.approved(errand).await? {
            return Ok(false);
        }
        self.submit(errand).await?;
        Ok(false)
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
            Goal::StartForceClose if errand.sent.is_some() => matches!(phase, Phase::Closing(_) | Phase::Closed(_)),
            Goal::StartForceClose => matches!(phase, Phase::Closing(_)),
            Goal::CoopClose | Goal::DisputeForceClose | Goal::FinishForceClose => matches!(phase, Phase::Closed(_)),
            Goal::Withdraw(_) => false,
        };
        let past = phase.is_final() || (goal == Goal::Accept && matches!(phase, Phase::Leaving | Phase::Closing(_)));
        if past && !there { Err(Refusal::Phase(phase.name()).into()) } else { Ok(there) }
    }

    async fn submit(&mut self, errand: &mut Errand) -> Result<(), Error> {
        let input = match errand.goal {
            Goal::Open => Input::Open,
            Goal::Accept => Input::Accept,
            Goal::Cancel => Input::Cancel,
            Goal::CoopClose => Input::CoopClose,
            Goal::StartForceClose => Input::ForceClose,
            Goal::DisputeForceClose => Input::Dispute,
            Goal::FinishForceClose => Input::Finish(self.tools.chain.head().await?.time),
            Goal::Withdraw(_) => return Ok(()),
        };
        let done = self.transact(input).await;
        // Kept even when the node did not take it: it is sent again at the next look.
        errand.sent = self.record.pending.as_ref().map(|pending| pending.transaction.hash);
        if errand.sent.is_some() { Ok(()) } else { done }
    }

    /// Whether the contract may take the deposit from the token.
    async fn approved(&mut self, errand: &mut Errand) -> Result<bool, Error> {
        let (phase, params) = (self.record.phase, self.record.params);
        let deposit = match errand.goal {
            Goal::Open => params.value_a,
            Goal::Accept if phase == Phase::Proposed && self.record.role == Party::B => params.value_b,
            _ => Amount::ZERO,
        };
        if !self.plain_ended(errand).await? {
            return Ok(false);
        }
        match approve(self.tools.chain.as_ref(), &self.target(), deposit).await? {
            // A token that approves and still allows nothing would make us pay for approvals for ever.
            Some(_) if errand.plain.is_some() => Err(Error::Failed),
            Some(request) => self.send_plain(errand, request).await.map(|()| false),
            None => Ok(true),
        }
    }

    async fn pull(&mut self, errand: &mut Errand, to: Address) -> Result<bool, Error> {
        if errand.plain.is_some() {
            return self.plain_ended(errand).await;
        }
        let (place, token) = (self.record.place, self.record.params.token);
        errand.withdrawn = credit(self.tools.chain.as_ref(), &place, token).await?;
        if errand.withdrawn.is_zero() {
            return Ok(true);
        }
        self.send_plain(errand, withdraw(&place, token, to)).await.map(|()| false)
    }

    async fn send_plain(&mut self, errand: &mut Errand, request: Request) -> Result<(), Error> {
        let chain = self.tools.chain.clone();
        let _lane = chain.lane().lock().await;
        let transaction = chain.prepare(request).await?;
        chain.broadcast(&transaction).await?;
        errand.plain = Some(transaction);
        Ok(())
    }

    /// Whether the transaction that is not kept is in a block that is deep enough, or there is none.
    async fn plain_ended(&self, errand: &Errand) -> Result<bool, Error> {
        let Some(transaction) = &errand.plain else { return Ok(true) };
        let chain = self.tools.chain.as_ref();
        if let Some(receipt) = self.deep_receipt(transaction).await? {
            return if receipt.success { Ok(true) } else { Err(Error::Failed) };
        }
        if chain.receipt(&transaction.hash).await?.is_none() {
            if chain.is_replaced(transaction, self.tools.settings.confirmations).await? {
                return Err(Error::Replaced);
            }
            chain.broadcast(transaction).await?;
        }
        Ok(false)
    }

    /// A transaction of ours: made, kept, sent.
    pub(super) async fn transact(&mut self, input: Input) -> Result<(), Error> {
        let chain = self.tools.chain.clone();
        let _lane = chain.lane().lock().await;
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
    )
}
