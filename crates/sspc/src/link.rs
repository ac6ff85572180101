//! Messages over a stream: each behind its length in four bytes, big-endian.

use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::codec::{MAX_MESSAGE_BYTES, Malformed};
use crate::message::Envelope;
use crate::signer::SignError;

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
    /// The peer has not proven its account.
    #[error("the peer has not proven its account")]
    Unproven,
    /// Our account cannot be proven.
    #[error(transparent)]
    Sign(#[from] SignError),
}

pub(crate) async fn tcp(address: SocketAddr) -> Result<TcpStream, LinkError> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Any byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A stream of messages to one peer. For money it does not matter who the peer is, since what counts is signed; whoever must know
/// it asks for a proof ([`Link::dial`], [`Link::answer`]).
pub struct Link {
    incoming: Incoming,
    outgoing: Outgoing,
}

/// What the peer says.
pub struct Incoming {
    stream: ReadHalf<Box<dyn Stream>>,
    unread: Vec<u8>,
    start: usize,
}

/// What the peer is told.
pub struct Outgoing(WriteHalf<Box<dyn Stream>>);

impl Link {
    /// Over any byte stream, which may encrypt or not.
    #[must_use]
    pub fn new(stream: impl Stream + 'static) -> Self {
        let stream: Box<dyn Stream> = Box::new(stream);
        let (reading, writing) = tokio::io::split(stream);
        Self { incoming: Incoming { stream: reading, unread: Vec::new(), start: 0 }, outgoing: Outgoing(writing) }
    }

    /// Both directions, each to be used on its own: a peer that sends and does not read holds up only what it is sent.
    #[must_use]
    pub fn split(self) -> (Incoming, Outgoing) {
        (self.incoming, self.outgoing)
    }

    /// Connects over TCP.
    ///
    /// # Errors
    /// The transport.
    pub async fn connect(address: SocketAddr) -> Result<Self, LinkError> {
        Ok(Self::new(tcp(address).await?))
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
        Ok(Self::new(TlsConnector::from(config).connect(name, tcp(address).await?).await?))
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

    /// See [`Outgoing::send`].
    ///
    /// # Errors
    /// The transport.
    pub async fn send(&mut self, messages: &[Envelope]) -> Result<(), LinkError> {
        self.outgoing.send(messages).await
    }

    /// See [`Incoming::receive`].
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn receive(&mut self, most: usize) -> Result<Vec<Envelope>, LinkError> {
        self.incoming.receive(most).await
    }

    pub(crate) async fn send_frame(&mut self, frame: Vec<u8>) -> Result<(), LinkError> {
        self.outgoing.send_frames(std::iter::once(frame)).await
    }

    pub(crate) async fn receive_frame(&mut self) -> Result<&[u8], LinkError> {
        self.incoming.receive_frame().await
    }
}

impl Outgoing {
    /// Sends messages, in one write.
    ///
    /// # Errors
    /// The transport.
    pub async fn send(&mut self, messages: &[Envelope]) -> Result<(), LinkError> {
        self.send_frames(messages.iter().map(Envelope::encode)).await
    }

    async fn send_frames(&mut self, frames: impl Iterator<Item = Vec<u8>>) -> Result<(), LinkError> {
        let mut bytes = Vec::new();
        for frame in frames {
            let length = u32::try_from(frame.len()).map_err(|_| LinkError::TooLong(frame.len()))?;
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(&frame);
        }
        self.0.write_all(&bytes).await?;
        Ok(self.0.flush().await?)
    }
}

impl Incoming {
    /// Waits for messages: at least one, and what has come with it, up to `most`. May be dropped at any time without loss.
    ///
    /// # Errors
    /// See [`LinkError`].
    pub async fn receive(&mut self, most: usize) -> Result<Vec<Envelope>, LinkError> {
        loop {
            let mut messages = Vec::new();
            while messages.len() < most
                && let Some(frame) = self.next()?
            {
                messages.push(Envelope::decode(&self.unread[frame])?);
            }
            if !messages.is_empty() {
                return Ok(messages);
            }
            self.read().await?;
        }
    }

    async fn receive_frame(&mut self) -> Result<&[u8], LinkError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(&self.unread[frame]);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), LinkError> {
        self.unread.drain(..std::mem::take(&mut self.start));
        self.unread.reserve(READ_BYTES);
        if self.stream.read_buf(&mut self.unread).await? == 0 { Err(LinkError::Closed) } else { Ok(()) }
    }

    /// Where the next frame that has arrived as a whole lies in what is unread.
    fn next(&mut self) -> Result<Option<Range<usize>>, LinkError> {
        let Some((length, rest)) = self.unread[self.start..].split_first_chunk::<LENGTH>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > MAX_MESSAGE_BYTES {
            return Err(LinkError::TooLong(length));
        }
        if rest.len() < length {
            return Ok(None);
        }
        let begin = self.start + LENGTH;
        self.start = begin + length;
        Ok(Some(begin..self.start))
    }
}
