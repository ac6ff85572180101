//! Dictionaries and bodies of the past, rebuilt for a dispute (payments 7.6.4, 10.1.7; design 5).

use deadpool_postgres::GenericClient;
use protocol::{Address, Attempt, Change, ChannelRow, Outcome, Side, SignedBody};
use tokio_postgres::Row;
use wire::{Condition, Resolution, SignedState, State};

use super::fold;
use crate::{Error, codec, value::long};

/// Which dictionary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The one that both agreed on at a side's seqno.
    Agreed {
        /// Whose.
        side: Side,
        /// That side's seqno.
        seqno: u64,
    },
    /// The one of a body that we signed, agreed or not.
    Signed {
        /// Our seqno.
        seqno: u64,
        /// Which of its bodies.
        attempt: Attempt,
    },
}

/// A body that we ever signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The body and its change.
    pub body: SignedBody,
    /// What became of it; `None` while nothing is known.
    pub outcome: Option<Outcome>,
}

/// The conditions of a dictionary, in no particular order. Empty for what was pruned or never was: compare the root hash.
pub async fn dictionary(client: &impl GenericClient, channel: &Address, version: Version) -> Result<Vec<Condition>, Error> {
    fold(client).await?;
    let (side, seqno, change) = match version {
        Version::Agreed { side, seqno } => (side, seqno, Change::None),
        Version::Signed { seqno, attempt } => {
            let statement = client
                .prepare_cached("SELECT * FROM engine.signed_body WHERE channel = $1 AND seqno = $2 AND attempt = $3")
                .await?;
            let key = long("seqno", seqno)?;
            let row = client.query_opt(&statement, &[&channel.as_slice(), &key, &codec::attempt(attempt)]).await?;
            let body = codec::body_from_row(&row.ok_or(Error::Corrupt("signed body: none at that seqno"))?)?;
            (Side::Our, seqno.saturating_sub(1), body.change)
        }
    };
    let rows = versioned(client, channel, side, seqno).await?;
    let mut conditions = rows.iter().map(codec::condition_from_row).collect::<Result<Vec<_>, _>>()?;
    match change {
        Change::None => {}
        Change::Insert(condition) => conditions.push(condition),
        Change::Remove(key) => conditions.retain(|c| c.key != key),
    }
    Ok(conditions)
}

/// The agreed dictionary of a side at its seqno, each condition with the best resolution that we hold: the answer to
/// [`protocol::Effect::LoadDictionary`].
pub async fn dictionary_with_resolutions(
    client: &impl GenericClient,
    channel: &Address,
    side: Side,
    seqno: u64,
) -> Result<Vec<(Condition, Option<Resolution>)>, Error> {
    fold(client).await?;
    let rows = versioned(client, channel, side, seqno).await?;
    rows.iter().map(|row| Ok((codec::condition_from_row(row)?, codec::resolution_from_row(row)?))).collect()
}

/// A condition is in the dictionary from `since` up to, not including, `until`.
async fn versioned(client: &impl GenericClient, channel: &Address, side: Side, seqno: u64) -> Result<Vec<Row>, Error> {
    // The leg on the side that pays is the outgoing one of the payer: ours for our conditions, our incoming one for the peer's.
    let direction: i16 = if side == Side::Our { 1 } else { 0 };
    let statement = client
        .prepare_cached(
            "SELECT c.key, c.capacity, c.fee, c.prepay, c.deadline, l.resolved, l.resolution FROM engine.conditional c \
             LEFT JOIN engine.leg l ON l.key = c.key AND l.direction = $4 AND l.channel = c.channel \
             WHERE c.channel = $1 AND c.side = $2 AND c.since <= $3 AND (c.until IS NULL OR c.until > $3)",
        )
        .await?;
    let key = long("seqno", seqno)?;
    Ok(client.query(&statement, &[&channel.as_slice(), &codec::side(side), &key, &direction]).await?)
}

/// Every body of ours on record from `seqno` on, by seqno and attempt.
pub async fn signed(client: &impl GenericClient, channel: &Address, from_seqno: u64) -> Result<Vec<Signed>, Error> {
    fold(client).await?;
    // At or below the agreed seqno, a body that is alone there is the agreed one: only of two is it written which.
    let statement = client
        .prepare_cached(
            "SELECT b.*, b.seqno <= c.our_seqno AND count(*) OVER (PARTITION BY b.seqno) = 1 AS agreed \
             FROM engine.signed_body b JOIN engine.channel c ON c.address = b.channel \
             WHERE b.channel = $1 AND b.seqno >= $2 ORDER BY b.seqno, b.attempt",
        )
        .await?;
    let rows = client.query(&statement, &[&channel.as_slice(), &long("seqno", from_seqno)?]).await?;
    rows.iter()
        .map(|row| {
            let outcome = if row.try_get("agreed")? { Some(Outcome::Agreed) } else { codec::outcome_from_row(row)? };
            Ok(Signed { body: codec::body_from_row(row)?, outcome })
        })
        .collect()
}

/// Every state of the peer on record from `seqno` on, each with the signature that it came with.
pub async fn peer_states(client: &impl GenericClient, channel: &ChannelRow, from_seqno: u64) -> Result<Vec<SignedState>, Error> {
    fold(client).await?;
    let statement =
        client.prepare_cached("SELECT * FROM engine.peer_state WHERE channel = $1 AND seqno >= $2 ORDER BY seqno").await?;
    let rows = client.query(&statement, &[&channel.address.as_slice(), &long("seqno", from_seqno)?]).await?;
    let channel_id = channel.config.channel_id;
    rows.iter()
        .map(|row| {
            let (signature, body, counterparty) = codec::peer_state_from_row(row)?;
            Ok(SignedState { signature, state: State { channel_id, body, counterparty } })
        })
        .collect()
}
