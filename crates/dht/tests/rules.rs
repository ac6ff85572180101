//! Who may store what: the three update rules (network 5.1).

use adnl::keys::PrivateKey;
use dht::{Answer, KeyDescription, Node, OVERLAY_NODES, OverlayNode, OverlayNodes, Owner, Query, Server, Value};
use proptest::prelude::*;
use tl::Object;

const NOW: u32 = 1_700_000_000;

fn key(first: u8) -> PrivateKey {
    PrivateKey::from_seed(&[first; 32])
}

fn server() -> Server {
    let address = std::net::SocketAddrV4::new([127, 0, 0, 1].into(), 1);
    Server::new(Node::present(&key(1), address, NOW), [])
}

/// Whether the server takes it, and what it has afterwards.
fn store(server: &mut Server, value: &Value) -> (bool, Option<Value>) {
    let stored = server.handle(NOW, key(50).id(), &Query::Store(Box::new(value.clone())).to_bytes()) == Some(Answer::Stored);
    match server.handle(NOW, key(50).id(), &Query::FindValue(value.key_id(), 10).to_bytes()) {
        Some(Answer::Found(found)) => (stored, Some(*found)),
        _ => (stored, None),
    }
}

fn boxed(kind: &'static str) -> [u8; 4] {
    tl::id(kind).to_le_bytes()
}

#[test]
fn owners_that_are_no_key_pair_have_the_networks_ids() {
    let bytes = |schema, body: &[u8]| adnl::cipher::sha256(&[&boxed(schema)[..], body].concat());
    let name = [&[3_u8][..], b"abc"].concat();
    assert_eq!(Owner::Overlay(b"abc".to_vec()).id().0, bytes("pub.overlay name:bytes = PublicKey", &name));
    assert_eq!(Owner::Unencrypted(b"abc".to_vec()).id().0, bytes("pub.unenc data:bytes = PublicKey", &name));
    assert_eq!(Owner::Aes([7; 32]).id().0, bytes("pub.aes key:int256 = PublicKey", &[7; 32]));
    assert_eq!(Owner::Ed25519(key(3).public()).id(), key(3).id());
}

#[test]
fn anybody_stores_under_what_is_no_key_pair_and_the_newest_counts() {
    for owner in [Owner::Aes([7; 32]), Owner::Unencrypted(b"board".to_vec())] {
        let mut server = server();
        let value = |data: &[u8], ttl| Value::unsigned(owner.clone(), "note", data.to_vec(), ttl);
        let (first, second) = (value(b"first", NOW + 200), value(b"second", NOW + 100));
        assert_eq!(store(&mut server, &first), (true, Some(first.clone())));
        assert_eq!(store(&mut server, &second), (true, Some(second.clone())));
        // A signature where nobody can sign, or more than a value may have.
        let signed = Value { signature: vec![1; 64], ..first.clone() };
        let described = KeyDescription { signature: vec![1; 64], ..first.description.clone() };
        for refused in [signed, Value { description: described, ..first.clone() }, value(&[0; 769], NOW + 300)] {
            assert!(!refused.is_valid());
            assert_eq!(store(&mut server, &refused), (false, Some(second.clone())));
        }
    }
}

#[test]
fn a_value_without_signatures_is_nobodys_under_a_key_pair() {
    let owner = Owner::Ed25519(key(4).public());
    let value = Value::unsigned(owner, "address", b"mine".to_vec(), NOW + 100);
    assert_eq!(store(&mut server(), &value), (false, None));
    // The rule of a key pair cannot be another one: the bytes are not even a value.
    let bytes = Value::signed(&key(4), "address", b"mine".to_vec(), NOW + 100).to_boxed();
    let signature = boxed("dht.updateRule.signature = dht.UpdateRule");
    let at = bytes.windows(4).position(|window| window == signature).unwrap();
    for rule in ["dht.updateRule.anybody = dht.UpdateRule", "dht.updateRule.overlayNodes = dht.UpdateRule"] {
        let mut other = bytes.clone();
        other[at..at + 4].copy_from_slice(&boxed(rule));
        assert!(Value::from_boxed(&other).is_err());
    }
}

#[test]
fn nodes_of_an_overlay_are_merged_by_their_versions() {
    let (mut server, name) = (server(), b"overlay");
    let overlay = Owner::Overlay(name.to_vec()).id();
    let node = |of: u8, version: u32| OverlayNode::signed(&key(of), overlay, version);
    let value = |nodes: &[OverlayNode], ttl| Value::of_overlay(name, &OverlayNodes(nodes.to_vec()), ttl);
    let first = value(&[node(10, 5), node(11, 6)], NOW + 300);
    assert_eq!(first.description.key.name, OVERLAY_NODES.as_bytes());
    assert_eq!(store(&mut server, &first), (true, Some(first)));
    let (_, merged) = store(&mut server, &value(&[node(10, 4), node(11, 7), node(12, 1)], NOW + 100));
    assert_eq!(merged, Some(value(&[node(11, 7), node(10, 5), node(12, 1)], NOW + 300)));
    // As many as fit, the newest.
    for of in 20..40 {
        store(&mut server, &value(&[node(of, 100 + u32::from(of))], NOW + 200));
    }
    let (_, full) = store(&mut server, &value(&[node(13, 0)], NOW + 200));
    let full = full.unwrap();
    let nodes = OverlayNodes::from_boxed(&full.data).unwrap().0;
    assert!(full.data.len() <= dht::MAX_VALUE && full.data.len() > dht::MAX_VALUE - 140);
    let newest: Vec<_> = (0..nodes.len() as u8).map(|i| node(39 - i, 139 - u32::from(i))).collect();
    assert_eq!(nodes, newest);
}

#[test]
fn a_node_must_sign_for_its_overlay() {
    let overlay = Owner::Overlay(b"overlay".to_vec()).id();
    let good = OverlayNode::signed(&key(10), overlay, 5);
    let number = [&(-3_i32).to_le_bytes()[..], &good.signature].concat();
    let numbered = OverlayNode { signature: number, ..good.clone() };
    for (node, valid) in [
        (good.clone(), true),
        (numbered, true),
        (OverlayNode { version: 6, ..good.clone() }, false),
        (OverlayNode { key: key(11).public(), ..good.clone() }, false),
        (OverlayNode { signature: Vec::new(), ..good.clone() }, false),
        (OverlayNode::signed(&key(10), key(12).id(), 5), false),
    ] {
        let value = Value::of_overlay(b"overlay", &OverlayNodes(vec![node]), NOW + 100);
        assert_eq!((value.is_valid(), store(&mut server(), &value).0), (valid, valid));
    }
    let value = Value::unsigned(Owner::Overlay(b"overlay".to_vec()), OVERLAY_NODES, b"no list".to_vec(), NOW + 100);
    assert!(!value.is_valid());
}

proptest! {
    /// Values of all kinds come back as they were; with any byte changed they are parsed or refused, and never believed unless nobody signs.
    #[test]
    fn values_of_any_owner_are_read_as_they_were_written(kind in 0..4, data in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), byte in 1..=255_u8) {
        let overlay = Owner::Overlay(data.clone()).id();
        let value = match kind {
            0 => Value::signed(&key(1), "name", data.clone(), NOW),
            1 => Value::unsigned(Owner::Aes([9; 32]), "name", data.clone(), NOW),
            2 => Value::unsigned(Owner::Unencrypted(data.clone()), "name", data.clone(), NOW),
            _ => Value::of_overlay(&data, &OverlayNodes(vec![OverlayNode::signed(&key(2), overlay, 3)]), NOW),
        };
        let mut bytes = value.to_boxed();
        prop_assert!(value.is_valid());
        prop_assert_eq!(&Value::from_boxed(&bytes).unwrap(), &value);
        let at = at.index(bytes.len());
        bytes[at] ^= byte;
        if let Ok(other) = Value::from_boxed(&bytes) {
            // Padding says nothing; of the others only what a signature covers is safe.
            prop_assert!(other == value || kind > 0 || !other.is_valid());
            let _ = store(&mut server(), &other);
        }
    }
}
