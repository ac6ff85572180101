use crate::address::AddressList;
use crate::common::{Event, PeerRecord, Stats};
use crate::keys::{AdnlId, PrivateKey, PublicKey};
use crate::message::QueryId;
use crate::node::{MAX_PAYLOAD, Node, SendError};
use crate::socket::Socket;
use crate::time::Now;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Calls that wait for the endpoint's task; callers wait for room.
const COMMANDS: usize = 4096;
/// Incoming queries that wait for their handler. Beyond it they are dropped, and executed when the peer repeats them.
const QUERIES: usize = 4096;
/// Incoming custom messages that wait for their layer. Beyond it they are lost, as on the network.
const CUSTOMS: usize = 16_384;
/// Notices that wait. Beyond it they are lost, with a warning.
const NOTICES: usize = 1024;
/// Calls and receive batches handled before the datagrams that they cause are sent.
const CALLS_PER_TURN: usize = 256;
/// Sleep of a node without timers.
const LONG_SLEEP: Duration = Duration::from_secs(3600);

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// It was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The peer did not answer in time. It may have executed the query.
    #[error("no answer in time")]
    Timeout,
    /// The endpoint is closed.
    #[error("endpoint closed")]
    Closed,
}

/// How to start an [`Endpoint`].
#[derive(Debug, Clone)]
pub struct Config {
    /// Our key.
    pub key: PrivateKey,
    /// From [`crate::next_epoch`], stored before it is used here.
    pub epoch: u32,
    /// The local address.
    pub listen: SocketAddr,
    /// The address that peers can reach; none for a node that only dials out.
    pub advertise: Option<SocketAddrV4>,
}

/// A query from a peer.
#[derive(Debug)]
pub struct IncomingQuery {
    /// The asker, authenticated.
    pub peer: PublicKey,
    /// Its id.
    pub peer_id: AdnlId,
    /// The question.
    pub data: Bytes,
    /// Where the answer goes.
    pub responder: Responder,
}

/// Answers one query, at any later time. Dropped without an answer it leaves the asker in silence, which is how ADNL says no.
#[derive(Debug)]
pub struct Responder {
    peer: AdnlId,
    id: QueryId,
    commands: mpsc::Sender<Command>,
}

impl Responder {
    /// Sends the answer, of at most [`MAX_PAYLOAD`] bytes.
    pub async fn answer(self, data: impl Into<Bytes>) -> Result<(), QueryError> {
        let data = data.into();
        if data.len() > MAX_PAYLOAD {
            return Err(SendError::TooLarge.into());
        }
        let command = Command::Answer { peer: self.peer, id: self.id, data };
        self.commands.send(command).await.map_err(|_| QueryError::Closed)
    }
}

/// A message between the upper layers of two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    /// The other node, authenticated when it is the sender.
    pub peer: AdnlId,
    /// The message.
    pub data: Bytes,
    /// On sending: the peer will react, so that silence is a sign of a dead session.
    pub reply: bool,
}

/// What became of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The first packet of a peer.
    Up(PublicKey),
    /// The peer restarted or forgot the session.
    Reset(AdnlId),
    /// The peer was forgotten.
    Gone(AdnlId),
}

/// What comes in at an [`Endpoint`]. A queue that nobody needs may be dropped.
#[derive(Debug)]
pub struct Incoming {
    /// Queries, each once.
    pub queries: mpsc::Receiver<IncomingQuery>,
    /// Custom messages: RLDP's.
    pub customs: mpsc::Receiver<Custom>,
    /// Changes of sessions.
    pub notices: mpsc::Receiver<Notice>,
}

#[derive(Debug)]
enum Command {
    AddPeer { record: PeerRecord, wanted: bool, done: oneshot::Sender<Result<AdnlId, SendError>> },
    RemovePeer { peer: AdnlId },
    Query { peer: AdnlId, data: Bytes, timeout: Duration, done: oneshot::Sender<Result<Bytes, QueryError>> },
    Answer { peer: AdnlId, id: QueryId, data: Bytes },
    Customs(Vec<Custom>),
    Advertise { address: Option<SocketAddrV4>, done: oneshot::Sender<AddressList> },
    Stats(oneshot::Sender<Stats>),
    Close,
}

/// A [`Node`] on a UDP socket, run by a task of its own. Cheap to clone; the task ends with [`Endpoint::close`] or when nobody is
/// left who could call it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    id: AdnlId,
    local: SocketAddr,
    commands: mpsc::Sender<Command>,
}

impl Endpoint {
    /// Binds the socket and starts the task. `journal` is called, inside the task, with each peer record to be stored: it must only
    /// hand it over.
    pub async fn bind(config: Config, journal: impl FnMut(PeerRecord) + Send + 'static) -> std::io::Result<(Self, Incoming)> {
        let socket = Socket::bind(config.listen).await?;
        let local = socket.local_addr()?;
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (queries, query_queue) = mpsc::channel(QUERIES);
        let (customs, custom_queue) = mpsc::channel(CUSTOMS);
        let (notices, notice_queue) = mpsc::channel(NOTICES);
        let node = Node::new(config.key, config.epoch, config.advertise);
        let endpoint = Self { id: node.id(), local, commands: commands.clone() };
        let driver = Driver {
            node,
            socket,
            start: Instant::now(),
            waiting: HashMap::new(),
            responders: commands.downgrade(),
            queries,
            customs,
            notices,
            journal: Box::new(journal),
        };
        tokio::spawn(async move {
            let mut commands = command_queue;
            driver.run(&mut commands).await;
            // Only now does `close` return: the socket is gone.
            end_queue(commands).await;
        });
        Ok((endpoint, Incoming { queries: query_queue, customs: custom_queue, notices: notice_queue }))
    }

    /// Our id.
    pub fn id(&self) -> AdnlId {
        self.id
    }

    /// The socket's address.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Adds a peer or updates its address: greeted, kept alive and never forgotten. After a restart, with the stored record.
    pub async fn add_peer(&self, record: PeerRecord) -> Result<AdnlId, QueryError> {
        self.register(record, true).await
    }

    /// Makes a peer known so that it can be asked, without keeping it alive: DHT nodes.
    pub async fn introduce(&self, key: PublicKey, address: SocketAddr) -> Result<AdnlId, QueryError> {
        self.register(PeerRecord { key, address: Some(address), channel_date: 0 }, false).await
    }

    async fn register(&self, record: PeerRecord, wanted: bool) -> Result<AdnlId, QueryError> {
        let (done, result) = oneshot::channel();
        self.command(Command::AddPeer { record, wanted, done }).await?;
        Ok(result.await.map_err(|_| QueryError::Closed)??)
    }

    /// Forgets a peer.
    pub async fn remove_peer(&self, peer: AdnlId) -> Result<(), QueryError> {
        self.command(Command::RemovePeer { peer }).await
    }

    /// Asks a known peer and waits for the answer. The query is repeated underneath; a peer of the Go library may execute it twice.
    pub async fn query(&self, peer: AdnlId, data: impl Into<Bytes>, timeout: Duration) -> Result<Bytes, QueryError> {
        let (done, answer) = oneshot::channel();
        self.command(Command::Query { peer, data: data.into(), timeout, done }).await?;
        answer.await.map_err(|_| QueryError::Closed)?
    }

    /// Sends custom messages. Those that cannot be sent are lost.
    pub async fn customs(&self, messages: Vec<Custom>) -> Result<(), QueryError> {
        self.command(Command::Customs(messages)).await
    }

    /// Changes the address that is published to peers, and tells them. Returns the list as it is published.
    pub async fn advertise(&self, address: Option<SocketAddrV4>) -> Result<AddressList, QueryError> {
        let (done, list) = oneshot::channel();
        self.command(Command::Advertise { address, done }).await?;
        list.await.map_err(|_| QueryError::Closed)
    }

    /// Counters since the start.
    pub async fn stats(&self) -> Result<Stats, QueryError> {
        let (done, stats) = oneshot::channel();
        self.command(Command::Stats(done)).await?;
        stats.await.map_err(|_| QueryError::Closed)
    }

    /// Ends the task and closes the socket.
    pub async fn close(&self) {
        if self.command(Command::Close).await.is_ok() {
            self.commands.closed().await;
        }
    }

    async fn command(&self, command: Command) -> Result<(), QueryError> {
        self.commands.send(command).await.map_err(|_| QueryError::Closed)
    }
}

/// Closes a queue of calls and drops them all, so that every caller learns that nobody will answer. To drop the receiver is not enough: a call
/// that is being sent in that moment would stay in the queue, and its caller, whose sender keeps the queue alive, wait for ever.
pub async fn end_queue<T>(mut queue: mpsc::Receiver<T>) {
    queue.close();
    while queue.recv().await.is_some() {}
}

/// The task of an endpoint: the only owner of node and socket.
struct Driver {
    node: Node,
    socket: Socket,
    start: Instant,
    waiting: HashMap<QueryId, oneshot::Sender<Result<Bytes, QueryError>>>,
    /// Weak, so that the task itself does not keep its queue open.
    responders: mpsc::WeakSender<Command>,
    queries: mpsc::Sender<IncomingQuery>,
    customs: mpsc::Sender<Custom>,
    notices: mpsc::Sender<Notice>,
    journal: Box<dyn FnMut(PeerRecord) + Send>,
}

impl Driver {
    async fn run(mut self, commands: &mut mpsc::Receiver<Command>) {
        let mut calls = Vec::with_capacity(CALLS_PER_TURN);
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            let wake = self.node.next_timer().unwrap_or_else(|| self.start.elapsed() + LONG_SLEEP);
            let wake = tokio::time::Instant::from_std(self.start + wake);
            // To an earlier time only: one that comes for nothing now and then costs less than to move it with every call.
            if sleep.is_elapsed() || wake < sleep.deadline() {
                sleep.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                ready = self.socket.readable() => {
                    if let Err(error) = ready {
                        tracing::error!(%error, "socket");
                        return;
                    }
                }
                count = commands.recv_many(&mut calls, CALLS_PER_TURN) => {
                    if count == 0 {
                        return;
                    }
                }
                () = &mut sleep => {}
            }
            while calls.len() < CALLS_PER_TURN
                && let Ok(call) = commands.try_recv()
            {
                calls.push(call);
            }
            let now = self.now();
            if calls.iter().any(|call| matches!(call, Command::Close)) {
                return;
            }
            calls.drain(..).for_each(|call| self.call(now, call));
            let node = &mut self.node;
            self.socket.receive(|from, datagram| node.handle_datagram(now, from, datagram));
            self.node.handle_timers(now);
            self.node.flush(now);
            self.report();
            if !self.node.outbox().is_empty() {
                self.socket.send(self.node.outbox()).await;
                self.node.outbox().clear();
            }
        }
    }

    fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Now { elapsed: self.start.elapsed(), unix: u32::try_from(unix).unwrap_or(u32::MAX) }
    }

    fn call(&mut self, now: Now, call: Command) {
        match call {
            Command::AddPeer { record, wanted, done } => {
                let _ = done.send(self.node.add_peer(now, &record, wanted));
            }
            Command::RemovePeer { peer } => self.node.remove_peer(&peer),
            Command::Query { peer, data, timeout, done } => match self.node.query(now, &peer, &data, timeout) {
                Ok(id) => drop(self.waiting.insert(id, done)),
                Err(error) => drop(done.send(Err(error.into()))),
            },
            Command::Answer { peer, id, data } => {
                if let Err(error) = self.node.answer(now, &peer, &id, &data) {
                    tracing::debug!(%peer, %error, "answer dropped");
                }
            }
            Command::Customs(messages) => {
                for message in messages {
                    if let Err(error) = self.node.custom(now, &message.peer, &message.data, message.reply) {
                        tracing::debug!(peer = %message.peer, %error, "message dropped");
                    }
                }
            }
            Command::Advertise { address, done } => drop(done.send(self.node.advertise(now, address))),
            Command::Stats(done) => drop(done.send(self.node.stats())),
            Command::Close => {}
        }
    }

    /// Hands on what happened. Never waits: what finds a full queue is dropped, and each kind can stand it.
    fn report(&mut self) {
        let mut cancelled = Vec::new();
        for event in self.node.take_events() {
            match event {
                Event::Query { peer, peer_id, id, data } => {
                    let Some(commands) = self.responders.upgrade() else { continue };
                    let responder = Responder { peer: peer_id, id, commands };
                    if self.queries.try_send(IncomingQuery { peer, peer_id, data, responder }).is_err() {
                        cancelled.push((peer_id, id));
                    }
                }
                Event::Answer { id, data } => {
                    if let Some(done) = self.waiting.remove(&id) {
                        let _ = done.send(Ok(data));
                    }
                }
                Event::Expired { id } => {
                    if let Some(done) = self.waiting.remove(&id) {
                        let _ = done.send(Err(QueryError::Timeout));
                    }
                }
                Event::Custom { peer, data } => {
                    let _ = self.customs.try_send(Custom { peer, data, reply: false });
                }
                Event::Up { peer } => notify(&self.notices, Notice::Up(peer)),
                Event::Reset { peer } => notify(&self.notices, Notice::Reset(peer)),
                Event::Gone { peer } => notify(&self.notices, Notice::Gone(peer)),
                Event::Record(record) => (self.journal)(record),
            }
        }
        for (peer, id) in cancelled {
            self.node.cancel_answer(&peer, &id);
        }
    }
}

fn notify(notices: &mpsc::Sender<Notice>, notice: Notice) {
    if let Err(mpsc::error::TrySendError::Full(notice)) = notices.try_send(notice) {
        tracing::warn!(?notice, "notice lost: nobody takes them");
    }
}
