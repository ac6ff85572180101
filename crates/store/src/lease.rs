//! Who owns which shard (design 5). Leases are for liveness and by the database's clock, epochs are for safety.

use std::time::Duration;

use deadpool_postgres::GenericClient;
use protocol::Key;
use sha2::{Digest, Sha256};

use crate::{Error, codec};

/// Shards of a node.
pub const SHARDS: usize = 256;

/// The shard that a peer's channels belong to: the first byte of the hash of its channel key (design 1).
pub fn shard_of(peer: &Key) -> u8 {
    Sha256::digest(peer)[0]
}

/// A shard that an engine owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owned {
    /// Which.
    pub shard: u8,
    /// Since when, in changes of owner.
    pub epoch: u64,
}

/// An engine of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name, unique in the cluster.
    pub engine: String,
    /// Where other services reach it.
    pub address: String,
    /// Whether its lease has not run out.
    pub alive: bool,
    /// The shards it owns.
    pub shards: Vec<Owned>,
}

/// Registers an engine, or renews its lease: call it every third of `lease`. Under a name that is in use this is a defect of the configuration
/// that costs liveness, never safety.
pub async fn renew(client: &impl GenericClient, engine: &str, address: &str, lease: Duration) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO engine.member (engine, address, lease_until) VALUES ($1, $2, clock_timestamp() + $3 * interval '1 second') \
             ON CONFLICT (engine) DO UPDATE SET address = excluded.address, lease_until = excluded.lease_until",
        )
        .await?;
    client.execute(&statement, &[&engine, &address, &lease.as_secs_f64()]).await?;
    Ok(())
}

/// Takes shards that no live engine owns, up to the engine's even share of all. Ends when the former owner's commits under way have ended; none of it
/// succeeds afterwards. Returns the shards taken.
pub async fn take(client: &impl GenericClient, engine: &str) -> Result<Vec<Owned>, Error> {
    let statement = client.prepare_cached("SELECT shard, epoch FROM engine.take_shards($1)").await?;
    owned(&client.query(&statement, &[&engine]).await?)
}

/// What the engine owns now. Anything it thought it owned and that is not in here, or under another epoch, was taken from it.
pub async fn mine(client: &impl GenericClient, engine: &str) -> Result<Vec<Owned>, Error> {
    let statement = client.prepare_cached("SELECT shard, epoch FROM engine.shard WHERE owner = $1 ORDER BY shard").await?;
    owned(&client.query(&statement, &[&engine]).await?)
}

/// How many shards the engine has above its even share, after others joined: so many it stops and releases.
pub async fn excess(client: &impl GenericClient, engine: &str) -> Result<usize, Error> {
    let statement = client
        .prepare_cached(
            "SELECT greatest(0, (SELECT count(*) FROM engine.shard WHERE owner = $1) - coalesce(engine.quota($1), 256)) AS excess",
        )
        .await?;
    codec::number(client.query_one(&statement, &[&engine]).await?.try_get(0)?, "excess")
}

/// How many shards no live engine owns.
pub async fn unowned(client: &impl GenericClient) -> Result<usize, Error> {
    let statement = client
        .prepare_cached(
            "SELECT count(*) AS unowned FROM engine.shard \
             WHERE owner IS NULL OR owner NOT IN (SELECT engine.live_members())",
        )
        .await?;
    codec::number(client.query_one(&statement, &[]).await?.try_get(0)?, "unowned")
}

/// Gives shards up, once nothing of theirs is under way in the engine any more.
pub async fn release(client: &impl GenericClient, engine: &str, shards: &[Owned]) -> Result<(), Error> {
    let numbers: Vec<i16> = shards.iter().map(|s| s.shard.into()).collect();
    client.execute("UPDATE engine.shard SET owner = NULL WHERE owner = $1 AND shard = ANY ($2)", &[&engine, &numbers]).await?;
    Ok(())
}

/// At shutdown: gives everything up, so that others need not wait for the lease.
pub async fn leave(client: &impl GenericClient, engine: &str) -> Result<(), Error> {
    client.execute("UPDATE engine.shard SET owner = NULL WHERE owner = $1", &[&engine]).await?;
    client.execute("DELETE FROM engine.member WHERE engine = $1", &[&engine]).await?;
    Ok(())
}

/// All engines with their shards, for poking the owner of a task and for the operator.
pub async fn members(client: &impl GenericClient) -> Result<Vec<Member>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT m.engine, m.address, m.lease_until > clock_timestamp() AS alive, \
                 coalesce(array_agg(s.shard ORDER BY s.shard) FILTER (WHERE s.shard IS NOT NULL), '{}') AS shards, \
                 coalesce(array_agg(s.epoch ORDER BY s.shard) FILTER (WHERE s.shard IS NOT NULL), '{}') AS epochs \
             FROM engine.member m LEFT JOIN engine.shard s ON s.owner = m.engine GROUP BY m.engine ORDER BY m.engine",
        )
        .await?;
    let rows = client.query(&statement, &[]).await?;
    rows.iter()
        .map(|row| {
            let shards: Vec<i16> = row.try_get("shards")?;
            let epochs: Vec<i64> = row.try_get("epochs")?;
            let owned = |(shard, epoch): (&i16, &i64)| {
                Ok(Owned { shard: codec::number(i64::from(*shard), "shard")?, epoch: codec::number(*epoch, "epoch")? })
            };
            Ok(Member {
                engine: row.try_get("engine")?,
                address: row.try_get("address")?,
                alive: row.try_get("alive")?,
                shards: shards.iter().zip(&epochs).map(owned).collect::<Result<_, Error>>()?,
            })
        })
        .collect()
}

fn owned(rows: &[tokio_postgres::Row]) -> Result<Vec<Owned>, Error> {
    rows.iter().map(|row| Ok(Owned { shard: codec::shard(row)?, epoch: codec::seqno(row, "epoch")? })).collect()
}
