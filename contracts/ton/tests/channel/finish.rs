//! The end of an uncooperative close.

use contract::Side;
use wire::Body;

use crate::cells::pair;
use crate::code::{Code, each_code};
use crate::messages::*;
use crate::world::*;

const END: u32 = QUARANTINE + CONDITIONAL_CLOSE;

fn body(seqno: u64, sent: u128) -> Body {
    Body { sent, ..Body::start(seqno) }
}

/// A closure with these bodies that may be finished now.
fn finishable(code: &Code, a: Body, b: Body) -> World {
    let mut world = World::funded(code);
    world.accepts(TON, States { a, b, seen_a: None, seen_b: None }.start(Side::A));
    world.chain.set_now(START + END + 1).unwrap();
    world
}

#[test]
fn a_closure_is_finished_after_its_time() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses(finish(), 107);
        world.accepts(TON, States::agreed(body(1, 0), body(1, 0)).start(Side::A));
        for after in [0, QUARANTINE + 1, END - 1, END] {
            world.chain.set_now(START + after).unwrap();
            world.refuses(finish(), 113);
        }
        world.chain.set_now(START + END + 1).unwrap();
        let record = world.accepts(TON / 20, finish());
        world.assert_closed(&record, DEPOSIT_B);
        world.refuses(finish(), 107);
    });
}

#[test]
fn the_quarantined_bodies_decide() {
    each_code(|code| {
        let mut world = finishable(code, body(5, 4 * TON), body(8, 3 * TON));
        let record = world.accepts(TON, finish());
        world.assert_closed(&record, 21 * TON);
        assert_eq!(world.received(Side::B), 21 * TON - FORWARD_FEE);
        assert_eq!(world.storage().committed_seqnos, pair([6, 9]));
    });
}

#[test]
fn a_side_pays_at_most_what_it_has() {
    each_code(|code| {
        // A owes 15 of 10.
        let mut world = finishable(code, body(5, 15 * TON), body(8, 0));
        let record = world.accepts(TON, finish());
        world.assert_closed(&record, DEPOSIT_A + DEPOSIT_B);

        // B owes 21 of 20: nothing is left to pay its message with, A gets all.
        let mut world = finishable(code, body(5, 0), body(8, 21 * TON));
        let record = world.accepts(TON, finish());
        assert_eq!(world.received(Side::B), 0);
        let spent = record.fees.gas + record.fees.storage + FORWARD_FEE;
        assert_eq!(world.received(Side::A), record.balance_before + TON - spent);
        assert_eq!(world.balance(), 0);

        // Both owe more than they have, A by more.
        let mut world = finishable(code, body(5, 100 * TON), body(8, 50 * TON));
        let record = world.accepts(TON, finish());
        world.assert_closed(&record, DEPOSIT_A + DEPOSIT_B);
    });
}

#[test]
fn a_finished_channel_opens_again_with_its_seqnos() {
    each_code(|code| {
        let mut world = finishable(code, body(5, 0), body(8, 0));
        world.accepts(TON, finish());
        world.refuses(top_up(Side::A), 117);
        world.accepts(TON, init(Side::A));
        assert_eq!((world.storage().initialised, world.storage().committed_seqnos), (true, pair([6, 9])));
        world.refuses(States::agreed(body(5, 0), body(8, 0)).start(Side::B), 105);
        world.accepts(TON, States::agreed(body(6, 0), body(9, 0)).start(Side::B));
    });
}

#[test]
fn rent_takes_from_what_a_gets() {
    each_code(|code| {
        let mut world = finishable(code, body(5, 0), body(8, 0));
        world.chain.advance(365 * 24 * 3600);
        let record = world.accepts(TON, finish());
        assert!(record.fees.storage > 0);
        world.assert_closed(&record, DEPOSIT_B);
    });
}
