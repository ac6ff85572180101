//! The chain as anybody can read it: over LiteAPI, every answer checked by hashes down from a masterchain block.

use std::{path::Path, time::Duration};

use anyhow::{Context as _, bail, ensure};
use liteapi::{AccountTransaction, Client, ClientOptions, ServerAddress};
use testkit::wait_for;
use tycho_types::{
    models::{ComputePhase, IntAddr, IntMsgInfo, Message, MsgInfo, OrdinaryTxInfo, StdAddr, StdAddrFormat, TxInfo},
    prelude::HashBytes,
};

/// The operation of a payout that ends a channel (payments 7.3).
const CLOSED: u32 = 0xdddc_88ba;
/// How long a transaction that a service has seen may take to be seen here.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads accounts and transactions.
pub struct Explorer {
    client: Client,
}

/// An account at a masterchain block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountView {
    /// Its balance.
    pub nano: u128,
    last_lt: u64,
    last_hash: HashBytes,
}

/// A message that carries a side's money out of the contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// The wallet, as `workchain:hex`.
    pub to: String,
    /// What arrives.
    pub nano: u128,
    /// What its forwarding cost in all: the part that this side's validators took, and the part that the receiver's take.
    pub forward_fee: u128,
}

/// The transaction that closed a channel: both payouts and everything that the chain took. All nano.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// The account's balance before.
    pub before: u128,
    /// What the message that closed it brought.
    pub value_in: u128,
    /// Rent of the account's state.
    pub storage_fee: u128,
    /// Computation.
    pub gas_fee: u128,
    /// The right side's payout, sent first (payments 7.6, close).
    pub right: Payout,
    /// The left side's: all that is left.
    pub left: Payout,
    /// The account's balance after.
    pub after: u128,
}

impl Explorer {
    /// For the lite servers of a global configuration file.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn new(global_config: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read_to_string(global_config).with_context(|| format!("cannot read {}", global_config.display()))?;
        let servers = ServerAddress::of_global_config(&text).map_err(anyhow::Error::msg)?;
        Ok(Self { client: Client::new(servers, ClientOptions::default())? })
    }

    /// An account at the newest block. Any form of address.
    ///
    /// # Errors
    /// The address is none, there is no such account, no server proves it.
    pub async fn account(&self, address: &str) -> anyhow::Result<AccountView> {
        let block = self.client.masterchain_info().await?.last;
        let seen = self.client.account(&block, &parse(address)?).await?;
        let nano = seen.account.with_context(|| format!("no account {address}"))?.balance.tokens.into_inner();
        Ok(AccountView { nano, last_lt: seen.last_lt, last_hash: seen.last_hash })
    }

    /// The transaction that closed a channel of TON: the only one since the account was seen as `before`.
    ///
    /// # Errors
    /// There is none within a time, or others too; the transaction is no closing; no server proves it.
    pub async fn closing(&self, channel: &str, before: &AccountView) -> anyhow::Result<Closing> {
        let after = wait_for("the closing", PATIENCE, async || {
            let seen = self.account(channel).await?;
            ensure!(seen.last_lt > before.last_lt, "{channel} has no new transaction");
            anyhow::Ok(seen)
        })
        .await?;
        let newest = self.client.transactions(&parse(channel)?, after.last_lt, after.last_hash, 1).await?;
        let [transaction] = &newest[..] else { bail!("{channel}: no transaction") };
        let previous = (transaction.transaction.prev_trans_lt, transaction.transaction.prev_trans_hash);
        ensure!(previous == (before.last_lt, before.last_hash), "{channel}: not only closed");
        read(transaction, before.nano, after.nano).with_context(|| format!("transaction {}", transaction.hash))
    }
}

pub(crate) fn parse(address: &str) -> anyhow::Result<StdAddr> {
    let (address, _) = StdAddr::from_str_ext(address, StdAddrFormat::any()).with_context(|| format!("address {address}"))?;
    Ok(address)
}

fn read(transaction: &AccountTransaction, before: u128, after: u128) -> anyhow::Result<Closing> {
    let raw = &transaction.transaction;
    let TxInfo::Ordinary(info) = raw.load_info()? else { bail!("is not ordinary") };
    ensure!(!info.aborted, "failed");
    let (incoming, _) = internal(&raw.in_msg.clone().context("has no message")?)?;
    let mut sent = Vec::new();
    for message in raw.out_msgs.values() {
        sent.push(internal(&message?)?);
    }
    let [(right, CLOSED), (left, CLOSED)] = &sent[..] else { bail!("does not pay out two sides") };
    ensure!(right.fwd_fee == left.fwd_fee, "the payouts are not of one size");
    // Of each message's fee a part is taken at once, the rest travels with it; equal messages cost the same.
    let action = info.action_phase.as_ref().context("sends nothing")?;
    let forward = action.total_fwd_fees.unwrap_or_default().into_inner();
    let taken = action.total_action_fees.unwrap_or_default().into_inner();
    ensure!(forward == taken + 2 * right.fwd_fee.into_inner() && forward % 2 == 0, "the forwarding fees do not add up");
    let (storage_fee, gas_fee) = (storage_fee(&info), gas_fee(&info));
    let total = raw.total_fees.tokens.into_inner();
    ensure!(total == storage_fee + gas_fee + taken, "the fees do not add up");
    let payout = |message: &IntMsgInfo| Payout {
        to: message.dst.to_string(),
        nano: message.value.tokens.into_inner(),
        forward_fee: forward / 2,
    };
    let value_in = incoming.value.tokens.into_inner();
    Ok(Closing { before, value_in, storage_fee, gas_fee, right: payout(right), left: payout(left), after })
}

/// An internal message and the operation at the begin of its body, 0 when there is none.
fn internal(cell: &tycho_types::cell::Cell) -> anyhow::Result<(IntMsgInfo, u32)> {
    let message = cell.parse::<Message<'_>>()?;
    let MsgInfo::Int(info) = message.info else { bail!("an external message") };
    ensure!(matches!(info.dst, IntAddr::Std(_)), "an address with variable length");
    let mut body = message.body;
    Ok((info, body.load_u32().unwrap_or_default()))
}

fn storage_fee(info: &OrdinaryTxInfo) -> u128 {
    let rent = info.storage_phase.as_ref().map_or(0, |phase| phase.storage_fees_collected.into_inner());
    let due = info.credit_phase.as_ref().and_then(|phase| phase.due_fees_collected);
    rent + due.map_or(0, |due| due.into_inner())
}

fn gas_fee(info: &OrdinaryTxInfo) -> u128 {
    match &info.compute_phase {
        ComputePhase::Executed(phase) => phase.gas_fees.into_inner(),
        ComputePhase::Skipped(_) => 0,
    }
}
