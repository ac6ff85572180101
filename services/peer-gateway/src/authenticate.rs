//! `payments.authenticate` in both roles (payments 2.2). The channel key's signatures come from engines.

use std::sync::Arc;
use std::time::Duration;

use adnl::keys::AdnlId;
use rpc::gateway::v1::{CallFailure, Transport};
use tl::Object as _;
use wire::authenticate;
use wire::message::Authenticate;

use crate::Key;
use crate::gateway::{Gateway, unix_now};
use crate::sessions::Session;

/// How long the peer may take. It has to ask its signer.
const TIMEOUT: Duration = Duration::from_secs(4);
/// Our requests are dated back by so many seconds: a responder refuses a date ahead of its clock by even one second, and takes one that
/// is up to 30 s old.
const CLOCK_MARGIN: i64 = 5;

/// Why there is no session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthenticateError {
    /// Nobody signs for us.
    #[error("no engine signs")]
    NoSignature,
    /// No answer, or none that can be read.
    #[error("the peer does not answer")]
    NoAnswer,
    /// The peer has another channel key than the one that was looked for.
    #[error("the peer has another channel key")]
    WrongKey,
    /// The signature or the date is not right.
    #[error("the peer's signature is not valid")]
    Invalid,
}

impl Gateway {
    /// Proves our key to an ADNL peer and has it prove `wanted`. Any other key is refused (payments 10.1.10).
    pub async fn authenticate(&self, adnl: AdnlId, wanted: &Key) -> Result<Arc<Session>, AuthenticateError> {
        let result = self.exchange(adnl, wanted).await;
        self.metrics.authentication(match &result {
            Ok(()) => "initiated",
            Err(AuthenticateError::NoSignature) => "no_signature",
            Err(AuthenticateError::NoAnswer) => "no_answer",
            Err(AuthenticateError::WrongKey) => "wrong_key",
            Err(AuthenticateError::Invalid) => "invalid",
        });
        result.map(|()| self.authenticated(*wanted, adnl))
    }

    async fn exchange(&self, adnl: AdnlId, wanted: &Key) -> Result<(), AuthenticateError> {
        let timestamp = i64::from(unix_now()) - CLOCK_MARGIN;
        let own = self.endpoint.id();
        let signature = self.sign(&own, &adnl, timestamp).await.ok_or(AuthenticateError::NoSignature)?;
        let request = Authenticate { key: self.node_key, timestamp, signature };
        let answer = self.query(adnl, Transport::Adnl, request.to_boxed().into(), TIMEOUT).await;
        let answer = answer.map_err(|failure| match failure {
            CallFailure::Unspecified | CallFailure::NotConnected | CallFailure::Timeout | CallFailure::Dropped => {
                AuthenticateError::NoAnswer
            }
        })?;
        let answer = Authenticate::from_boxed(&answer).map_err(|_| AuthenticateError::NoAnswer)?;
        if answer.key != *wanted {
            tracing::warn!(wanted = hex::encode(wanted), got = hex::encode(answer.key), %adnl, "peer has another channel key");
            return Err(AuthenticateError::WrongKey);
        }
        let valid =
            answer.timestamp == timestamp && authenticate::verify(&answer.key, &adnl.0, &own.0, timestamp, &answer.signature);
        valid.then_some(()).ok_or(AuthenticateError::Invalid)
    }

    /// Checks a peer's proof and answers with ours. No answer is how a refusal looks.
    pub async fn answer_authenticate(&self, adnl: AdnlId, data: &[u8]) -> Option<Vec<u8>> {
        let answer = self.prove(adnl, data).await;
        self.metrics.authentication(if answer.is_some() { "answered" } else { "refused" });
        answer
    }

    async fn prove(&self, adnl: AdnlId, data: &[u8]) -> Option<Vec<u8>> {
        let request = Authenticate::from_boxed(data).ok()?;
        let own = self.endpoint.id();
        let valid = request.key != self.node_key
            && authenticate::is_fresh(request.timestamp, i64::from(unix_now()))
            && authenticate::verify(&request.key, &adnl.0, &own.0, request.timestamp, &request.signature);
        if !valid {
            tracing::debug!(%adnl, "authentication refused");
            return None;
        }
        let signature = self.sign(&own, &adnl, request.timestamp).await?;
        // Before the answer leaves: what the peer asks next may follow at once.
        self.authenticated(request.key, adnl);
        Some(Authenticate { key: self.node_key, timestamp: request.timestamp, signature }.to_boxed())
    }

    fn authenticated(&self, peer: Key, adnl: AdnlId) -> Arc<Session> {
        let session = self.hub.open_session(peer, adnl);
        tracing::info!(peer = hex::encode(peer), %adnl, "peer authenticated");
        self.changed.notify_one();
        session
    }

    /// A signature by any engine.
    async fn sign(&self, own: &AdnlId, peer: &AdnlId, timestamp: i64) -> Option<[u8; 64]> {
        for engine in self.hub.engines() {
            let Some(signed) = engine.sign_authenticate(&own.0, &peer.0, timestamp).await else { continue };
            let signature = <[u8; 64]>::try_from(&signed.signature[..]).ok().filter(|_| signed.public_key[..] == self.node_key);
            if signature.is_some() {
                return signature;
            }
            tracing::warn!(engine = engine.engine_id, "engine refused to sign an authentication");
        }
        None
    }
}
