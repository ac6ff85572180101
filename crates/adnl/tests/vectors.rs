//! The reference's bytes: the golden subset of this repository, and the complete vectors where they exist.

use adnl::cipher;
use adnl::keys::{AdnlId, PrivateKey, PublicKey, aes_key_id};
use adnl::{Event, Message, Node, Now, Packet, derive_channel};
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

#[test]
fn constructor_ids() {
    for v in sources() {
        for case in list(&v["tl_ids"]) {
            assert_eq!(hex::encode(tl::id(case["schema"].as_str().unwrap()).to_be_bytes()), case["crc32"].as_str().unwrap());
        }
    }
}

#[test]
fn messages_are_read_and_written() {
    for v in sources() {
        let messages = |case: &&Value| case["type"].as_str().unwrap().starts_with("Message");
        for case in list(&v["tl_examples"]).iter().filter(messages) {
            let boxed = bytes(&case["boxed"]);
            assert_eq!(Message::parse(&boxed).unwrap().to_bytes(), boxed);
        }
    }
}

#[test]
fn channel_keys_and_packets() {
    for v in sources() {
        let (a, b, channel) = (private(&v["adnl_a"]["key"]), private(&v["adnl_b"]["key"]), &v["channel"]);
        let (ca, cb) = (private(&channel["channel_key_a"]), private(&channel["channel_key_b"]));
        let (a_in, a_out) = derive_channel(&a.id(), &ca, &b.id(), &cb.public()).unwrap();
        let (b_in, b_out) = derive_channel(&b.id(), &cb, &a.id(), &ca.public()).unwrap();
        for (side, inbound, outbound) in [(&channel["side_a"], &a_in, &a_out), (&channel["side_b"], &b_in, &b_out)] {
            assert_eq!((inbound.key, inbound.id), (int256(&side["decrypt_key"]), int256(&side["id_in"])));
            assert_eq!((outbound.key, outbound.id), (int256(&side["encrypt_key"]), int256(&side["id_out"])));
        }
        for case in list(&channel["packets"]) {
            let mut datagram = bytes(&case["udp_payload"]);
            let (head, body) = datagram.split_at_mut(64);
            let direction = if head[..32] == a_in.id { &a_in } else { &b_in };
            assert_eq!(head[..32], direction.id);
            assert!(cipher::open(&direction.key, head[32..].try_into().unwrap(), body));
            assert_eq!(body, bytes(&case["plaintext"]));
            let packet = Packet::parse(body).unwrap();
            assert!(packet.seqno.is_some() && packet.signature.is_none() && packet.messages.len() == 1);
        }
    }
}

#[test]
fn root_packets_and_their_signatures() {
    for v in sources() {
        let nodes = [private(&v["adnl_a"]["key"]), private(&v["adnl_b"]["key"])];
        for case in list(&v["packets"]) {
            let case = &case["packet"];
            let receiver = nodes.iter().find(|key| key.id() == AdnlId(int256(&case["to_adnl_id"]))).unwrap();
            let sender = nodes.iter().find(|key| key.id() != receiver.id()).unwrap().public();
            let mut datagram = bytes(&case["udp_payload"]);
            let (head, body) = datagram.split_at_mut(96);
            let key = PublicKey::from_bytes(head[32..64].try_into().unwrap()).unwrap();
            assert!(cipher::open(&receiver.shared_secret(&key).unwrap(), head[64..].try_into().unwrap(), body));
            assert_eq!(body, bytes(&case["plaintext"]));
            let packet = Packet::parse(body).unwrap();
            assert_eq!(packet.signed_bytes(body), bytes(&case["signed_bytes"]));
            assert_eq!(packet.signature.unwrap().to_vec(), bytes(&case["signature"]));
            assert!(packet.is_signed_by(&sender, body));
            assert!(!packet.is_signed_by(&receiver.public(), body));
            let messages: Vec<_> = packet.messages.iter().map(Message::to_bytes).collect();
            let expected: Vec<_> = list(&case["messages"]).iter().map(|message| bytes(&message["tl_boxed"])).collect();
            assert_eq!(messages, expected);
        }
    }
}

/// The reference's first packet opens a session with our node, whichever key encrypted it (network 3.1).
#[test]
fn our_node_takes_the_first_packet_of_the_reference() {
    for v in sources() {
        let (a, b) = (private(&v["adnl_a"]["key"]), private(&v["adnl_b"]["key"]));
        let mut node = Node::new(b, 1_700_000_000, None);
        let now = Now { elapsed: std::time::Duration::ZERO, unix: 1_700_000_001 };
        let mut datagram = bytes(&v["packets"][0]["packet"]["udp_payload"]);
        node.handle_datagram(now, "127.0.0.1:17555".parse().unwrap(), &mut datagram);
        let events: Vec<_> = node.take_events().collect();
        assert!(events.iter().any(|event| *event == Event::Up { peer: a.public() }));
        assert!(events.iter().any(|event| matches!(event, Event::Query { peer, .. } if *peer == a.public())));
    }
}

/// network 3.9: the reference's parts.
#[test]
fn parts() {
    for v in sources() {
        let message: Vec<u8> = (0..3000).map(|i| [0x5a, 0xa5, 0x01][i % 3]).collect();
        let parts = list(&v["split"]["parts"]);
        assert_eq!(parts.len(), 3);
        for (i, case) in parts.iter().enumerate() {
            let data = &message[1024 * i..3000.min(1024 * (i + 1))];
            let part = Message::Part { hash: cipher::sha256(&message), total_size: 3000, offset: 1024 * i as u32, data };
            assert_eq!(cipher::sha256(&part.to_bytes()), int256(&case["tl_boxed_sha256"]));
        }
    }
}
