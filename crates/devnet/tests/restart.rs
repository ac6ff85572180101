//! The chain goes on where it was: after a clean end, after a kill, and not with a log that is not its own.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use common::User;
use devnet::Devnet;
use devnet::chain::COIN;
use serde_json::{Value, json};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;
use wallet::Transfer;

#[test]
fn a_reopened_chain_has_the_same_blocks_balances_and_clock() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = (User::new(1), StdAddr::new(0, HashBytes([2; 32])));
    let pay = |devnet: &Devnet, seqno: u32| {
        let transfer = Transfer::new(bob.clone(), COIN).bounce(false);
        devnet.send(alice.message(seqno, devnet.now() + 60, vec![transfer])).unwrap();
        devnet.mine().unwrap();
    };
    let (last, now) = {
        let devnet = Devnet::open(dir.path()).unwrap();
        devnet.faucet(alice.address().clone(), 10 * COIN).unwrap();
        devnet.advance(3600).unwrap();
        devnet.mine().unwrap();
        pay(&devnet, 0);
        assert!(devnet.set_time(devnet.now() - 10).is_err());
        (devnet.read(|l| *l.last()), devnet.now())
    };
    let devnet = Devnet::open(dir.path()).unwrap();
    assert_eq!(devnet.read(|l| *l.last()), last);
    assert!(devnet.now() >= now && devnet.status().offset >= 3600);
    pay(&devnet, 1);
    assert_eq!(devnet.read(|l| l.chain().balance(&bob)), 2 * COIN);
    assert_eq!(devnet.status().seqno, last.seqno + 1);
    assert!(devnet.status().conserved);
}

#[test]
fn a_data_directory_has_one_user() {
    let dir = tempfile::tempdir().unwrap();
    let _first = Devnet::open(dir.path()).unwrap();
    assert!(Devnet::open(dir.path()).is_err());
}

/// The process under test; killed when dropped.
struct Process {
    child: Child,
    control: String,
    global_config: String,
}

impl Process {
    fn start(data_dir: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_causeway-devnet"))
            .arg("--data-dir")
            .arg(data_dir)
            .args(["--block-interval-ms", "5"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(ready["lite_servers"].as_array().unwrap().len(), 2);
        Self {
            child,
            control: ready["control"].as_str().unwrap().to_owned(),
            global_config: ready["global_config"].as_str().unwrap().to_owned(),
        }
    }

    /// One HTTP request; status code and body.
    fn http(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.control).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: devnet\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or(Value::Null))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_process_loses_nothing_that_it_answered() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("0:{}", "42".repeat(32));
    let mut minted = 1_u128; // of the first account
    let mut seqno = 0;
    for round in 0..4 {
        let process = Process::start(dir.path());
        let (_, status) = process.http("GET", "/status", &Value::Null);
        assert_eq!(status["minted"], minted.to_string(), "round {round}");
        assert!(status["seqno"].as_u64().unwrap() >= seqno);
        for _ in 0..=round {
            let (code, status) = process.http("POST", "/faucet", &json!({ "address": address, "nano": "1000000007" }));
            assert_eq!(code, 200, "{status}");
            minted += 1_000_000_007;
            seqno = status["seqno"].as_u64().unwrap();
        }
        let (code, status) = process.http("POST", "/time", &json!({ "advance": 1000 }));
        assert_eq!((code, &status["conserved"]), (200, &Value::Bool(true)));
        assert!(status["offset"].as_i64().unwrap() >= 1000 * (round + 1));
        assert_eq!(process.http("POST", "/time", &json!({ "set": 5 })).0, 400);
        assert_eq!(process.http("POST", "/faucet", &json!({ "address": "nowhere", "nano": "1" })).0, 400);
        let config: Value = serde_json::from_slice(&std::fs::read(&process.global_config).unwrap()).unwrap();
        assert_eq!(config["liteservers"].as_array().unwrap().len(), 2);
        assert_eq!(config["liteservers"][0]["ip"], 2_130_706_433);
    }
}
