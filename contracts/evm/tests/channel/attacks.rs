//! The weaknesses of the original contracts (sspc.md 2.5), each tried against ours; by their numbers there. Those that can be shown cheaply succeed
//! against the old rules in `old_rules.rs`. W15 (one key for funds and payments, no ERC-1271) is a limit of this version.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::SolCall;
use channel_contract_evm::{CompactSignature, Sspc, SspcCompact, compact, sspc};

use crate::assert_refused;
use crate::channel::*;
use crate::contracts::{ACCOUNT, Account};
use crate::world::*;

const VALUES: [u128; 2] = [1_000, 800];
const PROPOSED: u8 = 1;
const OPEN: u8 = 2;

fn both(test: impl Fn(&mut World, Channel)) {
    for kind in KINDS {
        let mut world = World::new();
        let channel = Channel::new(&mut world, kind, VALUES);
        test(&mut world, channel);
    }
}

fn both_open(test: impl Fn(&mut World, Channel)) {
    both(|world, channel| {
        let channel = channel.opened(world);
        test(world, channel);
    });
}

fn parties() -> [Party; 3] {
    [Party::a(), Party::b(), Party::c()]
}

fn wealth(world: &mut World) -> [u128; 2] {
    [Party::a(), Party::b()].map(|party| world.balance(party.address))
}

fn finish(world: &mut World, channel: &Channel, by: &Party) {
    world.advance(u64::from(DAY) + 1);
    channel.send(world, by, Call::ForceClose).unwrap();
}

fn deadline(outcome: Outcome) -> u64 {
    let done = outcome.unwrap();
    let one_word = done.event::<Sspc::Closing>().map(|event| event.deadline);
    one_word.or_else(|| done.event::<SspcCompact::Closing>().map(|event| event.deadline)).expect("an event").to()
}

#[test]
fn w01_a_forced_close_pays_the_signed_state() {
    both_open(|world, channel| {
        let had = wealth(world);
        let [a, b, stranger] = parties();
        channel.challenge(world, &b, &a, 100, 9).unwrap();
        finish(world, &channel, &stranger);
        assert_eq!(channel.gained(world, had), [100, 1_700]);
    });
}

#[test]
fn w02_a_close_signature_undoes_no_payment() {
    both_open(|world, channel| {
        let had = wealth(world);
        let [a, b, _] = parties();
        // b signed the end, a owes 900. a tries to begin a unilateral close with that signature.
        let by = channel.close(&b, 100);
        for round in [2, 1 << 47, (1 << 48) - 2] {
            assert_refused!(channel.send(world, &a, Call::Challenge { balance_a: 100, round, by }), BadSignature);
        }
        // It goes back to the deposits instead; the agreed close still works.
        channel.challenge(world, &a, &b, 1_000, 0).unwrap();
        channel.cooperative_close(world, &b, &a, 100).unwrap();
        assert_eq!(channel.gained(world, had), [100, 1_700]);
    });
}

#[test]
fn w03_the_window_does_not_begin_again() {
    both_open(|world, channel| {
        let had = wealth(world);
        let [a, b, tower] = parties();
        let until = deadline(channel.challenge(world, &a, &b, 900, 2));
        world.advance(80_000);
        // The closer brings the same or the other state again; the other one brings the recorded one again.
        assert_refused!(channel.challenge(world, &a, &b, 900, 2), WrongPhase);
        assert_refused!(channel.challenge(world, &b, &a, 700, 3), WrongPhase);
        assert_refused!(channel.dispute(world, &a, &b, 700, 4), WrongSender);
        assert_refused!(channel.dispute(world, &b, &a, 950, 1), Stale);
        // Newer, by both: recorded, and the deadline is where it was.
        let [by_a, by_b] = [&a, &b].map(|party| channel.state(party, 800, 4));
        let call = Call::DisputeFor { balance_a: 800, round: 4, by_a, by_b };
        assert_eq!(deadline(channel.send(world, &tower, call)), until);
        assert_refused!(channel.send(world, &tower, call), Stale);
        world.advance(until - world.now());
        assert_refused!(channel.send(world, &tower, Call::ForceClose), TooEarly);
        world.advance(1);
        channel.send(world, &tower, Call::ForceClose).unwrap();
        assert_eq!(channel.gained(world, had), [800, 1_000]);
    });
}

#[test]
fn w04_a_signature_is_for_one_channel() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        let other = channel.next().opened(world);
        let by = channel.close(&a, 100);
        assert_refused!(other.send(world, &b, Call::CooperativeClose { balance_a: 100, by }), BadSignature);
        let by = channel.state(&a, 100, 1);
        assert_refused!(other.send(world, &b, Call::Challenge { balance_a: 100, round: 1, by }), BadSignature);
        other.challenge(world, &a, &b, 1_000, 0).unwrap();
        assert_refused!(other.send(world, &b, Call::Dispute { balance_a: 100, round: 1, by }), BadSignature);
    });
}

#[test]
fn w05_nothing_signed_locks_the_deposits() {
    both_open(|world, channel| {
        let had = wealth(world);
        let [a, b, stranger] = parties();
        let by = channel.close(&b, 400);
        assert_refused!(channel.send(world, &a, Call::Challenge { balance_a: 400, round: 2, by }), BadSignature);
        let by = channel.state(&b, 400, 2);
        assert_refused!(channel.send(world, &a, Call::CooperativeClose { balance_a: 400, by }), BadSignature);
        assert_eq!(channel.phase(world), OPEN);
        channel.challenge(world, &a, &b, 400, 2).unwrap();
        finish(world, &channel, &stranger);
        assert_eq!(channel.gained(world, had), [400, 1_400]);
    });
}

#[test]
fn w06_a_closed_channel_does_not_come_back() {
    both_open(|world, channel| {
        let [a, b, stranger] = parties();
        channel.challenge(world, &a, &b, 1_000, 0).unwrap();
        finish(world, &channel, &stranger);
        let calls = [
            Call::Accept,
            Call::Cancel,
            Call::ForceClose,
            Call::Challenge { balance_a: 1_000, round: 0, by: CompactSignature::default() },
        ];
        for (call, by) in calls.into_iter().flat_map(|call| [(call, &a), (call, &b)]) {
            let (_, data) = channel.encode(call);
            assert_refused!(world.send(by.address, channel.contract, 0, data), WrongPhase);
        }
        assert_refused!(channel.cooperative_close(world, &b, &a, 0), WrongPhase);
        match channel.kind {
            Kind::OneWord => assert_refused!(channel.send(world, &a, Call::Open), WrongPhase),
            Kind::Compact => {
                // The same parties once more: the next number, and nothing of the last dispute.
                let again = channel.next().opened(world);
                assert_refused!(again.send(world, &stranger, Call::ForceClose), WrongPhase);
            }
        }
    });
}

#[test]
fn w07_only_the_other_party_disputes_and_only_a_close() {
    both_open(|world, channel| {
        let [a, b, stranger] = parties();
        assert_refused!(channel.dispute(world, &b, &a, 700, 3), WrongPhase);
        let [by_a, by_b] = [&a, &b].map(|party| channel.state(party, 700, 3));
        let tower = Call::DisputeFor { balance_a: 700, round: 3, by_a, by_b };
        assert_refused!(channel.send(world, &stranger, tower), WrongPhase);

        channel.challenge(world, &a, &b, 900, 2).unwrap();
        assert_refused!(channel.dispute(world, &a, &b, 950, 4), WrongSender);
        assert_refused!(channel.dispute(world, &a, &a, 950, 3), WrongSender);
        assert_refused!(channel.dispute(world, &stranger, &a, 700, 3), WrongSender);
        // A closer with a last state of its own, brought by a second account.
        let own = channel.state(&a, 1_800, 5);
        for (by_a, by_b) in [(own, own), (own, CompactSignature::default()), (CompactSignature::default(), own)] {
            let call = Call::DisputeFor { balance_a: 1_800, round: 5, by_a, by_b };
            assert_refused!(channel.send(world, &stranger, call), BadSignature);
        }
        channel.dispute(world, &b, &a, 700, 3).unwrap();
        assert_refused!(channel.dispute(world, &b, &a, 600, 5), WrongPhase);
    });
}

#[test]
fn w08_a_signature_is_for_one_deployment_on_one_chain() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        let (second, _) = world.deploy(channel.kind.creation_code());
        let mut elsewhere = channel.clone();
        elsewhere.contract = second;
        let elsewhere = elsewhere.opened(world);
        let by = channel.close(&a, 100);
        assert_refused!(elsewhere.send(world, &b, Call::CooperativeClose { balance_a: 100, by }), BadSignature);

        world.set_chain_id(world.chain_id() + 1);
        assert_refused!(channel.send(world, &b, Call::CooperativeClose { balance_a: 100, by }), BadSignature);
        let mut split = channel.clone();
        split.chain_id += 1;
        split.cooperative_close(world, &b, &a, 100).unwrap();
    });
}

#[test]
fn w09_nobody_takes_an_id_first() {
    both(|world, channel| {
        let [a, _, stranger] = parties();
        let (value, data) = channel.encode(Call::Open);
        match channel.kind {
            Kind::OneWord => {
                assert_refused!(world.send(stranger.address, channel.contract, value, data), WrongSender);
                let done = channel.send(world, &a, Call::Open).unwrap();
                assert_eq!(done.event::<Sspc::Opened>().expect("an event").id, channel.id());
            }
            Kind::Compact => {
                // A stranger's channel has the stranger in it, and a's the next number.
                let done = world.send(stranger.address, channel.contract, value, data).unwrap();
                let event = done.event::<SspcCompact::Opened>().expect("an event");
                assert_eq!((event.id, event.a), (1, stranger.address));
                let done = channel.send(world, &a, Call::Open).unwrap();
                let event = done.event::<SspcCompact::Opened>().expect("an event");
                assert_eq!((event.id, event.a), (2, a.address));
            }
        }
    });
}

#[test]
fn w10_a_proposal_can_be_taken_back() {
    both(|world, channel| {
        let had = wealth(world);
        let [a, b, stranger] = parties();
        channel.send(world, &a, Call::Open).unwrap();
        assert_eq!(channel.phase(world), PROPOSED);
        assert_refused!(channel.send(world, &b, Call::Cancel), WrongSender);
        assert_refused!(channel.send(world, &stranger, Call::Cancel), WrongSender);
        assert_refused!(channel.send(world, &stranger, Call::Accept), WrongSender);
        channel.send(world, &a, Call::Cancel).unwrap();
        assert_eq!(channel.gained(world, had), [0, 0]);
        assert_refused!(channel.send(world, &b, Call::Accept), WrongPhase);
        assert_refused!(channel.send(world, &a, Call::Cancel), WrongPhase);
    });
    both_open(|world, channel| {
        assert_refused!(channel.send(world, &Party::a(), Call::Cancel), WrongPhase);
    });
}

/// b's deposit is missing: whatever the two sign, it would be paid from the money of other channels.
#[test]
fn w10_a_proposal_pays_nobody_but_its_maker() {
    both(|world, channel| {
        let [a, b, stranger] = parties();
        let channel = channel.clone().opened(world).next();
        let held = world.balance(channel.contract);
        channel.send(world, &a, Call::Open).unwrap();
        assert_refused!(channel.cooperative_close(world, &a, &b, 900), WrongPhase);
        assert_refused!(channel.cooperative_close(world, &b, &a, 900), WrongPhase);
        assert_refused!(Channel::close_many(world, &b, &[channel.item(900)]), WrongPhase);
        let [by_a, by_b] = [&a, &b].map(|party| channel.state(party, 900, 3));
        for party in [&a, &b] {
            assert_refused!(channel.challenge(world, party, party, 1_000, 0), WrongPhase);
            assert_refused!(channel.send(world, party, Call::Dispute { balance_a: 900, round: 3, by: by_a }), WrongPhase);
        }
        assert_refused!(channel.challenge(world, &b, &a, 900, 3), WrongPhase);
        assert_refused!(channel.challenge(world, &a, &b, 900, 4), WrongPhase);
        let tower = Call::DisputeFor { balance_a: 900, round: 3, by_a, by_b };
        for call in [tower, Call::ForceClose] {
            assert_refused!(channel.send(world, &stranger, call), WrongPhase);
        }
        let had = wealth(world);
        channel.send(world, &a, Call::Cancel).unwrap();
        assert_eq!(channel.gained(world, had), [1_000, 0]);
        assert_eq!(world.balance(channel.contract), held, "the other channel's money is there");
    });
}

#[test]
fn w11_a_party_without_any_signature_can_leave() {
    both_open(|world, channel| {
        let [a, b, stranger] = parties();
        for by in [&a, &b] {
            let mut world = world.fork();
            let had = wealth(&mut world);
            assert_refused!(channel.challenge(&mut world, by, by, 1_001, 0), WrongAmount);
            channel.challenge(&mut world, by, by, 1_000, 0).unwrap();
            finish(&mut world, &channel, &stranger);
            assert_eq!(channel.gained(&mut world, had), [1_000, 800]);
        }
        assert_refused!(channel.challenge(world, &stranger, &a, 1_000, 0), WrongSender);
        // Undisputed it stands; the payee has what the payer signed.
        let had = wealth(world);
        channel.challenge(world, &a, &b, 1_000, 0).unwrap();
        channel.dispute(world, &b, &a, 300, 7).unwrap();
        assert_eq!(channel.gained(world, had), [300, 1_500]);
    });
}

#[test]
fn w12_a_payout_that_fails_is_not_lost() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        let code = world.deploy_hex(ACCOUNT);
        world.delegate(a.address, code);
        world.call(a.address, a.address, &Account::becomeCall { habit: 1 }).unwrap();
        let had = wealth(world);
        channel.cooperative_close(world, &b, &a, 900).unwrap();
        assert_eq!(channel.gained(world, had), [0, 900]);
        assert_eq!(channel.credit(world, a.address), 900);
        let withdraw = |to| Sspc::withdrawCall { token: Address::ZERO, to };
        assert_refused!(world.call(b.address, channel.contract, &withdraw(b.address)), NotPaid);
        world.call(a.address, channel.contract, &withdraw(Party::c().address)).unwrap();
        assert_eq!(world.balance(channel.contract), 0);
    });
    // An account that needs more than the 2,300 gas of a bare transfer is simply paid.
    both_open(|world, channel| {
        let [a, b, _] = parties();
        let code = world.deploy_hex(ACCOUNT);
        world.delegate(a.address, code);
        world
            .call(a.address, a.address, &Account::prepareCall { target: b.address, value: U256::ZERO, data: Vec::new().into() })
            .unwrap();
        let had = wealth(world);
        channel.cooperative_close(world, &b, &a, 900).unwrap();
        assert_eq!(channel.gained(world, had), [900, 900]);
    });
}

#[test]
fn w13_a_round_belongs_to_one_party() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        // Both signed round 7; only a may.
        assert_refused!(channel.challenge(world, &a, &b, 1_200, 7), WrongRound);
        assert_refused!(channel.challenge(world, &b, &a, 300, 8), WrongRound);
        let had = wealth(world);
        channel.challenge(world, &b, &a, 300, 7).unwrap();
        assert_refused!(channel.dispute(world, &a, &b, 1_200, 9), WrongRound);
        // The payments crossed: the higher round wins.
        channel.dispute(world, &a, &b, 1_200, 8).unwrap();
        assert_eq!(channel.gained(world, had), [1_200, 600]);
    });
}

#[test]
fn w14_each_channel_has_its_period_within_bounds() {
    both(|world, channel| {
        for (period, fits) in [(PERIODS.0 - 1, false), (PERIODS.0, true), (PERIODS.1, true), (PERIODS.1 + 1, false), (0, false)] {
            let mut world = world.fork();
            let mut channel = channel.clone();
            channel.params.period = period;
            if !fits {
                assert_refused!(channel.send(&mut world, &Party::a(), Call::Open), WrongTerms);
                continue;
            }
            let channel = channel.opened(&mut world);
            let until = deadline(channel.challenge(&mut world, &Party::a(), &Party::b(), 1_000, 0));
            assert_eq!(until, world.now() + u64::from(period));
        }
    });
    for (shortest, longest) in [(0, 0), (0, DAY), (DAY + 1, DAY)] {
        for code in [sspc::creation_code(shortest, longest), compact::creation_code(shortest, longest)] {
            assert_refused!(World::new().try_deploy(code), WrongTerms);
        }
    }
}

#[test]
fn w16_a_signature_that_recovers_nobody_is_nobodys() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        let good = channel.close(&a, 100);
        let zero = B256::ZERO;
        for by in [CompactSignature::default(), CompactSignature { r: zero, ..good }, CompactSignature { vs: zero, ..good }] {
            assert_refused!(channel.send(world, &b, Call::CooperativeClose { balance_a: 100, by }), BadSignature);
        }
        let mut nobody = channel.next();
        nobody.params.b = Address::ZERO;
        nobody.params.valueB = 0;
        assert_refused!(nobody.send(world, &a, Call::Open), WrongTerms);
        nobody.params.b = a.address;
        assert_refused!(nobody.send(world, &a, Call::Open), WrongTerms);
    });
}

/// The calls that pay a, each with what makes it possible, as b or a would send it.
const PAYING_A: [&str; 6] = ["cooperativeClose", "closeMany", "disputeChallenge", "forceClose", "cancel", "withdraw"];

/// Brings a channel of a's to where this call pays a 900, and returns who sends it with what data.
fn about_to_pay_a(world: &mut World, channel: &Channel, call: &str) -> (Party, Vec<u8>) {
    let [a, b, stranger] = parties();
    if call != "cancel" {
        channel.send(world, &b, Call::Accept).unwrap();
    }
    match call {
        "cooperativeClose" => (b, channel.encode(Call::CooperativeClose { balance_a: 900, by: channel.close(&a, 900) }).1),
        "closeMany" => (b, Channel::encode_many(&[channel.item(900)])),
        "disputeChallenge" => {
            channel.challenge(world, &b, &a, 850, 1).unwrap();
            (a, channel.encode(Call::Dispute { balance_a: 900, round: 2, by: channel.state(&b, 900, 2) }).1)
        }
        "forceClose" => {
            channel.challenge(world, &a, &b, 900, 2).unwrap();
            world.advance(u64::from(DAY) + 1);
            (stranger, channel.encode(Call::ForceClose).1)
        }
        "cancel" => (a, channel.encode(Call::Cancel).1),
        "withdraw" => {
            world.call(a.address, a.address, &Account::becomeCall { habit: 1 }).unwrap();
            channel.cooperative_close(world, &b, &a, 900).unwrap();
            assert_eq!(channel.credit(world, a.address), 900);
            (a.clone(), Sspc::withdrawCall { token: channel.params.token, to: a.address }.abi_encode())
        }
        other => panic!("no such call: {other}"),
    }
}

#[test]
fn w17_a_recipient_that_calls_back_gets_nothing_twice() {
    both(|world, channel| {
        let [a, b, _] = parties();
        let code = world.deploy_hex(ACCOUNT);
        world.delegate(a.address, code);
        // A cancelled proposal pays its whole deposit, so that one is of 900.
        let other = channel.clone().opened(world);
        let mut channel = channel.next();
        channel.params.valueA = 900;
        channel.send(world, &a, Call::Open).unwrap();
        let inner = [
            channel.encode(Call::CooperativeClose { balance_a: 900, by: channel.close(&b, 900) }).1,
            channel.encode(Call::Challenge { balance_a: 900, round: 0, by: CompactSignature::default() }).1,
            channel.encode(Call::Dispute { balance_a: 900, round: 2, by: channel.state(&b, 900, 2) }).1,
            channel.encode(Call::ForceClose).1,
            channel.encode(Call::Cancel).1,
            Sspc::withdrawCall { token: Address::ZERO, to: a.address }.abi_encode(),
        ];
        for outer in PAYING_A {
            for (number, data) in inner.iter().enumerate() {
                let mut world = world.fork();
                let (from, call) = about_to_pay_a(&mut world, &channel, outer);
                let prepare = Account::prepareCall { target: channel.contract, value: U256::ZERO, data: data.clone().into() };
                world.call(a.address, a.address, &prepare).unwrap();
                let had = world.balance(a.address);
                world.send(from.address, channel.contract, 0, call).unwrap();
                let [tries, successes] = [
                    world.view(a.address, &Account::triesCall {}).to::<u64>(),
                    world.view(a.address, &Account::successesCall {}).to::<u64>(),
                ];
                assert_eq!((tries, successes), (1, 0), "call {number} inside {outer}");
                assert_eq!(world.balance(a.address) - had, 900, "call {number} inside {outer}");
                assert_eq!(world.balance(channel.contract), other.total(), "the other channel's money is there");
            }
        }
    });
}

#[test]
fn w18_the_events_say_who_and_until_when() {
    both(|world, channel| {
        let [a, b, _] = parties();
        let done = channel.send(world, &a, Call::Open).unwrap();
        let named = match channel.kind {
            Kind::OneWord => done.event::<Sspc::Opened>().map(|event| (event.a, event.b)),
            Kind::Compact => done.event::<SspcCompact::Opened>().map(|event| (event.a, event.b)),
        };
        assert_eq!(named, Some((a.address, b.address)));
        channel.send(world, &b, Call::Accept).unwrap();
        let until = deadline(channel.challenge(world, &b, &a, 100, 1));
        assert_eq!(until, world.now() + u64::from(DAY));
    });
}

/// The closer holds what both signed, so it can put a newer state on record by `disputeFor` itself, when nobody can answer any more. Who
/// leaves an old close alone because its balances suit it better loses by that; who disputes by round does not.
#[test]
fn an_old_close_is_disputed_even_where_it_pays_more() {
    both_open(|world, channel| {
        let [a, b, stranger] = parties();
        // b paid in round 2, a in round 3, b in round 4: a is due 600. b closes with the deposits, where a has 1,000.
        let [by_a, by_b] = [&a, &b].map(|party| channel.state(party, 200, 3));
        channel.challenge(world, &b, &a, 1_000, 0).unwrap();
        let had = wealth(world);

        let mut content = world.fork();
        content.advance(u64::from(DAY));
        channel.send(&mut content, &b, Call::DisputeFor { balance_a: 200, round: 3, by_a, by_b }).unwrap();
        content.advance(1);
        channel.send(&mut content, &stranger, Call::ForceClose).unwrap();
        assert_eq!(channel.gained(&mut content, had), [200, 1_600]);

        channel.dispute(world, &a, &b, 600, 4).unwrap();
        assert_eq!(channel.gained(world, had), [600, 1_200]);
        assert_refused!(channel.send(world, &b, Call::DisputeFor { balance_a: 200, round: 3, by_a, by_b }), WrongPhase);
    });
}

/// A payout is never more than the deposits, and what one gets the other does not.
#[test]
fn balances_beyond_the_deposits_are_refused() {
    both_open(|world, channel| {
        let [a, b, _] = parties();
        assert_refused!(channel.cooperative_close(world, &b, &a, 1_801), WrongAmount);
        assert_refused!(channel.challenge(world, &b, &a, 1_801, 1), WrongAmount);
        assert_refused!(channel.challenge(world, &b, &a, u128::MAX, 1), WrongAmount);
    });
    for kind in KINDS {
        let mut world = World::new();
        let mut channel = Channel::new(&mut world, kind, [WEALTH / 2, u128::MAX - WEALTH / 2]);
        channel.send(&mut world, &Party::a(), Call::Open).unwrap();
        channel = channel.next();
        channel.params.valueB += 1;
        assert_refused!(channel.send(&mut world, &Party::a(), Call::Open), WrongAmount);
    }
}

#[test]
fn a_batch_is_of_one_payee_and_one_token_and_of_different_channels() {
    both_open(|world, channel| {
        let [a, b, stranger] = parties();
        let other = channel.next().opened(world);
        let had = wealth(world);
        let nothing = match channel.kind {
            Kind::OneWord => Sspc::closeManyCall { items: Vec::new() }.abi_encode(),
            Kind::Compact => SspcCompact::closeManyCall { items: Vec::new() }.abi_encode(),
        };
        assert_refused!(world.send(b.address, channel.contract, 0, nothing), WrongTerms);
        assert_refused!(Channel::close_many(world, &a, &[channel.item(100)]), WrongSender);
        assert_refused!(Channel::close_many(world, &stranger, &[channel.item(100)]), WrongSender);
        assert_refused!(Channel::close_many(world, &b, &[channel.item(100), channel.item(100)]), WrongPhase);
        let (_, _, by) = channel.item(100);
        assert_refused!(Channel::close_many(world, &b, &[channel.item(100), (&other, 100, by)]), BadSignature);
        let token = world.deploy_hex(crate::contracts::TOKEN);
        let in_token = other.next().in_token(world, token).opened(world);
        assert_refused!(Channel::close_many(world, &b, &[channel.item(100), in_token.item(100)]), WrongTerms);
        Channel::close_many(world, &b, &[channel.item(100), other.item(700)]).unwrap();
        assert_eq!(channel.gained(world, had), [800, 2_800]);
    });
}

/// One meaning has one form: bits that say nothing must be zero.
#[test]
fn packed_arguments_have_no_spare_bits() {
    let mut world = World::new();
    let token = world.deploy_hex(crate::contracts::TOKEN);
    let channel = Channel::new(&mut world, Kind::Compact, VALUES).opened(&mut world);
    let in_token = channel.next().in_token(&mut world, token);
    let by = channel.close(&Party::a(), 100);
    let (balance_a, state) = (100, channel.state(&Party::a(), 100, 1));
    let calls = [
        (Party::a(), channel.encode(Call::Open), 192),
        (Party::a(), in_token.encode(Call::Open), 224),
        (Party::b(), channel.encode(Call::CooperativeClose { balance_a, by }), 192),
        (Party::b(), channel.encode(Call::Challenge { balance_a, round: 1, by: state }), 240),
        (Party::b(), channel.encode(Call::Dispute { balance_a, round: 1, by: state }), 240),
        (Party::c(), channel.encode(Call::DisputeFor { balance_a, round: 1, by_a: state, by_b: state }), 240),
    ];
    for (from, (value, data), first_spare) in calls {
        for bit in [first_spare, 255] {
            assert_refused!(world.send(from.address, channel.contract, value, with_bit(&data, 0, bit)), WrongTerms);
        }
    }
    // The words of a batch: where the items begin, how many they are, the first item.
    let data = Channel::encode_many(&[channel.item(100)]);
    assert_refused!(world.send(Party::b().address, channel.contract, 0, with_bit(&data, 2, 192)), WrongTerms);
    world.send(Party::b().address, channel.contract, 0, data).unwrap();
}

/// The data of a call with one more bit set, in this word after the selector.
fn with_bit(data: &[u8], word: usize, bit: usize) -> Vec<u8> {
    let mut data = data.to_vec();
    data[4 + 32 * word + (255 - bit) / 8] |= 1 << (bit % 8);
    data
}

#[test]
#[should_panic(expected = "no state has the round")]
fn a_round_of_more_than_48_bits_is_not_packed() {
    compact::pack_state(1, channel_contract_evm::LAST_ROUND + 1, 0);
}

/// `openToken` with index 0 is `open` with the value sent.
#[test]
fn the_coin_has_the_index_zero() {
    let mut world = World::new();
    let channel = Channel::new(&mut world, Kind::Compact, VALUES);
    let terms = compact::pack_terms(0, DAY, Party::b().address);
    let open = SspcCompact::openTokenCall { terms, values: compact::pack_values(VALUES[0], VALUES[1]) }.abi_encode();
    for value in [0, VALUES[0] - 1, VALUES[0] + 1] {
        assert_refused!(world.send(Party::a().address, channel.contract, value, open.clone()), WrongAmount);
    }
    let had = wealth(&mut world);
    world.send(Party::a().address, channel.contract, VALUES[0], open).unwrap();
    channel.send(&mut world, &Party::b(), Call::Accept).unwrap();
    channel.cooperative_close(&mut world, &Party::b(), &Party::a(), 100).unwrap();
    assert_eq!(channel.gained(&mut world, had), [-900, 900]);
}

/// The parameters are those of the id: other ones are another channel, which does not exist.
#[test]
fn other_parameters_are_another_channel() {
    let mut world = World::new();
    let channel = Channel::new(&mut world, Kind::OneWord, VALUES).opened(&mut world);
    let change: [fn(&mut sspc::Params); 7] = [
        |p| p.a = Party::c().address,
        |p| p.b = Party::c().address,
        |p| p.token = Address::repeat_byte(1),
        |p| p.valueA += 1,
        |p| p.valueB += 1,
        |p| p.period -= 1,
        |p| p.salt += 1,
    ];
    for change in change {
        let mut other = channel.clone();
        change(&mut other.params);
        for (party, signer) in [(Party::a(), Party::b()), (Party::b(), Party::a()), (Party::c(), Party::a())] {
            assert_refused!(other.cooperative_close(&mut world, &party, &signer, 100), WrongPhase);
        }
    }
}
