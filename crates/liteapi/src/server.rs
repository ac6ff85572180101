use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use adnl::keys::PrivateKey;
use tl::{Object, Reader};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;

use crate::message::{Answer, AuthenticationNonce, Message, Pong, authentication_to_sign};
use crate::transport::{FrameReader, FrameWriter, HANDSHAKE_LEN, random, server_handshake};
use crate::{Error, LiteQuery, ServerError, WaitMasterchainSeqno, code};

/// The longest frame that a client may send: an external message and then some.
const MAX_REQUEST: usize = 1 << 18;
/// Connections at once, per listener.
const MAX_CONNECTIONS: usize = 1024;
/// Queries of one connection that are answered at the same time; more make it wait.
const MAX_QUERIES: usize = 64;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A client pings every 5 s; one that is silent for longer than this is gone.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers lite queries.
pub trait Handler: Send + Sync + 'static {
    /// Answers a boxed method (without the [`LiteQuery`] around it and the wait prefix before it) with a boxed object.
    fn answer(&self, method: &[u8]) -> impl Future<Output = Result<Vec<u8>, ServerError>> + Send;

    /// Returns when the masterchain block is known; the caller limits the time.
    fn wait_masterchain_seqno(&self, seqno: u32) -> impl Future<Output = ()> + Send;
}

/// Serves a listener under the given keys until the task is dropped or aborted. Clients may authenticate; nobody has to.
pub async fn serve<H: Handler>(listener: TcpListener, keys: Vec<PrivateKey>, handler: Arc<H>) {
    let keys = Arc::new(keys);
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(slot) = slots.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "accepting failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (keys, handler) = (keys.clone(), handler.clone());
        connections.spawn(async move {
            let _slot = slot;
            if let Err(error) = serve_connection(stream, &keys, handler).await {
                debug!(%error, "a lite client's connection ended");
            }
        });
    }
}

async fn serve_connection<H: Handler>(stream: TcpStream, keys: &[PrivateKey], handler: Arc<H>) -> Result<(), Error> {
    stream.set_nodelay(true)?;
    let (mut read, write) = stream.into_split();
    let mut packet = [0; HANDSHAKE_LEN];
    timeout(HANDSHAKE_TIMEOUT, read.read_exact(&mut packet)).await.map_err(|_| Error::Timeout)??;
    let session = server_handshake(keys, &packet)?;
    let mut reader = FrameReader::new(read, session.receiving, MAX_REQUEST);
    let mut writer = FrameWriter::new(write, session.sending);
    let (answers, mut queue) = mpsc::channel::<Vec<u8>>(MAX_QUERIES);
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        while let Some(payload) = queue.recv().await {
            // a client that does not read is gone too
            timeout(IDLE_TIMEOUT, writer.write(&payload)).await.map_err(|_| Error::Timeout)??;
        }
        Ok::<_, Error>(())
    });
    let _ = answers.send(Vec::new()).await;
    let slots = Arc::new(Semaphore::new(MAX_QUERIES));
    let mut nonces = None;
    loop {
        while tasks.try_join_next().is_some() {}
        let payload = timeout(IDLE_TIMEOUT, reader.read()).await.map_err(|_| Error::Timeout)??;
        let reply = match Message::parse(&payload)? {
            Message::Query(query) => {
                let Ok(slot) = slots.clone().acquire_owned().await else { return Err(Error::Closed) };
                let (answers, handler) = (answers.clone(), handler.clone());
                tasks.spawn(async move {
                    let answer = answer_query(&*handler, &query.query).await;
                    let _ = answers.send(Answer { query_id: query.query_id, answer }.to_boxed()).await;
                    drop(slot);
                    Ok(())
                });
                continue;
            }
            Message::Ping(ping) => Pong { random_id: ping.random_id }.to_boxed(),
            Message::Authenticate(theirs) => {
                let ours: [u8; 256] = random();
                nonces = Some(authentication_to_sign(&theirs.nonce, &ours));
                AuthenticationNonce { nonce: ours.to_vec() }.to_boxed()
            }
            Message::AuthenticationComplete(complete) => {
                let signed = nonces.take().ok_or(Error::Handshake("authentication was not begun"))?;
                if !complete.key.verify(&signed, &complete.signature) {
                    return Err(Error::Handshake("wrong authentication signature"));
                }
                continue;
            }
            Message::Empty | Message::Pong(_) | Message::Answer(_) | Message::AuthenticationNonce(_) => continue,
        };
        answers.send(reply).await.map_err(|_| Error::Closed)?;
    }
}

async fn answer_query<H: Handler>(handler: &H, query: &[u8]) -> Vec<u8> {
    let answer = async {
        let data = LiteQuery::from_boxed(query).map_err(bad_request)?.data;
        let mut method = &data[..];
        let mut reader = Reader::new(method);
        if reader.u32("method").map_err(bad_request)? == WaitMasterchainSeqno::ID {
            let wait = WaitMasterchainSeqno::read_bare(&mut reader).map_err(bad_request)?;
            method = reader.rest();
            let limit = Duration::from_millis(u64::from(wait.timeout_ms));
            timeout(limit, handler.wait_masterchain_seqno(wait.seqno)).await.map_err(|_| ServerError {
                code: code::TIMEOUT,
                message: format!("timeout: block {} is not known", wait.seqno),
            })?;
        }
        handler.answer(method).await
    };
    answer.await.unwrap_or_else(|error: ServerError| error.to_boxed())
}

fn bad_request(error: tl::Error) -> ServerError {
    ServerError { code: code::BAD_REQUEST, message: error.to_string() }
}
