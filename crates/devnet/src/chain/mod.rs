//! The chain without blocks: accounts, messages and transactions in the real TVM (chain.md 1).
//!
//! Synchronous and deterministic: the same calls give the same transactions. It is the harness for contract tests as it is, and the
//! core of the served chain.

mod config;
mod getter;
mod message;
mod record;

use std::collections::{BTreeMap, HashMap, VecDeque};

use sha2::{Digest, Sha256};
use tracing::warn;
use tycho_executor::{Executor, ExecutorInspector, ExecutorParams, ParsedConfig, TxError};
use tycho_types::cell::Lazy;
use tycho_types::models::{Account, BlockchainConfig, CurrencyCollection, MsgInfo, OptionalAccount, ShardAccount, StdAddr};
use tycho_types::prelude::*;

pub use config::{GLOBAL_ID, TVM_VERSION};
pub(crate) use config::{global_version, validator_info, validator_key};
pub(crate) use getter::run_get_method;
pub use getter::{GetResult, int_argument, method_id, slice_argument};
pub use message::{InternalMessage, Message, MessageKind};
pub use record::{Compute, Fees, SkipReason, Totals, TransactionRecord};

/// One coin in nano.
pub const COIN: u128 = 1_000_000_000;
/// Logical time between blocks.
const BLOCK_LT_STEP: u64 = 1_000_000;
/// Transactions in one block at most; the rest waits for the next. Keeps two contracts that feed each other from stopping the chain.
const BLOCK_TRANSACTIONS: usize = 10_000;
/// The only workchain with accounts.
const BASECHAIN: i8 = 0;
/// Nano that one message may bring into the chain: far above all coins there are, far below what a balance can hold.
const MAX_MINT: u128 = 1 << 80;
/// Depth of an external message at most, as on the public network.
const EXTERNAL_DEPTH: u16 = 512;

/// Why the chain did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A cell is not what it should be.
    #[error("cell: {0}")]
    Cell(#[from] tycho_types::error::Error),
    /// A message that cannot be used.
    #[error("message: {0}")]
    Message(&'static str),
    /// The account has no code to run.
    #[error("the account is not active")]
    NotActive,
    /// Time only goes forward.
    #[error("time {wanted} is before the chain's {now}")]
    TimeBackwards {
        /// The time asked for.
        wanted: u32,
        /// The chain's.
        now: u32,
    },
    /// The executor made or lost value: a bug in it or in the accounting.
    #[error("transaction {transaction} does not conserve value")]
    Unbalanced {
        /// Its hash.
        transaction: HashBytes,
    },
    /// The executor failed.
    #[error("executor: {0:#}")]
    Executor(anyhow::Error),
}

/// An external message that its account did not accept. It leaves no trace on the chain.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// The account.
    pub address: StdAddr,
    /// The message.
    pub cell: Cell,
    /// Why, when its code ran.
    pub exit_code: Option<i32>,
}

/// What one call of [`Chain::run`] did.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The transactions in the order of execution.
    pub transactions: Vec<TransactionRecord>,
    /// External messages that were not accepted.
    pub rejected: Vec<Rejected>,
    /// Logical time at which it began and ended.
    pub lt: (u64, u64),
    /// Value minted, delivered or not, nano.
    pub minted: u128,
    /// Value sent to where there are no accounts, with the forwarding fees that nobody collects, nano.
    pub burnt: u128,
}

impl Outcome {
    /// The transactions of one account.
    pub fn of<'a>(&'a self, address: &StdAddr) -> impl Iterator<Item = &'a TransactionRecord> + use<'a> {
        let address = address.clone();
        self.transactions.iter().filter(move |t| t.address == address)
    }
}

/// Accounts, pending messages and a clock.
pub struct Chain {
    config: ParsedConfig,
    now: u32,
    lt: u64,
    accounts: HashMap<StdAddr, ShardAccount>,
    /// Internal messages by (created lt, hash), the order of delivery.
    internal: BTreeMap<(u64, HashBytes), Cell>,
    external: VecDeque<(StdAddr, Cell)>,
    totals: Totals,
    /// Value minted and burnt since the last run, for the next outcome.
    minted: u128,
    debug: bool,
}

impl Chain {
    /// An empty chain whose clock shows `now` (unix seconds).
    pub fn new(now: u32) -> Result<Self, Error> {
        let config = ParsedConfig::parse(config::blockchain_config()?, u32::MAX)?;
        Ok(Self {
            config,
            now,
            lt: 0,
            accounts: HashMap::new(),
            internal: BTreeMap::new(),
            external: VecDeque::new(),
            totals: Totals::default(),
            minted: 0,
            debug: false,
        })
    }

    /// The clock, unix seconds.
    pub fn now(&self) -> u32 {
        self.now
    }
    /// Sets the clock forward.
    pub fn set_now(&mut self, now: u32) -> Result<(), Error> {
        if now < self.now {
            return Err(Error::TimeBackwards { wanted: now, now: self.now });
        }
        self.now = now;
        Ok(())
    }
    /// Lets `seconds` pass.
    pub fn advance(&mut self, seconds: u32) {
        self.now = self.now.saturating_add(seconds);
    }
    /// Keeps what contracts print, in [`TransactionRecord::debug`].
    pub fn set_debug(&mut self, on: bool) {
        self.debug = on;
    }
    /// The blockchain configuration.
    pub fn config(&self) -> &BlockchainConfig {
        &self.config.raw
    }
    /// Where all the money is.
    pub fn totals(&self) -> Totals {
        self.totals
    }
    /// Whether messages wait for [`Self::run`].
    pub fn is_idle(&self) -> bool {
        self.internal.is_empty() && self.external.is_empty()
    }

    /// What messages that are not delivered yet carry: value and forwarding fees, nano.
    pub(crate) fn carried(&self) -> Result<u128, Error> {
        self.internal.values().map(|cell| Message::parse(cell).map(|m| m.value + m.forward_fee)).sum()
    }

    /// The account, if it exists.
    pub fn account(&self, address: &StdAddr) -> Option<Account> {
        self.shard_account(address)?.load_account().ok()?
    }
    /// The account with its last transaction, if it ever had one.
    pub fn shard_account(&self, address: &StdAddr) -> Option<&ShardAccount> {
        self.accounts.get(address)
    }
    /// The balance in nano; 0 when there is no account.
    pub fn balance(&self, address: &StdAddr) -> u128 {
        self.account(address).map_or(0, |a| a.balance.tokens.into_inner())
    }
    /// The addresses of all accounts that exist, in no particular order.
    pub fn addresses(&self) -> impl Iterator<Item = &StdAddr> {
        self.accounts.keys()
    }

    /// Faucet: sends `nano` from nowhere, without fees, as masterchain minting does. Arrives with the next [`Self::run`], to the nano
    /// unless the account is active and its code takes gas for it.
    pub fn mint(&mut self, address: &StdAddr, nano: u128) -> Result<(), Error> {
        let minter = StdAddr::new(-1, HashBytes::ZERO);
        self.inject(InternalMessage::new(minter, address.clone(), nano).bounce(false))
    }

    /// Puts an internal message on the chain as if `src` had sent it with money of its own: the value counts as minted.
    pub fn inject(&mut self, message: InternalMessage) -> Result<(), Error> {
        let nano = message.value.tokens.into_inner();
        check_mint(&message.dst, nano)?;
        self.lt += 1;
        let cell = message.build(self.lt, self.now)?;
        self.totals.minted += nano;
        self.totals.in_transit += nano;
        self.minted += nano;
        self.internal.insert((self.lt, *cell.repr_hash()), cell);
        Ok(())
    }

    /// Queues an external message. Whether the account accepts it shows in the outcome of [`Self::run`].
    pub fn send_external(&mut self, cell: Cell) -> Result<(), Error> {
        let MsgInfo::ExtIn(_) = cell.parse::<MsgInfo>()? else {
            return Err(Error::Message("not an external message"));
        };
        if cell.repr_depth() > EXTERNAL_DEPTH {
            return Err(Error::Message("an external message has at most 512 levels of cells"));
        }
        match Message::parse(&cell)?.dst {
            Some(address) if address.workchain == BASECHAIN => self.external.push_back((address, cell)),
            _ => return Err(Error::Message("only basechain accounts exist here")),
        }
        Ok(())
    }

    /// Executes what is pending and all that follows from it, at the present time: internal messages first, by logical time, then
    /// external ones in the order of arrival. Stops at a block's limit of transactions.
    pub fn run(&mut self) -> Result<Outcome, Error> {
        let start = (self.lt / BLOCK_LT_STEP + 1) * BLOCK_LT_STEP;
        self.lt = start;
        let params = self.executor_params(start);
        let mut outcome = Outcome { minted: std::mem::take(&mut self.minted), ..Default::default() };
        while outcome.transactions.len() < BLOCK_TRANSACTIONS {
            if let Some((_, cell)) = self.internal.pop_first() {
                match self.deliver(&params, cell)? {
                    Ok(record) => outcome.transactions.push(record),
                    Err(lost) => outcome.burnt += lost,
                }
            } else if let Some((address, cell)) = self.external.pop_front() {
                let message = Message::parse(&cell)?;
                match self.execute(&params, &address, message) {
                    Ok(Ok(record)) => outcome.transactions.push(record),
                    Ok(Err(exit_code)) => outcome.rejected.push(Rejected { address, cell, exit_code }),
                    Err(error @ Error::Unbalanced { .. }) => return Err(error),
                    Err(error) => {
                        warn!(message = %cell.repr_hash(), %error, "an external message cannot be executed");
                        outcome.rejected.push(Rejected { address, cell, exit_code: None });
                    }
                }
            } else {
                break;
            }
        }
        self.lt += 1;
        outcome.lt = (start, self.lt);
        Ok(outcome)
    }

    fn executor_params(&self, block_lt: u64) -> ExecutorParams {
        ExecutorParams {
            block_unixtime: self.now,
            block_lt,
            rand_seed: rand_seed(block_lt),
            strict_extra_currency: true,
            full_body_in_bounced: false,
            // true is not what TON does (chain.md 1.4)
            charge_action_fees_on_fail: false,
            ..Default::default()
        }
    }

    /// Delivers an internal message. One that the executor cannot even receive is burnt, so that it cannot stop the chain: the inner
    /// error is what was lost with it, nano.
    fn deliver(&mut self, params: &ExecutorParams, cell: Cell) -> Result<Result<TransactionRecord, u128>, Error> {
        let message = Message::parse(&cell)?;
        self.totals.in_transit -= message.value;
        let (value, forward_fee) = (message.value, message.forward_fee);
        let result = match message.dst.clone() {
            Some(address) if address.workchain == BASECHAIN => self.execute(params, &address, message),
            _ => Err(Error::Message("no such workchain")),
        };
        match result {
            Ok(Ok(record)) => Ok(Ok(record)),
            Err(error @ Error::Unbalanced { .. }) => Err(error),
            Ok(Err(_)) | Err(_) => {
                warn!(message = %cell.repr_hash(), nano = value, "an undeliverable message is burnt");
                self.totals.burnt += value;
                Ok(Err(value + forward_fee))
            }
        }
    }

    /// Runs one message on one account. The inner error is an external message that was not accepted, with the exit code if any.
    fn execute(
        &mut self,
        params: &ExecutorParams,
        address: &StdAddr,
        message: Message,
    ) -> Result<Result<TransactionRecord, Option<i32>>, Error> {
        let state = match self.accounts.get(address) {
            Some(state) => state.clone(),
            None => no_account()?,
        };
        let before = balance_of(&state)?;
        let mut debug = String::new();
        let mut inspector = ExecutorInspector::default();
        if self.debug {
            inspector.debug = Some(&mut debug);
        }
        let external = message.kind == MessageKind::ExternalIn;
        let executed = Executor::new(params, &self.config).with_min_lt(params.block_lt + 1).begin_ordinary_ext(
            address,
            external,
            message.cell.clone(),
            &state,
            Some(&mut inspector),
        );
        let output = match executed {
            Ok(transaction) => transaction.commit().map_err(Error::Executor)?,
            Err(TxError::Skipped) => return Ok(Err(inspector.exit_code)),
            Err(TxError::Fatal(error)) => return Err(Error::Executor(error)),
        };
        let after = balance_of(&output.new_state)?;
        let burnt = output.burned.into_inner();
        let cell = output.transaction.inner().clone();
        let record = TransactionRecord::new(
            address.clone(),
            cell,
            message,
            (before.tokens.into_inner(), after.tokens.into_inner()),
            burnt,
            debug,
        )?;
        self.book(&record, burnt);
        self.lt = self.lt.max(output.transaction_meta.next_lt);
        if output.new_state_meta.exists {
            self.accounts.insert(address.clone(), output.new_state);
        } else {
            self.accounts.remove(address);
        }
        Ok(Ok(record))
    }

    /// Takes a transaction into the totals and queues what it sent.
    fn book(&mut self, record: &TransactionRecord, burnt: u128) {
        self.totals.balances = self.totals.balances - record.balance_before + record.balance_after;
        self.totals.fees.add(&record.fees);
        self.totals.burnt += burnt;
        for message in record.out_messages.iter().filter(|m| m.kind == MessageKind::Internal) {
            self.totals.in_transit += message.value;
            self.internal.insert((message.lt, *message.cell.repr_hash()), message.cell.clone());
        }
    }
}

/// Whether value can come into the chain like this.
pub(crate) fn check_mint(address: &StdAddr, nano: u128) -> Result<(), Error> {
    match (address.workchain, nano) {
        (BASECHAIN, ..=MAX_MINT) => Ok(()),
        (BASECHAIN, _) => Err(Error::Message("more value than one message may bring in")),
        _ => Err(Error::Message("only basechain accounts exist here")),
    }
}

/// The seed of a block's random numbers: fixed by its logical time, so that a replay gives the same transactions.
pub(crate) fn rand_seed(block_lt: u64) -> HashBytes {
    HashBytes(Sha256::digest(block_lt.to_be_bytes()).into())
}

fn no_account() -> Result<ShardAccount, Error> {
    Ok(ShardAccount { account: Lazy::new(&OptionalAccount::EMPTY)?, last_trans_hash: HashBytes::ZERO, last_trans_lt: 0 })
}

fn balance_of(state: &ShardAccount) -> Result<CurrencyCollection, Error> {
    Ok(state.load_account()?.map_or(CurrencyCollection::ZERO, |a| a.balance))
}
