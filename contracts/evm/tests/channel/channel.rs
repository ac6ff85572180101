//! One channel in either contract, with the same words for both.

use alloy_primitives::{Address, B256, U256, keccak256};
use alloy_sol_types::{SolCall, SolStruct, SolValue};
use channel_contract_evm::{CompactSignature, NATIVE, Sspc, SspcCompact, compact, domain, sspc};

use crate::world::*;

pub const DAY: u32 = 86_400;
/// The period bounds of the deployments in these tests.
pub const PERIODS: (u32, u32) = (3_600, 30 * DAY);

/// Which of the two contracts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    OneWord,
    Compact,
}

pub const KINDS: [Kind; 2] = [Kind::OneWord, Kind::Compact];

impl Kind {
    pub fn creation_code(self) -> Vec<u8> {
        match self {
            Self::OneWord => sspc::creation_code(PERIODS.0, PERIODS.1),
            Self::Compact => compact::creation_code(PERIODS.0, PERIODS.1),
        }
    }
}

/// What a party signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Message {
    State { balance_a: u128, round: u64 },
    Close { balance_a: u128 },
}

/// What is sent to the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Open,
    Accept,
    Cancel,
    CooperativeClose { balance_a: u128, by: CompactSignature },
    Challenge { balance_a: u128, round: u64, by: CompactSignature },
    Dispute { balance_a: u128, round: u64, by: CompactSignature },
    DisputeFor { balance_a: u128, round: u64, by_a: CompactSignature, by_b: CompactSignature },
    ForceClose,
}

/// A channel between the parties a and b.
#[derive(Debug, Clone)]
pub struct Channel {
    pub kind: Kind,
    pub contract: Address,
    pub chain_id: u64,
    pub params: sspc::Params,
    /// Who signs for a.
    pub payer: Party,
    /// The token's index and the channel's number, in the compact contract.
    pub token_index: u32,
    pub number: u64,
}

impl Channel {
    /// A channel in the native coin, not yet opened.
    pub fn new(world: &mut World, kind: Kind, values: [u128; 2]) -> Self {
        let (contract, _) = world.deploy(kind.creation_code());
        Self::at(contract, kind, world.chain_id(), values)
    }

    pub fn at(contract: Address, kind: Kind, chain_id: u64, values: [u128; 2]) -> Self {
        let params = sspc::Params {
            a: Party::a().address,
            b: Party::b().address,
            token: NATIVE,
            valueA: values[0],
            valueB: values[1],
            period: DAY,
            salt: 0x5eed,
        };
        Self { kind, contract, chain_id, params, payer: Party::a(), token_index: 0, number: 1 }
    }

    /// The same in a token; registers it where it must be, mints and approves.
    pub fn in_token(mut self, world: &mut World, token: Address) -> Self {
        self.params.token = token;
        if self.kind == Kind::Compact {
            let indexed = world.view(self.contract, &SspcCompact::tokenIndexCall { token });
            if indexed == 0 {
                world.call(self.params.a, self.contract, &SspcCompact::registerTokenCall { token }).unwrap();
            }
            self.token_index = world.view(self.contract, &SspcCompact::tokenIndexCall { token });
        }
        self.endow(world, self.params.a);
        self.endow(world, self.params.b);
        self
    }

    /// Mints and approves tokens, where the channel is in a token.
    fn endow(&self, world: &mut World, owner: Address) {
        use crate::contracts::OddToken::{approveCall, mintCall};
        let token = self.params.token;
        if token != NATIVE {
            world.call(owner, token, &mintCall { to: owner, amount: U256::from(WEALTH) }).unwrap();
            world.call(owner, token, &approveCall { spender: self.contract, amount: U256::MAX }).unwrap();
        }
    }

    /// The same with another payer.
    pub fn paid_by(mut self, world: &mut World, payer: Party) -> Self {
        world.fund(payer.address, WEALTH);
        self.params.a = payer.address;
        self.payer = payer;
        self.endow(world, self.params.a);
        self
    }

    /// The same channel once more: with another salt, or the next number.
    pub fn next(&self) -> Self {
        let mut next = self.clone();
        next.params.salt += 1;
        next.number += 1;
        next
    }

    pub fn total(&self) -> u128 {
        self.params.valueA + self.params.valueB
    }

    pub fn id(&self) -> B256 {
        match self.kind {
            Kind::OneWord => sspc::channel_id(&self.params),
            Kind::Compact => B256::from(U256::from(self.number)),
        }
    }

    pub fn digest(&self, message: Message) -> B256 {
        let domain = domain(self.chain_id, self.contract);
        let rest = |balance_a: u128| self.total().wrapping_sub(balance_a);
        let (a, b) = (self.params.a, self.params.b);
        match (self.kind, message) {
            (Kind::OneWord, Message::State { balance_a, round }) => sspc::State {
                channel: self.id(),
                balanceA: balance_a,
                balanceB: rest(balance_a),
                round: alloy_primitives::aliases::U48::from(round),
            }
            .eip712_signing_hash(&domain),
            (Kind::OneWord, Message::Close { balance_a }) => {
                sspc::Close { channel: self.id(), balanceA: balance_a, balanceB: rest(balance_a) }.eip712_signing_hash(&domain)
            }
            (Kind::Compact, Message::State { balance_a, round }) => compact::State {
                channel: self.number,
                a,
                b,
                balanceA: balance_a,
                balanceB: rest(balance_a),
                round: alloy_primitives::aliases::U48::from(round),
            }
            .eip712_signing_hash(&domain),
            (Kind::Compact, Message::Close { balance_a }) => {
                compact::Close { channel: self.number, a, b, balanceA: balance_a, balanceB: rest(balance_a) }
                    .eip712_signing_hash(&domain)
            }
        }
    }

    pub fn state(&self, by: &Party, balance_a: u128, round: u64) -> CompactSignature {
        by.sign(self.digest(Message::State { balance_a, round }))
    }

    pub fn close(&self, by: &Party, balance_a: u128) -> CompactSignature {
        by.sign(self.digest(Message::Close { balance_a }))
    }

    /// The value and the data of a call.
    pub fn encode(&self, call: Call) -> (u128, Vec<u8>) {
        let native = self.params.token == NATIVE;
        let value = match call {
            Call::Open if native => self.params.valueA,
            Call::Accept if native => self.params.valueB,
            _ => 0,
        };
        let data = match self.kind {
            Kind::OneWord => self.encode_one_word(call),
            Kind::Compact => self.encode_compact(call),
        };
        (value, data)
    }

    fn encode_one_word(&self, call: Call) -> Vec<u8> {
        let p = self.params.clone();
        let u48 = alloy_primitives::aliases::U48::from::<u64>;
        match call {
            Call::Open => Sspc::openCall { p }.abi_encode(),
            Call::Accept => Sspc::acceptCall { p }.abi_encode(),
            Call::Cancel => Sspc::cancelCall { p }.abi_encode(),
            Call::CooperativeClose { balance_a, by } => {
                Sspc::cooperativeCloseCall { p, balanceA: balance_a, r: by.r, vs: by.vs }.abi_encode()
            }
            Call::Challenge { balance_a, round, by } => {
                Sspc::challengeCall { p, balanceA: balance_a, round: u48(round), r: by.r, vs: by.vs }.abi_encode()
            }
            Call::Dispute { balance_a, round, by } => {
                Sspc::disputeChallengeCall { p, balanceA: balance_a, round: u48(round), r: by.r, vs: by.vs }.abi_encode()
            }
            Call::DisputeFor { balance_a, round, by_a, by_b } => Sspc::disputeForCall {
                p,
                balanceA: balance_a,
                round: u48(round),
                rA: by_a.r,
                vsA: by_a.vs,
                rB: by_b.r,
                vsB: by_b.vs,
            }
            .abi_encode(),
            Call::ForceClose => Sspc::forceCloseCall { p }.abi_encode(),
        }
    }

    fn encode_compact(&self, call: Call) -> Vec<u8> {
        let id = self.number;
        let terms = compact::pack_terms(self.token_index, self.params.period, self.params.b);
        match call {
            Call::Open if self.token_index == 0 => SspcCompact::openCall { terms, valueB: self.params.valueB }.abi_encode(),
            Call::Open => {
                let values = compact::pack_values(self.params.valueA, self.params.valueB);
                SspcCompact::openTokenCall { terms, values }.abi_encode()
            }
            Call::Accept => SspcCompact::acceptCall { id }.abi_encode(),
            Call::Cancel => SspcCompact::cancelCall { id }.abi_encode(),
            Call::CooperativeClose { balance_a, by } => {
                let close = compact::pack_close(id, balance_a);
                SspcCompact::cooperativeCloseCall { close, r: by.r, vs: by.vs }.abi_encode()
            }
            Call::Challenge { balance_a, round, by } => {
                let state = compact::pack_state(id, round, balance_a);
                SspcCompact::challengeCall { state, r: by.r, vs: by.vs }.abi_encode()
            }
            Call::Dispute { balance_a, round, by } => {
                let state = compact::pack_state(id, round, balance_a);
                SspcCompact::disputeChallengeCall { state, r: by.r, vs: by.vs }.abi_encode()
            }
            Call::DisputeFor { balance_a, round, by_a, by_b } => {
                let state = compact::pack_state(id, round, balance_a);
                SspcCompact::disputeForCall { state, rA: by_a.r, vsA: by_a.vs, rB: by_b.r, vsB: by_b.vs }.abi_encode()
            }
            Call::ForceClose => SspcCompact::forceCloseCall { id }.abi_encode(),
        }
    }

    pub fn send(&self, world: &mut World, from: &Party, call: Call) -> Outcome {
        let (value, data) = self.encode(call);
        world.send(from.address, self.contract, value, data)
    }

    /// Opens, and accepts where b deposits something.
    pub fn opened(self, world: &mut World) -> Self {
        self.send(world, &self.payer, Call::Open).unwrap();
        if self.params.valueB != 0 {
            self.send(world, &Party::b(), Call::Accept).unwrap();
        }
        self
    }

    /// Opens `first`, then this one: the contract holds more than one channel's money.
    pub fn opened_after(self, world: &mut World, first: &Self) -> Self {
        first.clone().opened(world);
        self.opened(world)
    }

    /// A unilateral close by `by` with a state that `signer` signed; round 0 is not signed.
    pub fn challenge(&self, world: &mut World, by: &Party, signer: &Party, balance_a: u128, round: u64) -> Outcome {
        let signature = if round == 0 { CompactSignature::default() } else { self.state(signer, balance_a, round) };
        self.send(world, by, Call::Challenge { balance_a, round, by: signature })
    }

    pub fn dispute(&self, world: &mut World, by: &Party, signer: &Party, balance_a: u128, round: u64) -> Outcome {
        self.send(world, by, Call::Dispute { balance_a, round, by: self.state(signer, balance_a, round) })
    }

    pub fn cooperative_close(&self, world: &mut World, by: &Party, signer: &Party, balance_a: u128) -> Outcome {
        self.send(world, by, Call::CooperativeClose { balance_a, by: self.close(signer, balance_a) })
    }

    /// A close of many: channels, what a gets in each, and a's signature.
    pub fn close_many(world: &mut World, from: &Party, items: &[(&Self, u128, CompactSignature)]) -> Outcome {
        world.send(from.address, items[0].0.contract, 0, Self::encode_many(items))
    }

    /// The data of a close of many.
    pub fn encode_many(items: &[(&Self, u128, CompactSignature)]) -> Vec<u8> {
        match items[0].0.kind {
            Kind::OneWord => {
                let item = |(channel, balance_a, by): &(&Self, u128, CompactSignature)| sspc::Item {
                    params: channel.params.clone(),
                    balanceA: *balance_a,
                    r: by.r,
                    vs: by.vs,
                };
                Sspc::closeManyCall { items: items.iter().map(item).collect() }.abi_encode()
            }
            Kind::Compact => {
                let item = |(channel, balance_a, by): &(&Self, u128, CompactSignature)| compact::Item {
                    close: compact::pack_close(channel.number, *balance_a),
                    r: by.r,
                    vs: by.vs,
                };
                SspcCompact::closeManyCall { items: items.iter().map(item).collect() }.abi_encode()
            }
        }
    }

    /// An item of `close_many`, signed by a.
    pub fn item(&self, balance_a: u128) -> (&Self, u128, CompactSignature) {
        (self, balance_a, self.close(&self.payer, balance_a))
    }

    /// The phase on record, by its number.
    pub fn phase(&self, world: &mut World) -> u8 {
        match self.kind {
            Kind::OneWord => world.view(self.contract, &Sspc::channelsCall { id: self.id() }).phase,
            Kind::Compact => world.view(self.contract, &SspcCompact::channelsCall { id: self.number }).phase,
        }
    }

    /// What the contract owes an account for payouts that failed.
    pub fn credit(&self, world: &mut World, owner: Address) -> u128 {
        world.view(self.contract, &Sspc::creditsCall { owner, token: self.params.token }).to()
    }

    /// What an account has of the channel's coin or token.
    pub fn holds(&self, world: &mut World, account: Address) -> u128 {
        if self.params.token == NATIVE {
            return world.balance(account);
        }
        // As `balanceOf` has it, without a call: the random sequences ask after each of theirs.
        let slot = keccak256((account, U256::ZERO).abi_encode());
        world.storage(self.params.token, slot.into()).to()
    }

    /// What a and b gained since they had `before`.
    pub fn gained(&self, world: &mut World, before: [u128; 2]) -> [i128; 2] {
        let mut change = |party, before| self.holds(world, party) as i128 - before as i128;
        [change(self.params.a, before[0]), change(self.params.b, before[1])]
    }
}
