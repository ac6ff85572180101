//! `--serve`: the network stays, and the user is told what to do with it.

use std::path::Path;

use testnet::Network;

/// Writes the CLI's profiles and prints endpoints, keys and commands. `channel` is A's with B; `kept` says whether the data stays.
///
/// # Errors
/// The file cannot be written.
pub fn invite(network: &Network, folder: &Path, binaries: &Path, channel: &str, kept: bool) -> anyhow::Result<()> {
    let profiles = folder.join("profiles.toml");
    let mut text = String::from("default = \"a\"\n");
    println!("\n{:<6}{:<26}KEY", "NODE", "ENDPOINT");
    for node in &network.nodes {
        println!("{:<6}{:<26}{}", node.name.to_uppercase(), node.endpoint(), hex::encode(node.key));
        text += &format!("[profile.{}]\nendpoint = \"{}\"\n", node.name, node.endpoint());
    }
    std::fs::write(&profiles, text)?;
    let (b, c) = (hex::encode(network.nodes[1].key), hex::encode(network.nodes[2].key));
    println!(
        "\nFresh channels A-B and B-C are open. In another terminal (node A answers, others with --profile b or c):\n
  export PATH={}:$PATH CAUSEWAY_PROFILE_FILE={}
  causeway info
  causeway list
  causeway balance
  causeway peers

  # pay C through B: at once, or in three steps
  causeway send {c} 0.25
  KEY=$(causeway --json open {c} 1 | grep -o '[0-9a-f]\\{{64\\}}' | head -1)
  causeway sign $KEY 0.4 | causeway --profile c close -
  causeway show $KEY

  # on the chain: more money for A-B, a second channel with B
  causeway topup {channel} 2
  causeway deploy {b} 5
  causeway list

  # the end of A-B, agreed with B and paid out to both wallets
  causeway destroy {channel}
  causeway list --closed

Each command has --help and --json. Ctrl-C ends the network{}.",
        binaries.display(),
        profiles.display(),
        if kept { "; its data stays" } else { " and removes its data" },
    );
    Ok(())
}
