//! A whole payment network on this machine: an embedded chain, a Postgres cluster, and nodes of real service processes that find each
//! other through the chain's DHT. The demo, the bench and the tests over services run on it.
//!
//! Not here: what is tested or measured, and the services' code; their binaries are started as an operator would.
//!
//! Invariants:
//! - only processes that were started here are signalled, and all of them end with the [`Network`];
//! - each node has a database, a role, keys and ports of its own; everything is on loopback.

mod chain;
mod explorer;
mod money;
mod node;
mod service;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use testkit::Cluster;

pub use chain::{Chain, Totals};
pub use explorer::{AccountView, Closing, Explorer, Payout};
pub use money::{
    PATIENCE, TON, balance, channel, close, deploy, open, send, transfer, until_exchanged, until_free, wallet, wallet_address,
};
pub use node::Node;
pub use service::Service;

/// The service binaries that a network is made of.
pub const BINARIES: [&str; 5] =
    ["causeway-devnet", "causeway-channel-engine", "causeway-peer-gateway", "causeway-chain-indexer", "causeway-route-planner"];

/// What a network is made of.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where [`BINARIES`] are.
    pub binaries: PathBuf,
    /// Where data, keys, configurations and logs go.
    pub folder: PathBuf,
    /// Whether the databases are kept in the folder too; else they are thrown away at the end.
    pub keep: bool,
    /// Names of the nodes, each with its number of engines.
    pub nodes: Vec<(&'static str, usize)>,
    /// Whether a node of this name may have this channel key; keys are made until one may. For tests that need peers on certain shards.
    pub suits: fn(&str, &[u8; 32]) -> bool,
    /// What the engines of a node of this name are told besides, in TOML.
    pub engine: fn(&str) -> &'static str,
}

impl Plan {
    /// Three nodes `a`, `b` and `c` of one engine each.
    pub fn three(binaries: &Path, folder: &Path) -> Self {
        Self {
            binaries: binaries.into(),
            folder: folder.into(),
            keep: false,
            nodes: vec![("a", 1), ("b", 1), ("c", 1)],
            suits: |_, _| true,
            engine: |_| "",
        }
    }
}

/// A running network. Everything ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    /// The nodes, in the plan's order. They end before what they depend on.
    pub nodes: Vec<Node>,
    /// The chain.
    pub chain: Chain,
    /// The databases.
    pub cluster: Cluster,
}

impl Network {
    /// Starts everything and puts coins into each node's wallet. `done` hears of each step when it is done.
    ///
    /// # Errors
    /// Something does not start; says what, and where its log is.
    pub async fn start(plan: &Plan, mut done: impl FnMut(&str)) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&plan.folder).with_context(|| format!("cannot make {}", plan.folder.display()))?;
        anyhow::ensure!(
            is_empty(&plan.folder)?,
            "{} is not empty: a network begins in a folder of its own",
            plan.folder.display()
        );
        let cluster = if plan.keep { Cluster::open(&plan.folder.join("postgres")).await? } else { Cluster::temporary().await? };
        done("Postgres up");
        let chain = Chain::start(&plan.binaries, &plan.folder.join("chain")).await?;
        done("chain up");
        let mut nodes = Vec::new();
        for (name, engines) in &plan.nodes {
            nodes.push(Node::start(name, *engines, plan, &cluster, chain.global_config()).await?);
        }
        for node in &nodes {
            node.until_ready().await?;
        }
        done("nodes up");
        for node in &nodes {
            money::fund(node, &chain, money::WALLET).await?;
        }
        for node in &nodes {
            money::until_funded(node).await?;
        }
        done("wallets funded");
        Ok(Self { nodes, chain, cluster })
    }
}

fn is_empty(folder: &Path) -> std::io::Result<bool> {
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

/// The folder of the binaries that cargo built together with the running test or tool.
///
/// # Errors
/// One is missing; says how to build it.
pub fn built_binaries() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().skip(1).find(|folder| !folder.ends_with("deps")).context("no folder")?;
    for name in BINARIES {
        anyhow::ensure!(
            folder.join(name).exists(),
            "{} is missing: build it with `cargo build --workspace --bins`, or run `cargo xtask test`",
            folder.join(name).display()
        );
    }
    Ok(folder.into())
}
