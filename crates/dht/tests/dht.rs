//! Bytes of the specification (network B.5), rules of the server, and a network of nodes on loopback.

use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use adnl::{AddressList, Config, Endpoint};
use dht::{
    Answer, Client, Error, K, Key, KeyDescription, Lookup, Node, Nodes, PAYMENT_NODE, PaymentNode, Query, Server, Value,
    address_value, dht_section, distance, static_nodes,
};
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::SocketAddrV4;
use tl::Object;
use tokio::sync::watch;

const NOW: u32 = 1_700_000_000;

fn key(first: u8) -> PrivateKey {
    PrivateKey::from_seed(&std::array::from_fn(|i| first + i as u8))
}

fn address(port: u16) -> SocketAddrV4 {
    SocketAddrV4::new([127, 0, 0, 1].into(), port)
}

fn list(port: u16) -> AddressList {
    AddressList { addrs: vec![address(port)], version: NOW, reinit_date: NOW, priority: 0, expire_at: 0 }
}

#[test]
fn bytes_of_the_specification() {
    let owner = key(0);
    let value = address_value(&owner, &list(17555), NOW + 1800);
    assert_eq!(hex::encode(&value.data), "58e6272201000000e7a60d670100007f9344000000f1536500f153650000000000000000");
    assert_eq!(hex::encode(value.key_id()), "1ce46877e5d7c0b61fa49dd865c1c9efb36e3d6da4c76d68bdaab0b72c2ae313");
    let payment_node = Key::new(owner.id(), PAYMENT_NODE).id();
    assert_eq!(hex::encode(payment_node), "5ade0a996ce7fa4a4ed00104f322921fe1977cab48595c79c39b92b306238ed0");
    assert_eq!(
        hex::encode(&value.description.signature),
        "c7403457e5d325b8e5c7e782af75b8c53533d7a5cb47862a54376dc53e1d0d841c9fdc34fe69163904248a6c7387927750175ce4e878bb9c03128639d0d2d105"
    );
    assert_eq!(
        hex::encode(&value.signature),
        "5bf43a2cf782cd34a72a91bb73c89b628efb66a3c905fcdcf967b537ad9594e2208694030ff1e7b0ff60d07289aa7299927a21373dddffbf5a6b8f1293357f00"
    );
    let store = Query::Store(Box::new(value)).to_bytes();
    let hash = "b4070005acb4df6ec80b99af49fa415bb23297c126881e9a05ad7b720d57e8e6";
    assert_eq!((store.len(), hex::encode(adnl::cipher::sha256(&store))), (268, hash.to_owned()));
    let node = Node::present(&key(0x20), address(17556), NOW);
    assert_eq!(
        hex::encode(&node.signature),
        "08d60d857274f9cfc847163d6f2a2824c86bf6cca30a46409246c71025aad56f0314173f037b12ac464562a3bb7ddb7d6bcf8efb498b19af7773594c4ad7c400"
    );
    assert!(node.is_valid());
    let payment = PaymentNode(owner.id()).to_boxed();
    assert_eq!(payment[..4], 0x67fa_46d9_u32.to_le_bytes());
}

/// The two steps for a key that is elsewhere give the same value as a key at hand.
#[test]
fn a_value_signed_elsewhere() {
    let owner = key(5);
    let mut description = KeyDescription::new(owner.public(), PAYMENT_NODE);
    description.signature = owner.sign(&description.to_sign()).to_vec();
    let mut value = Value { description, data: PaymentNode(key(9).id()).to_boxed(), ttl: NOW, signature: Vec::new() };
    assert!(!value.is_valid());
    value.signature = owner.sign(&value.to_sign()).to_vec();
    assert!(value.is_valid());
    assert_eq!(value, Value::signed(&owner, PAYMENT_NODE, value.data.clone(), NOW));
}

fn server() -> Server {
    Server::new(Node::present(&key(1), address(1), NOW), [])
}

fn find(server: &mut Server, now: u32, value: &Value) -> Option<Value> {
    match server.handle(now, key(50).id(), &Query::FindValue(value.key_id(), 10).to_bytes()) {
        Some(Answer::Found(value)) => Some(*value),
        Some(Answer::NotFound(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn store(server: &mut Server, now: u32, value: &Value) -> bool {
    match server.handle(now, key(50).id(), &Query::Store(Box::new(value.clone())).to_bytes()) {
        Some(Answer::Stored) => true,
        None => false,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_server_keeps_signed_values_and_the_longer_lived() {
    let (mut server, owner) = (server(), key(7));
    let value = |data: &[u8], ttl| Value::signed(&owner, "thing", data.to_vec(), ttl);
    let (first, second) = (value(b"first", NOW + 100), value(b"second", NOW + 200));
    assert!(store(&mut server, NOW, &first));
    assert_eq!(find(&mut server, NOW, &first).as_ref(), Some(&first));
    assert!(store(&mut server, NOW, &second));
    assert!(store(&mut server, NOW, &first));
    assert_eq!(find(&mut server, NOW, &first).as_ref(), Some(&second));
    assert_eq!(find(&mut server, NOW + 200, &first), None);
    // Too far ahead, expired, larger than allowed, or not signed.
    assert!(!store(&mut server, NOW, &value(b"third", NOW + 3661)));
    let expired = Value::signed(&key(8), "thing", b"old".to_vec(), NOW);
    assert!(store(&mut server, NOW, &expired));
    assert_eq!(find(&mut server, NOW - 10, &expired), None);
    assert!(!store(&mut server, NOW, &value(&[0; 769], NOW + 300)));
    for spoil in [
        |v: &mut Value| v.data[0] ^= 1,
        |v: &mut Value| v.description.signature[5] ^= 1,
        |v: &mut Value| {
            v.description.key.name[0] ^= 1;
        },
    ] {
        let mut spoiled = value(b"fourth", NOW + 400);
        spoil(&mut spoiled);
        assert!(!store(&mut server, NOW, &spoiled));
    }
    let mut foreign = value(b"fifth", NOW + 500);
    foreign.description.key.owner = key(9).id();
    assert!(!store(&mut server, NOW, &foreign));
}

#[test]
fn a_server_names_the_nearest_and_never_the_asker() {
    let mut server = server();
    let nodes: Vec<_> = (10..40).map(|i| (Node::present(&key(i), address(i.into()), NOW), key(i).id())).collect();
    for (node, id) in &nodes {
        let mut query = 0x7d53_0769_u32.to_le_bytes().to_vec();
        query.extend(&node.to_boxed()[4..]);
        query.extend(Query::Ping(5).to_bytes());
        // Introduced by itself only.
        assert_eq!(server.handle(NOW, key(60).id(), &query), Some(Answer::Pong(5)));
        assert_eq!(server.handle(NOW, *id, &query), Some(Answer::Pong(5)));
    }
    let target = [0x55; 32];
    let asker = nodes.iter().min_by_key(|(_, id)| distance(&target, id.as_bytes())).unwrap().1;
    let Some(Answer::Nodes(Nodes(named))) = server.handle(NOW, asker, &Query::FindNode(target, 1000).to_bytes()) else {
        panic!()
    };
    let mut expected: Vec<AdnlId> = nodes.iter().map(|(_, id)| *id).filter(|id| *id != asker).collect();
    expected.sort_by_key(|id| distance(&target, id.as_bytes()));
    assert_eq!(named.iter().map(Node::id).collect::<Vec<_>>(), expected[..K]);
    let Some(Answer::Addresses(own)) = server.handle(NOW, asker, &Query::GetAddresses.to_bytes()) else { panic!() };
    assert_eq!(*own, *server.own());
}

#[test]
fn configuration_keeps_the_signed_numbers() {
    let high = Node::present(&key(3), SocketAddrV4::new([201, 2, 3, 4].into(), 65_535), u32::MAX / 2);
    let section = dht_section(&[high.clone(), Node::present(&key(4), address(5), NOW)]);
    let mut configuration = serde_json::json!({ "dht": section });
    let nodes = static_nodes(&configuration);
    assert_eq!((nodes.len(), &nodes[0]), (2, &high));
    configuration["dht"]["static_nodes"]["nodes"][0]["version"] = 1.into();
    assert_eq!(static_nodes(&configuration).len(), 1);
    assert_eq!(static_nodes(&serde_json::json!({ "dht": 5 })), []);
}

/// In a network where each node knows some others, a search finds the nearest of all.
#[test]
fn a_lookup_reaches_the_nearest() {
    let keys: Vec<_> = (0..60).map(|i| PrivateKey::from_seed(&[i; 32])).collect();
    let nodes: Vec<_> = keys.iter().map(|key| Node::present(key, address(9), NOW)).collect();
    let mut servers: HashMap<_, _> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        // A ring, and some far away.
        let others = [1, 2, 3, 7, 19, 31].iter().map(|step| nodes[(i + step) % nodes.len()].clone());
        servers.insert(node.id(), Server::new(node.clone(), others));
    }
    let (target, silent) = ([0xa5; 32], nodes[20].id());
    let mut lookup = Lookup::new(target, [nodes[0].clone()]);
    let mut asked = 0;
    while let Some(node) = lookup.next_to_ask() {
        asked += 1;
        let answer = servers.get_mut(&node.id()).unwrap().handle(NOW, AdnlId([0; 32]), &Query::FindNode(target, 10).to_bytes());
        match answer {
            Some(Answer::Nodes(named)) if node.id() != silent => lookup.answered(&node, named.0),
            _ => lookup.failed(&node),
        }
    }
    let mut expected: Vec<_> = nodes.iter().map(Node::id).filter(|id| *id != silent).collect();
    expected.sort_by_key(|id| distance(&target, id.as_bytes()));
    let found: Vec<_> = lookup.into_nearest().iter().map(Node::id).collect();
    assert_eq!(found, expected[..K]);
    assert!(asked < 60);
}

async fn endpoint(key: &PrivateKey) -> (Endpoint, adnl::Incoming) {
    let epoch = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    let config = Config { key: key.clone(), epoch, listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    Endpoint::bind(config, drop).await.unwrap()
}

fn present(key: &PrivateKey, endpoint: &Endpoint) -> Node {
    Node::present(key, address(endpoint.local_addr().port()), NOW)
}

#[tokio::test]
async fn store_and_find_over_two_nodes() {
    let (s1, s2) = (PrivateKey::generate(), PrivateKey::generate());
    let ((e1, i1), (e2, i2)) = (endpoint(&s1).await, endpoint(&s2).await);
    let (n1, n2) = (present(&s1, &e1), present(&s2, &e2));
    tokio::spawn(Server::new(n1.clone(), [n2.clone()]).run(i1.queries));
    tokio::spawn(Server::new(n2.clone(), []).run(i2.queries));
    // One client knows only the first server, the other only the second.
    let (adnl_key, channel_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (writer, _w) = endpoint(&adnl_key).await;
    let (reader, _r) = endpoint(&PrivateKey::generate()).await;
    let (writer, reader) = (Client::new(writer, vec![n1]), Client::new(reader, vec![n2]));
    let ttl = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32 + 1800;
    assert_eq!(reader.find_address(adnl_key.id()).await, Err(Error::NotFound));
    assert_eq!(writer.store(&address_value(&adnl_key, &list(17555), ttl)).await, Ok(2));
    let pointer = PaymentNode(adnl_key.id()).to_boxed();
    assert_eq!(writer.store(&Value::signed(&channel_key, PAYMENT_NODE, pointer, ttl)).await, Ok(2));
    let node = reader.find_payment_node(&channel_key.public()).await.unwrap();
    assert_eq!(node, adnl_key.id());
    let found: (PublicKey, SocketAddrV4) = reader.find_address(node).await.unwrap();
    assert_eq!(found, (adnl_key.public(), address(17555)));
    // Refused by both: an unsigned value.
    let mut unsigned = address_value(&adnl_key, &list(1), ttl + 10);
    unsigned.signature[0] ^= 1;
    assert_eq!(writer.store(&unsigned).await, Err(Error::Unreachable));
}

/// Each node knows one other at first. Together they keep a value that a client of any of them finds, also when that one is gone.
#[tokio::test]
async fn nodes_form_a_network_by_themselves() {
    const NODES: usize = 6;
    let (mut endpoints, mut nodes): (Vec<Endpoint>, Vec<Node>) = (Vec::new(), Vec::new());
    for _ in 0..NODES {
        let key = PrivateKey::generate();
        let (endpoint, incoming) = endpoint(&key).await;
        let node = present(&key, &endpoint);
        let bootstrap = nodes.first().cloned().into_iter().collect();
        let (_, own) = watch::channel(node.clone());
        tokio::spawn(Server::new(node.clone(), []).join(endpoint.clone(), bootstrap, incoming.queries, own));
        endpoints.push(endpoint);
        nodes.push(node);
    }
    let owner = PrivateKey::generate();
    let (endpoint_of_writer, _w) = endpoint(&owner).await;
    let writer = Client::new(endpoint_of_writer, vec![nodes[0].clone()]);
    let ttl = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32 + 1800;
    for i in 1.. {
        // Each time another value: the longer-lived one replaces the older.
        match writer.store(&address_value(&owner, &list(17555), ttl + i)).await {
            Ok(NODES) => break,
            Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            Err(error) => panic!("{error}"),
        }
    }
    endpoints[0].close().await;
    for node in &nodes[1..] {
        let (endpoint, _r) = endpoint(&PrivateKey::generate()).await;
        let reader = Client::new(endpoint, vec![node.clone()]);
        assert_eq!(reader.find_address(owner.id()).await, Ok((owner.public(), address(17555))));
    }
}

/// Others name it at its new address as soon as it has one.
#[tokio::test]
async fn a_node_that_moves_is_named_at_its_new_address() {
    let keys = [PrivateKey::generate(), PrivateKey::generate()];
    let (stays, incoming_of_stays) = endpoint(&keys[0]).await;
    let (moves, incoming_of_moves) = endpoint(&keys[1]).await;
    let (staying, before) = (present(&keys[0], &stays), present(&keys[1], &moves));
    tokio::spawn(Server::new(staying.clone(), []).run(incoming_of_stays.queries));
    let (moving, own) = watch::channel(before.clone());
    let server = Server::new(before.clone(), []);
    tokio::spawn(server.join(moves, vec![staying.clone()], incoming_of_moves.queries, own));
    let (asking, _a) = endpoint(&PrivateKey::generate()).await;
    let peer = asking.introduce(staying.key, staying.address().unwrap()).await.unwrap();
    let until_named = async |wanted: &Node| loop {
        let query = Query::FindNode([0; 32], 10).to_bytes();
        let answer = asking.query(peer, query, std::time::Duration::from_secs(10)).await.unwrap();
        if Answer::parse(&answer) == Ok(Answer::Nodes(Nodes(vec![wanted.clone()]))) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    until_named(&before).await;
    let after = Node::present(&keys[1], address(9), NOW + 1);
    moving.send_replace(after.clone());
    until_named(&after).await;
}

/// The network's number in front of a signature, signed over or not (network 5.1).
#[test]
fn signatures_with_the_networks_number_are_understood() {
    let (owner, plain) = (key(2), Node::present(&key(2), address(7), NOW));
    let boxed = plain.to_boxed();
    let presented = &boxed[..boxed.len() - 68];
    let with = |signature: &[u8]| {
        let mut w = tl::Writer::new();
        w.raw(presented);
        w.bytes(signature);
        Node::from_boxed(&w.into_bytes()).unwrap()
    };
    let network = (-3_i32).to_le_bytes();
    let mut to_sign = tl::Writer::new();
    to_sign.raw(presented);
    to_sign.bytes(&network);
    let over_number = owner.sign(&to_sign.into_bytes());
    assert_eq!(with(&plain.signature), plain);
    assert!(with(&[&network[..], &over_number].concat()).is_valid());
    assert!(with(&[&network[..], &plain.signature].concat()).is_valid());
    assert!(!with(&[&1_i32.to_le_bytes()[..], &over_number].concat()).is_valid());
    assert!(!with(&plain.signature[..63]).is_valid());
}

proptest! {
    #[test]
    fn parsers_are_total_and_agree_with_the_writers(kind in 0..8, at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(), noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let value = || Box::new(Value::signed(&key(1), "name", noise.clone(), NOW));
        let nodes = || Nodes(vec![Node::present(&key(2), address(7), NOW), Node::present(&key(3), address(8), NOW)]);
        let mut bytes = match kind {
            0 => Query::Store(value()).to_bytes(),
            1 => Query::FindValue([7; 32], 10).to_bytes(),
            2 => Answer::Found(value()).to_bytes(),
            3 => Answer::NotFound(nodes()).to_bytes(),
            4 => Answer::Nodes(nodes()).to_bytes(),
            5 => Answer::Addresses(Box::new(nodes().0.remove(0))).to_bytes(),
            6 => [&0x7d53_0769_u32.to_le_bytes()[..], &nodes().0[0].to_boxed()[4..], &Query::Ping(1).to_bytes()].concat(),
            _ => noise.clone(),
        };
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] ^= byte;
            if byte % 3 == 0 {
                bytes.truncate(1 + cut.index(bytes.len()));
            }
        }
        if let Ok((None, query)) = Query::parse(&bytes) {
            prop_assert_eq!(Query::parse(&query.to_bytes()), Ok((None, query)));
        }
        if let Ok(answer) = Answer::parse(&bytes) {
            prop_assert_eq!(Answer::parse(&answer.to_bytes()), Ok(answer));
        }
        let mut server = server();
        let _ = server.handle(NOW, key(2).id(), &bytes);
    }
}
