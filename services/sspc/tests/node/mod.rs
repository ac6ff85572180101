//! A real node for tests, asked in its own words: nothing of the program under test is between the question and the answer.
//!
//! `SSPC_RPC` names one with anvil's public test accounts; otherwise `anvil` is started where it is installed (on the PATH, or `SSPC_ANVIL`
//! names it); otherwise there is none.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::Duration;

use serde_json::{Value, json};

/// Anvil's first two accounts: public, worthless.
pub const KEYS: [&str; 2] = [
    "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
];
pub const ACCOUNTS: [&str; 2] = ["0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266", "0x70997970c51812dc3a010c7d01b50e0d17dc79c8"];

/// Ends with the test.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A node that answers, and what keeps it running.
pub struct Node {
    pub url: String,
    _anvil: Option<Running>,
}

impl Node {
    /// The one that is named, or a new anvil.
    pub fn find() -> Option<Self> {
        if let Ok(url) = std::env::var("SSPC_RPC") {
            return Some(Self { url, _anvil: None });
        }
        Self::anvil()
    }

    /// A new anvil.
    pub fn anvil() -> Option<Self> {
        let named = std::env::var_os("SSPC_ANVIL").map(PathBuf::from);
        let paths = std::env::var_os("PATH").unwrap_or_default();
        let anvil =
            named.or_else(|| std::env::split_paths(&paths).map(|folder| folder.join("anvil")).find(|file| file.is_file()));
        let Some(anvil) = anvil else {
            println!("skipped: neither SSPC_RPC nor anvil (npm install @foundry-rs/anvil; SSPC_ANVIL names the binary)");
            return None;
        };
        let port = testkit::free_port().unwrap().to_string();
        let child = Command::new(anvil).args(["--host", "127.0.0.1", "--port", &port, "--silent"]).spawn().unwrap();
        let anvil = Some(Running(child));
        let address = format!("127.0.0.1:{port}");
        while TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(Self { url: format!("http://{address}"), _anvil: anvil })
    }

    /// The same node, for another part of the test.
    pub fn share(&self) -> Self {
        Self { url: self.url.clone(), _anvil: None }
    }

    /// Asks in JSON-RPC.
    pub fn ask(&self, method: &str, params: Value) -> Value {
        let (host, path) = self
            .url
            .strip_prefix("http://")
            .expect("this test asks over http")
            .split_once('/')
            .unwrap_or((self.url.strip_prefix("http://").unwrap_or_default(), ""));
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string();
        let head = format!(
            "POST /{path} HTTP/1.0\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        let mut stream = TcpStream::connect(host).unwrap();
        stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").expect("an answer of HTTP");
        let answer: Value = serde_json::from_str(body).unwrap();
        assert!(answer.get("error").is_none(), "{method}: {answer}");
        answer["result"].clone()
    }

    fn number(&self, method: &str, params: Value) -> i128 {
        number(&self.ask(method, params))
    }

    /// Coin of an account, by the chain.
    pub fn balance(&self, account: &str) -> i128 {
        self.number("eth_getBalance", json!([account, "latest"]))
    }

    /// Number of the newest block.
    pub fn block(&self) -> i128 {
        self.number("eth_blockNumber", json!([]))
    }

    /// What each account has paid for gas in the blocks after this one, by their receipts.
    pub fn gas_paid_after(&self, block: i128) -> HashMap<String, i128> {
        let mut paid = HashMap::new();
        for number_of in block + 1..=self.block() {
            let found = self.ask("eth_getBlockByNumber", json!([format!("{number_of:#x}"), false]));
            for hash in found["transactions"].as_array().unwrap() {
                let receipt = self.ask("eth_getTransactionReceipt", json!([hash]));
                let cost = number(&receipt["gasUsed"]) * number(&receipt["effectiveGasPrice"]);
                *paid.entry(receipt["from"].as_str().unwrap().to_lowercase()).or_default() += cost;
            }
        }
        paid
    }
}

fn number(value: &Value) -> i128 {
    let digits = value.as_str().and_then(|text| text.strip_prefix("0x")).unwrap_or_else(|| panic!("{value} is no number"));
    i128::from_str_radix(digits, 16).unwrap()
}
