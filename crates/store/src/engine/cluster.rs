//! The cluster's identity and its start counter: a stale database must not sign (design 4.10).

use deadpool_postgres::GenericClient;
use protocol::Key;

use crate::{Error, codec, value::long};

/// What an engine writes to the state file beside its keystore after [`start`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// The database's identity, drawn when it was made.
    pub cluster: [u8; 16],
    /// Above every counter that any state file has.
    pub counter: u64,
}

/// Why an engine must not start.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
    /// The keystore belongs to another database.
    #[error("the keystore's state file belongs to another cluster")]
    OtherCluster,
    /// The database is older than the state file: it was restored from a backup, or a stale replica answers.
    #[error("the database is stale: its start counter is {database}, the state file has {file}")]
    Stale {
        /// The database's counter.
        database: u64,
        /// The file's counter.
        file: u64,
    },
    /// The database has the channels of another channel key.
    #[error("the database belongs to node {}, the keystore is that of node {}", hex::encode(database), hex::encode(keystore))]
    OtherNode {
        /// The channel key that the database was first used with.
        database: Key,
        /// The keystore's.
        keystore: Key,
    },
    /// The database could not be asked.
    #[error(transparent)]
    Store(#[from] Error),
}

/// Counts a start of the node with this channel key: the first one makes the database its own. `file` is what the state file has, `None` at the first
/// start of a keystore. The file is written with the outcome before anything is signed.
pub async fn start(client: &impl GenericClient, node: &Key, file: Option<Started>) -> Result<Started, StartRefused> {
    let known = client.query_one("SELECT id, starts, node FROM engine.cluster", &[]).await.map_err(Error::from)?;
    if let Some(database) = codec::maybe_bytes(&known, "node")?
        && database != *node
    {
        return Err(StartRefused::OtherNode { database, keystore: *node });
    }
    let cluster = codec::bytes(&known, "id")?;
    if let Some(file) = file {
        let database = codec::seqno(&known, "starts")?;
        if file.cluster != cluster {
            return Err(StartRefused::OtherCluster);
        }
        if file.counter > database {
            return Err(StartRefused::Stale { database, file: file.counter });
        }
    }
    let least = long("start counter", file.map_or(0, |f| f.counter))?;
    // Two first starts with different keys: one of them has it.
    let count =
        "UPDATE engine.cluster SET starts = greatest(starts, $1) + 1, node = $2 WHERE coalesce(node, $2) = $2 RETURNING starts";
    let row = client.query_opt(count, &[&least, &node.as_slice()]).await.map_err(Error::from)?;
    let row = row.ok_or(Error::Corrupt("cluster: another node's first start came first"))?;
    Ok(Started { cluster, counter: codec::seqno(&row, "starts")? })
}

/// For a service that holds the keystore and counts no starts: the database is this node's, or nobody's yet and from now on its.
pub async fn claim(client: &impl GenericClient, node: &Key) -> Result<(), StartRefused> {
    let claim = "UPDATE engine.cluster SET node = coalesce(node, $1) RETURNING node";
    let row = client.query_one(claim, &[&node.as_slice()]).await.map_err(Error::from)?;
    let database = codec::bytes(&row, "node")?;
    if database == *node { Ok(()) } else { Err(StartRefused::OtherNode { database, keystore: *node }) }
}

/// Freezes the node: no engine signs or sends to the chain any more. The first reason stays.
pub async fn freeze(client: &impl GenericClient, reason: &str) -> Result<(), Error> {
    client.execute("UPDATE engine.cluster SET frozen = coalesce(frozen, $1)", &[&reason]).await?;
    Ok(())
}

/// Why the node is frozen, when it is.
pub async fn frozen(client: &impl GenericClient) -> Result<Option<String>, Error> {
    Ok(client.query_one("SELECT frozen FROM engine.cluster", &[]).await?.try_get(0)?)
}

/// Ends a freeze: the operator's decision.
pub async fn thaw(client: &impl GenericClient) -> Result<(), Error> {
    client.execute("UPDATE engine.cluster SET frozen = NULL", &[]).await?;
    Ok(())
}
