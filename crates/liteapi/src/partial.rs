//! Readers of blocks and states inside Merkle proofs, where everything that does not matter may be pruned. Each reads the one path
//! that it needs; a pruned cell on that path is an error, never an absence.

use tycho_types::cell::{CellType, Load};
use tycho_types::dict::AugDict;
use tycho_types::merkle::MerkleProof;
use tycho_types::models::{
    BlockInfo, BlockchainConfig, CurrencyCollection, DepthBalanceInfo, KeyBlockRef, KeyMaxLt, ShardAccounts, ShardFees,
    ShardHashes, ValidatorInfo,
};
use tycho_types::prelude::*;

use crate::Error;

const BLOCK: u32 = 0x11ef_55aa;
const BLOCK_EXTRA: u32 = 0x4a33_f6fd;
const MASTERCHAIN_BLOCK_EXTRA: u16 = 0xcca5;
const ACCOUNT_BLOCK: u8 = 5;
const STATE: u32 = 0x9023_afe2;
const MASTERCHAIN_STATE_EXTRA: u16 = 0xcc26;
/// Bits of a state between its tag and its first flag: global id, shard, seqno, vertical seqno, time, logical time, oldest reference.
const STATE_HEADER_BITS: u16 = 32 + 104 + 32 + 32 + 32 + 64 + 32;

/// The tree of a Merkle proof of the given hash.
pub(crate) fn proven(proof: Cell, hash: &HashBytes) -> Result<Cell, Error> {
    let proof = proof.parse_exotic::<MerkleProof>()?;
    match proof.hash == *hash {
        true => Ok(Cell::virtualize(proof.cell)),
        false => Err(Error::Unproven("hash of a proof")),
    }
}

fn reference(cell: &Cell, index: u8) -> Result<Cell, Error> {
    cell.reference_cloned(index).ok_or(Error::Unproven("a proof's cell lacks a reference"))
}

/// A block inside a proof.
pub(crate) struct PartialBlock(Cell);

impl PartialBlock {
    /// The block of this root hash.
    pub fn new(proof: Cell, root_hash: &HashBytes) -> Result<Self, Error> {
        let cell = proven(proof, root_hash)?;
        match cell.as_slice()?.load_u32()? {
            BLOCK => Ok(Self(cell)),
            _ => Err(Error::Unproven("not a block")),
        }
    }
    /// Its header.
    pub fn info(&self) -> Result<BlockInfo, Error> {
        Ok(reference(&self.0, 0)?.parse::<BlockInfo>()?)
    }
    /// Hash of the state behind it.
    pub fn state_hash(&self) -> Result<HashBytes, Error> {
        let update = reference(&self.0, 2)?;
        if update.cell_type() != CellType::MerkleUpdate {
            return Err(Error::Unproven("not a state update"));
        }
        let mut slice = update.as_slice_allow_exotic();
        slice.skip_first(8 + 256, 0)?;
        Ok(slice.load_u256()?)
    }
    /// The shard hashes of a masterchain block.
    pub fn shards(&self) -> Result<ShardHashes, Error> {
        let custom = self.custom()?;
        let mut slice = custom.as_slice()?;
        slice.skip_first(16 + 1, 0)?;
        Ok(ShardHashes::load_from(&mut slice)?)
    }
    /// The configuration that a key block carries.
    pub fn config(&self) -> Result<BlockchainConfig, Error> {
        let custom = self.custom()?;
        let mut slice = custom.as_slice()?;
        slice.skip_first(16, 0)?;
        if !slice.load_bit()? {
            return Err(Error::Unproven("not a key block"));
        }
        ShardHashes::load_from(&mut slice)?;
        ShardFees::load_from(&mut slice)?;
        slice.load_reference()?; // signatures and special messages
        Ok(BlockchainConfig::load_from(&mut slice)?)
    }
    /// The accounts that the block changed, with their transactions.
    pub fn accounts(&self) -> Result<PartialAccounts, Error> {
        Ok(reference(&self.extra()?, 2)?.parse::<PartialAccounts>()?)
    }
    /// What the block did.
    fn extra(&self) -> Result<Cell, Error> {
        let extra = reference(&self.0, 3)?;
        match extra.as_slice()?.load_u32()? {
            BLOCK_EXTRA => Ok(extra),
            _ => Err(Error::Unproven("not a block's extra")),
        }
    }
    /// What only a masterchain block has.
    fn custom(&self) -> Result<Cell, Error> {
        let extra = self.extra()?;
        let mut slice = extra.as_slice()?;
        slice.skip_first(32 + 256 + 256, 0)?;
        if !slice.load_bit()? {
            return Err(Error::Unproven("not a masterchain block"));
        }
        let custom = reference(&extra, 3)?;
        match custom.as_slice()?.load_u16()? {
            MASTERCHAIN_BLOCK_EXTRA => Ok(custom),
            _ => Err(Error::Unproven("not a masterchain block's extra")),
        }
    }
}

/// The accounts that a block changed.
pub(crate) type PartialAccounts = AugDict<HashBytes, CurrencyCollection, PartialAccount>;

/// The transactions of one of them, by logical time. They may be pruned: of such a one there is the hash.
pub(crate) struct PartialAccount {
    pub account: HashBytes,
    pub transactions: AugDict<u64, CurrencyCollection, Cell>,
}

impl<'a> Load<'a> for PartialAccount {
    fn load_from(slice: &mut CellSlice<'a>) -> Result<Self, tycho_types::error::Error> {
        match slice.load_small_uint(4)? {
            ACCOUNT_BLOCK => {}
            _ => return Err(tycho_types::error::Error::InvalidTag),
        }
        let account = slice.load_u256()?;
        let transactions = AugDict::load_from_root_ext(slice, Cell::empty_context())?;
        slice.load_reference()?; // how the account's state changed
        Ok(Self { account, transactions })
    }
}

/// A shard account's entry in a state.
pub(crate) struct AccountEntry {
    pub account_hash: HashBytes,
    pub last_hash: HashBytes,
    pub last_lt: u64,
}

/// A state inside a proof.
pub(crate) struct PartialState(Cell);

impl PartialState {
    /// The state that a block leads to.
    pub fn new(proof: Cell, block: &PartialBlock) -> Result<Self, Error> {
        Self::of_hash(proof, &block.state_hash()?)
    }
    /// The state of this hash.
    pub fn of_hash(proof: Cell, hash: &HashBytes) -> Result<Self, Error> {
        let cell = proven(proof, hash)?;
        match cell.as_slice()?.load_u32()? {
            STATE => Ok(Self(cell)),
            _ => Err(Error::Unproven("not a state")),
        }
    }
    /// An account's entry, none when the state has no such account.
    pub fn account(&self, address: &HashBytes) -> Result<Option<AccountEntry>, Error> {
        let accounts = reference(&self.0, 1)?;
        let (dict, _) = accounts.parse::<ShardAccounts>()?.into_parts();
        let Some(mut entry) = dict.get_raw(address)? else { return Ok(None) };
        DepthBalanceInfo::load_from(&mut entry)?;
        Ok(Some(AccountEntry {
            account_hash: *entry.load_reference()?.repr_hash(),
            last_hash: entry.load_u256()?,
            last_lt: entry.load_u64()?,
        }))
    }
    /// The shard hashes of a masterchain state.
    pub fn shards(&self) -> Result<ShardHashes, Error> {
        let custom = self.custom()?;
        let mut slice = custom.as_slice()?;
        slice.skip_first(16, 0)?;
        Ok(ShardHashes::load_from(&mut slice)?)
    }
    /// The configuration in a masterchain state.
    pub fn config(&self) -> Result<BlockchainConfig, Error> {
        let custom = self.custom()?;
        let mut slice = custom.as_slice()?;
        slice.skip_first(16, 0)?;
        ShardHashes::load_from(&mut slice)?;
        Ok(BlockchainConfig::load_from(&mut slice)?)
    }
    /// The block with this seqno, as a masterchain state names it.
    pub fn previous_block(&self, seqno: u32) -> Result<KeyBlockRef, Error> {
        let custom = self.custom()?;
        let mut slice = custom.as_slice()?;
        slice.skip_first(16, 0)?;
        ShardHashes::load_from(&mut slice)?;
        BlockchainConfig::load_from(&mut slice)?;
        let other = slice.load_reference_cloned()?;
        let mut slice = other.as_slice()?;
        slice.skip_first(16, 0)?; // flags
        ValidatorInfo::load_from(&mut slice)?;
        let blocks = AugDict::<u32, KeyMaxLt, KeyBlockRef>::load_from(&mut slice)?;
        let (_, block) = blocks.get(seqno)?.ok_or(Error::Unproven("the state does not name the block"))?;
        Ok(block)
    }
    /// What only a masterchain state has.
    fn custom(&self) -> Result<Cell, Error> {
        let mut slice = self.0.as_slice()?;
        slice.skip_first(32 + STATE_HEADER_BITS + 1, 0)?;
        if !slice.load_bit()? {
            return Err(Error::Unproven("not a masterchain state"));
        }
        let custom = reference(&self.0, 3)?;
        match custom.as_slice()?.load_u16()? {
            MASTERCHAIN_STATE_EXTRA => Ok(custom),
            _ => Err(Error::Unproven("not a masterchain state's extra")),
        }
    }
}
