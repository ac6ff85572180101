//! Throwing away what nobody can ask for any more.

use deadpool_postgres::GenericClient;

use crate::Error;

/// How long a command's result is kept, in days (design 3).
pub const REQUESTS_KEPT_DAYS: i32 = 7;

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
    /// Committers that have not written for long.
    pub committers: u64,
}

/// Deletes what lies below the committed seqnos, what belongs to closed channels, and old commands. Any engine may call it now and then: it only
/// deletes what no state that the contract still takes can need (design 5). Legs stay: they are what the balances add up from.
pub async fn prune(client: &impl GenericClient) -> Result<Pruned, Error> {
    let days = REQUESTS_KEPT_DAYS;
    Ok(Pruned {
        bodies: client
            .execute(
                "DELETE FROM engine.signed_body b USING engine.channel c \
                 WHERE b.channel = c.address AND (b.seqno < c.our_committed OR c.status = 3)",
                &[],
            )
            .await?,
        peer_states: client
            .execute(
                "DELETE FROM engine.peer_state s USING engine.channel c \
                 WHERE s.channel = c.address AND (s.seqno < c.their_committed OR c.status = 3)",
                &[],
            )
            .await?,
        // A body at the committed seqno may differ from its predecessor's dictionary: what left at that seqno stays.
        conditions: client
            .execute(
                "DELETE FROM engine.conditional k USING engine.channel c WHERE k.channel = c.address AND \
                 (c.status = 3 OR k.until < CASE k.side WHEN 0 THEN c.our_committed ELSE c.their_committed END)",
                &[],
            )
            .await?,
        requests: client.execute("DELETE FROM engine.request WHERE at < now() - make_interval(days => $1)", &[&days]).await?,
        committers: client.execute("DELETE FROM engine.committer WHERE at < now() - make_interval(days => $1)", &[&days]).await?,
    })
}
