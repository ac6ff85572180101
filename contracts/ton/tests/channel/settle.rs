//! Settling of conditionals: each side takes what the other promised.

use contract::{Pair, SettleToSign, Side, ToSign, op};
use ed25519_dalek::SigningKey;
use ton::{Cell, CellBuilder};
use wire::conditionals::{Settlement, resolutions_cell};
use wire::{Body, Condition, Conditionals, Resolution};

use crate::cells::{SIDES, cell, from_one, retagged};
use crate::code::{Code, each_code};
use crate::messages::*;
use crate::world::*;

const CAPACITY: u128 = 3_000_000;
const FEE: u128 = 10_000;
const AMOUNT: u128 = 2_000_000;
/// How many conditionals the payer has.
const CONDITIONALS: u32 = 300;

fn virtual_key(i: u32) -> SigningKey {
    let mut seed = [0xcd; 32];
    seed[..4].copy_from_slice(&i.to_be_bytes());
    SigningKey::from_bytes(&seed)
}

/// The i-th conditional. Four of them are special: see the constants.
fn condition(i: u32) -> Condition {
    let after_settling = START + QUARANTINE + CONDITIONAL_CLOSE;
    Condition {
        key: virtual_key(i).verifying_key().to_bytes(),
        capacity: CAPACITY,
        fee: FEE,
        prepay: if i == PREPAID { AMOUNT } else { 0 },
        deadline: if i == EXPIRED { START + QUARANTINE } else { after_settling },
    }
}
/// Its deadline passes before anything can be settled.
const EXPIRED: u32 = 200;
/// [`AMOUNT`] is paid already.
const PREPAID: u32 = 201;

fn conditionals() -> Conditionals {
    Conditionals::from_conditions((0..CONDITIONALS).map(condition)).unwrap()
}

fn index(i: u32) -> u32 {
    condition(i).index()
}

fn indices(numbers: &[u32]) -> Vec<u32> {
    numbers.iter().map(|i| index(*i)).collect()
}

fn resolution(i: u32, amount: u128) -> (u32, Resolution) {
    (index(i), Resolution::sign(&virtual_key(i), amount))
}

fn resolutions(numbers: &[u32]) -> Option<Cell> {
    resolutions_cell(numbers.iter().map(|i| resolution(*i, AMOUNT)))
}

fn proof(settlement: &Settlement, numbers: &[u32]) -> Cell {
    settlement.proof(&indices(numbers)).unwrap().unwrap()
}

/// The whole message that settles these conditionals of the untouched dictionary.
fn settles(from: Side, numbers: &[u32]) -> Cell {
    settle(from, resolutions(numbers), proof(&Settlement::new(&conditionals()), numbers))
}

/// A closure in which `payer` owes the conditionals and has sent one coin, at the first moment at which they can be settled.
fn settling(code: &Code, payer: Side) -> World {
    let mut world = started(code, payer);
    world.chain.set_now(START + QUARANTINE + 1).unwrap();
    world
}

fn started(code: &Code, payer: Side) -> World {
    let mut world = World::funded(code);
    let (owing, other) = (Body { seqno: 2, sent: TON, conditionals: conditionals().root_hash() }, Body::start(3));
    let bodies = Pair::of(payer, owing, other);
    world.accepts(TON, States::agreed(bodies.a, bodies.b).start(payer));
    world
}

fn sent(world: &World, payer: Side) -> u128 {
    world.quarantine().bodies.get(payer).sent
}

#[test]
fn conditionals_of_either_side_are_paid_to_the_other() {
    each_code(|code| {
        for payer in SIDES {
            for numbers in [&[7][..], &[7, 250], &[0, 5, 9, 30, 77, 111, 150, 151, 298, 299]] {
                let mut world = settling(code, payer);
                let before = world.quarantine();
                let record = world.accepts(TON / 2, settles(payer.other(), numbers));
                world.assert_excess_returned(&record);
                let mut settlement = Settlement::new(&conditionals());
                settlement.settle(&indices(numbers)).unwrap();
                let mut expected = before;
                *expected.bodies.get_mut(payer) =
                    Body { seqno: 2, sent: TON + numbers.len() as u128 * (AMOUNT + FEE), conditionals: settlement.root_hash() };
                assert_eq!(world.quarantine(), expected);
            }
        }
    });
}

#[test]
fn a_conditional_pays_amount_and_fee_less_what_was_prepaid() {
    each_code(|code| {
        let pays = |i: u32, amount: u128| {
            let mut world = settling(code, Side::A);
            let message =
                settle(Side::B, resolutions_cell([resolution(i, amount)]), proof(&Settlement::new(&conditionals()), &[i]));
            world.accepts(TON, message);
            sent(&world, Side::A) - TON
        };
        assert_eq!(pays(1, 0), FEE);
        assert_eq!(pays(1, CAPACITY), CAPACITY + FEE);
        assert_eq!(pays(PREPAID, AMOUNT), FEE);
        assert_eq!(pays(PREPAID, AMOUNT + 5), FEE + 5);
    });
}

#[test]
fn the_next_message_proves_against_what_the_last_one_left() {
    each_code(|code| {
        let mut world = settling(code, Side::B);
        let mut settlement = Settlement::new(&conditionals());
        world.accepts(TON, settles(Side::A, &[1, 2]));
        world.refuses(settles(Side::A, &[3]), 115);
        world.refuses(settles(Side::A, &[1]), 115);
        settlement.settle(&indices(&[1, 2])).unwrap();
        world.accepts(TON, settle(Side::A, resolutions(&[3]), proof(&settlement, &[3])));
        settlement.settle(&indices(&[3])).unwrap();
        assert_eq!(sent(&world, Side::B), TON + 3 * (AMOUNT + FEE));
        assert_eq!(world.quarantine().bodies.b.conditionals, settlement.root_hash());
    });
}

#[test]
fn no_conditional_is_paid_twice() {
    each_code(|code| {
        let mut world = settling(code, Side::B);
        world.accepts(TON, settles(Side::A, &[1]));
        // The tree that the contract now has, in full, shows the settled leaf.
        let emptied = emptied_tree(1);
        assert_eq!(world.quarantine().bodies.b.conditionals, ton::hash(emptied.as_ref()));
        world.fails(settle(Side::A, resolutions(&[1]), full_proof(&emptied)));
    });
}

/// A Merkle proof that prunes nothing.
fn full_proof(tree: &Cell) -> Cell {
    let mut b = CellBuilder::new();
    b.set_exotic(true);
    b.store_u8(3).unwrap();
    b.store_u256(tree.hash(0)).unwrap();
    b.store_u16(tree.depth(0)).unwrap();
    b.store_reference(tree.clone()).unwrap();
    b.build().unwrap()
}

/// A Merkle update from a tree to itself.
fn merkle_update(tree: &Cell) -> Cell {
    let mut b = CellBuilder::new();
    b.set_exotic(true);
    b.store_u8(4).unwrap();
    (0..2).for_each(|_| b.store_u256(tree.hash(0)).unwrap());
    (0..2).for_each(|_| b.store_u16(tree.depth(0)).unwrap());
    (0..2).for_each(|_| b.store_reference(tree.clone()).unwrap());
    b.build().unwrap()
}

fn emptied_tree(i: u32) -> Cell {
    let mut dict = tycho_types::dict::RawDict::<32>::from(conditionals().root().cloned());
    let key = cell(|b| b.store_u32(index(i)).unwrap());
    dict.set(key.as_slice().unwrap(), Cell::default().as_slice().unwrap()).unwrap();
    dict.root().clone().unwrap()
}

#[test]
fn one_bad_entry_voids_the_message() {
    each_code(|code| {
        let mut world = settling(code, Side::A);
        let fresh = Settlement::new(&conditionals());
        let batch = |bad: (u32, Resolution), numbers: &[u32]| {
            let good = numbers[1..].iter().map(|i| resolution(*i, AMOUNT));
            settle(Side::B, resolutions_cell([bad].into_iter().chain(good)), proof(&fresh, numbers))
        };
        world.refuses(batch(resolution(EXPIRED, AMOUNT), &[EXPIRED, 1, 2]), 24);
        let forged = (index(9), Resolution::sign(&virtual_key(8), AMOUNT));
        world.refuses(batch(forged, &[9, 1, 2]), 24);
        world.refuses(batch(resolution(9, CAPACITY + 1), &[9, 1, 2]), 26);
        world.refuses(batch(resolution(PREPAID, AMOUNT - 1), &[PREPAID, 1, 2]), 26);
        world.accepts(TON, settles(Side::B, &[1, 2]));
    });
}

#[test]
fn what_is_settled_is_proven() {
    each_code(|code| {
        let mut world = settling(code, Side::A);
        let tree = conditionals().root().cloned().unwrap();
        let fresh = Settlement::new(&conditionals());
        // no such entry, in the full tree
        let absent = CONDITIONALS + 1;
        world.refuses(settle(Side::B, resolutions_cell([resolution(absent, AMOUNT)]), full_proof(&tree)), 115);
        // another dictionary
        let other = Conditionals::from_conditions((0..9).map(condition)).unwrap();
        world.refuses(settle(Side::B, resolutions(&[1]), proof(&Settlement::new(&other), &[1])), 115);
        // the tree itself, or another kind of cell, in the place of the proof
        world.refuses(settle(Side::B, resolutions(&[1]), tree.clone()), 115);
        world.refuses(settle(Side::B, resolutions(&[1]), merkle_update(&tree)), 115);
        // the other side has no conditionals
        world.refuses(settles(Side::A, &[1]), 115);
        // the entry is behind a pruned branch
        world.fails(settle(Side::B, resolutions(&[1]), proof(&fresh, &[250])));
        world.fails(settle(Side::B, resolutions(&[1, 250]), proof(&fresh, &[250])));
        world.accepts(TON, settle(Side::B, resolutions(&[1]), full_proof(&tree)));
    });
}

#[test]
fn only_the_side_that_is_owed_settles() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses(settles(Side::B, &[1]), 107);
        let mut world = settling(code, Side::A);
        let proven = proof(&Settlement::new(&conditionals()), &[1]);
        let part = |channel_id| SettleToSign { channel_id, resolutions: resolutions(&[1]), proof: proven.clone() };
        let good = part(CHANNEL_ID).cell();
        world.refuses(from_one(op::SETTLE_CONDITIONALS, Side::B, &key(Side::A), &good), 101);
        world.refuses(from_one(op::SETTLE_CONDITIONALS, Side::A, &key(Side::B), &good), 101);
        world.refuses(from_one(op::SETTLE_CONDITIONALS, Side::B, &foreign_key(), &good), 101);
        world.refuses(one(op::SETTLE_CONDITIONALS, Side::B, &retagged(&part(CHANNEL_ID), UNKNOWN)), 104);
        world.refuses(one(op::SETTLE_CONDITIONALS, Side::B, &part(OTHER_ID).cell()), 114);
        world.accepts(TON, one(op::SETTLE_CONDITIONALS, Side::B, &good));
    });
}

#[test]
fn settling_begins_after_the_quarantine_and_ends_before_the_finish() {
    each_code(|code| {
        let end = QUARANTINE + CONDITIONAL_CLOSE;
        let mut world = started(code, Side::A);
        for (after, exit_code) in [(0, 110), (QUARANTINE - 1, 110), (QUARANTINE, 110)] {
            world.chain.set_now(START + after).unwrap();
            world.refuses(settles(Side::B, &[1]), exit_code);
        }
        world.chain.set_now(START + end - 1).unwrap();
        world.accepts(TON, settles(Side::B, &[1]));

        let mut world = started(code, Side::A);
        for after in [end, end + 1] {
            world.chain.set_now(START + after).unwrap();
            world.refuses(settles(Side::B, &[1]), 112);
        }
    });
}

/// Gas of a message that settles the first `n` of `of` conditionals.
pub fn gas(code: &Code, n: u32, of: u32) -> u64 {
    let all =
        Conditionals::from_conditions((0..of).map(|i| Condition { prepay: 0, deadline: u32::MAX, ..condition(i) })).unwrap();
    let numbers: Vec<u32> = (0..n).collect();
    let mut world = World::funded(code);
    let owing = Body { seqno: 2, sent: TON, conditionals: all.root_hash() };
    world.accepts(TON, States::agreed(owing, Body::start(3)).start(Side::A));
    world.chain.set_now(START + QUARANTINE + 1).unwrap();
    let message = settle(Side::B, resolutions(&numbers), proof(&Settlement::new(&all), &numbers));
    world.accepts(TON / 2, message).gas_used()
}
