//! Found by nothing but the channel key.

use adnl::Endpoint;
use adnl::keys::PrivateKey;
use peer_gateway::Config;
use rpc::gateway::v1::{AdvertiseAddressRequest, ListPeersRequest};
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use testkit::{Cluster, free_udp_port, wait_for};
use tonic::Code;

use crate::world::{Node, PATIENCE};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_published_node_is_found_by_its_key() {
    let cluster = Cluster::temporary().await.unwrap();
    let (folder, now) = (tempfile::tempdir().unwrap(), std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32);
    let key = PrivateKey::generate();
    let config = adnl::Config { key: key.clone(), epoch: now, listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    let (endpoint, incoming) = Endpoint::bind(config, drop).await.unwrap();
    let SocketAddr::V4(address) = endpoint.local_addr() else { panic!("bound to IPv4") };
    let node = dht::Node::present(&key, address, now);
    tokio::spawn(dht::Server::new(node.clone(), []).run(incoming.queries));
    let network = folder.path().join("network.json");
    std::fs::write(&network, serde_json::json!({ "dht": dht::dht_section(&[node]) }).to_string()).unwrap();
    let network = format!("network_config_file = '{}'", network.display());

    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let gateway_a = a.start(&[], &network);
    let gateway_b = b.start(&[], &format!("{network}\nexternal_address = '{}'", b.udp));
    let (mut engine_a, mut engine_b) = (gateway_a.engine(&a, "one").await, gateway_b.engine(&b, "one").await);
    engine_a.want(&[b.public()]).await;
    engine_a.until_connected(&b.public()).await;
    engine_b.until_connected(&a.public()).await;
}

/// The rest of a configuration for a gateway that can be reached and runs a DHT node.
fn with_dht_node(node: &Node, dht: SocketAddr, network: Option<&Path>) -> String {
    let network = network.map(|file| format!("network_config_file = '{}'\n", file.display())).unwrap_or_default();
    format!("{network}external_address = '{}'\ndht = {{ listen = '{dht}', external_address = '{dht}' }}", node.udp)
}

/// A network configuration that knows the DHT node of this gateway only.
fn network_of(folder: &Path, name: &str, config: &str) -> std::path::PathBuf {
    let config: Config = toml::from_str(config).unwrap();
    let file = folder.join(name);
    std::fs::write(&file, serde_json::json!({ "dht": peer_gateway::dht_section(&config).unwrap() }).to_string()).unwrap();
    file
}

/// No DHT but that of the gateways. The first one, whom all others began with, goes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gateways_are_a_dht_by_themselves() {
    let cluster = Cluster::temporary().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let port = || SocketAddr::from(([127, 0, 0, 1], free_udp_port().unwrap()));
    let (a, b, c, d) =
        tokio::join!(Node::new(&cluster, "a"), Node::new(&cluster, "b"), Node::new(&cluster, "c"), Node::new(&cluster, "d"));
    let alone = with_dht_node(&a, port(), None);
    let network = network_of(folder.path(), "a.json", &a.config(&[], &alone));
    let (joins, joins_too) = (with_dht_node(&b, port(), Some(&network)), with_dht_node(&c, port(), Some(&network)));
    let (gateway_a, gateway_b, gateway_c) = (a.start(&[], &alone), b.start(&[], &joins), c.start(&[], &joins_too));
    let (mut engine_a, mut engine_b) = (gateway_a.engine(&a, "one").await, gateway_b.engine(&b, "one").await);
    let mut engine_c = gateway_c.engine(&c, "one").await;
    engine_a.want(&[b.public()]).await;
    engine_b.want(&[c.public()]).await;
    engine_a.until_connected(&b.public()).await;
    engine_b.until_connected(&c.public()).await;
    engine_c.until_connected(&b.public()).await;

    // Whether the records of c lie at another node than the one that ends is a matter of its surveys.
    let network = network_of(folder.path(), "b.json", &b.config(&[], &joins));
    gateway_a.stop.cancel();
    gateway_a.ended.await.unwrap().unwrap();
    let gateway_d = d.start(&[], &format!("network_config_file = '{}'", network.display()));
    let mut engine_d = gateway_d.engine(&d, "one").await;
    engine_d.want(&[c.public()]).await;
    engine_d.until_connected(&c.public()).await;
}

/// The records of a gateway that was told of another address, and of its DHT node, as others read them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_address_is_published_at_once() {
    let cluster = Cluster::temporary().await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (Node::new(&cluster, "a").await, Node::new(&cluster, "b").await);
    let dht = SocketAddr::from(([127, 0, 0, 1], free_udp_port().unwrap()));
    let more = with_dht_node(&a, dht, None);
    let network = network_of(folder.path(), "a.json", &a.config(&[], &more));
    let gateway = a.start(&[], &more);
    let _engine = gateway.engine(&a, "one").await;
    let key = PrivateKey::generate();
    let config = adnl::Config { key, epoch: 1, listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    let (endpoint, _incoming) = Endpoint::bind(config, drop).await.unwrap();
    let static_nodes = dht::static_nodes(&serde_json::from_str(&std::fs::read_to_string(&network).unwrap()).unwrap());
    let reader = dht::Client::new(endpoint, static_nodes);
    let until_at = async |address: SocketAddr| {
        let found = wait_for("the record", PATIENCE, async || match reader.find_address(a.adnl.id()).await {
            Ok((_, found)) if SocketAddr::V4(found) == address => Ok(()),
            other => Err(format!("{other:?}")),
        });
        found.await.unwrap();
    };
    until_at(a.udp).await;

    let mut client = gateway.client();
    let other: SocketAddrV4 = "127.0.0.2:7".parse().unwrap();
    for (udp_address, field) in [("127.0.0.2", "udp_address"), ("0.0.0.0:5", "udp_address"), ("[::1]:5", "udp_address")] {
        let request = AdvertiseAddressRequest { udp_address: udp_address.into(), ..Default::default() };
        let refused = client.advertise_address(request).await.unwrap_err();
        assert!(refused.code() == Code::InvalidArgument && refused.message().contains(field), "{refused:?}");
    }
    let request = AdvertiseAddressRequest { udp_address: other.to_string(), dht_udp_address: String::new() };
    let answer = client.advertise_address(request).await.unwrap().into_inner();
    assert_eq!((answer.udp_address, answer.dht_udp_address), (other.to_string(), dht.to_string()));
    until_at(other.into()).await;
    let request = AdvertiseAddressRequest { udp_address: a.udp.to_string(), dht_udp_address: "127.0.0.3:9".into() };
    let answer = client.advertise_address(request).await.unwrap().into_inner();
    assert_eq!((answer.udp_address, answer.dht_udp_address), (a.udp.to_string(), "127.0.0.3:9".into()));
    until_at(a.udp).await;

    // And back, it is found there.
    let gateway_b = b.start(&[], &format!("network_config_file = '{}'", network.display()));
    let mut engine_b = gateway_b.engine(&b, "one").await;
    engine_b.want(&[a.public()]).await;
    engine_b.until_connected(&a.public()).await;
    let peers = gateway_b.client().list_peers(ListPeersRequest::default()).await.unwrap().into_inner().peers;
    assert_eq!(peers[0].udp_address, a.udp.to_string());
    let request = AdvertiseAddressRequest { udp_address: String::new(), dht_udp_address: other.to_string() };
    let refused = gateway_b.client().advertise_address(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
}
