//! Where records are kept.

mod file;
#[cfg(feature = "postgres")]
mod postgres;

pub use file::FileStore;
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;

use std::collections::HashMap;
use std::sync::Mutex;

use alloy_primitives::B256;
use async_trait::async_trait;

use crate::codec::Malformed;
use crate::params::{ChannelId, Place};
use crate::record::Record;

/// Why a record is not kept or not found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else changed the record: the caller's copy is old and must be read again.
    #[error("the record is at version {stored}, the change is for version {expected}")]
    Version {
        /// In the store; 0 when there is none.
        stored: u64,
        /// The caller's.
        expected: u64,
    },
    /// Another record already has this channel of the contract: one deposit must not be counted twice.
    #[error("another record is of the same channel")]
    Taken,
    /// The disk or the database.
    #[error("storage: {0}")]
    Io(String),
    /// What is stored is no record.
    #[error("storage holds {0}")]
    Malformed(#[from] Malformed),
}

/// Keeps records by [`Record::key`].
#[async_trait]
pub trait Store: Send + Sync {
    /// The record, if there is one.
    ///
    /// # Errors
    /// The storage.
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError>;

    /// Names of all records.
    ///
    /// # Errors
    /// The storage.
    async fn keys(&self) -> Result<Vec<B256>, StoreError>;

    /// Keeps the record in the place of the one with version `expected` (none and 0: a new one). All or nothing, durable before it returns.
    /// After any error the record may or may not be kept: read it again. What is read is durable; a store that cannot say what is durable
    /// fails instead.
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError>;

    /// Forgets the record with this version. As [`Self::commit`].
    ///
    /// # Errors
    /// See [`StoreError`].
    async fn remove(&self, key: &B256, expected: u64) -> Result<(), StoreError>;
}

/// Records by key, with the rules of [`Store::commit`].
#[derive(Default)]
struct Table {
    records: HashMap<B256, Record>,
    channels: HashMap<(Place, ChannelId), B256>,
}

impl Table {
    fn check(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        self.check_version(&record.key(), expected)?;
        let owner = record.id.and_then(|id| self.channels.get(&(record.place, id)));
        if owner.is_some_and(|owner| *owner != record.key()) { Err(StoreError::Taken) } else { Ok(()) }
    }

    fn check_version(&self, key: &B256, expected: Option<u64>) -> Result<(), StoreError> {
        let stored = self.records.get(key).map(|stored| stored.version);
        let error = StoreError::Version { stored: stored.unwrap_or(0), expected: expected.unwrap_or(0) };
        if stored == expected { Ok(()) } else { Err(error) }
    }

    fn remove(&mut self, key: &B256) {
        let removed = self.records.remove(key);
        let name = removed.and_then(|record| Some((record.place, record.id?)));
        name.and_then(|name| self.channels.remove(&name));
    }

    fn put(&mut self, record: Record) {
        let key = record.key();
        let (place, id) = (record.place, record.id);
        let old = self.records.insert(key, record).and_then(|old| old.id);
        if old != id {
            // A draft may be named anew; its old name is free again.
            old.and_then(|old| self.channels.remove(&(place, old)));
            id.and_then(|id| self.channels.insert((place, id), key));
        }
    }
}

/// Keeps records in memory: for tests, and to measure what storage costs. Nothing survives the process.
#[derive(Default)]
pub struct MemoryStore(Mutex<Table>);

impl MemoryStore {
    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError> {
        Ok(self.table().records.get(key).cloned())
    }

    async fn keys(&self) -> Result<Vec<B256>, StoreError> {
        Ok(self.table().records.keys().copied().collect())
    }

    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        let mut table = self.table();
        table.check(expected, record)?;
        table.put(record.clone());
        Ok(())
    }

    async fn remove(&self, key: &B256, expected: u64) -> Result<(), StoreError> {
        let mut table = self.table();
        table.check_version(key, Some(expected))?;
        table.remove(key);
        Ok(())
    }
}
