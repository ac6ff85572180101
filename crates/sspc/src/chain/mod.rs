//! The chain as a party needs it: a few calls of any Ethereum node, and on them the two contracts.

#[cfg(feature = "alloy")]
mod alloy;
mod contract;
#[cfg(feature = "alloy")]
mod http;
mod lane;
#[cfg(feature = "revm")]
mod simulated;

#[cfg(feature = "alloy")]
pub use self::alloy::{Rpc, RpcChain};
pub use contract::{Target, deploy, deploy_code};
pub(crate) use contract::{approval, check, credit, find, look, request};
pub use lane::Lane;
#[cfg(feature = "revm")]
pub use simulated::{SimulatedChain, Simulation};

use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

use crate::fees::{TooDear, Urgency};
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
    /// The limits of fees forbid it: see [`crate::FeeLimits`] and [`crate::Settings::most_fees`].
    #[error(transparent)]
    TooDear(#[from] TooDear),
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
    /// How soon it must be in a block.
    pub urgency: Urgency,
}

/// What a payout to each of two parties may take beyond the estimate. The recipient or the token decides, in the transaction itself, how much
/// gas a payout burns and whether it fails, and can do so otherwise than in an estimate; the contract refuses to count a payout as failed with
/// less than 250,000 left. Without this a peer could make our answer to its stale close fail again and again.
pub(crate) const PAYOUT_GAS: u64 = 500_000;

impl Request {
    /// The limit of the transaction: its estimate, a quarter more, and what is to be spared.
    #[must_use]
    pub fn gas_limit(&self, estimate: u64) -> u64 {
        estimate.saturating_add(estimate / 4).saturating_add(self.spare_gas)
    }
}

/// A node and an account on it. Only asks, never subscribes, so that any JSON-RPC over HTTP will do.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Whose transactions are signed.
    fn account(&self) -> Address;

    /// The account's transactions that are on their way.
    fn lane(&self) -> &Lane;

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

    /// Signs a transaction with the next number; does not send it. Fails when it would be reverted, or costs too much.
    ///
    /// # Errors
    /// The node; the contract refuses; the limits of fees.
    async fn prepare(&self, request: Request) -> Result<Prepared, ChainError>;

    /// The same transaction with the same number and a higher offer, signed; not sent.
    ///
    /// # Errors
    /// The node; the limits of fees.
    async fn raise(&self, transaction: &Prepared, urgency: Urgency) -> Result<Prepared, ChainError>;

    /// The number of a transaction among those of the account, from 0 on.
    ///
    /// # Errors
    /// Not a transaction of this chain.
    fn number(&self, transaction: &Prepared) -> Result<u64, ChainError>;

    /// How many transactions of the account are in the blocks up to this one: the number of the next.
    ///
    /// # Errors
    /// The node.
    async fn next_number(&self, block: u64) -> Result<u64, ChainError>;

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

    /// Whether transactions with this number can never have a receipt: another one of the account has the number, in a block that is
    /// `confirmations` deep. Not only in the newest one: a node that lags may know the number and not yet the receipt.
    ///
    /// # Errors
    /// The node.
    async fn is_replaced(&self, number: u64, hashes: &[B256], confirmations: u64) -> Result<bool, ChainError> {
        let deep = self.head().await?.number.saturating_sub(confirmations);
        // In this order: a receipt that came in between is seen.
        if self.next_number(deep).await? <= number {
            return Ok(false);
        }
        for hash in hashes {
            if self.receipt(hash).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Native coin of an account.
    ///
    /// # Errors
    /// The node.
    async fn balance(&self, account: Address) -> Result<U256, ChainError>;
}
