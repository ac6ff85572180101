//! Checks of what servers answer, by hashes and Merkle proofs ("fast" policy, network 6.4). Pure functions.

use std::collections::HashMap;

use adnl::cipher::sha256;
use tycho_types::boc::de::{BocHeader, Options};
use tycho_types::models::{
    Account as AccountModel, Block as BlockModel, BlockId, BlockIdShort, BlockInfo, BlockRef, BlockchainConfig, OptionalAccount,
    PrevBlockRef, ShardHashes, ShardIdent, StdAddr, Transaction,
};
use tycho_types::prelude::*;

use crate::partial::{AccountEntry, PartialBlock, PartialState, proven};
use crate::{
    AccountState, AllShardsInfo, BlockData, BlockHeader, ConfigInfo, Error, LibraryResult, LookupBlock, LookupBy,
    RunMethodResult, ShardInfo, TransactionList,
};

/// Shards of a masterchain block at most. A tree of shared cells could name exponentially many.
const MAX_SHARDS: usize = 1024;

/// A transaction of a known account, its hash checked.
#[derive(Debug, Clone)]
pub struct AccountTransaction {
    /// The account.
    pub address: StdAddr,
    /// Its hash.
    pub hash: HashBytes,
    /// Parsed.
    pub transaction: Transaction,
    /// As a cell.
    pub cell: Cell,
}

/// A block whose bytes have the hashes of its id.
#[derive(Debug, Clone)]
pub struct Block {
    /// Its id.
    pub id: BlockId,
    /// The blocks before it: one, or two after a merge.
    pub previous: Vec<BlockId>,
    /// Its header.
    pub info: BlockInfo,
    /// All its transactions, by logical time.
    pub transactions: Vec<AccountTransaction>,
    /// The whole block.
    pub cell: Cell,
}

/// An account at a masterchain block.
#[derive(Debug, Clone)]
pub struct Account {
    /// The shard block whose state it is.
    pub shard_block: BlockId,
    /// The account; none when it does not exist.
    pub account: Option<AccountModel>,
    /// Logical time of its last transaction, 0 when there is none.
    pub last_lt: u64,
    /// Hash of its last transaction.
    pub last_hash: HashBytes,
}

/// Checks a block's bytes against its id and reads its transactions.
pub fn check_block(id: &BlockId, answer: &BlockData) -> Result<Block, Error> {
    if answer.id != *id {
        return Err(Error::Unproven("another block"));
    }
    if sha256(&answer.data) != id.file_hash.0 {
        return Err(Error::Unproven("file hash of the block"));
    }
    let cell = Boc::decode(&answer.data)?;
    if *cell.repr_hash() != id.root_hash {
        return Err(Error::Unproven("root hash of the block"));
    }
    let block = cell.parse::<BlockModel>()?;
    let info = check_info(block.load_info()?, &id.as_short_id())?;
    let mut transactions = Vec::new();
    for entry in block.load_extra()?.account_blocks.load()?.iter() {
        let (account, _, account_block) = entry?;
        let workchain = i8::try_from(id.shard.workchain()).map_err(|_| Error::Unproven("workchain"))?;
        let address = StdAddr::new(workchain, account);
        if account_block.account != account {
            return Err(Error::Unproven("account of an account block"));
        }
        for entry in account_block.transactions.iter() {
            let (lt, _, lazy) = entry?;
            let transaction = lazy.load()?;
            if transaction.account != account || transaction.lt != lt {
                return Err(Error::Unproven("place of a transaction"));
            }
            let cell = lazy.into_inner();
            transactions.push(AccountTransaction { address: address.clone(), hash: *cell.repr_hash(), transaction, cell });
        }
    }
    transactions.sort_by_key(|t| (t.transaction.lt, t.address.address));
    Ok(Block { id: *id, previous: previous_blocks(&info)?, info, transactions, cell })
}

/// Checks that a looked-up block is the one asked for: the proof's root is the id's, and shard and seqno are in it.
pub fn check_header(asked: &BlockIdShort, answer: &BlockHeader) -> Result<BlockInfo, Error> {
    let block = PartialBlock::new(Boc::decode(&answer.header_proof)?, &answer.id.root_hash)?;
    if answer.id.as_short_id() != *asked {
        return Err(Error::Unproven("another block"));
    }
    check_info(block.info()?, asked)
}

/// Checks that a looked-up block is one that was asked for. That no earlier block is as good a unix time's is the server's word.
pub fn check_lookup(asked: &LookupBlock, answer: &BlockHeader) -> Result<BlockInfo, Error> {
    let id = match asked.by {
        LookupBy::Seqno => asked.id,
        LookupBy::Lt(_) | LookupBy::Utime(_) => answer.id.as_short_id(),
    };
    let info = check_header(&id, answer)?;
    let fits = match asked.by {
        LookupBy::Seqno => true,
        LookupBy::Lt(lt) => info.start_lt <= lt && lt <= info.end_lt,
        LookupBy::Utime(utime) => info.gen_utime <= utime,
    };
    match fits && info.shard.workchain() == asked.id.shard.workchain() && info.shard.intersects(&asked.id.shard) {
        true => Ok(info),
        false => Err(Error::Unproven("the block is not of that shard and time")),
    }
}

/// The block of one shard that a masterchain block names: of the shard with this prefix if it must be `exact`, else of any that shares
/// accounts with it.
pub fn check_shard(id: &BlockId, shard: ShardIdent, exact: bool, answer: &ShardInfo) -> Result<BlockId, Error> {
    let named = answer.shardblk;
    let same_chain = named.shard.workchain() == shard.workchain();
    if answer.id != *id || !same_chain || !named.shard.intersects(&shard) || (exact && named.shard != shard) {
        return Err(Error::Unproven("another block"));
    }
    check_shard_of(id, &named, &answer.shard_proof)?;
    Ok(named)
}

/// The shard blocks that a masterchain block names.
pub fn check_shards(id: &BlockId, answer: &AllShardsInfo) -> Result<Vec<BlockId>, Error> {
    if answer.id != *id {
        return Err(Error::Unproven("another block"));
    }
    let mut roots = decode_roots(&answer.proof, 1, 2)?;
    let block = PartialBlock::new(roots.remove(0), &id.root_hash)?;
    // new form: one proof down to the shard hashes in the block; old form: a second one, of the state
    let proven = match roots.pop() {
        None => block.shards()?,
        Some(state) => PartialState::new(state, &block)?.shards()?,
    };
    let data = Boc::decode(&answer.data)?;
    let shards = data.parse::<ShardHashes>()?;
    let hash = |shards: &ShardHashes| shards.as_dict().root().as_ref().map(|root| *root.repr_hash());
    if hash(&shards) != hash(&proven) {
        return Err(Error::Unproven("shard hashes"));
    }
    list_shards(&shards)
}

fn list_shards(shards: &ShardHashes) -> Result<Vec<BlockId>, Error> {
    let list: Vec<BlockId> = shards.latest_blocks().take(MAX_SHARDS + 1).collect::<Result<_, _>>()?;
    match list.len() <= MAX_SHARDS {
        true => Ok(list),
        false => Err(Error::Unproven("too many shards")),
    }
}

/// Checks an account down from the masterchain block that was asked for.
pub fn check_account(id: &BlockId, address: &StdAddr, answer: &AccountState) -> Result<Account, Error> {
    account(id, address, answer, |cell, hash| match cell.repr_hash() == hash {
        true => Ok(cell),
        false => Err(Error::Unproven("hash of the account")),
    })
}

/// As [`check_account`], of an account whose code, data and libraries are pruned: of these there are the hashes.
pub fn check_pruned_account(id: &BlockId, address: &StdAddr, answer: &AccountState) -> Result<Account, Error> {
    account(id, address, answer, proven)
}

/// `read` makes the account's cell of the answer's and the hash that the state has.
fn account(
    id: &BlockId,
    address: &StdAddr,
    answer: &AccountState,
    read: impl FnOnce(Cell, &HashBytes) -> Result<Cell, Error>,
) -> Result<Account, Error> {
    if answer.id != *id {
        return Err(Error::Unproven("another block"));
    }
    let shard_block = answer.shardblk;
    let Some(entry) = account_entry(id, address, &shard_block, &answer.shard_proof, &answer.proof)? else {
        return match answer.state.is_empty() {
            true => Ok(Account { shard_block, account: None, last_lt: 0, last_hash: HashBytes::ZERO }),
            false => Err(Error::Unproven("the account is not in the state")),
        };
    };
    let account = read(Boc::decode(&answer.state)?, &entry.account_hash)?.parse::<OptionalAccount>()?.0;
    Ok(Account { shard_block, account, last_lt: entry.last_lt, last_hash: entry.last_hash })
}

/// An account's entry in the state behind a shard block that the masterchain block names; none when the state has none.
fn account_entry(
    id: &BlockId,
    address: &StdAddr,
    shard_block: &BlockId,
    shard_proof: &[u8],
    proof: &[u8],
) -> Result<Option<AccountEntry>, Error> {
    if !holds(shard_block, address) {
        return Err(Error::Unproven("the shard does not hold the account"));
    }
    if shard_block.shard.is_masterchain() {
        if shard_block != id {
            return Err(Error::Unproven("another masterchain block"));
        }
    } else {
        check_shard_of(id, shard_block, shard_proof)?;
    }
    let [block, state] = two_roots(proof)?;
    let block = PartialBlock::new(block, &shard_block.root_hash)?;
    PartialState::new(state, &block)?.account(&address.address)
}

/// Exit code and stack of a get-method. Proven is on which state it ran, not what it returned.
pub fn check_run(id: &BlockId, address: &StdAddr, answer: &RunMethodResult) -> Result<(i32, Option<Vec<u8>>), Error> {
    /// Exit code of an account without code; then there may be no proof of its state.
    const NOT_ACTIVE: i32 = -256;
    let (Some(shard_proof), Some(proof), Some(state)) = (&answer.shard_proof, &answer.proof, &answer.state_proof) else {
        return Err(Error::Unproven("a proof is missing"));
    };
    if answer.id != *id {
        return Err(Error::Unproven("another block"));
    }
    match account_entry(id, address, &answer.shardblk, shard_proof, proof)? {
        Some(entry) if !state.is_empty() => drop(proven(Boc::decode(state)?, &entry.account_hash)?),
        _ if answer.exit_code == NOT_ACTIVE && state.is_empty() => {}
        _ => return Err(Error::Unproven("state of the account")),
    }
    Ok((answer.exit_code, answer.result.clone()))
}

/// Library cells by their hashes. That the others do not exist is the server's word.
pub fn check_libraries(asked: &[HashBytes], answer: &LibraryResult) -> Result<HashMap<HashBytes, Cell>, Error> {
    let library = |entry: &crate::LibraryEntry| {
        let cell = Boc::decode(&entry.data)?;
        match *cell.repr_hash() == entry.hash && asked.contains(&entry.hash) {
            true => Ok((entry.hash, cell)),
            false => Err(Error::Unproven("hash of a library")),
        }
    };
    answer.result.iter().map(library).collect()
}

/// Checks that transactions form the account's chain backwards from the one asked for.
pub fn check_transactions(
    address: &StdAddr,
    (mut lt, mut hash): (u64, HashBytes),
    count: u32,
    answer: &TransactionList,
) -> Result<Vec<AccountTransaction>, Error> {
    let roots = decode_roots(&answer.transactions, 1, count as usize)?;
    let mut transactions = Vec::with_capacity(roots.len());
    for cell in roots {
        let transaction = cell.parse::<Transaction>()?;
        if *cell.repr_hash() != hash || transaction.lt != lt || transaction.account != address.address {
            return Err(Error::Unproven("chain of transactions"));
        }
        (lt, hash) = (transaction.prev_trans_lt, transaction.prev_trans_hash);
        let own_hash = *cell.repr_hash();
        transactions.push(AccountTransaction { address: address.clone(), hash: own_hash, transaction, cell });
    }
    Ok(transactions)
}

/// Checks the configuration in a masterchain block's state. Parameters that were not asked for are pruned: looking them up is an error.
pub fn check_config(id: &BlockId, answer: &ConfigInfo) -> Result<BlockchainConfig, Error> {
    if answer.id != *id {
        return Err(Error::Unproven("another block"));
    }
    let block = PartialBlock::new(Boc::decode(&answer.state_proof)?, &id.root_hash)?;
    PartialState::new(Boc::decode(&answer.config_proof)?, &block)?.config()
}

pub(crate) fn holds(block: &BlockId, address: &StdAddr) -> bool {
    i32::from(address.workchain) == block.shard.workchain() && block.shard.contains_account(&address.address)
}

/// The proofs of a masterchain block and its state: the state must name the shard block.
fn check_shard_of(id: &BlockId, shard_block: &BlockId, proof: &[u8]) -> Result<(), Error> {
    let [block, state] = two_roots(proof)?;
    let block = PartialBlock::new(block, &id.root_hash)?;
    let shards = PartialState::new(state, &block)?.shards()?;
    match list_shards(&shards)?.contains(shard_block) {
        true => Ok(()),
        false => Err(Error::Unproven("the masterchain block does not name the shard block")),
    }
}

fn check_info(info: BlockInfo, id: &BlockIdShort) -> Result<BlockInfo, Error> {
    match info.shard == id.shard && info.seqno == id.seqno {
        true => Ok(info),
        false => Err(Error::Unproven("shard and seqno of the block")),
    }
}

fn two_roots(boc: &[u8]) -> Result<[Cell; 2], Error> {
    decode_roots(boc, 2, 2)?.try_into().map_err(|_| Error::Unproven("a proof has two roots"))
}

/// From `min` to `max` roots.
pub(crate) fn decode_roots(boc: &[u8], min: usize, max: usize) -> Result<Vec<Cell>, Error> {
    let header = BocHeader::decode(boc, &Options { min_roots: Some(min), max_roots: Some(max) })?;
    let cells = header.finalize(Cell::empty_context())?;
    header.roots().iter().map(|i| cells.get(*i).ok_or(Error::Unproven("missing root"))).collect()
}

fn previous_blocks(info: &BlockInfo) -> Result<Vec<BlockId>, Error> {
    let id = |shard: ShardIdent, r: &BlockRef| BlockId { shard, seqno: r.seqno, root_hash: r.root_hash, file_hash: r.file_hash };
    let broken = Error::Unproven("previous blocks");
    Ok(match info.load_prev_ref()? {
        PrevBlockRef::Single(previous) if info.after_split => vec![id(info.shard.merge().ok_or(broken)?, &previous)],
        PrevBlockRef::Single(previous) => vec![id(info.shard, &previous)],
        PrevBlockRef::AfterMerge { left, right } => {
            let (l, r) = info.shard.split().ok_or(broken)?;
            vec![id(l, &left), id(r, &right)]
        }
    })
}
