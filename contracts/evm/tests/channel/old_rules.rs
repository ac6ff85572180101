//! The attacks of `attacks.rs` succeed against the rules of the original contracts, as the small models in `OldRules.sol` have them. Without this
//! nobody would know that those tests try the right thing. W10, W11, W13, W14, W15, W16 and W18 are things that are missing: nothing to run.

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolValue};

use crate::contracts::{ACCOUNT, Account, OLD_HASHED, OLD_STORED, OldHashed, OldStored};
use crate::world::*;

const CLOSE_ROUND: u128 = u128::MAX;
const WINDOW: u64 = 86_400;

fn id(number: u64) -> B256 {
    B256::from(U256::from(number))
}

fn gained(world: &mut World, before: [u128; 2]) -> [i128; 2] {
    let now = wealth(world);
    [now[0] as i128 - before[0] as i128, now[1] as i128 - before[1] as i128]
}

fn wealth(world: &mut World) -> [u128; 2] {
    [Party::a(), Party::b()].map(|party| world.balance(party.address))
}

/// Parameters in storage: a channel of 1,000 and 800.
struct Stored {
    world: World,
    contract: Address,
}

impl Stored {
    fn new() -> Self {
        let mut world = World::new();
        let contract = world.deploy_hex(OLD_STORED);
        let mut it = Self { world, contract };
        it.open(&Party::a(), contract).unwrap();
        let accept = OldStored::acceptCall { id: id(1) }.abi_encode();
        it.world.send(Party::b().address, contract, 800, accept).unwrap();
        it
    }

    fn open(&mut self, by: &Party, contract: Address) -> Outcome {
        let open = OldStored::openCall { id: id(1), b: Party::b().address, valueB: U256::from(800) };
        self.world.send(by.address, contract, 1_000, open.abi_encode())
    }

    fn sign(&mut self, by: &Party, value_a: u64, round: u128) -> (B256, B256, u8) {
        let (a, b) = (U256::from(value_a), U256::from(1_800 - value_a));
        let hash = self.world.view(self.contract, &OldStored::hashStateCall { id: id(1), valueA: a, valueB: b, round });
        by.sign_words(hash)
    }

    fn challenge(&mut self, by: &Party, signer: &Party, value_a: u64, round: u128) -> Outcome {
        let (r, s, parity) = self.sign(signer, value_a, round);
        let (a, b) = (U256::from(value_a), U256::from(1_800 - value_a));
        let call = OldStored::challengeCall { id: id(1), valueA: a, valueB: b, round, v: 27 + parity, r, s };
        self.world.call(by.address, self.contract, &call)
    }

    fn dispute(&mut self, by: &Party, signer: &Party, value_a: u64, round: u128) -> Outcome {
        let (r, s, parity) = self.sign(signer, value_a, round);
        let (a, b) = (U256::from(value_a), U256::from(1_800 - value_a));
        let call = OldStored::disputeChallengeCall { id: id(1), valueA: a, valueB: b, round, v: 27 + parity, r, s };
        self.world.call(by.address, self.contract, &call)
    }

    fn close(&mut self, contract: Address, by: &Party, signer: &Party, value_a: u64) -> Outcome {
        let (r, s, parity) = self.sign(signer, value_a, CLOSE_ROUND);
        let (a, b) = (U256::from(value_a), U256::from(1_800 - value_a));
        let call = OldStored::cooperativeCloseCall { id: id(1), valueA: a, valueB: b, v: 27 + parity, r, s };
        self.world.call(by.address, contract, &call)
    }

    fn finish(&mut self) -> Outcome {
        self.world.call(Party::c().address, self.contract, &OldStored::forceCloseCall { id: id(1) })
    }
}

#[test]
fn w01_a_forced_close_pays_the_deposits() {
    let mut it = Stored::new();
    let had = wealth(&mut it.world);
    it.challenge(&Party::b(), &Party::a(), 100, 9).unwrap();
    it.world.advance(WINDOW + 1);
    it.finish().unwrap();
    assert_eq!(gained(&mut it.world, had), [1_000, 800], "b was owed 1,700");
}

#[test]
fn w02_a_close_signature_undoes_all_payments() {
    let mut it = Stored::new();
    let had = wealth(&mut it.world);
    let contract = it.contract;
    it.challenge(&Party::a(), &Party::b(), 100, CLOSE_ROUND).unwrap();
    it.close(contract, &Party::b(), &Party::a(), 100).expect_err("no agreed close during a dispute");
    it.world.advance(WINDOW + 1);
    it.finish().unwrap();
    assert_eq!(gained(&mut it.world, had), [1_000, 800], "b was owed 1,700");
}

#[test]
fn w03_the_window_begins_again_for_ever() {
    let mut it = Stored::new();
    it.challenge(&Party::a(), &Party::b(), 900, 2).unwrap();
    for turn in 0..6 {
        it.world.advance(80_000);
        let (by, signer, value, round) = match turn % 2 {
            0 => (Party::b(), Party::a(), 800, 1),
            _ => (Party::a(), Party::b(), 900, 2),
        };
        it.dispute(&by, &signer, value, round).unwrap();
        it.finish().expect_err("the window began again");
    }
}

#[test]
fn w08_a_signature_works_in_another_deployment() {
    let mut it = Stored::new();
    let second = it.world.deploy_hex(OLD_STORED);
    it.open(&Party::a(), second).unwrap();
    let accept = OldStored::acceptCall { id: id(1) }.abi_encode();
    it.world.send(Party::b().address, second, 800, accept).unwrap();
    for contract in [it.contract, second] {
        it.close(contract, &Party::b(), &Party::a(), 100).unwrap();
    }
}

#[test]
fn w09_anybody_takes_an_id_first() {
    let mut world = World::new();
    let contract = world.deploy_hex(OLD_STORED);
    let mut it = Stored { world, contract };
    it.open(&Party::c(), contract).unwrap();
    it.open(&Party::a(), contract).expect_err("the id is taken");
}

#[test]
fn w12_a_contract_account_loses_its_share() {
    let mut it = Stored::new();
    let code = it.world.deploy_hex(ACCOUNT);
    let (a, b) = (Party::a(), Party::b());
    it.world.delegate(a.address, code);
    // It stores something when it is paid: more than 2,300 gas.
    let prepare = Account::prepareCall { target: b.address, value: U256::ZERO, data: Vec::new().into() };
    it.world.call(a.address, a.address, &prepare).unwrap();
    let had = wealth(&mut it.world);
    it.close(it.contract, &b, &a, 900).unwrap();
    assert_eq!(gained(&mut it.world, had), [0, 900]);
    let contract = it.contract;
    assert_eq!(it.world.balance(contract), 900, "nobody can take it");
}

/// The hash of the state in storage.
struct Hashed {
    world: World,
    contract: Address,
}

fn state(value_a: u64, progress: u8, round: u128) -> OldHashed::State {
    let (a, b) = (Party::a().address, Party::b().address);
    OldHashed::State { a, b, valueA: U256::from(value_a), valueB: U256::from(1_800 - value_a), progress, round }
}

impl Hashed {
    fn new() -> Self {
        let mut world = World::new();
        let contract = world.deploy_hex(OLD_HASHED);
        let mut it = Self { world, contract };
        it.open(1);
        it
    }

    fn open(&mut self, number: u64) {
        let open = OldHashed::openCall { state: state(1_000, 1, 0), id: id(number) };
        self.world.send(Party::a().address, self.contract, 1_800, open.abi_encode()).unwrap();
    }

    fn challenge(&mut self, by: &Party, signer: &Party, from: OldHashed::State, to: OldHashed::State) -> Outcome {
        let (r, s, parity) = signer.sign_words(alloy_primitives::keccak256(to.abi_encode()));
        let call = OldHashed::challengeCall { from, to, v: 27 + parity, r, s, id: id(1) };
        self.world.call(by.address, self.contract, &call)
    }

    fn dispute(&mut self, by: &Party, signer: &Party, from: OldHashed::State, to: OldHashed::State) -> Outcome {
        let (r, s, parity) = signer.sign_words(alloy_primitives::keccak256(to.abi_encode()));
        let call = OldHashed::disputeChallengeCall { from, to, v: 27 + parity, r, s, id: id(1) };
        self.world.call(by.address, self.contract, &call)
    }

    fn close(&mut self, number: u64, from: OldHashed::State, to: OldHashed::State) -> Outcome {
        let (r, s, parity) = Party::a().sign_words(alloy_primitives::keccak256(to.abi_encode()));
        let call = OldHashed::cooperativeCloseCall { from, to, v: 27 + parity, r, s, id: id(number) };
        self.world.call(Party::b().address, self.contract, &call)
    }

    fn finish(&mut self, from: OldHashed::State) -> Outcome {
        self.world.call(Party::c().address, self.contract, &OldHashed::forceCloseCall { from, id: id(1) })
    }
}

#[test]
fn w04_one_signature_closes_two_channels() {
    let mut it = Hashed::new();
    it.open(2);
    let had = wealth(&mut it.world);
    for number in [1, 2] {
        it.close(number, state(1_000, 1, 0), state(100, 2, 1)).unwrap();
    }
    assert_eq!(gained(&mut it.world, had), [200, 3_400]);
}

#[test]
fn w05_a_close_state_locks_everything() {
    let mut it = Hashed::new();
    let closed = state(100, 2, 1);
    it.challenge(&Party::a(), &Party::b(), state(1_000, 1, 0), closed.clone()).unwrap();
    it.world.advance(10 * WINDOW);
    it.finish(closed.clone()).expect_err("it is not open");
    it.close(1, closed.clone(), closed.clone()).expect_err("it is not open");
    it.dispute(&Party::b(), &Party::a(), closed, state(100, 1, 2)).expect_err("it is not open");
    let contract = it.contract;
    assert_eq!(it.world.balance(contract), 1_800);
}

#[test]
fn w06_a_stranger_closes_the_next_channel_of_an_id_at_once() {
    let mut it = Hashed::new();
    it.challenge(&Party::a(), &Party::b(), state(1_000, 1, 0), state(900, 1, 2)).unwrap();
    it.world.advance(WINDOW + 1);
    it.finish(state(900, 1, 2)).unwrap();
    it.open(1);
    it.finish(state(1_000, 1, 0)).unwrap();
}

#[test]
fn w07_the_closer_pushes_the_window_as_often_as_it_has_states() {
    let mut it = Hashed::new();
    // No challenge before, the same party each time.
    let mut from = state(1_000, 1, 0);
    for round in 1..=4 {
        let to = state(900, 1, round);
        it.dispute(&Party::a(), &Party::b(), from, to.clone()).unwrap();
        it.world.advance(80_000);
        it.finish(to.clone()).expect_err("the window was pushed");
        from = to;
    }
}
