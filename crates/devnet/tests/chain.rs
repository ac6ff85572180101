//! The chain core: minting, delivery, bounces, the clock, and conservation.

use devnet::chain::{COIN, Chain, Compute, Error, InternalMessage, SkipReason};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

const START: u32 = 1_763_000_000;

fn address(byte: u8) -> StdAddr {
    StdAddr::new(0, HashBytes([byte; 32]))
}

/// Sums every account by itself, so that the running totals are checked against something else.
fn assert_conserved(chain: &Chain) {
    let totals = chain.totals();
    let balances: u128 = chain.addresses().map(|a| chain.balance(a)).sum();
    assert_eq!(balances, totals.balances);
    assert!(totals.is_conserved(), "{totals:?}");
}

#[test]
fn minted_coins_arrive_to_the_nano() {
    let mut chain = Chain::new(START).unwrap();
    chain.mint(&address(1), 5 * COIN).unwrap();
    chain.mint(&address(1), 5 * COIN).unwrap();
    assert!(!chain.is_idle());
    assert_conserved(&chain);
    let outcome = chain.run().unwrap();
    assert_eq!(outcome.transactions.len(), 2);
    assert_eq!(outcome.minted, 10 * COIN);
    assert_eq!(chain.balance(&address(1)), 10 * COIN);
    assert!(chain.is_idle());
    assert_conserved(&chain);
}

#[test]
fn a_message_to_nobody_bounces_and_every_nano_is_found_again() {
    let mut chain = Chain::new(START).unwrap();
    chain.inject(InternalMessage::new(address(1), address(2), COIN)).unwrap();
    let outcome = chain.run().unwrap();
    let first = outcome.of(&address(2)).next().unwrap();
    assert_eq!(first.compute, Compute::Skipped(SkipReason::NoState));
    assert!(first.bounced && !first.is_success());
    assert_eq!(chain.balance(&address(2)), 0);
    let back = outcome.of(&address(1)).next().unwrap();
    assert!(back.in_message.bounced);
    assert_eq!(chain.balance(&address(1)) + chain.totals().fees.total(), COIN);
    assert_conserved(&chain);
}

#[test]
fn rent_is_charged_as_time_passes_and_time_does_not_go_back() {
    let mut chain = Chain::new(START).unwrap();
    chain.mint(&address(1), COIN).unwrap();
    chain.run().unwrap();
    chain.advance(10 * 365 * 24 * 3600);
    assert!(matches!(chain.set_now(START), Err(Error::TimeBackwards { .. })));
    chain.mint(&address(1), COIN).unwrap();
    let outcome = chain.run().unwrap();
    assert!(outcome.transactions[0].fees.storage > 0);
    assert_eq!(chain.balance(&address(1)), 2 * COIN - outcome.transactions[0].fees.total());
    assert_conserved(&chain);
}

#[test]
fn what_cannot_be_delivered_is_refused() {
    let mut chain = Chain::new(START).unwrap();
    assert!(matches!(chain.mint(&StdAddr::new(-1, HashBytes::ZERO), 1), Err(Error::Message(_))));
    assert!(matches!(chain.mint(&address(1), u128::MAX), Err(Error::Message(_))));
    assert!(chain.send_external(Cell::empty_cell()).is_err());
    assert!(matches!(chain.get_method(&address(1), "seqno", vec![]), Err(Error::NotActive)));
    assert_eq!(chain.totals().minted, 0);
}
