//! What happens at the chain: what became of transactions, reading the contract, and the guard's round.

use super::{Channel, Error, pending_call};
use crate::chain::{Receipt, find, look};
use crate::params::Variant;
use crate::record::{Call, Prepared};
use crate::step::{Input, OnChain};

impl Channel {
    /// After a start or a new stream: sends the transaction on its way again, and says to the peer again what it may have missed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn resume(&mut self) -> Result<(), Error> {
        if let Some(pending) = &self.record.pending {
            // The node may refuse what a block has already; its receipt will tell.
            let again = self.tools.chain.broadcast(&pending.transaction).await;
            if let Err(error) = again {
                tracing::debug!(%error, "a transaction was not sent again");
            }
        }
        self.outbox.clear();
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

    /// One round of the guard: reads the chain, sends again what is stuck, answers a stale close, finishes one whose deadline is over,
    /// repeats to the peer what it has not acknowledged. Call it more often than once per period; see [`Channel::take_alarms`].
    ///
    /// # Errors
    /// See [`Error`]; call it again.
    pub async fn watch(&mut self) -> Result<(), Error> {
        if self.record.phase.is_final() && self.record.pending.is_none() {
            return Ok(());
        }
        // A transaction that the node does not take must not hide what the chain shows.
        let mut looked = Ok(());
        if let Some(pending) = self.record.pending.clone() {
            looked = self.look_after(&pending.transaction).await;
        }
        self.sync().await?;
        let now = self.tools.chain.head().await?.time;
        // Before anything that can fail.
        self.alarms.extend(self.record.risk(now));
        if let Some(due) = self.record.due(now) {
            self.transact(due).await?;
        }
        looked
    }

    /// What became of a transaction on its way; sends it again when nobody knows it.
    pub(super) async fn look_after(&mut self, transaction: &Prepared) -> Result<(), Error> {
        let chain = self.tools.chain.clone();
        match self.deep_receipt(transaction).await? {
            Some(receipt) => self.mined_pending(transaction, &receipt).await,
            None if chain.receipt(&transaction.hash).await?.is_some() => Ok(()),
            None if chain.is_replaced(transaction, self.tools.settings.confirmations).await? => {
                self.run([Input::Dropped(transaction.clone())]).await
            }
            None => Ok(chain.broadcast(transaction).await?),
        }
    }

    /// The transaction on its way is in a block: learns the name that the compact contract gave.
    async fn mined_pending(&mut self, transaction: &Prepared, receipt: &Receipt) -> Result<(), Error> {
        let opened = pending_call(&self.record) == Some(Call::Open) && self.record.place.variant == Variant::Compact;
        let name = if opened { find(&self.target(), &receipt.logs).map(Input::Named) } else { None };
        let named = name.is_some();
        self.run(name.into_iter().chain([Input::Dropped(transaction.clone())])).await?;
        if named {
            self.run([Input::Resend]).await?;
        }
        Ok(())
    }

    pub(super) async fn deep_receipt(&self, transaction: &Prepared) -> Result<Option<Receipt>, Error> {
        let chain = self.tools.chain.as_ref();
        let Some(receipt) = chain.receipt(&transaction.hash).await? else { return Ok(None) };
        let deep = receipt.block.saturating_add(self.tools.settings.confirmations) <= chain.head().await?.number;
        Ok(deep.then_some(receipt))
    }
}
