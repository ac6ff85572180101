//! V5R1 wallets on the chain: transfers, replay protection, validity, and conservation over hundreds of random transfers.

mod common;

use common::User;
use devnet::chain::{COIN, Chain};
use ed25519_dalek::SigningKey;
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;
use wallet::Transfer;

const START: u32 = 1_763_000_000;

fn assert_conserved(chain: &Chain) {
    let totals = chain.totals();
    let balances: u128 = chain.addresses().map(|a| chain.balance(a)).sum();
    assert_eq!(balances, totals.balances);
    assert_eq!(totals.in_transit, 0);
    assert_eq!(totals.minted, balances + totals.fees.total() + totals.burnt);
}

#[test]
fn an_order_is_executed_once() {
    let mut chain = Chain::new(START).unwrap();
    let (alice, bob) = (User::new(1), User::new(2));
    chain.mint(alice.address(), 10 * COIN).unwrap();
    let pay = |nano| Transfer::new(bob.address().clone(), nano).bounce(false);
    let first = alice.message(0, START + 60, vec![pay(COIN), pay(2 * COIN)]);
    chain.send_external(first.clone()).unwrap();
    let outcome = chain.run().unwrap();
    assert!(outcome.rejected.is_empty() && outcome.transactions.iter().all(|t| t.exit_code().unwrap_or(0) == 0));
    let sent: Vec<_> = outcome.of(alice.address()).flat_map(|t| &t.out_messages).map(|m| m.value).collect();
    assert_eq!(sent, [COIN, 2 * COIN]);
    assert_eq!(chain.balance(bob.address()), 3 * COIN);
    let seqno = chain.get_method(alice.address(), "seqno", vec![]).unwrap();
    assert_eq!((seqno.exit_code, seqno.int(0)), (0, Some(1.into())));

    chain.send_external(first).unwrap();
    assert_eq!(chain.run().unwrap().rejected.len(), 1);
    let late = alice.message(1, START, vec![pay(COIN)]);
    chain.send_external(late).unwrap();
    assert_eq!(chain.run().unwrap().rejected.len(), 1);
    let forged =
        User { key: SigningKey::from_bytes(&[9; 32]), wallet: alice.wallet.clone() }.message(1, START + 60, vec![pay(COIN)]);
    chain.send_external(forged).unwrap();
    assert_eq!(chain.run().unwrap().rejected.len(), 1);

    assert_eq!(chain.balance(bob.address()), 3 * COIN);
    assert_conserved(&chain);
}

#[test]
fn an_order_of_many_transfers_reaches_everybody() {
    let mut chain = Chain::new(START).unwrap();
    let alice = User::new(1);
    chain.mint(alice.address(), 300 * COIN).unwrap();
    let to = |i: u8| StdAddr::new(0, HashBytes([i; 32]));
    let transfers = (0..=254).map(|i| Transfer::new(to(i), COIN).bounce(false)).collect();
    chain.send_external(alice.message(0, START + 60, transfers)).unwrap();
    assert_eq!(chain.run().unwrap().transactions.len(), 257);
    assert!((0..=254).all(|i| chain.balance(&to(i)) == COIN));
    assert_conserved(&chain);
}

#[test]
fn no_nano_is_lost_in_hundreds_of_random_transfers() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let mut chain = Chain::new(START).unwrap();
    let users: Vec<User> = (1..=12).map(User::new).collect();
    for user in &users {
        chain.mint(user.address(), 1000 * COIN).unwrap();
    }
    chain.run().unwrap();
    let mut seqnos = vec![0; users.len()];
    let (mut bounced, mut executed) = (0, 0);
    for _ in 0..300 {
        chain.advance(next(100_000) as u32);
        let from = next(users.len() as u64) as usize;
        let transfers = (0..=next(4))
            .map(|_| {
                let to = match next(4) {
                    0 => StdAddr::new(0, HashBytes([next(256) as u8; 32])),
                    _ => users[next(users.len() as u64) as usize].address().clone(),
                };
                Transfer::new(to, u128::from(next(3_000_000_000))).bounce(next(2) == 0)
            })
            .collect();
        chain.send_external(users[from].message(seqnos[from], chain.now() + 60, transfers)).unwrap();
        let outcome = chain.run().unwrap();
        seqnos[from] += u32::from(outcome.rejected.is_empty());
        bounced += outcome.transactions.iter().filter(|t| t.bounced).count();
        executed += outcome.transactions.len();
        assert_conserved(&chain);
    }
    assert!(bounced > 10 && executed > 600, "{bounced} bounces in {executed} transactions say that little was tried");
}
