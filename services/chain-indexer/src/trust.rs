//! Where proofs begin (network 6.4): the network's first trusted block, or a newer key block that was proven from it.

use liteapi::Policy;
use store::chain::{self, Cursor, KeyBlock};
use store::{Error, Pool};
use tycho_types::models::{BlockId, ShardIdent};
use tycho_types::prelude::HashBytes;

/// The policy of this run: that of the configuration, with the newest block that it leads to.
pub async fn policy(configured: Policy, pool: &Pool) -> Result<Policy, Error> {
    let Policy::Secure { trusted } = configured else { return Ok(configured) };
    let proven = chain::key_block(&pool.get().await?).await?.filter(|proven| proven.seqno > trusted.seqno);
    Ok(Policy::Secure { trusted: proven.map_or(trusted, block_id) })
}

/// Writes down each newly proven key block.
#[derive(Default)]
pub struct Memory {
    written: Option<BlockId>,
}

impl Memory {
    /// `proven` is the newest one, if there is any.
    pub async fn keep(&mut self, pool: &Pool, cursor: Cursor, proven: Option<BlockId>) -> Result<(), Error> {
        let Some(id) = proven.filter(|proven| self.written != Some(*proven)) else { return Ok(()) };
        let block = KeyBlock { seqno: id.seqno, root_hash: id.root_hash.0, file_hash: id.file_hash.0 };
        chain::remember_key_block(&pool.get().await?, cursor, &block).await?;
        self.written = Some(id);
        Ok(())
    }
}

fn block_id(block: KeyBlock) -> BlockId {
    BlockId {
        shard: ShardIdent::MASTERCHAIN,
        seqno: block.seqno,
        root_hash: HashBytes(block.root_hash),
        file_hash: HashBytes(block.file_hash),
    }
}
