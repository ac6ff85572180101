//! The global configuration file that TON clients read: lite servers, DHT nodes, and where the chain began (network 6.5, 8).

use std::net::{IpAddr, SocketAddr};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use liteapi::ServerAddress;
use serde_json::{Value, json};
use tycho_types::models::BlockId;

/// Builds the file. `dht` is its section of that name; `init_block` is the key block that clients may trust without proof. (Not the zero
/// state: there are clients that want a block.)
pub fn global_config(servers: &[ServerAddress], zero_state: &BlockId, init_block: &BlockId, dht: Value) -> Value {
    json!({
        "@type": "config.global",
        "dht": dht,
        "liteservers": servers.iter().map(lite_server).collect::<Vec<_>>(),
        "validator": { "@type": "validator.config.global", "zero_state": block_id(zero_state), "init_block": block_id(init_block) },
    })
}

fn block_id(id: &BlockId) -> Value {
    json!({
        "workchain": id.shard.workchain(),
        "shard": id.shard.prefix() as i64,
        "seqno": id.seqno,
        "root_hash": STANDARD.encode(id.root_hash),
        "file_hash": STANDARD.encode(id.file_hash),
    })
}

fn lite_server(server: &ServerAddress) -> Value {
    json!({
        "ip": signed_ip(server.address),
        "port": server.address.port(),
        "id": { "@type": "pub.ed25519", "key": STANDARD.encode(server.key.as_bytes()) },
    })
}

/// An IPv4 address as the signed number that the file wants; 0 for IPv6, which it cannot say.
fn signed_ip(address: SocketAddr) -> i32 {
    match address.ip() {
        IpAddr::V4(ip) => u32::from(ip).cast_signed(),
        IpAddr::V6(_) => 0,
    }
}
