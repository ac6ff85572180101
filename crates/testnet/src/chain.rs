//! The embedded chain as a process, and its control port.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, bail};
use serde_json::Value;
use testkit::{Process, wait_for};

/// A running chain.
#[derive(Debug)]
pub struct Chain {
    _process: Process,
    control: String,
    global_config: PathBuf,
}

/// What the chain holds and has taken in all, nano.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    /// Made by the faucet and at the beginning.
    pub minted: u128,
    /// On all accounts, and in messages under way.
    pub held: u128,
    /// Taken as fees, or sent to nowhere.
    pub fees: u128,
}

impl Chain {
    pub(crate) async fn start(binaries: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let out = folder.join("ready.json");
        let mut command = Command::new(binaries.join("causeway-devnet"));
        command.arg("--data-dir").arg(folder).stdout(File::create(&out)?).stderr(File::create(folder.join("devnet.log"))?);
        let process = Process::spawn("devnet", &mut command)?;
        let ready = wait_for("the chain", Duration::from_secs(30), async || {
            serde_json::from_str::<Value>(&std::fs::read_to_string(&out).unwrap_or_default())
        })
        .await?;
        let text = |field: &str| ready[field].as_str().map(str::to_owned).with_context(|| format!("devnet: no {field}"));
        Ok(Self { _process: process, control: text("control")?, global_config: text("global_config")?.into() })
    }

    /// The network's configuration file: lite servers and DHT.
    pub fn global_config(&self) -> &Path {
        &self.global_config
    }

    /// Puts coins on an address.
    pub fn faucet(&self, address: &str, nano: u128) -> anyhow::Result<()> {
        let body = serde_json::json!({ "address": address, "nano": nano.to_string() });
        self.request("POST", "/faucet", &body.to_string()).map(drop)
    }

    /// Lets time pass for the chain, and so for the nodes' protocol time.
    pub fn advance(&self, seconds: u64) -> anyhow::Result<()> {
        self.request("POST", "/time", &serde_json::json!({ "advance": seconds }).to_string()).map(drop)
    }

    /// Everything on the chain.
    pub fn totals(&self) -> anyhow::Result<Totals> {
        let status = self.request("GET", "/status", "")?;
        let number = |field: &str| -> anyhow::Result<u128> {
            status[field].as_str().and_then(|text| text.parse().ok()).with_context(|| format!("devnet: {field} of {status}"))
        };
        Ok(Totals {
            minted: number("minted")?,
            held: number("balances")? + number("in_transit")?,
            fees: number("storage_fees")? + number("gas_fees")? + number("forward_fees")? + number("burnt")?,
        })
    }

    fn request(&self, method: &str, path: &str, body: &str) -> anyhow::Result<Value> {
        let mut stream = TcpStream::connect(&self.control)?;
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: devnet\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("devnet: no answer")?;
        if !head.starts_with("HTTP/1.1 2") {
            bail!("devnet: {} {body}", head.lines().next().unwrap_or_default());
        }
        Ok(serde_json::from_str(body.trim()).unwrap_or(Value::Null))
    }
}
