//! The ticks' inputs on disk, appended before anybody sees the blocks. Replayed at start, they give the same chain again.
//!
//! A record is length, checksum, payload. A process that is killed leaves at most a torn last record, which is cut off at the next
//! start; nobody saw its blocks.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tl::{Reader, Writer};
use tycho_types::boc::Boc;
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;

use crate::ledger::Input;

const MAGIC: &[u8; 8] = b"cwdevnt1";
const CHECKSUM_LEN: usize = 8;
/// Bytes of one record at most.
const MAX_RECORD: usize = 1 << 26;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file.
    #[error("chain log: {0}")]
    Io(#[from] io::Error),
    /// Another process has it.
    #[error("chain log: another process uses this data directory")]
    Locked,
    /// Not written by this program.
    #[error("chain log: not a chain log of this version")]
    NotALog,
    /// A record whose checksum is right cannot be read.
    #[error("chain log: broken record: {0}")]
    Record(#[from] tl::Error),
    /// A cell of a record cannot be read.
    #[error("chain log: broken cell: {0}")]
    Cell(#[from] tycho_types::boc::de::Error),
}

/// One tick.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub input: Input,
    /// Chain time minus wall time at the tick.
    pub offset: i64,
    /// Root hash of the masterchain block that the tick sealed; a replay must give it again.
    pub block: HashBytes,
}

/// An open log, positioned behind its last good record.
pub(crate) struct Log {
    file: File,
}

impl Log {
    /// Opens or creates the log and returns its records.
    pub fn open(path: &Path) -> Result<(Self, Vec<Record>), LogError> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        file.try_lock().map_err(|_| LogError::Locked)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        if bytes.len() < MAGIC.len() && MAGIC.starts_with(&bytes) {
            file.seek(SeekFrom::Start(0))?;
            file.write_all(MAGIC)?;
            return Ok((Self { file }, Vec::new()));
        }
        let mut rest = bytes.strip_prefix(MAGIC).ok_or(LogError::NotALog)?;
        let mut records = Vec::new();
        while let Some((payload, tail)) = split_record(rest) {
            records.push(Record::read(payload)?);
            rest = tail;
        }
        let good = (bytes.len() - rest.len()) as u64;
        file.set_len(good)?;
        file.seek(SeekFrom::Start(good))?;
        Ok((Self { file }, records))
    }

    /// Appends a record with a single write. A killed process loses nothing that was written; a crash of the machine may.
    pub fn append(&mut self, record: &Record) -> Result<(), LogError> {
        let payload = record.write();
        let mut bytes = Vec::with_capacity(4 + CHECKSUM_LEN + payload.len());
        bytes.extend_from_slice(&(payload.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&checksum(&payload));
        bytes.extend_from_slice(&payload);
        Ok(self.file.write_all(&bytes)?)
    }
}

/// The payload of the first record and what is behind it; none when the record is torn.
fn split_record(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (sum, rest) = rest.split_first_chunk::<CHECKSUM_LEN>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let (payload, tail) = rest.split_at_checked(len).filter(|_| len <= MAX_RECORD)?;
    (checksum(payload) == *sum).then_some((payload, tail))
}

fn checksum(payload: &[u8]) -> [u8; CHECKSUM_LEN] {
    let hash = Sha256::digest(payload);
    std::array::from_fn(|i| hash[i])
}

impl Record {
    fn write(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(self.input.now);
        w.i64(self.offset);
        w.raw(&self.block.0);
        w.u32(self.input.mints.len() as u32);
        for (address, nano) in &self.input.mints {
            w.i32(address.workchain.into());
            w.raw(&address.address.0);
            w.raw(&nano.to_le_bytes());
        }
        w.u32(self.input.externals.len() as u32);
        for cell in &self.input.externals {
            w.bytes(&Boc::encode(cell));
        }
        w.into_bytes()
    }

    fn read(payload: &[u8]) -> Result<Self, LogError> {
        let mut r = Reader::new(payload);
        let now = r.u32("now")?;
        let offset = r.i64("offset")?;
        let block = HashBytes(r.int256("block")?);
        let mut mints = Vec::new();
        for _ in 0..r.count(usize::MAX, 52, "mints")? {
            let workchain =
                i8::try_from(r.i32("workchain")?).map_err(|_| tl::Error::Invalid { field: "workchain", rule: "fits a byte" })?;
            let address = StdAddr::new(workchain, HashBytes(r.int256("address")?));
            mints.push((address, u128::from_le_bytes(r.int128("nano")?)));
        }
        let mut externals = Vec::new();
        for _ in 0..r.count(usize::MAX, 4, "externals")? {
            externals.push(Boc::decode(r.bytes("external")?)?);
        }
        r.end()?;
        Ok(Self { input: Input { now, mints, externals }, offset, block })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(i: u32) -> Record {
        let address = StdAddr::new(0, HashBytes([i as u8; 32]));
        let externals = vec![CellBuilder::build_from(i).unwrap()];
        let input = Input { now: i, mints: vec![(address, u128::from(i) << 70)], externals };
        Record { input, offset: -i64::from(i), block: HashBytes([7; 32]) }
    }

    #[test]
    fn a_log_cut_anywhere_keeps_all_whole_records() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let records: Vec<_> = (0..4).map(record).collect();
        let (mut log, old) = Log::open(&path).unwrap();
        assert!(old.is_empty());
        records.iter().for_each(|r| log.append(r).unwrap());
        assert!(matches!(Log::open(&path), Err(LogError::Locked)));
        drop(log);
        let bytes = std::fs::read(&path).unwrap();
        let mut ends = vec![];
        let mut rest = &bytes[MAGIC.len()..];
        while let Some((_, tail)) = split_record(rest) {
            ends.push(bytes.len() - tail.len());
            rest = tail;
        }
        assert_eq!(ends.len(), 4);
        for cut in 0..=bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let (mut log, old) = Log::open(&path).unwrap();
            let whole = ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(old, records[..whole], "cut at {cut}");
            log.append(&record(9)).unwrap();
            drop(log);
            let (_, again) = Log::open(&path).unwrap();
            assert_eq!(again.len(), whole + 1);
            assert_eq!(again.last(), Some(&record(9)));
        }
    }

    #[test]
    fn another_file_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, b"something else").unwrap();
        assert!(matches!(Log::open(&path), Err(LogError::NotALog)));
        assert_eq!(std::fs::read(&path).unwrap(), b"something else");
    }
}
