use crate::value::{KeyId, signed_by};
use adnl::AddressList;
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use std::net::{SocketAddr, SocketAddrV4};
use tl::{Error, Object, Reader, Writer};

const NODE: u32 = tl::id("dht.node id:PublicKey addr_list:adnl.addressList version:int signature:bytes = dht.Node");
/// Most nodes read from one answer.
const MAX_NODES: usize = 32;
/// Shortest encoding of a node.
const MIN_NODE: usize = 36 + 20 + 4 + 4;
/// Bytes of a signature with the network's number in front.
const NUMBERED_SIGNATURE: usize = 68;

/// A node of the DHT, as it presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its key.
    pub key: PublicKey,
    /// Where it is.
    pub addresses: AddressList,
    /// Unix seconds of this presentation; a newer one replaces an older.
    pub version: u32,
    /// Its signature, of 64 bytes, or 68 with the network's number in front.
    pub signature: Vec<u8>,
    /// The bare bytes before the signature, as they came: the address list may hold more than we read.
    presented: Vec<u8>,
}

impl Node {
    /// Presents a node, with the short signature that every peer understands (network 5.1).
    pub fn present(key: &PrivateKey, address: SocketAddrV4, version: u32) -> Self {
        let addresses = AddressList { addrs: vec![address], version, reinit_date: version, priority: 0, expire_at: 0 };
        let mut node = Self::unsigned(key.public(), addresses, version);
        node.signature = key.sign(&node.to_sign(&[])).to_vec();
        node
    }

    /// A node with its signature, from numbers that were signed elsewhere.
    pub(crate) fn unsigned(key: PublicKey, addresses: AddressList, version: u32) -> Self {
        let mut w = Writer::new();
        key.write(&mut w);
        addresses.write_bare(&mut w);
        w.u32(version);
        Self { key, addresses, version, signature: Vec::new(), presented: w.into_bytes() }
    }

    /// Its position and ADNL id.
    pub fn id(&self) -> AdnlId {
        self.key.id()
    }

    /// Where to reach it.
    pub fn address(&self) -> Option<SocketAddr> {
        self.addresses.addrs.first().map(|address| SocketAddr::V4(*address))
    }

    fn to_sign(&self, field: &[u8]) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(NODE);
        w.raw(&self.presented);
        w.bytes(field);
        w.into_bytes()
    }

    /// Whether it signed this presentation.
    pub fn is_valid(&self) -> bool {
        if self.signature.len() == NUMBERED_SIGNATURE {
            let (network, signature) = self.signature.split_at(4);
            return [network, &[]].iter().any(|field| signed_by(&self.key, &self.to_sign(field), signature));
        }
        signed_by(&self.key, &self.to_sign(&[]), &self.signature)
    }
}

impl Object for Node {
    const ID: u32 = NODE;

    fn write_bare(&self, w: &mut Writer) {
        w.raw(&self.presented);
        w.bytes(&self.signature);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let start = r.rest();
        let key = PublicKey::read(r, "id")?;
        let addresses = AddressList::read_bare(r)?;
        let version = r.u32("version")?;
        let presented = start[..start.len() - r.rest().len()].to_vec();
        let signature = r.bytes_max(NUMBERED_SIGNATURE, "signature")?.to_vec();
        Ok(Self { key, addresses, version, signature, presented })
    }
}

/// `dht.nodes`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Nodes(pub Vec<Node>);

impl Object for Nodes {
    const ID: u32 = tl::id("dht.nodes nodes:(vector dht.node) = dht.Nodes");

    fn write_bare(&self, w: &mut Writer) {
        w.u32(self.0.len() as u32);
        self.0.iter().for_each(|node| node.write_bare(w));
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let count = r.count(MAX_NODES, MIN_NODE, "nodes")?;
        (0..count).map(|_| Node::read_bare(r)).collect::<Result<_, _>>().map(Self)
    }
}

/// XOR distance: ordered as 256-bit numbers.
pub fn distance(a: &KeyId, b: &KeyId) -> [u8; 32] {
    std::array::from_fn(|i| a[i] ^ b[i])
}
