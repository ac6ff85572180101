//! A chain in this process: revm, one block per transaction, time that moves when it is told to. For tests and demonstrations.
//!
//! Not a node: transactions carry no signatures, gas costs nothing, so that balances change by the contracts alone. The limit of gas that a
//! transaction was made with holds, and one that offers less than the market's price ([`Simulation::price`]) waits, as those behind it do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, keccak256};
use async_trait::async_trait;
use revm::context::result::{ExecutionResult, Output};
use revm::context::{Context, TxEnv};
use revm::database::{CacheDB, EmptyDB};
use revm::primitives::TxKind;
use revm::state::{AccountInfo, Bytecode};
use revm::{Database as _, ExecuteCommitEvm as _, ExecuteEvm as _, MainBuilder as _, MainContext as _};

use super::{Chain, ChainError, Head, Lane, Log, Receipt, Request};
use crate::fees::{Bid, FeeLimits, Urgency};
use crate::record::Prepared;

/// Most gas that a transaction may have since Osaka: for reading and estimating.
const GAS: u64 = 1 << 24;
/// Blocks whose state can be read.
const HISTORY: u64 = 64;
/// Unix time of the first block.
const GENESIS_TIME: u64 = 1_700_000_000;
/// Blocks whose events can be asked for at once: as with nodes that are shared by many.
const LOGS_BLOCKS: u64 = 2_000;
/// Seconds between blocks.
const BLOCK_TIME: u64 = 12;

/// Between two looks whether a silent node answers again.
const SILENCE: Duration = Duration::from_millis(5);

/// The chain, shared by its [`SimulatedChain`]s.
#[derive(Clone)]
pub struct Simulation(Arc<StdMutex<State>>);

struct State {
    chain_id: u64,
    head: Head,
    database: CacheDB<EmptyDB>,
    history: BTreeMap<u64, CacheDB<EmptyDB>>,
    logs: Vec<(u64, Log)>,
    receipts: HashMap<B256, Receipt>,
    created: HashMap<B256, Address>,
    /// See [`Simulation::price`].
    said: u128,
    asked: u128,
    /// See [`Simulation::lose`].
    lost: bool,
    /// See [`Simulation::silence`].
    silent: bool,
    /// Transactions that wait, by account and number.
    pool: BTreeMap<(Address, u64), Vec<u8>>,
}

/// An account on a [`Simulation`].
pub struct SimulatedChain {
    simulation: Simulation,
    account: Address,
    limits: FeeLimits,
    lane: Lane,
}

impl Simulation {
    /// A new chain, empty.
    #[must_use]
    pub fn new(chain_id: u64) -> Self {
        let head = Head { number: 0, time: GENESIS_TIME };
        let database = CacheDB::new(EmptyDB::default());
        let history = BTreeMap::from([(head.number, database.clone())]);
        let state = State {
            chain_id,
            head,
            database,
            history,
            logs: Vec::new(),
            receipts: HashMap::new(),
            created: HashMap::new(),
            said: 1,
            asked: 1,
            lost: false,
            silent: false,
            pool: BTreeMap::new(),
        };
        Self(Arc::new(StdMutex::new(state)))
    }

    /// An account that has not been used, with this much native coin.
    #[must_use]
    pub fn account(&self, account: Address, balance: U256) -> SimulatedChain {
        let mut state = self.state();
        state.database.insert_account_info(account, AccountInfo { balance, ..AccountInfo::default() });
        state.remember();
        SimulatedChain { simulation: self.clone(), account, limits: FeeLimits::default(), lane: Lane::default() }
    }

    /// Lets time pass, in one block.
    pub fn pass(&self, seconds: u64) {
        let mut state = self.state();
        state.head = Head { number: state.head.number + 1, time: state.head.time + seconds };
        state.remember();
    }

    /// What a transaction must offer from now on to get into a block (`asked`), in wei per unit of gas, and what a node says that it is
    /// (`said`): the two differ when prices move. What waits and offers enough gets in at once.
    pub fn price(&self, said: u128, asked: u128) {
        let mut state = self.state();
        (state.said, state.asked) = (said, asked);
        state.mine();
    }

    /// From now on no node answers a question about blocks, or all do again.
    pub fn silence(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// From now on what is sent is lost, or is not: as when a node forgets it, or the sender ends before it has sent it.
    pub fn lose(&self, lost: bool) {
        self.state().lost = lost;
    }

    /// Number of the newest block.
    #[must_use]
    pub fn block(&self) -> u64 {
        self.state().head.number
    }

    /// Gives an account code, as an account that delegates to a contract has it (EIP-7702).
    pub fn set_code(&self, account: Address, code: Bytes) {
        let mut state = self.state();
        let mut info = state.database.basic(account).ok().flatten().unwrap_or_default();
        let code = Bytecode::new_raw(code);
        (info.code_hash, info.code) = (code.hash_slow(), Some(code));
        state.database.insert_account_info(account, info);
        state.remember();
    }

    /// What waits for a block: account, number and offer.
    #[must_use]
    pub fn waiting(&self) -> Vec<(Address, u64, u128)> {
        let state = self.state();
        let waiting = state.pool.iter().filter_map(|(place, raw)| Some((place, decode(raw, state.chain_id).ok()?)));
        waiting.map(|((account, number), transaction)| (*account, *number, transaction.gas_price)).collect()
    }

    /// Address of the contract that a transaction made.
    #[must_use]
    pub fn created(&self, hash: &B256) -> Option<Address> {
        self.state().created.get(hash).copied()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn remember(&mut self) {
        let head = self.head.number;
        self.history.insert(head, self.database.clone());
        self.history.retain(|number, _| number + HISTORY > head);
    }

    /// Runs a transaction on the newest state; keeps what it did, or not.
    fn execute(&mut self, transaction: TxEnv, keep: bool) -> Result<ExecutionResult, ChainError> {
        let (chain_id, head) = (self.chain_id, self.head);
        run(&mut self.database, chain_id, head, transaction, keep)
    }

    /// The least gas with which a transaction does what it should, to a hundredth, as a node estimates it.
    fn estimate(&mut self, raw: &[u8]) -> Result<u64, ChainError> {
        let transaction = decode(raw, self.chain_id)?;
        let done = self.execute(transaction.clone(), false)?;
        let (mut least, mut enough) = (done.tx_gas_used(), GAS);
        accepted(done)?;
        while enough - least > enough / 100 {
            let gas_limit = least.midpoint(enough);
            let tried = self.execute(TxEnv { gas_limit, ..transaction.clone() }, false);
            *(if tried.is_ok_and(|done| done.is_success()) { &mut enough } else { &mut least }) = gas_limit;
        }
        Ok(enough)
    }

    /// Takes a transaction: at once into a block, or to wait there.
    fn take(&mut self, transaction: &Prepared) -> Result<(), ChainError> {
        let wanted = decode(&transaction.raw, self.chain_id)?;
        let place = (wanted.caller, wanted.nonce);
        let waiting = self.pool.get(&place).map(|raw| decode(raw, self.chain_id)).transpose()?;
        if waiting.is_some_and(|waiting| waiting.gas_price * 11 / 10 > wanted.gas_price && waiting != wanted) {
            return Err(ChainError::Node("replacement transaction underpriced".to_owned()));
        }
        if wanted.nonce < nonce(&mut self.database, wanted.caller)? {
            return Err(ChainError::Node("nonce too low".to_owned()));
        }
        self.pool.insert(place, transaction.raw.clone());
        self.mine();
        Ok(())
    }

    /// Puts into blocks what waits, has the next number of its account and offers enough.
    fn mine(&mut self) {
        while let Some((place, hash, transaction)) = self.next() {
            self.pool.remove(&place);
            // One that no block can have is as good as lost.
            let _ = self.apply(hash, transaction);
        }
    }

    fn next(&mut self) -> Option<((Address, u64), B256, TxEnv)> {
        let waiting: Vec<((Address, u64), Vec<u8>)> = self.pool.iter().map(|(place, raw)| (*place, raw.clone())).collect();
        waiting.into_iter().find_map(|(place, raw)| {
            let transaction = decode(&raw, self.chain_id).ok()?;
            let is_next = nonce(&mut self.database, place.0) == Ok(place.1);
            (is_next && transaction.gas_price >= self.asked).then(|| (place, keccak256(&raw), transaction))
        })
    }

    fn apply(&mut self, hash: B256, transaction: TxEnv) -> Result<(), ChainError> {
        self.head = Head { number: self.head.number + 1, time: self.head.time + BLOCK_TIME };
        let result = self.execute(transaction, true)?;
        let (success, gas) = (result.is_success(), result.tx_gas_used());
        if let ExecutionResult::Success { output: Output::Create(_, Some(address)), .. } = &result {
            self.created.insert(hash, *address);
        }
        let logs: Vec<Log> = result.into_logs().into_iter().map(Log::from).collect();
        let block = self.head.number;
        self.logs.extend(logs.iter().map(|log| (block, log.clone())));
        self.receipts.insert(hash, Receipt { block, success, logs, gas });
        self.remember();
        Ok(())
    }
}

impl From<revm::primitives::Log> for Log {
    fn from(log: revm::primitives::Log) -> Self {
        Self { address: log.address, topics: log.data.topics().to_vec(), data: log.data.data.clone() }
    }
}

fn run(
    database: &mut CacheDB<EmptyDB>,
    chain_id: u64,
    head: Head,
    transaction: TxEnv,
    keep: bool,
) -> Result<ExecutionResult, ChainError> {
    let transaction = TxEnv { gas_price: 0, ..transaction };
    let context = Context::mainnet().with_db(database);
    let mut machine = context
        .modify_cfg_chained(|cfg| cfg.chain_id = chain_id)
        .modify_block_chained(|block| {
            block.number = U256::from(head.number);
            block.timestamp = U256::from(head.time);
        })
        .build_mainnet();
    let node = |error: &dyn std::fmt::Display| ChainError::Node(error.to_string());
    if keep {
        machine.transact_commit(transaction).map_err(|error| node(&error))
    } else {
        machine.transact(transaction).map(|done| done.result).map_err(|error| node(&error))
    }
}

fn accepted(result: ExecutionResult) -> Result<Bytes, ChainError> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(ChainError::Reverted(output.to_string())),
        ExecutionResult::Halt { reason, .. } => Err(ChainError::Reverted(format!("{reason:?}"))),
    }
}

/// `from (20) | number (8) | gas (8) | has a receiver (1) | receiver (20) | value (32) | offer (16) | data`.
const FIXED: usize = 105;

fn encode(from: Address, nonce: u64, gas: u64, offer: u128, request: &Request) -> Vec<u8> {
    let mut raw = from.to_vec();
    raw.extend_from_slice(&nonce.to_be_bytes());
    raw.extend_from_slice(&gas.to_be_bytes());
    raw.push(u8::from(request.to.is_some()));
    raw.extend_from_slice(request.to.unwrap_or_default().as_slice());
    raw.extend_from_slice(&request.value.to_be_bytes::<32>());
    raw.extend_from_slice(&offer.to_be_bytes());
    raw.extend_from_slice(&request.data);
    raw
}

fn decode(raw: &[u8], chain_id: u64) -> Result<TxEnv, ChainError> {
    let (fixed, data) = raw.split_first_chunk::<FIXED>().ok_or(ChainError::Answer("not a transaction of this chain"))?;
    let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|byte| fixed[at + byte]));
    let kind = if fixed[36] == 1 { TxKind::Call(Address::from_slice(&fixed[37..57])) } else { TxKind::Create };
    Ok(TxEnv {
        caller: Address::from_slice(&fixed[..20]),
        nonce: number(20),
        kind,
        value: U256::from_be_slice(&fixed[57..89]),
        data: data.to_vec().into(),
        gas_limit: number(28),
        // What it offers; it is not charged.
        gas_price: u128::from_be_bytes(std::array::from_fn(|byte| fixed[89 + byte])),
        chain_id: Some(chain_id),
        ..TxEnv::default()
    })
}

fn prepared(raw: Vec<u8>, bid: Bid, gas: u64) -> Prepared {
    Prepared { hash: keccak256(&raw), raw, cost: bid.cost(gas) }
}

#[async_trait]
impl Chain for SimulatedChain {
    fn account(&self) -> Address {
        self.account
    }

    fn lane(&self) -> &Lane {
        &self.lane
    }

    async fn chain_id(&self) -> Result<u64, ChainError> {
        Ok(self.simulation.state().chain_id)
    }

    async fn head(&self) -> Result<Head, ChainError> {
        while self.simulation.state().silent {
            tokio::time::sleep(SILENCE).await;
        }
        Ok(self.simulation.state().head)
    }

    async fn call(&self, to: Address, data: Bytes, block: u64) -> Result<Bytes, ChainError> {
        let (mut database, chain_id, head) = {
            let state = self.simulation.state();
            // A block in which only time passed has the state of the one before it.
            let (_, database) = state.history.range(..=block).next_back().ok_or(ChainError::Answer("too old a block"))?;
            (database.clone(), state.chain_id, state.head)
        };
        let nonce = nonce(&mut database, self.account)?;
        let request = Request { to: Some(to), value: U256::ZERO, data, spare_gas: 0, urgency: Urgency::Calm };
        let transaction = decode(&encode(self.account, nonce, GAS, 0, &request), chain_id)?;
        accepted(run(&mut database, chain_id, head, transaction, false)?)
    }

    async fn logs(&self, address: Address, topics: &[Option<B256>], from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        let fits = |log: &Log| {
            let topic = |(at, wanted): (usize, &Option<B256>)| wanted.is_none_or(|wanted| log.topics.get(at) == Some(&wanted));
            log.address == address && topics.iter().enumerate().all(topic)
        };
        if to.saturating_sub(from) >= LOGS_BLOCKS {
            return Err(ChainError::Node(format!("more than {LOGS_BLOCKS} blocks")));
        }
        let state = self.simulation.state();
        Ok(state
            .logs
            .iter()
            .filter(|(block, log)| (from..=to).contains(block) && fits(log))
            .map(|(_, log)| log.clone())
            .collect())
    }

    async fn prepare(&self, request: Request) -> Result<Prepared, ChainError> {
        let mut state = self.simulation.state();
        let mined = nonce(&mut state.database, self.account)?;
        let waiting = state.pool.range((self.account, mined)..=(self.account, u64::MAX)).count() as u64;
        let bid = self.limits.first(Bid { most: state.said, tip: 0 }, request.urgency)?;
        let estimate = state.estimate(&encode(self.account, mined, GAS, 0, &request))?;
        let gas = self.limits.gas(request.gas_limit(estimate))?;
        Ok(prepared(encode(self.account, self.lane.free(mined + waiting), gas, bid.most, &request), bid, gas))
    }

    async fn raise(&self, transaction: &Prepared, urgency: Urgency) -> Result<Prepared, ChainError> {
        let state = self.simulation.state();
        let old = decode(&transaction.raw, state.chain_id)?;
        let offered = Bid { most: old.gas_price, tip: 0 };
        let bid = self.limits.raised(offered, Bid { most: state.said, tip: 0 }, urgency)?;
        let mut raw = transaction.raw.clone();
        raw[FIXED - 16..FIXED].copy_from_slice(&bid.most.to_be_bytes());
        Ok(prepared(raw, bid, old.gas_limit))
    }

    fn number(&self, transaction: &Prepared) -> Result<u64, ChainError> {
        Ok(decode(&transaction.raw, self.simulation.state().chain_id)?.nonce)
    }

    async fn next_number(&self, block: u64) -> Result<u64, ChainError> {
        let state = self.simulation.state();
        let Some((_, database)) = state.history.range(..=block).next_back() else { return Ok(0) };
        nonce(&mut database.clone(), self.account)
    }

    async fn broadcast(&self, transaction: &Prepared) -> Result<(), ChainError> {
        let mut state = self.simulation.state();
        if state.lost || state.receipts.contains_key(&transaction.hash) {
            return Ok(());
        }
        state.take(transaction)
    }

    async fn receipt(&self, hash: &B256) -> Result<Option<Receipt>, ChainError> {
        Ok(self.simulation.state().receipts.get(hash).cloned())
    }

    async fn balance(&self, account: Address) -> Result<U256, ChainError> {
        let mut state = self.simulation.state();
        Ok(state.database.basic(account).ok().flatten().map_or(U256::ZERO, |info| info.balance))
    }
}

fn nonce(database: &mut CacheDB<EmptyDB>, account: Address) -> Result<u64, ChainError> {
    let info = database.basic(account).map_err(|_| ChainError::Answer("account"))?;
    Ok(info.map_or(0, |info| info.nonce))
}
