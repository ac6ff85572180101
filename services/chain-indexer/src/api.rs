//! The gRPC service.

use std::sync::Arc;

use contract::{Currency, Side, Status as ContractState};
use liteapi::Client;
use rpc::indexer::v1::indexer_service_server::IndexerService;
use rpc::indexer::v1::{
    ContractStatus, GetChainTimeRequest, GetChainTimeResponse, GetChannelAccountRequest, GetChannelAccountResponse,
    GetWalletRequest, GetWalletResponse, ListPublicChannelsRequest, ListPublicChannelsResponse, PublicChannel,
};
use rpc::{Error, ErrorCode, common};
use store::Pool;
use store::chain::{self, Account};
use tokio::sync::watch;
use tonic::{Request, Response, Status};
use tycho_types::models::StdAddr;

use crate::worker::View;

/// Channels of a page by default, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// Answers from the database and from what the worker saw last.
pub struct Api {
    pub pool: Pool,
    pub client: Arc<Client>,
    pub wallet: ton::Address,
    pub view: watch::Receiver<View>,
}

impl Api {
    fn view(&self) -> View {
        self.view.borrow().clone()
    }

    async fn accounts(&self) -> Result<Vec<Account>, Error> {
        let client = self.pool.get().await.map_err(unavailable)?;
        chain::accounts_since(&client, 0).await.map_err(unavailable)
    }
}

fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::with_message(ErrorCode::Unavailable, error)
}

#[tonic::async_trait]
impl IndexerService for Api {
    async fn get_wallet(&self, _: Request<GetWalletRequest>) -> Result<Response<GetWalletResponse>, Status> {
        let view = self.view();
        let wallet = view.wallet.ok_or_else(|| Error::new(ErrorCode::ChainBehind))?;
        Ok(Response::new(GetWalletResponse {
            address: self.wallet.to_friendly(false),
            balance_nano: wallet.balance.to_string(),
            seqno: wallet.seqno,
            pending_messages: view.pending,
        }))
    }

    async fn list_public_channels(
        &self,
        request: Request<ListPublicChannelsRequest>,
    ) -> Result<Response<ListPublicChannelsResponse>, Status> {
        let request = request.into_inner();
        let size = match request.page_size as usize {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let after = match request.page_token.as_str() {
            "" => (request.changed_after_lt, [0xff; 32]),
            token => read_token(token).ok_or_else(|| Error::new(ErrorCode::InvalidPageToken))?,
        };
        let mut accounts = self.accounts().await?;
        accounts.retain(|account| (account.lt, account.address) > after && account.lt > request.changed_after_lt);
        accounts.sort_by_key(|account| (account.lt, account.address));
        let more = accounts.len() > size;
        accounts.truncate(size);
        let next_page_token = match accounts.last() {
            Some(last) if more => format!("{}:{}", last.lt, hex::encode(last.address)),
            _ => String::new(),
        };
        let time = self.view().head.map_or(0, |head| head.time);
        let channels = accounts.iter().map(|account| public(account, time)).collect();
        Ok(Response::new(ListPublicChannelsResponse { channels, next_page_token }))
    }

    async fn get_channel_account(
        &self,
        request: Request<GetChannelAccountRequest>,
    ) -> Result<Response<GetChannelAccountResponse>, Status> {
        let address: ton::Address = request
            .into_inner()
            .address
            .parse()
            .map_err(|error: ton::AddressError| Error::field(ErrorCode::InvalidField, "address", error.to_string()))?;
        let head = self.view().head.ok_or_else(|| Error::new(ErrorCode::ChainBehind))?;
        let client = self.pool.get().await.map_err(unavailable)?;
        let account = chain::account_of(&client, &address.hash).await.map_err(unavailable)?;
        let account = account.filter(|_| address.workchain == 0).ok_or_else(|| Error::new(ErrorCode::ChannelUnknown))?;
        let found = self.client.account(&head.id, &StdAddr::new(0, address.hash.into())).await.map_err(unavailable)?;
        let balance = found.account.map_or(0, |account| account.balance.tokens.into_inner());
        Ok(Response::new(GetChannelAccountResponse {
            channel: Some(public(&account, head.time)),
            data_boc: ton::encode_boc(&account.storage.to_cell()),
            account_balance_nano: balance.to_string(),
            master_seqno: head.id.seqno,
        }))
    }

    async fn get_chain_time(&self, _: Request<GetChainTimeRequest>) -> Result<Response<GetChainTimeResponse>, Status> {
        let view = self.view();
        let (Some(head), Some(offset)) = (view.head, view.offset) else { return Err(Error::new(ErrorCode::ChainBehind).into()) };
        Ok(Response::new(GetChainTimeResponse {
            master_seqno: head.id.seqno,
            head_unix: head.time,
            protocol_offset_ms: offset.saturating_mul(1000),
        }))
    }
}

fn read_token(token: &str) -> Option<(u64, [u8; 32])> {
    let (lt, address) = token.split_once(':')?;
    let mut bytes = [0; 32];
    hex::decode_to_slice(address, &mut bytes).ok()?;
    Some((lt.parse().ok()?, bytes))
}

fn public(account: &Account, now: u32) -> PublicChannel {
    let storage = &account.storage;
    let kind = match storage.payment.currency {
        Currency::Ton => common::v1::coin::Kind::Ton(common::v1::coin::Ton {}),
        Currency::Extra(id) => common::v1::coin::Kind::ExtraCurrencyId(id),
        Currency::Jetton { master, .. } => common::v1::coin::Kind::JettonMaster(master.to_friendly(true)),
    };
    let status = match storage.status(now.into()) {
        ContractState::Uninitialised => ContractStatus::Uninitialized,
        ContractState::Open => ContractStatus::Open,
        ContractState::ClosureStarted => ContractStatus::ClosureStarted,
        ContractState::Settling => ContractStatus::Settling,
        ContractState::AwaitingFinish => ContractStatus::AwaitingFinish,
    };
    PublicChannel {
        address: ton::Address::basechain(account.address).to_friendly(true),
        code_hash: account.code_hash.to_vec(),
        key_a: storage.keys.a.to_vec(),
        key_b: storage.keys.b.to_vec(),
        channel_id: storage.channel_id.to_vec(),
        coin: Some(common::v1::Coin { kind: Some(kind) }),
        status: status.into(),
        balance_a_nano: storage.balance.of(Side::A).to_string(),
        balance_b_nano: storage.balance.of(Side::B).to_string(),
        last_lt: account.lt,
    }
}
