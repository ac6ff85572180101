//! Conservation, checked by query (design 4.4): in one moment, over all channels, to the nano.

use deadpool_postgres::GenericClient;
use protocol::Address;

use super::fold;
use crate::{Error, codec};

/// Something that must never be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The channel.
    pub channel: Address,
    /// The rule that does not hold.
    pub rule: String,
}

/// What holds of every channel, whatever was pruned: what a side sent is what its closed legs paid; no side promised more than it has; what is
/// released is the sum over the legs; the agreed body and the peer's state are on record; the dictionaries' locks are those of the conditions.
const RULES: &str = "
WITH locked AS (
    SELECT channel,
        coalesce(sum(greatest(0, capacity + fee - prepay)) FILTER (WHERE side = 0), 0) AS ours,
        coalesce(sum(greatest(0, capacity + fee - prepay)) FILTER (WHERE side = 1), 0) AS theirs
    FROM engine.conditional WHERE until IS NULL GROUP BY channel
), paid AS (
    SELECT channel,
        coalesce(sum(resolved + fee) FILTER (WHERE direction = 1 AND state = 4), 0) AS ours,
        coalesce(sum(resolved + fee) FILTER (WHERE direction = 0 AND state = 4), 0) AS theirs,
        sum(released) AS released
    FROM engine.leg GROUP BY channel
), c AS (
    SELECT c.*, coalesce(l.ours, 0) AS our_locked, coalesce(l.theirs, 0) AS their_locked,
        coalesce(p.ours, 0) AS our_paid, coalesce(p.theirs, 0) AS their_paid, coalesce(p.released, 0) AS leg_released
    FROM engine.channel c LEFT JOIN locked l ON l.channel = c.address LEFT JOIN paid p ON p.channel = c.address
)
SELECT address, 'our sent is what our outgoing legs paid' AS rule FROM c WHERE status < 2 AND our_sent <> our_paid
UNION ALL
SELECT address, 'the peer''s sent is what our incoming legs brought' FROM c WHERE status < 2 AND their_sent <> their_paid
UNION ALL
SELECT address, 'we never promise more than we have' FROM c WHERE status < 3
    AND their_sent + our_deposited - greatest(our_withdrawn, our_withdrawing) - our_sent - our_locked < 0
UNION ALL
SELECT address, 'the peer never promises more than it has' FROM c WHERE status < 3
    AND our_sent + their_deposited - greatest(their_withdrawn, their_withdrawing) - their_sent - their_locked < 0
UNION ALL
SELECT address, 'released is the sum over the legs' FROM c WHERE released <> leg_released
UNION ALL
SELECT address, 'our agreed body is on record' FROM c WHERE status < 3 AND our_seqno > 0 AND our_seqno >= our_committed AND NOT EXISTS (
    SELECT FROM engine.signed_body b WHERE b.channel = c.address AND b.seqno = c.our_seqno AND b.outcome IS DISTINCT FROM 3
        AND b.sent = c.our_sent AND b.conditionals = c.our_conditionals)
UNION ALL
SELECT address, 'the peer''s state is on record' FROM c WHERE status < 3 AND their_signature IS NOT NULL AND their_seqno >= their_committed
    AND NOT EXISTS (SELECT FROM engine.peer_state s WHERE s.channel = c.address AND s.seqno = c.their_seqno
        AND s.sent = c.their_sent AND s.conditionals = c.their_conditionals)
UNION ALL
SELECT address, 'the empty dictionary has no conditions' FROM c WHERE status < 3
    AND ((our_conditionals = decode(repeat('00', 32), 'hex') AND our_locked <> 0)
        OR (their_conditionals = decode(repeat('00', 32), 'hex') AND their_locked <> 0))
ORDER BY 1, 2";

/// What does not hold. Empty is good.
pub async fn audit(client: &impl GenericClient) -> Result<Vec<Finding>, Error> {
    fold(client).await?;
    let rows = client.query(RULES, &[]).await?;
    rows.iter().map(|row| Ok(Finding { channel: codec::bytes(row, "address")?, rule: row.try_get("rule")? })).collect()
}
