//! Handshake and frames of ADNL over TCP, both sides (network 6.1, 6.2).

use adnl::cipher::{self, Stream};
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::Error;

/// Bytes of the client's first packet.
pub(crate) const HANDSHAKE_LEN: usize = 256;
const PARAMS_LEN: usize = 160;
const NONCE_LEN: usize = 32;
const CHECKSUM_LEN: usize = 32;
const MIN_FRAME: usize = NONCE_LEN + CHECKSUM_LEN;
/// The longest frame on the wire, without its length.
pub(crate) const MAX_FRAME: usize = 1 << 24;

/// The two ciphers of a connection.
pub(crate) struct Session {
    pub sending: Stream,
    pub receiving: Stream,
}

/// The two ciphers that the client's random parameters define: (server to client, client to server).
fn streams(params: &[u8; PARAMS_LEN]) -> (Stream, Stream) {
    let key = |at: usize| -> [u8; 32] { std::array::from_fn(|i| params[at + i]) };
    let iv = |at: usize| -> [u8; 16] { std::array::from_fn(|i| params[at + i]) };
    (cipher::stream(&key(0), &iv(64)), cipher::stream(&key(32), &iv(80)))
}

/// The client's first packet, and the ciphers that it agrees on.
pub(crate) fn client_handshake(
    server: &PublicKey,
    client: &PrivateKey,
    params: &[u8; PARAMS_LEN],
) -> Result<([u8; HANDSHAKE_LEN], Session), Error> {
    let secret = client.shared_secret(server)?;
    let (server_to_client, client_to_server) = streams(params);
    let mut sealed = *params;
    let checksum = cipher::seal(&secret, &mut sealed);
    let mut packet = [0; HANDSHAKE_LEN];
    packet[..32].copy_from_slice(server.id().as_bytes());
    packet[32..64].copy_from_slice(client.public().as_bytes());
    packet[64..96].copy_from_slice(&checksum);
    packet[96..].copy_from_slice(&sealed);
    Ok((packet, Session { sending: client_to_server, receiving: server_to_client }))
}

/// Opens a client's first packet with the key that it names.
pub(crate) fn server_handshake(keys: &[PrivateKey], packet: &[u8; HANDSHAKE_LEN]) -> Result<Session, Error> {
    let part = |at: usize| -> [u8; 32] { std::array::from_fn(|i| packet[at + i]) };
    let id = AdnlId(part(0));
    let key = keys.iter().find(|k| k.id() == id).ok_or(Error::Handshake("for another server"))?;
    let secret = key.shared_secret(&PublicKey::from_bytes(&part(32))?)?;
    let mut params: [u8; PARAMS_LEN] = std::array::from_fn(|i| packet[96 + i]);
    if !cipher::open(&secret, &part(64), &mut params) {
        return Err(Error::Handshake("wrong checksum"));
    }
    let (server_to_client, client_to_server) = streams(&params);
    Ok(Session { sending: server_to_client, receiving: client_to_server })
}

/// A payload as an encrypted frame.
///
/// # Panics
/// When the payload does not fit a frame; the callers bound it.
pub(crate) fn encode_frame(stream: &mut Stream, nonce: &[u8; NONCE_LEN], payload: &[u8]) -> Vec<u8> {
    let len = MIN_FRAME + payload.len();
    assert!(len <= MAX_FRAME, "a frame holds at most 16 MiB");
    let mut frame = Vec::with_capacity(4 + len);
    frame.extend_from_slice(&(len as u32).to_le_bytes());
    frame.extend_from_slice(nonce);
    frame.extend_from_slice(payload);
    let checksum = cipher::sha256(&frame[4..]);
    frame.extend_from_slice(&checksum);
    cipher::apply(stream, &mut frame);
    frame
}

/// Writes frames.
pub(crate) struct FrameWriter<W> {
    io: W,
    stream: Stream,
}

impl<W: AsyncWrite + Unpin> FrameWriter<W> {
    pub fn new(io: W, stream: Stream) -> Self {
        Self { io, stream }
    }
    /// Writes one frame with a single write.
    pub async fn write(&mut self, payload: &[u8]) -> Result<(), Error> {
        if payload.len() > MAX_FRAME - MIN_FRAME {
            return Err(Error::Frame("too long"));
        }
        let frame = encode_frame(&mut self.stream, &random(), payload);
        self.io.write_all(&frame).await?;
        Ok(self.io.flush().await?)
    }
}

/// Reads frames.
pub(crate) struct FrameReader<R> {
    io: R,
    stream: Stream,
    max: usize,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// A reader that refuses frames longer than `max`.
    pub fn new(io: R, stream: Stream, max: usize) -> Self {
        Self { io, stream, max: max.min(MAX_FRAME) }
    }
    /// Reads one frame's payload. Not safe to cancel: what was read of a frame would be lost.
    pub async fn read(&mut self) -> Result<Vec<u8>, Error> {
        let mut len = [0; 4];
        self.io.read_exact(&mut len).await?;
        cipher::apply(&mut self.stream, &mut len);
        let len = u32::from_le_bytes(len) as usize;
        if len < MIN_FRAME || len > self.max {
            return Err(Error::Frame("length out of bounds"));
        }
        // grows with what arrives, not with what is claimed
        let mut frame = Vec::new();
        (&mut self.io).take(len as u64).read_to_end(&mut frame).await?;
        if frame.len() != len {
            return Err(Error::Closed);
        }
        cipher::apply(&mut self.stream, &mut frame);
        let checksum = frame.split_off(len - CHECKSUM_LEN);
        if cipher::sha256(&frame)[..] != checksum[..] {
            return Err(Error::Frame("wrong checksum"));
        }
        Ok(frame.split_off(NONCE_LEN))
    }
}

/// Random bytes from the system.
pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system's random source works");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Message, Ping, lite_query};
    use crate::{GetMasterchainInfo, WaitMasterchainSeqno};
    use std::pin::Pin;
    use std::task::{Context, Poll};
    use tl::Object;

    fn seed(first: u8) -> [u8; 32] {
        std::array::from_fn(|i| first + i as u8)
    }

    /// network B.7
    const HANDSHAKE: &str = "57377b68b3558b6375b4ab81fc85687d5bf5fb10a26e8ad3c33fcd40b67228e803a107bff3ce10be1d70dd18e74bc09967e4d6309ba50d5f1ddc8664125531b8448ebbc9e1a31220a2f3830c18eef61b9bd070e5084b7fa2a359fe729184c71969239b4f1de5ec09988b493414e3cb501d712b5d4058c86d98ab3b9608c63e4c56a11e055dbff924071cf1ff8b0b820a40ec97ee9acc413b3f207b6e58ef6704a4646d56b3456be44543f5625c413c650a2e9822aeb0e21bc41f59492436cd25ff6e921e0e97dbf8f77c9995e17413fae5e3adc15b7c177d03f8d900497fb15e69e732146502dd32c0f6a29d3452177f4d8439afe99cb503197a0cf0119b402c";
    const SERVER_FRAME: &str = "e37edf3fa46989dca04851f4be68826483462da09bdd5772b8da8efd63656602d64390d87350448800d7ff102b64da7d323019d0684649b7f9a93694729d381bee03ff00";
    const CLIENT_FRAME: &str = "08ab3ad816b1136dd4cff0b733b27dbf788e568798e403228d69434b03dc0cd2d854604428b1a99e14e1c9719147d7ee8e65e58c05bae6912accde1c9b647334c60847e2fcf0c1534fda6d5258aec43d";
    const QUERY: &str = "7af98bb4555555555555555555555555555555555555555555555555555555555555555518df068c791092b8eaba65000000102700002ee6b589000000000000";

    #[test]
    fn handshake_and_frames_are_those_of_the_specification() {
        let (client, server) = (PrivateKey::from_seed(&seed(0)), PrivateKey::from_seed(&seed(0x20)));
        let params = std::array::from_fn(|i| i as u8);
        let (packet, mut ours) = client_handshake(&server.public(), &client, &params).unwrap();
        assert_eq!(hex::encode(packet), HANDSHAKE);
        let mut theirs = server_handshake(&[client, server], &packet).unwrap();
        assert_eq!(hex::encode(encode_frame(&mut theirs.sending, &[0x33; 32], &[])), SERVER_FRAME);
        let ping = Ping { random_id: 5 }.to_boxed();
        assert_eq!(hex::encode(encode_frame(&mut ours.sending, &[0x44; 32], &ping)), CLIENT_FRAME);
    }

    #[test]
    fn a_query_with_a_wait_prefix_is_that_of_the_specification() {
        let wait = WaitMasterchainSeqno { seqno: 101, timeout_ms: 10_000 };
        let query = lite_query(Some(wait), &GetMasterchainInfo {});
        let message = crate::message::Query { query_id: tycho_types::prelude::HashBytes([0x55; 32]), query };
        assert_eq!(hex::encode(message.to_boxed()), QUERY);
        assert_eq!(Message::parse(&message.to_boxed()).unwrap(), Message::Query(message));
    }

    #[test]
    fn a_handshake_for_another_server_or_with_a_flipped_bit_is_refused() {
        let (client, server) = (PrivateKey::from_seed(&seed(0)), PrivateKey::from_seed(&seed(0x20)));
        let (packet, _) = client_handshake(&server.public(), &client, &[7; PARAMS_LEN]).unwrap();
        assert!(server_handshake(&[PrivateKey::from_seed(&seed(0x40))], &packet).is_err());
        for at in 0..HANDSHAKE_LEN {
            let mut broken = packet;
            broken[at] ^= 1;
            assert!(server_handshake(std::slice::from_ref(&server), &broken).is_err(), "bit of byte {at}");
        }
    }

    /// Remembers each write.
    #[derive(Default)]
    struct Writes(Vec<Vec<u8>>);

    impl AsyncWrite for Writes {
        fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
            self.0.push(bytes.to_vec());
            Poll::Ready(Ok(bytes.len()))
        }
        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// There are peers that read the length with one call, and take what that gives for all of it (network 6.2).
    #[tokio::test]
    async fn a_frame_is_one_write_and_is_read_in_pieces() {
        let mut writer = FrameWriter::new(Writes::default(), cipher::stream(&[1; 32], &[2; 16]));
        for len in [0, 1, 100_000] {
            writer.write(&vec![9; len]).await.unwrap();
        }
        let writes = writer.io.0;
        assert_eq!(writes.iter().map(Vec::len).collect::<Vec<_>>(), [68, 69, 100_068]);
        let (mut sender, receiver) = tokio::io::duplex(7);
        let sending = async {
            sender.write_all(&writes.concat()).await.unwrap();
        };
        let reading = async {
            let mut reader = FrameReader::new(receiver, cipher::stream(&[1; 32], &[2; 16]), MAX_FRAME);
            for len in [0, 1, 100_000] {
                assert_eq!(reader.read().await.unwrap(), vec![9; len]);
            }
        };
        tokio::join!(sending, reading);
    }

    #[tokio::test]
    async fn frames_are_read_whole_or_not_at_all() {
        let frame = |payload: &[u8]| encode_frame(&mut cipher::stream(&[1; 32], &[2; 16]), &[3; 32], payload);
        let read = async |bytes: &[u8], max| FrameReader::new(bytes, cipher::stream(&[1; 32], &[2; 16]), max).read().await;
        let good = frame(&[9; 1000]);
        assert_eq!(read(&good, MAX_FRAME).await.unwrap(), [9; 1000]);
        assert!(matches!(read(&good, 1000).await, Err(Error::Frame(_))));
        assert!(read(&good[..good.len() - 1], MAX_FRAME).await.is_err());
        for at in 0..good.len() {
            let mut broken = good.clone();
            broken[at] ^= 0x80;
            assert!(read(&broken, MAX_FRAME).await.is_err(), "byte {at}");
        }
    }
}
