//! Every TL message against the reference's bytes.

#[path = "support/mod.rs"]
#[allow(dead_code)]
mod support;

use serde_json::{Value, json};
use support::{bytes, each, list, text};
use tl::Object;
use ton::Cell;
use wire::message::*;
use wire::{Action, Answer, Instruction, Request};

/// The fields of a boxed message under the names of the vectors. Also checks that writing it again gives the same message.
fn fields(constructor: &str, boxed: &[u8]) -> Value {
    match constructor {
        "payments.ping" => json!({ "Value": read::<Ping>(boxed).value.to_string() }),
        "payments.pong" => json!({ "Value": read::<Pong>(boxed).value.to_string() }),
        "payments.authenticate" => {
            let m: Authenticate = read(boxed);
            json!({ "Key": hex(m.key), "Timestamp": m.timestamp.to_string(), "Signature": hex(m.signature) })
        }
        "payments.authenticateToSign" => {
            let m: AuthenticateToSign = read(boxed);
            json!({ "A": hex(m.a), "B": hex(m.b), "Timestamp": m.timestamp.to_string() })
        }
        "payments.nodeAddress" => json!({ "ADNLAddr": hex(read::<NodeAddress>(boxed).adnl_addr) }),
        "payments.proposeChannelConfig" => {
            let m: ProposeChannelConfig = read(boxed);
            json!({
                "JettonAddr": hex(m.jetton_addr.unwrap_or_default()), "ExtraCurrencyID": m.ec_id.to_string(),
                "ExcessFee": amount(m.excess_fee), "QuarantineDuration": m.quarantine_duration.to_string(),
                "MisbehaviorFine": amount(m.misbehavior_fine),
                "ConditionalCloseDuration": m.conditional_close_duration.to_string(),
                "NodeVersion": m.node_version.to_string(), "CodeHash": hex(m.code_hash),
            })
        }
        "payments.channelConfig" => {
            let m: ChannelConfig = read(boxed);
            json!({
                "Ok": m.ok, "WalletAddr": hex(m.wallet_addr), "Reason": m.reason, "ProxyAllowed": m.proxy_allowed,
                "ProxyMinFee": amount(m.proxy_min_fee), "ProxyMaxCap": amount(m.proxy_max_cap),
                "ProxyPercentFeeFloat": m.proxy_percent_fee_float.to_string(),
            })
        }
        "payments.openChannelOffchain" => {
            let m: OpenChannelOffchain = read(boxed);
            json!({ "CodeHash": hex(m.code_hash), "OpenConfig": cell(&m.open_config), "NodeVersion": m.node_version.to_string() })
        }
        "payments.openChannelOffchainResponse" => {
            let m: OpenChannelOffchainResponse = read(boxed);
            json!({ "Addr": hex(m.addr), "Reason": m.reason })
        }
        "payments.requestChannelLock" => {
            let m: RequestChannelLock = read(boxed);
            json!({ "LockID": m.lock_id.to_string(), "ChannelAddr": hex(m.channel), "Lock": m.lock })
        }
        "payments.isChannelUnlocked" => {
            let m: IsChannelUnlocked = read(boxed);
            json!({ "LockID": m.lock_id.to_string(), "ChannelAddr": hex(m.channel) })
        }
        "payments.decision" => {
            let m: Decision = read(boxed);
            json!({ "Agreed": m.agreed, "Reason": m.reason, "Signature": m.signature.map_or(String::new(), hex) })
        }
        "payments.proposalDecision" => {
            let m: ProposalDecision = read(boxed);
            json!({ "Agreed": m.agreed, "Reason": m.reason, "SignedState": m.signed_state.as_ref().map(cell) })
        }
        "payments.proposeAction" => {
            let m: ProposeAction = read(boxed);
            json!({
                "LockID": m.lock_id.to_string(), "ChannelAddr": hex(m.channel_addr), "Action": action(&m.action),
                "SignedState": cell(&m.state), "UpdateProof": m.conditionals.as_ref().map(cell),
            })
        }
        "payments.requestAction" => {
            let m: RequestAction = read(boxed);
            json!({ "ChannelAddr": hex(m.channel_addr), "Action": action(&m.action) })
        }
        "payments.instructionContainer" => container(&read(boxed)),
        "payments.instructionsToSign" => json!({ "List": containers(&read::<InstructionsToSign>(boxed).list) }),
        "payments.openVirtualInstruction" => {
            let m: Instruction = read(boxed);
            json!({
                "Target": hex(m.target), "NextInstructionKey": hex(m.next_instruction_key),
                "ExpectedFee": amount(m.expected_fee), "ExpectedCapacity": amount(m.expected_capacity),
                "ExpectedDeadline": m.expected_deadline.to_string(), "NextTarget": hex(m.next_target),
                "NextFee": amount(m.next_fee), "NextCapacity": amount(m.next_capacity),
                "NextDeadline": m.next_deadline.to_string(), "FinalState": m.final_state.as_ref().map(cell),
            })
        }
        _ => {
            let m = Action::from_boxed(boxed).unwrap_or_else(|e| panic!("{constructor}: {e}"));
            assert_eq!(Action::from_boxed(&m.to_boxed()).unwrap(), m);
            action(&m)["fields"].clone()
        }
    }
}

fn action(action: &Action) -> Value {
    let fields = match action {
        Action::IncrementStates(a) => json!({ "WantResponse": a.want_response }),
        Action::OpenVirtual(a) => json!({
            "ChannelKey": hex(a.channel_key), "InstructionKey": hex(a.instruction_key),
            "Instructions": { "List": containers(&a.instructions) }, "Signature": hex(a.signature),
        }),
        Action::CommitVirtual(a) => json!({ "Key": hex(a.key), "PrepayAmount": amount(a.prepay_amount) }),
        Action::ConfirmClose(a) => json!({ "Key": hex(a.key), "State": cell(&a.state) }),
        Action::CloseVirtual(a) => json!({ "Key": hex(a.key), "State": cell(&a.state) }),
        Action::RemoveVirtual(a) => json!({ "Key": hex(a.key) }),
        Action::RequestRemoveVirtual(a) => json!({ "Key": hex(a.key) }),
        Action::RentCapacity(a) => json!({ "Till": a.till.to_string(), "Amount": amount(a.amount) }),
        Action::CooperativeClose(a) => json!({ "SignedCloseRequest": cell(&a.signed_close_request) }),
        Action::CooperativeCommit(a) => json!({ "SignedCommitRequest": cell(&a.signed_commit_request) }),
    };
    json!({ "fields": fields, "type": format!("{}Action", action.name()) })
}

fn read<T: Object + PartialEq + std::fmt::Debug>(boxed: &[u8]) -> T {
    let value = T::from_boxed(boxed).expect("the reference's bytes are read");
    // A BoC may list its cells in another order, so lengths and contents are compared.
    let again = value.to_boxed();
    assert_eq!(again.len(), boxed.len());
    assert_eq!(T::from_boxed(&again).as_ref(), Ok(&value));
    value
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    hex::encode(bytes)
}

fn amount(amount: u128) -> String {
    hex(&amount.to_be_bytes()[amount.leading_zeros() as usize / 8..])
}

fn cell(cell: &Cell) -> String {
    hex(ton::hash(cell.as_ref()))
}

fn container(container: &InstructionContainer) -> Value {
    json!({ "Hash": hex(container.hash), "Data": hex(&container.data) })
}

fn containers(list: &[InstructionContainer]) -> Value {
    list.iter().map(container).collect()
}

/// The vectors' fields in the form of [`fields`]: a cell as its hash, an absent key or address as zeros.
fn expected(v: &Value) -> Value {
    match v {
        Value::Object(cell) if cell.contains_key("boc") => cell["hash"].clone(),
        Value::Object(members) => members
            .iter()
            .map(|(name, value)| match (name.as_str(), value.as_str()) {
                ("JettonAddr" | "NextInstructionKey" | "WalletAddr" | "Addr", Some("")) => (name.clone(), json!(hex([0; 32]))),
                _ => (name.clone(), expected(value)),
            })
            .collect(),
        Value::Array(items) => items.iter().map(expected).collect(),
        other => other.clone(),
    }
}

#[test]
fn all_messages() {
    each("tl-messages.json", |v| {
        let messages = list(&v["messages"]);
        assert_eq!(messages.len(), 28);
        for message in messages {
            let constructor = text(&message["constructor"]);
            let id = tl::id(text(&message["schema"]));
            assert_eq!(format!("{id:08x}"), text(&message["crc32"]));
            for example in list(&message["examples"]) {
                let boxed = bytes(&example["boxed"]);
                assert_eq!(boxed[..4], id.to_le_bytes(), "{constructor}");
                assert_eq!(fields(constructor, &boxed), expected(&example["fields"]), "{constructor}");
            }
        }
    });
}

#[test]
fn requests_and_answers_are_told_apart() {
    const REQUESTS: [&str; 7] = [
        "ping",
        "proposeChannelConfig",
        "openChannelOffchain",
        "requestChannelLock",
        "isChannelUnlocked",
        "proposeAction",
        "requestAction",
    ];
    const ANSWERS: [&str; 5] = ["pong", "channelConfig", "openChannelOffchainResponse", "decision", "proposalDecision"];
    each("tl-messages.json", |v| {
        for message in list(&v["messages"]) {
            let name = text(&message["constructor"]).strip_prefix("payments.").unwrap();
            let boxed = bytes(&list(&message["examples"])[0]["boxed"]);
            let (request, answer) = (Request::from_boxed(&boxed), Answer::from_boxed(&boxed));
            assert_eq!(request.is_ok(), REQUESTS.contains(&name) || name == "authenticate", "{name}");
            assert_eq!(answer.is_ok(), ANSWERS.contains(&name) || name == "authenticate", "{name}");
            if let Ok(request) = request {
                assert_eq!(Request::from_boxed(&request.to_boxed()), Ok(request));
            }
            if let Ok(answer) = answer {
                assert_eq!(Answer::from_boxed(&answer.to_boxed()), Ok(answer));
            }
        }
    });
}

/// Cut, damaged and endless messages are refused or read, never more (payments 10.2.1).
mod hostile {
    use super::*;
    use proptest::prelude::*;

    fn examples() -> Vec<Vec<u8>> {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/tl-messages.json");
        let v: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        list(&v["messages"]).iter().flat_map(|m| list(&m["examples"]).iter().map(|e| bytes(&e["boxed"]))).collect()
    }

    fn touch(bytes: &[u8]) {
        let _ =
            (Request::from_boxed(bytes), Answer::from_boxed(bytes), Action::from_boxed(bytes), Instruction::from_boxed(bytes));
    }

    #[test]
    fn every_cut_of_every_message() {
        for example in examples() {
            for end in 0..example.len() {
                touch(&example[..end]);
            }
        }
    }

    #[test]
    fn amounts_and_counts_beyond_the_limits() {
        let commit = |amount: &[u8]| {
            let mut w = tl::Writer::new();
            w.u32(CommitVirtual::ID);
            w.raw(&[1; 32]);
            w.bytes(amount);
            Action::from_boxed(&w.into_bytes())
        };
        assert!(commit(&[0xff; 15]).is_ok());
        assert!(commit(&[]).is_ok());
        assert!(commit(&[1; 16]).is_err());
        assert!(commit(&[0, 1]).is_err());
        assert!(commit(&[0]).is_err());
        assert!(commit(&[1; 40]).is_err());

        let open = |count: u32, real: usize, size: usize| {
            let mut w = tl::Writer::new();
            w.u32(OpenVirtual::ID);
            w.raw(&[1; 64]);
            w.u32(count);
            for _ in 0..real {
                w.raw(&[2; 32]);
                w.bytes(&vec![3; size]);
            }
            w.bytes(&[4; 64]);
            Action::from_boxed(&w.into_bytes())
        };
        assert!(open(64, 64, 100).is_ok());
        assert!(open(65, 65, 100).is_err());
        assert!(open(1 << 31, 1, 100).is_err());
        assert!(open(1, 1, MAX_CONTAINER_BYTES).is_ok());
        assert!(open(1, 1, MAX_CONTAINER_BYTES + 1).is_err());
        assert!(Request::from_boxed(&vec![0; MAX_MESSAGE_BYTES + 1]).is_err());
    }

    #[test]
    fn each_envelope_takes_its_own_actions() {
        let remove = Action::from(RequestRemoveVirtual { key: [1; 32] });
        let increment = Action::from(IncrementStates { want_response: true });
        let state = Cell::default();
        let propose = |action| {
            let state = state.clone();
            Request::from(ProposeAction { lock_id: 1, channel_addr: [1; 32], action, state, conditionals: None }).to_boxed()
        };
        let request = |action| Request::from(RequestAction { channel_addr: [1; 32], action }).to_boxed();
        assert!(Request::from_boxed(&propose(increment.clone())).is_ok());
        assert!(Request::from_boxed(&propose(remove.clone())).is_err());
        assert!(Request::from_boxed(&request(remove)).is_ok());
        assert!(Request::from_boxed(&request(increment)).is_err());
    }

    proptest! {
        #[test]
        fn damaged_messages(pick in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let examples = examples();
            let mut bytes = examples[pick.index(examples.len())].clone();
            let at = at.index(bytes.len());
            bytes[at] = with;
            touch(&bytes);
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200), id in 0usize..30) {
            let examples = examples();
            let mut message = examples[id % examples.len()][..4].to_vec();
            message.extend(bytes);
            touch(&message);
        }
    }
}
