//! The secret that two Ed25519 keys share, and the cipher made from it: the same as in ADNL (network 2.2, 2.3).

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit, StreamCipher};
use curve25519_dalek::montgomery::MontgomeryPoint;
use ed25519_dalek::{SigningKey, VerifyingKey};

/// The X25519 secret of our Ed25519 key and their Ed25519 public key, used raw (network 2.2).
///
/// `None` when their key is not a point of the curve or of small order, so that the secret would be known to everyone.
pub fn shared_secret(ours: &SigningKey, theirs: &[u8; 32]) -> Option<[u8; 32]> {
    let theirs = VerifyingKey::from_bytes(theirs).ok()?.to_montgomery();
    let MontgomeryPoint(secret) = theirs.mul_clamped(ours.to_scalar_bytes());
    (secret != [0; 32]).then_some(secret)
}

/// Encrypts or decrypts in place: AES-256-CTR, key and counter mixed from the secret and a checksum of the plaintext (network 2.3).
pub fn apply_cipher(secret: &[u8; 32], checksum: &[u8; 32], data: &mut [u8]) {
    let mut key = [0; 32];
    key[..16].copy_from_slice(&secret[..16]);
    key[16..].copy_from_slice(&checksum[16..]);
    let mut counter = [0; 16];
    counter[..4].copy_from_slice(&checksum[..4]);
    counter[4..].copy_from_slice(&secret[20..]);
    Ctr128BE::<Aes256>::new(&key.into(), &counter.into()).apply_keystream(data);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_sides_share_a_secret_and_small_orders_share_none() {
        let (a, b) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
        let secret = shared_secret(&a, &b.verifying_key().to_bytes());
        assert!(secret.is_some());
        assert_eq!(secret, shared_secret(&b, &a.verifying_key().to_bytes()));

        let mut identity = [0; 32];
        identity[0] = 1;
        assert_eq!(shared_secret(&a, &identity), None);
        assert_eq!(shared_secret(&a, &[0; 32]), None);
        let not_a_point = (0u8..=255).map(|i| [i; 32]).find(|k| VerifyingKey::from_bytes(k).is_err()).unwrap();
        assert_eq!(shared_secret(&a, &not_a_point), None);
    }
}
