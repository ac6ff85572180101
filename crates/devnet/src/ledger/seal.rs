//! Puts a tick's transactions into a basechain block and a masterchain block with their states (chain.md 5).
//!
//! Left out: in- and out-message descriptors, which only explorers read. Struct literals here are complete on purpose:
//! with the `tycho` feature of tycho-types, which changes the layout of blocks, they do not compile (chain.md 1.1).

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use tycho_types::cell::{Lazy, LazyExotic};
use tycho_types::dict::AugDict;
use tycho_types::models::*;
use tycho_types::prelude::*;

use super::diff::state_update;
use super::{Error, Head};
use crate::chain::{GLOBAL_ID, Outcome, TransactionRecord, global_version, rand_seed};

pub(super) type PreviousBlocks = AugDict<u32, KeyMaxLt, KeyBlockRef>;

/// What both blocks of a tick have in common.
pub(super) struct Tick<'a> {
    pub seqno: u32,
    pub now: u32,
    pub outcome: &'a Outcome,
    pub shard_before: &'a Head,
    pub masterchain_before: &'a Head,
    pub last_key_block: Option<&'a BlockRef>,
    pub validators: &'a ValidatorInfo,
}

impl Tick<'_> {
    /// The first masterchain block carries the configuration.
    fn is_key_block(&self) -> bool {
        self.seqno == 1
    }
    /// The masterchain block takes one step of logical time behind the shard block.
    fn masterchain_lt(&self) -> (u64, u64) {
        (self.outcome.lt.1, self.outcome.lt.1 + 1)
    }
    fn collected(&self) -> CurrencyCollection {
        CurrencyCollection::new(self.outcome.transactions.iter().map(|t| t.collected).sum())
    }
    fn block_info(&self, shard: ShardIdent, (start_lt, end_lt): (u64, u64), previous: &Head) -> Result<BlockInfo, Error> {
        let mut info = BlockInfo {
            seqno: self.seqno,
            shard,
            gen_utime: self.now,
            start_lt,
            end_lt,
            min_ref_mc_seqno: self.masterchain_before.id.seqno,
            prev_key_block_seqno: self.last_key_block.map_or(0, |k| k.seqno),
            ..Default::default()
        };
        info.set_gen_software(Some(global_version()));
        info.set_prev_ref_single(&previous.block_ref());
        if shard.is_masterchain() {
            info.gen_validator_list_hash_short = self.validators.validator_list_hash_short;
            info.gen_catchain_seqno = self.validators.catchain_seqno;
        } else {
            info.master_ref = Some(Lazy::new(&self.masterchain_before.block_ref())?);
        }
        Ok(info)
    }
}

/// The state before the first block.
pub(super) fn zero_state(shard: ShardIdent, now: u32, custom: Option<&McStateExtra>) -> Result<Head, Error> {
    let mut state = shard_state(shard, 0, now, 0, 0);
    state.min_ref_mc_seqno = u32::MAX;
    state.set_custom(custom)?;
    let state = CellBuilder::build_from(&state)?;
    let boc = Boc::encode(&state);
    let id = BlockId { shard, seqno: 0, root_hash: *state.repr_hash(), file_hash: file_hash(&boc) };
    Ok(Head { id, boc: boc.into(), state, start_lt: 0, end_lt: 0, gen_utime: now })
}

/// Seals the basechain block. `carried` is what undelivered messages carried before and carry after it, nano.
pub(super) fn shard_block(
    tick: &Tick<'_>,
    accounts: &ShardAccounts,
    before: CurrencyCollection,
    carried: (u128, u128),
) -> Result<Head, Error> {
    let shard = ShardIdent::BASECHAIN;
    let (_, end_lt) = tick.outcome.lt;
    let after = accounts.root_extra().balance.clone();
    let mut state = shard_state(shard, tick.seqno, tick.now, end_lt, tick.masterchain_before.id.seqno);
    state.accounts = Lazy::new(accounts)?;
    state.total_balance = after.clone();
    state.master_ref = Some(tick.masterchain_before.block_ref());
    let state = CellBuilder::build_from(&state)?;
    let flow = ValueFlow {
        from_prev_block: before,
        to_next_block: after,
        imported: CurrencyCollection::new(carried.0),
        exported: CurrencyCollection::new(carried.1),
        fees_collected: tick.collected(),
        burned: CurrencyCollection::new(tick.outcome.burnt),
        fees_imported: CurrencyCollection::ZERO,
        recovered: CurrencyCollection::ZERO,
        created: CurrencyCollection::ZERO,
        minted: CurrencyCollection::new(tick.outcome.minted),
    };
    let extra = BlockExtra {
        account_blocks: Lazy::new(&account_blocks(&tick.outcome.transactions)?)?,
        rand_seed: rand_seed(tick.outcome.lt.0),
        ..Default::default()
    };
    let info = tick.block_info(shard, tick.outcome.lt, tick.shard_before)?;
    seal(info, flow, extra, tick.shard_before, state)
}

/// Seals the masterchain block that names the shard block. `supply` is all money there is, fees included.
pub(super) fn masterchain_block(
    tick: &Tick<'_>,
    shard: &Head,
    config: &BlockchainConfig,
    previous_blocks: &PreviousBlocks,
    validator_fees: u128,
    supply: u128,
) -> Result<Head, Error> {
    let (start_lt, end_lt) = tick.masterchain_lt();
    let shards = ShardHashes::from_shards([(&ShardIdent::BASECHAIN, &shard_description(tick, shard))])?;
    let state_extra = McStateExtra {
        shards: shards.clone(),
        config: config.clone(),
        validator_info: *tick.validators,
        prev_blocks: previous_blocks.clone(),
        after_key_block: tick.is_key_block(),
        last_key_block: tick.last_key_block.cloned(),
        block_create_stats: None,
        global_balance: CurrencyCollection::new(supply),
    };
    let mut state = shard_state(ShardIdent::MASTERCHAIN, tick.seqno, tick.now, end_lt, tick.masterchain_before.id.seqno);
    state.total_validator_fees = CurrencyCollection::new(validator_fees);
    state.set_custom(Some(&state_extra))?;
    let state = CellBuilder::build_from(&state)?;
    let fees = tick.collected();
    let flow = ValueFlow { fees_imported: fees.clone(), fees_collected: fees, ..Default::default() };
    let custom = McBlockExtra { shards, config: tick.is_key_block().then(|| config.clone()), ..Default::default() };
    let extra = BlockExtra { custom: Some(Lazy::new(&custom)?), ..Default::default() };
    let mut info = tick.block_info(ShardIdent::MASTERCHAIN, (start_lt, end_lt), tick.masterchain_before)?;
    info.key_block = tick.is_key_block();
    seal(info, flow, extra, tick.masterchain_before, state)
}

fn shard_description(tick: &Tick<'_>, shard: &Head) -> ShardDescription {
    ShardDescription {
        seqno: shard.id.seqno,
        reg_mc_seqno: tick.seqno,
        start_lt: shard.start_lt,
        end_lt: shard.end_lt,
        root_hash: shard.id.root_hash,
        file_hash: shard.id.file_hash,
        before_split: false,
        before_merge: false,
        want_split: false,
        want_merge: false,
        nx_cc_updated: false,
        next_catchain_seqno: 0,
        // some clients take the shard's id from here (network 6.5)
        next_validator_shard: ShardIdent::PREFIX_FULL,
        min_ref_mc_seqno: tick.masterchain_before.id.seqno,
        gen_utime: tick.now,
        split_merge_at: None,
        fees_collected: tick.collected(),
        funds_created: CurrencyCollection::ZERO,
    }
}

/// A state of the shard without accounts.
fn shard_state(shard_ident: ShardIdent, seqno: u32, gen_utime: u32, gen_lt: u64, min_ref_mc_seqno: u32) -> ShardStateUnsplit {
    ShardStateUnsplit {
        global_id: GLOBAL_ID,
        shard_ident,
        seqno,
        vert_seqno: 0,
        gen_utime,
        gen_lt,
        min_ref_mc_seqno,
        out_msg_queue_info: empty_out_queue(),
        before_split: false,
        accounts: ShardStateUnsplit::empty_shard_accounts().clone(),
        overload_history: 0,
        underload_history: 0,
        total_balance: CurrencyCollection::ZERO,
        total_validator_fees: CurrencyCollection::ZERO,
        libraries: Dict::new(),
        master_ref: None,
        custom: None,
    }
}

/// An out-message queue without messages: an empty dictionary with its extra, no processed marks, no dispatch queue.
fn empty_out_queue() -> Cell {
    let mut queue = CellBuilder::new();
    queue.store_zeros(1 + 64 + 1 + 1).expect("67 bits fit");
    queue.build().expect("an ordinary cell")
}

fn account_blocks(transactions: &[TransactionRecord]) -> Result<AccountBlocks, Error> {
    let mut by_account = BTreeMap::<HashBytes, Vec<&TransactionRecord>>::new();
    for transaction in transactions {
        by_account.entry(transaction.address.address).or_default().push(transaction);
    }
    let mut blocks = AccountBlocks::new();
    for (account, list) in by_account {
        let mut dict = AugDict::new();
        let mut fees = CurrencyCollection::ZERO;
        let mut update: Option<HashUpdate> = None;
        for record in list {
            let transaction = record.cell.parse::<Transaction>()?;
            let change = transaction.state_update.load()?;
            update = Some(HashUpdate { old: update.map_or(change.old, |u| u.old), new: change.new });
            fees.try_add_assign(&transaction.total_fees)?;
            dict.set(record.lt, &transaction.total_fees, Lazy::<Transaction>::from_raw(record.cell.clone())?)?;
        }
        let state_update = Lazy::new(&update.unwrap_or(HashUpdate { old: HashBytes::ZERO, new: HashBytes::ZERO }))?;
        blocks.set(account, &fees, AccountBlock { account, transactions: dict, state_update })?;
    }
    Ok(blocks)
}

/// Builds the block from its parts. The value flow must balance.
fn seal(info: BlockInfo, flow: ValueFlow, extra: BlockExtra, before: &Head, state: Cell) -> Result<Head, Error> {
    if !flow.validate()? {
        return Err(Error::ValueFlow);
    }
    let block = Block {
        global_id: GLOBAL_ID,
        info: Lazy::new(&info)?,
        value_flow: Lazy::new(&flow)?,
        state_update: LazyExotic::new(&state_update(&before.state, &state)?)?,
        out_msg_queue_updates: None,
        extra: Lazy::new(&extra)?,
    };
    let block = CellBuilder::build_from(&block)?;
    let boc = Boc::encode(&block);
    let id = BlockId { shard: info.shard, seqno: info.seqno, root_hash: *block.repr_hash(), file_hash: file_hash(&boc) };
    Ok(Head { id, boc: boc.into(), state, start_lt: info.start_lt, end_lt: info.end_lt, gen_utime: info.gen_utime })
}

fn file_hash(boc: &[u8]) -> HashBytes {
    HashBytes(Sha256::digest(boc).into())
}

/// Sets the entries of the accounts that changed.
pub(super) fn update_accounts<'a>(
    accounts: &mut ShardAccounts,
    changed: impl Iterator<Item = (&'a HashBytes, Option<&'a ShardAccount>)>,
) -> Result<(), Error> {
    for (address, entry) in changed {
        let balance = match entry {
            Some(entry) => entry.load_account()?.map(|a| a.balance),
            None => None,
        };
        match (entry, balance) {
            (Some(entry), Some(balance)) => {
                accounts.set(address, DepthBalanceInfo { split_depth: 0, balance }, entry)?;
            }
            _ => {
                accounts.remove(address)?;
            }
        }
    }
    Ok(())
}
