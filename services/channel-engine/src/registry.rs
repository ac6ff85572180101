//! Which shards this engine owns, and the tasks of their peers.

use std::{collections::HashMap, sync::Mutex};

use protocol::Key;
use rpc::gateway::v1::ShardEpoch;
use store::lease::Owned;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{gateways::lock, peer::Mailbox};

/// A shard under one epoch, from taking it until it is given back or lost.
#[derive(Clone)]
pub struct Tenure {
    /// Which.
    pub owner: ShardEpoch,
    /// It ends: nothing new. Ends with the engine too.
    pub stop: CancellationToken,
    /// The tasks of its peers: each ends when nothing of its is being committed any more.
    pub peers: TaskTracker,
}

impl Tenure {
    /// As the database knows it.
    pub fn owned(&self) -> Owned {
        Owned { shard: self.owner.shard as u8, epoch: self.owner.epoch }
    }
}

/// Owned shards and their peers' mailboxes.
#[derive(Default)]
pub struct Registry {
    shards: Mutex<HashMap<u8, Shard>>,
}

struct Shard {
    tenure: Tenure,
    peers: HashMap<Key, Mailbox>,
}

impl Registry {
    /// Takes a shard in until `stop`, with the tasks of the peers that have channels. In one step: a query that came in between would start a
    /// second task for its peer.
    pub fn insert(&self, owned: Owned, stop: CancellationToken, start: impl FnOnce(&Tenure) -> HashMap<Key, Mailbox>) {
        let owner = ShardEpoch { shard: owned.shard.into(), epoch: owned.epoch };
        let tenure = Tenure { owner, stop, peers: TaskTracker::new() };
        let mut shards = lock(&self.shards);
        let peers = start(&tenure);
        shards.insert(owned.shard, Shard { tenure, peers });
    }

    /// The task of a peer without a channel ends, if it is idle: strangers leave nothing behind (design 4.9). Whether it may end.
    pub fn retire(&self, key: &Key, owner: &ShardEpoch, idle: impl FnOnce() -> bool) -> bool {
        let mut shards = lock(&self.shards);
        let Some(shard) = shards.get_mut(&(owner.shard as u8)).filter(|s| s.tenure.owner == *owner) else { return true };
        let idle = idle();
        if idle {
            shard.peers.remove(key);
        }
        idle
    }

    /// The shard under this epoch is lost: its peers' tasks end.
    pub fn lost(&self, owner: &ShardEpoch) {
        self.end(|tenure| tenure.owner == *owner);
    }

    /// Keeps only what the database says is ours; returns what was lost.
    pub fn retain(&self, mine: &[Owned]) -> Vec<u8> {
        self.end(|tenure| !mine.contains(&tenure.owned())).iter().map(|tenure| tenure.owned().shard).collect()
    }

    /// Ends these shards: nothing comes to their peers' tasks any more, which finish what they have begun.
    pub fn give_up(&self, shards: &[u8]) -> Vec<Tenure> {
        self.end(|tenure| shards.contains(&tenure.owned().shard))
    }

    fn end(&self, which: impl Fn(&Tenure) -> bool) -> Vec<Tenure> {
        let ended: Vec<Tenure> = lock(&self.shards).extract_if(|_, s| which(&s.tenure)).map(|(_, s)| s.tenure).collect();
        for tenure in &ended {
            tenure.stop.cancel();
            tenure.peers.close();
        }
        ended
    }

    /// What is owned.
    pub fn owned(&self) -> Vec<ShardEpoch> {
        lock(&self.shards).values().map(|s| s.tenure.owner).collect()
    }

    /// The shards that are owned.
    pub fn shards(&self) -> Vec<u8> {
        lock(&self.shards).keys().copied().collect()
    }

    /// The peer's mailbox, started by `start` when this engine owns its shard and has none yet.
    pub fn peer(&self, key: &Key, start: impl FnOnce(&Tenure) -> Mailbox) -> Option<Mailbox> {
        let mut shards = lock(&self.shards);
        let Shard { tenure, peers } = shards.get_mut(&store::shard_of(key))?;
        Some(peers.entry(*key).or_insert_with(|| start(tenure)).clone())
    }

    /// The epoch of a shard that is owned.
    pub fn epoch(&self, shard: u8) -> Option<u64> {
        lock(&self.shards).get(&shard).map(|s| s.tenure.owner.epoch)
    }
}
