//! Messages over a stream: each behind its length in four bytes, big-endian.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::codec::{MAX_MESSAGE_BYTES, Malformed};
use crate::message::Envelope;

const LENGTH: usize = 4;
/// Bytes that are read at once: many payments.
const READ_BYTES: usize = 64 * 1024;

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The transport.
    #[error("stream: {0}")]
    Io(#[from] std::io::Error),
    /// The peer sends what is no message.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The peer announces a message that is too long.
    #[error("a message of {0} bytes")]
    TooLong(usize),
    /// The peer has ended the stream.
    #[error("the peer has gone")]
    Closed,
}

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream of messages to one peer. Who the peer is does not matter: what counts is signed.
pub struct Link {
    stream: Box<dyn Stream>,
    unread: Vec<u8>,
    start: usize,
}

impl Link {
    /// Over any byte stream, which may encrypt or not.
    #[must_use]
    pub fn new(stream: impl Stream + 'static) -> Self {
        Self { stream: Box::new(stream), unread: Vec::new(), start: 0 }
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// The transport.
    pub async fn connect(address: SocketAddr) -> Result<Self, LinkError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// Connects over TCP and TLS.
    ///
    /// # Errors
    /// The transport; the peer's certificate is not accepted by the configuration.
    pub async fn connect_tls(
        address: SocketAddr,
        name: ServerName<'static>,
        config: Arc<ClientConfig>,
    ) -> Result<Self, LinkError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(TlsConnector::from(config).connect(name, stream).await?))
    }

    /// Accepts the next peer over TCP.
    ///
    /// # Errors
    /// The transport.
    pub async fn accept(listener: &TcpListener) -> Result<Self, LinkError> {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    /// TLS for a stream that was accepted; the handshake waits for the peer, so give it a time limit and a task of its own.
    ///
    /// # Errors
    /// The transport; the handshake.
    pub async fn accept_tls(stream: TcpStream, config: Arc<ServerConfig>) -> Result<Self, LinkError> {
        stream.set_nodelay(true)?;
        Ok(Self::new(TlsAcceptor::from(config).accept(stream).await?))
    }

    /// Sends messages, in one write.
    ///
    /// # Errors
    /// The transport.
    pub async fn send(&mut self, messages: &[Envelope]) -> Result<(), LinkError> {
        let mut bytes = Vec::with_capacity(messages.len() * 256);
        for message in messages {
            let message = message.encode();
            let length = u32::try_from(message.len()).map_err(|_| LinkError::TooLong(message.len()))?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&message);
        }
        self.stream.write_all(&bytes).await?;
        Ok(self.stream.flush().await?)
    }

    /// Waits for messages: at least one, and what has come with it, up to `most`. May be dropped at any time without loss.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn receive(&mut self, most: usize) -> Result<Vec<Envelope>, LinkError> {
        loop {
            let mut messages = Vec::new();
            while messages.len() < most {
                match self.next()? {
                    Some(message) => messages.push(message),
                    None => break,
                }
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.unread.drain(..std::mem::take(&mut self.start));
            self.unread.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.unread).await? == 0 {
                return Err(LinkError::Closed);
            }
        }
    }

    /// The next message that has arrived as a whole.
    fn next(&mut self) -> Result<Option<Envelope>, LinkError> {
        let Some((length, rest)) = self.unread[self.start..].split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(LinkError::TooLong(length));
        }
        let Some(message) = rest.get(..length) else { return Ok(None) };
        let message = Envelope::decode(message)?;
        self.start += LENGTH + length;
        Ok(Some(message))
    }
}
