//! Identities and key agreement (network 2.1, 2.2). Shared by ADNL over UDP, ADNL over TCP and the DHT.

use curve25519_dalek::MontgomeryPoint;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// `pub.ed25519 key:int256 = PublicKey`.
pub const PUB_ED25519: u32 = tl::id("pub.ed25519 key:int256 = PublicKey");
/// `pub.aes key:int256 = PublicKey`.
pub const PUB_AES: u32 = tl::id("pub.aes key:int256 = PublicKey");

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The 32 bytes are no point of the curve.
    #[error("not an ed25519 public key")]
    NotAPoint,
    /// The key agreement gives the all-zero secret (a point of small order).
    #[error("weak public key")]
    Weak,
}

/// The short id of a key: an ADNL address, a DHT key's owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AdnlId(pub [u8; 32]);

impl AdnlId {
    /// The 32 bytes, in the order in which a hash is printed.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for AdnlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AdnlId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AdnlId({self})")
    }
}

/// SHA-256 of a boxed key with 32 key bytes (network 2.1).
fn short_id(constructor: u32, key: &[u8; 32]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(constructor.to_le_bytes());
    hash.update(key);
    hash.finalize().into()
}

/// The id of an AES key: a channel's id on the wire (network 3.1).
pub fn aes_key_id(key: &[u8; 32]) -> [u8; 32] {
    short_id(PUB_AES, key)
}

/// An ed25519 public key that is known to be a point of the curve.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    /// Decompresses the key; refuses bytes that are no point.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        VerifyingKey::from_bytes(bytes).map(Self).map_err(|_| KeyError::NotAPoint)
    }
    /// The compressed Edwards form.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The compressed Edwards form.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }
    /// The short id.
    pub fn id(&self) -> AdnlId {
        AdnlId(short_id(PUB_ED25519, self.as_bytes()))
    }
    /// Whether `signature` is this key's over `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
    /// Writes the boxed `pub.ed25519`.
    pub fn write(&self, w: &mut tl::Writer) {
        w.u32(PUB_ED25519);
        w.raw(self.as_bytes());
    }
    /// Reads a boxed `PublicKey`, which must be an ed25519 one.
    pub fn read(r: &mut tl::Reader<'_>, field: &'static str) -> Result<Self, tl::Error> {
        match r.u32(field)? {
            PUB_ED25519 => {
                Self::from_bytes(&r.int256(field)?).map_err(|_| tl::Error::Invalid { field, rule: "not an ed25519 key" })
            }
            id => Err(tl::Error::UnknownConstructor { field, id }),
        }
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// An ed25519 private key. Wiped when dropped; its `Debug` shows the public half only.
#[derive(Clone)]
pub struct PrivateKey(SigningKey);

impl PrivateKey {
    /// From the 32-byte seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }
    /// A fresh key from the system's random source.
    ///
    /// # Panics
    /// When the system has no random source.
    pub fn generate() -> Self {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).expect("the system's random source works");
        Self::from_seed(&seed)
    }
    /// The 32-byte seed, for the caller's key store.
    pub fn to_seed(&self) -> [u8; 32] {
        self.0.to_bytes()
    }
    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }
    /// The short id of the public half.
    pub fn id(&self) -> AdnlId {
        self.public().id()
    }
    /// Signs `message`.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
    /// X25519 of this key and `peer`, both converted from their Edwards forms. Used raw (network 2.2).
    pub fn shared_secret(&self, peer: &PublicKey) -> Result<[u8; 32], KeyError> {
        let point: MontgomeryPoint = peer.0.to_montgomery();
        match point.mul_clamped(self.0.to_scalar_bytes()).to_bytes() {
            secret if secret == [0; 32] => Err(KeyError::Weak),
            secret => Ok(secret),
        }
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PrivateKey(of {:?})", self.public())
    }
}
