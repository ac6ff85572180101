//! The gateway's own ADNL key. It proves who sends a datagram; it signs nothing about money.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use adnl::keys::PrivateKey;
use zeroize::Zeroizing;

/// Bytes read at most: 64 hex digits and a line end.
const MAX_FILE: u64 = 128;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file cannot be read or made.
    #[error("key file {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("key file {0} must hold 64 hex digits")]
    Content(PathBuf),
    /// Others could read it.
    #[error("key file {0} must be readable by its owner only (mode 0600)")]
    Mode(PathBuf),
}

/// Reads the key, or makes one and the file, durably, when there is none.
///
/// # Errors
/// The file cannot be read or made, is open to others or holds no key.
pub fn load_or_create(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let failed = |source| KeyFileError::File { path: path.into(), source };
    match create(path) {
        Ok(key) => Ok(key),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => load(path),
        Err(error) => Err(failed(error)),
    }
}

fn create(path: &Path) -> std::io::Result<PrivateKey> {
    let key = PrivateKey::generate();
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let text = Zeroizing::new(hex::encode(*Zeroizing::new(key.to_seed())));
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()?;
    Ok(key)
}

fn load(path: &Path) -> Result<PrivateKey, KeyFileError> {
    let failed = |source| KeyFileError::File { path: path.into(), source };
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if file.metadata().map_err(failed)?.permissions().mode() & 0o077 != 0 {
            return Err(KeyFileError::Mode(path.into()));
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(failed)?;
    let mut seed = Zeroizing::new([0; 32]);
    hex::decode_to_slice(text.trim(), seed.as_mut()).map_err(|_| KeyFileError::Content(path.into()))?;
    Ok(PrivateKey::from_seed(&seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("adnl.key");
        let made = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap().id(), made.id());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(load_or_create(&path), Err(KeyFileError::Mode(_))));
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        std::fs::write(&path, "not a key").unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyFileError::Content(_))));
    }
}
