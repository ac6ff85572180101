//! Which queued orders go into the next wallet message. Pure.

use std::collections::HashSet;

use store::chain::NewOrder;
use tycho_types::models::{StateInit, StdAddr};
use wallet::Transfer;

/// Stays on the wallet, above the amounts, for fees and rent: 0.25 TON (payments 7.7).
pub const RESERVE: u128 = 250_000_000;
/// Set aside for the fees of an order, nano per byte of it: more than the main network takes.
const FEE_PER_BYTE: u128 = 10_000;
/// Orders in a message at most.
pub const MAX_ORDERS: usize = 100;
/// Bytes of the orders of a message at most: the chain takes external messages of 65535 bytes (payments 10.2.13).
const MAX_BYTES: usize = 48 * 1024;
const BASECHAIN: i8 = 0;

/// The next message.
#[derive(Debug, Default)]
pub struct Batch {
    /// What it carries, in the order of placing.
    pub orders: Vec<(String, Transfer)>,
    /// Orders that no message can carry, and why.
    pub impossible: Vec<(NewOrder, String)>,
    /// Orders that the wallet cannot pay for now, and how much more it needs for the first one, nano.
    pub unaffordable: usize,
    /// See `unaffordable`.
    pub missing: u128,
}

/// Takes orders as far as the balance and a message's size go. An order that is too dear does not hold up later ones (a challenge must not wait
/// behind a top-up), except those to a contract that it would deploy.
pub fn choose(queued: Vec<NewOrder>, balance: u128) -> Batch {
    let mut batch = Batch::default();
    let mut left = balance.saturating_sub(RESERVE);
    let mut bytes = 0;
    let mut waiting = HashSet::new();
    for order in queued {
        let (transfer, size) = match transfer(&order) {
            Ok(made) => made,
            Err(reason) => {
                batch.impossible.push((order, reason));
                continue;
            }
        };
        let cost = order.value.saturating_add(size as u128 * FEE_PER_BYTE);
        if waiting.contains(&order.destination) || cost > left {
            if order.state_init.is_some() {
                waiting.insert(order.destination);
            }
            if batch.unaffordable == 0 {
                batch.missing = cost.saturating_sub(left);
            }
            batch.unaffordable += 1;
            continue;
        }
        if bytes + size > MAX_BYTES || batch.orders.len() == MAX_ORDERS {
            break;
        }
        bytes += size;
        left -= cost;
        batch.orders.push((order.id, transfer));
    }
    batch
}

/// An order as the wallet sends it, and its bytes.
pub fn transfer(order: &NewOrder) -> Result<(Transfer, usize), String> {
    if order.destination.workchain != BASECHAIN {
        return Err("only destinations in the basechain can be followed".into());
    }
    let to = StdAddr::new(BASECHAIN, order.destination.hash.into());
    let mut transfer = Transfer::new(to, order.value).bounce(order.bounce);
    if let Some(body) = &order.body {
        transfer = transfer.body(body.clone());
    }
    if let Some(init) = &order.state_init {
        transfer = transfer.init(init.parse::<StateInit>().map_err(|error| format!("not a state init: {error}"))?);
    }
    let size = ton::encode_boc(&transfer.message().map_err(|error| error.to_string())?).len();
    match size <= MAX_BYTES {
        true => Ok((transfer, size)),
        false => Err(format!("longer than {MAX_BYTES} bytes")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COIN: u128 = 1_000_000_000;

    fn order(id: &str, to: u8, value: u128) -> NewOrder {
        let destination = ton::Address::basechain([to; 32]);
        NewOrder { id: id.into(), channel: None, destination, value, body: None, state_init: None, bounce: true }
    }

    fn ids(batch: &Batch) -> Vec<&str> {
        batch.orders.iter().map(|(id, _)| id.as_str()).collect()
    }

    #[test]
    fn what_is_too_dear_waits_and_holds_up_only_what_depends_on_it() {
        let init = ton::CellBuilder::build_from(StateInit::default()).unwrap();
        let deploy = NewOrder { state_init: Some(init), ..order("deploy", 2, 3 * COIN) };
        let queued = vec![order("dear", 1, 50 * COIN), deploy, order("top-up", 2, COIN), order("challenge", 1, COIN / 20)];
        let batch = choose(queued.clone(), 2 * COIN);
        assert_eq!((ids(&batch), batch.unaffordable), (vec!["challenge"], 3));
        let batch = choose(queued, 100 * COIN);
        assert_eq!((ids(&batch), batch.unaffordable), (vec!["dear", "deploy", "top-up", "challenge"], 0));
    }

    #[test]
    fn the_reserve_is_kept() {
        assert!(choose(vec![order("a", 1, COIN)], COIN + RESERVE).orders.is_empty());
        assert_eq!(choose(vec![order("a", 1, COIN)], COIN + RESERVE + 10_000_000).orders.len(), 1);
        assert!(choose(vec![order("a", 1, 1)], 0).orders.is_empty());
    }

    #[test]
    fn a_message_has_a_size_and_impossible_orders_are_named() {
        let many = (0..150).map(|n| order(&n.to_string(), 1, 1)).collect();
        assert_eq!(choose(many, 100 * COIN).orders.len(), MAX_ORDERS);
        let elsewhere = ton::Address { workchain: -1, hash: [0; 32] };
        let masterchain = NewOrder { destination: elsewhere, ..order("m", 1, 1) };
        let broken = NewOrder { state_init: Some(ton::Cell::default()), ..order("s", 1, 1) };
        let batch = choose(vec![masterchain, broken, order("fine", 1, 1)], 100 * COIN);
        assert_eq!((ids(&batch), batch.impossible.len()), (vec!["fine"], 2));
    }
}
