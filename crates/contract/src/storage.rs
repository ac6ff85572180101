use ton::{Cell, CellBuilder, CellError, CellSlice, DynCell, expect_end, load_coins, store_coins};
use wire::Body;

use crate::config::load_id;
use crate::{Closing, OpenConfig, Pair, Payment, Side, build};

/// What each side put in, took out and paid, nano.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Balance {
    /// Topped up.
    pub deposited: Pair<u128>,
    /// Paid out by cooperative commits.
    pub withdrawn: Pair<u128>,
    /// Paid to the other side, as far as committed.
    pub sent: Pair<u128>,
}

impl Balance {
    /// What a side owns on the chain: deposited + the other's sent − own sent − withdrawn.
    pub fn of(&self, side: Side) -> i128 {
        // Amounts have at most 120 bits.
        let amount = |pair: &Pair<u128>, side| *pair.get(side) as i128;
        amount(&self.deposited, side) + amount(&self.sent, side.other())
            - amount(&self.sent, side)
            - amount(&self.withdrawn, side)
    }

    fn to_cell(self) -> Cell {
        let coins = |b: &mut CellBuilder, amount: &u128| store_coins(b, *amount);
        build(|b| {
            self.deposited.store(b, coins)?;
            self.withdrawn.store(b, coins)?;
            self.sent.store(b, coins)
        })
    }

    fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let mut pair = || Pair::load(&mut s, load_coins);
        let balance = Self { deposited: pair()?, withdrawn: pair()?, sent: pair()? };
        expect_end(&s)?;
        Ok(balance)
    }
}

/// An uncooperative close under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Quarantine {
    /// What will count, unless challenged; the conditionals hashes change as entries are settled.
    pub bodies: Pair<Body>,
    /// Unix seconds.
    pub started_at: u32,
    /// Who started, or challenged since.
    pub committed_by: Side,
    /// Whether the one challenge was used.
    pub challenged: bool,
}

impl Quarantine {
    fn to_cell(self) -> Cell {
        build(|b| {
            self.bodies.store(b, |b, body| body.store(b))?;
            b.store_u32(self.started_at)?;
            self.committed_by.store(b)?;
            b.store_bit(self.challenged)
        })
    }

    fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let bodies = Pair::load(&mut s, Body::load)?;
        let started_at = s.load_u32()?;
        let (committed_by, challenged) = (Side::load(&mut s)?, s.load_bit()?);
        expect_end(&s)?;
        Ok(Self { bodies, started_at, committed_by, challenged })
    }
}

/// What a contract does at a moment (`getChannelState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Status {
    /// Not initialised, or closed.
    Uninitialised = 0,
    /// Open.
    Open = 1,
    /// In quarantine: may be challenged.
    ClosureStarted = 2,
    /// Conditionals may be settled.
    Settling = 3,
    /// May be finished.
    AwaitingFinish = 4,
}

impl Status {
    /// From the number that the get-method returns.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Uninitialised, Self::Open, Self::ClosureStarted, Self::Settling, Self::AwaitingFinish]
            .get(usize::from(number))
            .copied()
    }
}

/// The contract's data (payments 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Storage {
    /// Between init and close.
    pub initialised: bool,
    /// Amounts on the chain.
    pub balance: Balance,
    /// The sides' channel keys.
    pub keys: Pair<[u8; 32]>,
    /// See [`channel_id`](crate::channel_id).
    pub channel_id: [u8; 16],
    /// The terms of an uncooperative close.
    pub closing: Closing,
    /// States below these seqnos are useless (payments 7.6.1).
    pub committed_seqnos: Pair<u64>,
    /// An uncooperative close under way.
    pub quarantine: Option<Quarantine>,
    /// The coin and the destinations.
    pub payment: Payment,
}

impl Storage {
    /// The data cell.
    pub fn to_cell(&self) -> Cell {
        build(|b| {
            b.store_bit(self.initialised)?;
            b.store_reference(self.balance.to_cell())?;
            self.keys.store(b, |b, key| b.store_raw(key, 256))?;
            b.store_raw(&self.channel_id, 128)?;
            b.store_reference(self.closing.to_cell())?;
            self.committed_seqnos.store(b, |b, seqno| b.store_u64(*seqno))?;
            b.store_bit(self.quarantine.is_some())?;
            if let Some(quarantine) = self.quarantine {
                b.store_reference(quarantine.to_cell())?;
            }
            b.store_reference(self.payment.to_cell())
        })
    }

    /// Reads the data cell.
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let storage = Self {
            initialised: s.load_bit()?,
            balance: Balance::from_cell(s.load_reference()?)?,
            keys: Pair::load(&mut s, |s| Ok(s.load_u256()?.0))?,
            channel_id: load_id(&mut s)?,
            closing: Closing::from_cell(s.load_reference()?)?,
            committed_seqnos: Pair::load(&mut s, CellSlice::load_u64)?,
            quarantine: if s.load_bit()? { Some(Quarantine::from_cell(s.load_reference()?)?) } else { None },
            payment: Payment::from_cell(s.load_reference()?)?,
        };
        expect_end(&s)?;
        Ok(storage)
    }

    /// What the channel was opened with.
    pub fn open_config(&self) -> OpenConfig {
        OpenConfig { keys: self.keys, channel_id: self.channel_id, closing: self.closing, payment: self.payment }
    }

    /// The first second at which it is too late to challenge (`q` of payments 7.5); `None` without quarantine.
    pub fn quarantine_end(&self) -> Option<u64> {
        Some(u64::from(self.quarantine?.started_at) + u64::from(self.closing.quarantine_duration))
    }

    /// The first second at which it is too late to settle (`f` of payments 7.5); `None` without quarantine.
    pub fn settle_end(&self) -> Option<u64> {
        Some(self.quarantine_end()? + u64::from(self.closing.conditional_close_duration))
    }

    /// What the contract does at `now`, unix seconds, by its own get-method's rules.
    pub fn status(&self, now: u64) -> Status {
        match (self.initialised, self.quarantine_end(), self.settle_end()) {
            (false, ..) => Status::Uninitialised,
            (true, Some(end), _) if now < end => Status::ClosureStarted,
            (true, _, Some(end)) if now < end => Status::Settling,
            (true, Some(_), Some(_)) => Status::AwaitingFinish,
            (true, ..) => Status::Open,
        }
    }

    /// Whether a challenge would come in time: now < q.
    pub fn may_challenge(&self, now: u64) -> bool {
        self.quarantine_end().is_some_and(|end| now < end) && self.quarantine.is_some_and(|q| !q.challenged)
    }

    /// Whether settling would come in time: q < now < f. Both ends are refused.
    pub fn may_settle(&self, now: u64) -> bool {
        self.quarantine_end().is_some_and(|end| now > end) && self.settle_end().is_some_and(|end| now < end)
    }

    /// Whether the close may be finished: now > f.
    pub fn may_finish(&self, now: u64) -> bool {
        self.settle_end().is_some_and(|end| now > end)
    }
}
