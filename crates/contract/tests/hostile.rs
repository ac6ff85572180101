//! Whatever lies on the chain or comes from a peer is read or refused.

use contract::{
    CloseToSign, CommitToSign, Currency, JettonNotification, Message, OpenConfig, Outgoing, Pair, Side, Storage, WalletAddress,
    channel_id, exit,
};
use proptest::prelude::*;
use ton::{Address, Cell, CellBuilder, MAX_COINS};

fn examples() -> Vec<Vec<u8>> {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/contract.json");
    let mut found = vec![];
    collect(&serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(), &mut found);
    assert!(found.len() > 30);
    found
}

/// Every BoC in the golden file: messages, storages, configs and their parts.
fn collect(v: &serde_json::Value, into: &mut Vec<Vec<u8>>) {
    match v {
        serde_json::Value::Object(members) => {
            into.extend(members.get("boc").and_then(|boc| hex::decode(boc.as_str()?).ok()));
            members.values().for_each(|v| collect(v, into));
        }
        serde_json::Value::Array(items) => items.iter().for_each(|v| collect(v, into)),
        _ => {}
    }
}

/// What is read is written again with the same meaning.
fn touch(cell: &Cell) {
    let cell = cell.as_ref();
    if let Ok(message) = Message::parse(cell) {
        assert_eq!(Message::parse(message.to_cell().as_ref()), Ok(message));
    }
    if let Ok(storage) = Storage::from_cell(cell) {
        assert_eq!(Storage::from_cell(storage.to_cell().as_ref()), Ok(storage));
        let _ = (storage.status(u64::MAX), storage.balance.of(Side::A), storage.balance.of(Side::B));
    }
    if let Ok(config) = OpenConfig::from_cell(cell) {
        assert_eq!(OpenConfig::from_cell(config.to_cell().as_ref()), Ok(config));
    }
    if let Ok(message) = Outgoing::parse(cell) {
        assert_eq!(message.to_cell().as_ref(), cell);
    }
}

proptest! {
    #[test]
    fn damaged_cells(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let examples = examples();
        let mut boc = examples[pick.index(examples.len())].clone();
        let at = at.index(boc.len());
        boc[at] = with;
        if let Ok(cell) = ton::decode_boc(&boc) {
            touch(&cell);
        }
    }

    #[test]
    fn any_cells_behind_a_known_operation(
        pick in any::<prop::sample::Index>(), data in any::<[u8; 120]>(), bits in 0u16..900, refs in 0usize..5,
    ) {
        let examples = examples();
        let known = ton::decode_boc(&examples[pick.index(examples.len())]).unwrap();
        let mut b = CellBuilder::new();
        let head = known.as_ref().bit_len().min(32);
        b.store_slice(known.as_ref().as_slice_allow_exotic().get_prefix(head, 0)).unwrap();
        b.store_raw(&data, bits).unwrap();
        for i in 0..refs.min(4) {
            let other = &examples[(pick.index(examples.len()) + i * 7) % examples.len()];
            b.store_reference(ton::decode_boc(other).unwrap()).unwrap();
        }
        touch(&b.build().unwrap());
    }

    #[test]
    fn totals_survive(sent in any::<[u128; 2]>(), seqnos in any::<[u64; 2]>(), withdrawn in any::<[u128; 2]>(), id in any::<[u8; 16]>()) {
        let pair = |[a, b]: [u128; 2]| Pair { a: a & MAX_COINS, b: b & MAX_COINS };
        let (sent, withdrawn) = (pair(sent), pair(withdrawn));
        let seqnos = Pair { a: seqnos[0], b: seqnos[1] };
        let signatures = Pair { a: [1; 64], b: [2; 64] };
        touch(&Message::CooperativeCommit { signatures, part: CommitToSign { channel_id: id, sent, seqnos, withdrawn } }.to_cell());
        let close = Message::CooperativeClose { signatures, part: CloseToSign { channel_id: id, sent, seqnos } };
        prop_assert_eq!(Message::parse(close.to_cell().as_ref()), Ok(close));
    }
}

#[test]
fn jetton_messages_survive() {
    let payload = Message::TopUp { side: Side::B }.to_cell();
    let sender = Some(Address::basechain([5; 32]));
    let notification = JettonNotification { query_id: 7, amount: 100, sender, payload: payload.clone() };
    let message = Message::JettonNotification(notification);
    assert_eq!(Message::parse(message.to_cell().as_ref()).as_ref(), Ok(&message));

    // the same with the payload inline
    let mut b = CellBuilder::new();
    b.store_u32(contract::op::JETTON_NOTIFICATION).unwrap();
    b.store_u64(7).unwrap();
    ton::store_coins(&mut b, 100).unwrap();
    ton::store_address(&mut b, sender.as_ref()).unwrap();
    b.store_bit_zero().unwrap();
    b.store_slice(payload.as_slice().unwrap()).unwrap();
    assert_eq!(Message::parse(b.build().unwrap().as_ref()), Ok(message));

    for owner in [None, Some(Cell::default())] {
        let message = Message::TakeWalletAddress(WalletAddress { query_id: 1, wallet: sender, owner });
        assert_eq!(Message::parse(message.to_cell().as_ref()), Ok(message));
    }
}

#[test]
fn a_config_that_names_a_jetton_wallet_is_refused() {
    let address = Address::basechain;
    let config = |wallet| OpenConfig {
        keys: Pair { a: [1; 32], b: [2; 32] },
        channel_id: channel_id(&[2; 32], 0x0102_0304),
        closing: contract::Closing { quarantine_duration: 1, misbehavior_fine: 2, conditional_close_duration: 3 },
        payment: contract::Payment {
            storage_fee: 4,
            destinations: Pair { a: address([3; 32]), b: address([4; 32]) },
            currency: Currency::Jetton { master: address([5; 32]), wallet },
        },
    };
    let (without, with) = (config(None), config(Some(address([6; 32]))));
    assert_eq!(with.to_cell(), without.to_cell());
    assert_eq!(with.initial_data(), without.initial_data());
    let mut named = without.initial_storage();
    named.payment = with.payment;
    let mut b = CellBuilder::new();
    let whole = without.to_cell();
    b.store_cell_data(whole.as_ref()).unwrap();
    b.store_reference(whole.as_ref().reference_cloned(0).unwrap()).unwrap();
    b.store_reference(named.to_cell().as_ref().reference_cloned(2).unwrap()).unwrap();
    assert!(OpenConfig::from_cell(b.build().unwrap().as_ref()).is_err());
    assert_eq!(without.channel_id[12..], [4, 3, 2, 1]);
}

#[test]
fn exit_codes_have_names() {
    assert_eq!(exit::name(exit::OUTDATED_STATE), Some("outdated state"));
    assert_eq!(exit::name(116), None);
    assert!(exit::ALL.iter().all(|code| exit::name(*code).is_some()));
}
