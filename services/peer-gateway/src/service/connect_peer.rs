use std::net::SocketAddr;

use adnl::keys::PublicKey;
use rpc::gateway::v1::{ConnectPeerRequest, ConnectPeerResponse};
use rpc::{Error, ErrorCode};

use super::key;
use crate::gateway::Gateway;
use crate::records::Place;

/// Makes a session, at a given place or wherever the peer is found.
pub(super) async fn connect_peer(gateway: &Gateway, request: &ConnectPeerRequest) -> Result<ConnectPeerResponse, Error> {
    let peer = key("peer_key", &request.peer_key)?;
    let session = gateway.connect(&peer, place(request)?).await?;
    Ok(ConnectPeerResponse { peer: Some(gateway.connection(&session)) })
}

fn place(request: &ConnectPeerRequest) -> Result<Option<Place>, Error> {
    if request.udp_address.is_empty() && request.adnl_key.is_empty() {
        return Ok(None);
    }
    let address = request.udp_address.parse::<SocketAddr>().ok().filter(|a| !a.ip().is_unspecified() && a.port() != 0);
    let address =
        address.ok_or_else(|| Error::field(ErrorCode::InvalidField, "udp_address", "must be `ip:port` that can be reached"))?;
    let adnl_key = key("adnl_key", &request.adnl_key)?;
    let adnl_key = PublicKey::from_bytes(&adnl_key).map_err(|error| Error::with_message(ErrorCode::InvalidKey, error))?;
    Ok(Some(Place { adnl_key, address }))
}
