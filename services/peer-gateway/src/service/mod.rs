//! `GatewayService`, one RPC per file.

mod advertise_address;
mod attach;
mod connect_peer;
mod disconnect_peer;
mod list_peers;
mod ping_peer;
mod query_peer;

use std::sync::Arc;

use rpc::gateway::v1::gateway_service_server::{GatewayService, GatewayServiceServer};
use rpc::gateway::v1::{
    AdvertiseAddressRequest, AdvertiseAddressResponse, ConnectPeerRequest, ConnectPeerResponse, DisconnectPeerRequest,
    DisconnectPeerResponse, EngineFrame, GatewayFrame, ListPeersRequest, ListPeersResponse, PingPeerRequest, PingPeerResponse,
    QueryPeerRequest, QueryPeerResponse,
};
use rpc::{Error, ErrorCode};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::Key;
use crate::gateway::Gateway;
use crate::sessions::Session;

/// Largest frame in either direction.
const MAX_FRAME: usize = 64 << 20;

/// The service on a gateway.
#[derive(Clone)]
pub(crate) struct Service(Arc<Gateway>);

impl Service {
    pub fn server(gateway: Arc<Gateway>) -> GatewayServiceServer<Self> {
        GatewayServiceServer::new(Self(gateway)).max_decoding_message_size(MAX_FRAME).max_encoding_message_size(MAX_FRAME)
    }
}

#[tonic::async_trait]
impl GatewayService for Service {
    type AttachStream = ReceiverStream<Result<GatewayFrame, Status>>;

    async fn attach(&self, request: Request<Streaming<EngineFrame>>) -> Result<Response<Self::AttachStream>, Status> {
        Ok(Response::new(attach::attach(&self.0, request.into_inner()).await?))
    }

    async fn list_peers(&self, request: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        Ok(Response::new(list_peers::list_peers(&self.0, &request.into_inner())?))
    }

    async fn ping_peer(&self, request: Request<PingPeerRequest>) -> Result<Response<PingPeerResponse>, Status> {
        Ok(Response::new(ping_peer::ping_peer(&self.0, &request.into_inner()).await?))
    }

    async fn connect_peer(&self, request: Request<ConnectPeerRequest>) -> Result<Response<ConnectPeerResponse>, Status> {
        Ok(Response::new(connect_peer::connect_peer(&self.0, &request.into_inner()).await?))
    }

    async fn disconnect_peer(&self, request: Request<DisconnectPeerRequest>) -> Result<Response<DisconnectPeerResponse>, Status> {
        Ok(Response::new(disconnect_peer::disconnect_peer(&self.0, &request.into_inner()).await?))
    }

    async fn advertise_address(
        &self,
        request: Request<AdvertiseAddressRequest>,
    ) -> Result<Response<AdvertiseAddressResponse>, Status> {
        Ok(Response::new(advertise_address::advertise_address(&self.0, &request.into_inner()).await?))
    }

    async fn query_peer(&self, request: Request<QueryPeerRequest>) -> Result<Response<QueryPeerResponse>, Status> {
        Ok(Response::new(query_peer::query_peer(&self.0, request.into_inner()).await?))
    }
}

/// A key in a request.
fn key(field: &str, bytes: &[u8]) -> Result<Key, Error> {
    let key = Key::try_from(bytes).ok().filter(|key| adnl::keys::PublicKey::from_bytes(key).is_ok());
    key.ok_or_else(|| Error::field(ErrorCode::InvalidKey, field, "must be the 32 bytes of an ed25519 public key"))
}

/// The session with a peer that must be connected.
fn connected(gateway: &Gateway, peer: &Key) -> Result<Arc<Session>, Error> {
    gateway.hub.session_of_peer(peer).ok_or_else(|| Error::with_message(ErrorCode::PeerUnreachable, "not connected"))
}
