//! The chain as a party needs it: a few calls of any Ethereum node, and on them the two contracts.

#[cfg(feature = "alloy")]
mod alloy;
mod contract;
#[cfg(feature = "revm")]
mod simulated;

#[cfg(feature = "alloy")]
pub use self::alloy::RpcChain;
pub use contract::{Target, deploy, deploy_code};
pub(crate) use contract::{approve, check, credit, find, look, request, withdraw};
#[cfg(feature = "revm")]
pub use simulated::{SimulatedChain, Simulation};

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use tokio::sync::Mutex;

use crate::record::Prepared;

/// Why the chain did not answer or would not do it.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ChainError {
    /// The node cannot be reached or refuses.
    #[error("node: {0}")]
    Node(String),
    /// The contract would refuse the transaction.
    #[error("the contract refuses: {0}")]
    Reverted(String),
    /// The channel on the chain is not the one that was agreed.
    #[error("the channel on the chain has another {0}")]
    OtherTerms(&'static str),
    /// The node's answer makes no sense.
    #[error("the node's answer: {0}")]
    Answer(&'static str),
}

/// Newest block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its number.
    pub number: u64,
    /// Its Unix time.
    pub time: u64,
}

/// An event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Log {
    /// Contract.
    pub address: Address,
    /// What it is indexed by; the first says which event it is.
    pub topics: Vec<B256>,
    /// The rest.
    pub data: Bytes,
}

/// What became of a transaction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Block that has it.
    pub block: u64,
    /// It did what it should; otherwise it was reverted.
    pub success: bool,
    /// Its events.
    pub logs: Vec<Log>,
    /// What it cost.
    pub gas: u64,
}

/// A transaction that is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// Contract; none to make one.
    pub to: Option<Address>,
    /// Native coin to send with it.
    pub value: U256,
    /// Calldata, or code to deploy.
    pub data: Bytes,
    /// Gas that must be left over, beyond what an estimate finds: see [`PAYOUT_GAS`].
    pub spare_gas: u64,
}

/// What a payout to each of two parties may take beyond the estimate. The recipient or the token decides, in the transaction itself, how much
/// gas a payout burns and whether it fails, and can do so otherwise than in an estimate; the contract refuses to count a payout as failed with
/// less than 250,000 left. Without this a peer could make our answer to its stale close fail again and again.
pub(crate) const PAYOUT_GAS: u64 = 500_000;

/// The limit of a transaction: its estimate, a quarter more, and what the request wants to spare.
fn gas_limit(estimate: u64, request: &Request) -> u64 {
    estimate.saturating_add(estimate / 4).saturating_add(request.spare_gas)
}

/// A node and an account on it. Only asks, never subscribes, so that any JSON-RPC over HTTP will do.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Whose transactions are signed.
    fn account(&self) -> Address;

    /// Held from [`Self::prepare`] to [`Self::broadcast`], so that two transactions of the account do not take one number.
    fn lane(&self) -> &Mutex<()>;

    /// EIP-155 id.
    ///
    /// # Errors
    /// The node.
    async fn chain_id(&self) -> Result<u64, ChainError>;

    /// The newest block.
    ///
    /// # Errors
    /// The node.
    async fn head(&self) -> Result<Head, ChainError>;

    /// Reads a contract at a block.
    ///
    /// # Errors
    /// The node; the contract refuses.
    async fn call(&self, to: Address, data: Bytes, block: u64) -> Result<Bytes, ChainError>;

    /// Events of a contract in the blocks from `from` to `to`, whose topics begin with `topics` where those are given.
    ///
    /// # Errors
    /// The node.
    async fn logs(&self, address: Address, topics: &[Option<B256>], from: u64, to: u64) -> Result<Vec<Log>, ChainError>;

    /// Signs a transaction; does not send it. Fails when it would be reverted.
    ///
    /// # Errors
    /// The node; the contract refuses.
    async fn prepare(&self, request: Request) -> Result<Prepared, ChainError>;

    /// Sends a transaction; sending it again is harmless.
    ///
    /// # Errors
    /// The node.
    async fn broadcast(&self, transaction: &Prepared) -> Result<(), ChainError>;

    /// What became of a transaction; none while no block has it.
    ///
    /// # Errors
    /// The node.
    async fn receipt(&self, hash: &B256) -> Result<Option<Receipt>, ChainError>;

    /// Whether a transaction without a receipt can never have one: another one of the account has its number, in a block that is
    /// `confirmations` deep. Not only in the newest one: a node that lags may know the number and not yet the receipt.
    ///
    /// # Errors
    /// The node.
    async fn is_replaced(&self, transaction: &Prepared, confirmations: u64) -> Result<bool, ChainError>;

    /// Native coin of an account.
    ///
    /// # Errors
    /// The node.
    async fn balance(&self, account: Address) -> Result<U256, ChainError>;
}
