//! Every command against a small node over a real socket.

mod node;

use node::{CHANNEL, FAILS, HANGS, PENDS, Running, SEED, VIRTUAL};
use rpc::ServerConfig;
use rpc::engine::v1::sign_resolution_request::Signer;
use serde_json::{Value, json};

/// What a command did.
struct Done {
    code: u8,
    out: String,
    err: String,
}

async fn causeway(args: &[&str]) -> Done {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = cli::run(std::iter::once("causeway").chain(args.iter().copied()), &mut out, &mut err).await;
    Done { code, out: String::from_utf8(out).unwrap(), err: String::from_utf8(err).unwrap() }
}

async fn on(node: &Running, args: &[&str]) -> Done {
    causeway(&[&["--node", node.url.as_str()][..], args].concat()).await
}

/// The result, which must be a success and the only JSON on standard output.
async fn json_on(node: &Running, args: &[&str]) -> Value {
    let done = on(node, &[args, &["--json"]].concat()).await;
    assert_eq!(done.code, 0, "{}", done.err);
    serde_json::from_str(&done.out).unwrap()
}

fn hex(key: [u8; 32]) -> String {
    hex::encode(key)
}

#[tokio::test]
async fn questions_are_answered_as_text_and_as_json() {
    let node = node::start().await;
    let info = on(&node, &["info"]).await;
    assert!(info.out.contains(&hex([0xaa; 32])) && info.out.contains("waiting: the database"), "{}", info.out);
    assert!(on(&node, &["balance"]).await.out.contains("1329227995784915872903807060.280344575 TON"));
    assert_eq!(
        json_on(&node, &["balance"]).await["balances"][0]["wallet_nano"],
        json!("1329227995784915872903807060280344575"),
        "nano is text in JSON and loses nothing"
    );
    assert_eq!(json_on(&node, &["peers"]).await["peers"].as_array().unwrap().len(), 3, "all pages are read");
    let channel = json_on(&node, &["show", CHANNEL]).await;
    assert_eq!((&channel["status"], &channel["our"]["available_nano"]), (&json!("active"), &json!("1500000000")));
    let shown = on(&node, &["show", CHANNEL]).await.out;
    assert!(shown.contains("1.5 TON available") && shown.contains("-0.000000001 TON available"), "{shown}");
    assert_eq!(json_on(&node, &["show", &hex(VIRTUAL)]).await["role"], json!("receiver"));
    assert_eq!(json_on(&node, &["list", "--virtual"]).await["virtuals"][0]["virtual_key"], json!(hex(VIRTUAL)));
}

#[tokio::test]
async fn lists_end_at_their_limit_and_say_so() {
    let node = node::start().await;
    let done = on(&node, &["list", "--limit", "3"]).await;
    assert_eq!(done.out.matches(CHANNEL).count(), 3);
    assert!(done.err.contains("--limit"), "{}", done.err);
    let none = on(&node, &["list", "--peer", &hex(FAILS)]).await;
    assert_eq!((none.code, none.out.lines().count(), none.err.as_str()), (0, 1, ""));
}

#[tokio::test]
async fn changes_carry_what_was_typed_and_show_their_request_id() {
    let node = node::start().await;
    let deployed = json_on(&node, &["deploy", &hex([0xbb; 32]), "10.5"]).await;
    assert_eq!(deployed["channel"]["status"], json!("pending"));
    {
        let asked = node.node.asked.lock().unwrap();
        let opened = &asked.opened[0];
        assert_eq!((opened.peer_key.as_slice(), opened.top_up_nano.as_str()), (&[0xbb; 32][..], "10500000000"));
        assert_eq!(deployed["request_id"], json!(opened.request_id));
    }
    let id = "0b0e5d6a-32ec-4a3f-9d5f-6d2d3c1a7b10";
    let friendly = "EQCkFTayUGYM6i4rahaTFRXsOPynMt19NaZs0pGQnC3AKvoR";
    let topped = on(&node, &["topup", friendly, "2.5", "--request-id", id]).await;
    assert_eq!((topped.code, topped.err.as_str()), (0, format!("request id {id}\n").as_str()));
    {
        let asked = node.node.asked.lock().unwrap();
        let request = &asked.topped_up[0];
        let fields = (request.request_id.as_str(), request.address.as_str(), request.amount_nano.as_str());
        assert_eq!(fields, (id, CHANNEL, "2500000000"));
    }
    assert!(on(&node, &["withdraw", friendly, "1.5"]).await.out.starts_with("paid out: 1.5"));
    let withdrawn = node.node.asked.lock().unwrap().withdrawn.remove(0);
    assert_eq!((withdrawn.address.as_str(), withdrawn.amount_nano.as_str()), (CHANNEL, "1500000000"));
    assert!(on(&node, &["lift", friendly]).await.out.starts_with("queued"));
    assert_eq!(node.node.asked.lock().unwrap().lifted.remove(0).address, CHANNEL);
    assert_eq!(json_on(&node, &["close", "c2VhbGVk"]).await["virtual"]["status"], json!("closing"));
    assert_eq!(node.node.asked.lock().unwrap().claimed[0].encrypted_state, "c2VhbGVk");
    assert_eq!(json_on(&node, &["destroy", CHANNEL, "--force"]).await["channel"]["status"], json!("closing"));
    assert!(node.node.asked.lock().unwrap().closed[0].force);
}

#[tokio::test]
async fn virtual_channels_are_opened_and_signed_and_the_seed_is_a_secret() {
    let node = node::start().await;
    let via = format!("{},fee=0.01,gap=13h", hex([0xbb; 32]));
    let receiver = hex([0xcc; 32]);
    let args = ["open", &receiver, "5", "--ttl", "2h", "--via", &via, "--max-fee", "0.02"];
    let opened = on(&node, &args).await;
    assert_eq!(opened.code, 0, "{}", opened.err);
    assert!(!opened.out.contains(&hex(SEED)), "the seed is shown only when asked for");
    assert!(on(&node, &[&args[..], &["--show-seed"]].concat()).await.out.contains(&hex(SEED)));
    {
        let asked = node.node.asked.lock().unwrap();
        let request = &asked.virtuals[0];
        assert_eq!((request.capacity_nano.as_str(), request.ttl_seconds), ("5000000000", 7_200));
        assert_eq!(request.max_fee_nano.as_deref(), Some("20000000"));
        assert_eq!(request.chain.len(), 2);
        assert_eq!(request.chain[0].fee_nano.as_deref(), Some("10000000"));
        assert_eq!(request.chain[1].node_key, [0xcc; 32]);
    }
    let signed = on(&node, &["sign", &hex(VIRTUAL), "1.25"]).await;
    assert_eq!((signed.code, signed.out.as_str(), signed.err.as_str()), (0, "c2VhbGVk\n", ""));
    {
        let asked = node.node.asked.lock().unwrap();
        assert_eq!(asked.signed[0].amount_nano, "1250000000");
        assert_eq!(asked.signed[0].signer, Some(Signer::VirtualKey(VIRTUAL.to_vec())));
    }
    let other = on(&node, &["sign", &hex(VIRTUAL), "1.25", "--coin", "extra:7", "--decimals", "2"]).await;
    assert_eq!(other.code, 2);
    assert!(other.err.contains("`coin` must be the coin that it holds: TON"), "{}", other.err);
}

#[tokio::test]
async fn transfers_end_with_their_exit_code() {
    let node = node::start().await;
    let receiver = hex([0xcc; 32]);
    assert_eq!(json_on(&node, &["send", &receiver, "0.25"]).await["status"], json!("paid"));
    {
        let asked = node.node.asked.lock().unwrap();
        assert!(asked.sent[0].wait && asked.sent[0].chain.is_empty() && asked.sent[0].max_fee_nano.is_none());
    }
    let failed = on(&node, &["send", &hex(FAILS), "0.25", "--direct"]).await;
    assert_eq!(failed.code, 1);
    assert!(failed.out.contains("the receiver refused"), "{}", failed.out);
    assert_eq!(node.node.asked.lock().unwrap().sent[1].chain.len(), 1);
    assert_eq!(on(&node, &["send", &hex(PENDS), "0.25"]).await.code, 3, "asked to wait, and not known yet");
    assert_eq!(on(&node, &["send", &hex(PENDS), "0.25", "--no-wait"]).await.code, 0);
}

#[tokio::test]
async fn a_lost_answer_tells_how_to_repeat() {
    let node = node::start().await;
    let lost = on(&node, &["send", &hex(HANGS), "0.25", "--timeout", "1s"]).await;
    assert_eq!(lost.code, 3, "{}", lost.err);
    let id = node.node.asked.lock().unwrap().sent[0].request_id.clone();
    assert!(lost.err.starts_with(&format!("request id {id}\n")), "{}", lost.err);
    assert!(lost.err.contains("CW0903") && lost.err.contains(&format!("--request-id {id}")), "{}", lost.err);
}

#[tokio::test]
async fn refusals_print_code_field_and_rule() {
    let node = node::start().await;
    let refused = on(&node, &["open", &hex([0xcc; 32]), "5", "--ttl", "10"]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("CW0006") && refused.err.contains("`ttl_seconds` must be at least 60"), "{}", refused.err);
    let refused = on(&node, &["open", &hex([0xcc; 32]), "5", "--ttl", "10", "--json"]).await;
    let error: Value = serde_json::from_str(refused.err.lines().last().unwrap()).unwrap();
    let error = &error["error"];
    assert_eq!((&error["code"], &error["field"]), (&json!("CW0006"), &json!("ttl_seconds")));
    assert_eq!(error["rule"], json!("must be at least 60"));
    assert!(refused.out.is_empty() && error["request_id"].is_string());
    assert_eq!(on(&node, &["destroy", CHANNEL]).await.code, 1, "conditionals are open");
    assert_eq!(on(&node, &["deploy", &hex(HANGS), "1"]).await.code, 1, "the peer, not the node, is out of reach");
    assert!(on(&node, &["show", &hex([1; 32])]).await.err.contains("CW0301"));
    assert!(on(&node, &["topup", &CHANNEL.replace('2', "3"), "1"]).await.err.contains("CW0201"));
}

#[tokio::test]
async fn bad_values_are_usage_errors_and_call_nothing() {
    // Nothing listens there: what is not refused before the call would end with 3.
    let nowhere = ["--node", "http://127.0.0.1:1"];
    let key = hex([1; 32]);
    for (args, code) in [
        (vec!["send", "00", "1"], "CW0002"),
        (vec!["send", &key, "1.0000000001"], "CW0004"),
        (vec!["send", &key, "0"], "CW0005"),
        (vec!["send", &key, "x"], "CW0003"),
        (vec!["send", &key, "1", "--request-id", "7"], "CW0009"),
        (vec!["send", &key, "1", "--via", "00"], "CW0002"),
        (vec!["send", &key, "1", "--max-fee", "0.0000000001"], "CW0004"),
        (vec!["deploy", &key, "1", "--coin", "extra:1"], "CW0001"),
        (vec!["topup", "nowhere", "1"], "CW0001"),
        (vec!["withdraw", "nowhere", "1"], "CW0001"),
        (vec!["show", "nothing"], "CW0001"),
        (vec!["close", " "], "CW0001"),
        (vec!["info", "--timeout", "soon"], "CW0001"),
    ] {
        let done = causeway(&[&nowhere[..], &args].concat()).await;
        assert_eq!(done.code, 2, "{args:?}: {}", done.err);
        assert!(done.err.contains(code) && done.out.is_empty(), "{args:?}: {}", done.err);
    }
    assert_eq!(causeway(&["fly"]).await.code, 2);
    assert_eq!(causeway(&[&nowhere[..], &["send", &key, "1", "--direct", "--via", &key]].concat()).await.code, 2);
}

#[tokio::test]
async fn a_node_that_is_not_there_is_told_from_a_refusal() {
    let done = causeway(&["--node", "http://127.0.0.1:1", "info"]).await;
    assert_eq!(done.code, 3);
    assert!(done.err.contains("CW0901"), "{}", done.err);
}

#[tokio::test]
async fn a_dry_run_shows_the_request_and_calls_nothing() {
    let node = node::start().await;
    let shown = json_on(&node, &["send", &hex([0xcc; 32]), "0.25", "--dry-run"]).await;
    assert_eq!((&shown["call"], &shown["request"]["amount_nano"]), (&json!("SendTransfer"), &json!("250000000")));
    assert!(on(&node, &["destroy", CHANNEL, "--dry-run"]).await.out.contains("would call CloseChannel"));
    let asked = node.node.asked.lock().unwrap();
    assert!(asked.sent.is_empty() && asked.closed.is_empty());
}

#[tokio::test]
async fn profiles_name_nodes_and_their_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "00112233445566778899aabbccddeeff").unwrap();
    let node = node::start_with(|listen| ServerConfig { token_file: Some(token.clone()), ..ServerConfig::plain(listen) }).await;
    let file = folder.path().join("profiles.toml");
    let text = format!(
        "default = 'open'\n[profile.open]\nendpoint = '{url}'\n[profile.full]\nendpoint = '{url}'\ntoken_file = '{}'\n",
        token.display(),
        url = node.url
    );
    std::fs::write(&file, text).unwrap();
    let with_file = ["--profile-file", file.to_str().unwrap()];
    let run = async |more: &[&str]| causeway(&[&with_file[..], more, &["info"]].concat()).await;
    let refused = run(&[]).await;
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("CW0101"), "the default has no token: {}", refused.err);
    assert_eq!(run(&["--profile", "full"]).await.code, 0);
    assert_eq!(run(&["--token-file", token.to_str().unwrap()]).await.code, 0, "an option goes before the profile");
    let unknown = run(&["--profile", "nobody"]).await;
    assert_eq!(unknown.code, 2);
    assert!(unknown.err.contains("no profile `nobody`"), "{}", unknown.err);
    assert_eq!(run(&["--tls-domain", "x"]).await.code, 2, "TLS needs the certificates to check");
    std::fs::write(&file, "[profile.open]\nendpoit = 'x'").unwrap();
    let wrong = run(&["--profile", "open"]).await;
    assert!(wrong.code == 2 && wrong.err.contains("endpoit"), "{}", wrong.err);
}

#[tokio::test]
async fn help_is_enough_for_a_stranger() {
    let help = causeway(&["--help"]).await;
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    for word in [
        "deploy",
        "topup",
        "withdraw",
        "open",
        "send",
        "sign",
        "close",
        "destroy",
        "lift",
        "peers",
        "balance",
        "list",
        "--json",
        "Exit codes",
    ] {
        assert!(help.out.contains(word), "{word}");
    }
    assert!(causeway(&["send", "--help"]).await.out.contains("causeway send <key of the receiver> 0.25"));
}
