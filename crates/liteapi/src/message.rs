//! The objects inside the frames of ADNL over TCP (network 6.2).

use adnl::keys::PublicKey;
use tl::{Error, Object, Reader, Writer};
use tycho_types::prelude::HashBytes;

use crate::field::object;

/// Nonces of the authentication have 1 to this many bytes.
const MAX_AUTH_NONCE: usize = 512;

object! {
    /// Are you there?
    Ping("tcp.ping random_id:long = tcp.Pong") {
        /// Returned in the pong.
        random_id: u64,
    }
}
object! {
    /// I am.
    Pong("tcp.pong random_id:long = tcp.Pong") {
        /// Of the ping.
        random_id: u64,
    }
}
object! {
    /// A query.
    Query("adnl.message.query query_id:int256 query:bytes = adnl.Message") {
        /// Chosen at random by the asker.
        query_id: HashBytes,
        /// The boxed query.
        query: Vec<u8>,
    }
}
object! {
    /// Its answer.
    Answer("adnl.message.answer query_id:int256 answer:bytes = adnl.Message") {
        /// Of the query.
        query_id: HashBytes,
        /// The boxed answer.
        answer: Vec<u8>,
    }
}
object! {
    /// The client wants to show who it is.
    Authenticate("tcp.authentificate nonce:bytes = tcp.Message") {
        /// The client's random bytes.
        nonce: Vec<u8>,
    }
}
object! {
    /// The server's half of what is signed.
    AuthenticationNonce("tcp.authentificationNonce nonce:bytes = tcp.Message") {
        /// The server's random bytes.
        nonce: Vec<u8>,
    }
}

/// The client's key and its signature over both nonces. There is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuthenticationComplete {
    pub key: PublicKey,
    pub signature: [u8; 64],
}

impl Object for AuthenticationComplete {
    const ID: u32 = tl::id("tcp.authentificationComplete key:PublicKey signature:bytes = tcp.Message");
    fn write_bare(&self, w: &mut Writer) {
        self.key.write(w);
        w.bytes(&self.signature);
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self { key: PublicKey::read(r, "key")?, signature: r.signature("signature")? })
    }
}

/// What a frame holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// An empty frame: keep-alive, or the answer to the handshake.
    Empty,
    Ping(Ping),
    Pong(Pong),
    Query(Query),
    Answer(Answer),
    Authenticate(Authenticate),
    AuthenticationNonce(AuthenticationNonce),
    AuthenticationComplete(AuthenticationComplete),
}

impl Message {
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        if payload.is_empty() {
            return Ok(Self::Empty);
        }
        Ok(match Reader::new(payload).u32("message")? {
            Ping::ID => Self::Ping(Object::from_boxed(payload)?),
            Pong::ID => Self::Pong(Object::from_boxed(payload)?),
            Query::ID => Self::Query(Object::from_boxed(payload)?),
            Answer::ID => Self::Answer(Object::from_boxed(payload)?),
            Authenticate::ID => {
                let message: Authenticate = Object::from_boxed(payload)?;
                Self::Authenticate(Authenticate { nonce: check_nonce(message.nonce)? })
            }
            AuthenticationNonce::ID => {
                let message: AuthenticationNonce = Object::from_boxed(payload)?;
                Self::AuthenticationNonce(AuthenticationNonce { nonce: check_nonce(message.nonce)? })
            }
            AuthenticationComplete::ID => Self::AuthenticationComplete(Object::from_boxed(payload)?),
            id => return Err(Error::UnknownConstructor { field: "message", id }),
        })
    }
}

fn check_nonce(nonce: Vec<u8>) -> Result<Vec<u8>, Error> {
    match nonce.len() {
        1..=MAX_AUTH_NONCE => Ok(nonce),
        _ => Err(Error::Invalid { field: "nonce", rule: "1 to 512 bytes" }),
    }
}

/// What the client signs: its nonce, then the server's.
pub(crate) fn authentication_to_sign(client: &[u8], server: &[u8]) -> Vec<u8> {
    [client, server].concat()
}

/// A lite query as it travels: the wait prefix if any, then the boxed method, both inside [`crate::LiteQuery`].
pub(crate) fn lite_query(wait: Option<crate::WaitMasterchainSeqno>, method: &impl Object) -> Vec<u8> {
    let mut data = Writer::new();
    if let Some(wait) = wait {
        wait.write_boxed(&mut data);
    }
    method.write_boxed(&mut data);
    crate::LiteQuery { data: data.into_bytes() }.to_boxed()
}
