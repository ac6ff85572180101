//! Tokens with habits, and recipients that do not want to be paid.

use alloy_primitives::{Address, U256};
use alloy_sol_types::SolCall;
use channel_contract_evm::Sspc;

use crate::assert_refused;
use crate::channel::*;
use crate::contracts::{ACCOUNT, Account, ODD_TOKEN, OddToken};
use crate::world::*;

const VALUES: [u128; 2] = [1_000_000, 800_000];
const LAST: u128 = 700_000;

// The habits of a token and of an account, by their numbers in the test contracts.
const RETURNS_NOTHING: u8 = 1;
const RETURNS_FALSE: u8 = 2;
const KEEPS_FEE: u8 = 3;
const CALLS_SENDER: u8 = 4;
const CALLS_RECIPIENT: u8 = 5;
const REFUSES: u8 = 1;
const BURNS_GAS: u8 = 2;
const RETURNS_MUCH: u8 = 3;
const WANTS_GAS: u8 = 5;

/// A channel in an odd token that behaves so far, not yet opened.
fn odd(kind: Kind) -> (World, Channel, Address) {
    let mut world = World::new();
    let token = world.deploy_hex(ODD_TOKEN);
    let channel = Channel::new(&mut world, kind, VALUES).in_token(&mut world, token);
    (world, channel, token)
}

fn become_(world: &mut World, token: Address, habit: u8) {
    world.call(Party::c().address, token, &OddToken::becomeCall { habit }).unwrap();
}

/// Gives a party the code of an account with a habit.
fn habit_of(world: &mut World, party: &Party, habit: u8) {
    let code = world.deploy_hex(ACCOUNT);
    world.delegate(party.address, code);
    world.call(party.address, party.address, &Account::becomeCall { habit }).unwrap();
}

fn withdraw(world: &mut World, channel: &Channel, from: &Party, to: Address) -> Outcome {
    world.call(from.address, channel.contract, &Sspc::withdrawCall { token: channel.params.token, to })
}

fn before(world: &mut World, channel: &Channel) -> [u128; 2] {
    [channel.params.a, channel.params.b].map(|party| channel.holds(world, party))
}

#[test]
fn a_token_that_returns_nothing_works() {
    for kind in KINDS {
        let (mut world, channel, token) = odd(kind);
        let had = before(&mut world, &channel);
        become_(&mut world, token, RETURNS_NOTHING);
        let channel = channel.opened(&mut world);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!(channel.gained(&mut world, had), [-300_000, 300_000]);
    }
}

#[test]
fn a_deposit_that_returns_false_is_refused() {
    for kind in KINDS {
        let (mut world, channel, token) = odd(kind);
        become_(&mut world, token, RETURNS_FALSE);
        assert_refused!(channel.send(&mut world, &Party::a(), Call::Open), TokenRefused);
    }
}

#[test]
fn a_payout_that_returns_false_is_credited_and_can_be_taken_later() {
    for kind in KINDS {
        let (mut world, channel, token) = odd(kind);
        let had = before(&mut world, &channel);
        let channel = channel.opened(&mut world);
        become_(&mut world, token, RETURNS_FALSE);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!(channel.credit(&mut world, channel.params.a), LAST);
        assert_refused!(withdraw(&mut world, &channel, &Party::a(), Party::a().address), NotPaid);
        assert_eq!(channel.credit(&mut world, channel.params.a), LAST, "what failed is still owed");
        become_(&mut world, token, 0);
        for party in [Party::a(), Party::b()] {
            withdraw(&mut world, &channel, &party, party.address).unwrap();
            assert_refused!(withdraw(&mut world, &channel, &party, party.address), NotPaid);
        }
        assert_eq!(channel.gained(&mut world, had), [-300_000, 300_000]);
        assert_eq!(channel.holds(&mut world, channel.contract), 0);
    }
}

#[test]
fn a_token_that_keeps_a_fee_is_refused() {
    for kind in KINDS {
        let (mut world, channel, token) = odd(kind);
        become_(&mut world, token, KEEPS_FEE);
        assert_refused!(channel.send(&mut world, &Party::a(), Call::Open), TokenRefused);
        become_(&mut world, token, 0);
        channel.send(&mut world, &Party::a(), Call::Open).unwrap();
        become_(&mut world, token, KEEPS_FEE);
        assert_refused!(channel.send(&mut world, &Party::b(), Call::Accept), TokenRefused);
    }
}

#[test]
fn an_account_without_code_is_no_token() {
    let mut world = World::new();
    let mut channel = Channel::new(&mut world, Kind::OneWord, VALUES);
    channel.params.token = Address::repeat_byte(0x77);
    assert_refused!(channel.send(&mut world, &Party::a(), Call::Open), TokenRefused);
    let in_storage = Channel::new(&mut world, Kind::Compact, VALUES);
    let register = channel_contract_evm::SspcCompact::registerTokenCall { token: channel.params.token };
    assert_refused!(world.call(Party::a().address, in_storage.contract, &register), UnknownToken);
    let mut unknown = in_storage;
    unknown.token_index = 9;
    assert_refused!(unknown.send(&mut world, &Party::a(), Call::Open), UnknownToken);
}

/// A call to an account without code succeeds and says nothing, as a token does that returns nothing. Here a key is a token for a while.
#[test]
fn a_payout_to_a_token_that_lost_its_code_is_credited() {
    for kind in KINDS {
        let mut world = World::new();
        let code = world.deploy_hex(ODD_TOKEN);
        let token = Party::named("token").address;
        world.delegate(token, code);
        let channel = Channel::new(&mut world, kind, VALUES).in_token(&mut world, token);
        let had = before(&mut world, &channel);
        let channel = channel.opened(&mut world);
        world.end_delegation(token);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!([Party::a(), Party::b()].map(|party| channel.credit(&mut world, party.address)), [LAST, 1_100_000]);
        assert_refused!(withdraw(&mut world, &channel, &Party::a(), Party::a().address), NotPaid);
        world.delegate(token, code);
        for party in [Party::a(), Party::b()] {
            withdraw(&mut world, &channel, &party, party.address).unwrap();
        }
        assert_eq!(channel.gained(&mut world, had), [-300_000, 300_000]);
    }
}

#[test]
fn a_token_has_one_index() {
    let (mut world, channel, token) = odd(Kind::Compact);
    let again = channel_contract_evm::SspcCompact::registerTokenCall { token };
    assert_refused!(world.call(Party::c().address, channel.contract, &again), UnknownToken);
}

#[test]
fn a_blocked_recipient_does_not_block_the_other_party() {
    for kind in KINDS {
        let (mut world, channel, token) = odd(kind);
        let had = before(&mut world, &channel);
        let channel = channel.opened(&mut world);
        let block = |blocked| OddToken::block_Call { account: Party::a().address, blocked };
        world.call(Party::c().address, token, &block(true)).unwrap();
        let done = channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        let credited = done.event::<Sspc::Credited>().expect("an event");
        assert_eq!((credited.owner, credited.token, credited.amount), (Party::a().address, token, U256::from(LAST)));
        assert_eq!(channel.gained(&mut world, had), [-1_000_000, 300_000], "b has its share");
        // a takes its share by another account.
        withdraw(&mut world, &channel, &Party::a(), Party::c().address).unwrap();
        assert_eq!(channel.holds(&mut world, Party::c().address), LAST);
        assert_eq!(channel.holds(&mut world, channel.contract), 0);
    }
}

#[test]
fn a_recipient_of_the_coin_that_refuses_burns_or_floods_does_not_block_the_other_party() {
    for kind in KINDS {
        for habit in [REFUSES, BURNS_GAS, RETURNS_MUCH] {
            let mut world = World::new();
            let channel = Channel::new(&mut world, kind, VALUES).opened(&mut world);
            habit_of(&mut world, &Party::a(), habit);
            let had = before(&mut world, &channel);
            let done = channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
            assert!(done.gas < 350_000, "the exit stays affordable: {}", done.gas);
            assert_eq!(channel.gained(&mut world, had), [0, 1_100_000], "habit {habit}");
            assert_eq!(channel.credit(&mut world, Party::a().address), LAST);
            withdraw(&mut world, &channel, &Party::a(), Party::c().address).unwrap();
            assert_eq!(channel.holds(&mut world, channel.contract), 0);
        }
    }
}

/// A stranger finishes with too little gas, so that the payout to an account that wants more fails: it must not become a credit.
#[test]
fn a_payout_is_not_starved_into_a_credit() {
    for kind in KINDS {
        let mut world = World::new();
        let channel = Channel::new(&mut world, kind, VALUES).opened(&mut world);
        channel.challenge(&mut world, &Party::a(), &Party::b(), VALUES[0], 0).unwrap();
        world.advance(u64::from(DAY) + 1);
        habit_of(&mut world, &Party::a(), WANTS_GAS);
        habit_of(&mut world, &Party::b(), WANTS_GAS);
        let (_, data) = channel.encode(Call::ForceClose);
        let mut finished = 0;
        for gas_limit in (40_000..400_000).step_by(2_500) {
            let mut world = world.fork();
            if world.send_with_gas(Party::c().address, channel.contract, 0, data.clone(), gas_limit).is_ok() {
                finished += 1;
                for party in [Party::a(), Party::b()] {
                    assert_eq!(channel.credit(&mut world, party.address), 0, "{kind:?}: starved at {gas_limit}");
                }
            }
        }
        assert!(finished > 0, "with enough gas it works");
    }
}

/// What a hook of a party tries while its payout or its deposit is under way.
fn hooks(kind: Kind, habit: u8, attempt: impl Fn(&Channel) -> (Address, Vec<u8>)) -> (World, Channel, [u128; 2]) {
    let (mut world, channel, token) = odd(kind);
    let rich = channel.next().opened_after(&mut world, &channel);
    let had = before(&mut world, &rich);
    let code = world.deploy_hex(ACCOUNT);
    world.delegate(Party::a().address, code);
    let (target, data) = attempt(&rich);
    prepare(&mut world, target, data);
    become_(&mut world, token, habit);
    (world, rich, had)
}

/// Makes a call back once, when it is paid.
fn prepare(world: &mut World, target: Address, data: Vec<u8>) {
    let prepare = Account::prepareCall { target, value: U256::ZERO, data: data.into() };
    world.call(Party::a().address, Party::a().address, &prepare).unwrap();
}

fn tries(world: &mut World) -> (u64, u64) {
    let account = Party::a().address;
    (world.view(account, &Account::triesCall {}).to(), world.view(account, &Account::successesCall {}).to())
}

fn withdraw_data(channel: &Channel) -> Vec<u8> {
    Sspc::withdrawCall { token: channel.params.token, to: Party::a().address }.abi_encode()
}

#[test]
fn a_hook_cannot_be_paid_twice() {
    for kind in KINDS {
        let close = |channel: &Channel| {
            let by = channel.close(&Party::b(), LAST);
            (channel.contract, channel.encode(Call::CooperativeClose { balance_a: LAST, by }).1)
        };
        let (mut world, channel, had) = hooks(kind, CALLS_RECIPIENT, close);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "the second close was tried and refused");
        assert_eq!(channel.gained(&mut world, had), [700_000, 1_100_000]);

        let take = |channel: &Channel| (channel.contract, withdraw_data(channel));
        let (mut world, channel, had) = hooks(kind, CALLS_RECIPIENT, take);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "nothing was owed while it was paid");
        assert_eq!(channel.gained(&mut world, had), [700_000, 1_100_000]);

        let finish = |channel: &Channel| (channel.contract, channel.encode(Call::ForceClose).1);
        let (mut world, channel, had) = hooks(kind, CALLS_RECIPIENT, finish);
        channel.challenge(&mut world, &Party::a(), &Party::b(), LAST, 2).unwrap();
        world.advance(u64::from(DAY) + 1);
        channel.send(&mut world, &Party::c(), Call::ForceClose).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "it was finished before anybody was called");
        assert_eq!(channel.gained(&mut world, had), [700_000, 1_100_000]);

        let cancel = |channel: &Channel| (channel.contract, channel.next().encode(Call::Cancel).1);
        let (mut world, channel, had) = hooks(kind, 0, cancel);
        let proposed = channel.next();
        proposed.send(&mut world, &Party::a(), Call::Open).unwrap();
        become_(&mut world, proposed.params.token, CALLS_RECIPIENT);
        proposed.send(&mut world, &Party::a(), Call::Cancel).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "it was closed before anybody was called");
        assert_eq!(proposed.gained(&mut world, had), [0, 0]);
    }
}

#[test]
fn a_hook_cannot_withdraw_twice() {
    for kind in KINDS {
        let take = |channel: &Channel| (channel.contract, withdraw_data(channel));
        let (mut world, channel, had) = hooks(kind, RETURNS_FALSE, take);
        channel.cooperative_close(&mut world, &Party::b(), &Party::a(), LAST).unwrap();
        assert_eq!(channel.credit(&mut world, Party::a().address), LAST);
        become_(&mut world, channel.params.token, CALLS_RECIPIENT);
        withdraw(&mut world, &channel, &Party::a(), Party::a().address).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "the credit was gone before anybody was called");
        assert_eq!(channel.gained(&mut world, had), [700_000, 0], "b has not taken its credit yet");
    }
}

#[test]
fn a_deposit_inside_a_deposit_is_refused() {
    for kind in KINDS {
        let open = |channel: &Channel| (channel.contract, channel.next().encode(Call::Open).1);
        let (mut world, channel, _) = hooks(kind, CALLS_SENDER, open);
        let held = channel.holds(&mut world, channel.contract);
        let mut another = channel.next();
        another.params.salt += 100;
        another.send(&mut world, &Party::a(), Call::Open).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "the inner deposit was tried and refused");
        assert_eq!(channel.holds(&mut world, channel.contract), held + VALUES[0]);
    }
}

#[test]
fn a_hook_cannot_spoil_the_batch_of_the_payee() {
    for kind in KINDS {
        // While a is refunded for the first channel it starts a unilateral close of the second.
        let spoil = |channel: &Channel| {
            let next = channel.next();
            let call = Call::Challenge { balance_a: VALUES[0], round: 0, by: Default::default() };
            (next.contract, next.encode(call).1)
        };
        let (mut world, first, had) = hooks(kind, CALLS_RECIPIENT, spoil);
        become_(&mut world, first.params.token, 0);
        let second = first.next().opened(&mut world);
        become_(&mut world, first.params.token, CALLS_RECIPIENT);
        Channel::close_many(&mut world, &Party::b(), &[first.item(LAST), second.item(LAST)]).unwrap();
        assert_eq!(tries(&mut world), (1, 0), "the second channel was closed before anybody was called");
        assert_eq!(first.gained(&mut world, had), [-1_000_000 + 1_400_000, -800_000 + 2_200_000]);
    }
}

#[test]
fn a_deposit_is_the_exact_value() {
    for kind in KINDS {
        let mut world = World::new();
        let channel = Channel::new(&mut world, kind, VALUES);
        let (value, data) = channel.encode(Call::Open);
        if kind == Kind::OneWord {
            assert_refused!(world.send(Party::a().address, channel.contract, value - 1, data.clone()), WrongAmount);
            assert_refused!(world.send(Party::a().address, channel.contract, value + 1, data.clone()), WrongAmount);
        }
        world.send(Party::a().address, channel.contract, value, data).unwrap();
        let (value, data) = channel.encode(Call::Accept);
        assert_refused!(world.send(Party::b().address, channel.contract, value - 1, data.clone()), WrongAmount);
        assert_refused!(world.send(Party::b().address, channel.contract, value + 1, data.clone()), WrongAmount);
        world.send(Party::b().address, channel.contract, value, data).unwrap();

        let (mut world, channel, _) = odd(kind);
        let (_, data) = channel.encode(Call::Open);
        assert_refused!(world.send(Party::a().address, channel.contract, 1, data), WrongAmount);
    }
}
