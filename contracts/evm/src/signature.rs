//! The domain of the typed data, and signatures in the form the contracts take.

use std::borrow::Cow;

use alloy_primitives::{Address, B256, Signature, U256, uint};
use alloy_sol_types::Eip712Domain;

/// Half of the group order; the contracts refuse a signature with a higher s, the twin of a valid one.
pub const HIGHEST_S: U256 = uint!(0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0_U256);

/// The EIP-712 domain of a deployment of either contract.
pub const fn domain(chain_id: u64, contract: Address) -> Eip712Domain {
    Eip712Domain::new(
        Some(Cow::Borrowed("SSPC")),
        Some(Cow::Borrowed("2")),
        Some(U256::from_limbs([chain_id, 0, 0, 0])),
        Some(contract),
        None,
    )
}

/// A signature in two words (EIP-2098): r, and s with the parity of y in its top bit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct CompactSignature {
    /// The first word.
    pub r: B256,
    /// The second word: the top bit is the parity of y, the rest is s.
    pub vs: B256,
}

impl CompactSignature {
    /// The 64 bytes, r first.
    pub fn to_bytes(self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(self.r.as_slice());
        bytes[32..].copy_from_slice(self.vs.as_slice());
        bytes
    }

    /// From the 64 bytes, r first.
    pub fn from_bytes(bytes: &[u8; 64]) -> Self {
        Self { r: B256::from_slice(&bytes[..32]), vs: B256::from_slice(&bytes[32..]) }
    }

    /// The signature, or `None` where the contracts refuse it for its s.
    pub fn expand(self) -> Option<Signature> {
        let vs = U256::from_be_bytes(self.vs.0);
        let s = vs & (U256::MAX >> 1);
        (s <= HIGHEST_S).then(|| Signature::new(U256::from_be_bytes(self.r.0), s, vs.bit(255)))
    }
}

impl From<Signature> for CompactSignature {
    fn from(signature: Signature) -> Self {
        // The twin with the lower s, where a signer made the higher one.
        let signature = signature.normalized_s();
        let parity = U256::from(signature.v()) << 255;
        Self { r: B256::from(signature.r()), vs: B256::from(signature.s() | parity) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_survives_the_two_words() {
        for parity in [false, true] {
            let signature = Signature::new(U256::from(7), HIGHEST_S, parity);
            let compact = CompactSignature::from(signature);
            assert_eq!(compact.expand(), Some(signature));
            assert_eq!(CompactSignature::from_bytes(&compact.to_bytes()), compact);
        }
    }

    #[test]
    fn a_signature_and_its_twin_are_the_same_two_words() {
        let order = HIGHEST_S * U256::from(2) + U256::from(1);
        let signature = Signature::new(U256::from(7), U256::from(11), false);
        let twin = Signature::new(signature.r(), order - signature.s(), true);
        assert_eq!(CompactSignature::from(twin), CompactSignature::from(signature));
    }

    #[test]
    fn the_twin_of_a_signature_is_not_expanded() {
        let above = HIGHEST_S + U256::from(1);
        assert_eq!(CompactSignature { r: B256::with_last_byte(1), vs: B256::from(above) }.expand(), None);
        assert!(CompactSignature::from(Signature::new(U256::from(1), above, false)).expand().is_some());
    }
}
