//! Who signs payments.

use alloy_primitives::Address;
use async_trait::async_trait;

use crate::signature::{LocalKey, Signature};
use crate::typed::{Payload, Signable, StreamProof};

/// The key did not sign.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("signer: {0}")]
pub struct SignError(pub String);

/// Holds a party's key. A signature that it makes is worth money as soon as the peer has it: it must answer nobody but its owner.
#[async_trait]
pub trait Signer: Send + Sync {
    /// Whose signatures it makes.
    fn address(&self) -> Address;

    /// Signs what `of` makes of the payload ([`Signable::digest`], or [`Signable::typed_data`] for a wallet that shows what it signs).
    ///
    /// # Errors
    /// The key cannot be used now.
    async fn sign(&self, of: &Signable, payload: &Payload) -> Result<Signature, SignError>;

    /// Signs that a stream ends here.
    ///
    /// # Errors
    /// The key cannot be used now.
    async fn prove(&self, stream: &StreamProof) -> Result<Signature, SignError>;
}

#[async_trait]
impl Signer for LocalKey {
    fn address(&self) -> Address {
        self.address()
    }

    async fn sign(&self, of: &Signable, payload: &Payload) -> Result<Signature, SignError> {
        Ok(self.sign_digest(&of.digest(payload)))
    }

    async fn prove(&self, stream: &StreamProof) -> Result<Signature, SignError> {
        Ok(self.sign_digest(&stream.digest()))
    }
}
