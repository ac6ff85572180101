//! Any Ethereum node over JSON-RPC.

use std::path::PathBuf;
use std::time::Duration;

use alloy::consensus::{Transaction as _, TxEip1559, TxEnvelope};
use alloy::eips::eip2718::{Decodable2718 as _, Encodable2718 as _};
use alloy::eips::{BlockId, BlockNumberOrTag};
use alloy::network::{EthereumWallet, NetworkTransactionBuilder as _, TransactionBuilder as _};
use alloy::providers::{DynProvider, Provider as _, ProviderBuilder};
use alloy::rpc::client::RpcClient;
use alloy::rpc::types::{Filter, TransactionRequest};
use alloy::signers::local::PrivateKeySigner;
use alloy::transports::{RpcError, TransportErrorKind};
use alloy_primitives::{Address, B256, Bytes, U256};
use async_trait::async_trait;

use super::http::Http;
use super::{Chain, ChainError, Head, Lane, Log, Receipt, Request};
use crate::fees::{Bid, FeeLimits, TooDear, Urgency};
use crate::record::Prepared;
use crate::signature::LocalKey;

/// Longest wait for an answer of the node.
const REQUEST_TIME: Duration = Duration::from_secs(20);
/// JSON-RPC's code for a call that the contract refuses.
const REVERTED: i64 = 3;

/// A node, and what it may make us pay.
#[derive(Clone, Default, Debug)]
pub struct Rpc {
    /// Its URL, http or https.
    pub url: String,
    /// PEM file with the authorities that its certificate must be of; none: those of the system.
    pub authorities: Option<PathBuf>,
    /// What transactions may cost, whatever it says.
    pub limits: FeeLimits,
}

/// A node, and an account whose key is in this process.
pub struct RpcChain {
    provider: DynProvider,
    wallet: EthereumWallet,
    account: Address,
    chain_id: u64,
    limits: FeeLimits,
    lane: Lane,
}

impl RpcChain {
    /// Connects to a node.
    ///
    /// # Errors
    /// Not a URL; no authorities; the node does not answer.
    pub async fn connect(rpc: &Rpc, key: &LocalKey) -> Result<Self, ChainError> {
        let http = Http::new(&rpc.url, rpc.authorities.as_deref()).map_err(ChainError::Node)?;
        let provider = ProviderBuilder::new().disable_recommended_fillers().connect_client(RpcClient::new(http, false)).erased();
        let signer = PrivateKeySigner::from_slice(&*key.to_bytes()).map_err(|_| ChainError::Answer("not a key"))?;
        let chain_id = within(provider.get_chain_id()).await?;
        let (wallet, account) = (EthereumWallet::from(signer), key.address());
        Ok(Self { provider, wallet, account, chain_id, limits: rpc.limits, lane: Lane::default() })
    }

    /// Address of the contract that a transaction made.
    ///
    /// # Errors
    /// The node.
    pub async fn created(&self, hash: &B256) -> Result<Option<Address>, ChainError> {
        let receipt = within(self.provider.get_transaction_receipt(*hash)).await?;
        Ok(receipt.and_then(|receipt| receipt.contract_address))
    }

    /// What the node says that the market asks: twice the newest block's base fee, so that a few full blocks do not shut us out, and a tip.
    async fn market(&self) -> Result<Bid, ChainError> {
        let block = within(self.provider.get_block_by_number(BlockNumberOrTag::Latest)).await?;
        let base = block.and_then(|block| block.header.base_fee_per_gas).ok_or(ChainError::Answer("no base fee (EIP-1559)"))?;
        let tip = within(self.provider.get_max_priority_fee_per_gas()).await?;
        Ok(Bid { most: u128::from(base).saturating_mul(2).saturating_add(tip), tip })
    }

    async fn sign(&self, wanted: TransactionRequest, bid: Bid, gas: u64) -> Result<Prepared, ChainError> {
        let signed = wanted
            .with_max_fee_per_gas(bid.most)
            .with_max_priority_fee_per_gas(bid.tip)
            .with_gas_limit(gas)
            .build(&self.wallet)
            .await
            .map_err(|error| ChainError::Node(error.to_string()))?;
        Ok(Prepared { hash: *signed.tx_hash(), raw: signed.encoded_2718(), cost: bid.cost(gas) })
    }

    /// An offer that the account can pay, and not below `least`: a node refuses one that it cannot, however little would be paid in the end.
    async fn affordable(&self, bid: Bid, least: u128, gas: u64, value: U256) -> Result<Bid, ChainError> {
        let funds = within(self.provider.get_balance(self.account)).await?.saturating_sub(value);
        let funds = funds.checked_div(U256::from(gas)).unwrap_or_default();
        let most = bid.most.min(u128::try_from(funds).unwrap_or(u128::MAX));
        if most < least {
            return Err(TooDear::Funds { asked: least, most }.into());
        }
        Ok(Bid { most, tip: bid.tip.min(most) })
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

/// A transaction as [`RpcChain::prepare`] made it.
fn decode(transaction: &Prepared) -> Result<TxEip1559, ChainError> {
    match TxEnvelope::decode_2718(&mut transaction.raw.as_slice()) {
        Ok(TxEnvelope::Eip1559(signed)) => Ok(signed.strip_signature()),
        _ => Err(ChainError::Answer("not a transaction of ours")),
    }
}

#[async_trait]
impl Chain for RpcChain {
    fn account(&self) -> Address {
        self.account
    }

    fn lane(&self) -> &Lane {
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
        let counted = within(self.provider.get_transaction_count(self.account).pending()).await?;
        let market = self.market().await?;
        let bid = self.limits.first(market, request.urgency)?;
        let mut wanted = TransactionRequest::default()
            .with_from(self.account)
            .with_value(request.value)
            .with_input(request.data.clone())
            .with_chain_id(self.chain_id);
        wanted = match request.to {
            Some(to) => wanted.with_to(to),
            None => wanted.into_create(),
        };
        // With a price, so that what is estimated is what is sent.
        let priced = wanted.clone().with_max_fee_per_gas(market.most).with_max_priority_fee_per_gas(0);
        let gas = within(self.provider.estimate_gas(priced)).await?;
        let gas = self.limits.gas(request.gas_limit(gas))?;
        let least = if request.urgency == Urgency::Calm { market.most / 2 } else { 0 };
        let bid = self.affordable(bid, least, gas, request.value).await?;
        self.sign(wanted.with_nonce(self.lane.free(counted)), bid, gas).await
    }

    async fn raise(&self, transaction: &Prepared, urgency: Urgency) -> Result<Prepared, ChainError> {
        let old = decode(transaction)?;
        let offered = Bid { most: old.max_fee_per_gas, tip: old.max_priority_fee_per_gas };
        let (gas, value) = (old.gas_limit, old.value);
        let raised = self.limits.raised(offered, self.market().await?, urgency)?;
        let bid = self.affordable(raised, offered.next().most, gas, value).await?;
        let again: TransactionRequest = old.into();
        self.sign(again.with_from(self.account), bid, gas).await
    }

    fn number(&self, transaction: &Prepared) -> Result<u64, ChainError> {
        Ok(decode(transaction)?.nonce())
    }

    async fn next_number(&self, block: u64) -> Result<u64, ChainError> {
        within(self.provider.get_transaction_count(self.account).block_id(BlockId::number(block))).await
    }

    async fn broadcast(&self, transaction: &Prepared) -> Result<(), ChainError> {
        match within(self.provider.send_raw_transaction(&transaction.raw)).await {
            Ok(_) => Ok(()),
            // The node has it already, or a block has.
            Err(error) => {
                let known = within(self.provider.get_transaction_by_hash(transaction.hash)).await?.is_some();
                let number = self.number(transaction)?;
                if known || self.is_replaced(number, &[transaction.hash], 0).await? { Ok(()) } else { Err(error) }
            }
        }
    }

    async fn receipt(&self, hash: &B256) -> Result<Option<Receipt>, ChainError> {
        let Some(receipt) = within(self.provider.get_transaction_receipt(*hash)).await? else { return Ok(None) };
        let Some(block) = receipt.block_number else { return Ok(None) };
        let logs = receipt.logs().iter().map(|log| convert(log.inner.clone())).collect();
        Ok(Some(Receipt { block, success: receipt.status(), logs, gas: receipt.gas_used }))
    }

    async fn balance(&self, account: Address) -> Result<U256, ChainError> {
        within(self.provider.get_balance(account)).await
    }
}

fn convert(log: alloy_primitives::Log) -> Log {
    Log { address: log.address, topics: log.data.topics().to_vec(), data: log.data.data.clone() }
}
