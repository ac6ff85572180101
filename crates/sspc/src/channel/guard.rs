//! What happens at the chain: what became of transactions, reading the contract, and the guard's round.

use std::sync::Arc;

use alloy_primitives::B256;

use super::{Channel, Error};
use crate::chain::{Chain, ChainError, Receipt, Target, find, look};
use crate::params::Variant;
use crate::record::{Call, Pending, Phase};
use crate::step::{Input, OnChain, Refusal, Risk};

impl Channel {
    /// After a start: takes its place in the account's line, and has ready what the peer may have missed. Asks the node nothing: the next look
    /// sends again what is on its way.
    pub(super) async fn resume(&mut self) -> Result<(), Error> {
        self.join();
        self.run([Input::Resend]).await
    }

    /// A stream to the peer is new, or the peer may have missed something: says what we have, and again what it has not acknowledged.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn greet(&mut self) -> Result<(), Error> {
        self.outbox.clear();
        self.say(self.record.acknowledgement());
        self.run([Input::Resend]).await
    }

    /// Reads the contract: what is deep enough counts; a forced close counts at once, since time runs.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn sync(&mut self) -> Result<(), Error> {
        let (seen, _) = self.lookout().read().await?;
        self.run([Input::Chain(seen)]).await
    }

    /// One round of the guard: reads the chain, sends again what is stuck and raises its offer, answers a stale close, finishes one whose
    /// deadline is over, takes back a deposit that was not accepted in time. Call it more often than once per period; see
    /// [`Channel::take_alarms`].
    ///
    /// # Errors
    /// See [`Error`]; call it again.
    pub async fn watch(&mut self) -> Result<(), Error> {
        let view = self.lookout().look().await?;
        self.act_on(view).await
    }

    /// What a round of the guard has to read, to be read while the channel is free for others: [`Lookout::look`], then [`Channel::act_on`].
    /// [`Channel::watch`] does both.
    #[must_use]
    pub fn lookout(&self) -> Lookout {
        let (chain, confirmations) = (self.tools.chain.clone(), self.tools.settings.confirmations);
        Lookout { chain, confirmations, target: self.target(), phase: self.record.phase, pending: self.record.pending.clone() }
    }

    /// Does what follows from what was read; nothing when the channel has gone on meanwhile: look again.
    ///
    /// # Errors
    /// See [`Error`]; look again.
    pub async fn act_on(&mut self, view: View) -> Result<(), Error> {
        let Some((seen, now)) = view.seen else { return Ok(()) };
        if self.record.phase != view.phase || self.record.pending != view.pending {
            return Ok(());
        }
        // A transaction that the node does not take must not hide what the chain shows.
        let mut looked = match view.fate {
            Some(Ok(fate)) => self.settle(fate, now).await,
            Some(Err(error)) => Err(error),
            None => Ok(()),
        };
        self.run([Input::Chain(seen)]).await?;
        if self.record.is_held_up() {
            looked = self.look_after().await;
        }
        // Before anything that can fail.
        self.alarms.extend(self.record.risk(now));
        if let Some(due) = self.record.due(now) {
            self.transact(due).await?;
        }
        looked
    }

    /// The transaction on its way has its place in the account's line, and says how urgent it is.
    pub(super) fn join(&self) {
        let Some(pending) = &self.record.pending else { return };
        if let Ok(number) = self.tools.chain.number(&pending.transaction) {
            self.tools.chain.lane().join(number, self.record.urgency(&pending.call));
        }
    }

    /// See [`Self::settle`].
    pub(super) async fn look_after(&mut self) -> Result<(), Error> {
        let lookout = self.lookout();
        let Some(pending) = &lookout.pending else { return Ok(()) };
        let (fate, now) = (lookout.fate(pending).await?, lookout.chain.head().await?.time);
        self.settle(fate, now).await
    }

    /// The transaction on its way has ended; or it is sent again when no block has it, and its offer is raised when it waits too long.
    async fn settle(&mut self, fate: Fate, now: u64) -> Result<(), Error> {
        let Some(pending) = self.record.pending.clone() else { return Ok(()) };
        let chain = self.tools.chain.clone();
        let number = chain.number(&pending.transaction)?;
        self.join();
        match fate {
            Fate::Mined(receipt, deep) if deep || self.record.is_held_up() => {
                return self.ended(pending, number, Some(&receipt)).await;
            }
            Fate::Mined(..) => return Ok(()),
            Fate::Replaced => return self.ended(pending, number, None).await,
            Fate::Waits => {}
        }
        // As urgent as what waits behind it.
        let urgency = chain.lane().urgency(number);
        if self.record.is_raise_due(now, urgency) {
            match self.transact(Input::Raise(urgency)).await {
                Err(Error::Chain(ChainError::TooDear(limit)) | Error::Refused(Refusal::TooDear(limit))) => {
                    self.alarms.push(Risk::Waits(limit));
                }
                other => return other,
            }
        }
        Ok(chain.broadcast(&pending.transaction).await?)
    }

    /// Nothing is on its way any more. Learns the name that the compact contract gave.
    async fn ended(&mut self, pending: Pending, number: u64, receipt: Option<&Receipt>) -> Result<(), Error> {
        let opened = pending.call == Call::Open && self.record.place.variant == Variant::Compact;
        let name = receipt.filter(|_| opened).and_then(|receipt| find(&self.target(), &receipt.logs)).map(Input::Named);
        let named = name.is_some();
        self.run(name.into_iter().chain([Input::Dropped(pending.transaction)])).await?;
        self.tools.chain.lane().leave(number);
        if named {
            self.run([Input::Resend]).await?;
        }
        Ok(())
    }
}

/// See [`Channel::lookout`].
pub struct Lookout {
    pub(super) chain: Arc<dyn Chain>,
    confirmations: u64,
    target: Target,
    phase: Phase,
    pending: Option<Pending>,
}

/// What a look at the chain has found, and what the channel was like before it.
pub struct View {
    phase: Phase,
    pending: Option<Pending>,
    fate: Option<Result<Fate, Error>>,
    /// The channel, and the chain's time; none when there was nothing to look for.
    seen: Option<(OnChain, u64)>,
}

/// What became of a transaction.
enum Fate {
    /// No block has it, and one may.
    Waits,
    /// A block has it, which is deep enough or not.
    Mined(Receipt, bool),
    /// No block can have it.
    Replaced,
}

impl Lookout {
    /// Reads the chain.
    ///
    /// # Errors
    /// The node.
    pub async fn look(self) -> Result<View, Error> {
        if self.phase.is_final() && self.pending.is_none() {
            return Ok(View { phase: self.phase, pending: None, fate: None, seen: None });
        }
        let fate = match &self.pending {
            Some(pending) => Some(self.fate(pending).await),
            None => None,
        };
        let seen = Some(self.read().await?);
        Ok(View { phase: self.phase, pending: self.pending, fate, seen })
    }

    /// The channel as it counts, and the chain's time.
    async fn read(&self) -> Result<(OnChain, u64), Error> {
        let head = self.chain.head().await?;
        let newest = look(self.chain.as_ref(), &self.target, head.number).await?;
        let seen = match newest {
            OnChain::Closing(_) => newest,
            _ if self.confirmations == 0 => newest,
            _ => look(self.chain.as_ref(), &self.target, head.number.saturating_sub(self.confirmations)).await?,
        };
        Ok((seen, head.time))
    }

    async fn fate(&self, pending: &Pending) -> Result<Fate, Error> {
        let hashes: Vec<B256> = pending.hashes().copied().collect();
        if let Some((receipt, deep)) = self.receipt_of(&hashes).await? {
            return Ok(Fate::Mined(receipt, deep));
        }
        let number = self.chain.number(&pending.transaction)?;
        let replaced = self.chain.is_replaced(number, &hashes, self.confirmations).await?;
        Ok(if replaced { Fate::Replaced } else { Fate::Waits })
    }

    /// The receipt of one of these transactions, of which at most one can have one, and whether it is deep enough.
    pub(super) async fn receipt_of(&self, hashes: &[B256]) -> Result<Option<(Receipt, bool)>, Error> {
        for hash in hashes {
            if let Some(receipt) = self.chain.receipt(hash).await? {
                let deep = receipt.block.saturating_add(self.confirmations) <= self.chain.head().await?.number;
                return Ok(Some((receipt, deep)));
            }
        }
        Ok(None)
    }
}
