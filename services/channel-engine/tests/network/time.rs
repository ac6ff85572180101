//! An indexer that knows nothing but the time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use rpc::{
    Connection, Health, InProcess, Server,
    indexer::v1::{
        indexer_service_server::{IndexerService, IndexerServiceServer},
        *,
    },
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// The indexer of a chain whose clock is `ahead` seconds ahead, at any moment.
pub async fn indexer(ahead: Arc<AtomicI64>, stop: &CancellationToken) -> Connection {
    let (client, listener) = InProcess::new();
    let server = Server::in_process(&Health::new()).await.add_service(IndexerServiceServer::new(Time { ahead }));
    tokio::spawn(server.serve_in_process(listener, stop.clone()));
    client.connect()
}

struct Time {
    ahead: Arc<AtomicI64>,
}

#[tonic::async_trait]
impl IndexerService for Time {
    async fn get_chain_time(&self, _: Request<GetChainTimeRequest>) -> Result<Response<GetChainTimeResponse>, Status> {
        Ok(Response::new(GetChainTimeResponse {
            protocol_offset_ms: self.ahead.load(Ordering::Relaxed) * 1000,
            ..Default::default()
        }))
    }

    async fn get_wallet(&self, _: Request<GetWalletRequest>) -> Result<Response<GetWalletResponse>, Status> {
        Err(Status::unimplemented("only the time"))
    }

    async fn list_public_channels(
        &self,
        _: Request<ListPublicChannelsRequest>,
    ) -> Result<Response<ListPublicChannelsResponse>, Status> {
        Err(Status::unimplemented("only the time"))
    }

    async fn get_channel_account(
        &self,
        _: Request<GetChannelAccountRequest>,
    ) -> Result<Response<GetChannelAccountResponse>, Status> {
        Err(Status::unimplemented("only the time"))
    }
}
