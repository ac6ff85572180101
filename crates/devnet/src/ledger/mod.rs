//! The chain with blocks: each tick seals one basechain and one masterchain block with real hashes, keeps them, and proves what is in
//! them (chain.md 5). Synchronous and deterministic, like the chain below it.
//!
//! Each masterchain block names the shard block with the same seqno.

mod diff;
mod links;
mod proof;
mod query;
mod seal;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use tycho_types::boc::Boc;
use tycho_types::dict::AugDict;
use tycho_types::models::*;
use tycho_types::prelude::*;

use crate::chain::{self, Chain, Outcome, Totals};
use seal::{PreviousBlocks, Tick};

pub use links::{BlockSignature, Link};
pub use query::{AccountProof, ListedTransaction, MethodResult};

/// States kept, newest first out of the last blocks; older blocks are still served, without their states.
const KEPT_STATES: usize = 4096;

/// Why the ledger did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The chain below.
    #[error(transparent)]
    Chain(#[from] chain::Error),
    /// A cell is not what it should be.
    #[error("cell: {0}")]
    Cell(#[from] tycho_types::error::Error),
    /// A stored block cannot be read.
    #[error("stored block: {0}")]
    Boc(#[from] tycho_types::boc::de::Error),
    /// A block would create or lose value.
    #[error("the value flow of a block does not balance")]
    ValueFlow,
    /// Only the masterchain has it.
    #[error("not a masterchain block")]
    NotMasterchain,
    /// No such block.
    #[error("no such block")]
    NoBlock,
    /// The block is known, its state is not kept any more.
    #[error("the state of this block is not kept any more")]
    NoState,
    /// No link leads there.
    #[error("both blocks must be of the masterchain, and different")]
    NoLink,
    /// No such transaction.
    #[error("no such transaction")]
    NoTransaction,
}

/// A sealed block with the state behind it.
#[derive(Debug, Clone)]
struct Head {
    id: BlockId,
    boc: Arc<[u8]>,
    state: Cell,
    start_lt: u64,
    end_lt: u64,
    gen_utime: u32,
}

impl Head {
    fn block_ref(&self) -> BlockRef {
        BlockRef { end_lt: self.end_lt, seqno: self.id.seqno, root_hash: self.id.root_hash, file_hash: self.id.file_hash }
    }
    fn sealed(&self) -> SealedBlock {
        SealedBlock {
            id: self.id,
            boc: self.boc.clone(),
            start_lt: self.start_lt,
            end_lt: self.end_lt,
            gen_utime: self.gen_utime,
        }
    }
}

/// A sealed block.
#[derive(Debug, Clone)]
pub struct SealedBlock {
    /// Its id.
    pub id: BlockId,
    /// Its bytes.
    pub boc: Arc<[u8]>,
    /// Logical time at its start.
    pub start_lt: u64,
    /// Logical time at its end.
    pub end_lt: u64,
    /// Its unix time.
    pub gen_utime: u32,
}

impl SealedBlock {
    fn cell(&self) -> Result<Cell, Error> {
        Ok(Boc::decode(&self.boc)?)
    }
}

/// What a tick is made of besides what is left over from the one before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Input {
    /// Unix time.
    pub now: u32,
    /// Coins from the faucet: address and nano.
    pub mints: Vec<(StdAddr, u128)>,
    /// External messages in the order of arrival.
    pub externals: Vec<Cell>,
}

/// The states behind a tick's blocks.
struct States {
    shard: Cell,
    masterchain: Cell,
}

/// A transaction of an account, for listing.
#[derive(Debug, Clone)]
struct StoredTransaction {
    lt: u64,
    hash: HashBytes,
    /// The tick that it is in.
    seqno: u32,
    cell: Cell,
}

/// Accounts, blocks and states.
pub struct Ledger {
    chain: Chain,
    accounts: ShardAccounts,
    /// All sealed blocks: index = seqno, 0 = zero states.
    blocks: Vec<[SealedBlock; 2]>,
    /// Seqno and chain (0 = shard, 1 = masterchain) by root hash.
    by_hash: HashMap<HashBytes, (u32, usize)>,
    /// The newest states, the last one of the newest blocks.
    states: VecDeque<States>,
    transactions: HashMap<HashBytes, Vec<StoredTransaction>>,
    shard: Head,
    masterchain: Head,
    previous_blocks: PreviousBlocks,
    key_block: Option<BlockRef>,
    validators: ValidatorInfo,
    validator_fees: u128,
    carried: u128,
}

impl Ledger {
    /// A ledger with zero states of the given time and no accounts.
    pub fn new(now: u32) -> Result<Self, Error> {
        let chain = Chain::new(now)?;
        let validators = chain::validator_info();
        let extra = McStateExtra {
            shards: ShardHashes::default(),
            config: chain.config().clone(),
            validator_info: validators,
            prev_blocks: AugDict::new(),
            after_key_block: true,
            last_key_block: None,
            block_create_stats: None,
            global_balance: CurrencyCollection::ZERO,
        };
        let shard = seal::zero_state(ShardIdent::BASECHAIN, now, None)?;
        let masterchain = seal::zero_state(ShardIdent::MASTERCHAIN, now, Some(&extra))?;
        let mut ledger = Self {
            chain,
            accounts: ShardAccounts::new(),
            blocks: Vec::new(),
            by_hash: HashMap::new(),
            states: VecDeque::new(),
            transactions: HashMap::new(),
            shard: shard.clone(),
            masterchain: masterchain.clone(),
            previous_blocks: AugDict::new(),
            key_block: None,
            validators,
            validator_fees: 0,
            carried: 0,
        };
        ledger.keep(shard, masterchain);
        Ok(ledger)
    }

    /// The accounts as they are after the last tick.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }
    /// The newest masterchain block; the zero state before the first tick.
    pub fn last(&self) -> &BlockId {
        &self.masterchain.id
    }
    /// The newest shard block.
    pub fn last_shard(&self) -> &BlockId {
        &self.shard.id
    }
    /// Hash of the newest masterchain state.
    pub fn last_state_hash(&self) -> &HashBytes {
        self.masterchain.state.repr_hash()
    }
    /// The masterchain's zero state.
    pub fn zero_state(&self) -> &BlockId {
        &self.blocks[0][1].id
    }
    /// The newest key block; the zero state before the first one.
    pub fn key_block(&self) -> &BlockId {
        let seqno = self.key_block.as_ref().map_or(0, |key| key.seqno);
        &self.blocks[seqno as usize][1].id
    }
    /// Time of the newest block.
    pub fn now(&self) -> u32 {
        self.chain.now()
    }
    /// Where all the money is. The balances are those of the state's own sum, which is kept apart from the chain's.
    pub fn totals(&self) -> Totals {
        Totals { balances: self.accounts.root_extra().balance.tokens.into_inner(), ..self.chain.totals() }
    }

    /// Executes the input and all that follows from it, and seals a shard block and a masterchain block.
    ///
    /// Messages that cannot be queued are dropped, so that no input can stop the chain.
    pub fn tick(&mut self, input: Input) -> Result<Outcome, Error> {
        self.chain.set_now(input.now)?;
        for (address, nano) in input.mints {
            self.chain.mint(&address, nano)?;
        }
        for cell in input.externals {
            if let Err(error) = self.chain.send_external(cell) {
                tracing::debug!(%error, "external message dropped");
            }
        }
        let outcome = self.chain.run()?;
        self.seal(&outcome)?;
        Ok(outcome)
    }

    fn seal(&mut self, outcome: &Outcome) -> Result<(), Error> {
        let balance_before = self.accounts.root_extra().balance.clone();
        let changed: BTreeSet<&StdAddr> = outcome.transactions.iter().map(|t| &t.address).collect();
        let changed = changed.into_iter().map(|a| (&a.address, self.chain.shard_account(a)));
        seal::update_accounts(&mut self.accounts, changed)?;
        let carried = self.chain.carried()?;
        let tick = Tick {
            seqno: self.masterchain.id.seqno + 1,
            now: self.chain.now(),
            outcome,
            shard_before: &self.shard,
            masterchain_before: &self.masterchain,
            last_key_block: self.key_block.as_ref(),
            validators: &self.validators,
        };
        let shard = seal::shard_block(&tick, &self.accounts, balance_before, (self.carried, carried))?;
        let previous = &self.masterchain;
        let is_key_block = self.key_block.as_ref().is_some_and(|k| k.seqno == previous.id.seqno);
        self.previous_blocks.set(
            previous.id.seqno,
            KeyMaxLt { has_key_block: is_key_block, max_end_lt: previous.end_lt },
            KeyBlockRef { is_key_block, block_ref: previous.block_ref() },
        )?;
        self.validator_fees += outcome.transactions.iter().map(|t| t.collected).sum::<u128>();
        let totals = self.chain.totals();
        let supply = totals.minted - totals.burnt;
        let masterchain =
            seal::masterchain_block(&tick, &shard, self.chain.config(), &self.previous_blocks, self.validator_fees, supply)?;
        if self.key_block.is_none() {
            self.key_block = Some(masterchain.block_ref());
        }
        self.carried = carried;
        for record in &outcome.transactions {
            let stored =
                StoredTransaction { lt: record.lt, hash: record.hash, seqno: masterchain.id.seqno, cell: record.cell.clone() };
            self.transactions.entry(record.address.address).or_default().push(stored);
        }
        self.keep(shard, masterchain);
        Ok(())
    }

    fn keep(&mut self, shard: Head, masterchain: Head) {
        let seqno = masterchain.id.seqno;
        self.by_hash.insert(shard.id.root_hash, (seqno, 0));
        self.by_hash.insert(masterchain.id.root_hash, (seqno, 1));
        self.blocks.push([shard.sealed(), masterchain.sealed()]);
        self.states.push_back(States { shard: shard.state.clone(), masterchain: masterchain.state.clone() });
        if self.states.len() > KEPT_STATES {
            self.states.pop_front();
        }
        self.shard = shard;
        self.masterchain = masterchain;
    }
}
