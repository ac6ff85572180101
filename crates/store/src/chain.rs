//! The chain indexer's rows: cursor, public graph, the wallet's orders and messages. Every write is fenced by the cursor's epoch.

use std::{collections::HashSet, time::Duration};

use contract::{Side, Storage};
use deadpool_postgres::{GenericClient, Object, Transaction};
use protocol::{Address, Key, NewTask};
use tokio_postgres::Row;
use ton::Cell;

use crate::{
    Error, codec,
    value::{Nano, Record, Value, long},
};

// ---- the cursor

/// The right to index and to send, and how far the chain was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Fencing number.
    pub epoch: u64,
    /// The last masterchain block whose shards were read whole.
    pub seqno: u32,
}

/// Takes or renews the lead among the node's indexers; `None` while another one leads. Call it every third of `lease`.
pub async fn lead(client: &impl GenericClient, owner: &str, lease: Duration) -> Result<Option<Cursor>, Error> {
    let row = client
        .query_opt(
            "UPDATE chain.cursor SET lease_until = clock_timestamp() + $2 * interval '1 second', \
                 epoch = epoch + (owner IS DISTINCT FROM $1)::int, owner = $1 \
             WHERE owner IS NOT DISTINCT FROM $1 OR lease_until < clock_timestamp() RETURNING epoch, seqno",
            &[&owner, &lease.as_secs_f64()],
        )
        .await?;
    row.map(|row| Ok(Cursor { epoch: codec::seqno(&row, "epoch")?, seqno: codec::number(row.try_get("seqno")?, "seqno")? }))
        .transpose()
}

/// Gives the lead up at shutdown.
pub async fn stand_down(client: &impl GenericClient, owner: &str) -> Result<(), Error> {
    client.execute("UPDATE chain.cursor SET lease_until = '-infinity' WHERE owner = $1", &[&owner]).await?;
    Ok(())
}

/// A masterchain key block that was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyBlock {
    /// Its seqno.
    pub seqno: u32,
    /// Its root hash.
    pub root_hash: [u8; 32],
    /// Its file hash.
    pub file_hash: [u8; 32],
}

/// The newest key block that an indexer of the node proved; `None` before the first one.
pub async fn key_block(client: &impl GenericClient) -> Result<Option<KeyBlock>, Error> {
    let query = "SELECT key_block, key_block_root_hash, key_block_file_hash FROM chain.cursor WHERE key_block IS NOT NULL";
    let row = client.query_opt(query, &[]).await?;
    row.map(|row| {
        Ok(KeyBlock {
            seqno: codec::number(row.try_get("key_block")?, "key_block")?,
            root_hash: codec::bytes(&row, "key_block_root_hash")?,
            file_hash: codec::bytes(&row, "key_block_file_hash")?,
        })
    })
    .transpose()
}

/// Remembers a key block that was proven, unless a newer one is known.
///
/// Errors: [`Error::Fenced`] when another indexer leads.
pub async fn remember_key_block(client: &impl GenericClient, at: Cursor, block: &KeyBlock) -> Result<(), Error> {
    let leads = client
        .execute(
            "UPDATE chain.cursor SET \
                 key_block_root_hash = CASE WHEN key_block >= $2 THEN key_block_root_hash ELSE $3 END, \
                 key_block_file_hash = CASE WHEN key_block >= $2 THEN key_block_file_hash ELSE $4 END, \
                 key_block = greatest(key_block, $2) \
             WHERE epoch = $1",
            &[&long("epoch", at.epoch)?, &i64::from(block.seqno), &block.root_hash.as_slice(), &block.file_hash.as_slice()],
        )
        .await?;
    match leads {
        0 => Err(Error::Fenced),
        _ => Ok(()),
    }
}

/// Everything that a stretch of blocks showed.
#[derive(Debug, Default)]
pub struct Progress {
    /// Channel contracts as they are now.
    pub accounts: Vec<Account>,
    /// Events for the engine. Ids name the transaction, so that reading a block twice is harmless.
    pub tasks: Vec<NewTask>,
    /// What became of orders.
    pub orders: Vec<(String, OrderEnd)>,
    /// What became of the wallet message under way.
    pub message: Option<(i64, MessageEnd)>,
}

/// Moves the cursor from `at` to `to` and writes what was seen, in one transaction. Returns the channels of tasks that were left out because the
/// node does not have them.
///
/// Errors: [`Error::Fenced`] when another indexer leads or the cursor stands elsewhere.
pub async fn advance(client: &mut Object, at: Cursor, to: u32, progress: &Progress) -> Result<Vec<Address>, Error> {
    let transaction = client.transaction().await?;
    let moved = transaction
        .execute(
            "UPDATE chain.cursor SET seqno = $3 WHERE epoch = $1 AND seqno = $2",
            &[&long("epoch", at.epoch)?, &i64::from(at.seqno), &i64::from(to)],
        )
        .await?;
    if moved == 0 {
        return Err(Error::Fenced);
    }
    for account in &progress.accounts {
        put_account(&transaction, account, to).await?;
    }
    let unknown = post(&transaction, &progress.tasks).await?;
    for (order, end) in &progress.orders {
        end_order(&transaction, order, end).await?;
    }
    if let Some((message, end)) = progress.message {
        end_message(&transaction, message, end).await?;
    }
    transaction.commit().await?;
    Ok(unknown)
}

async fn post(transaction: &Transaction<'_>, tasks: &[NewTask]) -> Result<Vec<Address>, Error> {
    if tasks.is_empty() {
        return Ok(Vec::new());
    }
    let addresses: Vec<&[u8]> = tasks.iter().map(|t| t.channel.as_slice()).collect();
    let rows = transaction.query("SELECT address FROM engine.channel WHERE address = ANY ($1)", &[&addresses]).await?;
    let known = rows.iter().map(|row| codec::bytes(row, "address")).collect::<Result<HashSet<Address>, _>>()?;
    let (ours, others): (Vec<_>, Vec<_>) = tasks.iter().partition(|t| known.contains(&t.channel));
    let records = ours.into_iter().map(|t| codec::new_task(t, 0)).collect::<Result<Vec<_>, _>>()?;
    transaction.execute("SELECT engine.post_tasks($1)", &[&records]).await?;
    Ok(others.into_iter().map(|t| t.channel).collect())
}

// ---- the public graph

/// A verified channel contract, anyone's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Where it lives in the basechain.
    pub address: Address,
    /// Which code it runs.
    pub code_hash: [u8; 32],
    /// Logical time of the transaction that left it so.
    pub lt: u64,
    /// Its data.
    pub storage: Storage,
}

async fn put_account(transaction: &Transaction<'_>, account: &Account, block: u32) -> Result<(), Error> {
    let s = &account.storage;
    let status = i16::from(s.initialised) + i16::from(s.initialised && s.quarantine.is_some());
    let balance = |side| Nano(s.balance.of(side).max(0).unsigned_abs());
    let statement = transaction
        .prepare_cached(
            "INSERT INTO chain.account AS a (address, code_hash, config, channel_id, key_a, key_b, status, balance_a, balance_b, \
                 seqno_a, seqno_b, lt, block, storage) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
             ON CONFLICT (address) DO UPDATE SET status = excluded.status, balance_a = excluded.balance_a, balance_b = excluded.balance_b, \
                 seqno_a = excluded.seqno_a, seqno_b = excluded.seqno_b, lt = excluded.lt, block = excluded.block, \
                 storage = excluded.storage \
             WHERE a.lt < excluded.lt",
        )
        .await?;
    transaction
        .execute(
            &statement,
            &[
                &account.address.as_slice(),
                &account.code_hash.as_slice(),
                &ton::encode_boc(&s.open_config().to_cell()),
                &s.channel_id.as_slice(),
                &s.keys.a.as_slice(),
                &s.keys.b.as_slice(),
                &status,
                &balance(Side::A),
                &balance(Side::B),
                &long("seqno", s.committed_seqnos.a)?,
                &long("seqno", s.committed_seqnos.b)?,
                &long("lt", account.lt)?,
                &i64::from(block),
                &ton::encode_boc(&s.to_cell()),
            ],
        )
        .await?;
    Ok(())
}

fn account(row: &Row) -> Result<Account, Error> {
    let storage = cell(row.try_get("storage")?)?;
    Ok(Account {
        address: codec::bytes(row, "address")?,
        code_hash: codec::bytes(row, "code_hash")?,
        lt: codec::seqno(row, "lt")?,
        storage: Storage::from_cell(storage.as_ref()).map_err(|_| Error::Corrupt("account: storage"))?,
    })
}

/// Channel contracts that changed after the cursor stood at `block`; from 0: all ever seen. The planner keeps the graph in memory and asks with the
/// cursor that it knew before it asked last.
pub async fn accounts_since(client: &impl GenericClient, block: u32) -> Result<Vec<Account>, Error> {
    let statement = client.prepare_cached("SELECT * FROM chain.account WHERE block > $1 ORDER BY block").await?;
    client.query(&statement, &[&i64::from(block)]).await?.iter().map(account).collect()
}

/// How far the chain was read, for readers.
pub async fn block(client: &impl GenericClient) -> Result<u32, Error> {
    codec::number(client.query_one("SELECT seqno FROM chain.cursor", &[]).await?.try_get(0)?, "seqno")
}

/// One channel contract.
pub async fn account_of(client: &impl GenericClient, address: &Address) -> Result<Option<Account>, Error> {
    let statement = client.prepare_cached("SELECT * FROM chain.account WHERE address = $1").await?;
    client.query_opt(&statement, &[&address.as_slice()]).await?.as_ref().map(account).transpose()
}

/// Every channel contract of a node.
pub async fn accounts_of(client: &impl GenericClient, key: &Key) -> Result<Vec<Account>, Error> {
    let statement = client.prepare_cached("SELECT * FROM chain.account WHERE key_a = $1 OR key_b = $1 ORDER BY address").await?;
    client.query(&statement, &[&key.as_slice()]).await?.iter().map(account).collect()
}

// ---- the wallet

/// A message that the wallet shall send, once per id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOrder {
    /// Unique for ever within the node.
    pub id: String,
    /// The channel whose actor hears of a failure.
    pub channel: Option<Address>,
    /// Where to.
    pub destination: ton::Address,
    /// Nano.
    pub value: u128,
    /// The signed message.
    pub body: Option<Cell>,
    /// Deploys the destination.
    pub state_init: Option<Cell>,
    /// Whether the value comes back when it fails.
    pub bounce: bool,
}

impl NewOrder {
    /// `chain.new_order`
    pub(crate) fn record(&self) -> Record {
        Record(vec![
            self.id.as_str().into(),
            self.channel.into(),
            Value::Small(self.destination.workchain.into()),
            self.destination.hash.into(),
            self.value.into(),
            self.body.as_ref().map(ton::encode_boc).into(),
            self.state_init.as_ref().map(ton::encode_boc).into(),
            self.bounce.into(),
        ])
    }
}

/// What became of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrderEnd {
    /// Its effect was seen at the destination.
    Done,
    /// It failed there for good.
    Failed(String),
    /// It was not emitted, or came to nothing: it is sent again.
    Again,
}

/// A signed wallet message that was written before it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletMessage {
    /// Its row.
    pub id: i64,
    /// The wallet's seqno that it spends.
    pub seqno: u32,
    /// The last second of unix time at which the wallet takes it.
    pub valid_until: u32,
    /// The external message.
    pub boc: Vec<u8>,
    /// What it carries, in order.
    pub orders: Vec<String>,
}

/// What became of a wallet message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageEnd {
    /// It moved the seqno: its orders are on their way.
    Executed,
    /// It can never be executed: its orders are queued again.
    Dead,
}

/// Queues orders that no channel makes, such as an operator's withdrawal. Known ids are left as they are.
pub async fn place(client: &impl GenericClient, orders: &[NewOrder]) -> Result<(), Error> {
    let records: Vec<Record> = orders.iter().map(NewOrder::record).collect();
    client.execute("SELECT chain.place_orders($1)", &[&records]).await?;
    Ok(())
}

/// The oldest orders in no message yet.
pub async fn queued(client: &impl GenericClient, limit: u32) -> Result<Vec<NewOrder>, Error> {
    let statement = client.prepare_cached("SELECT * FROM chain.wallet_order WHERE state = 0 ORDER BY seq LIMIT $1").await?;
    client.query(&statement, &[&i64::from(limit)]).await?.iter().map(order).collect()
}

/// Orders that were sent and whose effect was not seen yet.
pub async fn sent(client: &impl GenericClient) -> Result<Vec<NewOrder>, Error> {
    let statement = client.prepare_cached("SELECT * FROM chain.wallet_order WHERE state = 1 ORDER BY seq").await?;
    client.query(&statement, &[]).await?.iter().map(order).collect()
}

/// One order and what became of it; `None` while it is under way.
pub async fn order_of(client: &impl GenericClient, id: &str) -> Result<Option<(NewOrder, Option<OrderEnd>)>, Error> {
    let Some(row) = client.query_opt("SELECT * FROM chain.wallet_order WHERE id = $1", &[&id]).await? else { return Ok(None) };
    let end = match row.try_get::<_, i16>("state")? {
        2 => Some(OrderEnd::Done),
        3 => Some(OrderEnd::Failed(row.try_get("reason")?)),
        _ => None,
    };
    Ok(Some((order(&row)?, end)))
}

/// The message under way. After a start it is sent again, unchanged.
pub async fn under_way(client: &impl GenericClient) -> Result<Option<WalletMessage>, Error> {
    let Some(row) = client.query_opt("SELECT * FROM chain.wallet_message WHERE state = 0", &[]).await? else { return Ok(None) };
    Ok(Some(WalletMessage {
        id: row.try_get("id")?,
        seqno: codec::number(row.try_get("seqno")?, "seqno")?,
        valid_until: codec::number(row.try_get("valid_until")?, "valid_until")?,
        boc: row.try_get("boc")?,
        orders: row.try_get("orders")?,
    }))
}

/// Writes a signed message, before it is sent; its orders leave the queue. The id is the database's.
///
/// Errors: [`Error::Fenced`] when another indexer leads; [`Error::Inconsistent`] when an order is not queued; the database's when a message is under
/// way already.
pub async fn write_message(client: &mut Object, lead: Cursor, message: &WalletMessage) -> Result<i64, Error> {
    let transaction = client.transaction().await?;
    let epoch = long("epoch", lead.epoch)?;
    if transaction.query_opt("SELECT FROM chain.cursor WHERE epoch = $1 FOR SHARE", &[&epoch]).await?.is_none() {
        return Err(Error::Fenced);
    }
    let row = transaction
        .query_one(
            "INSERT INTO chain.wallet_message (seqno, valid_until, boc, orders) VALUES ($1, $2, $3, $4) RETURNING id",
            &[&i64::from(message.seqno), &i64::from(message.valid_until), &message.boc, &message.orders],
        )
        .await?;
    let taken = transaction
        .execute("UPDATE chain.wallet_order SET state = 1 WHERE id = ANY ($1) AND state = 0", &[&message.orders])
        .await?;
    if taken != message.orders.len() as u64 {
        return Err(Error::Inconsistent("a wallet message with an order that is not queued"));
    }
    transaction.commit().await?;
    Ok(row.try_get(0)?)
}

async fn end_order(transaction: &Transaction<'_>, id: &str, end: &OrderEnd) -> Result<(), Error> {
    let (state, reason) = match end {
        OrderEnd::Again => (0i16, None),
        OrderEnd::Done => (2, None),
        OrderEnd::Failed(reason) => (3, Some(reason)),
    };
    transaction
        .execute("UPDATE chain.wallet_order SET state = $2, reason = $3 WHERE id = $1 AND state < 2", &[&id, &state, &reason])
        .await?;
    Ok(())
}

async fn end_message(transaction: &Transaction<'_>, id: i64, end: MessageEnd) -> Result<(), Error> {
    let state: i16 = if end == MessageEnd::Executed { 1 } else { 2 };
    let row = transaction
        .query_opt("UPDATE chain.wallet_message SET state = $2 WHERE id = $1 AND state = 0 RETURNING orders", &[&id, &state])
        .await?;
    if let (Some(row), MessageEnd::Dead) = (row, end) {
        let orders: Vec<String> = row.try_get("orders")?;
        transaction.execute("UPDATE chain.wallet_order SET state = 0 WHERE id = ANY ($1) AND state = 1", &[&orders]).await?;
    }
    Ok(())
}

fn order(row: &Row) -> Result<NewOrder, Error> {
    let optional = |column| row.try_get::<_, Option<&[u8]>>(column)?.map(cell).transpose();
    Ok(NewOrder {
        id: row.try_get("id")?,
        channel: codec::maybe_bytes(row, "channel")?,
        destination: ton::Address {
            workchain: codec::number(row.try_get::<_, i16>("workchain")?.into(), "workchain")?,
            hash: codec::bytes(row, "destination")?,
        },
        value: codec::nano(row, "value")?,
        body: optional("body")?,
        state_init: optional("state_init")?,
        bounce: row.try_get("bounce")?,
    })
}

fn cell(boc: &[u8]) -> Result<Cell, Error> {
    ton::decode_boc(boc).map_err(|_| Error::Corrupt("bag of cells"))
}
