//! The file that notices a database from the past (design 4.10).

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::files;

/// What a node last started with, kept beside its keystore.
///
/// At each start: [`Self::load`]; compare it with the database, which counts the start (`store::engine::start`); then [`Self::store`] the new
/// counter. A crash in between leaves the database ahead, which is fine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartState {
    /// Drawn when the database was made.
    pub cluster_id: String,
    /// Rises with each start of any engine on the database.
    pub starts: u64,
}

/// Why there is no state.
#[derive(Debug, thiserror::Error)]
pub enum StartStateError {
    /// The file cannot be read or written.
    #[error("start state: {0}")]
    File(#[from] io::Error),
    /// The file is not ours.
    #[error("start state is damaged: {0}")]
    Damaged(serde_json::Error),
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
    fn is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(StartState::load(&path).unwrap(), None);
        for starts in [1, 5] {
            let state = StartState { cluster_id: "c1".into(), starts };
            state.store(&path).unwrap();
            assert_eq!(StartState::load(&path).unwrap(), Some(state));
        }
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_a_first_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        files::replace(&path, b"{\"cluster_id\":\"c\"").unwrap();
        assert!(matches!(StartState::load(&path), Err(StartStateError::Damaged(_))));
    }
}
