//! The cipher of every ADNL packet and handshake (network 2.3): AES-256-CTR under a key made from a shared secret and the
//! plaintext's SHA-256, which is also the only integrity check.

use aes::Aes256;
use ctr::cipher::{KeyIvInit, StreamCipher};
use sha2::{Digest, Sha256};

/// AES-256-CTR with a 128-bit big-endian counter. ADNL over TCP runs two of them for the life of a connection (network 6.1).
pub type Stream = ctr::Ctr128BE<Aes256>;

/// A stream cipher from its key and first counter block.
pub fn stream(key: &[u8; 32], iv: &[u8; 16]) -> Stream {
    Stream::new(key.into(), iv.into())
}

/// Encrypts or decrypts `data` in place and moves the stream on.
pub fn apply(stream: &mut Stream, data: &mut [u8]) {
    stream.apply_keystream(data);
}

/// SHA-256.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

fn derive(secret: &[u8; 32], checksum: &[u8; 32]) -> Stream {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&secret[..16]);
    key[16..].copy_from_slice(&checksum[16..]);
    let mut iv = [0; 16];
    iv[..4].copy_from_slice(&checksum[..4]);
    iv[4..].copy_from_slice(&secret[20..]);
    stream(&key, &iv)
}

/// Encrypts `data` in place; returns the plaintext's checksum, which travels with it.
pub fn seal(secret: &[u8; 32], data: &mut [u8]) -> [u8; 32] {
    let checksum = sha256(data);
    apply(&mut derive(secret, &checksum), data);
    checksum
}

/// Decrypts `data` in place and tells whether it matches its checksum. When it does not, `data` is garbage.
#[must_use]
pub fn open(secret: &[u8; 32], checksum: &[u8; 32], data: &mut [u8]) -> bool {
    apply(&mut derive(secret, checksum), data);
    sha256(data) == *checksum
}
