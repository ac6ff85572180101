use crate::message::TransferId;
use crate::transfers::{Asker, Event, MAX_MESSAGE, SendError, Transfers};
use adnl::keys::AdnlId;
use adnl::{Custom, Endpoint, Now, end_queue};
use bytes::Bytes;
use std::collections::HashMap;
use std::time::{Duration, Instant, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

/// Calls that wait for the task; callers wait for room.
const COMMANDS: usize = 4096;
/// Incoming queries that wait for their handler. Beyond it they are dropped, and the asker's timeout runs.
const QUERIES: usize = 4096;
/// Calls and messages handled before what they cause is sent.
const PER_TURN: usize = 256;
/// Sleep without timers.
const LONG_SLEEP: Duration = Duration::from_secs(3600);

/// Why a query has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
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

/// A query from a peer. Delivered once, whatever the network repeats.
#[derive(Debug)]
pub struct IncomingQuery {
    /// The asker, authenticated.
    pub peer: AdnlId,
    /// The question.
    pub data: Bytes,
    /// Where the answer goes.
    pub responder: Responder,
}

/// Answers one query, at any later time. Dropped without an answer it leaves the asker in silence, which is how RLDP says no.
#[derive(Debug)]
pub struct Responder {
    asker: Asker,
    commands: mpsc::Sender<Command>,
}

impl Responder {
    /// Largest answer that the asker takes, wrapping included.
    pub fn max_answer(&self) -> u64 {
        self.asker.max_answer
    }

    /// Sends the answer.
    pub async fn answer(self, data: impl Into<Bytes>) -> Result<(), Error> {
        let data = data.into();
        if data.len() > MAX_MESSAGE || data.len() as u64 > self.asker.max_answer {
            return Err(SendError::TooLarge.into());
        }
        let command = Command::Answer { asker: self.asker, data };
        self.commands.send(command).await.map_err(|_| Error::Closed)
    }
}

#[derive(Debug)]
enum Command {
    Query { peer: AdnlId, data: Bytes, max_answer: usize, timeout: Duration, done: oneshot::Sender<Result<Bytes, Error>> },
    Answer { asker: Asker, data: Bytes },
}

/// [`Transfers`] over an [`Endpoint`], run by a task of its own. Cheap to clone; the task ends with the endpoint, or when nobody is
/// left who could call it.
#[derive(Debug, Clone)]
pub struct Rldp {
    commands: mpsc::Sender<Command>,
}

impl Rldp {
    /// Starts the task on an endpoint and its queue of custom messages.
    pub fn start(endpoint: Endpoint, customs: mpsc::Receiver<Custom>) -> (Self, mpsc::Receiver<IncomingQuery>) {
        let (commands, command_queue) = mpsc::channel(COMMANDS);
        let (queries, query_queue) = mpsc::channel(QUERIES);
        let driver = Driver {
            transfers: Transfers::default(),
            endpoint,
            start: Instant::now(),
            waiting: HashMap::new(),
            responders: commands.downgrade(),
            queries,
        };
        tokio::spawn(async move {
            let mut commands = command_queue;
            driver.run(&mut commands, customs).await;
            end_queue(commands).await;
        });
        (Self { commands }, query_queue)
    }

    /// Asks a peer that the endpoint knows, and waits for the answer. `max_answer` bounds the answer in bytes, some 44 of which are
    /// wrapping.
    pub async fn query(
        &self,
        peer: AdnlId,
        data: impl Into<Bytes>,
        max_answer: usize,
        timeout: Duration,
    ) -> Result<Bytes, Error> {
        let (done, answer) = oneshot::channel();
        let command = Command::Query { peer, data: data.into(), max_answer, timeout, done };
        self.commands.send(command).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

struct Driver {
    transfers: Transfers,
    endpoint: Endpoint,
    start: Instant,
    waiting: HashMap<TransferId, oneshot::Sender<Result<Bytes, Error>>>,
    /// Weak, so that the task itself does not keep its queue open.
    responders: mpsc::WeakSender<Command>,
    queries: mpsc::Sender<IncomingQuery>,
}

impl Driver {
    async fn run(mut self, commands: &mut mpsc::Receiver<Command>, mut customs: mpsc::Receiver<Custom>) {
        let (mut calls, mut messages) = (Vec::with_capacity(PER_TURN), Vec::with_capacity(PER_TURN));
        let sleep = tokio::time::sleep(Duration::ZERO);
        tokio::pin!(sleep);
        loop {
            let wake = self.transfers.next_timer().unwrap_or_else(|| self.start.elapsed() + LONG_SLEEP);
            let wake = tokio::time::Instant::from_std(self.start + wake);
            // To an earlier time only: one that comes for nothing now and then costs less than to move it with every call.
            if sleep.is_elapsed() || wake < sleep.deadline() {
                sleep.as_mut().reset(wake);
            }
            tokio::select! {
                biased;
                count = customs.recv_many(&mut messages, PER_TURN) => {
                    if count == 0 {
                        return;
                    }
                }
                count = commands.recv_many(&mut calls, PER_TURN) => {
                    if count == 0 {
                        return;
                    }
                }
                () = &mut sleep => {}
            }
            while calls.len() < PER_TURN
                && let Ok(call) = commands.try_recv()
            {
                calls.push(call);
            }
            let now = self.now();
            messages.drain(..).for_each(|message| self.transfers.handle(now, message.peer, &message.data));
            calls.drain(..).for_each(|call| self.call(now, call));
            self.transfers.handle_timers(now);
            self.report();
            let out = self.transfers.take_messages();
            if !out.is_empty() && self.endpoint.customs(out).await.is_err() {
                return;
            }
        }
    }

    fn now(&self) -> Now {
        let unix = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
        Now { elapsed: self.start.elapsed(), unix: u32::try_from(unix).unwrap_or(u32::MAX) }
    }

    fn call(&mut self, now: Now, call: Command) {
        match call {
            Command::Query { peer, data, max_answer, timeout, done } => {
                let mut random = [0; 64];
                getrandom::fill(&mut random).expect("the system's random source works");
                match self.transfers.query(now, peer, &data, max_answer, timeout, random) {
                    Ok(id) => drop(self.waiting.insert(id, done)),
                    Err(error) => drop(done.send(Err(error.into()))),
                }
            }
            Command::Answer { asker, data } => {
                if let Err(error) = self.transfers.answer(now, &asker, &data) {
                    tracing::debug!(peer = %asker.peer, %error, "answer dropped");
                }
            }
        }
    }

    fn report(&mut self) {
        for event in self.transfers.take_events() {
            match event {
                Event::Query { asker, data } => {
                    let Some(commands) = self.responders.upgrade() else { continue };
                    let query = IncomingQuery { peer: asker.peer, data, responder: Responder { asker, commands } };
                    if self.queries.try_send(query).is_err() {
                        tracing::warn!(peer = %asker.peer, "query dropped: nobody takes it");
                    }
                }
                Event::Answer { id, data } => {
                    if let Some(done) = self.waiting.remove(&id) {
                        let _ = done.send(Ok(data));
                    }
                }
                Event::Expired { id } => {
                    if let Some(done) = self.waiting.remove(&id) {
                        let _ = done.send(Err(Error::Timeout));
                    }
                }
            }
        }
    }
}
