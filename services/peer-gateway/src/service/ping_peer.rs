use rpc::gateway::v1::{PingPeerRequest, PingPeerResponse};
use rpc::{Error, ErrorCode};

use super::{connected, key};
use crate::gateway::Gateway;

/// Measures a round trip within a session.
pub(super) async fn ping_peer(gateway: &Gateway, request: &PingPeerRequest) -> Result<PingPeerResponse, Error> {
    let session = connected(gateway, &key("peer_key", &request.peer_key)?)?;
    let round_trip_micros = gateway.ping(&session).await.map_err(|_| Error::new(ErrorCode::PeerUnreachable))?;
    Ok(PingPeerResponse { round_trip_micros })
}
