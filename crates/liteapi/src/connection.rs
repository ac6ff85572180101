use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adnl::keys::{PrivateKey, PublicKey};
use tl::Object;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tycho_types::prelude::HashBytes;

use crate::message::{Authenticate, AuthenticationComplete, Message, Ping, Pong, Query, authentication_to_sign, lite_query};
use crate::transport::{FrameReader, FrameWriter, MAX_FRAME, client_handshake, random};
use crate::{Error, Method, ServerError, WaitMasterchainSeqno};

/// Payloads that wait to be written at most.
const WRITE_QUEUE: usize = 256;

/// How much longer than the server we wait for a block, so that its own error arrives.
const WAIT_GRACE: Duration = Duration::from_secs(2);

/// How a connection behaves.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// TCP connect, handshake and authentication together.
    pub connect_timeout: Duration,
    /// Time between pings; a connection from which nothing came for three of them is closed.
    pub ping_interval: Duration,
    /// Authenticate with this key (network 6.2). Servers do not demand it.
    pub authenticate: Option<PrivateKey>,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self { connect_timeout: Duration::from_secs(5), ping_interval: Duration::from_secs(5), authenticate: None }
    }
}

type Pending = Mutex<HashMap<HashBytes, oneshot::Sender<Vec<u8>>>>;

/// What the reading task, the writing task and the callers share.
#[derive(Default)]
struct Shared {
    pending: Pending,
    closed: AtomicBool,
    last_frame: Mutex<Option<Instant>>,
}

impl Shared {
    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.pending.lock().expect("no panic under the lock").clear();
    }
}

/// One connection to one lite server. Cheap queries in parallel; closed when dropped.
pub struct Connection {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Vec<u8>>,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
        self.shared.close();
    }
}

impl Connection {
    /// Connects and shakes hands; returns when the server has answered (and, if wanted, has taken the authentication).
    pub async fn connect(address: SocketAddr, server: PublicKey, options: &ConnectionOptions) -> Result<Self, Error> {
        timeout(options.connect_timeout, Self::open(address, server, options)).await.map_err(|_| Error::Timeout)?
    }

    async fn open(address: SocketAddr, server: PublicKey, options: &ConnectionOptions) -> Result<Self, Error> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (packet, session) = client_handshake(&server, &PrivateKey::generate(), &random())?;
        let (read, mut write) = stream.into_split();
        tokio::io::AsyncWriteExt::write_all(&mut write, &packet).await?;
        let mut reader = FrameReader::new(read, session.receiving, MAX_FRAME);
        let mut writer = FrameWriter::new(write, session.sending);
        if Message::parse(&reader.read().await?)? != Message::Empty {
            return Err(Error::Handshake("not acknowledged"));
        }
        if let Some(key) = &options.authenticate {
            authenticate(key, &mut reader, &mut writer).await?;
        }
        let shared = Arc::new(Shared::default());
        let (writes, queue) = mpsc::channel(WRITE_QUEUE);
        let tasks = [
            tokio::spawn(read_loop(reader, shared.clone(), writes.clone())),
            tokio::spawn(write_loop(writer, queue, shared.clone(), options.ping_interval)),
        ];
        Ok(Self { shared, writes, tasks })
    }

    /// Whether the connection is gone for good.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::Acquire)
    }

    /// Asks; the answer is parsed, not checked.
    pub async fn query<M: Method>(&self, method: &M, limit: Duration) -> Result<M::Answer, Error> {
        parse_answer(&self.query_raw(lite_query(None, method), limit).await?)
    }

    /// Asks after the server has seen a masterchain block. The server waits for at most `limit` and then says error 652.
    pub async fn query_after<M: Method>(&self, seqno: u32, method: &M, limit: Duration) -> Result<M::Answer, Error> {
        let timeout_ms = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX);
        let wait = WaitMasterchainSeqno { seqno, timeout_ms };
        parse_answer(&self.query_raw(lite_query(Some(wait), method), limit + WAIT_GRACE).await?)
    }

    /// Sends boxed query bytes and returns the boxed answer.
    pub async fn query_raw(&self, query: Vec<u8>, limit: Duration) -> Result<Vec<u8>, Error> {
        let query_id = HashBytes(random());
        let (sender, receiver) = oneshot::channel();
        self.shared.pending.lock().expect("no panic under the lock").insert(query_id, sender);
        let _forget = Forget { shared: &self.shared, query_id };
        if self.is_closed() {
            return Err(Error::Closed);
        }
        let ask = async {
            self.writes.send(Query { query_id, query }.to_boxed()).await.map_err(|_| Error::Closed)?;
            receiver.await.map_err(|_| Error::Closed)
        };
        timeout(limit, ask).await.map_err(|_| Error::Timeout)?
    }
}

/// Takes a query off the list when its caller has an answer, gave up or was cancelled.
struct Forget<'a> {
    shared: &'a Shared,
    query_id: HashBytes,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.pending.lock().expect("no panic under the lock").remove(&self.query_id);
    }
}

fn parse_answer<A: Object>(answer: &[u8]) -> Result<A, Error> {
    if tl::Reader::new(answer).u32("answer")? == ServerError::ID {
        return Err(Error::Server(ServerError::from_boxed(answer)?));
    }
    Ok(A::from_boxed(answer)?)
}

async fn authenticate(
    key: &PrivateKey,
    reader: &mut FrameReader<OwnedReadHalf>,
    writer: &mut FrameWriter<OwnedWriteHalf>,
) -> Result<(), Error> {
    let ours: [u8; 32] = random();
    writer.write(&Authenticate { nonce: ours.to_vec() }.to_boxed()).await?;
    loop {
        match Message::parse(&reader.read().await?)? {
            Message::AuthenticationNonce(theirs) => {
                let signature = key.sign(&authentication_to_sign(&ours, &theirs.nonce));
                return writer.write(&AuthenticationComplete { key: key.public(), signature }.to_boxed()).await;
            }
            Message::Empty | Message::Pong(_) => {}
            _ => return Err(Error::Handshake("no authentication nonce")),
        }
    }
}

async fn read_loop(mut reader: FrameReader<OwnedReadHalf>, shared: Arc<Shared>, writes: mpsc::Sender<Vec<u8>>) {
    while let Ok(payload) = reader.read().await {
        *shared.last_frame.lock().expect("no panic under the lock") = Some(Instant::now());
        match Message::parse(&payload) {
            Ok(Message::Answer(answer)) => {
                let waiting = shared.pending.lock().expect("no panic under the lock").remove(&answer.query_id);
                if let Some(waiting) = waiting {
                    let _ = waiting.send(answer.answer);
                }
            }
            Ok(Message::Ping(ping)) => {
                // a full queue means that we have more to say than a pong
                let _ = writes.try_send(Pong { random_id: ping.random_id }.to_boxed());
            }
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "a lite server sent something unknown");
                break;
            }
        }
    }
    shared.close();
}

async fn write_loop(
    mut writer: FrameWriter<OwnedWriteHalf>,
    mut queue: mpsc::Receiver<Vec<u8>>,
    shared: Arc<Shared>,
    ping_interval: Duration,
) {
    let started = Instant::now();
    let mut pings = interval(ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings.tick().await;
    while !shared.closed.load(Ordering::Acquire) {
        let payload = tokio::select! {
            payload = queue.recv() => match payload {
                Some(payload) => payload,
                None => break,
            },
            _ = pings.tick() => {
                let last = shared.last_frame.lock().expect("no panic under the lock").unwrap_or(started);
                if last.elapsed() > 3 * ping_interval {
                    break;
                }
                Ping { random_id: u64::from_le_bytes(random()) }.to_boxed()
            }
        };
        if writer.write(&payload).await.is_err() {
            break;
        }
    }
    shared.close();
}
