//! Which shards this engine owns, and the tasks of their peers.

use std::{collections::HashMap, sync::Mutex};

use protocol::Key;
use rpc::gateway::v1::ShardEpoch;
use store::lease::Owned;

use crate::{gateways::lock, peer::Mailbox};

/// Owned shards and their peers' mailboxes.
#[derive(Default)]
pub struct Registry {
    shards: Mutex<HashMap<u8, Shard>>,
}

struct Shard {
    epoch: u64,
    peers: HashMap<Key, Mailbox>,
}

impl Registry {
    /// Takes a shard in, with the tasks of the peers that have channels. In one step: a task ends when its shard is not registered, and a query
    /// that came in between would start a second task for its peer.
    pub fn insert(&self, owned: Owned, start: impl FnOnce(ShardEpoch) -> HashMap<Key, Mailbox>) {
        let mut shards = lock(&self.shards);
        let peers = start(ShardEpoch { shard: owned.shard.into(), epoch: owned.epoch });
        shards.insert(owned.shard, Shard { epoch: owned.epoch, peers });
    }

    /// The task of a peer without a channel ends, if it is idle: strangers leave nothing behind (design 4.9). Whether it may end.
    pub fn retire(&self, key: &Key, owner: &ShardEpoch, idle: impl FnOnce() -> bool) -> bool {
        let mut shards = lock(&self.shards);
        let Some(shard) = shards.get_mut(&(owner.shard as u8)).filter(|s| s.epoch == owner.epoch) else { return true };
        let idle = idle();
        if idle {
            shard.peers.remove(key);
        }
        idle
    }

    /// Whether this engine still believes to own the shard under this epoch. The database has the last word with each commit.
    pub fn owns(&self, owner: &ShardEpoch) -> bool {
        lock(&self.shards).get(&(owner.shard as u8)).is_some_and(|s| s.epoch == owner.epoch)
    }

    /// The shard under this epoch is lost: its peers' tasks end with their mailboxes.
    pub fn lost(&self, owner: &ShardEpoch) {
        let mut shards = lock(&self.shards);
        if shards.get(&(owner.shard as u8)).is_some_and(|s| s.epoch == owner.epoch) {
            shards.remove(&(owner.shard as u8));
        }
    }

    /// Keeps only what the database says is ours; returns what was lost.
    pub fn retain(&self, mine: &[Owned]) -> Vec<u8> {
        let mut shards = lock(&self.shards);
        let lost: Vec<u8> = shards
            .iter()
            .filter(|(shard, s)| !mine.iter().any(|o| o.shard == **shard && o.epoch == s.epoch))
            .map(|(shard, _)| *shard)
            .collect();
        for shard in &lost {
            shards.remove(shard);
        }
        lost
    }

    /// What is owned.
    pub fn owned(&self) -> Vec<ShardEpoch> {
        lock(&self.shards).iter().map(|(shard, s)| ShardEpoch { shard: (*shard).into(), epoch: s.epoch }).collect()
    }

    /// The shards that are owned.
    pub fn shards(&self) -> Vec<u8> {
        lock(&self.shards).keys().copied().collect()
    }

    /// The peer's mailbox, started by `start` when this engine owns its shard and has none yet.
    pub fn peer(&self, key: &Key, start: impl FnOnce(ShardEpoch) -> Mailbox) -> Option<Mailbox> {
        let number = store::shard_of(key);
        let mut shards = lock(&self.shards);
        let shard = shards.get_mut(&number)?;
        let owner = ShardEpoch { shard: number.into(), epoch: shard.epoch };
        Some(shard.peers.entry(*key).or_insert_with(|| start(owner)).clone())
    }

    /// The epoch of a shard that is owned.
    pub fn epoch(&self, shard: u8) -> Option<u64> {
        lock(&self.shards).get(&shard).map(|s| s.epoch)
    }
}
