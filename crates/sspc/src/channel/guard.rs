//! What happens at the chain: what became of transactions, reading the contract, and the guard's round.

use alloy_primitives::B256;

use super::{Channel, Error};
use crate::chain::{ChainError, Receipt, find, look};
use crate::params::Variant;
use crate::record::{Call, Pending};
use crate::step::{Input, OnChain, Refusal, Risk};

impl Channel {
    /// After a start: sends the transaction on its way again, and says to the peer again what it may have missed.
    ///
    /// # Errors
    /// See [`Error`].
    pub(super) async fn resume(&mut self) -> Result<(), Error> {
        if let Some(pending) = &self.record.pending {
            self.join();
            // The node may refuse what a block has already; its receipt will tell.
            let again = self.tools.chain.broadcast(&pending.transaction).await;
            if let Err(error) = again {
                tracing::debug!(%error, "a transaction was not sent again");
            }
        }
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
        let chain = self.tools.chain.clone();
        let head = chain.head().await?;
        let target = self.target();
        let newest = look(chain.as_ref(), &target, head.number).await?;
        let seen = match newest {
            OnChain::Closing(_) => newest,
            _ if self.tools.settings.confirmations == 0 => newest,
            _ => {
                let deep = head.number.saturating_sub(self.tools.settings.confirmations);
                look(chain.as_ref(), &target, deep).await?
            }
        };
        self.run([Input::Chain(seen)]).await
    }

    /// One round of the guard: reads the chain, sends again what is stuck and raises its offer, answers a stale close, finishes one whose
    /// deadline is over, takes back a deposit that was not accepted in time. Call it more often than once per period; see
    /// [`Channel::take_alarms`].
    ///
    /// # Errors
    /// See [`Error`]; call it again.
    pub async fn watch(&mut self) -> Result<(), Error> {
        if self.record.phase.is_final() && self.record.pending.is_none() {
            return Ok(());
        }
        // A transaction that the node does not take must not hide what the chain shows.
        let mut looked = Ok(());
        if self.record.pending.is_some() {
            looked = self.look_after().await;
        }
        self.sync().await?;
        if self.record.is_held_up() {
            looked = self.look_after().await;
        }
        let now = self.tools.chain.head().await?.time;
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

    /// What became of the transaction on its way; sends it again when no block has it, and raises its offer when it waits too long.
    pub(super) async fn look_after(&mut self) -> Result<(), Error> {
        let Some(pending) = self.record.pending.clone() else { return Ok(()) };
        let chain = self.tools.chain.clone();
        let number = chain.number(&pending.transaction)?;
        let hashes: Vec<B256> = pending.hashes().copied().collect();
        self.join();
        if let Some((receipt, deep)) = self.receipt_of(&hashes).await? {
            return if deep || self.record.is_held_up() { self.ended(pending, number, Some(&receipt)).await } else { Ok(()) };
        }
        if chain.is_replaced(number, &hashes, self.tools.settings.confirmations).await? {
            return self.ended(pending, number, None).await;
        }
        // As urgent as what waits behind it.
        let urgency = chain.lane().urgency(number);
        if self.record.is_raise_due(chain.head().await?.time, urgency) {
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

    /// The receipt of one of these transactions, of which at most one can have one, and whether it is deep enough.
    pub(super) async fn receipt_of(&self, hashes: &[B256]) -> Result<Option<(Receipt, bool)>, Error> {
        let chain = self.tools.chain.as_ref();
        for hash in hashes {
            if let Some(receipt) = chain.receipt(hash).await? {
                let deep = receipt.block.saturating_add(self.tools.settings.confirmations) <= chain.head().await?.number;
                return Ok(Some((receipt, deep)));
            }
        }
        Ok(None)
    }
}
