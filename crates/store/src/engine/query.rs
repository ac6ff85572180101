//! What the API shows.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use protocol::{Address, ChannelRow, Direction, Key, Leg, Status};
use tokio_postgres::Row;

use super::fold;
use crate::{Error, codec};

/// A channel as the API lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelSummary {
    /// The row.
    pub row: ChannelRow,
    /// Nano locked by open conditions: ours, the peer's.
    pub locked: [u128; 2],
    /// Open conditions: ours, the peer's.
    pub open: [u64; 2],
}

impl ChannelSummary {
    /// Nano that each side can still promise or pay: ours, the peer's (payments 6). Negative would be credit.
    pub fn available(&self) -> [i128; 2] {
        let row = &self.row;
        if row.status == Status::Closed {
            // The contract has paid everything out and forgotten the deposits.
            return [0; 2];
        }
        let chain = &row.onchain;
        let side = |i: usize, own: u128, other: u128| {
            let withdrawn = chain.withdrawn[i].max(row.pending_withdraw[i]);
            let has = other.saturating_add(chain.deposited[i]);
            let gone = withdrawn.saturating_add(own).saturating_add(self.locked[i]);
            has.cast_signed().saturating_sub(gone.cast_signed())
        };
        [side(0, row.our.sent, row.their.sent), side(1, row.their.sent, row.our.sent)]
    }
}

const SUMMARY: &str = "SELECT c.*, o.locked AS our_locked, o.open AS our_open, t.locked AS their_locked, t.open AS their_open \
    FROM engine.channel c \
    CROSS JOIN LATERAL (SELECT coalesce(sum(greatest(0, capacity + fee - prepay)), 0)::numeric(37,0) AS locked, count(*) AS open \
        FROM engine.conditional WHERE channel = c.address AND side = 0 AND until IS NULL) o \
    CROSS JOIN LATERAL (SELECT coalesce(sum(greatest(0, capacity + fee - prepay)), 0)::numeric(37,0) AS locked, count(*) AS open \
        FROM engine.conditional WHERE channel = c.address AND side = 1 AND until IS NULL) t";

fn summary(row: &Row) -> Result<ChannelSummary, Error> {
    Ok(ChannelSummary {
        row: codec::channel_from_row(row)?,
        locked: [codec::nano(row, "our_locked")?, codec::nano(row, "their_locked")?],
        open: [codec::number(row.try_get("our_open")?, "open")?, codec::number(row.try_get("their_open")?, "open")?],
    })
}

/// Channels in the order of their addresses, behind `after`, at most `limit`. With `peer`, only those with it; closed ones only when asked for.
pub async fn channels(
    client: &impl GenericClient,
    peer: Option<&Key>,
    with_closed: bool,
    after: Option<&Address>,
    limit: u32,
) -> Result<Vec<ChannelSummary>, Error> {
    fold(client).await?;
    let statement = client
        .prepare_cached(&format!(
            "{SUMMARY} WHERE c.address > $1 AND ($2::bytea IS NULL OR c.peer = $2) AND ($3 OR c.status < 3) ORDER BY c.address LIMIT $4"
        ))
        .await?;
    let after = after.map_or(&[][..], |a| a);
    let peer = peer.map(|p| p.as_slice());
    client.query(&statement, &[&after, &peer, &with_closed, &i64::from(limit)]).await?.iter().map(summary).collect()
}

/// One channel.
pub async fn channel_of(client: &impl GenericClient, address: &Address) -> Result<Option<ChannelSummary>, Error> {
    fold(client).await?;
    let statement = client.prepare_cached(&format!("{SUMMARY} WHERE c.address = $1")).await?;
    client.query_opt(&statement, &[&address.as_slice()]).await?.as_ref().map(summary).transpose()
}

/// Every channel that is not closed, in one moment: for balances and metrics.
pub async fn open_channels(client: &impl GenericClient) -> Result<Vec<ChannelSummary>, Error> {
    fold(client).await?;
    client.query(&format!("{SUMMARY} WHERE c.status < 3"), &[]).await?.iter().map(summary).collect()
}

/// A leg with the channel that it is on.
#[derive(Debug, Clone, PartialEq)]
pub struct LegSummary {
    /// The channel.
    pub channel: Address,
    /// The leg.
    pub leg: Leg,
    /// When it was first written, by the database's clock.
    pub created: SystemTime,
    /// When it was last written.
    pub changed: SystemTime,
}

impl LegSummary {
    /// Where it stands in [`legs`].
    pub fn place(&self) -> LegPlace {
        LegPlace { key: self.leg.key(), direction: self.leg.direction(), channel: self.channel }
    }
}

/// A place in the list of legs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LegPlace {
    /// Virtual key.
    pub key: Key,
    /// Which half.
    pub direction: Direction,
    /// On which channel.
    pub channel: Address,
}

/// Which legs to list.
#[derive(Debug, Clone, Copy, Default)]
pub struct LegFilter {
    /// Only on this channel.
    pub channel: Option<Address>,
    /// Only those that are not final, or have something released or untold.
    pub live: bool,
}

fn leg_summary(row: &Row) -> Result<LegSummary, Error> {
    Ok(LegSummary {
        channel: codec::bytes(row, "channel")?,
        leg: codec::leg_from_row(row)?,
        created: row.try_get("created")?,
        changed: row.try_get("changed")?,
    })
}

/// Legs by key, behind `after`, at most `limit`.
pub async fn legs(
    client: &impl GenericClient,
    filter: LegFilter,
    after: Option<LegPlace>,
    limit: u32,
) -> Result<Vec<LegSummary>, Error> {
    fold(client).await?;
    let statement = client
        .prepare_cached(
            "SELECT * FROM engine.leg WHERE (key, direction, channel) > ($1, $2, $3) \
             AND ($4::bytea IS NULL OR channel = $4) AND (live OR NOT $5) ORDER BY key, direction, channel LIMIT $6",
        )
        .await?;
    let (key, channel) = after.as_ref().map_or((&[][..], &[][..]), |a| (&a.key, &a.channel));
    let direction = after.as_ref().map_or(0, |a| codec::direction(a.direction));
    let only = filter.channel.as_ref().map(|c| c.as_slice());
    let rows = client.query(&statement, &[&key, &direction, &channel, &only, &filter.live, &i64::from(limit)]).await?;
    rows.iter().map(leg_summary).collect()
}

/// The legs of one virtual channel on this node: two on a forwarder, else one.
pub async fn legs_of(client: &impl GenericClient, key: &Key) -> Result<Vec<LegSummary>, Error> {
    fold(client).await?;
    let statement = client.prepare_cached("SELECT * FROM engine.leg WHERE key = $1 ORDER BY direction, channel").await?;
    client.query(&statement, &[&key.as_slice()]).await?.iter().map(leg_summary).collect()
}

/// The outgoing leg that a command opened.
pub async fn leg_of_request(client: &impl GenericClient, request_id: &str) -> Result<Option<LegSummary>, Error> {
    fold(client).await?;
    let statement = client.prepare_cached("SELECT * FROM engine.leg WHERE request_id = $1").await?;
    client.query_opt(&statement, &[&request_id]).await?.as_ref().map(leg_summary).transpose()
}
