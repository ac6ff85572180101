//! Cooperative commit and close.

use contract::{Balance, Outgoing, Side, ToSign, op};
use wire::Body;

use crate::cells::{SIDES, from_both, pair, retagged};
use crate::code::each_code;
use crate::messages::*;
use crate::world::*;

#[test]
fn a_commit_stores_what_was_agreed() {
    each_code(|code| {
        let mut world = World::funded(code);
        let record = world.accepts(TON, Terms::new([3, 7]).sent([4 * TON, TON]).commit());
        let Balance { sent, withdrawn, deposited } = world.storage().balance;
        assert_eq!((sent, withdrawn), (pair([4 * TON, TON]), pair([0, 0])));
        assert_eq!(deposited, pair([DEPOSIT_A, DEPOSIT_B]));
        assert_eq!(world.storage().committed_seqnos, pair([3, 7]));
        assert_eq!((world.balance_of(Side::A), world.balance_of(Side::B)), (7 * TON, 23 * TON));
        assert_eq!(record.out_messages.len(), 1);
        world.assert_excess_returned(&record);
    });
}

#[test]
fn a_withdrawal_of_one_coin_delivers_it_less_its_forwarding_fee() {
    each_code(|code| {
        for side in SIDES {
            let mut world = World::funded(code);
            let withdrawn = if side == Side::A { [TON, 0] } else { [0, TON] };
            let record = world.accepts(TON, Terms::new([1, 1]).withdrawn(withdrawn).commit());
            assert_eq!(world.storage().balance.withdrawn, pair(withdrawn));
            assert_eq!(world.received(side), 999_600_000);
            assert_eq!(world.received(side.other()), 0);
            let payout = &record.out_messages[0];
            let expected = Outgoing::Withdrawal { channel_id: CHANNEL_ID }.to_cell();
            assert_eq!((&payout.body, payout.bounce), (&expected, false));
            world.assert_excess_returned(&record);
        }
    });
}

#[test]
fn withdrawals_are_totals_and_b_is_paid_first() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.accepts(TON, Terms::new([1, 1]).withdrawn([TON, 2 * TON]).commit());
        let record = world.accepts(TON, Terms::new([2, 2]).withdrawn([3 * TON, 5 * TON]).commit());
        let paid: Vec<_> = record.out_messages.iter().map(|m| (m.dst.clone().unwrap(), m.value)).collect();
        assert_eq!(paid[0], (destination(Side::B), 3 * TON - FORWARD_FEE));
        assert_eq!(paid[1], (destination(Side::A), 2 * TON - FORWARD_FEE));
        assert_eq!(paid.len(), 3);
        world.assert_excess_returned(&record);
        // The same totals again pay nothing.
        let record = world.accepts(TON, Terms::new([3, 3]).withdrawn([3 * TON, 5 * TON]).commit());
        assert_eq!(record.out_messages.len(), 1);
        world.refuses(Terms::new([4, 4]).withdrawn([3 * TON - 1, 5 * TON]).commit(), 127);
        world.refuses(Terms::new([4, 4]).withdrawn([3 * TON, 5 * TON - 1]).commit(), 127);
    });
}

#[test]
fn all_of_a_balance_may_be_withdrawn_and_no_more() {
    each_code(|code| {
        let mut world = World::funded(code);
        let sent = [TON, 0];
        world.refuses(Terms::new([1, 1]).sent(sent).withdrawn([9 * TON + 1, 0]).commit(), 118);
        world.refuses(Terms::new([1, 1]).sent(sent).withdrawn([0, 21 * TON + 1]).commit(), 118);
        world.refuses(Terms::new([1, 1]).sent([DEPOSIT_A + 1, 0]).commit(), 118);
        world.refuses(Terms::new([1, 1]).sent([0, DEPOSIT_B + 1]).commit(), 118);
        let record = world.accepts(TON, Terms::new([1, 1]).sent(sent).withdrawn([9 * TON, 21 * TON]).commit());
        assert_eq!((world.balance_of(Side::A), world.balance_of(Side::B)), (0, 0));
        assert_eq!(world.received(Side::A), 9 * TON - FORWARD_FEE);
        assert_eq!(world.received(Side::B), 21 * TON - FORWARD_FEE);
        world.assert_excess_returned(&record);
    });
}

#[test]
fn a_commit_pays_its_fee() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses_value(29_999_999, Terms::new([1, 1]).commit(), 119);
        world.accepts(30_000_000, Terms::new([1, 1]).commit());
    });
}

#[test]
fn both_sides_sign_both_messages() {
    each_code(|code| {
        let mut world = World::funded(code);
        let terms = Terms::new([1, 1]);
        let parts = [
            (op::COOPERATIVE_COMMIT, terms.commit_part(CHANNEL_ID).cell()),
            (op::COOPERATIVE_CLOSE, terms.close_part(CHANNEL_ID).cell()),
        ];
        let (a, b) = (key(Side::A), key(Side::B));
        for (op, part) in parts {
            world.refuses(from_both(op, [&a, &foreign_key()], &part), 101);
            world.refuses(from_both(op, [&foreign_key(), &b], &part), 101);
            world.refuses(from_both(op, [&b, &a], &part), 101);
        }
    });
}

#[test]
fn tag_and_channel_are_the_messages_own() {
    each_code(|code| {
        let mut world = World::funded(code);
        let terms = Terms::new([1, 1]);
        let (commit, close) = (terms.commit_part(CHANNEL_ID), terms.close_part(CHANNEL_ID));
        world.refuses(both(op::COOPERATIVE_COMMIT, &retagged(&commit, UNKNOWN)), 104);
        world.refuses(both(op::COOPERATIVE_COMMIT, &terms.commit_part(OTHER_ID).cell()), 114);
        world.refuses(both(op::COOPERATIVE_CLOSE, &retagged(&close, UNKNOWN)), 104);
        world.refuses(both(op::COOPERATIVE_CLOSE, &terms.close_part(OTHER_ID).cell()), 114);
        // What was signed as a commit is no close.
        world.refuses(both(op::COOPERATIVE_CLOSE, &commit.cell()), 104);
    });
}

#[test]
fn seqnos_rise_on_both_sides() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses(Terms::new([0, 1]).commit(), 108);
        world.refuses(Terms::new([1, 0]).commit(), 108);
        world.accepts(TON, Terms::new([5, 6]).commit());
        for seqnos in [[5, 7], [6, 6], [4, 9]] {
            world.refuses(Terms::new(seqnos).commit(), 108);
            world.refuses(Terms::new(seqnos).close(), 108);
        }
        world.accepts(TON, Terms::new([6, 7]).commit());
    });
}

#[test]
fn a_commit_ends_a_closure_that_it_is_newer_than() {
    each_code(|code| {
        let started = || {
            let mut world = World::funded(code);
            world.accepts(TON, States::agreed(Body::start(5), Body::start(8)).start(Side::A));
            world
        };
        for (seqnos, ends) in [([5, 8], false), ([1, 1], false), ([6, 8], true), ([5, 9], true), ([9, 9], true)] {
            let mut world = started();
            world.accepts(TON, Terms::new(seqnos).commit());
            assert_eq!(world.storage().quarantine.is_none(), ends, "{seqnos:?}");
        }
    });
}

#[test]
fn states_from_before_a_commit_are_worthless() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.accepts(TON, Terms::new([5, 6]).commit());
        world.refuses(States::agreed(Body::start(4), Body::start(6)).start(Side::A), 105);
        world.refuses(States::agreed(Body::start(5), Body::start(5)).start(Side::A), 105);
        world.accepts(TON, States::agreed(Body::start(5), Body::start(6)).start(Side::A));
    });
}

#[test]
fn a_close_pays_both_sides_and_a_the_rest() {
    each_code(|code| {
        let mut world = World::funded(code);
        let record = world.accepts(TON / 20, Terms::new([2, 3]).sent([4 * TON, TON]).close());
        world.assert_closed(&record, 23 * TON);
        assert_eq!(world.received(Side::B), 23 * TON - FORWARD_FEE);
        let fees = record.fees.gas + 2 * FORWARD_FEE;
        assert_eq!(world.received(Side::A) + world.received(Side::B), 30 * TON + STORAGE_FEE + TON / 20 - fees);
        assert_eq!(world.storage().committed_seqnos, pair([2, 3]));
    });
}

#[test]
fn a_close_takes_account_of_withdrawals() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.accepts(TON, Terms::new([1, 1]).sent([TON, 0]).withdrawn([2 * TON, 3 * TON]).commit());
        let record = world.accepts(TON, Terms::new([2, 2]).sent([2 * TON, 0]).close());
        world.assert_closed(&record, 19 * TON);
    });
}

/// A message without value cannot pay for itself; the other payout does not mind.
#[test]
fn a_side_without_balance_gets_nothing() {
    each_code(|code| {
        let mut world = World::funded(code);
        let record = world.accepts(TON, Terms::new([1, 1]).sent([0, DEPOSIT_B]).close());
        assert_eq!(record.out_messages.len(), 1);
        assert_eq!(world.received(Side::B), 0);
        let all = DEPOSIT_A + DEPOSIT_B + STORAGE_FEE + TON - record.fees.gas - FORWARD_FEE;
        assert_eq!((world.received(Side::A), world.balance()), (all, 0));

        let mut world = World::funded(code);
        let record = world.accepts(TON, Terms::new([1, 1]).sent([DEPOSIT_A, 0]).close());
        world.assert_closed(&record, DEPOSIT_A + DEPOSIT_B);
    });
}

/// The live contract leaves this to the VM, which refuses to write a negative amount. The VM that we test in writes one.
#[test]
fn a_close_below_zero_fails() {
    each_code(|code| {
        if code.live {
            return;
        }
        let mut world = World::funded(code);
        world.refuses(Terms::new([1, 1]).sent([DEPOSIT_A + 1, 0]).close(), 5);
        world.refuses(Terms::new([1, 1]).sent([0, DEPOSIT_B + 1]).close(), 5);
    });
}

#[test]
fn a_close_works_during_a_quarantine() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.accepts(TON, States::agreed(Body::start(5), Body::start(8)).start(Side::A));
        let record = world.accepts(TON, Terms::new([1, 1]).close());
        world.assert_closed(&record, DEPOSIT_B);
    });
}

#[test]
fn a_closed_channel_opens_again_and_its_past_is_over() {
    each_code(|code| {
        let mut world = World::funded(code);
        let (commit, close) = (Terms::new([2, 2]).commit(), Terms::new([3, 4]).close());
        world.accepts(TON, commit.clone());
        world.accepts(TON, close.clone());
        world.refuses(top_up(Side::A), 117);
        world.refuses(commit.clone(), 108);
        world.accepts(TON, init(Side::B));
        world.accepts(2 * TON + TON_ACCEPT, top_up(Side::B));
        assert_eq!((world.storage().initialised, world.storage().committed_seqnos), (true, pair([3, 4])));
        world.refuses(commit, 108);
        world.refuses(close, 108);
        world.refuses(States::agreed(Body::start(2), Body::start(4)).start(Side::A), 105);
        let record = world.accepts(TON, Terms::new([4, 5]).close());
        world.assert_closed(&record, 2 * TON);
    });
}
