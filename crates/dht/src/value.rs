use adnl::cipher::sha256;
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use tl::{Error, Object, Reader, Writer};

const KEY: u32 = tl::id("dht.key id:int256 name:bytes idx:int = dht.Key");
const RULE_SIGNATURE: u32 = tl::id("dht.updateRule.signature = dht.UpdateRule");

/// Longest name of a key (network 5.1).
pub const MAX_NAME: usize = 127;
/// Largest index of a key.
pub const MAX_INDEX: u32 = 15;
/// Largest value.
pub const MAX_VALUE: usize = 768;

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

/// A key, and its owner's word for it. The only update rule that we know is the owner's signature; the payment network uses no other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyDescription {
    /// The key.
    pub key: Key,
    /// The owner's key: its short id is the key's owner.
    pub owner: PublicKey,
    /// Over [`Self::to_sign`]; empty until signed.
    pub signature: Vec<u8>,
}

impl KeyDescription {
    /// The unsigned description of an owner's first key of this name.
    pub fn new(owner: PublicKey, name: &str) -> Self {
        Self { key: Key::new(owner.id(), name), owner, signature: Vec::new() }
    }

    /// What the owner signs.
    pub fn to_sign(&self) -> Vec<u8> {
        Self { signature: Vec::new(), ..self.clone() }.to_boxed()
    }

    fn is_signed(&self) -> bool {
        self.key.owner == self.owner.id() && signed_by(&self.owner, &self.to_sign(), &self.signature)
    }
}

impl Object for KeyDescription {
    const ID: u32 =
        tl::id("dht.keyDescription key:dht.key id:PublicKey update_rule:dht.UpdateRule signature:bytes = dht.KeyDescription");

    fn write_bare(&self, w: &mut Writer) {
        self.key.write_bare(w);
        self.owner.write(w);
        w.u32(RULE_SIGNATURE);
        w.bytes(&self.signature);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let key = Key::read_bare(r)?;
        let owner = PublicKey::read(r, "id")?;
        match r.u32("update_rule")? {
            RULE_SIGNATURE => Ok(Self { key, owner, signature: r.bytes_max(64, "signature")?.to_vec() }),
            id => Err(Error::UnknownConstructor { field: "update_rule", id }),
        }
    }
}

/// A value with the owner's signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Value {
    /// Its key.
    pub description: KeyDescription,
    /// The content.
    pub data: Vec<u8>,
    /// Unix seconds until which it holds.
    pub ttl: u32,
    /// Over [`Self::to_sign`]; empty until signed.
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

    /// What the owner signs: with the description's signature in place.
    pub fn to_sign(&self) -> Vec<u8> {
        Self { signature: Vec::new(), ..self.clone() }.to_boxed()
    }

    /// The position of the value.
    pub fn key_id(&self) -> KeyId {
        self.description.key.id()
    }

    /// Whether both signatures are the owner's and the size is within its limit.
    pub fn is_valid(&self) -> bool {
        self.data.len() <= MAX_VALUE
            && self.description.is_signed()
            && signed_by(&self.description.owner, &self.to_sign(), &self.signature)
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
