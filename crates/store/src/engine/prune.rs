//! Throwing away what nobody can ask for any more.

use deadpool_postgres::GenericClient;

use super::fold;
use crate::Error;

/// How long a command's result is kept, in days (design 3).
pub const REQUESTS_KEPT_DAYS: i32 = 7;
/// Most rows of a kind that one call deletes: a statement that takes long is broken off.
const BATCH: i64 = 10_000;

/// How many rows went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Own bodies below the committed seqno.
    pub bodies: u64,
    /// The peer's states below the committed seqno.
    pub peer_states: u64,
    /// Conditions in no dictionary from the committed seqno on.
    pub conditions: u64,
    /// Old commands.
    pub requests: u64,
}

/// Deletes some of what lies below the committed seqnos, of what belongs to closed channels, and of old commands; again until nothing goes. Any engine
/// may call it now and then: it only deletes what no state that the contract still takes can need (design 5). Legs stay: they are what the balances
/// add up from. A command whose virtual channel is not final stays too, however old: its result is still to come.
pub async fn prune(client: &impl GenericClient) -> Result<Pruned, Error> {
    fold(client).await?;
    let days = REQUESTS_KEPT_DAYS;
    let of_channels = async |table: &str, old: &str| {
        let delete = format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(SELECT old.ctid FROM engine.channel c CROSS JOIN LATERAL \
             (SELECT r.ctid FROM {table} r WHERE r.channel = c.address AND (c.status = 3 OR {old}) LIMIT $1) old \
             WHERE c.status = 3 OR c.our_committed > 0 OR c.their_committed > 0 LIMIT $1))"
        );
        client.execute(&delete, &[&BATCH]).await
    };
    let old_requests = "DELETE FROM engine.request WHERE request_id IN (SELECT r.request_id FROM engine.request r \
         WHERE r.at < now() - make_interval(days => $1) \
         AND NOT EXISTS (SELECT FROM engine.leg l WHERE l.request_id = r.request_id AND l.live) LIMIT $2)";
    Ok(Pruned {
        bodies: of_channels("engine.signed_body", "r.seqno < c.our_committed").await?,
        peer_states: of_channels("engine.peer_state", "r.seqno < c.their_committed").await?,
        // A body at the committed seqno may differ from its predecessor's dictionary: what left at that seqno stays.
        conditions: of_channels(
            "engine.conditional",
            "r.until < CASE r.side WHEN 0 THEN c.our_committed ELSE c.their_committed END",
        )
        .await?,
        requests: client.execute(old_requests, &[&days, &BATCH]).await?,
    })
}
