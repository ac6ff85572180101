use crate::overlay::OverlayNodes;
use adnl::cipher::sha256;
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use tl::{Error, Object, Reader, Writer};

const KEY: u32 = tl::id("dht.key id:int256 name:bytes idx:int = dht.Key");
const RULE_SIGNATURE: u32 = tl::id("dht.updateRule.signature = dht.UpdateRule");
const RULE_ANYBODY: u32 = tl::id("dht.updateRule.anybody = dht.UpdateRule");
const RULE_OVERLAY_NODES: u32 = tl::id("dht.updateRule.overlayNodes = dht.UpdateRule");
const PUB_AES: u32 = tl::id("pub.aes key:int256 = PublicKey");
const PUB_UNENCRYPTED: u32 = tl::id("pub.unenc data:bytes = PublicKey");
const PUB_OVERLAY: u32 = tl::id("pub.overlay name:bytes = PublicKey");

/// Name of the key under which an overlay's nodes are listed.
pub const OVERLAY_NODES: &str = "nodes";

/// Longest name of a key (network 5.1).
pub const MAX_NAME: usize = 127;
/// Largest index of a key.
pub const MAX_INDEX: u32 = 15;
/// Largest value.
pub const MAX_VALUE: usize = 768;
/// Longest name of an overlay, or other bytes that stand for a key.
const MAX_OWNER: usize = 512;

/// A position in the 256-bit space of keys and nodes.
pub type KeyId = [u8; 32];

/// Names a value: its owner, what it is, which of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Short id of the owner's key.
    pub owner: AdnlId,
    /// What it is: `address`, `payment-node`.
    pub name: Vec<u8>,
    /// Which of several.
    pub index: u32,
}

impl Key {
    /// The first key of this name.
    pub fn new(owner: AdnlId, name: &str) -> Self {
        Self { owner, name: name.as_bytes().to_vec(), index: 0 }
    }

    /// The position of the value.
    pub fn id(&self) -> KeyId {
        sha256(&self.to_boxed())
    }
}

impl Object for Key {
    const ID: u32 = KEY;

    fn write_bare(&self, w: &mut Writer) {
        w.raw(self.owner.as_bytes());
        w.bytes(&self.name);
        w.u32(self.index);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let owner = AdnlId(r.int256("id")?);
        let name = r.bytes_max(MAX_NAME, "name")?.to_vec();
        let index = r.u32("idx")?;
        if name.is_empty() || index > MAX_INDEX {
            return Err(Error::Invalid { field: "dht.key", rule: "a name has 1 to 127 bytes, an index is at most 15" });
        }
        Ok(Self { owner, name, index })
    }
}

/// The key whose short id is a DHT key's owner. Its kind decides who may store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// A key pair: who has its private half stores (rule `signature`).
    Ed25519(PublicKey),
    /// A secret key: anybody stores (rule `anybody`).
    Aes([u8; 32]),
    /// No key at all: anybody stores (rule `anybody`).
    Unencrypted(Vec<u8>),
    /// An overlay's name: its nodes store themselves (rule `overlayNodes`).
    Overlay(Vec<u8>),
}

impl Owner {
    /// The short id.
    pub fn id(&self) -> AdnlId {
        let mut w = Writer::new();
        self.write(&mut w);
        AdnlId(sha256(&w.into_bytes()))
    }

    /// The key pair's public half, if it is one.
    pub fn ed25519(&self) -> Option<PublicKey> {
        match self {
            Self::Ed25519(key) => Some(*key),
            _ => None,
        }
    }

    /// Constructor of the only update rule that fits (network 5.1).
    fn rule(&self) -> u32 {
        match self {
            Self::Ed25519(_) => RULE_SIGNATURE,
            Self::Aes(_) | Self::Unencrypted(_) => RULE_ANYBODY,
            Self::Overlay(_) => RULE_OVERLAY_NODES,
        }
    }

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Ed25519(key) => key.write(w),
            Self::Aes(key) => {
                w.u32(PUB_AES);
                w.raw(key);
            }
            Self::Unencrypted(data) => {
                w.u32(PUB_UNENCRYPTED);
                w.bytes(data);
            }
            Self::Overlay(name) => {
                w.u32(PUB_OVERLAY);
                w.bytes(name);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        match Reader::new(r.rest()).u32("id")? {
            PUB_AES | PUB_UNENCRYPTED | PUB_OVERLAY => {}
            _ => return PublicKey::read(r, "id").map(Self::Ed25519),
        }
        Ok(match r.u32("id")? {
            PUB_AES => Self::Aes(r.int256("id")?),
            PUB_UNENCRYPTED => Self::Unencrypted(r.bytes_max(MAX_OWNER, "id")?.to_vec()),
            _ => Self::Overlay(r.bytes_max(MAX_OWNER, "id")?.to_vec()),
        })
    }
}

/// A key, and its owner's word for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key.
    pub key: Key,
    /// Its short id is the key's owner.
    pub owner: Owner,
    /// Over [`Self::to_sign`]; empty until signed, and where nobody signs.
    pub signature: Vec<u8>,
}

impl KeyDescription {
    /// The unsigned description of an owner's first key of this name.
    pub fn new(owner: PublicKey, name: &str) -> Self {
        Self::of(Owner::Ed25519(owner), name)
    }

    /// The same of any owner.
    pub fn of(owner: Owner, name: &str) -> Self {
        Self { key: Key::new(owner.id(), name), owner, signature: Vec::new() }
    }

    /// What the owner signs.
    pub fn to_sign(&self) -> Vec<u8> {
        Self { signature: Vec::new(), ..self.clone() }.to_boxed()
    }
}

impl Object for KeyDescription {
    const ID: u32 =
        tl::id("dht.keyDescription key:dht.key id:PublicKey update_rule:dht.UpdateRule signature:bytes = dht.KeyDescription");

    fn write_bare(&self, w: &mut Writer) {
        self.key.write_bare(w);
        self.owner.write(w);
        w.u32(self.owner.rule());
        w.bytes(&self.signature);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let key = Key::read_bare(r)?;
        let owner = Owner::read(r)?;
        match r.u32("update_rule")? {
            rule if rule == owner.rule() => Ok(Self { key, owner, signature: r.bytes_max(64, "signature")?.to_vec() }),
            RULE_SIGNATURE | RULE_ANYBODY | RULE_OVERLAY_NODES => {
                Err(Error::Invalid { field: "update_rule", rule: "does not fit the kind of key" })
            }
            id => Err(Error::UnknownConstructor { field: "update_rule", id }),
        }
    }
}

/// A value as its update rule wants it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its key.
    pub description: KeyDescription,
    /// The content.
    pub data: Vec<u8>,
    /// Unix seconds until which it holds.
    pub ttl: u32,
    /// Over [`Self::to_sign`]; empty until signed, and where nobody signs.
    pub signature: Vec<u8>,
}

impl Value {
    /// A value signed with a key at hand. With a key elsewhere: sign [`KeyDescription::to_sign`], then [`Self::to_sign`].
    pub fn signed(owner: &PrivateKey, name: &str, data: Vec<u8>, ttl: u32) -> Self {
        let mut description = KeyDescription::new(owner.public(), name);
        description.signature = owner.sign(&description.to_sign()).to_vec();
        let mut value = Self { description, data, ttl, signature: Vec::new() };
        value.signature = owner.sign(&value.to_sign()).to_vec();
        value
    }

    /// A value that nobody signs: of an owner that is no key pair.
    pub fn unsigned(owner: Owner, name: &str, data: Vec<u8>, ttl: u32) -> Self {
        Self { description: KeyDescription::of(owner, name), data, ttl, signature: Vec::new() }
    }

    /// The list of an overlay's nodes.
    pub fn of_overlay(name: &[u8], nodes: &OverlayNodes, ttl: u32) -> Self {
        Self::unsigned(Owner::Overlay(name.to_vec()), OVERLAY_NODES, nodes.to_boxed(), ttl)
    }

    /// What the owner signs: with the description's signature in place.
    pub fn to_sign(&self) -> Vec<u8> {
        Self { signature: Vec::new(), ..self.clone() }.to_boxed()
    }

    /// The position of the value.
    pub fn key_id(&self) -> KeyId {
        self.description.key.id()
    }

    /// Whether it is as its update rule wants it, and its size within the limit.
    pub fn is_valid(&self) -> bool {
        let KeyDescription { key, owner, signature } = &self.description;
        let unsigned = signature.is_empty() && self.signature.is_empty();
        let by_rule = match owner {
            Owner::Ed25519(owner) => {
                signed_by(owner, &self.description.to_sign(), signature) && signed_by(owner, &self.to_sign(), &self.signature)
            }
            Owner::Aes(_) | Owner::Unencrypted(_) => unsigned,
            Owner::Overlay(_) => unsigned && OverlayNodes::of_value(&self.data, &key.owner).is_some(),
        };
        self.data.len() <= MAX_VALUE && key.owner == owner.id() && by_rule
    }

    /// What is kept of this value and a newer one of the same key, both valid.
    pub(crate) fn merge(self, newer: Self) -> Self {
        match self.description.owner {
            Owner::Ed25519(_) if newer.ttl > self.ttl => newer,
            Owner::Ed25519(_) => self,
            Owner::Aes(_) | Owner::Unencrypted(_) => newer,
            Owner::Overlay(_) => {
                let nodes = |data: &[u8]| OverlayNodes::from_boxed(data).unwrap_or_default();
                let data = nodes(&self.data).merge(nodes(&newer.data)).to_boxed();
                Self { data, ttl: self.ttl.max(newer.ttl), ..self }
            }
        }
    }
}

impl Object for Value {
    const ID: u32 = tl::id("dht.value key:dht.keyDescription value:bytes ttl:int signature:bytes = dht.Value");

    fn write_bare(&self, w: &mut Writer) {
        self.description.write_bare(w);
        w.bytes(&self.data);
        w.u32(self.ttl);
        w.bytes(&self.signature);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            description: KeyDescription::read_bare(r)?,
            data: r.bytes_max(MAX_VALUE, "value")?.to_vec(),
            ttl: r.u32("ttl")?,
            signature: r.bytes_max(64, "signature")?.to_vec(),
        })
    }
}

pub(crate) fn signed_by(key: &PublicKey, message: &[u8], signature: &[u8]) -> bool {
    signature.try_into().is_ok_and(|signature| key.verify(message, signature))
}
