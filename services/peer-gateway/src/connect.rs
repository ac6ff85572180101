//! Making sessions.

use std::sync::Arc;

use adnl::PeerRecord;
use rpc::{Error, ErrorCode};

use crate::Key;
use crate::authenticate::AuthenticateError;
use crate::directory::Source;
use crate::gateway::Gateway;
use crate::lock;
use crate::records::Place;
use crate::sessions::Session;

/// Tries to prove a session that became doubtful.
const RECHECKS: u32 = 3;
/// Most nodes dialled at the same time.
pub(crate) const MAX_DIALS: usize = 64;

/// Why a node cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ConnectError {
    /// Nobody knows where it is.
    #[error("its address is not known")]
    NotFound,
    /// Our own key.
    #[error("it is this node")]
    Ourselves,
    /// The endpoint does not take the peer.
    #[error("no room for another peer")]
    NoRoom,
    /// It does not prove its key.
    #[error(transparent)]
    Authenticate(#[from] AuthenticateError),
}

impl From<ConnectError> for Error {
    fn from(error: ConnectError) -> Self {
        Self::with_message(ErrorCode::PeerUnreachable, error)
    }
}

impl Gateway {
    /// The session with a node; made if there is none. A given place is tried even if there is one.
    pub async fn connect(&self, node: &Key, place: Option<Place>) -> Result<Arc<Session>, ConnectError> {
        if place.is_none()
            && let Some(session) = self.hub.session_of_peer(node)
        {
            return Ok(session);
        }
        if *node == self.node_key {
            return Err(ConnectError::Ourselves);
        }
        let turn = lock(&self.dialling).entry(*node).or_default().clone();
        let result = {
            let _turn = turn.lock().await;
            self.find_and_dial(node, place).await
        };
        drop(turn);
        // Held here only: nobody else waits for a turn.
        lock(&self.dialling).retain(|other, turn| other != node || Arc::strong_count(turn) > 1);
        result
    }

    async fn find_and_dial(&self, node: &Key, place: Option<Place>) -> Result<Arc<Session>, ConnectError> {
        if let Some(place) = place {
            return self.dial(node, &place).await;
        }
        let (mut tried, mut last) = (Vec::new(), ConnectError::NotFound);
        for source in [Source::Configured, Source::Remembered, Source::Dht] {
            for place in self.directory.places(source, node).await {
                // Meanwhile the peer may have come by itself.
                if let Some(session) = self.hub.session_of_peer(node) {
                    return Ok(session);
                }
                if tried.contains(&place) {
                    continue;
                }
                match self.dial(node, &place).await {
                    Ok(session) => return Ok(session),
                    Err(error) => last = error,
                }
                tried.push(place);
            }
        }
        Err(last)
    }

    async fn dial(&self, node: &Key, place: &Place) -> Result<Arc<Session>, ConnectError> {
        let _room = self.dials.acquire().await.map_err(|_| ConnectError::NoRoom)?;
        let adnl = self.endpoint.introduce(place.adnl_key, place.address).await.map_err(|_| ConnectError::NoRoom)?;
        Ok(self.authenticate(adnl, node).await?)
    }

    /// Keeps the ADNL peer behind a session in any case.
    pub async fn pin(&self, session: &Session) {
        let Some(place) = self.records.get(&session.adnl) else { return };
        let record = PeerRecord { key: place.adnl_key, address: Some(place.address), channel_date: 0 };
        let _ = self.endpoint.add_peer(record).await;
    }

    /// Ends a session, and forgets the ADNL peer behind it.
    pub async fn disconnect(&self, session: &Arc<Session>, reason: &str) {
        self.end_session(session, reason);
        let _ = self.endpoint.remove_peer(session.adnl).await;
    }

    /// The peer may have restarted, and so forgotten who we are: proves both sides anew, or ends the session.
    pub async fn recheck(self: Arc<Self>, session: Arc<Session>) {
        let turn = lock(&self.dialling).entry(session.peer).or_default().clone();
        if let Ok(_turn) = turn.try_lock() {
            let mut proved = Err(AuthenticateError::NoAnswer);
            for _ in 0..RECHECKS {
                // A newer session means that the peer proved itself meanwhile.
                let current = self.hub.session_of_adnl(&session.adnl);
                if !current.is_some_and(|current| Arc::ptr_eq(&current, &session)) {
                    break;
                }
                proved = self.authenticate(session.adnl, &session.peer).await.map(drop);
                if proved != Err(AuthenticateError::NoAnswer) {
                    break;
                }
            }
            if let Err(error) = proved {
                self.end_session(&session, &error.to_string());
            }
        }
        drop(turn);
        lock(&self.dialling).retain(|other, turn| *other != session.peer || Arc::strong_count(turn) > 1);
    }
}
