//! A real service for the tests: the gateway's stream, whose answers show what arrived.

use std::pin::Pin;

use rpc::gateway::v1::gateway_service_server::{GatewayService, GatewayServiceServer};
use rpc::gateway::v1::*;
use rpc::{Error, ErrorCode};
use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

pub struct Echo;

pub fn service() -> GatewayServiceServer<Echo> {
    GatewayServiceServer::new(Echo)
}

#[tonic::async_trait]
impl GatewayService for Echo {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<GatewayFrame, Status>> + Send>>;

    /// Answers each query with its own bytes.
    async fn attach(&self, request: Request<Streaming<EngineFrame>>) -> Result<Response<Self::AttachStream>, Status> {
        let frames = request.into_inner().map(|frame| {
            let results = frame?
                .queries
                .into_iter()
                .map(|query| CallResult { call_id: query.call_id, outcome: Some(call_result::Outcome::Answer(query.data)) });
            Ok(GatewayFrame { results: results.collect(), ..GatewayFrame::default() })
        });
        Ok(Response::new(Box::pin(frames)))
    }

    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        Ok(Response::new(ListPeersResponse::default()))
    }

    async fn ping_peer(&self, request: Request<PingPeerRequest>) -> Result<Response<PingPeerResponse>, Status> {
        if request.into_inner().peer_key.len() == 32 {
            return Err(Error::new(ErrorCode::PeerUnreachable).into());
        }
        Err(Error::field(ErrorCode::InvalidKey, "peer_key", "must be 32 bytes").into())
    }

    async fn connect_peer(&self, _: Request<ConnectPeerRequest>) -> Result<Response<ConnectPeerResponse>, Status> {
        Err(Status::unavailable("not ours"))
    }

    async fn disconnect_peer(&self, _: Request<DisconnectPeerRequest>) -> Result<Response<DisconnectPeerResponse>, Status> {
        Ok(Response::new(DisconnectPeerResponse::default()))
    }

    async fn advertise_address(&self, _: Request<AdvertiseAddressRequest>) -> Result<Response<AdvertiseAddressResponse>, Status> {
        Ok(Response::new(AdvertiseAddressResponse::default()))
    }

    async fn query_peer(&self, request: Request<QueryPeerRequest>) -> Result<Response<QueryPeerResponse>, Status> {
        Ok(Response::new(QueryPeerResponse { data: request.into_inner().data }))
    }
}
