use tycho_types::models::{BouncePhase, ComputePhase, ComputePhaseSkipReason, StdAddr, Transaction, TxInfo};
use tycho_types::prelude::*;

use super::{Error, Message};

/// Fees in nano, by what they were paid for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fees {
    /// Rent of the account's state.
    pub storage: u128,
    /// Computation.
    pub gas: u128,
    /// Messages: import of an external one, forwarding of those sent (with the part that the receiver's side collects), and fines of
    /// a failed action phase.
    pub forward: u128,
}

impl Fees {
    /// All of them.
    pub fn total(&self) -> u128 {
        self.storage + self.gas + self.forward
    }
    pub(crate) fn add(&mut self, other: &Self) {
        self.storage += other.storage;
        self.gas += other.gas;
        self.forward += other.forward;
    }
}

/// How the compute phase ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compute {
    /// The VM ran.
    Executed {
        /// 0 or 1 on success.
        exit_code: i32,
        /// Gas that was charged.
        gas_used: u64,
    },
    /// The VM did not run.
    Skipped(SkipReason),
}

/// Why the VM did not run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SkipReason {
    /// The account has no code and the message no state init.
    NoState,
    /// The message's state init does not belong to the account.
    BadState,
    /// The value buys no gas.
    NoGas,
    /// The account may not run.
    Suspended,
}

/// One executed transaction.
#[derive(Debug, Clone)]
pub struct TransactionRecord {
    /// The account.
    pub address: StdAddr,
    /// Hash of [`Self::cell`].
    pub hash: HashBytes,
    /// Logical time.
    pub lt: u64,
    /// Unix time of its block.
    pub now: u32,
    /// The transaction itself.
    pub cell: Cell,
    /// The message that caused it.
    pub in_message: Message,
    /// The messages that it sent, by logical time.
    pub out_messages: Vec<Message>,
    /// How the compute phase ended.
    pub compute: Compute,
    /// Result code of the action phase, when there was one.
    pub action_code: Option<i32>,
    /// The account's state was not changed.
    pub aborted: bool,
    /// The value was sent back.
    pub bounced: bool,
    /// The account does not exist afterwards.
    pub destroyed: bool,
    /// What the account paid: `balance before + value in = balance after + values out + fees`.
    pub fees: Fees,
    /// What validators collect with it: the transaction's total fees and the incoming message's remaining forwarding fee.
    pub collected: u128,
    /// The account's balance before, nano.
    pub balance_before: u128,
    /// The account's balance after, nano.
    pub balance_after: u128,
    /// What the contract printed, when [`super::Chain::set_debug`] is on.
    pub debug: String,
}

impl TransactionRecord {
    /// The compute phase's exit code, when the VM ran.
    pub fn exit_code(&self) -> Option<i32> {
        match self.compute {
            Compute::Executed { exit_code, .. } => Some(exit_code),
            Compute::Skipped(_) => None,
        }
    }
    /// Gas charged.
    pub fn gas_used(&self) -> u64 {
        match self.compute {
            Compute::Executed { gas_used, .. } => gas_used,
            Compute::Skipped(_) => 0,
        }
    }
    /// Computed and acted without failure.
    pub fn is_success(&self) -> bool {
        !self.aborted
    }

    /// Reads a transaction between the two balances of its account, and checks that no value appeared or vanished.
    pub(super) fn new(
        address: StdAddr,
        cell: Cell,
        in_message: Message,
        (balance_before, balance_after): (u128, u128),
        burnt: u128,
        debug: String,
    ) -> Result<Self, Error> {
        let tx = cell.parse::<Transaction>()?;
        let TxInfo::Ordinary(info) = tx.load_info()? else {
            return Err(Error::Message("not an ordinary transaction"));
        };
        let out_messages = tx.out_msgs.values().map(|m| Message::parse(&m?)).collect::<Result<Vec<_>, Error>>()?;
        let compute = match &info.compute_phase {
            ComputePhase::Executed(phase) => {
                Compute::Executed { exit_code: phase.exit_code, gas_used: phase.gas_used.into_inner() }
            }
            ComputePhase::Skipped(phase) => Compute::Skipped(match phase.reason {
                ComputePhaseSkipReason::NoState => SkipReason::NoState,
                ComputePhaseSkipReason::BadState => SkipReason::BadState,
                ComputePhaseSkipReason::NoGas => SkipReason::NoGas,
                ComputePhaseSkipReason::Suspended => SkipReason::Suspended,
            }),
        };
        let storage = info.storage_phase.as_ref().map_or(0, |p| p.storage_fees_collected.into_inner())
            + info.credit_phase.as_ref().and_then(|p| p.due_fees_collected).map_or(0, |t| t.into_inner());
        let gas = match &info.compute_phase {
            ComputePhase::Executed(phase) => phase.gas_fees.into_inner(),
            ComputePhase::Skipped(_) => 0,
        };
        let sent: u128 = out_messages.iter().map(|m| m.value).sum();
        let carried: u128 = out_messages.iter().map(|m| m.forward_fee).sum();
        let collected = tx.total_fees.tokens.into_inner() + in_message.forward_fee;
        let credit = balance_before + in_message.value;
        if credit + in_message.forward_fee != balance_after + sent + carried + collected + burnt {
            return Err(Error::Unbalanced { transaction: *cell.repr_hash() });
        }
        let paid = credit - balance_after - sent - burnt;
        let forward = paid.checked_sub(storage + gas).ok_or(Error::Unbalanced { transaction: *cell.repr_hash() })?;
        Ok(Self {
            address,
            hash: *cell.repr_hash(),
            lt: tx.lt,
            now: tx.now,
            cell,
            in_message,
            out_messages,
            compute,
            action_code: info.action_phase.as_ref().map(|p| p.result_code),
            aborted: info.aborted,
            bounced: matches!(info.bounce_phase, Some(BouncePhase::Executed(_))),
            destroyed: balance_after == 0 && tx.end_status == tycho_types::models::AccountStatus::NotExists,
            fees: Fees { storage, gas, forward },
            collected,
            balance_before,
            balance_after,
            debug,
        })
    }
}

/// Where all the money of the chain is. Nothing is lost when [`Self::is_conserved`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Totals {
    /// Put into the chain from outside, nano.
    pub minted: u128,
    /// On accounts now.
    pub balances: u128,
    /// In messages that are not delivered yet.
    pub in_transit: u128,
    /// Paid by accounts for storage, gas and messages.
    pub fees: Fees,
    /// Sent to where this chain has no accounts.
    pub burnt: u128,
}

impl Totals {
    /// minted = balances + in transit + fees + burnt.
    pub fn is_conserved(&self) -> bool {
        self.minted == self.balances + self.in_transit + self.fees.total() + self.burnt
    }
}
