//! What a transaction did. Pure functions over transactions as the chain has them.

use ton::{Cell, CellBuilder, CellSlice, DynCell};
use tycho_types::models::{ComputePhase, IntMsgInfo, Message, MsgInfo, OrdinaryTxInfo, Transaction, TxInfo};

/// Whether a transaction ran to its end and its effects stay.
pub fn succeeded(transaction: &Transaction) -> bool {
    ordinary(transaction).is_some_and(|info| !info.aborted)
}

/// Why a transaction failed, for people; `None` when it did not.
pub fn failure(transaction: &Transaction) -> Option<String> {
    let Some(info) = ordinary(transaction) else { return Some("not an ordinary transaction".into()) };
    if !info.aborted {
        return None;
    }
    let bounced = if info.bounce_phase.is_some() { ", bounced" } else { "" };
    Some(match (&info.compute_phase, &info.action_phase) {
        (ComputePhase::Skipped(skipped), _) => format!("not executed: {:?}{bounced}", skipped.reason),
        (ComputePhase::Executed(executed), _) if !executed.success => format!("exit code {}{bounced}", executed.exit_code),
        (_, Some(action)) => format!("action phase failed with {}{bounced}", action.result_code),
        (..) => format!("aborted{bounced}"),
    })
}

/// Whether the value stayed at the receiver although nothing was executed: a plain transfer to an account without code.
pub fn only_credited(transaction: &Transaction) -> bool {
    ordinary(transaction)
        .is_some_and(|info| matches!(info.compute_phase, ComputePhase::Skipped(_)) && info.bounce_phase.is_none())
}

fn ordinary(transaction: &Transaction) -> Option<OrdinaryTxInfo> {
    match transaction.load_info() {
        Ok(TxInfo::Ordinary(info)) => Some(info),
        _ => None,
    }
}

/// The internal message that caused the transaction, if one did, with its body.
pub fn internal_message(transaction: &Transaction) -> Option<(IntMsgInfo, CellSlice<'_>)> {
    let message = transaction.load_in_msg().ok()??;
    match message.info {
        MsgInfo::Int(info) => Some((info, message.body)),
        _ => None,
    }
}

/// The body of the message that caused the transaction, as a cell.
pub fn body(transaction: &Transaction) -> Option<Cell> {
    body_cell(transaction.load_in_msg().ok()??.body)
}

/// A message's body, which may be written into the message's own cell.
pub fn body_of(message: &DynCell) -> Option<Cell> {
    body_cell(message.parse::<Message<'_>>().ok()?.body)
}

fn body_cell(body: CellSlice<'_>) -> Option<Cell> {
    let mut cell = CellBuilder::new();
    cell.store_slice(body).ok()?;
    cell.build().ok()
}

/// The first 32 bits of the body of an internal message that is not a bounced one.
pub fn operation(transaction: &Transaction) -> Option<u32> {
    let (info, body) = internal_message(transaction)?;
    if info.bounced { None } else { body.get_u32(0).ok() }
}

/// The hash of the code in the state init that came with the message.
pub fn code_in_message(transaction: &Transaction) -> Option<[u8; 32]> {
    let init = transaction.load_in_msg().ok()??.init?;
    Some(init.code?.repr_hash().0)
}
