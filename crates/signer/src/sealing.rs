//! The key under which private keys of virtual channels lie in the database, each with the receiver that it pays.

use std::fmt;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// Bytes of a nonce.
pub(crate) const NONCE: usize = 24;
/// Separates this key from all else made from the seed.
const DOMAIN: &[u8] = b"causeway: sealing of virtual private keys, 1";

/// Why a sealed key does not open, or cannot be sealed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Another key sealed it, it belongs to another virtual channel, or it was changed.
    #[error("the sealed key does not open: changed, or sealed by another node")]
    Tampered,
    /// The system gave no random bytes.
    #[error("no random bytes: {0}")]
    NoRandom(getrandom::Error),
}

/// XChaCha20-Poly1305 key for virtual private keys; wiped when dropped, not shown by `Debug`.
#[derive(Clone)]
pub struct SealingKey(Zeroizing<[u8; 32]>);

impl SealingKey {
    /// Derived from the seed of the channel key, so it needs no storage of its own.
    pub(crate) fn derive(channel_seed: &[u8; 32]) -> Self {
        let mut digest: [u8; 64] = Sha512::new().chain_update(DOMAIN).chain_update(channel_seed).finalize().into();
        let mut key = Zeroizing::new([0; 32]);
        key.copy_from_slice(&digest[..32]);
        digest.zeroize();
        Self(key)
    }

    /// Seals the private seed of a virtual key and the receiver that it pays: nonce, ciphertext, tag. Bound to the virtual key.
    ///
    /// # Errors
    /// No random bytes.
    pub fn seal(&self, virtual_key: &[u8; 32], seed: &[u8; 32], receiver: &[u8; 32]) -> Result<Vec<u8>, SealError> {
        let mut sealed = vec![0; NONCE];
        getrandom::fill(&mut sealed).map_err(SealError::NoRandom)?;
        let nonce = XNonce::try_from(&sealed[..]).expect("the length of a nonce");
        let text = Zeroizing::new([*seed, *receiver].concat());
        let payload = Payload { msg: &text, aad: virtual_key };
        sealed.extend(self.cipher().encrypt(&nonce, payload).expect("64 bytes are within the cipher's limit"));
        Ok(sealed)
    }

    /// The seed of a virtual key, and the receiver that it pays.
    ///
    /// # Errors
    /// [`SealError::Tampered`].
    pub fn open(&self, virtual_key: &[u8; 32], sealed: &[u8]) -> Result<(Zeroizing<[u8; 32]>, [u8; 32]), SealError> {
        let (nonce, text) = sealed.split_at_checked(NONCE).ok_or(SealError::Tampered)?;
        let nonce = XNonce::try_from(nonce).map_err(|_| SealError::Tampered)?;
        let payload = Payload { msg: text, aad: virtual_key };
        let text = Zeroizing::new(self.cipher().decrypt(&nonce, payload).map_err(|_| SealError::Tampered)?);
        let (seed, receiver) = text.split_first_chunk().ok_or(SealError::Tampered)?;
        Ok((Zeroizing::new(*seed), receiver.try_into().map_err(|_| SealError::Tampered)?))
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new((&*self.0).into())
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn opens_only_with_the_same_key_for_the_same_channel() {
        let key = SealingKey::derive(&[1; 32]);
        let sealed = key.seal(&[2; 32], &[3; 32], &[6; 32]).unwrap();
        assert_ne!(sealed, key.seal(&[2; 32], &[3; 32], &[6; 32]).unwrap(), "nonces must differ");
        assert_eq!(SealingKey::derive(&[1; 32]).open(&[2; 32], &sealed).unwrap(), (Zeroizing::new([3; 32]), [6; 32]));
        assert_eq!(key.open(&[4; 32], &sealed), Err(SealError::Tampered));
        assert_eq!(SealingKey::derive(&[5; 32]).open(&[2; 32], &sealed), Err(SealError::Tampered));
        for i in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[i] ^= 1;
            assert_eq!(key.open(&[2; 32], &changed), Err(SealError::Tampered));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_without_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(SealingKey::derive(&[1; 32]).open(&[2; 32], &bytes).is_err());
        }
    }
}
