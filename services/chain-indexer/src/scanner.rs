//! Reads every block of the basechain, in order.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use anyhow::{Context as _, ensure};
use liteapi::{AccountTransaction, Block, Client};
use tycho_types::models::{BlockId, ShardIdent};

use crate::lite::ask_all;

/// Shard blocks between two masterchain blocks at most: more is not a chain.
const MAX_BLOCKS: usize = 10_000;
const BASECHAIN: i32 = 0;

/// A masterchain block that was read whole.
#[derive(Clone, Debug)]
pub struct Head {
    /// Its id.
    pub id: BlockId,
    /// The basechain's newest blocks in it.
    pub shards: Vec<BlockId>,
    /// Time of the newest of them, unix seconds.
    pub time: u32,
}

/// What happened in the basechain between a masterchain block and the one before it.
pub struct Stretch {
    /// The masterchain block.
    pub head: Head,
    /// All transactions, in an order in which they can have happened.
    pub transactions: Vec<AccountTransaction>,
}

/// Follows the chain. Keeps only where it is.
#[derive(Default)]
pub struct Scanner {
    head: Option<Head>,
}

impl Scanner {
    /// The masterchain block with this seqno, which was read before; `None` for the zero state.
    pub async fn head(&mut self, client: &Arc<Client>, seqno: u32) -> anyhow::Result<Option<Head>> {
        if seqno == 0 {
            return Ok(None);
        }
        if let Some(head) = self.head.as_ref().filter(|head| head.id.seqno == seqno) {
            return Ok(Some(head.clone()));
        }
        let (id, shards) = shards(client, seqno).await?;
        let mut time = 0;
        if let Some(newest) = shards.iter().filter(|shard| shard.seqno > 0).max_by_key(|shard| shard.seqno) {
            time = client.block(newest).await?.info.gen_utime;
        }
        self.head = Some(Head { id, shards, time });
        Ok(self.head.clone())
    }

    /// Reads everything behind masterchain block `from` up to `to`.
    pub async fn read(&mut self, client: &Arc<Client>, from: u32, to: u32) -> anyhow::Result<Vec<Stretch>> {
        let mut before = self.head(client, from).await?;
        let named =
            ask_all(client, (from + 1..=to).collect(), |client, seqno| async move { shards(&client, seqno).await }).await?;
        // The newest block of each shard is needed in any case; those between them are found through them.
        let newest: HashSet<BlockId> = named.iter().flat_map(|(_, shards)| shards).copied().filter(|id| id.seqno > 0).collect();
        let known = before.iter().flat_map(|head| &head.shards).copied().collect();
        let mut blocks = HashMap::new();
        fetch(client, newest.difference(&known).copied().collect(), &mut blocks).await?;
        let mut stretches = Vec::new();
        for (id, shards) in named {
            let (old, time) = before.as_ref().map_or((&[][..], 0), |head| (&head.shards, head.time));
            let read = between(client, old, &shards, &mut blocks).await?;
            let time = read.iter().map(|block| block.info.gen_utime).fold(time, u32::max);
            let head = Head { id, shards, time };
            before = Some(head.clone());
            stretches.push(Stretch { head, transactions: read.into_iter().flat_map(|block| block.transactions).collect() });
        }
        self.head = before;
        Ok(stretches)
    }
}

/// A masterchain block's id and the basechain shards that it names.
async fn shards(client: &Arc<Client>, seqno: u32) -> anyhow::Result<(BlockId, Vec<BlockId>)> {
    let id = client.lookup_block(ShardIdent::MASTERCHAIN, seqno).await?;
    let id = id.with_context(|| format!("no lite server knows masterchain block {seqno}"))?;
    let mut shards = client.shards(&id).await?;
    shards.retain(|shard| shard.shard.workchain() == BASECHAIN);
    Ok((id, shards))
}

async fn fetch(client: &Arc<Client>, ids: Vec<BlockId>, blocks: &mut HashMap<BlockId, Block>) -> anyhow::Result<()> {
    let asked = ask_all(client, ids, |client, id| async move { Ok(client.block(&id).await?) }).await?;
    blocks.extend(asked.into_iter().map(|block| (block.id, block)));
    Ok(())
}

/// The blocks behind `old` up to `new`, parents before children. Takes them from `blocks` or asks for them.
async fn between(
    client: &Arc<Client>,
    old: &[BlockId],
    new: &[BlockId],
    blocks: &mut HashMap<BlockId, Block>,
) -> anyhow::Result<Vec<Block>> {
    let mut seen: HashSet<BlockId> = old.iter().copied().collect();
    let mut wanted: Vec<BlockId> = new.iter().copied().filter(|id| id.seqno > 0 && seen.insert(*id)).collect();
    let mut read = Vec::new();
    while !wanted.is_empty() {
        fetch(client, wanted.iter().copied().filter(|id| !blocks.contains_key(id)).collect(), blocks).await?;
        for id in std::mem::take(&mut wanted) {
            let block = blocks.remove(&id).context("a block is named twice")?;
            wanted.extend(block.previous.iter().copied().filter(|id| id.seqno > 0 && seen.insert(*id)));
            read.push(block);
        }
        ensure!(read.len() <= MAX_BLOCKS, "more than {MAX_BLOCKS} blocks between two masterchain blocks");
    }
    // A block begins after its parents ended.
    read.sort_by_key(|block| (block.info.start_lt, block.id.shard.prefix()));
    Ok(read)
}
