//! Loading channels into memory.

use std::collections::HashMap;

use deadpool_postgres::Object;
use protocol::{Address, Channel, ChannelRow, Leg};
use tokio_postgres::{IsolationLevel, Row, Transaction};
use wire::Condition;

use super::fold;
use crate::{Error, codec};

/// A channel with its live conditions and legs, as [`Channel::load`] takes it.
#[derive(Debug)]
pub struct Loaded {
    /// The peer's shard.
    pub shard: u8,
    /// The row.
    pub row: ChannelRow,
    /// Our agreed dictionary.
    pub ours: Vec<Condition>,
    /// The peer's.
    pub theirs: Vec<Condition>,
    /// Legs that are not final, or have something released or untold.
    pub legs: Vec<Leg>,
}

impl Loaded {
    /// The channel's state machine. Errors when the row's peer key is none, or its dictionaries contradict each other.
    pub fn into_channel(self) -> Result<Channel, Error> {
        Channel::load(self.row, self.ours, self.theirs, self.legs).map_err(|_| Error::Corrupt("channel"))
    }
}

/// Everything of these shards: call it after taking them. Channels that are closed and have no live leg are left out.
pub async fn load(client: &mut Object, shards: &[u8]) -> Result<Vec<Loaded>, Error> {
    let shards: Vec<i16> = shards.iter().map(|s| (*s).into()).collect();
    let condition =
        "c.shard = ANY ($1) AND (c.status < 3 OR EXISTS (SELECT FROM engine.leg l WHERE l.channel = c.address AND l.live))";
    read(client, condition, &[&shards]).await
}

/// One channel, closed or not: after a failed commit.
pub async fn load_channel(client: &mut Object, address: &Address) -> Result<Option<Loaded>, Error> {
    Ok(read(client, "c.address = $1", &[&address.as_slice()]).await?.pop())
}

async fn read(
    client: &mut Object,
    which: &str,
    parameters: &[&(dyn tokio_postgres::types::ToSql + Sync)],
) -> Result<Vec<Loaded>, Error> {
    fold(client).await?;
    let one_moment = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
    let transaction = one_moment.start().await?;
    let rows = transaction.query(&format!("SELECT c.* FROM engine.channel c WHERE {which}"), parameters).await?;
    let mut loaded = Vec::with_capacity(rows.len());
    let mut places = HashMap::new();
    for row in &rows {
        let channel = codec::channel_from_row(row)?;
        places.insert(channel.address, loaded.len());
        loaded.push(Loaded { shard: codec::shard(row)?, row: channel, ours: Vec::new(), theirs: Vec::new(), legs: Vec::new() });
    }
    let addresses: Vec<&[u8]> = places.keys().map(|a| a.as_slice()).collect();
    for row in conditions(&transaction, &addresses).await? {
        if let Some(place) = places.get(&codec::bytes::<32>(&row, "channel")?) {
            let channel: &mut Loaded = &mut loaded[*place];
            let side = if row.try_get::<_, i16>("side")? == 0 { &mut channel.ours } else { &mut channel.theirs };
            side.push(codec::condition_from_row(&row)?);
        }
    }
    let legs = "SELECT * FROM engine.leg WHERE channel = ANY ($1) AND live";
    for row in transaction.query(legs, &[&addresses]).await? {
        if let Some(place) = places.get(&codec::bytes::<32>(&row, "channel")?) {
            loaded[*place].legs.push(codec::leg_from_row(&row)?);
        }
    }
    transaction.commit().await?;
    Ok(loaded)
}

async fn conditions(transaction: &Transaction<'_>, channels: &[&[u8]]) -> Result<Vec<Row>, Error> {
    let live = "SELECT channel, side, key, capacity, fee, prepay, deadline FROM engine.conditional \
                WHERE channel = ANY ($1) AND until IS NULL";
    Ok(transaction.query(live, &[&channels]).await?)
}
