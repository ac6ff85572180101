use std::sync::Arc;
use std::time::Duration;

use rpc::gateway::v1::{QueryPeerRequest, QueryPeerResponse};
use rpc::{Error, ErrorCode};
use tl::Object as _;
use wire::message::{Ping, ProposeChannelConfig};

use super::key;
use crate::gateway::{Gateway, PING_TIMEOUT, constructor};

/// How long terms may take (payments 1.4); nothing may take longer.
const TERMS_TIMEOUT: Duration = Duration::from_secs(30);

/// Sends a query that moves no money, connecting if need be.
pub(super) async fn query_peer(gateway: &Arc<Gateway>, request: QueryPeerRequest) -> Result<QueryPeerResponse, Error> {
    let peer = key("peer_key", &request.peer_key)?;
    let usual = match constructor(&request.data) {
        Some(Ping::ID) if Ping::from_boxed(&request.data).is_ok() => PING_TIMEOUT,
        Some(ProposeChannelConfig::ID) if ProposeChannelConfig::from_boxed(&request.data).is_ok() => TERMS_TIMEOUT,
        _ => {
            let rule = "must be a boxed payments.ping or payments.proposeChannelConfig";
            return Err(Error::field(ErrorCode::InvalidField, "data", rule));
        }
    };
    let timeout = match request.timeout_ms {
        0 => usual,
        millis => Duration::from_millis(millis.into()).min(TERMS_TIMEOUT),
    };
    let transport = request.transport();
    let asked = async {
        let session = gateway.connect(&peer, None).await?;
        let answer = gateway.query_session(&session, transport, request.data.clone(), timeout).await;
        answer.map_err(|_| Error::with_message(ErrorCode::PeerUnreachable, "no answer"))
    };
    let answer = tokio::time::timeout(timeout, asked).await;
    let data = answer.map_err(|_| Error::with_message(ErrorCode::PeerUnreachable, "no answer in time"))??;
    Ok(QueryPeerResponse { data })
}
