//! Records in a file: an append-only log, one sync for all who wait (group commit), written anew when most of it is old.
//!
//! An entry is `length (4) | checksum (4) | durable (8) | record`, little-endian; the checksum is CRC-32 of `durable | record`. 32 bytes instead
//! of a record, which is always longer, are the key of one that is forgotten. `durable` is
//! how much of the file was synced when the entry was written. A process that ends while it writes leaves a torn tail, which nobody was told
//! of: it is cut off. A broken entry *before* a place that a later entry calls durable is damage, and the file is refused: to go on with an
//! older record could mean to sign two states of one round.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use alloy_primitives::B256;
use async_trait::async_trait;
use tokio::sync::oneshot;

use super::{Store, StoreError, Table};
use crate::codec::MAX_RECORD_BYTES;
use crate::record::Record;

const HEADER: usize = 16;
const LOG: &str = "records.log";
const NEW_LOG: &str = "records.new";
const LOCK: &str = "lock";
/// The log is written anew when it is larger than this and ...
const COMPACT_ABOVE_BYTES: u64 = 16 << 20;
/// ... than this many times what is live in it.
const COMPACT_ABOVE_TIMES: u64 = 4;

/// A folder with records; one process at a time.
pub struct FileStore {
    table: Arc<Mutex<Table>>,
    queue: Option<mpsc::Sender<Job>>,
    writer: Option<std::thread::JoinHandle<()>>,
    // Held open: the lock ends with the store.
    _lock: File,
}

/// What is queued is written before the folder is free.
impl Drop for FileStore {
    fn drop(&mut self) {
        self.queue = None;
        // A writer that panicked has nothing more to write.
        let _ = self.writer.take().map(std::thread::JoinHandle::join);
    }
}

/// A change of the table.
#[derive(Clone)]
enum Change {
    Keep(Box<Record>),
    Forget(B256),
}

impl Change {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Keep(record) => record.encode(),
            Self::Forget(key) => key.to_vec(),
        }
    }

    fn decode(bytes: &[u8]) -> Result<Self, StoreError> {
        match bytes.try_into() {
            Ok(key) => Ok(Self::Forget(key)),
            Err(_) => Ok(Self::Keep(Box::new(Record::decode(bytes)?))),
        }
    }

    fn apply(self, table: &mut Table) {
        match self {
            Self::Keep(record) => table.put(*record),
            Self::Forget(key) => table.remove(&key),
        }
    }
}

/// What the writer is asked for; answered when everything that was queued before it, and it, is durable.
struct Job {
    /// None: only to know that what was queued before is durable.
    change: Option<Change>,
    done: oneshot::Sender<Result<(), String>>,
}

impl FileStore {
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// The disk; another process has it; it is damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        std::fs::create_dir_all(folder).map_err(io)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join(LOCK)).map_err(io)?;
        lock.try_lock().map_err(|_| StoreError::Io(format!("{} is in use by another process", folder.display())))?;
        let (log, table) = Log::open(folder)?;
        Self::start(log, table, lock)
    }

    fn start(log: Log, table: Table, lock: File) -> Result<Self, StoreError> {
        let table = Arc::new(Mutex::new(table));
        let (queue, jobs) = mpsc::channel();
        let shared = table.clone();
        let writer = std::thread::Builder::new().name("sspc-store".to_owned());
        let writer = writer.spawn(move || log.run(&jobs, &shared)).map_err(io)?;
        Ok(Self { table, queue: Some(queue), writer: Some(writer), _lock: lock })
    }

    /// Reads or changes the table, and waits until what was read or changed is durable.
    ///
    /// The place in the queue is taken together with the look at the table: so the log has the changes in the table's order, and nobody
    /// reads what is not on the disk. After a failed write every answer is that error, until the folder is opened anew.
    async fn durably<T>(
        &self,
        work: impl FnOnce(&mut Table) -> Result<(Option<Change>, T), StoreError>,
    ) -> Result<T, StoreError> {
        let (done, outcome) = oneshot::channel();
        let value = {
            let mut table = locked(&self.table);
            let (change, value) = work(&mut table)?;
            let queue = self.queue.as_ref().ok_or_else(stopped)?;
            queue.send(Job { change: change.clone(), done }).map_err(|_| stopped())?;
            change.into_iter().for_each(|change| change.apply(&mut table));
            value
        };
        outcome.await.map_err(|_| stopped())?.map_err(StoreError::Io)?;
        Ok(value)
    }
}

#[async_trait]
impl Store for FileStore {
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError> {
        self.durably(|table| Ok((None, table.records.get(key).cloned()))).await
    }

    async fn keys(&self) -> Result<Vec<B256>, StoreError> {
        self.durably(|table| Ok((None, table.records.keys().copied().collect()))).await
    }

    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        self.durably(|table| {
            table.check(expected, record)?;
            Ok((Some(Change::Keep(Box::new(record.clone()))), ()))
        })
        .await
    }

    async fn remove(&self, key: &B256, expected: u64) -> Result<(), StoreError> {
        self.durably(|table| {
            table.check_version(key, Some(expected))?;
            Ok((Some(Change::Forget(*key)), ()))
        })
        .await
    }
}

/// The writing side.
struct Log {
    folder: PathBuf,
    file: File,
    length: u64,
}

impl Log {
    fn open(folder: &Path) -> Result<(Self, Table), StoreError> {
        let path = folder.join(LOG);
        let mut file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&path).map_err(io)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(io)?;
        let mut table = Table::default();
        let mut length = 0;
        while let Some((_, record)) = entry(&bytes[length..]) {
            length += HEADER + record.len();
            Change::decode(record)?.apply(&mut table);
        }
        if (length + 1..bytes.len()).any(|at| entry(&bytes[at..]).is_some_and(|(durable, _)| durable > length as u64)) {
            return Err(StoreError::Io(format!("{} is damaged at byte {length}", path.display())));
        }
        file.set_len(length as u64).map_err(io)?;
        file.seek(SeekFrom::End(0)).map_err(io)?;
        file.sync_all().map_err(io)?;
        sync_folder(folder)?;
        Ok((Self { folder: folder.to_owned(), file, length: length as u64 }, table))
    }

    /// Writes until the store is dropped. After a failed write nothing more is kept: what is on the disk is not known.
    fn run(mut self, jobs: &mpsc::Receiver<Job>, table: &Mutex<Table>) {
        let mut broken: Option<String> = None;
        while let Ok(first) = jobs.recv() {
            let batch: Vec<Job> = std::iter::once(first).chain(jobs.try_iter()).collect();
            if broken.is_none() {
                broken = self.append(&batch).and_then(|()| self.compact_if_due(table)).err().map(|error| error.to_string());
            }
            for job in batch {
                // Nobody waits any more: nothing to tell.
                let _ = job.done.send(broken.clone().map_or(Ok(()), Err));
            }
        }
    }

    fn append(&mut self, batch: &[Job]) -> std::io::Result<()> {
        let mut bytes = Vec::new();
        for change in batch.iter().filter_map(|job| job.change.as_ref()) {
            put_entry(&mut bytes, self.length, &change.encode());
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all(&bytes)?;
        self.file.sync_data()?;
        self.length += bytes.len() as u64;
        Ok(())
    }

    fn compact_if_due(&mut self, table: &Mutex<Table>) -> std::io::Result<()> {
        if self.length < COMPACT_ABOVE_BYTES {
            return Ok(());
        }
        let mut bytes = Vec::new();
        {
            // Changes that are queued but not written may be in it: earlier than promised, which harms nobody.
            let table = locked(table);
            table.records.values().for_each(|record| put_entry(&mut bytes, u64::MAX, &record.encode()));
        }
        if self.length < COMPACT_ABOVE_TIMES * bytes.len() as u64 {
            return Ok(());
        }
        let path = self.folder.join(NEW_LOG);
        let mut file = OpenOptions::new().create(true).truncate(true).write(true).open(&path)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&path, self.folder.join(LOG))?;
        File::open(&self.folder)?.sync_all()?;
        (self.file, self.length) = (file, bytes.len() as u64);
        Ok(())
    }
}

fn put_entry(bytes: &mut Vec<u8>, durable: u64, record: &[u8]) {
    let mut checked = crc32fast::Hasher::new();
    checked.update(&durable.to_le_bytes());
    checked.update(record);
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checked.finalize().to_le_bytes());
    bytes.extend_from_slice(&durable.to_le_bytes());
    bytes.extend_from_slice(record);
}

/// The entry at the beginning of `bytes`: how much was durable, and the record's bytes.
fn entry(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (header, rest) = bytes.split_first_chunk::<HEADER>()?;
    let word = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
    let length = usize::try_from(word(0)).ok().filter(|length| (1..=MAX_RECORD_BYTES).contains(length))?;
    let record = rest.get(..length)?;
    let mut checked = crc32fast::Hasher::new();
    checked.update(&header[8..]);
    checked.update(record);
    let durable = u64::from(word(8)) | u64::from(word(12)) << 32;
    (checked.finalize() == word(4)).then_some((durable, record))
}

fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Io(error.to_string())
}

fn stopped() -> StoreError {
    StoreError::Io("the store has stopped".to_owned())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use alloy_primitives::Address;

    use super::*;
    use crate::{Amount, Params, Party, Place, Variant};

    fn record(version: u64) -> Record {
        let place = Place { chain_id: 1, contract: Address::repeat_byte(3), variant: Variant::Word };
        let params = Params {
            a: Address::repeat_byte(1),
            b: Address::repeat_byte(2),
            token: Address::ZERO,
            value_a: Amount::new(1),
            value_b: Amount::ZERO,
            period: 3_600,
            salt: 0,
        };
        Record { version, ..Record::new(place, params, Party::A, 0).unwrap() }
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_answered() {
        let folder = tempfile::tempdir().unwrap();
        FileStore::open(folder.path()).unwrap().commit(None, &record(0)).await.unwrap();
        let (mut log, table) = Log::open(folder.path()).unwrap();
        // A file that cannot be written.
        log.file = File::open(folder.path().join(LOG)).unwrap();
        let store = FileStore::start(log, table, File::open(folder.path()).unwrap()).unwrap();
        let key = record(0).key();
        assert_eq!(store.load(&key).await.unwrap(), Some(record(0)));
        assert!(matches!(store.commit(Some(0), &record(1)).await, Err(StoreError::Io(_))));
        // Version 1 is not on the disk, so nobody may act on it; nor is it known that version 0 is the newest there.
        assert!(matches!(store.load(&key).await, Err(StoreError::Io(_))));
        assert!(matches!(store.keys().await, Err(StoreError::Io(_))));
        assert!(store.commit(Some(0), &record(1)).await.is_err());
        assert!(matches!(store.commit(Some(1), &record(2)).await, Err(StoreError::Io(_))));
        drop(store);
        assert_eq!(FileStore::open(folder.path()).unwrap().load(&key).await.unwrap(), Some(record(0)));
    }

    #[test]
    fn what_is_read_is_on_the_disk() {
        let folder = tempfile::tempdir().unwrap();
        let (log, table) = Log::open(folder.path()).unwrap();
        let table = Arc::new(Mutex::new(table));
        let (queue, jobs) = mpsc::channel();
        // The writer has not begun yet.
        let lock = File::open(folder.path()).unwrap();
        let mut store = FileStore { table: table.clone(), queue: Some(queue), writer: None, _lock: lock };
        let mut context = Context::from_waker(Waker::noop());
        let (key, kept) = (record(0).key(), record(0));
        // Whoever kept it does not wait for the end.
        assert!(store.commit(None, &kept).as_mut().poll(&mut context).is_pending());
        let mut load = store.load(&key);
        assert!(load.as_mut().poll(&mut context).is_pending(), "read before it was written");
        let writer = std::thread::spawn(move || log.run(&jobs, &table));
        let loaded = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(load);
        assert_eq!(loaded.unwrap(), Some(record(0)));
        store.writer = Some(writer);
    }
}
