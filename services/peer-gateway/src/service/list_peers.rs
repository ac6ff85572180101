use rpc::gateway::v1::{ListPeersRequest, ListPeersResponse};
use rpc::{Error, ErrorCode};

use crate::Key;
use crate::gateway::Gateway;

/// Peers on a page, when nothing is said, and at most.
const PAGE: usize = 100;
const MAX_PAGE: usize = 1_000;

/// The token is the last key of the page before, in hex.
pub(super) fn list_peers(gateway: &Gateway, request: &ListPeersRequest) -> Result<ListPeersResponse, Error> {
    let after = match request.page_token.as_str() {
        "" => None,
        token => {
            let mut key: Key = [0; 32];
            hex::decode_to_slice(token, &mut key)
                .map_err(|_| Error::field(ErrorCode::InvalidPageToken, "page_token", "must be from the page before"))?;
            Some(key)
        }
    };
    let size = match request.page_size as usize {
        0 => PAGE,
        size => size.min(MAX_PAGE),
    };
    let mut sessions = gateway.hub.sessions_after(after.as_ref(), size + 1);
    let more = sessions.len() > size;
    sessions.truncate(size);
    let next_page_token = match sessions.last() {
        Some(last) if more => hex::encode(last.peer),
        _ => String::new(),
    };
    Ok(ListPeersResponse { peers: sessions.iter().map(|session| gateway.connection(session)).collect(), next_page_token })
}
