//! RLDP over endpoints on loopback.

use adnl::keys::PrivateKey;
use adnl::{Config, Endpoint, PeerRecord};
use rldp::{Error, IncomingQuery, Rldp};
use std::time::Duration;
use tokio::sync::mpsc;

const PATIENCE: Duration = Duration::from_secs(20);

async fn node(key: &PrivateKey) -> (Endpoint, Rldp, mpsc::Receiver<IncomingQuery>) {
    let epoch = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    let config = Config { key: key.clone(), epoch, listen: ([127, 0, 0, 1], 0).into(), advertise: None };
    let (endpoint, incoming) = Endpoint::bind(config, drop).await.unwrap();
    let (rldp, queries) = Rldp::start(endpoint.clone(), incoming.customs);
    (endpoint, rldp, queries)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_all_sizes_in_parallel() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (a, a_rldp, _a_queries) = node(&a_key).await;
    let (b, _b_rldp, mut b_queries) = node(&b_key).await;
    let record = PeerRecord { key: b_key.public(), address: Some(b.local_addr()), channel_date: 0 };
    let peer = a.add_peer(record).await.unwrap();
    let asker = a.id();
    let server = tokio::spawn(async move {
        let mut served = 0;
        while let Some(query) = b_queries.recv().await {
            assert_eq!(query.peer, asker);
            served += 1;
            if query.data.is_empty() {
                query.responder.answer(vec![served as u8]).await.unwrap();
                return served;
            }
            query.responder.answer(query.data).await.unwrap();
        }
        unreachable!("the last query is empty");
    });
    let mut asked = Vec::new();
    for i in 0..200_usize {
        let rldp = a_rldp.clone();
        asked.push(tokio::spawn(async move {
            let data: Vec<u8> = (0..1 + i * 300).map(|j| (i + j) as u8).collect();
            let answer = rldp.query(peer, data.clone(), 65_536, PATIENCE).await.unwrap();
            assert!(answer == data);
        }));
    }
    for query in asked {
        query.await.unwrap();
    }
    a_rldp.query(peer, vec![], 100, PATIENCE).await.unwrap();
    assert_eq!(server.await.unwrap(), 201);
    // Nobody answers now.
    assert_eq!(a_rldp.query(peer, vec![1], 100, Duration::from_millis(200)).await, Err(Error::Timeout));
    a.close().await;
    assert_eq!(a_rldp.query(peer, vec![1], 100, PATIENCE).await, Err(Error::Closed));
}

/// A call that is sent in the moment of closing is not left behind in the queue, where it would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_the_moment_of_closing_ends() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (b, _b_rldp, _b_queries) = node(&b_key).await;
    for _ in 0..200 {
        let (a, rldp, _queries) = node(&a_key).await;
        let record = PeerRecord { key: b_key.public(), address: Some(b.local_addr()), channel_date: 0 };
        let peer = a.add_peer(record).await.unwrap();
        a.close().await;
        let ended = tokio::time::timeout(PATIENCE, rldp.query(peer, vec![1], 100, 2 * PATIENCE)).await;
        assert_eq!(ended.expect("the call ends"), Err(Error::Closed));
    }
}
