//! What all tasks of a gateway share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, UNIX_EPOCH};

use adnl::keys::AdnlId;
use adnl::{AddressList, Endpoint};
use bytes::Bytes;
use rldp::Rldp;
use rpc::gateway::v1::{CallFailure, PeerConnection, Transport};
use tl::Object as _;
use tokio::sync::{Notify, Semaphore, watch};
use wire::message::{Ping, Pong, ProposeAction, ProposeChannelConfig, RequestAction};

use crate::Key;
use crate::dht_node::DhtNode;
use crate::directory::Directory;
use crate::hub::Hub;
use crate::limits::Limits;
use crate::metrics::Metrics;
use crate::records::Records;
use crate::sessions::Session;

/// What we tell peers that an RLDP answer may have (payments 1.1).
const MAX_ANSWER: usize = 263_168;
/// How long a peer may take for a pong (payments 1.4).
pub(crate) const PING_TIMEOUT: Duration = Duration::from_secs(7);
/// A query that got no answer for so long makes us doubt the session, as the reference does for ADNL (payments 1.4).
const DOUBT_AFTER: Duration = Duration::from_secs(3);

/// See the module.
pub(crate) struct Gateway {
    pub name: String,
    /// Public channel key of the node.
    pub node_key: Key,
    pub endpoint: Endpoint,
    pub rldp: Rldp,
    pub hub: Hub,
    pub limits: Limits,
    pub records: Arc<Records>,
    pub directory: Directory,
    /// Our own addresses as they are published.
    pub advertised: watch::Sender<AddressList>,
    /// The DHT node that we run.
    pub dht_node: Option<DhtNode>,
    pub metrics: Metrics,
    /// Nodes that are being dialled, so that each is dialled once at a time.
    pub dialling: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    /// Room for dialling.
    pub dials: Semaphore,
    /// Sessions changed: the journal has something to write.
    pub changed: Notify,
}

impl Gateway {
    /// Sends a query to an ADNL peer and waits.
    pub async fn query(&self, adnl: AdnlId, transport: Transport, data: Bytes, timeout: Duration) -> Result<Bytes, CallFailure> {
        if over_rldp(transport, &data) {
            return self.rldp.query(adnl, data, MAX_ANSWER, timeout).await.map_err(|error| match error {
                rldp::Error::Send(_) => CallFailure::Dropped,
                rldp::Error::Timeout | rldp::Error::Closed => CallFailure::Timeout,
            });
        }
        self.endpoint.query(adnl, data, timeout).await.map_err(|error| match error {
            adnl::QueryError::Send(adnl::SendError::UnknownPeer) => CallFailure::NotConnected,
            adnl::QueryError::Send(_) => CallFailure::Dropped,
            adnl::QueryError::Timeout | adnl::QueryError::Closed => CallFailure::Timeout,
        })
    }

    /// Sends a query within a session. A session that seems dead is looked at.
    pub async fn query_session(
        self: &Arc<Self>,
        session: &Arc<Session>,
        transport: Transport,
        data: Bytes,
        timeout: Duration,
    ) -> Result<Bytes, CallFailure> {
        let start = Instant::now();
        let answer = self.query(session.adnl, transport, data, timeout).await;
        let doubtful = match &answer {
            Err(CallFailure::Timeout) => start.elapsed() >= DOUBT_AFTER,
            Err(CallFailure::NotConnected) => true,
            _ => false,
        };
        if doubtful {
            tokio::spawn(self.clone().recheck(session.clone()));
        }
        answer
    }

    /// Measures a round trip, in microseconds.
    pub async fn ping(&self, session: &Session) -> Result<u32, CallFailure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).expect("the system's random source works");
        let ping = Ping { value: i64::from_le_bytes(random) };
        let start = Instant::now();
        let answer = self.query(session.adnl, Transport::Adnl, ping.to_boxed().into(), PING_TIMEOUT).await?;
        match Pong::from_boxed(&answer) {
            Ok(pong) if pong.value == ping.value => Ok(session.measured(start.elapsed())),
            _ => Err(CallFailure::Timeout),
        }
    }

    /// Ends a session, unless a newer one took its place.
    pub fn end_session(&self, session: &Arc<Session>, reason: &str) {
        if self.hub.close_session(session) {
            tracing::info!(peer = hex::encode(session.peer), adnl = %session.adnl, reason, "session ended");
            self.changed.notify_one();
        }
    }

    /// A session as the API shows it.
    pub fn connection(&self, session: &Session) -> PeerConnection {
        PeerConnection {
            peer_key: Bytes::copy_from_slice(&session.peer),
            adnl_id: Bytes::copy_from_slice(&session.adnl.0),
            udp_address: self.records.get(&session.adnl).map(|place| place.address.to_string()).unwrap_or_default(),
            connected_since_unix: session.since.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            round_trip_micros: session.round_trip_micros(),
        }
    }
}

/// The constructor id of a boxed object.
pub(crate) fn constructor(data: &[u8]) -> Option<u32> {
    data.first_chunk().map(|id| u32::from_le_bytes(*id))
}

/// Whether a query travels over RLDP; unless said otherwise as the reference sends it (payments 1.1).
fn over_rldp(transport: Transport, data: &[u8]) -> bool {
    match transport {
        Transport::Rldp => true,
        Transport::Adnl => false,
        Transport::Unspecified => {
            constructor(data).is_some_and(|id| [ProposeAction::ID, RequestAction::ID, ProposeChannelConfig::ID].contains(&id))
        }
    }
}

/// Unix seconds, wall clock.
pub(crate) fn unix_now() -> u32 {
    u32::try_from(UNIX_EPOCH.elapsed().unwrap_or_default().as_secs()).unwrap_or(u32::MAX)
}
