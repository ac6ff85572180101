//! The contract's storage, addresses and messages against the reference's bytes.

#[path = "../../wire/tests/support/mod.rs"]
#[allow(dead_code)]
mod support;

use contract::{
    ChallengeToSign, CloseToSign, Closing, CodeKind, CommitToSign, Currency, InitToSign, KnownCodes, Message, OpenConfig, Pair,
    Payment, Quarantine, SettleToSign, Side, StartToSign, Status, Storage, ToSign, VerifyError, verify_account,
};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::Value;
use support::{array, assert_cell, cell, each, list, number, text};
use ton::Address;
use wire::conditionals::{Settlement, read_resolutions, resolutions_cell};
use wire::{Body, Condition, Conditionals, Resolution, SignedState, State};

fn key(v: &Value) -> SigningKey {
    SigningKey::from_bytes(&array(&v["seed"]))
}

fn address(v: &Value) -> Address {
    let address: Address = text(&v["raw"]).parse().unwrap();
    assert_eq!(address.to_friendly(true), text(&v["bounceable"]));
    assert_eq!(address.to_friendly(false), text(&v["non_bounceable"]));
    address
}

fn body(v: &Value) -> Body {
    Body { seqno: number(&v["seqno"]) as u64, sent: number(&v["sent"]), conditionals: array(&v["conditionals_hash"]) }
}

fn config(v: &Value) -> OpenConfig {
    let (closing, payment) = (&v["closing_config"], &v["payment_config"]);
    let currency = &payment["currency"];
    OpenConfig {
        keys: Pair { a: array(&v["key_a"]["public"]), b: array(&v["key_b"]["public"]) },
        channel_id: array(&v["channel_id"]),
        closing: Closing {
            quarantine_duration: number(&closing["quarantine_duration"]) as u32,
            misbehavior_fine: number(&closing["misbehavior_fine"]),
            conditional_close_duration: number(&closing["conditional_close_duration"]) as u32,
        },
        payment: Payment {
            storage_fee: number(&payment["storage_fee"]),
            destinations: Pair { a: address(&payment["dest_a"]), b: address(&payment["dest_b"]) },
            currency: match text(&currency["type"]) {
                "ton" => Currency::Ton,
                "extra_currency" => Currency::Extra(number(&currency["id"]) as u32),
                "jetton" => Currency::Jetton { master: address(&currency["master"]), wallet: None },
                other => panic!("unknown currency {other}"),
            },
        },
    }
}

/// A signed part has the vector's cell, the key's signature over it is the vector's, and the message survives.
fn check_signed(part: &impl ToSign, v: &Value, signer: &SigningKey) -> [u8; 64] {
    assert_cell(&part.cell(), &v["signed_cell"]);
    assert_eq!(part.hash(), array(&v["signed_bytes"]));
    let signature = signer.sign(&part.hash()).to_bytes();
    assert!(part.verify(&signer.verifying_key().to_bytes(), &signature));
    signature
}

fn check_message(message: &Message, v: &Value) {
    assert_cell(&message.to_cell(), v);
    assert_eq!(Message::parse(message.to_cell().as_ref()).as_ref(), Ok(message));
}

fn side(is_a: &Value) -> Side {
    if is_a.as_bool().unwrap() { Side::A } else { Side::B }
}

#[test]
fn deployment() {
    each("contract.json", |v| {
        let live = CodeKind { hash: array(&v["code"]["code_hash"]), depth: number(&v["code"]["code_depth"]) as u16 };
        assert_eq!(live, CodeKind::LIVE);
        for case in list(&v["deploy"]) {
            let config = config(&case["params"]);
            assert_cell(&config.to_cell(), &case["open_config_container"]);
            assert_eq!(OpenConfig::from_cell(cell(&case["open_config_container"]).as_ref()), Ok(config));
            assert_cell(&config.initial_data(), &case["init_data"]);
            let address = address(&case["address"]);
            assert_eq!(config.address(&live), address);

            let part = InitToSign { channel_id: config.channel_id };
            for (by, name, key_name) in [(Side::A, "init_message_from_a", "key_a"), (Side::B, "init_message_from_b", "key_b")] {
                let signature = check_signed(&part, &case[name], &key(&case["params"][key_name]));
                assert_eq!(signature, array(&case[name]["signature"]));
                check_message(&Message::Init { by, signature, part: part.clone() }, &case[name]["body"]);
            }
            check_storage(case, &config, &address);
        }
    });
}

fn check_storage(case: &Value, config: &OpenConfig, address: &Address) {
    let known = KnownCodes::new([CodeKind::LIVE]);
    let v = &case["storage_active"];
    let active = Storage::from_cell(cell(&v["cell"]).as_ref()).unwrap();
    assert_cell(&active.to_cell(), &v["cell"]);
    assert!(active.initialised);
    assert_eq!(active.balance.deposited, Pair { a: number(&v["deposit_a"]), b: number(&v["deposit_b"]) });
    assert_eq!(active.balance.withdrawn, Pair { a: 0, b: number(&v["withdraw_b"]) });
    assert_eq!(active.balance.sent, Pair { a: number(&v["sent_a"]), b: 0 });
    let seqnos = Pair { a: number(&v["committed_seqno_a"]) as u64, b: number(&v["committed_seqno_b"]) as u64 };
    assert_eq!(active.committed_seqnos, seqnos);
    assert_eq!(active.status(0) as u128, number(&v["parsed_status"]));
    if let Currency::Jetton { wallet, .. } = active.payment.currency {
        assert_eq!(wallet, Some(self::address(&v["jetton_wallet_is_set_for_jetton"])));
    }

    let v = &case["storage_quarantined"];
    let quarantined = Storage::from_cell(cell(&v["cell"]).as_ref()).unwrap();
    assert_cell(&quarantined.to_cell(), &v["cell"]);
    let started_at = number(&v["quarantine_starts"]) as u32;
    let expected = Quarantine {
        bodies: Pair { a: body(&v["state_a"]), b: body(&v["state_b"]) },
        started_at,
        committed_by: side(&v["state_committed_by_a"]),
        challenged: v["state_challenged"].as_bool().unwrap(),
    };
    assert_eq!(quarantined.quarantine, Some(expected));
    assert_eq!(quarantined.status(u64::from(started_at)), Status::ClosureStarted);

    for storage in [active, quarantined] {
        assert_eq!(storage.open_config().address(&CodeKind::LIVE), config.address(&CodeKind::LIVE));
        let data = storage.to_cell();
        assert_eq!(verify_account(&known, &CodeKind::LIVE.hash, &data, address), Ok((CodeKind::LIVE, storage)));
        let other = Address { hash: [1; 32], ..*address };
        assert_eq!(verify_account(&known, &CodeKind::LIVE.hash, &data, &other), Err(VerifyError::OtherAddress));
        assert_eq!(verify_account(&known, &[1; 32], &data, address), Err(VerifyError::UnknownCode));
    }
}

#[test]
fn cooperative_messages() {
    each("contract.json", |v| {
        let channel = &v["channel_of_messages"];
        let keys = Pair { a: key(&channel["key_a"]), b: key(&channel["key_b"]) };
        let sign = |part: &dyn Fn(&SigningKey) -> [u8; 64]| Pair { a: part(&keys.a), b: part(&keys.b) };

        let case = &v["cooperative_commit"];
        let fields = &case["fields"];
        let pair = |name: &str| Pair { a: number(&fields[format!("{name}_a")]), b: number(&fields[format!("{name}_b")]) };
        let seqnos = Pair { a: pair("seqno").a as u64, b: pair("seqno").b as u64 };
        let channel_id = array(&fields["channel_id"]);
        let part = CommitToSign { channel_id, sent: pair("sent"), seqnos, withdrawn: pair("withdraw") };
        let signatures = sign(&|key| check_signed(&part, case, key));
        assert_eq!(signatures, Pair { a: array(&case["signature_a"]), b: array(&case["signature_b"]) });
        check_message(&Message::CooperativeCommit { signatures, part: part.clone() }, &case["message"]);
        let half = Pair { b: [0; 64], ..signatures };
        check_message(&Message::CooperativeCommit { signatures: half, part }, &case["request_from_a_with_zero_signature_b"]);

        let case = &v["cooperative_close"];
        let fields = &case["fields"];
        let pair = |name: &str| Pair { a: number(&fields[format!("{name}_a")]), b: number(&fields[format!("{name}_b")]) };
        let seqnos = Pair { a: pair("seqno").a as u64, b: pair("seqno").b as u64 };
        let part = CloseToSign { channel_id, sent: pair("sent"), seqnos };
        let signatures = sign(&|key| check_signed(&part, case, key));
        assert_eq!(signatures, Pair { a: array(&case["signature_a"]), b: array(&case["signature_b"]) });
        check_message(&Message::CooperativeClose { signatures, part: part.clone() }, &case["message"]);
        let half = Pair { b: [0; 64], ..signatures };
        check_message(&Message::CooperativeClose { signatures: half, part }, &case["request_from_a_with_zero_signature_b"]);

        check_message(&Message::Finish, &v["finish_uncooperative_close"]["message"]);
        for case in list(&v["topup"]) {
            check_message(&Message::TopUp { side: side(&case["is_a"]) }, &case["message"]);
        }
    });
}

#[test]
fn disputes() {
    each("contract.json", |v| {
        let channel = &v["channel_of_messages"];
        let channel_id: [u8; 16] = array(&channel["channel_id"]);
        let keys = Pair { a: key(&channel["key_a"]), b: key(&channel["key_b"]) };
        let given = &v["uncooperative_states"];
        let bodies = Pair { a: body(&given["state_a"]), b: body(&given["state_b"]) };
        let signed = |side: Side| {
            let state = State { channel_id, body: *bodies.get(side), counterparty: Some(*bodies.get(side.other())) };
            SignedState { signature: keys.get(side).sign(&state.hash()).to_bytes(), state }
        };
        let states = Pair { a: signed(Side::A), b: signed(Side::B) };
        assert_cell(&states.a.to_cell(), &given["signed_a"]);
        assert_cell(&states.b.to_cell(), &given["signed_b"]);

        for case in list(&v["start_uncooperative_close"]) {
            let by = side(&case["is_signed_by_a"]);
            let part = StartToSign { channel_id, states };
            let signature = check_signed(&part, case, keys.get(by));
            assert_eq!(signature, array(&case["signature"]));
            check_message(&Message::StartUncooperativeClose { by, signature, part }, &case["message"]);
        }
        for case in list(&v["challenge_quarantined_state"]) {
            let by = side(&case["is_challenged_by_a"]);
            let part = ChallengeToSign { channel_id, states };
            let signature = check_signed(&part, case, keys.get(by));
            assert_eq!(signature, array(&case["signature"]));
            check_message(&Message::Challenge { by, signature, part }, &case["message"]);
        }
    });
}

/// Virtual channel `i` of the vectors and its key.
fn numbered(i: u32) -> (SigningKey, Condition) {
    use sha2::{Digest, Sha256};
    let key = SigningKey::from_bytes(&Sha256::digest(format!("dict-virtual-{i}")).into());
    let condition = Condition {
        key: key.verifying_key().to_bytes(),
        capacity: 1_000_000 + 1_000 * u128::from(i),
        fee: 100 + u128::from(i),
        prepay: 0,
        deadline: 1_900_000_000 + 60 * i,
    };
    (key, condition)
}

#[test]
fn settling() {
    each("contract.json", |v| {
        let channel = &v["channel_of_messages"];
        let channel_id: [u8; 16] = array(&channel["channel_id"]);
        let keys = Pair { a: key(&channel["key_a"]), b: key(&channel["key_b"]) };
        for case in list(&v["settle_conditionals"]) {
            let resolved: Vec<(u32, Resolution)> = list(&case["virtual_channels"])
                .iter()
                .map(|v| {
                    let (key, condition) = numbered(number(&v["virtual_index"]) as u32);
                    assert_eq!(u128::from(condition.index()), number(&v["dict_key"]));
                    (condition.index(), Resolution::sign(&key, number(&v["resolved_amount"])))
                })
                .collect();
            let conditions = list(&case["virtual_channels"]).iter().map(|v| numbered(number(&v["virtual_index"]) as u32).1);
            let conditionals = Conditionals::from_conditions(conditions).unwrap();
            assert_eq!(conditionals.root_hash(), array(&case["conditionals_root_hash"]));

            let mut settlement = Settlement::new(&conditionals);
            for message in list(&case["messages"]) {
                let indices: Vec<u32> = list(&message["keys_to_settle"]).iter().map(|v| number(v) as u32).collect();
                assert_eq!(settlement.root_hash(), array(&message["proof_of_dict_hash"]));
                let proof = settlement.proof(&indices).unwrap().unwrap();
                assert_cell(&proof, &message["proof"]);
                let mut now: Vec<_> = resolved.iter().filter(|(index, _)| indices.contains(index)).copied().collect();
                let resolutions = resolutions_cell(now.iter().copied());
                assert_cell(resolutions.as_ref().unwrap(), &message["inputs_dict"]);
                now.sort_by_key(|(index, _)| *index);
                assert_eq!(read_resolutions(resolutions.as_ref()), Ok(now));

                let from = side(&message["is_from_a"]);
                let part = SettleToSign { channel_id, resolutions, proof };
                let signature = check_signed(&part, message, keys.get(from));
                assert_eq!(signature, array(&message["signature"]));
                check_message(&Message::SettleConditionals { from, signature, part }, &message["message"]);
                settlement.settle(&indices).unwrap();
            }
        }
    });
}

#[test]
fn time_rules() {
    each("contract.json", |v| {
        let storage = Storage::from_cell(cell(&list(&v["deploy"])[0]["storage_quarantined"]["cell"]).as_ref()).unwrap();
        let (q, f) = (storage.quarantine_end().unwrap(), storage.settle_end().unwrap());
        for (now, status, challenge, settle, finish) in [
            (q - 1, Status::ClosureStarted, true, false, false),
            (q, Status::Settling, false, false, false),
            (q + 1, Status::Settling, false, true, false),
            (f - 1, Status::Settling, false, true, false),
            (f, Status::AwaitingFinish, false, false, false),
            (f + 1, Status::AwaitingFinish, false, false, true),
        ] {
            assert_eq!(storage.status(now), status);
            assert_eq!(
                (storage.may_challenge(now), storage.may_settle(now), storage.may_finish(now)),
                (challenge, settle, finish)
            );
            assert_eq!(Status::from_number(status as u8), Some(status));
        }
        let mut closed = storage;
        closed.initialised = false;
        assert_eq!(closed.status(q), Status::Uninitialised);
        closed.initialised = true;
        closed.quarantine = None;
        assert_eq!(closed.status(q), Status::Open);
        assert!(!closed.may_challenge(0) && !closed.may_settle(q + 1) && !closed.may_finish(f + 1));
        assert_eq!(Status::from_number(5), None);
    });
}
