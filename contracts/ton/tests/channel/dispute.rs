//! Start of an uncooperative close, and the challenge.

use contract::{ChallengeToSign, Pair, Quarantine, Side, StartToSign, ToSign, op};
use ton::Cell;
use wire::Body;

use crate::cells::{SIDES, cell, from_one, signed_state_cell, with_trailing_bit};
use crate::code::{Code, each_code};
use crate::messages::*;
use crate::world::*;

fn body(seqno: u64, sent: u128) -> Body {
    Body { seqno, sent, conditionals: [seqno as u8; 32] }
}

/// A after 5 steps and 2 coins, B after 8 and 3.
fn agreed() -> States {
    States::agreed(body(5, 2 * TON), body(8, 3 * TON))
}

#[test]
fn either_side_starts() {
    each_code(|code| {
        for by in SIDES {
            let mut world = World::funded(code);
            let record = world.accepts(TON, agreed().start(by));
            let bodies = Pair { a: agreed().a, b: agreed().b };
            let expected = Quarantine { bodies, started_at: START, committed_by: by, challenged: false };
            assert_eq!(world.quarantine(), expected);
            assert!(world.storage().initialised);
            world.assert_excess_returned(&record);
            world.refuses(agreed().start(by.other()), 106);
        }
    });
}

#[test]
fn a_closure_starts_before_the_channel_is_open() {
    each_code(|code| {
        let mut world = World::new(code, Config::default());
        world.deploys(TON, States::agreed(Body::start(1), Body::start(1)).start(Side::A));
        assert!(!world.storage().initialised && world.storage().quarantine.is_some());
    });
}

/// The signed part of a start or challenge that brings these two cells as the signed states.
fn states_part(tag: u32, channel_id: [u8; 16], a: &Cell, b: &Cell) -> Cell {
    cell(|part| {
        part.store_u32(tag).unwrap();
        part.store_raw(&channel_id, 128).unwrap();
        part.store_reference(a.clone()).unwrap();
        part.store_reference(b.clone()).unwrap();
    })
}

/// What is wrong with the message, and the exit code, for start and challenge alike.
fn malformed(op: u32, tag: u32, by: Side) -> Vec<(Cell, i32)> {
    let states = agreed();
    let (a, b) = (states.signed(Side::A).to_cell(), states.signed(Side::B).to_cell());
    let part = states_part(tag, CHANNEL_ID, &a, &b);
    let with_states = |a: &Cell, b: &Cell| one(op, by, &states_part(tag, CHANNEL_ID, a, b));
    let other_channel = |side: Side| {
        let mut state = states.state(side);
        state.channel_id = OTHER_ID;
        signed_state_cell(&state.to_cell(), &key(side))
    };
    let other_tag = |side: Side| {
        let state = states.state(side).to_cell();
        let mut rest = state.as_slice().unwrap();
        rest.skip_first(32, 0).unwrap();
        let state = cell(|b| {
            b.store_u32(UNKNOWN).unwrap();
            b.store_slice(rest).unwrap();
        });
        signed_state_cell(&state, &key(side))
    };
    let forged = |side: Side| signed_state_cell(&states.state(side).to_cell(), &foreign_key());
    vec![
        (from_one(op, by, &key(by.other()), &part), 101),
        (from_one(op, by.other(), &key(by), &part), 101),
        (from_one(op, by, &foreign_key(), &part), 101),
        (one(op, by, &states_part(UNKNOWN, CHANNEL_ID, &a, &b)), 104),
        (one(op, by, &states_part(tag, OTHER_ID, &a, &b)), 114),
        (with_states(&forged(Side::A), &b), 101),
        (with_states(&a, &forged(Side::B)), 101),
        (with_states(&b, &a), 101),
        (with_states(&other_tag(Side::A), &b), 104),
        (with_states(&a, &other_tag(Side::B)), 104),
        (with_states(&other_channel(Side::A), &b), 114),
        (with_states(&a, &other_channel(Side::B)), 114),
    ]
}

/// Messages whose states carry one bit too many somewhere.
fn trailing(op: u32, tag: u32, by: Side) -> Vec<Cell> {
    let states = agreed();
    let mut cells = Vec::new();
    for side in SIDES {
        let state = states.state(side).to_cell();
        let long_counterparty = cell(|b| {
            let mut data = state.as_slice().unwrap();
            let seen = data.load_reference_cloned().unwrap();
            b.store_slice(data).unwrap();
            b.store_reference(with_trailing_bit(&seen)).unwrap();
        });
        for bad in [
            signed_state_cell(&with_trailing_bit(&state), &key(side)),
            signed_state_cell(&long_counterparty, &key(side)),
            with_trailing_bit(&states.signed(side).to_cell()),
        ] {
            let other = states.signed(side.other()).to_cell();
            let both = Pair::of(side, bad, other);
            cells.push(one(op, by, &states_part(tag, CHANNEL_ID, &both.a, &both.b)));
        }
    }
    cells
}

/// Pairs of states that break the state rule, and pairs at its edge, on a channel with the seqnos 5 and 8 committed.
fn state_rule() -> (Vec<States>, Vec<States>) {
    let base = agreed();
    let seen_a = |seqno, sent| States { seen_a: Some(body(seqno, sent)), ..base };
    let seen_b = |seqno, sent| States { seen_b: Some(body(seqno, sent)), ..base };
    let broken = vec![
        States::agreed(body(4, 2 * TON), base.b),
        States::agreed(base.a, body(7, 3 * TON)),
        seen_a(6, 2 * TON),
        seen_b(9, 3 * TON),
        seen_a(5, 2 * TON + 1),
        seen_b(8, 3 * TON + 1),
        seen_a(4, 2 * TON),
        seen_b(7, 3 * TON),
        seen_a(0, 2 * TON + 1),
    ];
    let edge = vec![
        base,
        seen_a(0, 0),
        seen_b(0, 0),
        seen_a(0, 2 * TON),
        seen_a(5, 0),
        States { seen_a: None, seen_b: None, ..base },
        States { a: body(6, 2 * TON), b: body(9, 3 * TON), ..base },
    ];
    (broken, edge)
}

fn committed(code: &Code) -> World {
    let mut world = World::funded(code);
    world.accepts(TON, Terms::new([5, 8]).sent([2 * TON, 3 * TON]).commit());
    world
}

#[test]
fn a_start_is_signed_and_well_formed() {
    each_code(|code| {
        let mut world = World::funded(code);
        for (message, exit_code) in malformed(op::START_UNCOOPERATIVE_CLOSE, StartToSign::TAG, Side::B) {
            world.refuses(message, exit_code);
        }
        for message in trailing(op::START_UNCOOPERATIVE_CLOSE, StartToSign::TAG, Side::B) {
            world.fails(message);
        }
        world.accepts(TON, agreed().start(Side::B));
    });
}

#[test]
fn a_start_obeys_the_state_rule() {
    each_code(|code| {
        let (broken, edge) = state_rule();
        let mut world = committed(code);
        for states in broken {
            world.refuses(states.start(Side::A), 105);
        }
        for states in edge {
            committed(code).accepts(TON, states.start(Side::A));
        }
    });
}

#[test]
fn a_challenge_is_signed_and_well_formed() {
    each_code(|code| {
        let mut world = World::funded(code);
        world.refuses(agreed().challenge(Side::B), 107);
        world.accepts(TON, agreed().start(Side::A));
        for (message, exit_code) in malformed(op::CHALLENGE, ChallengeToSign::TAG, Side::B) {
            world.refuses(message, exit_code);
        }
        for message in trailing(op::CHALLENGE, ChallengeToSign::TAG, Side::B) {
            world.fails(message);
        }
        world.accepts(TON, agreed().challenge(Side::B));
    });
}

#[test]
fn a_challenge_obeys_the_state_rule() {
    each_code(|code| {
        let started = || {
            let mut world = committed(code);
            world.accepts(TON, agreed().start(Side::A));
            world
        };
        let (broken, edge) = state_rule();
        let mut world = started();
        for states in broken {
            world.refuses(states.challenge(Side::B), 105);
        }
        for states in edge {
            started().accepts(TON, states.challenge(Side::B));
        }
    });
}

#[test]
fn challenges_end_with_the_quarantine() {
    each_code(|code| {
        let started = || {
            let mut world = World::funded(code);
            world.accepts(TON, agreed().start(Side::A));
            world
        };
        let mut world = started();
        world.chain.set_now(START + QUARANTINE - 1).unwrap();
        world.accepts(TON, agreed().challenge(Side::B));
        let mut world = started();
        for after in [0, 1] {
            world.chain.set_now(START + QUARANTINE + after).unwrap();
            world.refuses(agreed().challenge(Side::B), 111);
        }
    });
}

#[test]
fn there_is_one_challenge_and_it_is_the_other_sides() {
    each_code(|code| {
        for by in SIDES {
            let mut world = World::funded(code);
            world.accepts(TON, agreed().start(by));
            world.refuses(agreed().challenge(by), 109);
            let record = world.accepts(TON, agreed().challenge(by.other()));
            world.assert_excess_returned(&record);
            assert_eq!((world.quarantine().committed_by, world.quarantine().challenged), (by.other(), true));
            world.refuses(agreed().challenge(by), 125);
            world.refuses(agreed().challenge(by.other()), 125);
        }
    });
}

/// The bodies after `first` was started by `committer` and challenged with `second`.
fn challenged(code: &Code, committer: Side, first: States, second: States) -> Pair<Body> {
    let mut world = World::funded(code);
    world.accepts(TON, first.start(committer));
    world.chain.advance(10);
    world.accepts(TON, second.challenge(committer.other()));
    let quarantine = world.quarantine();
    assert_eq!(quarantine.started_at, START, "the quarantine does not begin anew");
    quarantine.bodies
}

/// States with this body of the committer; the challenger's body is ahead of the one that was quarantined.
fn showing(committer: Side, of_committer: Body, of_challenger: Body) -> States {
    let Pair { a, b } = Pair::of(committer, of_committer, of_challenger);
    States { a, b, seen_a: None, seen_b: None }
}

#[test]
fn the_committer_is_fined_for_a_newer_or_dearer_body() {
    each_code(|code| {
        for committer in SIDES {
            let (stored, other) = (body(5, 2 * TON), body(8, 3 * TON));
            let first = showing(committer, stored, other);
            let cases = [
                (body(6, 2 * TON), true),
                (body(5, 2 * TON + 1), true),
                (body(4, 3 * TON), true),
                (body(6, TON), true),
                (stored, false),
                (Body { conditionals: [0xcc; 32], ..stored }, false),
                (body(5, TON), false),
                (body(1, 0), false),
            ];
            for (shown, fined) in cases {
                // The challenger's own body is never replaced.
                let second = showing(committer, shown, body(9, 4 * TON));
                let fine = if fined { FINE } else { 0 };
                let expected = Body { sent: shown.sent + fine, ..shown };
                assert_eq!(challenged(code, committer, first, second), Pair::of(committer, expected, other), "{shown:?}");
            }
        }
    });
}
