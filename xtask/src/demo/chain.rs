//! The embedded chain as a process, and its control port.

use std::{
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::Value;
use testkit::{Process, wait_for};

/// A running devnet.
pub struct Chain {
    _process: Process,
    control: String,
    /// Where its global config lies.
    pub global_config: String,
}

impl Chain {
    pub async fn start(binary: &Path, folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let out = folder.join("ready.json");
        let mut command = Command::new(binary);
        command.arg("--data-dir").arg(folder).stdout(File::create(&out)?).stderr(File::create(folder.join("devnet.log"))?);
        let process = Process::spawn("devnet", &mut command)?;
        let ready = wait_for("the chain", Duration::from_secs(30), async || {
            serde_json::from_str::<Value>(&std::fs::read_to_string(&out).unwrap_or_default())
        })
        .await?;
        let text = |field: &str| ready[field].as_str().map(str::to_owned).with_context(|| format!("devnet: no {field}"));
        Ok(Self { _process: process, control: text("control")?, global_config: text("global_config")? })
    }

    /// Puts coins on an address.
    pub fn faucet(&self, address: &str, nano: u128) -> anyhow::Result<()> {
        let body = serde_json::json!({ "address": address, "nano": nano.to_string() });
        self.request("POST", "/faucet", &body.to_string()).map(drop)
    }

    /// Totals, for the conservation row.
    pub fn status(&self) -> anyhow::Result<Value> {
        self.request("GET", "/status", "")
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
