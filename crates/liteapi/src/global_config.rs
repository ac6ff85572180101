//! The lite servers and the first trusted block of a global configuration file (network 6.5).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use adnl::keys::PublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tycho_types::models::{BlockId, ShardIdent};
use tycho_types::prelude::HashBytes;

use crate::ServerAddress;

/// The part of the file that is used here.
#[derive(Deserialize)]
struct GlobalConfig {
    liteservers: Vec<GlobalServer>,
}

#[derive(Deserialize)]
struct TrustConfig {
    validator: ValidatorConfig,
}

#[derive(Deserialize)]
struct ValidatorConfig {
    init_block: InitBlock,
}

#[derive(Deserialize)]
struct InitBlock {
    workchain: i32,
    seqno: u32,
    root_hash: String,
    file_hash: String,
}

#[derive(Deserialize)]
struct GlobalServer {
    /// An IPv4 address as a signed number; 0 for none.
    ip: i64,
    port: u16,
    id: GlobalKey,
}

#[derive(Deserialize)]
struct GlobalKey {
    key: String,
}

impl ServerAddress {
    /// The lite servers that the text of a global configuration file names; those without an IPv4 address are left out.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn of_global_config(text: &str) -> Result<Vec<Self>, String> {
        let config: GlobalConfig = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let mut servers = Vec::new();
        for server in config.liteservers {
            let ip = i32::try_from(server.ip).map(i32::cast_unsigned).or_else(|_| u32::try_from(server.ip));
            let ip = ip.map_err(|_| format!("ip {}", server.ip))?;
            if ip == 0 {
                continue;
            }
            let key = STANDARD.decode(&server.id.key).ok().and_then(|bytes| PublicKey::from_bytes(&bytes.try_into().ok()?).ok());
            let key = key.ok_or_else(|| format!("key {:?}", server.id.key))?;
            servers.push(Self { address: SocketAddr::new(IpAddr::V4(Ipv4Addr::from_bits(ip)), server.port), key });
        }
        Ok(servers)
    }
}

/// The block from which proofs begin ([`crate::Policy::Secure`]): `validator.init_block` of a global configuration file, a key block or the
/// zero state.
///
/// # Errors
/// What cannot be read.
pub fn init_block_of_global_config(text: &str) -> Result<BlockId, String> {
    let block = serde_json::from_str::<TrustConfig>(text).map_err(|error| error.to_string())?.validator.init_block;
    let hash = |text: &str| STANDARD.decode(text).ok().and_then(|bytes| bytes.try_into().ok()).map(HashBytes);
    match (block.workchain, hash(&block.root_hash), hash(&block.file_hash)) {
        (-1, Some(root_hash), Some(file_hash)) => {
            Ok(BlockId { shard: ShardIdent::MASTERCHAIN, seqno: block.seqno, root_hash, file_hash })
        }
        _ => Err("validator.init_block".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let text = |ip: &str, key: &str| {
            format!(
                r#"{{"liteservers": [{{"ip": {ip}, "port": 4000, "id": {{"@type": "pub.ed25519", "key": "{key}"}}}}], "dht": {{}}}}"#
            )
        };
        let read = |ip: &str, key: &str| ServerAddress::of_global_config(&text(ip, key));
        let key = adnl::keys::PrivateKey::from_seed(&[7; 32]).public();
        let base64 = STANDARD.encode(key.as_bytes());
        let servers = read("-1062731519", &base64).unwrap();
        assert_eq!(servers[0].address, "192.168.1.1:4000".parse().unwrap());
        assert_eq!(servers[0].key, key);
        assert_eq!(read("2130706433", &base64).unwrap()[0].address, "127.0.0.1:4000".parse().unwrap());
        assert!(read("0", &base64).unwrap().is_empty());
        assert!(read("1", "x").is_err());
        assert!(read("99999999999", &base64).is_err());
        assert!(ServerAddress::of_global_config("{}").is_err());
    }

    #[test]
    fn the_first_trusted_block_is_read() {
        let text = |workchain: i32, hash: &str| {
            format!(
                r#"{{"validator": {{"init_block": {{"workchain": {workchain}, "shard": -9223372036854775808, "seqno": 7, "root_hash": "{hash}", "file_hash": "{hash}"}}}}}}"#
            )
        };
        let block = init_block_of_global_config(&text(-1, &STANDARD.encode([5; 32]))).unwrap();
        assert_eq!(
            (block.shard, block.seqno, block.root_hash.0, block.file_hash.0),
            (ShardIdent::MASTERCHAIN, 7, [5; 32], [5; 32])
        );
        assert!(init_block_of_global_config(&text(0, &STANDARD.encode([5; 32]))).is_err());
        assert!(init_block_of_global_config(&text(-1, &STANDARD.encode([5; 31]))).is_err());
        assert!(init_block_of_global_config("{}").is_err());
    }
}
