//! The record `payment-node` in the DHT: where a channel key is reached (payments 2.1, network 5.1).

use sha2::{Digest, Sha256};
use tl::{Object as _, Writer};
use wire::message::NodeAddress;

const PUBLIC_KEY: u32 = tl::id("pub.ed25519 key:int256 = PublicKey");
const KEY_DESCRIPTION: u32 =
    tl::id("dht.keyDescription key:dht.key id:PublicKey update_rule:dht.UpdateRule signature:bytes = dht.KeyDescription");
const VALUE: u32 = tl::id("dht.value key:dht.keyDescription value:bytes ttl:int signature:bytes = dht.Value");
const RULE_SIGNATURE: u32 = tl::id("dht.updateRule.signature = dht.UpdateRule");
const NAME: &[u8] = b"payment-node";

/// What the record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// ADNL id of the gateway.
    pub adnl_id: [u8; 32],
    /// Unix time, wall clock.
    pub expires_at: u32,
}

/// The two signatures of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecordSignatures {
    /// Over the boxed key description with an empty signature.
    pub description: [u8; 64],
    /// Over the boxed value, description signed, with an empty signature of its own.
    pub value: [u8; 64],
}

impl NodeRecord {
    /// Signs both parts; `sign` is the channel key's.
    pub(crate) fn sign(&self, channel_key: &[u8; 32], sign: impl Fn(&[u8]) -> [u8; 64]) -> NodeRecordSignatures {
        let value = NodeAddress { adnl_addr: self.adnl_id }.to_boxed();
        sign_record(channel_key, NAME, &value, self.expires_at, sign)
    }
}

fn sign_record(
    owner: &[u8; 32],
    name: &[u8],
    value: &[u8],
    expires_at: u32,
    sign: impl Fn(&[u8]) -> [u8; 64],
) -> NodeRecordSignatures {
    let description = sign(&boxed(KEY_DESCRIPTION, |w| write_description(w, owner, name, &[])));
    let value = sign(&boxed(VALUE, |w| {
        write_description(w, owner, name, &description);
        w.bytes(value);
        w.u32(expires_at);
        w.bytes(&[]);
    }));
    NodeRecordSignatures { description, value }
}

fn boxed(id: u32, write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.u32(id);
    write(&mut writer);
    writer.into_bytes()
}

/// The body of `dht.keyDescription`: key (owner's id, name, index 0), owner, rule, signature.
fn write_description(w: &mut Writer, owner: &[u8; 32], name: &[u8], signature: &[u8]) {
    let public = boxed(PUBLIC_KEY, |w| w.raw(owner));
    w.raw(&Sha256::digest(&public));
    w.bytes(name);
    w.u32(0);
    w.raw(&public);
    w.u32(RULE_SIGNATURE);
    w.bytes(signature);
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::{Signer as _, SigningKey};

    use super::*;

    /// The worked example of network B.5: the owner's `address` record, from the live network's own code.
    #[test]
    fn signs_as_the_network_does() {
        let key = SigningKey::from_bytes(&std::array::from_fn(|i| i as u8));
        let owner = key.verifying_key().to_bytes();
        let value = hex::decode("58e6272201000000e7a60d670100007f9344000000f1536500f153650000000000000000").unwrap();
        let signatures = sign_record(&owner, b"address", &value, 1_700_001_800, |bytes| key.sign(bytes).to_bytes());
        assert_eq!(
            hex::encode(signatures.description),
            "c7403457e5d325b8e5c7e782af75b8c53533d7a5cb47862a54376dc53e1d0d841c9fdc34fe69163904248a6c7387927750175ce4e878bb9c03128639d0d2d105"
        );
        assert_eq!(
            hex::encode(signatures.value),
            "5bf43a2cf782cd34a72a91bb73c89b628efb66a3c905fcdcf967b537ad9594e2208694030ff1e7b0ff60d07289aa7299927a21373dddffbf5a6b8f1293357f00"
        );
    }
}
