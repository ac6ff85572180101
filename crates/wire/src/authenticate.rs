//! What the two ends of a connection sign to prove their channel keys (payments 2.2).

use ed25519_dalek::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};
use tl::Object;

use crate::message::AuthenticateToSign;

/// How many seconds a request's timestamp may lie behind the responder's clock. It may never lie ahead (payments 2.2).
pub const MAX_AGE: i64 = 30;

/// The digest to sign: SHA-256 over the boxed `authenticateToSign`. `a` is the signer's ADNL id, `b` the other end's.
pub fn digest(a: &[u8; 32], b: &[u8; 32], timestamp: i64) -> [u8; 32] {
    Sha256::digest(AuthenticateToSign { a: *a, b: *b, timestamp }.to_boxed()).into()
}

/// Whether the key's owner signed `digest(a, b, timestamp)`. Strict: weak keys are refused.
pub fn verify(key: &[u8; 32], a: &[u8; 32], b: &[u8; 32], timestamp: i64, signature: &[u8; 64]) -> bool {
    VerifyingKey::from_bytes(key)
        .is_ok_and(|key| key.verify_strict(&digest(a, b, timestamp), &Signature::from_bytes(signature)).is_ok())
}

/// Whether a responder at `now` may accept this timestamp.
pub fn is_fresh(timestamp: i64, now: i64) -> bool {
    timestamp <= now && timestamp >= now.saturating_sub(MAX_AGE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};

    #[test]
    fn a_signature_holds_for_its_ids_and_time_only() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let public = key.verifying_key().to_bytes();
        let signature = key.sign(&digest(&[1; 32], &[2; 32], 100)).to_bytes();
        assert!(verify(&public, &[1; 32], &[2; 32], 100, &signature));
        assert!(!verify(&public, &[2; 32], &[1; 32], 100, &signature));
        assert!(!verify(&public, &[1; 32], &[2; 32], 101, &signature));
        assert!(!verify(&public, &[1; 32], &[2; 32], 100, &[0; 64]));
    }

    #[test]
    fn freshness_ends_with_the_second() {
        assert!(is_fresh(100, 100) && is_fresh(70, 100));
        assert!(!is_fresh(101, 100) && !is_fresh(69, 100));
        assert!(!is_fresh(i64::MAX, 0) && !is_fresh(i64::MIN, i64::MAX));
    }
}
