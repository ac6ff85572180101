//! The reference's bytes: the golden subset of this repository, and the complete vectors where they exist.

use adnl::cipher;
use adnl::keys::{AdnlId, PrivateKey, PublicKey, aes_key_id};
use serde_json::Value;

/// Each test runs over every vector file found; the golden one is always there.
fn sources() -> Vec<Value> {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
    let golden = std::fs::read_to_string(format!("{root}tests/vectors/adnl.json")).unwrap();
    let complete = std::fs::read_to_string(format!("{root}../shared/vectors/adnl.json")).ok();
    std::iter::once(golden).chain(complete).map(|text| serde_json::from_str(&text).unwrap()).collect()
}

fn bytes(v: &Value) -> Vec<u8> {
    hex::decode(v.as_str().unwrap()).unwrap()
}

fn int256(v: &Value) -> [u8; 32] {
    bytes(v).try_into().unwrap()
}

fn private(v: &Value) -> PrivateKey {
    PrivateKey::from_seed(&int256(&v["seed"]))
}

fn list(v: &Value) -> &Vec<Value> {
    let list = v.as_array().unwrap();
    assert!(!list.is_empty());
    list
}

#[test]
fn ids_and_shared_secrets() {
    for v in sources() {
        for node in [&v["adnl_a"], &v["adnl_b"]] {
            assert_eq!(private(&node["key"]).public().to_bytes(), int256(&node["key"]["public"]));
            assert_eq!(private(&node["key"]).id(), AdnlId(int256(&node["adnl_id"])));
        }
        for case in list(&v["shared_keys"]) {
            let peer = PublicKey::from_bytes(&int256(&case["peer"]["public"])).unwrap();
            assert_eq!(private(&case["private"]).shared_secret(&peer), Ok(int256(&case["shared_key"])));
        }
    }
}

#[test]
fn ciphers() {
    for v in sources() {
        for case in list(&v["ciphers"]) {
            let secret = int256(&case["shared_key"]);
            let mut data = bytes(&case["plaintext"]);
            assert_eq!(cipher::seal(&secret, &mut data), int256(&case["checksum"]));
            assert_eq!(data, bytes(&case["ciphertext"]));
            assert!(cipher::open(&secret, &int256(&case["checksum"]), &mut data));
            assert_eq!(data, bytes(&case["plaintext"]));
        }
    }
}

#[test]
fn channel_ids() {
    for v in sources() {
        for side in [&v["channel"]["side_a"], &v["channel"]["side_b"]] {
            assert_eq!(aes_key_id(&int256(&side["decrypt_key"])), int256(&side["id_in"]));
            assert_eq!(aes_key_id(&int256(&side["encrypt_key"])), int256(&side["id_out"]));
        }
    }
}

/// network B.2
#[test]
fn keys_of_the_specification() {
    let a = PrivateKey::from_seed(&std::array::from_fn(|i| i as u8));
    let b = PrivateKey::from_seed(&std::array::from_fn(|i| 0x20 + i as u8));
    assert_eq!(a.id().to_string(), "c6fa26802422205ef272b0208c6273e83f94f3a0b88cd7e7aa2329726dc37820");
    let secret = "f6f92efb32945aff683324a1c984c5001f46aaea513f3453138d740b3a604b7d";
    assert_eq!(hex::encode(a.shared_secret(&b.public()).unwrap()), secret);
    assert_eq!(hex::encode(b.shared_secret(&a.public()).unwrap()), secret);
}

#[test]
fn weak_and_impossible_keys_are_refused() {
    // The neutral element has small order; a key off the curve does not decompress.
    let neutral = PublicKey::from_bytes(&std::array::from_fn(|i| u8::from(i == 0))).unwrap();
    assert_eq!(PrivateKey::generate().shared_secret(&neutral), Err(adnl::keys::KeyError::Weak));
    assert!((0..=255).any(|first| PublicKey::from_bytes(&std::array::from_fn(|_| first)).is_err()));
}
