//! Resolutions: amounts signed by the virtual key, bare and encrypted (payments 3.6, 5.8).

use ed25519_dalek::{Signature, SigningKey, Verifier, VerifyingKey};
use ton::{Cell, CellBuilder, CellContext, CellError, CellSlice, DynCell, Load, MAX_COINS, Store, load_coins, store_coins};

use crate::crypt::apply_cipher;

/// Shorter encrypted states are not accepted (payments 5.8).
pub const MIN_SEALED_BYTES: usize = 97;
/// Longer encrypted states are not accepted (payments 5.8).
pub const MAX_SEALED_BYTES: usize = 160;

/// An amount signed by the virtual key. The larger amount is the better resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Ed25519 over [`Resolution::payload`] of the amount.
    pub signature: [u8; 64],
    /// Nano.
    pub amount: u128,
}

impl Resolution {
    /// The bytes that the virtual key signs: the amount as Coins, padded with zero bits to whole bytes. Coins take 4 bits more than whole
    /// bytes, so the padding is always 4 bits.
    ///
    /// # Panics
    /// When the amount exceeds [`MAX_COINS`].
    pub fn payload(amount: u128) -> Vec<u8> {
        assert!(amount <= MAX_COINS, "amounts stay within 120 bits");
        let len = 16 - amount.leading_zeros() as usize / 8;
        let mut nibbles = vec![0; len + 1];
        nibbles[0] = (len as u8) << 4;
        for (i, byte) in amount.to_be_bytes()[16 - len..].iter().enumerate() {
            nibbles[i] |= byte >> 4;
            nibbles[i + 1] = byte << 4;
        }
        nibbles
    }

    /// Signs an amount.
    ///
    /// # Panics
    /// As [`Resolution::payload`].
    pub fn sign(key: &SigningKey, amount: u128) -> Self {
        use ed25519_dalek::Signer;
        Self { signature: key.sign(&Self::payload(amount)).to_bytes(), amount }
    }

    /// Whether the virtual key signed the amount, by the rule of the contract (`CHKSIGNS`): a stricter one would refuse upstream what
    /// was paid downstream.
    pub fn verify(&self, virtual_key: &[u8; 32]) -> bool {
        self.amount <= MAX_COINS
            && VerifyingKey::from_bytes(virtual_key)
                .is_ok_and(|key| key.verify(&Self::payload(self.amount), &Signature::from_bytes(&self.signature)).is_ok())
    }

    /// The cell that travels, and that the contract takes.
    ///
    /// # Panics
    /// When the amount exceeds [`MAX_COINS`].
    pub fn to_cell(&self) -> Cell {
        CellBuilder::build_from(self).expect("amounts stay within 120 bits")
    }

    /// Reads a resolution. What follows the amount is ignored (payments 3.6).
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        Self::load_from(&mut cell.as_slice()?)
    }
}

impl Store for Resolution {
    fn store_into(&self, b: &mut CellBuilder, _: &dyn CellContext) -> Result<(), CellError> {
        b.store_raw(&self.signature, 512)?;
        store_coins(b, self.amount)?;
        b.store_zeros(4)
    }
}

impl<'a> Load<'a> for Resolution {
    fn load_from(s: &mut CellSlice<'a>) -> Result<Self, CellError> {
        let mut signature = [0; 64];
        s.load_raw(&mut signature, 512)?;
        Ok(Self { signature, amount: load_coins(s)? })
    }
}

/// Encrypts a resolution for the receiver. `secret` is what the virtual key and the receiver's channel key share.
///
/// All states of one virtual channel are encrypted with the same stream (payments 10.4.3): hand them over inside a secure channel.
pub fn seal_state(virtual_key: &[u8; 32], resolution: &Resolution, secret: &[u8; 32]) -> Vec<u8> {
    let mut out = virtual_key.to_vec();
    out.extend(ton::encode_boc_with_crc(&resolution.to_cell()));
    apply_cipher(secret, virtual_key, &mut out[32..]);
    out
}

/// The virtual key in front of an encrypted state, from which the receiver makes the secret. `None` when the length is not acceptable.
pub fn sealed_state_key(sealed: &[u8]) -> Option<[u8; 32]> {
    if !(MIN_SEALED_BYTES..=MAX_SEALED_BYTES).contains(&sealed.len()) {
        return None;
    }
    sealed.first_chunk().copied()
}

/// Decrypts a resolution and verifies its signature. `None` when it is not one for this secret.
pub fn open_state(sealed: &[u8], secret: &[u8; 32]) -> Option<([u8; 32], Resolution)> {
    let key = sealed_state_key(sealed)?;
    let mut boc = sealed[32..].to_vec();
    apply_cipher(secret, &key, &mut boc);
    let cell = ton::decode_boc(&boc).ok()?;
    let resolution = Resolution::from_cell(cell.as_ref()).ok()?;
    resolution.verify(&key).then_some((key, resolution))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn payloads_of_the_specification() {
        assert_eq!(Resolution::payload(0), [0x00]);
        assert_eq!(Resolution::payload(1), [0x10, 0x10]);
        assert_eq!(Resolution::payload(256), [0x20, 0x10, 0x00]);
    }

    proptest! {
        #[test]
        fn resolutions_survive_open_and_sealed(amount in 0..=MAX_COINS, shift in 0u32..120, flip in 0usize..544) {
            let amount = amount >> shift;
            let key = SigningKey::from_bytes(&[9; 32]);
            let public = key.verifying_key().to_bytes();
            let resolution = Resolution::sign(&key, amount);
            prop_assert!(resolution.verify(&public));
            prop_assert_eq!(Resolution::from_cell(resolution.to_cell().as_ref()), Ok(resolution));
            let other = Resolution { amount: amount ^ 1, ..resolution };
            prop_assert!(!other.verify(&public));
            let mut cell = CellBuilder::new();
            cell.store_raw(&resolution.signature, 512).unwrap();
            let payload = Resolution::payload(amount);
            cell.store_raw(&payload, payload.len() as u16 * 8).unwrap();
            prop_assert_eq!(cell.build().unwrap(), resolution.to_cell());

            let mut sealed = seal_state(&public, &resolution, &[5; 32]);
            prop_assert_eq!(open_state(&sealed, &[5; 32]), Some((public, resolution)));
            prop_assert_eq!(open_state(&sealed, &[6; 32]), None);
            let at = flip % (sealed.len() * 8);
            sealed[at / 8] ^= 1 << (at % 8);
            // The bag's own checksum can be switched off, the signature cannot.
            let opened = open_state(&sealed, &[5; 32]);
            prop_assert!(opened.is_none() || opened == Some((public, resolution)));
        }

        #[test]
        fn any_bytes_are_opened_or_refused(sealed in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(open_state(&sealed, &[5; 32]), None);
        }
    }
}
