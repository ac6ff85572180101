//! A node of our network stack that is told what to do: a line in, a line out. The Go tests of `tests/interop` start it, and are its
//! peers, as clients and as servers.
//!
//! A line is `<tag> <command> <arguments…>`; its answer is `<tag> ok <values…>` or `<tag> error <why>`. Lines are executed side by side,
//! so answers come in any order. The process ends with its input. The commands are in [`commands`].
//!
//! What it is not: a node. It keeps peers' records in memory only, across `close` and `listen`, as a node keeps them in its database.

mod commands;
mod one_packet;
mod question;

use std::sync::Arc;

use tokio::io::{AsyncBufReadExt as _, BufReader};

use commands::Peer;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let peer = Arc::new(Peer::default());
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(line) = lines.next_line().await? {
        let peer = peer.clone();
        tokio::spawn(async move {
            let mut words = line.split(' ');
            let tag = words.next().unwrap_or_default();
            match peer.execute(&words.collect::<Vec<_>>()).await {
                Ok(values) => println!("{tag} ok {values}"),
                Err(error) => println!("{tag} error {error:#}"),
            }
        });
    }
    Ok(())
}
