//! The node's public API: one file per RPC. Handlers read the database and queue tasks; they decide nothing about money.

mod channels;
mod close_channel;
mod close_virtual;
mod get_balance;
mod get_info;
mod lift_suspension;
mod list_peers;
mod open_channel;
mod open_virtual;
mod route;
mod send_transfer;
mod show;
mod sign_resolution;
mod submit;
mod top_up;
mod validate;
mod virtuals;
mod withdraw;

use std::sync::Arc;

use rpc::{
    Connection,
    engine::v1::{
        channel_service_server::{ChannelService, ChannelServiceServer},
        *,
    },
    indexer::v1::indexer_service_client::IndexerServiceClient,
    planner::v1::planner_service_client::PlannerServiceClient,
};
use tonic::{Request, Response, Status};

use crate::context::Context;

pub use get_info::Partner;

/// The service, ready for a server.
pub fn service(
    ctx: Arc<Context>,
    planner: Option<Connection>,
    indexer: Option<Connection>,
    partners: Vec<Partner>,
) -> ChannelServiceServer<Api> {
    ChannelServiceServer::new(Api {
        ctx,
        planner: planner.map(PlannerServiceClient::new),
        indexer: indexer.map(IndexerServiceClient::new),
        partners,
    })
}

/// What handlers have.
pub struct Api {
    ctx: Arc<Context>,
    planner: Option<PlannerServiceClient<Connection>>,
    indexer: Option<IndexerServiceClient<Connection>>,
    partners: Vec<Partner>,
}

macro_rules! service {
    ($($name:ident: $request:ident => $response:ident),* $(,)?) => {
        #[tonic::async_trait]
        impl ChannelService for Api {
            $(async fn $name(&self, request: Request<$request>) -> Result<Response<$response>, Status> {
                Ok(Response::new(self.$name(request.into_inner()).await.map_err(Status::from)?))
            })*
        }
    };
}

service! {
    get_info: GetInfoRequest => GetInfoResponse,
    get_balance: GetBalanceRequest => GetBalanceResponse,
    list_peers: ListPeersRequest => ListPeersResponse,
    list_channels: ListChannelsRequest => ListChannelsResponse,
    get_channel: GetChannelRequest => GetChannelResponse,
    open_channel: OpenChannelRequest => OpenChannelResponse,
    top_up: TopUpRequest => TopUpResponse,
    withdraw: WithdrawRequest => WithdrawResponse,
    close_channel: CloseChannelRequest => CloseChannelResponse,
    lift_suspension: LiftSuspensionRequest => LiftSuspensionResponse,
    open_virtual: OpenVirtualRequest => OpenVirtualResponse,
    send_transfer: SendTransferRequest => SendTransferResponse,
    get_virtual: GetVirtualRequest => GetVirtualResponse,
    list_virtuals: ListVirtualsRequest => ListVirtualsResponse,
    sign_resolution: SignResolutionRequest => SignResolutionResponse,
    close_virtual: CloseVirtualRequest => CloseVirtualResponse,
}

/// A database that does not answer is not the caller's fault.
fn unavailable(error: impl std::fmt::Display) -> rpc::Error {
    rpc::Error::with_message(rpc::ErrorCode::Unavailable, error)
}
