//! The peer gateways' rows: fenced ADNL identities, known peers, sessions, the publisher (design 3).

use std::time::{Duration, SystemTime};

use deadpool_postgres::GenericClient;
use protocol::Key;
use tokio_postgres::Row;

use crate::{Error, codec, value::long};

/// The exclusive use of an ADNL key by one process, until another one claims it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The ADNL public key.
    pub adnl_key: [u8; 32],
    /// Fencing number.
    pub epoch: u64,
    /// The reinit date to use, unix seconds: above that of every earlier process (network 3.6). Above the clock when processes follow each other within a
    /// second: wait until then.
    pub reinit: u32,
}

/// Claims an ADNL key. The process that had it before is fenced out. `now` in unix seconds.
pub async fn claim(client: &impl GenericClient, adnl_key: &[u8; 32], now: u32) -> Result<Identity, Error> {
    let row = client
        .query_one(
            "INSERT INTO gateway.identity AS i (adnl_key, epoch, reinit, channel_date) VALUES ($1, 1, $2, 0) \
             ON CONFLICT (adnl_key) DO UPDATE SET epoch = i.epoch + 1, reinit = greatest(i.reinit + 1, excluded.reinit) \
             RETURNING epoch, reinit",
            &[&adnl_key.as_slice(), &i64::from(now)],
        )
        .await?;
    Ok(Identity {
        adnl_key: *adnl_key,
        epoch: codec::seqno(&row, "epoch")?,
        reinit: codec::number(row.try_get("reinit")?, "reinit")?,
    })
}

/// A date for new ADNL channels, unix seconds: strictly above every earlier one of this key (network 3.4). Claim `count` consecutive ones at once: the
/// first is returned.
///
/// Errors: [`Error::Fenced`] when another process has claimed the key.
pub async fn channel_dates(client: &impl GenericClient, identity: &Identity, now: u32, count: u32) -> Result<u32, Error> {
    let statement = client
        .prepare_cached(
            "UPDATE gateway.identity SET channel_date = greatest(channel_date, $3::bigint - 1) + $4::bigint WHERE adnl_key = $1 AND epoch = $2 \
             RETURNING channel_date - $4::bigint + 1 AS date",
        )
        .await?;
    let epoch = long("epoch", identity.epoch)?;
    let row = client
        .query_opt(&statement, &[&identity.adnl_key.as_slice(), &epoch, &i64::from(now), &i64::from(count.max(1))])
        .await?
        .ok_or(Error::Fenced)?;
    codec::number(row.try_get("date")?, "channel date")
}

/// Whether the key was not claimed by another process.
pub async fn holds(client: &impl GenericClient, identity: &Identity) -> Result<bool, Error> {
    let statement = client.prepare_cached("SELECT FROM gateway.identity WHERE adnl_key = $1 AND epoch = $2").await?;
    let epoch = long("epoch", identity.epoch)?;
    Ok(client.query_opt(&statement, &[&identity.adnl_key.as_slice(), &epoch]).await?.is_some())
}

/// A peer that some gateway has spoken with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its ADNL public key.
    pub adnl_key: [u8; 32],
    /// The channel key that it proved to have.
    pub node: Option<Key>,
    /// Its last address, `ip:port`.
    pub address: String,
    /// When.
    pub seen: SystemTime,
}

/// Remembers a peer; a channel key once known stays until another one is proved.
pub async fn remember_peer(client: &impl GenericClient, peer: &Peer) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO gateway.peer AS p (adnl_key, node, address, seen) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (adnl_key) DO UPDATE SET node = coalesce(excluded.node, p.node), address = excluded.address, seen = excluded.seen \
             WHERE p.seen <= excluded.seen",
        )
        .await?;
    let node = peer.node.as_ref().map(|n| n.as_slice());
    client.execute(&statement, &[&peer.adnl_key.as_slice(), &node, &peer.address, &peer.seen]).await?;
    Ok(())
}

/// The ADNL peers of a node, the one seen last first.
pub async fn peers_of(client: &impl GenericClient, node: &Key) -> Result<Vec<Peer>, Error> {
    let statement = client.prepare_cached("SELECT * FROM gateway.peer WHERE node = $1 ORDER BY seen DESC").await?;
    client.query(&statement, &[&node.as_slice()]).await?.iter().map(peer).collect()
}

/// All peers, the one seen last first, at most `limit`.
pub async fn peers(client: &impl GenericClient, limit: u32) -> Result<Vec<Peer>, Error> {
    let rows = client.query("SELECT * FROM gateway.peer ORDER BY seen DESC LIMIT $1", &[&i64::from(limit)]).await?;
    rows.iter().map(peer).collect()
}

fn peer(row: &Row) -> Result<Peer, Error> {
    Ok(Peer {
        adnl_key: codec::bytes(row, "adnl_key")?,
        node: codec::maybe_bytes(row, "node")?,
        address: row.try_get("address")?,
        seen: row.try_get("seen")?,
    })
}

/// Which gateway has the session of a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The peer's channel key.
    pub peer: Key,
    /// The gateway's name.
    pub gateway: String,
    /// When it was authenticated, by the database's clock.
    pub since: SystemTime,
}

/// A gateway has authenticated a peer: the newest session wins.
pub async fn open_session(client: &impl GenericClient, peer: &Key, gateway: &str) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO gateway.session (peer, gateway, since) VALUES ($1, $2, clock_timestamp()) \
             ON CONFLICT (peer) DO UPDATE SET gateway = excluded.gateway, since = excluded.since",
        )
        .await?;
    client.execute(&statement, &[&peer.as_slice(), &gateway]).await?;
    Ok(())
}

/// A session ended; another gateway's newer one stays.
pub async fn close_session(client: &impl GenericClient, peer: &Key, gateway: &str) -> Result<(), Error> {
    client.execute("DELETE FROM gateway.session WHERE peer = $1 AND gateway = $2", &[&peer.as_slice(), &gateway]).await?;
    Ok(())
}

/// All sessions of a gateway ended: it starts anew, or is gone.
pub async fn close_sessions(client: &impl GenericClient, gateway: &str) -> Result<(), Error> {
    client.execute("DELETE FROM gateway.session WHERE gateway = $1", &[&gateway]).await?;
    Ok(())
}

/// All sessions.
pub async fn sessions(client: &impl GenericClient) -> Result<Vec<Session>, Error> {
    let rows = client.query("SELECT * FROM gateway.session", &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Session { peer: codec::bytes(row, "peer")?, gateway: row.try_get("gateway")?, since: row.try_get("since")? })
        })
        .collect()
}

/// Takes or renews the right to put one's ADNL id into the node's DHT record: the epoch, or `None` while another gateway has it. Call it every third of
/// `lease`.
pub async fn publish(client: &impl GenericClient, gateway: &str, lease: Duration) -> Result<Option<u64>, Error> {
    let row = client
        .query_opt(
            "UPDATE gateway.publisher SET lease_until = clock_timestamp() + $2 * interval '1 second', \
                 epoch = epoch + (owner IS DISTINCT FROM $1)::int, owner = $1 \
             WHERE owner IS NOT DISTINCT FROM $1 OR lease_until < clock_timestamp() RETURNING epoch",
            &[&gateway, &lease.as_secs_f64()],
        )
        .await?;
    row.map(|row| codec::seqno(&row, "epoch")).transpose()
}

/// Gives that right up at shutdown.
pub async fn stop_publishing(client: &impl GenericClient, gateway: &str) -> Result<(), Error> {
    client.execute("UPDATE gateway.publisher SET lease_until = '-infinity' WHERE owner = $1", &[&gateway]).await?;
    Ok(())
}
