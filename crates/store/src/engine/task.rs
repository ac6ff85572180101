//! Tasks that wait for the owner of their shard.

use deadpool_postgres::GenericClient;
use protocol::NewTask;

use crate::{Error, codec, value::long};

/// A task that may be applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Due {
    /// Its row, for `known`.
    pub seq: i64,
    /// The shard that it belongs to.
    pub shard: u8,
    /// What to do.
    pub task: NewTask,
}

/// The oldest tasks of these shards that are due at `now` (milliseconds of protocol time), at most `limit`, without those already `known`.
///
/// A task that was just applied may come once more, when its commit and this query cross: applying it again gives
/// [`TaskGone`](crate::Verdict::TaskGone).
pub async fn due(client: &impl GenericClient, shards: &[u8], now: u64, known: &[i64], limit: u32) -> Result<Vec<Due>, Error> {
    let shards: Vec<i16> = shards.iter().map(|s| (*s).into()).collect();
    let statement = client
        .prepare_cached(
            "SELECT seq, shard, id, channel, payload FROM engine.task \
             WHERE shard = ANY ($1) AND not_before <= $2 AND seq <> ALL ($3) ORDER BY seq LIMIT $4",
        )
        .await?;
    let rows = client.query(&statement, &[&shards, &long("now", now)?, &known, &i64::from(limit)]).await?;
    rows.iter()
        .map(|row| Ok(Due { seq: row.try_get("seq")?, shard: codec::shard(row)?, task: codec::task_from_row(row)? }))
        .collect()
}
