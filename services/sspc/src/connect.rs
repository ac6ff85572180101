//! What every command needs: a key, a node, a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use sspc::{Chain as _, FileStore, LocalKey, Place, PostgresStore, RpcChain, Settings, Store, Tools, Variant, deploy};

/// Bounds of a channel's period in a contract that is deployed here, in seconds.
const PERIODS: (u32, u32) = (60, 30 * 86_400);

/// Which contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Contract {
    /// `Sspc`: the default everywhere.
    Word,
    /// `SspcCompact`: where calldata is dear.
    Compact,
}

impl From<Contract> for Variant {
    fn from(contract: Contract) -> Self {
        match contract {
            Contract::Word => Self::Word,
            Contract::Compact => Self::Compact,
        }
    }
}

/// A node and a key.
#[derive(Args, Clone)]
pub struct Account {
    /// URL of an Ethereum node (JSON-RPC over HTTP)
    #[arg(long, env = "SSPC_RPC")]
    pub rpc: String,
    /// File with the private key, 64 hex digits
    #[arg(long, env = "SSPC_KEY_FILE")]
    pub key_file: PathBuf,
    /// Which contract
    #[arg(long, value_enum, default_value = "word")]
    pub variant: Contract,
    /// Blocks on top of one before it is relied on
    #[arg(long, default_value_t = 3)]
    pub confirmations: u64,
    /// Milliseconds between two looks at the chain
    #[arg(long, default_value_t = 2_000)]
    pub poll_ms: u64,
}

/// Reads a private key: 64 hex digits, with or without 0x.
///
/// # Errors
/// No file; not a key. Never shows what it read.
pub fn key(file: &Path) -> anyhow::Result<LocalKey> {
    let text = std::fs::read_to_string(file).with_context(|| format!("the key file {}", file.display()))?;
    let mut bytes = [0; 32];
    let digits = text.trim().trim_start_matches("0x");
    hex::decode_to_slice(digits, &mut bytes).ok().with_context(|| format!("{}: must be 64 hex digits", file.display()))?;
    Ok(LocalKey::from_bytes(&bytes)?)
}

impl Account {
    /// The node.
    ///
    /// # Errors
    /// The key; the node does not answer.
    pub async fn chain(&self) -> anyhow::Result<RpcChain> {
        Ok(RpcChain::connect(&self.rpc, &key(&self.key_file)?).await?)
    }

    /// Everything, with records in a folder, or in Postgres when `data` is a URL of it.
    ///
    /// # Errors
    /// The key, the node, the storage.
    pub async fn tools(&self, data: &str) -> anyhow::Result<Tools> {
        let settings =
            Settings { confirmations: self.confirmations, poll: Duration::from_millis(self.poll_ms), ..Settings::default() };
        let store: Arc<dyn Store> = match data.starts_with("postgres") {
            true => Arc::new(PostgresStore::connect(data).await?),
            false => Arc::new(FileStore::open(Path::new(data))?),
        };
        Ok(Tools { store, chain: Arc::new(self.chain().await?), signer: Arc::new(key(&self.key_file)?), settings })
    }

    /// The contract at an address.
    ///
    /// # Errors
    /// The node does not answer.
    pub async fn place(&self, contract: Address, tools: &Tools) -> anyhow::Result<Place> {
        Ok(Place { chain_id: tools.chain.chain_id().await?, contract, variant: self.variant.into() })
    }

    /// Deploys a contract, prints its address.
    ///
    /// # Errors
    /// The node.
    pub async fn deploy(&self) -> anyhow::Result<()> {
        let chain = self.chain().await?;
        let transaction = deploy(&chain, self.variant.into(), PERIODS).await?;
        chain.broadcast(&transaction).await?;
        loop {
            if let Some(contract) = chain.created(&transaction.hash).await? {
                println!("{contract}");
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(self.poll_ms)).await;
        }
    }
}
