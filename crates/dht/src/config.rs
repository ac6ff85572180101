//! Static nodes in the network's JSON configuration (network 5.4).

use crate::node::Node;
use adnl::AddressList;
use adnl::keys::PublicKey;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value as Json, json};
use std::net::{Ipv4Addr, SocketAddrV4};

/// The static nodes of a network configuration. Those that are malformed, or whose signature does not fit, are left out.
pub fn static_nodes(configuration: &Json) -> Vec<Node> {
    let nodes = configuration["dht"]["static_nodes"]["nodes"].as_array();
    nodes.into_iter().flatten().filter_map(read_node).filter(Node::is_valid).collect()
}

/// The `dht` section of a configuration with these nodes. Its numbers are those that the nodes signed.
pub fn dht_section(nodes: &[Node]) -> Json {
    let nodes: Vec<_> = nodes.iter().map(write_node).collect();
    json!({
        "@type": "dht.config.global", "k": crate::lookup::K, "a": 3,
        "static_nodes": { "@type": "dht.nodes", "nodes": nodes }
    })
}

fn read_node(json: &Json) -> Option<Node> {
    let number = |json: &Json| json.as_i64().and_then(|number| u32::try_from(number).ok());
    let key: [u8; 32] = STANDARD.decode(json["id"]["key"].as_str()?).ok()?.try_into().ok()?;
    let list = &json["addr_list"];
    let address = |json: &Json| {
        // A signed 32-bit number.
        let ip = i32::try_from(json["ip"].as_i64()?).ok()?.cast_unsigned();
        Some(SocketAddrV4::new(Ipv4Addr::from(ip), u16::try_from(json["port"].as_i64()?).ok()?))
    };
    let addresses = AddressList {
        addrs: list["addrs"].as_array()?.iter().map(address).collect::<Option<_>>()?,
        version: number(&list["version"])?,
        reinit_date: number(&list["reinit_date"])?,
        priority: number(&list["priority"])?,
        expire_at: number(&list["expire_at"])?,
    };
    let mut node = Node::unsigned(PublicKey::from_bytes(&key).ok()?, addresses, number(&json["version"])?);
    node.signature = STANDARD.decode(json["signature"].as_str()?).ok()?;
    Some(node)
}

fn write_node(node: &Node) -> Json {
    let list = &node.addresses;
    let address = |address: &SocketAddrV4| {
        let ip = u32::from(*address.ip()).cast_signed();
        json!({ "@type": "adnl.address.udp", "ip": ip, "port": address.port() })
    };
    json!({
        "@type": "dht.node",
        "id": { "@type": "pub.ed25519", "key": STANDARD.encode(node.key.to_bytes()) },
        "addr_list": {
            "@type": "adnl.addressList",
            "addrs": list.addrs.iter().map(address).collect::<Vec<_>>(),
            "version": list.version, "reinit_date": list.reinit_date, "priority": list.priority, "expire_at": list.expire_at
        },
        "version": node.version,
        "signature": STANDARD.encode(&node.signature)
    })
}
