//! States, conditionals, resolutions, instructions, fees and authentication against the reference's bytes.

#[path = "support/mod.rs"]
#[allow(dead_code)]
mod support;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use serde_json::Value;
use sha2::{Digest, Sha256};
use support::{array, assert_cell, bytes, cell, each, list, number, text};
use tl::Object;
use ton::MAX_COINS;
use wire::conditionals::LookupError;
use wire::fees::{Rate, Rented, rent_fee, tunnel_fee};
use wire::instruction::{open, seal_padded};
use wire::message::{Authenticate, InstructionContainer, OpenVirtual};
use wire::resolution::{open_state, seal_state, sealed_state_key};
use wire::{Body, Condition, Conditionals, Instruction, Resolution, SignedState, State, UpdateProof, authenticate, crypt};

fn key(v: &Value) -> SigningKey {
    let key = SigningKey::from_bytes(&array(&v["seed"]));
    assert_eq!(key.verifying_key().to_bytes(), array(&v["public"]));
    key
}

fn body(v: &Value) -> Body {
    Body { seqno: number(&v["seqno"]) as u64, sent: number(&v["sent"]), conditionals: array(&v["conditionals_hash"]) }
}

fn state(v: &Value) -> State {
    let counterparty = &v["counterparty_data"];
    State {
        channel_id: array(&v["channel_id"]),
        body: body(&v["data"]),
        counterparty: (!counterparty.is_null()).then(|| body(counterparty)),
    }
}

fn condition(v: &Value) -> Condition {
    Condition {
        key: array(&v["key"]),
        capacity: number(&v["capacity"]),
        fee: number(&v["fee"]),
        prepay: number(&v["prepay"]),
        deadline: number(&v["deadline"]) as u32,
    }
}

#[test]
fn states() {
    each("semichannel.json", |v| {
        for case in list(&v["states"]) {
            let (state, signer) = (state(&case["state"]), key(&case["signer"]));
            assert_cell(&state.to_cell(), &case["state_cell"]);
            assert_eq!(state.hash(), array(&case["signed_bytes"]));
            let signed = SignedState { signature: signer.sign(&state.hash()).to_bytes(), state };
            assert_eq!(signed.signature, array(&case["signature"]));
            assert_cell(&signed.to_cell(), &case["signed_cell"]);
            let read = SignedState::from_cell(cell(&case["signed_cell"]).as_ref()).unwrap();
            assert_eq!(read, signed);
            assert!(read.verify(&signer.verifying_key()));
        }
        let answer = &v["proposal_answer_form"];
        let counterparty = body(&answer["state_counterparty"]);
        let read = SignedState::from_answer(cell(&answer["sent_in_decision"]).as_ref(), &counterparty).unwrap();
        assert_eq!(read.state.counterparty, Some(counterparty));
        assert_cell(&read.to_cell(), &answer["full"]);
    });
}

#[test]
fn conditions() {
    each("virtual-channel.json", |v| {
        for case in list(&v["conditionals"]) {
            let expected = condition(&case["fields"]);
            assert_eq!(u128::from(expected.index()), number(&case["dict_key"]));
            assert_cell(&expected.to_cell(), &case["cell"]);
            let read = Condition::from_cell(cell(&case["cell"]).as_ref());
            let too_large = [expected.capacity, expected.fee, expected.prepay].iter().any(|amount| *amount > MAX_COINS);
            if too_large || expected.deadline == 0 {
                assert!(read.is_err());
            } else {
                assert_eq!(read, Ok(expected));
            }
        }
    });
}

#[test]
fn resolutions() {
    each("virtual-channel.json", |v| {
        let (virtual_key, receiver) = (key(&v["virtual_key"]), key(&v["receiver_key"]));
        let public = virtual_key.verifying_key().to_bytes();
        for case in list(&v["states"]) {
            let resolution = Resolution::sign(&virtual_key, number(&case["amount"]));
            assert_eq!(Resolution::payload(resolution.amount), bytes(&case["signed_bytes"]));
            assert_eq!(resolution.signature, array(&case["signature"]));
            assert_cell(&resolution.to_cell(), &case["cell"]);
            assert_eq!(Resolution::from_cell(cell(&case["cell"]).as_ref()), Ok(resolution));
            assert!(resolution.verify(&public));
        }
        for case in list(&v["encrypted_states"]) {
            let sealed = bytes(&case["encrypted_state"]);
            let secret = crypt::shared_secret(&receiver, &sealed_state_key(&sealed).unwrap()).unwrap();
            assert_eq!(secret, array(&case["shared_key"]));
            assert_eq!(crypt::shared_secret(&virtual_key, &receiver.verifying_key().to_bytes()), Some(secret));
            let resolution = Resolution { signature: array(&case["signature"]), amount: number(&case["amount"]) };
            assert_eq!(open_state(&sealed, &secret), Some((public, resolution)));
            assert_eq!(seal_state(&public, &resolution, &secret), sealed);
        }
    });
}

/// Virtual channel `i` of the dictionary's vectors.
fn numbered(i: u32) -> Condition {
    let seed = Sha256::digest(format!("dict-virtual-{i}"));
    Condition {
        key: SigningKey::from_bytes(&seed.into()).verifying_key().to_bytes(),
        capacity: 1_000_000 + 1_000 * u128::from(i),
        fee: 100 + u128::from(i),
        prepay: 0,
        deadline: 1_900_000_000 + 60 * i,
    }
}

#[test]
fn dictionaries() {
    each("conditionals-dict.json", |v| {
        for case in list(&v["dictionaries"]) {
            let count = number(&case["entries"]) as u32;
            let all = Conditionals::from_conditions((0..count).map(numbered)).unwrap();
            assert_eq!(all.root_hash(), array(&case["root_hash"]));
            let mut one_by_one = Conditionals::new();
            (0..=count).rev().for_each(|i| one_by_one.insert(numbered(i)).unwrap());
            one_by_one.remove(numbered(count).index()).unwrap();
            assert_eq!(one_by_one, all);
            for case in list(&case["find_with_proof"]) {
                let index = number(&case["dict_key"]) as u32;
                let virtual_index = number(&case["virtual_index"]) as u32;
                let found = case["exists"].as_bool().unwrap().then(|| numbered(virtual_index));
                assert_eq!(numbered(virtual_index).index(), index);
                let proof = all.proof_of_entry(index).unwrap();
                assert_cell(&proof, &case["proof"]["cell"]);
                let theirs = cell(&case["proof"]["cell"]);
                assert_eq!(UpdateProof::verify(Some(&theirs), &all.root_hash()).unwrap().lookup(index), Ok(found));
            }
        }
    });
}

/// Carries out a proposer's action as the reference does (payments 4.5) and returns the update proof; `None` when it refuses.
fn act(action: &Value, all: &mut Conditionals, body: &mut Body) -> Option<Option<ton::Cell>> {
    let index = || Condition::index_of(&array(&action["key"]));
    let before = (all.root_hash(), body.sent);
    let proof = match text(&action["type"]) {
        "increment" => {
            body.seqno += 1;
            all.proof_of_root()
        }
        "open" => {
            let new = condition(&action["virtual_channel"]);
            if all.get(new.index()) != Some(new) {
                all.insert(new).unwrap();
            }
            all.proof_of_entry(new.index())
        }
        "commit" => {
            let old = all.get(index()).unwrap();
            let prepay = number(&action["prepay_amount"]);
            body.sent += prepay.checked_sub(old.prepay)?;
            all.replace(Condition { prepay, ..old }).unwrap();
            all.proof_of_entry(index())
        }
        "remove" => {
            all.remove(index());
            all.proof_of_absence(index())
        }
        "confirm_close" => {
            let resolution = Resolution::from_cell(cell(&action["virtual_state"]).as_ref()).unwrap();
            assert_eq!(resolution.amount, number(&action["amount"]));
            assert!(resolution.verify(&array(&action["key"])));
            if let Some(old) = all.remove(index()) {
                body.sent += (resolution.amount + old.fee).saturating_sub(old.prepay);
            }
            all.proof_of_absence(index())
        }
        other => panic!("unknown action {other}"),
    };
    if before != (all.root_hash(), body.sent) {
        body.seqno += 1;
    }
    body.conditionals = all.root_hash();
    Some(proof)
}

fn check_sequence(steps: &[Value], signer: &SigningKey, mut all: Conditionals, mut body: Body) {
    for step in steps {
        let done = act(&step["action"], &mut all, &mut body);
        assert_eq!(done.is_none(), step["state"].is_null(), "{}", step["name"]);
        let Some(proof) = done else { continue };
        let expected = state(&step["state"]);
        assert_eq!(body, expected.body, "{}", step["name"]);
        assert_eq!(body.conditionals, array(&step["conditionals_root_hash"]));
        assert_eq!(signer.sign(&expected.hash()).to_bytes(), array(&step["signature"]));
        let signed = SignedState { signature: array(&step["signature"]), state: expected };
        assert_cell(&signed.to_cell(), &step["signed_state"]);
        match (proof, &step["update_proof"]) {
            (None, theirs) => assert!(theirs.is_null()),
            (Some(ours), theirs) => {
                assert_cell(&ours, &theirs["cell"]);
                let theirs = UpdateProof::verify(Some(&cell(&theirs["cell"])), &body.conditionals).unwrap();
                check_lookups(&theirs, &step["action"], &all);
            }
        }
    }
}

fn check_lookups(proof: &UpdateProof, action: &Value, all: &Conditionals) {
    let key = if text(&action["type"]) == "open" { &action["virtual_channel"]["key"] } else { &action["key"] };
    match key {
        Value::Null if all.len() > 1 => {
            all.iter().for_each(|c| assert_eq!(proof.lookup(c.index()), Err(LookupError::Pruned)));
        }
        Value::Null => {}
        key => {
            let index = Condition::index_of(&array(key));
            assert_eq!(proof.lookup(index), Ok(all.get(index)));
        }
    }
}

#[test]
fn proposals() {
    each("conditionals-dict.json", |v| {
        let signer = key(&v["our_key"]);
        check_sequence(list(&v["sequence"]), &signer, Conditionals::new(), Body::start(0));
        let thousand = Conditionals::from_conditions((0..1000).map(numbered)).unwrap();
        let body = Body { seqno: 1000, sent: 0, conditionals: thousand.root_hash() };
        check_sequence(list(&v["sequence_on_1000_entries"]["steps"]), &signer, thousand, body);
    });
}

fn instruction(v: &Value) -> Instruction {
    let amount = |v: &Value| bytes(v).iter().fold(0u128, |sum, byte| sum << 8 | u128::from(*byte));
    let final_state = &v["final_state"];
    Instruction {
        target: array(&v["target"]),
        next_instruction_key: array(&v["next_instruction_key"]),
        expected_fee: amount(&v["expected_fee"]),
        expected_capacity: amount(&v["expected_capacity"]),
        expected_deadline: number(&v["expected_deadline"]) as i64,
        next_target: array(&v["next_target"]),
        next_fee: amount(&v["next_fee"]),
        next_capacity: amount(&v["next_capacity"]),
        next_deadline: number(&v["next_deadline"]) as i64,
        final_state: (!final_state.is_null()).then(|| cell(final_state)),
    }
}

fn open_virtual(v: &Value, virtual_key: &VerifyingKey) -> OpenVirtual {
    let container = |v: &Value| InstructionContainer { hash: array(&v["hash"]), data: bytes(&v["data"]) };
    let action = OpenVirtual::from_boxed(&bytes(&v["tl_boxed"])).unwrap();
    assert_eq!(action.channel_key, virtual_key.to_bytes());
    assert_eq!(action.instruction_key, array(&v["instruction_key"]));
    assert_eq!(action.instructions, list(&v["instructions"]).iter().map(container).collect::<Vec<_>>());
    let signed = OpenVirtual::bytes_to_sign(&action.instructions);
    assert_eq!(signed, bytes(&v["signed_bytes"]));
    let signature = ed25519_dalek::Signature::from_bytes(&action.signature);
    assert!(virtual_key.verify_strict(&signed, &signature).is_ok());
    action
}

#[test]
fn instructions() {
    each("onion-instructions.json", |v| {
        let virtual_key = key(&v["virtual_key"]).verifying_key();
        for case in list(&v["cases"]) {
            let action = open_virtual(&case["action"], &virtual_key);
            let mut instruction_key = action.instruction_key;
            for hop in list(&case["hops"]) {
                assert_eq!(instruction_key, array(&hop["instruction_key_used"]));
                let node = key(&hop["node"]);
                let secret = crypt::shared_secret(&node, &instruction_key).unwrap();
                assert_eq!(secret, array(&hop["shared_key"]));
                let sender = SigningKey::from_bytes(&array(&hop["instruction_private_seed"]));
                assert_eq!(crypt::shared_secret(&sender, &node.verifying_key().to_bytes()), Some(secret));

                let expected = instruction(&hop["instruction"]);
                assert_eq!(open(&action.instructions, &secret).as_ref(), Some(&expected));
                assert_eq!(Instruction::from_boxed(&bytes(&hop["instruction_tl_boxed"])).as_ref(), Ok(&expected));
                let container = &action.instructions[number(&hop["container_index"]) as usize];
                assert_eq!(&seal_padded(bytes(&hop["plaintext_padded"]), &secret), container);
                instruction_key = expected.next_instruction_key;
            }
        }
        let tunnel = &v["generate_tunnel_with_5_stubs"];
        let action = open_virtual(&tunnel["action"], &virtual_key);
        let mut instruction_key = action.instruction_key;
        for node in [&tunnel["node_b"], &tunnel["node_c"]] {
            let expected = instruction(&node["instruction"]);
            let secret = crypt::shared_secret(&key(&node["key"]), &instruction_key).unwrap();
            assert_eq!(open(&action.instructions, &secret).as_ref(), Some(&expected));
            instruction_key = expected.next_instruction_key;
        }
    });
}

#[test]
fn fees() {
    each("fees.json", |v| {
        for case in list(&v["tunnel"]) {
            let rate = Rate::from_percent(case["percent"].as_f64().unwrap()).unwrap();
            let amount = number(&case["next_capacity_plus_next_fee"]);
            assert_eq!(tunnel_fee(amount, 0, rate), Some(number(&case["percent_part"])), "{case}");
            assert_eq!(tunnel_fee(amount, number(&case["min_fee"]), rate), Some(number(&case["required_fee"])), "{case}");
        }
        for case in list(&v["capacity_rent"]) {
            const NOW: i64 = 1_800_000_000;
            let seconds = |v: &Value| match v {
                Value::String(text) => text.parse().unwrap(),
                _ => v.as_i64().unwrap(),
            };
            let old = &case["old"];
            let old = (!old.is_null()).then(|| Rented {
                amount: number(&old["amount"]),
                used: number(&old["used"]),
                till: NOW + seconds(&old["seconds_till"]),
            });
            let rate = Rate::from_percent(case["percent_per_30_days"].as_f64().unwrap()).unwrap();
            let till = NOW + seconds(&case["seconds_till"]);
            let fee = rent_fee(number(&case["amount"]), till, NOW, old, rate, number(&case["deposit_fee"]));
            assert_eq!(fee, Some(number(&case["fee"])), "{case}");
        }
    });
}

#[test]
fn authentication() {
    each("authenticate.json", |v| {
        let (a, b): ([u8; 32], [u8; 32]) = (array(&v["adnl_a"]["adnl_id"]), array(&v["adnl_b"]["adnl_id"]));
        for case in list(&v["cases"]) {
            let timestamp = case["timestamp"].as_i64().or_else(|| text(&case["timestamp"]).parse().ok()).unwrap();
            for (side, signer, own, other) in [("request", "channel_key_a", a, b), ("response", "channel_key_b", b, a)] {
                let (side, signer) = (&case[side], key(&v[signer]));
                let digest = authenticate::digest(&own, &other, timestamp);
                assert_eq!(digest, array(&side["signed_hash"]));
                let message = Authenticate::from_boxed(&bytes(&side["tl_boxed"])).unwrap();
                assert_eq!(message.timestamp, timestamp);
                assert_eq!(message.signature, signer.sign(&digest).to_bytes());
                assert!(authenticate::verify(&message.key, &own, &other, timestamp, &message.signature));
            }
        }
    });
}
