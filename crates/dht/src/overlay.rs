//! Values of overlays: lists of nodes, each of which signed that it takes part (network 5.1).

use crate::value::{MAX_VALUE, signed_by};
use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use std::collections::BTreeMap;
use tl::{Error, Object, Reader, Writer};

const TO_SIGN: u32 = tl::id("overlay.node.toSign id:adnl.id.short overlay:int256 version:int = overlay.node.ToSign");
/// Shortest encoding of a node.
const MIN_NODE: usize = 36 + 32 + 4 + 4;
/// Bytes of a signature with the network's number in front.
const NUMBERED_SIGNATURE: usize = 68;

/// A node of an overlay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayNode {
    /// Its key.
    pub key: PublicKey,
    /// Short id of the overlay's key.
    pub overlay: AdnlId,
    /// Unix seconds; a newer entry replaces an older one.
    pub version: u32,
    /// Its signature, of 64 bytes, or 68 with the network's number in front.
    pub signature: Vec<u8>,
}

impl OverlayNode {
    /// A signed entry.
    pub fn signed(key: &PrivateKey, overlay: AdnlId, version: u32) -> Self {
        let mut node = Self { key: key.public(), overlay, version, signature: Vec::new() };
        node.signature = key.sign(&node.to_sign()).to_vec();
        node
    }

    fn to_sign(&self) -> Vec<u8> {
        let mut w = Writer::new();
        w.u32(TO_SIGN);
        w.raw(self.key.id().as_bytes());
        w.raw(self.overlay.as_bytes());
        w.u32(self.version);
        w.into_bytes()
    }

    fn is_valid(&self) -> bool {
        let number = if self.signature.len() == NUMBERED_SIGNATURE { 4 } else { 0 };
        signed_by(&self.key, &self.to_sign(), &self.signature[number..])
    }
}

impl Object for OverlayNode {
    const ID: u32 = tl::id("overlay.node id:PublicKey overlay:int256 version:int signature:bytes = overlay.Node");

    fn write_bare(&self, w: &mut Writer) {
        self.key.write(w);
        w.raw(self.overlay.as_bytes());
        w.u32(self.version);
        w.bytes(&self.signature);
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            key: PublicKey::read(r, "id")?,
            overlay: AdnlId(r.int256("overlay")?),
            version: r.u32("version")?,
            signature: r.bytes_max(NUMBERED_SIGNATURE, "signature")?.to_vec(),
        })
    }
}

/// `overlay.nodes`: what a value of an overlay holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OverlayNodes(pub Vec<OverlayNode>);

impl Object for OverlayNodes {
    const ID: u32 = tl::id("overlay.nodes nodes:(vector overlay.node) = overlay.Nodes");

    fn write_bare(&self, w: &mut Writer) {
        w.u32(self.0.len() as u32);
        self.0.iter().for_each(|node| node.write_bare(w));
    }

    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let count = r.count(MAX_VALUE / MIN_NODE, MIN_NODE, "nodes")?;
        (0..count).map(|_| OverlayNode::read_bare(r)).collect::<Result<_, _>>().map(Self)
    }
}

impl OverlayNodes {
    /// The nodes of a value, if it is one of this overlay and each node signed its entry.
    pub(crate) fn of_value(data: &[u8], overlay: &AdnlId) -> Option<Self> {
        let nodes = Self::from_boxed(data).ok()?;
        nodes.0.iter().all(|node| node.overlay == *overlay && node.is_valid()).then_some(nodes)
    }

    /// The newest entry of each node of both lists, the newest nodes first, as many as a value can hold.
    pub(crate) fn merge(self, other: Self) -> Self {
        let mut newest: BTreeMap<AdnlId, OverlayNode> = BTreeMap::new();
        for node in self.0.into_iter().chain(other.0) {
            let id = node.key.id();
            if newest.get(&id).is_none_or(|known| known.version < node.version) {
                newest.insert(id, node);
            }
        }
        let mut nodes: Vec<_> = newest.into_values().collect();
        nodes.sort_by_key(|node| std::cmp::Reverse(node.version));
        let mut merged = Self(nodes);
        while merged.to_boxed().len() > MAX_VALUE {
            merged.0.pop();
        }
        merged
    }
}
