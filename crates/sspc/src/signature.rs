//! Signatures over secp256k1 as the contracts take them (EIP-2098: r, and s with the parity in the top bit), and keys.
//!
//! A peer's first signature is recovered to a public key, which is compared with its address; each further one is checked against that key,
//! which costs half. Both ways accept exactly what `ecrecover` behind the contracts' checks accepts: low s, x not reduced, the right parity.
//! A wrong parity would leave a party with a state that it cannot submit.

use alloy_primitives::{Address, B256, keccak256};
use k256::ecdsa::{RecoveryId, SigningKey, VerifyingKey};
use k256::elliptic_curve::ops::{Invert as _, LinearCombination as _, Reduce};
use k256::elliptic_curve::scalar::IsHigh as _;
use k256::elliptic_curve::sec1::ToEncodedPoint as _;
use k256::{ProjectivePoint, Scalar, U256};

/// Length of a signature on the wire, on disk and on the chain.
pub const SIGNATURE_BYTES: usize = 64;
const PARITY: u8 = 0x80;

/// r, and s with the parity of R's y in the top bit.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Signature([u8; SIGNATURE_BYTES]);

impl Signature {
    /// From its 64 bytes; says nothing about whether they are a signature.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; SIGNATURE_BYTES]) -> Self {
        Self(bytes)
    }

    /// Its 64 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; SIGNATURE_BYTES] {
        &self.0
    }

    /// r, the first word of the contracts' calls.
    #[must_use]
    pub fn r(&self) -> B256 {
        B256::from_slice(&self.0[..32])
    }

    /// s with the parity, the second word.
    #[must_use]
    pub fn vs(&self) -> B256 {
        B256::from_slice(&self.0[32..])
    }

    fn parts(&self) -> Option<(k256::ecdsa::Signature, bool)> {
        let mut bytes = self.0;
        let odd = bytes[32] & PARITY != 0;
        bytes[32] &= !PARITY;
        let signature = k256::ecdsa::Signature::from_slice(&bytes).ok()?;
        if bool::from(signature.s().is_high()) { None } else { Some((signature, odd)) }
    }

    fn recover(&self, digest: &B256) -> Option<VerifyingKey> {
        let (signature, odd) = self.parts()?;
        VerifyingKey::recover_from_prehash(digest.as_slice(), &signature, RecoveryId::new(odd, false)).ok()
    }
}

/// Checks signatures of one address.
#[derive(Clone, Debug)]
pub struct Verifier {
    address: Address,
    key: Option<ProjectivePoint>,
}

impl Verifier {
    /// Of `address`, whose public key is not known yet.
    #[must_use]
    pub fn new(address: Address) -> Self {
        Self { address, key: None }
    }

    /// Whether the signature is the address's, in the one form that the contracts take.
    pub fn verify(&mut self, digest: &B256, signature: &Signature) -> bool {
        if let Some(key) = &self.key {
            return verify_with(key, digest, signature);
        }
        let Some(key) = signature.recover(digest) else { return false };
        if address_of(&key) != self.address {
            return false;
        }
        self.key = Some(ProjectivePoint::from(*key.as_affine()));
        true
    }
}

/// R = (z G + r P) / s must be the point that r and the parity name.
fn verify_with(key: &ProjectivePoint, digest: &B256, signature: &Signature) -> bool {
    let Some((parts, odd)) = signature.parts() else { return false };
    let (r, s) = parts.split_scalars();
    let z = <Scalar as Reduce<U256>>::reduce_bytes(&(digest.0).into());
    // In variable time: all of it is public.
    let Some(s_inverse) = Option::<Scalar>::from(s.as_ref().invert_vartime()) else { return false };
    let point = ProjectivePoint::lincomb(&ProjectivePoint::GENERATOR, &(z * s_inverse), key, &(*r * s_inverse));
    let encoded = point.to_affine().to_encoded_point(true);
    let tag = if odd { 3 } else { 2 };
    encoded.as_bytes().first() == Some(&tag) && encoded.as_bytes()[1..] == signature.0[..32]
}

fn address_of(key: &VerifyingKey) -> Address {
    let point = key.to_encoded_point(false);
    Address::from_slice(&keccak256(&point.as_bytes()[1..])[12..])
}

/// A private key in this process.
#[derive(Clone)]
pub struct LocalKey {
    key: SigningKey,
    address: Address,
}

/// The 32 bytes are not a private key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("not a private key of secp256k1")]
pub struct BadKey;

impl LocalKey {
    /// From the 32 bytes of a private key.
    ///
    /// # Errors
    /// Zero, or not below the order of the curve.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, BadKey> {
        let key = SigningKey::from_slice(bytes).map_err(|_| BadKey)?;
        let address = address_of(key.verifying_key());
        Ok(Self { key, address })
    }

    /// Its account.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// The 32 bytes of the private key, for a chain client that signs transactions with it.
    #[must_use]
    pub fn to_bytes(&self) -> zeroize::Zeroizing<[u8; 32]> {
        zeroize::Zeroizing::new(self.key.to_bytes().into())
    }

    /// Signs 32 bytes (RFC 6979: the same bytes always give the same signature).
    #[must_use]
    pub fn sign_digest(&self, digest: &B256) -> Signature {
        // Neither can fail: the digest has 32 bytes, and a nonce of RFC 6979 that gives r or s = 0 would break the curve.
        let (signature, parity) = self.key.sign_prehash_recoverable(digest.as_slice()).unwrap_or_else(|_| unreachable!());
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes.copy_from_slice(&signature.to_bytes());
        if parity.is_y_odd() {
            bytes[32] |= PARITY;
        }
        Signature(bytes)
    }
}

impl std::fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalKey").field("address", &self.address).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(seed: u8) -> LocalKey {
        LocalKey::from_bytes(&[seed.max(1); 32]).unwrap()
    }

    #[test]
    fn an_address_is_that_of_the_public_tables() {
        // Private key 1: known to everyone.
        let mut one = [0; 32];
        one[31] = 1;
        let address = LocalKey::from_bytes(&one).unwrap().address();
        assert_eq!(address.to_string(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf");
        assert_eq!(LocalKey::from_bytes(&[0; 32]).unwrap_err(), BadKey);
    }

    proptest! {
        #[test]
        fn recovery_and_the_known_key_agree(seed in 1..200_u8, digest: [u8; 32], flip in 0..SIGNATURE_BYTES * 8 + 1) {
            let (key, digest) = (key(seed), B256::from(digest));
            let mut bytes = *key.sign_digest(&digest).as_bytes();
            let mut known = Verifier::new(key.address());
            prop_assert!(known.verify(&digest, &Signature::from_bytes(bytes)));
            prop_assert!(known.key.is_some());
            let changed = flip < SIGNATURE_BYTES * 8;
            if changed {
                bytes[flip / 8] ^= 1 << (flip % 8);
            }
            let signature = Signature::from_bytes(bytes);
            prop_assert_eq!(known.verify(&digest, &signature), !changed);
            prop_assert_eq!(Verifier::new(key.address()).verify(&digest, &signature), !changed);
        }

        #[test]
        fn any_bytes_are_judged_without_panic(digest: [u8; 32], bytes in proptest::collection::vec(any::<u8>(), SIGNATURE_BYTES)) {
            let key = key(7);
            let signature = Signature::from_bytes(bytes.try_into().unwrap());
            let mut known = Verifier::new(key.address());
            prop_assert!(!known.verify(&digest.into(), &signature));
            prop_assert!(known.verify(&B256::ZERO, &key.sign_digest(&B256::ZERO)));
            prop_assert!(!known.verify(&digest.into(), &signature));
        }
    }

    #[test]
    fn the_other_s_is_refused() {
        let (key, digest) = (key(9), B256::repeat_byte(3));
        let signature = key.sign_digest(&digest);
        let (parts, _) = signature.parts().unwrap();
        let high = k256::ecdsa::Signature::from_scalars(parts.r().to_bytes(), (-*parts.s()).to_bytes()).unwrap();
        let mut bytes = [0; SIGNATURE_BYTES];
        bytes.copy_from_slice(&high.to_bytes());
        let mut known = Verifier::new(key.address());
        assert!(known.verify(&digest, &signature));
        assert!(!known.verify(&digest, &Signature::from_bytes(bytes)));
        assert!(!Verifier::new(key.address()).verify(&digest, &Signature::from_bytes(bytes)));
    }
}
