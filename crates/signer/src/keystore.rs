//! The keystore file: the node's two private keys, encrypted.
//!
//! `"CWKEYS01"`, kind of secret (1 byte: 0 key file, 1 passphrase), Argon2id memory in KiB, passes and lanes (`u32le` each, 0 for a key
//! file), salt (16), nonce (24), then XChaCha20-Poly1305 of channel seed and wallet seed with all before it as associated data.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use ed25519_dalek::SigningKey;
use zeroize::Zeroizing;

use crate::files;
use crate::sealing::NONCE;

const MAGIC: &[u8; 8] = b"CWKEYS01";
const SALT: usize = 16;
const HEADER: usize = MAGIC.len() + 1 + 3 * 4 + SALT + NONCE;
/// Two seeds and the tag.
const SEALED: usize = 64 + 16;
/// Argon2id as RFC 9106 recommends for machines with little memory: 64 MiB, 3 passes, 4 lanes.
const ARGON2: Cost = Cost { memory_kib: 64 * 1024, passes: 3, lanes: 4 };
/// A file that asks for more was not made by us; do not let it take all memory.
const ARGON2_MAX: Cost = Cost { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

#[derive(Clone, Copy, PartialEq, Eq)]
struct Cost {
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

/// What opens the keystore.
#[derive(Clone)]
pub enum KeySource {
    /// A file with 32 bytes in hex, made together with the keystore when it is not there.
    KeyFile(PathBuf),
    /// A passphrase, through Argon2id.
    Passphrase(Zeroizing<String>),
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KeyFile(path) => f.debug_tuple("KeyFile").field(path).finish(),
            Self::Passphrase(_) => f.write_str("Passphrase(..)"),
        }
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeystoreError {
    /// A file cannot be read or written.
    #[error("keystore {path}: {source}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not a keystore.
    #[error("keystore {path} is not a keystore: {reason}")]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: &'static str,
    },
    /// The secret is not the one that it was made with, or the file was changed.
    #[error("keystore {path} does not open: the key file or passphrase is another one, or the file was changed")]
    DoesNotOpen {
        /// Which file.
        path: PathBuf,
    },
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    NoRandom(getrandom::Error),
}

/// The node's private keys; wiped when dropped, not shown by `Debug`.
pub struct Keys {
    pub(crate) channel: SigningKey,
    pub(crate) wallet: SigningKey,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let public = |key: &SigningKey| hex::encode(key.verifying_key().as_bytes());
        f.debug_struct("Keys").field("channel", &public(&self.channel)).field("wallet", &public(&self.wallet)).finish()
    }
}

impl Keys {
    /// Opens the keystore, or makes it with fresh keys when the file is not there. Takes a moment with a passphrase.
    ///
    /// # Errors
    /// See [`KeystoreError`]; an existing file is never written over.
    pub fn open_or_create(path: &Path, source: &KeySource) -> Result<Self, KeystoreError> {
        if path.exists() {
            return Self::open(path, source);
        }
        match Self::create(path, source) {
            // Another process of the node was faster.
            Err(KeystoreError::File { source: error, .. }) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::open(path, source)
            }
            made => made,
        }
    }

    /// Opens the keystore.
    ///
    /// # Errors
    /// See [`KeystoreError`].
    pub fn open(path: &Path, source: &KeySource) -> Result<Self, KeystoreError> {
        let bytes = files::read_private(path).map_err(|source| file_error(path, source))?;
        let malformed = |reason| KeystoreError::Malformed { path: path.into(), reason };
        if bytes.len() != HEADER + SEALED || !bytes.starts_with(MAGIC) {
            return Err(malformed("wrong length or first bytes"));
        }
        let (header, sealed) = bytes.split_at(HEADER);
        let number = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| header[at + i]));
        let cost = Cost { memory_kib: number(9), passes: number(13), lanes: number(17) };
        let salt = &header[21..21 + SALT];
        let key = match (header[8], source) {
            (0, KeySource::KeyFile(file)) => read_key_file(file)?,
            (1, KeySource::Passphrase(text)) => {
                stretch(text, salt, cost).ok_or_else(|| malformed("impossible cost of the passphrase"))?
            }
            (0, _) => return Err(malformed("it was made with a key file")),
            (1, _) => return Err(malformed("it was made with a passphrase")),
            _ => return Err(malformed("unknown kind of secret")),
        };
        let nonce = XNonce::try_from(&header[21 + SALT..]).map_err(|_| malformed("wrong nonce"))?;
        let seeds = XChaCha20Poly1305::new((&*key).into()).decrypt(&nonce, Payload { msg: sealed, aad: header });
        let seeds = Zeroizing::new(seeds.map_err(|_| KeystoreError::DoesNotOpen { path: path.into() })?);
        let seed = |at: usize| Zeroizing::new(std::array::from_fn::<u8, 32, _>(|i| seeds[at + i]));
        Ok(Self { channel: SigningKey::from_bytes(&seed(0)), wallet: SigningKey::from_bytes(&seed(32)) })
    }

    fn create(path: &Path, source: &KeySource) -> Result<Self, KeystoreError> {
        let mut seeds = Zeroizing::new([0; 64]);
        let mut random = [0; SALT + NONCE];
        getrandom::fill(&mut *seeds).and_then(|()| getrandom::fill(&mut random)).map_err(KeystoreError::NoRandom)?;
        let (salt, nonce) = random.split_at(SALT);
        let none = Cost { memory_kib: 0, passes: 0, lanes: 0 };
        let (kind, cost, key) = match source {
            KeySource::KeyFile(file) => (0, none, read_or_create_key_file(file)?),
            KeySource::Passphrase(text) => (1, ARGON2, stretch(text, salt, ARGON2).expect("our own cost is possible")),
        };
        let mut file = MAGIC.to_vec();
        file.push(kind);
        for number in [cost.memory_kib, cost.passes, cost.lanes] {
            file.extend(number.to_le_bytes());
        }
        file.extend(salt);
        file.extend(nonce);
        let nonce = XNonce::try_from(nonce).expect("the length of a nonce");
        let payload = Payload { msg: &*seeds, aad: &file };
        let sealed = XChaCha20Poly1305::new((&*key).into()).encrypt(&nonce, payload);
        file.extend(sealed.expect("64 bytes are within the cipher's limit"));
        files::create(path, &file).map_err(|source| file_error(path, source))?;
        // What counts is what is on the disk.
        Self::open(path, source)
    }
}

/// `None` when the cost is not possible or above the limit.
fn stretch(passphrase: &str, salt: &[u8], cost: Cost) -> Option<Zeroizing<[u8; 32]>> {
    let possible = cost.memory_kib <= ARGON2_MAX.memory_kib && cost.passes <= ARGON2_MAX.passes && cost.lanes <= ARGON2_MAX.lanes;
    let params = possible.then(|| Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()).flatten()?;
    let mut key = Zeroizing::new([0; 32]);
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password_into(passphrase.as_bytes(), salt, &mut *key).ok()?;
    Some(key)
}

fn read_or_create_key_file(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    if !path.exists() {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *key).map_err(KeystoreError::NoRandom)?;
        let text = Zeroizing::new(hex::encode(key.as_slice()));
        match files::create(path, text.as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(file_error(path, error)),
            _ => {}
        }
    }
    read_key_file(path)
}

fn read_key_file(path: &Path) -> Result<Zeroizing<[u8; 32]>, KeystoreError> {
    let bytes = Zeroizing::new(files::read_private(path).map_err(|source| file_error(path, source))?);
    let mut key = Zeroizing::new([0; 32]);
    match hex::decode_to_slice(bytes.trim_ascii(), &mut *key) {
        Ok(()) => Ok(key),
        Err(_) => Err(KeystoreError::Malformed { path: path.into(), reason: "the key file must hold 64 hex digits" }),
    }
}

fn file_error(path: &Path, source: io::Error) -> KeystoreError {
    KeystoreError::File { path: path.into(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase(text: &str) -> KeySource {
        KeySource::Passphrase(Zeroizing::new(text.into()))
    }

    fn public(keys: &Keys) -> [[u8; 32]; 2] {
        [keys.channel.verifying_key().to_bytes(), keys.wallet.verifying_key().to_bytes()]
    }

    #[test]
    fn keeps_its_keys_under_a_key_file() {
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("keystore"), folder.path().join("key"));
        let source = KeySource::KeyFile(key.clone());
        let first = public(&Keys::open_or_create(&path, &source).unwrap());
        assert_ne!(first[0], first[1]);
        assert_eq!(public(&Keys::open_or_create(&path, &source).unwrap()), first);
        let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names.len(), 2, "temporary files are left: {names:?}");

        files::replace(&key, "11".repeat(32).as_bytes()).unwrap();
        assert!(matches!(Keys::open(&path, &source), Err(KeystoreError::DoesNotOpen { .. })));
        files::replace(&key, b"11").unwrap();
        assert!(matches!(Keys::open(&path, &source), Err(KeystoreError::Malformed { .. })));
        // A lost key file is not made anew for an existing keystore.
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(Keys::open_or_create(&path, &source), Err(KeystoreError::File { .. })));
        assert!(!key.exists());
    }

    #[test]
    fn keeps_its_keys_under_a_passphrase() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore");
        let first = public(&Keys::open_or_create(&path, &passphrase("right")).unwrap());
        assert_eq!(public(&Keys::open(&path, &passphrase("right")).unwrap()), first);
        assert!(matches!(Keys::open(&path, &passphrase("wrong")), Err(KeystoreError::DoesNotOpen { .. })));
        let other = KeySource::KeyFile(folder.path().join("key"));
        assert!(matches!(Keys::open(&path, &other), Err(KeystoreError::Malformed { .. })));
        // A cost that would take all memory is refused before it is tried.
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        files::replace(&path, &bytes).unwrap();
        assert!(matches!(Keys::open(&path, &passphrase("right")), Err(KeystoreError::Malformed { .. })));
    }

    #[test]
    fn any_change_of_the_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keystore");
        let source = KeySource::KeyFile(folder.path().join("key"));
        Keys::open_or_create(&path, &source).unwrap();
        let good = std::fs::read(&path).unwrap();
        for i in 0..good.len() {
            let mut changed = good.clone();
            changed[i] ^= 0x40;
            files::replace(&path, &changed).unwrap();
            assert!(Keys::open(&path, &source).is_err(), "byte {i}");
        }
        files::replace(&path, &good[..good.len() - 1]).unwrap();
        assert!(matches!(Keys::open(&path, &source), Err(KeystoreError::Malformed { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn files_are_for_the_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let (path, key) = (folder.path().join("keystore"), folder.path().join("key"));
        let source = KeySource::KeyFile(key.clone());
        Keys::open_or_create(&path, &source).unwrap();
        for file in [&path, &key] {
            assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).unwrap();
            let error = Keys::open(&path, &source).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
    }

    #[test]
    fn debug_shows_public_keys_only() {
        let keys = Keys { channel: SigningKey::from_bytes(&[1; 32]), wallet: SigningKey::from_bytes(&[2; 32]) };
        let text = format!("{keys:?} {:?}", passphrase("secret words"));
        assert!(text.contains(&hex::encode(keys.channel.verifying_key().as_bytes())));
        assert!(!text.contains(&"01".repeat(8)) && !text.contains("1, 1, 1") && !text.contains("secret words"), "{text}");
    }
}
