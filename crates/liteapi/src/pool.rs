//! Several lite servers: who is there, who lags, who lied, and who is asked next.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use adnl::keys::PublicKey;
use tokio::time::Instant;
use tracing::{debug, warn};

use crate::*;

/// A server that lied is not asked for so long while another one answers.
const DISTRUST: Duration = Duration::from_secs(600);
/// The longest time for which a server that does not answer is left alone while another one answers.
const MAX_AWAY: Duration = Duration::from_secs(30);
/// A server so many blocks behind is asked only after those that are not.
const MAX_LAG: u32 = 8;
/// Weight of a new round trip in the average: 1/8, as TCP has it.
const SMOOTHING: u32 = 8;

/// Where a lite server is and which key it has.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Its address.
    pub address: SocketAddr,
    /// Its key.
    pub key: PublicKey,
}

/// How a server of a [`Client`] is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerHealth {
    /// Its address.
    pub address: SocketAddr,
    /// Whether it is asked first; otherwise only when no other one answers.
    pub available: bool,
    /// Masterchain blocks between its newest and the newest that any server named when it was last asked.
    pub lag: u32,
    /// Average time of an answer; zero before the first one.
    pub round_trip: Duration,
    /// Answers that were right.
    pub answers: u64,
    /// Questions without an answer.
    pub failures: u64,
    /// Answers that contradicted themselves, what was asked, or what is proven.
    pub lies: u64,
}

#[derive(Debug, Default)]
struct Record {
    head: u32,
    lag: u32,
    round_trip: Duration,
    answers: u64,
    failures: u64,
    lies: u64,
    /// Failures since the last answer.
    silent: u32,
    away_until: Option<Instant>,
}

/// One server with its connection.
pub(crate) struct Server {
    pub address: ServerAddress,
    link: tokio::sync::Mutex<Option<Arc<Connection>>>,
    record: Mutex<Record>,
}

impl Server {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open connection, or a new one. Callers queue up behind one attempt to connect.
    async fn connection(&self, options: &ClientOptions) -> Result<Arc<Connection>, Error> {
        let mut link = self.link.lock().await;
        if let Some(connection) = link.as_ref().filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        *link = None;
        let connection = Connection::connect(self.address.address, self.address.key, &options.connection).await?;
        Ok(link.insert(Arc::new(connection)).clone())
    }

    /// Asks this server alone, and remembers how that went. The answer must pass `check`.
    pub async fn ask<M: Method, T>(
        &self,
        options: &ClientOptions,
        wait: Option<Wait>,
        method: &M,
        check: impl FnOnce(M::Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let connection = match self.connection(options).await {
            Ok(connection) => connection,
            Err(error) => return Err(self.judge(options, error)),
        };
        let start = Instant::now();
        let answer = match wait {
            None => connection.query(method, options.query_timeout).await,
            Some(wait) => connection.query_after(wait.seqno, method, wait.limit).await,
        };
        match answer.and_then(check) {
            Ok(value) => {
                // Time spent waiting for a block says nothing about the server.
                let took = wait.is_none().then(|| start.elapsed());
                self.answered(took);
                Ok(value)
            }
            Err(error) => Err(self.judge(options, error)),
        }
    }

    fn answered(&self, took: Option<Duration>) {
        let mut record = self.record();
        record.answers += 1;
        record.silent = 0;
        record.away_until = None;
        if let Some(took) = took {
            record.round_trip = match record.round_trip.is_zero() {
                true => took,
                false => record.round_trip * (SMOOTHING - 1) / SMOOTHING + took / SMOOTHING,
            };
        }
    }

    /// A server's own error is an answer like another; silence and lies are not.
    fn judge(&self, options: &ClientOptions, error: Error) -> Error {
        match &error {
            Error::Server(error) if ![code::NOT_READY, code::OVERLOADED].contains(&error.code) => self.answered(None),
            Error::Unproven(_) | Error::Tl(_) | Error::Boc(_) | Error::Cell(_) | Error::Key(_) => self.lied(&error),
            _ => {
                debug!(server = %self.address.address, %error, "a lite server did not answer");
                let mut record = self.record();
                record.failures += 1;
                let pause = options.reconnect_delay.saturating_mul(1 << record.silent.min(16)).min(MAX_AWAY);
                record.silent = record.silent.saturating_add(1);
                record.away_until = record.away_until.max(Some(Instant::now() + pause));
            }
        }
        error
    }

    /// What it said does not hold.
    pub fn lied(&self, why: &Error) {
        warn!(server = %self.address.address, error = %why, "a lite server's answer does not hold");
        let mut record = self.record();
        record.lies += 1;
        record.away_until = Some(Instant::now() + DISTRUST);
    }

    /// It named this newest block.
    pub fn at(&self, head: u32, newest: u32) {
        let mut record = self.record();
        record.head = head;
        record.lag = newest.saturating_sub(head);
    }

    fn health(&self) -> ServerHealth {
        let record = self.record();
        ServerHealth {
            address: self.address.address,
            available: record.away_until.is_none_or(|until| until <= Instant::now()),
            lag: record.lag,
            round_trip: record.round_trip,
            answers: record.answers,
            failures: record.failures,
            lies: record.lies,
        }
    }
}

/// Answer only after this masterchain block is known.
#[derive(Clone, Copy)]
pub(crate) struct Wait {
    pub seqno: u32,
    pub limit: Duration,
}

/// All servers.
pub(crate) struct Pool {
    servers: Vec<Arc<Server>>,
    options: ClientOptions,
    /// Spreads what comes first among equals.
    turn: AtomicU32,
}

impl Pool {
    /// A server that is given twice is one: it must not agree with itself.
    pub fn new(mut servers: Vec<ServerAddress>, options: ClientOptions) -> Result<Self, Error> {
        let mut keys = HashSet::new();
        servers.retain(|server| keys.insert(*server.key.as_bytes()));
        if servers.is_empty() {
            return Err(Error::NoServer);
        }
        let server = |address| Arc::new(Server { address, link: Default::default(), record: Default::default() });
        Ok(Self { servers: servers.into_iter().map(server).collect(), options, turn: AtomicU32::new(0) })
    }

    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// How many servers must agree.
    pub fn agreement(&self) -> usize {
        self.options.agreement.clamp(1, self.servers.len())
    }

    pub fn health(&self) -> Vec<ServerHealth> {
        self.servers.iter().map(|server| server.health()).collect()
    }

    /// All servers, the best first: there, not behind, fast. Those that lied are last.
    pub fn ranked(&self) -> Vec<Arc<Server>> {
        let now = Instant::now();
        let mut ranked = self.servers.clone();
        ranked.sort_by_cached_key(|server| {
            let record = server.record();
            let away = record.away_until.filter(|until| *until > now);
            (away, Reverse(record.lag <= MAX_LAG), record.round_trip)
        });
        ranked
    }

    /// As [`Self::ranked`], and now and then one of the last comes second, so that what is known of it does not grow old.
    pub fn ranked_for_heads(&self) -> Vec<Arc<Server>> {
        const PROBE_EVERY: u32 = 16;
        let mut ranked = self.ranked();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        if turn.is_multiple_of(PROBE_EVERY) && ranked.len() > 2 {
            let at = 2 + (turn / PROBE_EVERY) as usize % (ranked.len() - 2);
            let probed = ranked.remove(at);
            ranked.insert(1, probed);
        }
        ranked
    }

    /// Asks the servers in turn until one gives an answer that passes `check`.
    pub async fn ask<M: Method, T>(
        &self,
        wait: Option<Wait>,
        method: &M,
        check: impl Fn(M::Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut last_error = Error::NoServer;
        for _ in 0..self.options.rounds.max(1) {
            for server in self.ranked() {
                match server.ask(&self.options, wait, method, &check).await {
                    Ok(value) => return Ok(value),
                    Err(error) => last_error = worse(last_error, error),
                }
            }
            if last_error.server_code() == Some(code::TIMEOUT) {
                break;
            }
        }
        Err(last_error)
    }
}

/// Of two failures the one that says more: a definite answer says more than silence.
pub(crate) fn worse(known: Error, new: Error) -> Error {
    let silent = |error: &Error| matches!(error, Error::Io(_) | Error::Closed | Error::Timeout | Error::Handshake(_));
    match silent(&new) && !silent(&known) && !matches!(known, Error::NoServer) {
        true => known,
        false => new,
    }
}
