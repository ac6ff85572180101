//! The digest of a message is the same by the typed data of this package, by EIP-712 written out by hand, and in the contract.

use alloy_primitives::aliases::U48;
use alloy_primitives::{Address, B256, U256, b256, keccak256};
use alloy_sol_types::SolStruct;
use channel_contract_evm::{Sspc, SspcCompact, compact, domain, sspc};

use crate::contracts::{SSPC_COMPACT_DIGESTS, SSPC_DIGESTS, SspcCompactDigests, SspcDigests};
use crate::world::*;

/// A message of either contract; `None` for the round of a close.
struct Case {
    channel: B256,
    number: u64,
    a: Address,
    b: Address,
    balances: [u128; 2],
    round: Option<u64>,
}

impl Case {
    fn random(random: &mut Random) -> Self {
        Self {
            channel: B256::from(random.bytes()),
            number: random.next(),
            a: Address::from(random.bytes()),
            b: Address::from(random.bytes()),
            // Halves: a channel holds less than 2^128.
            balances: [random.wide() >> 1, random.wide() >> 1],
            round: (!random.once_in(2)).then(|| random.next() >> 16),
        }
    }

    fn one_word(&self, chain_id: u64, contract: Address) -> B256 {
        let domain = domain(chain_id, contract);
        let (channel, [balance_a, balance_b]) = (self.channel, self.balances);
        match self.round {
            Some(round) => sspc::State { channel, balanceA: balance_a, balanceB: balance_b, round: U48::from(round) }
                .eip712_signing_hash(&domain),
            None => sspc::Close { channel, balanceA: balance_a, balanceB: balance_b }.eip712_signing_hash(&domain),
        }
    }

    fn compact(&self, chain_id: u64, contract: Address) -> B256 {
        let domain = domain(chain_id, contract);
        let (channel, a, b, [balance_a, balance_b]) = (self.number, self.a, self.b, self.balances);
        match self.round {
            Some(round) => compact::State { channel, a, b, balanceA: balance_a, balanceB: balance_b, round: U48::from(round) }
                .eip712_signing_hash(&domain),
            None => compact::Close { channel, a, b, balanceA: balance_a, balanceB: balance_b }.eip712_signing_hash(&domain),
        }
    }

    /// EIP-712 without any library: type, fields, domain.
    fn by_hand(&self, chain_id: u64, contract: Address, in_storage: bool) -> B256 {
        let channel = if in_storage { "uint64 channel,address a,address b" } else { "bytes32 channel" };
        let balances = "uint128 balanceA,uint128 balanceB";
        let kind = match self.round {
            Some(_) => format!("State({channel},{balances},uint48 round)"),
            None => format!("Close({channel},{balances})"),
        };
        let mut words = vec![keccak256(kind)];
        if in_storage {
            words.extend([B256::from(U256::from(self.number)), self.a.into_word(), self.b.into_word()]);
        } else {
            words.push(self.channel);
        }
        words.extend(self.balances.map(|balance| B256::from(U256::from(balance))));
        words.extend(self.round.map(|round| B256::from(U256::from(round))));
        let domain = [
            keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
            keccak256("SSPC"),
            keccak256("2"),
            B256::from(U256::from(chain_id)),
            contract.into_word(),
        ];
        keccak256([&[0x19, 0x01][..], keccak256(domain.concat()).as_slice(), keccak256(words.concat()).as_slice()].concat())
    }
}

#[test]
fn ten_thousand_random_messages_have_one_digest() {
    let mut world = World::new();
    let one_word = world.deploy_hex(SSPC_DIGESTS);
    let in_storage = world.deploy_hex(SSPC_COMPACT_DIGESTS);
    let mut random = Random::new(712);
    for turn in 0..10_000 {
        if turn % 100 == 0 {
            // A chain id of its own: the domain the contract kept from its deployment is not used.
            world.set_chain_id(1 + random.next() % 1_000_000);
        }
        let case = Case::random(&mut random);
        let chain_id = world.chain_id();
        let (balance_a, balance_b) = (case.balances[0], case.balances[1]);
        let shown = match case.round.map(U48::from) {
            Some(round) => {
                let call = SspcDigests::stateDigestCall { id: case.channel, balanceA: balance_a, balanceB: balance_b, round };
                world.view(one_word, &call)
            }
            None => {
                world.view(one_word, &SspcDigests::closeDigestCall { id: case.channel, balanceA: balance_a, balanceB: balance_b })
            }
        };
        assert_eq!(shown, case.one_word(chain_id, one_word));
        assert_eq!(shown, case.by_hand(chain_id, one_word, false));

        let (id, a, b) = (case.number, case.a, case.b);
        let shown = match case.round.map(U48::from) {
            Some(round) => {
                let call = SspcCompactDigests::stateDigestCall { id, a, b, balanceA: balance_a, balanceB: balance_b, round };
                world.view(in_storage, &call)
            }
            None => {
                let call = SspcCompactDigests::closeDigestCall { id, a, b, balanceA: balance_a, balanceB: balance_b };
                world.view(in_storage, &call)
            }
        };
        assert_eq!(shown, case.compact(chain_id, in_storage));
        assert_eq!(shown, case.by_hand(chain_id, in_storage, true));
    }
}

/// Whoever writes another client compares with these.
#[test]
fn fixed_messages_have_fixed_digests() {
    let contract = Address::repeat_byte(0xcc);
    let case = |round| Case {
        channel: B256::repeat_byte(0x11),
        number: 7,
        a: Address::repeat_byte(0xaa),
        b: Address::repeat_byte(0xbb),
        balances: [1_000, 2_000],
        round,
    };
    for (round, one_word, in_storage) in FIXED {
        let case = case(round);
        assert_eq!(case.one_word(1, contract), one_word, "{round:?}");
        assert_eq!(case.compact(1, contract), in_storage, "{round:?}");
        assert_eq!(case.by_hand(1, contract, false), one_word, "{round:?}");
        assert_eq!(case.by_hand(1, contract, true), in_storage, "{round:?}");
    }
}

/// The round of a state or none for a close, and the digests in the one contract and in the other.
const FIXED: [(Option<u64>, B256, B256); 3] = [
    (
        Some(1),
        b256!("8c55790dda5d521e0158af168b0fd45b78f453e88b766325eb9a6feafc07ba00"),
        b256!("73b741f232827777e9135203b8a9726822225bb212de3716a5825e439323a247"),
    ),
    (
        Some((1 << 48) - 1),
        b256!("446440abee918d00d17e039ac29f4c5290ba222be71699bf1399507f37e40610"),
        b256!("43ebcfd8be9945aba8982467717a1b84d4be1c41028b9a726b6656b381a18418"),
    ),
    (
        None,
        b256!("80c0527fbf29eee5d10498a6c20d1e1cc7a70695d0d267eab8d4a0342c21fcef"),
        b256!("2c5cf44540f5429cb38cce14db60237675c3182ab03002a4d65171f07efc8c91"),
    ),
];

#[test]
fn a_channel_id_is_the_hash_of_its_parameters() {
    let mut world = World::new();
    let (contract, _) = world.deploy(sspc::creation_code(1, 1));
    let mut random = Random::new(1);
    for _ in 0..200 {
        let p = sspc::Params {
            a: Address::from(random.bytes()),
            b: Address::from(random.bytes()),
            token: Address::from(random.bytes()),
            valueA: random.wide(),
            valueB: random.wide(),
            period: random.next() as u32,
            salt: random.next(),
        };
        let words = [
            p.a.into_word(),
            p.b.into_word(),
            p.token.into_word(),
            U256::from(p.valueA).into(),
            U256::from(p.valueB).into(),
            U256::from(p.period).into(),
            U256::from(p.salt).into(),
        ];
        assert_eq!(sspc::channel_id(&p), keccak256(words.concat()));
        assert_eq!(world.view(contract, &Sspc::idOfCall { p: p.clone() }), sspc::channel_id(&p));
    }
}

#[test]
fn the_separator_follows_the_chain_id() {
    let mut world = World::new();
    let (one_word, _) = world.deploy(sspc::creation_code(1, 1));
    let (in_storage, _) = world.deploy(compact::creation_code(1, 1));
    for chain_id in [world.chain_id(), 10, 8_453] {
        world.set_chain_id(chain_id);
        assert_eq!(world.view(one_word, &Sspc::domainSeparatorCall {}), domain(chain_id, one_word).separator());
        assert_eq!(world.view(in_storage, &SspcCompact::domainSeparatorCall {}), domain(chain_id, in_storage).separator());
    }
}
