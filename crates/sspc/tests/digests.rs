//! Digests made by hand against alloy's, for both contracts.
#![cfg(feature = "client")]

use alloy_primitives::{Address, B256, aliases::U48};
use alloy_sol_types::SolStruct as _;
use channel_contract_evm::{compact, domain, sspc as word};
use proptest::prelude::*;
use sspc::{Amount, Balances, ChannelId, Payload, Place, Round, Signable, State, Variant};

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn digests_are_those_of_alloy(
        chain_id: u64, contract: [u8; 20], id: [u8; 32], number: u64, a: [u8; 20], b: [u8; 20],
        balance_a: u128, balance_b: u128, round in 0..1_u64 << 48,
    ) {
        let (contract, a, b) = (Address::from(contract), Address::from(a), Address::from(b));
        let domain = domain(chain_id, contract);
        let balances = Balances { a: Amount::new(balance_a), b: Amount::new(balance_b) };
        let payloads = [
            Payload::State(State { round: Round::new(round).unwrap(), balances }),
            Payload::Close(balances),
        ];
        let by_word = Signable::new(Place { chain_id, contract, variant: Variant::Word }, ChannelId::Word(B256::from(id)), a, b);
        prop_assert_eq!(by_word.separator(), domain.separator());
        let state = word::State { channel: id.into(), balanceA: balance_a, balanceB: balance_b, round: U48::from(round) };
        let close = word::Close { channel: id.into(), balanceA: balance_a, balanceB: balance_b };
        prop_assert_eq!(by_word.digest(&payloads[0]), state.eip712_signing_hash(&domain));
        prop_assert_eq!(by_word.digest(&payloads[1]), close.eip712_signing_hash(&domain));

        let counted = Signable::new(Place { chain_id, contract, variant: Variant::Compact }, ChannelId::Compact(number), a, b);
        let (channel, round) = (number, U48::from(round));
        let state = compact::State { channel, a, b, balanceA: balance_a, balanceB: balance_b, round };
        let close = compact::Close { channel, a, b, balanceA: balance_a, balanceB: balance_b };
        prop_assert_eq!(counted.digest(&payloads[0]), state.eip712_signing_hash(&domain));
        prop_assert_eq!(counted.digest(&payloads[1]), close.eip712_signing_hash(&domain));
    }
}
