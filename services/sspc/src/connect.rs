//! What every command needs: a key, a node, a folder.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::Address;
use anyhow::Context as _;
use clap::{Args, ValueEnum};
use rpc::config::ConfigError;
use sspc::{
    Amount, Chain as _, FeeLimits, FileStore, LocalKey, Place, PostgresStore, Rpc, RpcChain, Settings, Store, Tools, Variant,
    deploy,
};

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
    /// URL of an Ethereum node (JSON-RPC over http or https)
    #[arg(long, env = "SSPC_RPC")]
    pub rpc: String,
    /// PEM file with the authorities that the node's certificate must be of; without it those of the system
    #[arg(long)]
    pub authorities: Option<PathBuf>,
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
    /// Seconds that a proposal of ours may be opened and accepted, and one of a peer's at most
    #[arg(long, default_value_t = 86_400)]
    pub proposal_seconds: u64,
    /// The most that transactions may cost
    #[command(flatten)]
    pub fees: Fees,
}

/// The most that transactions may cost, whatever the node says. A gwei is 10^9 wei.
#[derive(Args, Clone, Copy, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Fees {
    /// Most gwei for a unit of gas
    #[arg(long, default_value_t = 200)]
    pub most_per_gas_gwei: u64,
    /// The same where money is lost when a transaction is late: the answer to a stale close
    #[arg(long, default_value_t = 1_000)]
    pub most_per_gas_urgent_gwei: u64,
    /// Most gas of a transaction
    #[arg(long, default_value_t = 3_000_000)]
    pub most_gas: u64,
    /// Most gwei that all transactions of one channel can cost together, deposits aside
    #[arg(long, default_value_t = 2_000_000_000)]
    pub most_per_channel_gwei: u64,
}

impl Default for Fees {
    fn default() -> Self {
        Self {
            most_per_gas_gwei: 200,
            most_per_gas_urgent_gwei: 1_000,
            most_gas: 3_000_000,
            most_per_channel_gwei: 2_000_000_000,
        }
    }
}

const GWEI: u128 = 1_000_000_000;
/// What the answer to a stale close may need, payouts that fail included.
const LEAST_GAS: u64 = 700_000;

impl Fees {
    /// The limits.
    ///
    /// # Errors
    /// Names the field and the rule.
    pub fn validate(&self, table: &str) -> Result<(), ConfigError> {
        let rule = |field: &str, rule: String| Err(ConfigError::rule(format!("{table}.{field}"), rule));
        if self.most_per_gas_gwei == 0 {
            return rule("most_per_gas_gwei", "must be at least 1".to_owned());
        }
        if self.most_per_gas_urgent_gwei < self.most_per_gas_gwei {
            return rule("most_per_gas_urgent_gwei", "must be at least most_per_gas_gwei".to_owned());
        }
        if self.most_gas < LEAST_GAS {
            return rule("most_gas", format!("must be at least {LEAST_GAS}, which the answer to a stale close may need"));
        }
        let least = self.most_per_gas_urgent_gwei.saturating_mul(LEAST_GAS);
        if self.most_per_channel_gwei < least {
            return rule("most_per_channel_gwei", format!("must be at least {least}: one answer at most_per_gas_urgent_gwei"));
        }
        Ok(())
    }

    fn limits(&self) -> FeeLimits {
        let wei = |gwei: u64| u128::from(gwei) * GWEI;
        FeeLimits { per_gas: wei(self.most_per_gas_gwei), per_gas_urgent: wei(self.most_per_gas_urgent_gwei), gas: self.most_gas }
    }
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
        self.fees.validate("fees")?;
        let rpc = Rpc { url: self.rpc.clone(), authorities: self.authorities.clone(), limits: self.fees.limits() };
        RpcChain::connect(&rpc, &key(&self.key_file)?).await.context("the chain's node, named by `rpc`")
    }

    /// Everything, with records in a folder, or in Postgres when `data` is a URL of it.
    ///
    /// # Errors
    /// The key, the node, the storage.
    pub async fn tools(&self, data: &str) -> anyhow::Result<Tools> {
        let settings = Settings {
            confirmations: self.confirmations,
            poll: Duration::from_millis(self.poll_ms),
            proposal_time: Duration::from_secs(self.proposal_seconds),
            most_fees: Amount::new(u128::from(self.fees.most_per_channel_gwei) * GWEI),
            ..Settings::default()
        };
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
