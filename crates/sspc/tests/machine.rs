//! The state machine under random orders, losses, repetitions, crashes and a lying peer.

mod world;

use proptest::prelude::*;
use sspc::{
    Amount, Balances, Call, Input, MAX_UNREACHED_ROUNDS, Message, OnChain, Party, Payload, Phase, Prepared, Refusal, Round,
    SignedClose, SignedState, State, Urgency,
};
use world::{DEPOSITS, PERIOD, World, index, key, parties};

fn amount(units: u128) -> Amount {
    Amount::new(units)
}

#[test]
fn payments_that_cross_both_arrive() {
    let mut world = World::open();
    world.run(Party::A, Input::Pay(amount(10))).unwrap();
    world.run(Party::B, Input::Pay(amount(25))).unwrap();
    world.settle_streams();
    for node in &world.nodes {
        assert_eq!(node.disk.current().balances, Balances { a: amount(10_015), b: amount(7_985) });
    }
    assert_eq!(world.node(Party::A).disk.received, amount(25));
    assert_eq!(world.node(Party::B).disk.received, amount(10));
}

#[test]
fn a_stale_close_is_answered_and_pays_the_newer_state() {
    let mut world = World::open();
    world.run(Party::B, Input::Pay(amount(5_000))).unwrap();
    world.settle_streams();
    // b has nothing signed by a: it closes with the opening.
    world.run(Party::B, Input::ForceClose).unwrap();
    world.pass(u64::from(PERIOD) - 1, &[Party::A]);
    assert_eq!(world.payout(Party::A), Some(DEPOSITS.0 + 5_000));
}

#[test]
fn who_never_received_leaves_with_the_opening() {
    let mut world = World::open();
    world.run(Party::A, Input::Pay(amount(1))).unwrap();
    world.run(Party::A, Input::ForceClose).unwrap();
    world.pass(u64::from(PERIOD), &[Party::A]);
    assert_eq!(world.payout(Party::A), None, "the deadline itself is not over");
    world.pass(1, &[Party::A]);
    assert_eq!(world.payout(Party::A), Some(DEPOSITS.0), "the payment was never delivered");
}

#[test]
fn nothing_is_signed_or_taken_after_a_close_was_signed() {
    let mut world = World::open();
    world.run(Party::B, Input::Pay(amount(1))).unwrap();
    world.run(Party::A, Input::SignClose).unwrap();
    assert!(world.run(Party::A, Input::Pay(amount(1))).is_err());
    let Phase::CloseSigned(close) = world.node(Party::A).disk.phase else { panic!("no close") };
    assert!(world.arrive(Party::A));
    assert_eq!(world.node(Party::A).disk.received, Amount::ZERO, "b's payment came too late");
    world.settle_streams();
    assert_eq!(world.node(Party::B).disk.offer, Some(close));
    assert!(world.run(Party::B, Input::Pay(amount(1))).is_err());
    world.run(Party::B, Input::CoopClose).unwrap();
    assert_eq!(world.payout(Party::B), Some(DEPOSITS.1), "the close is of a's state");
}

#[test]
fn a_payment_after_the_close_makes_the_close_worthless() {
    // a breaks the rules: it signs a close, then pays more than the close gives b.
    let mut world = World::open();
    let balances = Balances { a: amount(DEPOSITS.0), b: amount(DEPOSITS.1) };
    let signature = world.sign(Party::A, &Payload::Close(balances));
    world.take(Party::B, &Message::CloseOffer(SignedClose { balances, signature })).unwrap();
    let state = State { round: Round::new(1).unwrap(), balances: Balances { a: amount(9_000), b: amount(9_000) } };
    let signature = world.sign(Party::A, &Payload::State(state));
    let paid = Message::Pay { signed: SignedState { state, signature }, counted: Amount::ZERO };
    world.take(Party::B, &paid).unwrap();
    assert!(world.run(Party::B, Input::CoopClose).is_err());
    world.run(Party::B, Input::ForceClose).unwrap();
    world.pass(u64::from(PERIOD) + 1, &[Party::B]);
    assert_eq!(world.payout(Party::B), Some(9_000));
}

#[test]
fn a_forced_close_that_a_reorganisation_took_back_is_made_again() {
    let mut world = World::open();
    world.run(Party::A, Input::Pay(amount(7))).unwrap();
    world.settle_streams();
    world.run(Party::B, Input::ForceClose).unwrap();
    world.look(Party::B);
    assert!(matches!(world.node(Party::B).disk.phase, Phase::Closing(_)));
    world.contract.seen = OnChain::Open;
    world.run(Party::B, Input::Chain(OnChain::Open)).unwrap();
    assert_eq!(world.node(Party::B).disk.phase, Phase::Leaving);
    assert!(world.run(Party::B, Input::Pay(amount(1))).is_err(), "what was given up stays given up");
    world.look(Party::B);
    assert!(matches!(world.contract.seen, OnChain::Closing(_)));
    world.pass(u64::from(PERIOD) + 1, &[Party::B]);
    assert_eq!(world.payout(Party::B), Some(DEPOSITS.1 + 7));
}

#[test]
fn payments_wait_for_a_peer_that_acknowledges_nothing_and_go_on_when_it_does() {
    // As after very many payments of which b has none.
    let mut world = World::open();
    let far = Round::new(MAX_UNREACHED_ROUNDS - 1).unwrap();
    let state = State { round: far, balances: Balances { a: amount(9_999), b: amount(8_001) } };
    let signature = world.sign(Party::A, &Payload::State(state));
    for record in [&mut world.nodes[0].memory, &mut world.nodes[0].disk] {
        (record.given, record.paid) = (Some(SignedState { state, signature }), amount(1));
    }
    let refused = world.run(Party::A, Input::Pay(amount(1))).unwrap_err();
    let next = Round::new(far.get() + 2).unwrap();
    assert_eq!(refused, Refusal::Unacknowledged { round: next, reached: Round::OPENING });
    // b takes the newest one, however far it is, and says so.
    world.reconnect();
    world.settle_streams();
    assert_eq!(world.node(Party::B).disk.received, amount(1));
    world.run(Party::A, Input::Pay(amount(1))).unwrap();
    world.settle_streams();
    assert_eq!(world.node(Party::B).disk.received, amount(2));
    assert_eq!(world.node(Party::A).memory.reached, next);
}

/// What may happen.
#[derive(Clone, Debug)]
enum Event {
    Pay(Party, u128),
    Arrive(Party),
    Again(Party),
    Reconnect,
    Crash(Party),
    Fuse(Party, usize),
    SignClose(Party),
    CoopClose(Party),
    ForceClose(Party),
    /// The transaction on its way offers more.
    Raise(Party),
    Pass(u64),
}

fn party() -> impl Strategy<Value = Party> {
    prop_oneof![Just(Party::A), Just(Party::B)]
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (party(), 1..3000_u128).prop_map(|(party, units)| Event::Pay(party, units)),
        12 => party().prop_map(Event::Arrive),
        2 => party().prop_map(Event::Again),
        2 => Just(Event::Reconnect),
        2 => party().prop_map(Event::Crash),
        4 => (party(), 0..6_usize).prop_map(|(party, effects)| Event::Fuse(party, effects)),
        1 => (1..u64::from(PERIOD)).prop_map(Event::Pass),
    ]
}

fn ending() -> impl Strategy<Value = Event> {
    prop_oneof![
        party().prop_map(Event::SignClose),
        party().prop_map(Event::CoopClose),
        party().prop_map(Event::ForceClose),
        party().prop_map(Event::ForceClose),
        party().prop_map(Event::Raise),
        (party(), 0..6_usize).prop_map(|(party, effects)| Event::Fuse(party, effects)),
        party().prop_map(Event::Crash),
        party().prop_map(Event::Arrive),
        Just(Event::Reconnect),
        (1..u64::from(PERIOD)).prop_map(Event::Pass),
    ]
}

fn apply(world: &mut World, event: &Event, honest: &[Party]) {
    // Refusals are part of the game: too much, too late, too early.
    match event {
        Event::Pay(party, units) => drop(world.run(*party, Input::Pay(amount(*units)))),
        Event::Arrive(party) => drop(world.arrive(*party)),
        Event::Again(party) => {
            if let Some(message) = world.streams[index(*party)].front().cloned() {
                world.streams[index(*party)].push_back(message);
            }
        }
        Event::Reconnect => world.reconnect(),
        Event::Crash(party) => world.crash(*party),
        Event::Fuse(party, effects) => world.nodes[index(*party)].fuse = Some(*effects),
        Event::SignClose(party) => drop(world.run(*party, Input::SignClose)),
        Event::CoopClose(party) => drop(world.run(*party, Input::CoopClose)),
        Event::ForceClose(party) => drop(world.run(*party, Input::ForceClose)),
        Event::Raise(party) => drop(world.run(*party, Input::Raise(Urgency::Urgent))),
        Event::Pass(seconds) => world.pass(*seconds, honest),
    }
}

/// Until the channel is paid out, with honest parties online once per period.
fn finish(world: &mut World, honest: &[Party]) {
    for party in honest {
        world.nodes[index(*party)].fuse = None;
    }
    if matches!(world.contract.seen, OnChain::Open) {
        let _ = world.run(honest[0], Input::ForceClose);
    }
    for _ in 0..4 {
        world.pass(u64::from(PERIOD) - 1, honest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn honest_parties_agree_after_any_order_loss_and_crash(events in prop::collection::vec(event(), 1..60)) {
        let mut world = World::open();
        for event in &events {
            apply(&mut world, event, &parties());
        }
        for node in &mut world.nodes {
            node.fuse = None;
        }
        // A new stream as often as a guard would make one, until nobody has anything to say.
        for _ in 0..3 {
            world.reconnect();
            world.settle_streams();
        }
        let [a, b] = &world.nodes;
        prop_assert_eq!(a.disk.paid, b.disk.received);
        prop_assert_eq!(b.disk.paid, a.disk.received);
        prop_assert_eq!(a.disk.current(), b.disk.current());
        prop_assert_eq!(a.disk.own_balance().plus(b.disk.own_balance()), Some(a.disk.params.total()));
        prop_assert_eq!(a.disk.own_balance(), a.disk.current().balances.a);
    }

    #[test]
    fn honest_parties_end_with_what_they_accepted(
        events in prop::collection::vec(event(), 1..40), endings in prop::collection::vec(ending(), 1..20)
    ) {
        let mut world = World::open();
        for event in events.iter().chain(&endings) {
            apply(&mut world, event, &parties());
        }
        finish(&mut world, &parties());
        for party in parties() {
            let own = world.node(party).disk.own_balance().get();
            prop_assert!(world.payout(party).unwrap() >= own, "{:?} {} < {}", party, world.payout(party).unwrap(), own);
            prop_assert!(matches!(world.node(party).disk.phase, Phase::Closed(_)));
        }
    }
}

/// What a liar may do with its key and all that it was given.
#[derive(Clone, Debug)]
enum Lie {
    /// A state with any balances at any round, counted anyhow.
    State { jump: u64, balance_a: u128, skew: u128, counted: u128 },
    /// A close with any balances.
    Close(u128),
    /// Challenge with one of the states it was given, or the opening.
    Challenge(usize),
    /// Submits a close it was given.
    CoopClose,
    /// Disputes with one of the states it was given.
    Dispute(usize),
    /// Finishes.
    Finish,
    /// A claim to have this much, and to know this round.
    Ack(u128, u64),
}

fn lie() -> impl Strategy<Value = Lie> {
    let total = DEPOSITS.0 + DEPOSITS.1;
    prop_oneof![
        6 => (0..6_u64, 0..total, prop_oneof![4 => Just(0), 1 => 1..9_u128], 0..4_000_u128)
            .prop_map(|(jump, balance_a, skew, counted)| Lie::State { jump, balance_a, skew, counted }),
        1 => (0..total).prop_map(Lie::Close),
        1 => (0..20_usize).prop_map(Lie::Challenge),
        1 => Just(Lie::CoopClose),
        2 => (0..20_usize).prop_map(Lie::Dispute),
        1 => Just(Lie::Finish),
        1 => (0..20_000_u128, 0..1_u64 << 48).prop_map(|(units, round)| Lie::Ack(units, round)),
    ]
}

fn tell(world: &mut World, liar: Party, lie: &Lie) {
    let honest = liar.other();
    let given: Vec<SignedState> = given_to(world, honest);
    let total = DEPOSITS.0 + DEPOSITS.1;
    let submit = |world: &mut World, call: Call| {
        let transaction: Prepared = world.contract.prepare(liar, call);
        world.contract.submit(&transaction);
    };
    match lie {
        Lie::State { jump, balance_a, skew, counted } => {
            let newest = world.node(honest).memory.current().round.get();
            let round = Round::new(newest + jump).unwrap();
            let balances = Balances { a: amount(*balance_a), b: amount(total - balance_a + skew) };
            let state = State { round, balances };
            let signature = world.sign(liar, &Payload::State(state));
            let message = Message::Pay { signed: SignedState { state, signature }, counted: amount(*counted) };
            let _ = world.take(honest, &message);
        }
        Lie::Close(balance_a) => {
            let balances = Balances { a: amount(*balance_a), b: amount(total - balance_a) };
            let signature = world.sign(liar, &Payload::Close(balances));
            let _ = world.take(honest, &Message::CloseOffer(SignedClose { balances, signature }));
        }
        Lie::Challenge(which) => submit(world, Call::Challenge(given.get(which % (given.len() + 1)).copied())),
        Lie::Dispute(which) if !given.is_empty() => submit(world, Call::Dispute(given[which % given.len()])),
        Lie::CoopClose => {
            if let Phase::CloseSigned(close) = world.node(honest).disk.phase {
                submit(world, Call::CooperativeClose(close));
            }
        }
        Lie::Finish => submit(world, Call::Finish),
        Lie::Ack(units, round) => {
            let round = Round::new(*round).unwrap();
            let _ = world.take(honest, &Message::Ack { counted: amount(*units), round });
        }
        Lie::Dispute(_) => {}
    }
}

/// Each state that an honest party ever let out.
fn given_to(world: &World, honest: Party) -> Vec<SignedState> {
    let states = world.node(honest).left.values();
    states
        .map(|state| {
            // Signing is deterministic: the same signature as the one that left.
            let digest = world.node(honest).memory.signable().unwrap().digest(&Payload::State(*state));
            SignedState { state: *state, signature: key(honest).sign_digest(&digest) }
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn a_lying_peer_takes_nothing(
        liar in party(),
        story in prop::collection::vec(prop_oneof![3 => event().prop_map(Ok), 4 => lie().prop_map(Err), 1 => ending().prop_map(Ok)], 1..60),
    ) {
        let honest = liar.other();
        let mut world = World::open();
        let mut accepted = world.node(honest).disk.own_balance().get();
        for event in &story {
            let paid = world.node(honest).disk.paid.get();
            match event {
                Ok(event) => apply(&mut world, event, &[honest]),
                Err(lie) => {
                    tell(&mut world, liar, lie);
                    // Anyone's lie is answered within the period.
                    world.pass(1, &[honest]);
                }
            }
            let disk = &world.node(honest).disk;
            let own_payments = disk.paid.get() - paid;
            prop_assert!(disk.own_balance().get() + own_payments >= accepted, "lowered by something else than an own payment");
            accepted = disk.own_balance().get();
        }
        finish(&mut world, &[honest]);
        prop_assert!(world.payout(honest).unwrap() >= accepted, "{} < {accepted}", world.payout(honest).unwrap());
    }
}

#[test]
fn a_crash_at_every_effect_is_resumed() {
    // The whole story with the process of one party ending after its nth effect, for every n.
    for victim in parties() {
        for fuse in 0..40 {
            let mut world = World::new();
            world.nodes[index(victim)].fuse = Some(fuse);
            let retry = |world: &mut World, party: Party, input: Input| {
                let _ = world.run(party, input.clone());
                world.look(Party::A);
                world.look(Party::B);
                // The second stream is for what the end of the process on the first one lost.
                for _ in 0..2 {
                    world.reconnect();
                    world.settle_streams();
                }
            };
            for _ in 0..2 {
                retry(&mut world, Party::A, Input::Open(0));
                retry(&mut world, Party::B, Input::Accept(0));
            }
            assert_eq!(world.contract.seen, OnChain::Open);
            for (party, units) in [(Party::A, 100), (Party::B, 30), (Party::A, 5), (Party::B, 1)] {
                // A payment that was not kept was not made: the owner sees it in `paid` and pays then.
                let before = world.node(party).disk.paid;
                retry(&mut world, party, Input::Pay(amount(units)));
                if world.node(party).disk.paid == before {
                    retry(&mut world, party, Input::Pay(amount(units)));
                }
            }
            for _ in 0..2 {
                retry(&mut world, Party::A, Input::SignClose);
                retry(&mut world, Party::B, Input::CoopClose);
            }
            let paid = 105 - 31;
            assert_eq!(world.payout(Party::A), Some(DEPOSITS.0 - paid), "{victim:?} after {fuse}");
            assert_eq!(world.payout(Party::B), Some(DEPOSITS.1 + paid), "{victim:?} after {fuse}");
        }
    }
}
