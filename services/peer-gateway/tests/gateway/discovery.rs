//! Found by nothing but the channel key.

use adnl::Endpoint;
use adnl::keys::PrivateKey;
use std::net::SocketAddr;
use testkit::Cluster;

use crate::world::Node;

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
