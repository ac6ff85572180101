//! The file that notices a database from the past (design 4.10).

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;

/// What a node last started with, kept beside its keystore.
///
/// At each start: [`Self::load`]; [`Self::next`] with the database's cluster id and counter; write the new counter to the database and
/// commit; then [`Self::store`]. A crash in between leaves the database ahead, which is fine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartState {
    /// Drawn when the database was made.
    pub cluster_id: String,
    /// Rises with each start of any engine on the database.
    pub starts: u64,
}

/// Why a node must not start.
#[derive(Debug, thiserror::Error)]
pub enum StartStateError {
    /// The file cannot be read or written.
    #[error("start state: {0}")]
    File(#[from] io::Error),
    /// The file is not ours.
    #[error("start state is damaged: {0}")]
    Damaged(serde_json::Error),
    /// The keystore was used with another database.
    #[error("the keystore belongs to cluster {file}, but the database is of cluster {database}")]
    OtherCluster {
        /// By the file.
        file: String,
        /// By the database.
        database: String,
    },
    /// The database is an old copy.
    #[error(
        "the database knows of {database} starts, but {file} were made: it is an old copy, and signing on it could lose money"
    )]
    DatabaseBehind {
        /// By the file.
        file: u64,
        /// By the database.
        database: u64,
    },
}

impl StartState {
    /// Reads the file; `None` before the first start.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn load(path: &Path) -> Result<Option<Self>, StartStateError> {
        match files::read_private(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(StartStateError::Damaged),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The state to start with: counter max(file, database) + 1.
    ///
    /// # Errors
    /// Another cluster, or a database behind the file: do not start.
    pub fn next(loaded: Option<&Self>, cluster_id: &str, database_starts: u64) -> Result<Self, StartStateError> {
        if let Some(file) = loaded {
            if file.cluster_id != cluster_id {
                return Err(StartStateError::OtherCluster { file: file.cluster_id.clone(), database: cluster_id.into() });
            }
            if database_starts < file.starts {
                return Err(StartStateError::DatabaseBehind { file: file.starts, database: database_starts });
            }
        }
        Ok(Self { cluster_id: cluster_id.into(), starts: database_starts + 1 })
    }

    /// Writes the file. Only after the database has committed the same counter.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn store(&self, path: &Path) -> Result<(), StartStateError> {
        let text = serde_json::to_vec(self).map_err(StartStateError::Damaged)?;
        Ok(files::replace(path, &text)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_starts_and_refuses_the_past() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(StartState::load(&path).unwrap(), None);
        let first = StartState::next(None, "c1", 0).unwrap();
        assert_eq!(first.starts, 1);
        first.store(&path).unwrap();
        let loaded = StartState::load(&path).unwrap();
        assert_eq!(loaded.as_ref(), Some(&first));
        // Another engine started on the database in between.
        let second = StartState::next(loaded.as_ref(), "c1", 4).unwrap();
        assert_eq!(second.starts, 5);
        second.store(&path).unwrap();
        let loaded = StartState::load(&path).unwrap();
        let behind = StartState::next(loaded.as_ref(), "c1", 4);
        assert!(matches!(behind, Err(StartStateError::DatabaseBehind { file: 5, database: 4 })));
        let other = StartState::next(loaded.as_ref(), "c2", 9);
        assert!(matches!(other, Err(StartStateError::OtherCluster { .. })));
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_a_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        files::replace(&path, b"{\"cluster_id\":\"c\"").unwrap();
        assert!(matches!(StartState::load(&path), Err(StartStateError::Damaged(_))));
    }
}
