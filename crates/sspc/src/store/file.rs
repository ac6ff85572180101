//! Records in a file: an append-only log, one sync for all who wait (group commit), written anew when most of it is old.
//!
//! An entry is `length (4) | checksum (4) | durable (8) | record`, little-endian; the checksum is CRC-32 of `durable | record`. `durable` is
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

struct Job {
    record: Record,
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
        let table = Arc::new(Mutex::new(table));
        let (queue, jobs) = mpsc::channel();
        let shared = table.clone();
        let writer = std::thread::Builder::new().name("sspc-store".to_owned());
        let writer = writer.spawn(move || log.run(&jobs, &shared)).map_err(io)?;
        Ok(Self { table, queue: Some(queue), writer: Some(writer), _lock: lock })
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        locked(&self.table)
    }
}

#[async_trait]
impl Store for FileStore {
    async fn load(&self, key: &B256) -> Result<Option<Record>, StoreError> {
        Ok(self.table().records.get(key).cloned())
    }

    async fn keys(&self) -> Result<Vec<B256>, StoreError> {
        Ok(self.table().records.keys().copied().collect())
    }

    async fn commit(&self, expected: Option<u64>, record: &Record) -> Result<(), StoreError> {
        let (done, outcome) = oneshot::channel();
        {
            // The place in the queue and in the table are taken together, so that the log has the changes in the table's order.
            let mut table = self.table();
            table.check(expected, record)?;
            let queue = self.queue.as_ref().ok_or_else(stopped)?;
            queue.send(Job { record: record.clone(), done }).map_err(|_| stopped())?;
            table.put(record.clone());
        }
        outcome.await.map_err(|_| stopped())?.map_err(StoreError::Io)
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
            table.put(Record::decode(record)?);
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
        for job in batch {
            put_entry(&mut bytes, self.length, &job.record);
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
            table.records.values().for_each(|record| put_entry(&mut bytes, u64::MAX, record));
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

fn put_entry(bytes: &mut Vec<u8>, durable: u64, record: &Record) {
    let record = record.encode();
    let mut checked = crc32fast::Hasher::new();
    checked.update(&durable.to_le_bytes());
    checked.update(&record);
    let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&checked.finalize().to_le_bytes());
    bytes.extend_from_slice(&durable.to_le_bytes());
    bytes.extend_from_slice(&record);
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
