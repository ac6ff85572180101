//! Gas by handler, against the live contract's (payments appendix C and 7.6.5).

use contract::Side;
use wire::Body;

use crate::code::{Code, each_code};
use crate::messages::*;
use crate::settle;
use crate::world::*;

fn start(world: &mut World) -> u64 {
    world.accepts(TON, States::agreed(Body::start(2), Body::start(2)).start(Side::A)).gas_used()
}

fn gas_by_handler(code: &Code) -> Vec<(&'static str, u64, u64)> {
    let funded = || World::funded(code);
    let on_funded = |body| funded().accepts(TON, body).gas_used();
    let init = World::new(code, Config::default()).deploys(TON, init(Side::A)).gas_used();
    let challenge = {
        let mut world = funded();
        start(&mut world);
        world.accepts(TON, States::agreed(Body::start(3), Body::start(3)).challenge(Side::B)).gas_used()
    };
    let finish = {
        let mut world = funded();
        start(&mut world);
        world.chain.advance(QUARANTINE + CONDITIONAL_CLOSE + 1);
        world.accepts(TON, finish()).gas_used()
    };
    // What the live contract takes, as far as it was published: settle of n in a dictionary of n, and of 30 in 1,000.
    vec![
        ("init", init, 9_800),
        ("top up", on_funded(top_up(Side::B)), 8_500),
        ("commit with one payout", on_funded(Terms::new([1, 1]).withdrawn([TON, 0]).commit()), 13_700),
        ("cooperative close", on_funded(Terms::new([1, 1]).sent([TON, 0]).close()), 10_600),
        ("start", start(&mut funded()), 13_500),
        ("challenge", challenge, 15_100),
        ("settle 1", settle::gas(code, 1, 1), 14_000),
        ("settle 10", settle::gas(code, 10, 10), 69_000),
        ("settle 30", settle::gas(code, 30, 30), 301_000),
        ("settle 30 of 1000", settle::gas(code, 30, 1_000), 395_000),
        ("settle 60", settle::gas(code, 60, 60), 672_000),
        ("finish", finish, 10_300),
    ]
}

/// A node fills its messages by what the live contract takes; ours must not need more.
#[test]
fn no_handler_takes_more_than_the_live_contracts() {
    each_code(|code| {
        for (handler, gas, live) in gas_by_handler(code) {
            println!("{}{handler}: {gas} gas, published for the live contract {live}", if code.live { "live: " } else { "" });
            assert!(code.live || gas * 101 <= live * 100, "{handler}: {gas} gas");
        }
    });
}
