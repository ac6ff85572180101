//! What lite servers are asked about blocks and states.

use tycho_types::models::{Account, BlockId, OptionalAccount, ShardIdent, ShardStateUnsplit, StdAddr};
use tycho_types::prelude::*;
use tycho_vm::RcStackValue;

use super::{Error, Ledger, SealedBlock, States, proof};
use crate::chain::{self, GetResult, run_get_method};

/// An account with everything that proves it (network 6.4).
#[derive(Debug, Clone)]
pub struct AccountProof {
    /// The shard block.
    pub shard_block: BlockId,
    /// Proofs of the masterchain block and of its state.
    pub shard_proof: [Cell; 2],
    /// Proofs of the shard block and of its state.
    pub proof: [Cell; 2],
    /// The account, when it exists.
    pub account: Option<Cell>,
}

/// Exit code of a get-method of an account that is not active.
const NOT_ACTIVE: i32 = -256;

/// A get-method's result with the account's proof.
#[derive(Debug)]
pub struct MethodResult {
    /// The account.
    pub account: AccountProof,
    /// A proof of all of the account's cells; none for an account that does not exist.
    pub state_proof: Option<Cell>,
    /// What the get-method returned.
    pub result: GetResult,
}

/// A transaction in a list.
#[derive(Debug, Clone)]
pub struct ListedTransaction {
    /// The shard block that it is in.
    pub block: BlockId,
    /// The account's address within the workchain.
    pub account: HashBytes,
    /// Logical time.
    pub lt: u64,
    /// Hash.
    pub hash: HashBytes,
    /// The transaction.
    pub cell: Cell,
}

impl Ledger {
    /// A block by its id. Zero states are not blocks.
    pub fn block(&self, id: &BlockId) -> Result<&SealedBlock, Error> {
        let (seqno, chain) = self.by_hash.get(&id.root_hash).ok_or(Error::NoBlock)?;
        let block = &self.blocks[*seqno as usize][*chain];
        match block.id == *id && id.seqno > 0 {
            true => Ok(block),
            false => Err(Error::NoBlock),
        }
    }

    /// A block by shard and seqno.
    pub fn block_by_seqno(&self, shard: ShardIdent, seqno: u32) -> Result<&SealedBlock, Error> {
        let blocks = self.blocks.get(seqno as usize).filter(|_| seqno > 0).ok_or(Error::NoBlock)?;
        Ok(&blocks[chain_index(shard)?])
    }

    /// The block that holds a logical time.
    pub fn block_by_lt(&self, shard: ShardIdent, lt: u64) -> Result<&SealedBlock, Error> {
        let chain = chain_index(shard)?;
        let at = self.blocks.partition_point(|b| b[chain].end_lt < lt);
        self.blocks.get(at).map(|b| &b[chain]).filter(|b| b.id.seqno > 0).ok_or(Error::NoBlock)
    }

    /// The newest block that is not younger than a unix time.
    pub fn block_by_time(&self, shard: ShardIdent, utime: u32) -> Result<&SealedBlock, Error> {
        let chain = chain_index(shard)?;
        let after = self.blocks.partition_point(|b| b[chain].gen_utime <= utime);
        after.checked_sub(1).map(|at| &self.blocks[at][chain]).filter(|b| b.id.seqno > 0).ok_or(Error::NoBlock)
    }

    /// A proof of a block down to its header.
    pub fn header_proof(&self, id: &BlockId) -> Result<Cell, Error> {
        proof::header(&self.block(id)?.cell()?)
    }

    /// The shard block that a masterchain block names, a proof of the masterchain block down to its shard hashes, and these.
    pub fn shards(&self, masterchain: &BlockId) -> Result<(Cell, Cell), Error> {
        proof::block_shards(&self.masterchain_block(masterchain)?.cell()?)
    }

    /// The shard block of a masterchain block with the proofs of the masterchain block and of its state.
    pub fn shard_proof(&self, masterchain: &BlockId) -> Result<(BlockId, [Cell; 2]), Error> {
        let block = self.masterchain_block(masterchain)?;
        let proofs = [proof::header(&block.cell()?)?, proof::state_shards(&self.states(masterchain)?.masterchain)?];
        Ok((self.blocks[masterchain.seqno as usize][0].id, proofs))
    }

    /// An account at a masterchain block.
    pub fn account(&self, masterchain: &BlockId, address: &HashBytes) -> Result<AccountProof, Error> {
        let (shard_block, shard_proof) = self.shard_proof(masterchain)?;
        let state = &self.states(masterchain)?.shard;
        let entry = state.parse::<ShardStateUnsplit>()?.load_accounts()?.get(address)?;
        Ok(AccountProof {
            shard_block,
            shard_proof,
            proof: [proof::header(&self.block(&shard_block)?.cell()?)?, proof::account(state, address)?],
            account: entry.map(|(_, entry)| entry.account.into_inner()),
        })
    }

    /// An account's state without its code and data, as a proof.
    pub fn pruned(account: &Cell) -> Result<Cell, Error> {
        proof::pruned(account)
    }

    /// Runs a get-method at a masterchain block. An account without code has the exit code that lite servers give it.
    pub fn run_method(
        &self,
        masterchain: &BlockId,
        address: &StdAddr,
        method_id: u32,
        arguments: Vec<RcStackValue>,
    ) -> Result<MethodResult, Error> {
        let account = self.account(masterchain, &address.address)?;
        let parsed: Option<Account> = match &account.account {
            Some(cell) => cell.parse::<OptionalAccount>()?.0,
            None => None,
        };
        let now = self.block(masterchain)?.gen_utime;
        let run = |account| run_get_method(self.chain.config(), now, account, method_id, arguments);
        let result = match parsed.as_ref().map_or(Err(chain::Error::NotActive), run) {
            Err(chain::Error::NotActive) => GetResult { exit_code: NOT_ACTIVE, gas_used: 0, stack: Vec::new() },
            ran => ran?,
        };
        let state_proof = account.account.as_ref().map(proof::whole).transpose()?;
        Ok(MethodResult { state_proof, account, result })
    }

    /// Transactions of an account backwards from the one with this logical time and hash, at most `count`.
    pub fn account_transactions(
        &self,
        account: &HashBytes,
        lt: u64,
        hash: &HashBytes,
        count: usize,
    ) -> Result<Vec<ListedTransaction>, Error> {
        let list = self.transactions.get(account).map_or(&[][..], |list| &list[..]);
        let at = list.binary_search_by_key(&lt, |t| t.lt).map_err(|_| Error::NoTransaction)?;
        if list[at].hash != *hash {
            return Err(Error::NoTransaction);
        }
        Ok(list[..=at].iter().rev().take(count).map(|t| self.listed(account, t)).collect())
    }

    /// The transactions of a shard block by account and logical time. The masterchain has none.
    pub fn block_transactions(&self, id: &BlockId) -> Result<Vec<ListedTransaction>, Error> {
        let block = self.block(id)?.cell()?.parse::<tycho_types::models::Block>()?;
        let mut list = Vec::new();
        for entry in block.load_extra()?.account_blocks.load()?.iter() {
            let (account, _, account_block) = entry?;
            for entry in account_block.transactions.iter() {
                let (lt, _, transaction) = entry?;
                let cell = transaction.into_inner();
                list.push(ListedTransaction { block: *id, account, lt, hash: *cell.repr_hash(), cell });
            }
        }
        Ok(list)
    }

    /// A proof of a block down to its transactions.
    pub fn block_transactions_proof(&self, id: &BlockId) -> Result<Cell, Error> {
        proof::transactions(&self.block(id)?.cell()?)
    }

    /// A proof of one transaction of a block, or of its absence, and the transaction.
    pub fn transaction(&self, id: &BlockId, account: &HashBytes, lt: u64) -> Result<(Cell, Option<Cell>), Error> {
        proof::transaction(&self.block(id)?.cell()?, account, lt)
    }

    /// Proofs of a masterchain block and of its state down to the configuration: the parameters named, or all.
    pub fn config_proof(&self, masterchain: &BlockId, params: Option<&[u32]>) -> Result<[Cell; 2], Error> {
        let block = self.masterchain_block(masterchain)?;
        Ok([proof::header(&block.cell()?)?, proof::config(&self.states(masterchain)?.masterchain, params)?])
    }

    fn listed(&self, account: &HashBytes, t: &super::StoredTransaction) -> ListedTransaction {
        let block = self.blocks[t.seqno as usize][0].id;
        ListedTransaction { block, account: *account, lt: t.lt, hash: t.hash, cell: t.cell.clone() }
    }

    pub(super) fn masterchain_block(&self, id: &BlockId) -> Result<&SealedBlock, Error> {
        match id.shard.is_masterchain() {
            true => self.block(id),
            false => Err(Error::NotMasterchain),
        }
    }

    pub(super) fn states(&self, masterchain: &BlockId) -> Result<&States, Error> {
        let oldest = self.blocks.len() - self.states.len();
        let at = (masterchain.seqno as usize).checked_sub(oldest).ok_or(Error::NoState)?;
        self.states.get(at).ok_or(Error::NoState)
    }
}

/// Where a chain's blocks are: 0 = the only shard of the basechain, 1 = the masterchain. Any prefix inside the shard finds it.
fn chain_index(shard: ShardIdent) -> Result<usize, Error> {
    match shard.workchain() {
        0 => Ok(0),
        -1 => Ok(1),
        _ => Err(Error::NoBlock),
    }
}
