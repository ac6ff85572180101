use rpc::Error;
use rpc::gateway::v1::{DisconnectPeerRequest, DisconnectPeerResponse};

use super::key;
use crate::gateway::Gateway;

/// Ends a session, if there is one.
pub(super) async fn disconnect_peer(gateway: &Gateway, request: &DisconnectPeerRequest) -> Result<DisconnectPeerResponse, Error> {
    let peer = key("peer_key", &request.peer_key)?;
    if let Some(session) = gateway.hub.session_of_peer(&peer) {
        gateway.disconnect(&session, "asked for").await;
    }
    Ok(DisconnectPeerResponse {})
}
