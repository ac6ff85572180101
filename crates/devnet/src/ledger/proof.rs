//! Merkle proofs of blocks and states, as lite servers give them (network 6.4).

use tycho_types::cell::{Store, UsageTree, UsageTreeMode};
use tycho_types::merkle::MerkleProof;
use tycho_types::models::{
    Block, BlockchainConfig, ConfigParam28, ConfigParam34, ConfigParam35, KnownConfigParam as _, ShardStateUnsplit,
};
use tycho_types::prelude::*;

use super::Error;

/// A proof of all cells that `visit` looks at, and what it found.
fn prove<T>(root: &Cell, visit: impl FnOnce(&Cell) -> Result<T, Error>) -> Result<(Cell, T), Error> {
    let usage = UsageTree::new(UsageTreeMode::OnDataAccess);
    let found = visit(&usage.track(root))?;
    let proof = MerkleProof::create(root.as_ref(), usage).build()?;
    Ok((CellBuilder::build_from(&proof)?, found))
}

/// The block down to its header and the hash of its state.
pub(super) fn header(block: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(block, |root| {
        let block = root.parse::<Block>()?;
        touch(block.info.inner(), 1);
        touch(block.state_update.inner(), 0);
        Ok(())
    })?;
    Ok(proof)
}

/// The shard state down to an account's entry; what the entry leads to stays pruned.
pub(super) fn account(state: &Cell, address: &HashBytes) -> Result<Cell, Error> {
    let (proof, ()) = prove(state, |root| {
        root.parse::<ShardStateUnsplit>()?.load_accounts()?.get(address)?;
        Ok(())
    })?;
    Ok(proof)
}

/// The masterchain state down to its shard hashes.
pub(super) fn state_shards(state: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(state, |root| {
        let custom = root.parse::<ShardStateUnsplit>()?.load_custom()?.ok_or(Error::NotMasterchain)?;
        custom.shards.latest_blocks().try_for_each(|id| id.map(drop))?;
        Ok(())
    })?;
    Ok(proof)
}

/// The masterchain block down to its shard hashes, and the shard hashes as a cell of their own.
pub(super) fn block_shards(block: &Cell) -> Result<(Cell, Cell), Error> {
    let shards = |root: &Cell| -> Result<_, Error> {
        Ok(root.parse::<Block>()?.load_extra()?.load_custom()?.ok_or(Error::NotMasterchain)?.shards)
    };
    let (proof, ()) = prove(block, |root| {
        touch(root.parse::<Block>()?.info.inner(), 0);
        if let Some(dict) = shards(root)?.as_dict().root() {
            touch(dict, 0);
        }
        Ok(())
    })?;
    let mut data = CellBuilder::new();
    shards(block)?.store_into(&mut data, Cell::empty_context())?;
    Ok((proof, data.build()?))
}

/// The block down to one transaction of an account, and the transaction; or down to where it would be.
pub(super) fn transaction(block: &Cell, account: &HashBytes, lt: u64) -> Result<(Cell, Option<Cell>), Error> {
    let find = |root: &Cell| -> Result<Option<Cell>, Error> {
        let block = root.parse::<Block>()?;
        touch(block.info.inner(), 0);
        let Some((_, account_block)) = block.load_extra()?.account_blocks.load()?.get(account)? else { return Ok(None) };
        Ok(account_block.transactions.get(lt)?.map(|(_, transaction)| transaction.into_inner()))
    };
    let (proof, _) = prove(block, |root| find(root).map(drop))?;
    Ok((proof, find(block)?))
}

/// The block down to its transactions, which stay pruned.
pub(super) fn transactions(block: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(block, |root| {
        let block = root.parse::<Block>()?;
        touch(block.info.inner(), 0);
        for entry in block.load_extra()?.account_blocks.load()?.iter() {
            entry?.2.transactions.iter().try_for_each(|t| t.map(drop))?;
        }
        Ok(())
    })?;
    Ok(proof)
}

/// The masterchain state down to its configuration: the parameters named, or all of them.
pub(super) fn config(state: &Cell, params: Option<&[u32]>) -> Result<Cell, Error> {
    let (proof, ()) = prove(state, |root| {
        let custom = root.parse::<ShardStateUnsplit>()?.load_custom()?.ok_or(Error::NotMasterchain)?;
        let dict = custom.config.params.as_dict();
        match params {
            None => dict.iter().try_for_each(|entry| -> Result<(), Error> {
                touch(&entry?.1, u16::MAX);
                Ok(())
            })?,
            Some(params) => {
                for param in params {
                    if let Some(cell) = dict.get(param)? {
                        touch(&cell, u16::MAX);
                    }
                }
            }
        }
        Ok(())
    })?;
    Ok(proof)
}

/// What of the configuration names the masterchain's validators. The last one is looked for in vain, and that is part of the proof.
const VALIDATOR_PARAMS: [u32; 3] = [ConfigParam28::ID, ConfigParam34::ID, ConfigParam35::ID];

/// The key block down to its validators.
pub(super) fn block_validators(block: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(block, |root| {
        let block = root.parse::<Block>()?;
        touch(block.info.inner(), 0);
        let custom = block.load_extra()?.load_custom()?.ok_or(Error::NotMasterchain)?;
        validators(&custom.config.ok_or(Error::NoLink)?)
    })?;
    Ok(proof)
}

/// The masterchain state down to its validators.
pub(super) fn state_validators(state: &Cell) -> Result<Cell, Error> {
    let (proof, ()) =
        prove(state, |root| validators(&root.parse::<ShardStateUnsplit>()?.load_custom()?.ok_or(Error::NotMasterchain)?.config))?;
    Ok(proof)
}

fn validators(config: &BlockchainConfig) -> Result<(), Error> {
    for param in VALIDATOR_PARAMS {
        if let Some(cell) = config.params.as_dict().get(param)? {
            touch(&cell, u16::MAX);
        }
    }
    Ok(())
}

/// The masterchain state down to its entry of an earlier block.
pub(super) fn previous_block(state: &Cell, seqno: u32) -> Result<Cell, Error> {
    let (proof, ()) = prove(state, |root| {
        let custom = root.parse::<ShardStateUnsplit>()?.load_custom()?.ok_or(Error::NotMasterchain)?;
        custom.prev_blocks.get(seqno)?.ok_or(Error::NoLink).map(drop)
    })?;
    Ok(proof)
}

/// An account's cell without what it refers to: its code and data stay pruned.
pub(super) fn pruned(account: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(account, |root| {
        touch(root, 0);
        Ok(())
    })?;
    Ok(proof)
}

/// An account's cell, whole.
pub(super) fn whole(cell: &Cell) -> Result<Cell, Error> {
    let (proof, ()) = prove(cell, |root| {
        touch(root, u16::MAX);
        Ok(())
    })?;
    Ok(proof)
}

/// Looks at a cell and `levels` of those below it.
fn touch(cell: &Cell, levels: u16) {
    let _ = cell.data();
    if levels > 0 {
        (0..cell.reference_count()).filter_map(|i| cell.reference_cloned(i)).for_each(|child| touch(&child, levels - 1));
    }
}
