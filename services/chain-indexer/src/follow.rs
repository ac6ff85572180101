//! What became of the orders of a wallet message: the transaction that took it, its out messages, and the transactions that those caused.

use std::collections::HashSet;

use liteapi::Client;
use store::chain::{NewOrder, OrderEnd};
use ton::Cell;
use tycho_types::models::{IntAddr, Message, MsgInfo, StdAddr, Transaction};
use tycho_types::prelude::*;

use crate::scanner::Head;
use crate::{effect, lite, orders};

/// An out message of the wallet.
struct Emitted {
    cell: Cell,
    created_lt: u64,
}

/// Follows messages with the chain as it stood at a block.
pub struct Follow<'a> {
    pub client: &'a Client,
    pub head: &'a Head,
    pub wallet: &'a StdAddr,
    /// The wallet's last transaction at the block.
    pub last: (u64, HashBytes),
}

impl Follow<'_> {
    /// The transaction that took an external message of ours; `None` when there is none at or after `since`: another one has its seqno.
    pub async fn taken(&self, message: &Cell, since: u32) -> Result<Option<Transaction>, liteapi::Error> {
        let Some(body) = effect::body_of(message.as_ref()) else { return Ok(None) };
        let ours = |t: &Transaction| is_external(t) && effect::body(t).as_ref() == Some(&body);
        let found = lite::find(self.client, self.wallet, self.last, |t| t.now < since, ours).await?;
        Ok(found.map(|found| found.transaction))
    }

    /// What became of each order; `None` while its message is on its way.
    pub async fn ends(&self, taken: &Transaction, orders: &[NewOrder]) -> anyhow::Result<Vec<Option<OrderEnd>>> {
        let emitted = emitted(taken, orders)?;
        let mut bounces = HashSet::new();
        let mut ends = Vec::new();
        for (order, emitted) in orders.iter().zip(emitted) {
            ends.push(match emitted {
                Some(emitted) => self.end(order, &emitted, &mut bounces).await?,
                None => {
                    let why = effect::failure(taken).unwrap_or_else(|| "the wallet skipped it".into());
                    Some(OrderEnd::Failed(format!("not emitted: {why}")))
                }
            });
        }
        Ok(ends)
    }

    async fn end(&self, order: &NewOrder, emitted: &Emitted, bounces: &mut HashSet<u64>) -> anyhow::Result<Option<OrderEnd>> {
        let hash = *emitted.cell.repr_hash();
        let destination = StdAddr::new(order.destination.workchain, order.destination.hash.into());
        let account = self.client.account(&self.head.id, &destination).await?;
        let last = (account.last_lt, account.last_hash);
        let arrived = |t: &Transaction| t.in_msg.as_ref().is_some_and(|message| *message.repr_hash() == hash);
        let older = |t: &Transaction| t.lt < emitted.created_lt;
        if let Some(found) = lite::find(self.client, &destination, last, older, arrived).await? {
            return Ok(Some(verdict(order, &found.transaction)));
        }
        // An account that never was leaves no trace of the transaction; what comes back does.
        let mut bounce_lt = 0;
        let bounced = |t: &Transaction| {
            let back = !bounces.contains(&t.lt) && is_bounce_of(t, order, &destination);
            bounce_lt = t.lt;
            back
        };
        if order.bounce
            && account.account.is_none()
            && lite::find(self.client, self.wallet, self.last, older, bounced).await?.is_some()
        {
            bounces.insert(bounce_lt);
            return Ok(Some(OrderEnd::Failed("bounced: there is no such contract".into())));
        }
        Ok(None)
    }
}

fn verdict(order: &NewOrder, transaction: &Transaction) -> OrderEnd {
    let plain = order.body.is_none() && order.state_init.is_none();
    match effect::failure(transaction) {
        None => OrderEnd::Done,
        Some(_) if plain && effect::only_credited(transaction) => OrderEnd::Done,
        Some(reason) => OrderEnd::Failed(reason),
    }
}

fn is_external(transaction: &Transaction) -> bool {
    transaction.load_in_msg().ok().flatten().is_some_and(|message| matches!(message.info, MsgInfo::ExtIn(_)))
}

/// A bounced body is 32 one bits and the first 256 bits of what was sent.
fn is_bounce_of(transaction: &Transaction, order: &NewOrder, from: &StdAddr) -> bool {
    const QUOTED_BITS: u16 = 256;
    let Some((info, body)) = effect::internal_message(transaction) else { return false };
    let mut quoted = body;
    if !info.bounced || info.src != IntAddr::Std(from.clone()) || quoted.load_u32() != Ok(u32::MAX) {
        return false;
    }
    let sent = order.body.clone().unwrap_or_default();
    let Ok(mut sent) = sent.as_slice() else { return false };
    let bits = sent.size_bits().min(QUOTED_BITS);
    match (sent.load_prefix(bits, 0), quoted.load_prefix(bits.min(quoted.size_bits()), 0)) {
        (Ok(sent), Ok(quoted)) => sent.lex_cmp(&quoted).is_ok_and(|order| order.is_eq()),
        _ => false,
    }
}

/// The out message of each order. The wallet emits them in the order of its actions and leaves out those that it cannot send.
fn emitted(taken: &Transaction, orders: &[NewOrder]) -> anyhow::Result<Vec<Option<Emitted>>> {
    let mut out = Vec::new();
    for entry in taken.out_msgs.iter() {
        out.push(entry?.1);
    }
    let mut out = out.into_iter().peekable();
    let mut emitted = Vec::new();
    for order in orders {
        emitted.push(match out.peek().map(|cell| carries(cell, order)).transpose()?.flatten() {
            Some(created_lt) => out.next().map(|cell| Emitted { cell, created_lt }),
            None => None,
        });
    }
    anyhow::ensure!(out.next().is_none(), "the wallet sent what was not ordered");
    Ok(emitted)
}

/// When the message was made, if it is the order's.
fn carries(message: &Cell, order: &NewOrder) -> anyhow::Result<Option<u64>> {
    let parsed = message.parse::<Message<'_>>()?;
    let MsgInfo::Int(info) = &parsed.info else { return Ok(None) };
    let (transfer, _) = orders::transfer(order).map_err(anyhow::Error::msg)?;
    let same = info.dst == IntAddr::Std(transfer.to)
        && info.value.tokens.into_inner() == order.value
        && effect::body_of(message.as_ref()).as_ref() == Some(&transfer.body)
        && parsed.init == transfer.init;
    Ok(same.then_some(info.created_lt))
}
