//! A node's database on a private cluster, and channels to write into it.
#![allow(dead_code)] // each test binary uses its part

use std::{
    sync::{Arc, Mutex, Weak},
    time::Duration,
};

use contract::CodeKind;
use ed25519_dalek::SigningKey;
use protocol::{Attempt, Change as Difference, ChannelRow, Key, Policy, SignedBody, Write, opening};
use store::{Change, Committer, Database, Fence, Pool, Verdict, chain::NewOrder, lease};
use testkit::Cluster;
use tokio_postgres::types::ToSql;
use wire::{Body, Condition, SignedState, State};

pub const ENGINE: &str = "engine-1";
pub const LEASE: Duration = Duration::from_secs(60);

/// The tests of a binary share a cluster while one of them runs.
static SHARED: Mutex<Weak<Cluster>> = Mutex::new(Weak::new());
static STARTING: tokio::sync::Mutex<u32> = tokio::sync::Mutex::const_new(0);

pub struct Node {
    pub url: String,
    pub database: Database,
    pub pool: Pool,
    _cluster: Arc<Cluster>,
}

impl Node {
    /// A fresh database in which `ENGINE` owns every shard.
    pub async fn start() -> Self {
        let node = Self::empty().await;
        let client = node.pool.get().await.unwrap();
        lease::renew(&client, ENGINE, "127.0.0.1:1", LEASE).await.unwrap();
        assert_eq!(lease::take(&client, ENGINE).await.unwrap().len(), lease::SHARDS);
        node
    }

    pub async fn empty() -> Self {
        let mut count = STARTING.lock().await;
        *count += 1;
        let known = SHARED.lock().unwrap().upgrade();
        let cluster = match known {
            Some(cluster) => cluster,
            None => {
                let cluster = Arc::new(Cluster::temporary().await.unwrap());
                *SHARED.lock().unwrap() = Arc::downgrade(&cluster);
                cluster
            }
        };
        let url = cluster.create_database(&format!("node_{count}")).await.unwrap().url;
        let database = Database::new(&url, "store-test").unwrap();
        store::migrate(&database).await.unwrap();
        let pool = database.pool(8).unwrap();
        Self { url, database, pool, _cluster: cluster }
    }

    pub async fn committer(&self) -> Committer {
        Committer::start(&self.database, 1).await.unwrap()
    }

    /// Stores a channel whose version is then 1.
    pub async fn channel(&self, committer: &Committer, n: u8) -> TestChannel {
        let mut channel = TestChannel::new(n);
        let change = channel.change(vec![]);
        assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
        channel
    }

    /// A number that a query gives, once the journal is folded as far as it can be.
    pub async fn count(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> i64 {
        let client = self.pool.get().await.unwrap();
        let _ = store::engine::fold(&client).await;
        client.query_one(sql, parameters).await.unwrap().get(0)
    }

    pub async fn version(&self, channel: &TestChannel) -> i64 {
        self.count("SELECT version FROM engine.channel WHERE address = $1", &[&channel.row.address.as_slice()]).await
    }

    /// Every table that a commit writes, the journal folded: what a refused change must leave as it is.
    pub async fn fingerprint(&self) -> Vec<String> {
        store::engine::fold(&self.pool.get().await.unwrap()).await.unwrap();
        let at_once =
            ["engine.head", "engine.virtual_key", "engine.task", "engine.request", "engine.shard", "chain.wallet_order"];
        [self.tables().await, self.hashes(&at_once).await].concat()
    }

    /// The tables that the journal is folded into.
    pub async fn tables(&self) -> Vec<String> {
        self.hashes(&["engine.channel", "engine.conditional", "engine.signed_body", "engine.peer_state", "engine.leg"]).await
    }

    async fn hashes(&self, tables: &[&str]) -> Vec<String> {
        let client = self.pool.get().await.unwrap();
        let mut all = Vec::new();
        for table in tables {
            let sql = format!("SELECT coalesce(md5(string_agg(t::text, '|' ORDER BY t::text)), '') FROM {table} t");
            all.push(format!("{table} {}", client.query_one(&sql, &[]).await.unwrap().get::<_, String>(0)));
        }
        all
    }
}

/// A channel between us and peer `n`.
#[derive(Clone)]
pub struct TestChannel {
    pub row: ChannelRow,
    pub shard: u8,
    pub epoch: u64,
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

impl TestChannel {
    pub fn new(n: u8) -> Self {
        let ours = key(255).verifying_key().to_bytes();
        let peer = key(n).verifying_key().to_bytes();
        let parties = opening::Parties { a: (ours, [1; 32]), b: (peer, [2; 32]) };
        let config = opening::open_config(&Policy::ton(), &parties, 1_700_000_000);
        let row = opening::new_channel(&Policy::ton(), &CodeKind::LIVE, config, ours);
        Self { row, shard: store::shard_of(&peer), epoch: 1 }
    }

    pub fn fence(&self) -> Fence {
        Fence { channel: self.row.address, shard: self.shard, epoch: self.epoch, version: self.row.version }
    }

    /// The channel's row in its next version, with these writes.
    pub fn change(&mut self, writes: Vec<Write>) -> Change {
        self.change_with_orders(writes, vec![])
    }

    pub fn change_with_orders(&mut self, mut writes: Vec<Write>, orders: Vec<NewOrder>) -> Change {
        self.row.version += 1;
        writes.push(Write::Channel(Box::new(self.row.clone())));
        Change::new(self.fence(), writes, orders).unwrap()
    }

    /// These writes without the channel's row.
    pub fn aside(&self, writes: Vec<Write>) -> Change {
        Change::new(self.fence(), writes, vec![]).unwrap()
    }

    /// The peer's signature over a body of its side, with our current one as the copy.
    pub fn peer_state(&self, n: u8, body: Body) -> SignedState {
        use ed25519_dalek::Signer;
        let state = State { channel_id: self.row.config.channel_id, body, counterparty: Some(self.row.our) };
        SignedState { signature: key(n).sign(&state.hash()).to_bytes(), state }
    }
}

pub fn body(seqno: u64, sent: u128) -> Body {
    Body { seqno, sent, conditionals: [0; 32] }
}

pub fn signed(seqno: u64, attempt: Attempt) -> Write {
    let sent = if attempt == Attempt::Action { 1 } else { 0 };
    Write::SignedBody(SignedBody { attempt, body: body(seqno, sent), change: Difference::None })
}

pub fn condition(n: u8) -> Condition {
    Condition { key: virtual_key(n), capacity: 1_000_000_000_000, fee: 7, prepay: 0, deadline: 1_800_000_000 }
}

pub fn virtual_key(n: u8) -> Key {
    let mut key = [n; 32];
    key[31] = 0xfe;
    key
}

/// Another key with the index of `condition(n)` (payments 10.1.1: the first four bytes).
pub fn same_index(n: u8) -> Condition {
    let mut condition = condition(n);
    condition.key[30] ^= 1;
    condition
}
