//! The running chain: a ledger with a clock, a mempool and a log, shared by the lite servers, the control interface and the ticker.

use std::collections::HashSet;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

use crate::chain::{Outcome, Totals, check_mint};
use crate::ledger::{self, Input, Ledger};
use crate::log::{Log, LogError, Record};

const LOG_FILE: &str = "chain.log";
/// External messages that wait for the next block, and their bytes, at most: a tick's input fits one record of the log.
const MAX_MEMPOOL: usize = 20_000;
const MAX_MEMPOOL_BYTES: usize = 1 << 25;
/// Faucet requests that wait for the next block at most.
const MAX_MINTS: usize = 100_000;
/// Bytes of an external message at most, as on the public network.
const MAX_EXTERNAL: usize = 65_535;
/// An account that exists from the first block on: some clients do not cope with an empty state (network 6.5).
const FIRST_ACCOUNT: StdAddr = StdAddr::new(0, HashBytes([0x55; 32]));

/// Why the devnet did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The ledger below.
    #[error(transparent)]
    Ledger(#[from] ledger::Error),
    /// The files.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The data directory.
    #[error("data directory: {0}")]
    Io(#[from] std::io::Error),
    /// The log was written by something else.
    #[error("replaying the log gives another block {seqno}; it was written by another version")]
    Replay {
        /// The first block that differs.
        seqno: u32,
    },
    /// Too many messages wait.
    #[error("too many messages wait for the next block")]
    Busy,
    /// An external message of more than 65535 bytes.
    #[error("the external message is too long")]
    TooLong,
    /// Only forward.
    #[error("time {wanted} is before the chain's {now}")]
    TimeBackwards {
        /// Asked for.
        wanted: u32,
        /// The chain's.
        now: u32,
    },
    /// An earlier error; the chain stands still.
    #[error("the chain stopped after an error: {0}")]
    Stopped(String),
}

/// How it is going.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Status {
    /// Newest masterchain block.
    pub seqno: u32,
    /// Chain time, unix seconds.
    pub now: u32,
    /// Chain time minus wall time, seconds: what nodes add to their clock for protocol time (design 7).
    pub offset: i64,
    /// All coins ever minted, nano.
    #[serde(serialize_with = "nano")]
    pub minted: u128,
    /// On accounts, nano.
    #[serde(serialize_with = "nano")]
    pub balances: u128,
    /// In messages under way, nano.
    #[serde(serialize_with = "nano")]
    pub in_transit: u128,
    /// Rent paid, nano.
    #[serde(serialize_with = "nano")]
    pub storage_fees: u128,
    /// Gas paid, nano.
    #[serde(serialize_with = "nano")]
    pub gas_fees: u128,
    /// Message fees paid, nano.
    #[serde(serialize_with = "nano")]
    pub forward_fees: u128,
    /// Sent to nowhere, nano.
    #[serde(serialize_with = "nano")]
    pub burnt: u128,
    /// minted = balances + in transit + fees + burnt.
    pub conserved: bool,
}

/// Amounts are decimal strings: they do not fit a JSON number.
fn nano<S: serde::Serializer>(nano: &u128, s: S) -> Result<S::Ok, S::Error> {
    s.collect_str(nano)
}

/// A running embedded chain. Clones share it.
#[derive(Clone)]
pub struct Devnet {
    state: Arc<Mutex<State>>,
    head: watch::Sender<u32>,
}

struct State {
    ledger: Ledger,
    log: Option<Log>,
    mempool: Vec<Cell>,
    mempool_bytes: usize,
    /// Hashes of what is in the mempool: a message sent again is taken silently (network 6.5).
    known: HashSet<HashBytes>,
    mints: Vec<(StdAddr, u128)>,
    offset: i64,
    stopped: Option<String>,
}

impl Devnet {
    /// A chain in memory only.
    pub fn in_memory() -> Result<Self, Error> {
        Self::start(None, Vec::new())
    }

    /// The chain of a data directory: a new one, or the one that was there, replayed.
    pub fn open(data_dir: &Path) -> Result<Self, Error> {
        std::fs::create_dir_all(data_dir)?;
        let (log, records) = Log::open(&data_dir.join(LOG_FILE))?;
        Self::start(Some(log), records)
    }

    fn start(log: Option<Log>, records: Vec<Record>) -> Result<Self, Error> {
        let first = records.first().map_or_else(wall_clock, |r| r.input.now);
        let offset = records.last().map_or(0, |r| r.offset);
        let mut ledger = Ledger::new(first)?;
        for record in records {
            ledger.tick(record.input)?;
            if ledger.last().root_hash != record.block {
                return Err(Error::Replay { seqno: ledger.last().seqno });
            }
        }
        let fresh = ledger.last().seqno == 0;
        let mints = if fresh { vec![(FIRST_ACCOUNT, 1)] } else { Vec::new() };
        let head = watch::Sender::new(ledger.last().seqno);
        let state =
            State { ledger, log, mempool: Vec::new(), mempool_bytes: 0, known: HashSet::new(), mints, offset, stopped: None };
        let devnet = Self { state: Arc::new(Mutex::new(state)), head };
        if fresh {
            devnet.mine()?;
        }
        Ok(devnet)
    }

    /// Seals the next block now, with everything that waits.
    pub fn mine(&self) -> Result<Outcome, Error> {
        let mut state = self.lock();
        let outcome = state.mine()?;
        self.head.send_replace(state.ledger.last().seqno);
        Ok(outcome)
    }

    /// Queues an external message for the next block. One that already waits is taken silently.
    pub fn send(&self, message: Cell) -> Result<(), Error> {
        let bytes = Boc::encode(&message).len();
        if bytes > MAX_EXTERNAL {
            return Err(Error::TooLong);
        }
        let mut state = self.lock();
        if state.known.contains(message.repr_hash()) {
            return Ok(());
        }
        if state.mempool.len() >= MAX_MEMPOOL || state.mempool_bytes + bytes > MAX_MEMPOOL_BYTES {
            return Err(Error::Busy);
        }
        state.mempool_bytes += bytes;
        state.known.insert(*message.repr_hash());
        state.mempool.push(message);
        Ok(())
    }

    /// Queues coins from nowhere for the next block.
    pub fn faucet(&self, address: StdAddr, nano: u128) -> Result<(), Error> {
        check_mint(&address, nano).map_err(ledger::Error::from)?;
        let mut state = self.lock();
        if state.mints.len() >= MAX_MINTS {
            return Err(Error::Busy);
        }
        state.mints.push((address, nano));
        Ok(())
    }

    /// Sets the chain's clock forward; it goes on from there with the wall clock.
    pub fn set_time(&self, wanted: u32) -> Result<(), Error> {
        let mut state = self.lock();
        let now = state.now();
        if wanted < now {
            return Err(Error::TimeBackwards { wanted, now });
        }
        state.offset = i64::from(wanted) - i64::from(wall_clock());
        Ok(())
    }

    /// Lets `seconds` pass at once.
    pub fn advance(&self, seconds: u32) -> Result<(), Error> {
        let now = self.lock().now();
        self.set_time(now.saturating_add(seconds))
    }

    /// Chain time, unix seconds.
    pub fn now(&self) -> u32 {
        self.lock().now()
    }

    /// How it is going.
    pub fn status(&self) -> Status {
        let state = self.lock();
        let totals: Totals = state.ledger.totals();
        Status {
            seqno: state.ledger.last().seqno,
            now: state.now(),
            offset: state.offset,
            minted: totals.minted,
            balances: totals.balances,
            in_transit: totals.in_transit,
            storage_fees: totals.fees.storage,
            gas_fees: totals.fees.gas,
            forward_fees: totals.fees.forward,
            burnt: totals.burnt,
            conserved: totals.is_conserved(),
        }
    }

    /// Reads the ledger. No block is sealed meanwhile.
    pub fn read<T>(&self, f: impl FnOnce(&Ledger) -> T) -> T {
        f(&self.lock().ledger)
    }

    /// The seqno of the newest masterchain block, and a signal for each new one.
    pub fn subscribe(&self) -> watch::Receiver<u32> {
        self.head.subscribe()
    }

    /// Seals a block every `period` until dropped or the chain stops.
    pub async fn produce_blocks(&self, period: Duration) -> Result<(), Error> {
        let mut ticks = interval(period);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            self.mine()?;
        }
    }

    /// A panic inside a tick leaves the ledger half changed: it is then marked as stopped by [`State::mine`].
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn now(&self) -> u32 {
        let shifted = i64::from(wall_clock()).saturating_add(self.offset);
        u32::try_from(shifted).unwrap_or(0).max(self.ledger.now())
    }

    fn mine(&mut self) -> Result<Outcome, Error> {
        if let Some(reason) = &self.stopped {
            return Err(Error::Stopped(reason.clone()));
        }
        // stays set when the tick panics
        self.stopped = Some("a tick did not end".into());
        let result = self.tick();
        self.stopped = result.as_ref().err().map(ToString::to_string);
        result
    }

    fn tick(&mut self) -> Result<Outcome, Error> {
        self.known.clear();
        self.mempool_bytes = 0;
        let input =
            Input { now: self.now(), mints: std::mem::take(&mut self.mints), externals: std::mem::take(&mut self.mempool) };
        let outcome = self.ledger.tick(input.clone())?;
        if let Some(log) = &mut self.log {
            log.append(&Record { input, offset: self.offset, block: self.ledger.last().root_hash })?;
        }
        Ok(outcome)
    }
}

/// Unix seconds.
fn wall_clock() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    u32::try_from(now).unwrap_or(u32::MAX)
}
