//! A process of the bench: this program in another role. It ends with the value that stands for it, or when its input closes.

use adnl::keys::PublicKey;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

pub struct Child {
    process: std::process::Child,
    /// What it said of itself: its key in hex where it has one, its address where it has one.
    key: Option<PublicKey>,
    address: Option<SocketAddr>,
}

impl Child {
    /// Starts it and waits for its first line.
    pub fn start(arguments: &[&str]) -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut command = Command::new(program);
        let mut process = command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        let output = process.stdout.take().expect("its output is a pipe");
        BufReader::new(output).read_line(&mut line).expect("it says something");
        let words = || line.split_whitespace();
        let key = words().find_map(|word| PublicKey::from_bytes(&bytes32(word)?).ok());
        Self { process, key, address: words().find_map(|word| word.parse().ok()) }
    }

    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn key(&self) -> PublicKey {
        self.key.expect("it has a key")
    }

    pub fn address(&self) -> SocketAddr {
        self.address.expect("it has an address")
    }

    /// Bytes of memory.
    pub fn resident(&self) -> u64 {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.id())).unwrap_or_default();
        let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
        pages.unwrap_or(0) * 4096
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// 32 bytes in hex.
pub fn bytes32(word: &str) -> Option<[u8; 32]> {
    let digit = |i: usize| u8::from_str_radix(word.get(2 * i..2 * i + 2)?, 16).ok();
    let bytes: Option<Vec<u8>> = (word.len() == 64).then(|| (0..32).map(digit).collect()).flatten();
    bytes?.try_into().ok()
}
