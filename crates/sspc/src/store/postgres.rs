//! Records in a table of Postgres. The database decides who wrote first: a change names the version that it replaces.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Config, NoTls};

use super::{Store, StoreError};
use crate::params::{ChannelId, Variant};
use crate::record::Record;

const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS sspc_channel (
    key bytea PRIMARY KEY CHECK (length(key) = 32),
    version bigint NOT NULL,
    -- the contract and its name of the channel: no two records may be of one deposit
    name bytea UNIQUE,
    record bytea NOT NULL
)";
/// Two processes that start at once must not both make the table.
const SCHEMA_LOCK: i64 = 0x5353_5043;

/// Longest wait for the database: the guard must not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(20);

/// A database with records; waits for it no longer than its patience. Connects anew after a failure; what was under way then has failed.
pub struct PostgresStore {
    config: Config,
    patience: Duration,
    client: Mutex<Option<Arc<Client>>>,
}

impl PostgresStore {
    /// Connects, and makes the table where it is missing.
    ///
    /// # Errors
    /// The URL; the database.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        Self::connect_with(url, PATIENCE).await
    }

    /// As [`Self::connect`], with another patience.
    ///
    /// # Errors
    /// The URL; the database.
    pub async fn connect_with(url: &str, patience: Duration) -> Result<Self, StoreError> {
        let config: Config = url.parse().map_err(database)?;
        let store = Self { config, patience, client: Mutex::new(None) };
        let client = store.client().await?;
        let schema = format!("BEGIN; SELECT pg_advisory_xact_lock({SCHEMA_LOCK}); {SCHEMA}; COMMIT");
        store.within(client.batch_execute(&schema)).await?;
        Ok(store)
    }

    async fn client(&self) -> Result<Arc<Client>, StoreError> {
        let mut slot = self.client.lock().await;
        if let Some(client) = slot.as_ref().filter(|client| !client.is_closed()) {
            return Ok(client.clone());
        }
        let connected = timeout(self.patience, self.config.connect(NoTls)).await;
        let (client, connection) = connected.map_err(|_| silent())?.map_err(database)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::warn!(%error, "the connection to the database has ended");
            }
        });
        let client = Arc::new(client);
        *slot = Some(client.clone());
        Ok(client)
    }

    async fn other_version(&self, key: &B256, expected: u64) -> Result<(), StoreError> {
        let stored = self.load(key).await?.map_or(0, |stored| stored.version);
        Err(StoreError::Version { stored, expected })
    }

    /// The answer, or an error and a new connection for the next question. A change whose answer did not come may be made all the same, but
    /// never over a later one: it names the version that it replaces.
    async fn within<T>(&self, work: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, StoreError> {
        let Ok(answer) = timeout(self.patience, work).await else {
            *self.client.lock().await = None;
            return Err(silent());
        };
        answer.map_err(database)
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError> {
        let client = self.client().await?;
        let (key, query) = (key.as_slice(), "SELECT record FROM sspc_channel WHERE key = $1");
        self.within(client.query_opt(query, &[&key])).await?.map(|row| Ok(Record::decode(row.get(0))?)).transpose()
    }

    async fn keys(&self) -> Result<Vec<B256>, StoreError> {
        let client = self.client().await?;
        let rows = self.within(client.query("SELECT key FROM sspc_channel", &[])).await?;
        Ok(rows.iter().map(|row| B256::from_slice(row.get(0))).collect())
    }

    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        let (key, bytes, name) = (record.key(), record.encode(), name(record));
        let version = number(record.version)?;
        let client = self.client().await?;
        let changed = match expected {
            None => {
                let insert =
                    "INSERT INTO sspc_channel (key, version, name, record) VALUES ($1, $2, $3, $4) ON CONFLICT (key) DO NOTHING";
                self.within(client.execute(insert, &[&key.as_slice(), &version, &name, &bytes])).await
            }
            Some(expected) => {
                let update = "UPDATE sspc_channel SET version = $2, name = $3, record = $4 WHERE key = $1 AND version = $5";
                let expected = number(expected)?;
                self.within(client.execute(update, &[&key.as_slice(), &version, &name, &bytes, &expected])).await
            }
        };
        if changed? == 1 {
            return Ok(());
        }
        self.other_version(&key, expected.unwrap_or(0)).await
    }

    async fn remove(&self, key: &B256, expected: u64) -> Result<(), StoreError> {
        let client = self.client().await?;
        let (bytes, version) = (key.as_slice(), number(expected)?);
        let delete = "DELETE FROM sspc_channel WHERE key = $1 AND version = $2";
        match self.within(client.execute(delete, &[&bytes, &version])).await? {
            1 => Ok(()),
            _ => self.other_version(key, expected).await,
        }
    }
}

/// The contract and its name of the channel.
fn name(record: &Record) -> Option<Vec<u8>> {
    let id: ChannelId = record.id?;
    let mut name = record.place.chain_id.to_be_bytes().to_vec();
    name.extend_from_slice(record.place.contract.as_slice());
    name.push(u8::from(record.place.variant == Variant::Compact));
    name.extend_from_slice(id.topic().as_slice());
    Some(name)
}

fn number(version: u64) -> Result<i64, StoreError> {
    i64::try_from(version).map_err(|_| StoreError::Io("version".to_owned()))
}

fn database(error: tokio_postgres::Error) -> StoreError {
    if error.code() == Some(&SqlState::UNIQUE_VIOLATION) { StoreError::Taken } else { StoreError::Io(error.to_string()) }
}

fn silent() -> StoreError {
    StoreError::Io("the database does not answer".to_owned())
}
