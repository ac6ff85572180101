use crate::outbox::{Outbox, Run};
use quinn_udp::{RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Buffers of one receive call; each may hold many datagrams that the kernel joined.
const BATCH: usize = 8;
const BUFFER: usize = 65_536;
/// Whether a receive call that fills less than a batch has left nothing, as `recvmmsg` does.
const ONE_CALL_TAKES_ALL: bool = cfg!(target_os = "linux");
/// Datagrams of one send call, so that their sum stays below the largest UDP payload.
const MAX_SEGMENTS: usize = 44;
/// Asked of the kernel, which may give less.
const SOCKET_BUFFER: usize = 8 << 20;

/// A UDP socket that sends and receives in batches.
pub(crate) struct Socket {
    io: UdpSocket,
    state: UdpSocketState,
    buffer: Vec<u8>,
}

impl Socket {
    pub async fn bind(addr: SocketAddr) -> io::Result<Self> {
        let io = UdpSocket::bind(addr).await?;
        let state = UdpSocketState::new(UdpSockRef::from(&io))?;
        // Smaller buffers than asked for still work.
        let _ = state.set_recv_buffer_size(UdpSockRef::from(&io), SOCKET_BUFFER);
        let _ = state.set_send_buffer_size(UdpSockRef::from(&io), SOCKET_BUFFER);
        Ok(Self { io, state, buffer: vec![0; BATCH * BUFFER] })
    }

    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.io.local_addr()
    }

    pub async fn readable(&self) -> io::Result<()> {
        self.io.readable().await
    }

    /// Receives what is there, at most one batch.
    pub fn receive(&mut self, mut handle: impl FnMut(SocketAddr, &mut [u8])) {
        let mut meta = [RecvMeta::default(); BATCH];
        let mut chunks = self.buffer.chunks_exact_mut(BUFFER);
        let mut slices: [IoSliceMut<'_>; BATCH] = std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        let mut count = 0;
        let received = self.io.try_io(Interest::READABLE, || {
            count = self.state.recv(UdpSockRef::from(&self.io), &mut slices, &mut meta)?;
            // To be told that nothing is left spares the runtime the call that finds it out.
            if ONE_CALL_TAKES_ALL && count < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        if let Err(error) = received
            && error.kind() != io::ErrorKind::WouldBlock
        {
            tracing::debug!(%error, "receive");
        }
        for (slice, meta) in slices.iter_mut().zip(&meta).take(count) {
            let len = meta.len.min(slice.len());
            for datagram in slice[..len].chunks_mut(meta.stride.max(1)) {
                handle(meta.addr, datagram);
            }
        }
    }

    /// Sends everything, waiting for room in the kernel's buffer. What the kernel refuses is lost, as on the network.
    pub async fn send(&self, outbox: &Outbox) {
        for run in outbox.runs(self.state.max_gso_segments().clamp(1, MAX_SEGMENTS)) {
            loop {
                match self.io.try_io(Interest::WRITABLE, || self.try_send(&run)) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        if self.io.writable().await.is_err() {
                            return;
                        }
                        continue;
                    }
                    Err(error) => tracing::debug!(%error, to = %run.to, "send"),
                    Ok(()) => {}
                }
                break;
            }
        }
    }

    fn try_send(&self, run: &Run<'_>) -> io::Result<()> {
        let segment_size = (run.segment < run.bytes.len()).then_some(run.segment);
        let transmit = Transmit { destination: run.to, ecn: None, contents: run.bytes, segment_size, src_ip: None };
        self.state.try_send(UdpSockRef::from(&self.io), &transmit)
    }
}
