//! Any Ethereum node over JSON-RPC.

use std::time::Duration;

use alloy::consensus::Transaction as _;
use alloy::eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::{EthereumWallet, NetworkTransactionBuilder as _, TransactionBuilder as _};
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::{RpcError, TransportErrorKind};
use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;
use tokio::sync::Mutex;

use super::{Chain, ChainError, Head, Log, Receipt, Request, gas_limit};
use crate::record::Prepared;
use crate::signature::LocalKey;

/// Longest wait for an answer of the node.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// JSON-RPC's code for a call that the contract refuses.
const REVERTED: i64 = 3;

/// A node, and an account whose key is in this process.
pub struct RpcChain {
    provider: DynProvider,
    wallet: EthereumWallet,
    account: Address,
    chain_id: u64,
    lane: Mutex<()>,
}

impl RpcChain {
    /// Connects to a node over HTTP.
    ///
    /// # Errors
    /// Not a URL; the node does not answer.
    pub async fn connect(url: &str, key: &LocalKey) -> Result<Self, ChainError> {
        let url = url.parse().map_err(|_| ChainError::Answer("not a URL"))?;
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_http(url).erased();
        let signer = PrivateKeySigner::from_slice(&*key.to_bytes()).map_err(|_| ChainError::Answer("not a key"))?;
        let chain_id = within(provider.get_chain_id()).await?;
        Ok(Self { provider, wallet: EthereumWallet::from(signer), account: key.address(), chain_id, lane: Mutex::new(()) })
    }

    /// Address of the contract that a transaction made.
    ///
    /// # Errors
    /// The node.
    pub async fn created(&self, hash: &B256) -> Result<Option<Address>, ChainError> {
        let receipt = within(self.provider.get_transaction_receipt(*hash)).await?;
        Ok(receipt.and_then(|receipt| receipt.contract_address))
    }
}

async fn within<T>(request: impl IntoFuture<Output = Result<T, RpcError<TransportErrorKind>>>) -> Result<T, ChainError> {
    match tokio::time::timeout(REQUEST_TIME, request.into_future()).await {
        Ok(answer) => answer.map_err(|error| failure(&error)),
        Err(_) => Err(ChainError::Node("no answer".to_owned())),
    }
}

fn failure(error: &RpcError<TransportErrorKind>) -> ChainError {
    let refused = error.as_error_resp();
    match refused {
        Some(payload) if payload.code == REVERTED || payload.message.contains("revert") => {
            let data = payload.data.as_ref().map(|data| data.get().trim_matches('"').to_owned());
            ChainError::Reverted(data.unwrap_or_else(|| payload.message.to_string()))
        }
        Some(payload) => ChainError::Node(payload.message.to_string()),
        None => ChainError::Node(error.to_string()),
    }
}

#[async_trait]
impl Chain for RpcChain {
    fn account(&self) -> Address {
        self.account
    }

    fn lane(&self) -> &Mutex<()> {
        &self.lane
    }

    async fn chain_id(&self) -> Result<u64, ChainError> {
        Ok(self.chain_id)
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let block = within(self.provider.get_block_by_number(BlockNumberOrTag::Latest)).await?;
        let header = block.ok_or(ChainError::Answer("no newest block"))?.header;
        Ok(Head { number: header.number, time: header.timestamp })
    }

    async fn call(&self, to: Address, data: Bytes, block: u64) -> Result<Bytes, ChainError> {
        let request = TransactionRequest::default().with_from(self.account).with_to(to).with_input(data);
        within(self.provider.call(request).block(BlockId::number(block))).await
    }

    async fn logs(&self, address: Address, topics: &[Option<B256>], from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        let mut filter = Filter::new().address(address).from_block(from).to_block(to);
        for (place, topic) in filter.topics.iter_mut().zip(topics) {
            if let Some(topic) = topic {
                *place = (*topic).into();
            }
        }
        let logs = within(self.provider.get_logs(&filter)).await?;
        Ok(logs.into_iter().map(|log| convert(log.inner)).collect())
    }

    async fn prepare(&self, request: Request) -> Result<Prepared, ChainError> {
        let nonce = within(self.provider.get_transaction_count(self.account).pending()).await?;
        let fees = within(self.provider.estimate_eip1559_fees()).await?;
        let mut wanted = TransactionRequest::default()
            .with_from(self.account)
            .with_value(request.value)
            .with_input(request.data.clone())
            .with_chain_id(self.chain_id)
            .with_nonce(nonce)
            .with_max_fee_per_gas(fees.max_fee_per_gas)
            .with_max_priority_fee_per_gas(fees.max_priority_fee_per_gas);
        wanted = match request.to {
            Some(to) => wanted.with_to(to),
            None => wanted.into_create(),
        };
        // With the fees, so that what is estimated is what is sent.
        let gas = within(self.provider.estimate_gas(wanted.clone())).await?;
        let wanted = wanted.with_gas_limit(gas_limit(gas, &request));
        let signed = wanted.build(&self.wallet).await.map_err(|error| ChainError::Node(error.to_string()))?;
        Ok(Prepared { hash: *signed.tx_hash(), raw: signed.encoded_2718() })
    }

    async fn broadcast(&self, transaction: &Prepared) -> Result<(), ChainError> {
        match within(self.provider.send_raw_transaction(&transaction.raw)).await {
            Ok(_) => Ok(()),
            // The node has it already, or a block has.
            Err(error) => {
                let known = within(self.provider.get_transaction_by_hash(transaction.hash)).await?.is_some();
                if known || self.is_replaced(transaction, 0).await? { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn receipt(&self, hash: &B256) -> Result<Option<Receipt>, ChainError> {
        let Some(receipt) = within(self.provider.get_transaction_receipt(*hash)).await? else { return Ok(None) };
        let Some(block) = receipt.block_number else { return Ok(None) };
        let logs = receipt.logs().iter().map(|log| convert(log.inner.clone())).collect();
        Ok(Some(Receipt { block, success: receipt.status(), logs, gas: receipt.gas_used }))
    }

    async fn is_replaced(&self, transaction: &Prepared, confirmations: u64) -> Result<bool, ChainError> {
        let envelope = alloy::consensus::TxEnvelope::decode_2718(&mut transaction.raw.as_slice());
        let number = envelope.map_err(|_| ChainError::Answer("not a transaction"))?.nonce();
        let deep = BlockId::number(self.head().await?.number.saturating_sub(confirmations));
        // In this order: a receipt that came in between is seen.
        let next = within(self.provider.get_transaction_count(self.account).block_id(deep)).await?;
        Ok(next > number && self.receipt(&transaction.hash).await?.is_none())
    }

    async fn balance(&self, account: Address) -> Result<U256, ChainError> {
        within(self.provider.get_balance(account)).await
    }
}

fn convert(log: alloy_primitives::Log) -> Log {
    Log { address: log.address, topics: log.data.topics().to_vec(), data: log.data.data.clone() }
}
