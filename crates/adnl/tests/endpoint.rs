//! Endpoints on loopback.

use adnl::keys::{AdnlId, PrivateKey};
use adnl::{Config, Custom, Endpoint, Incoming, Notice, PeerRecord, QueryError, SendError};
use bytes::Bytes;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

type Journal = Arc<Mutex<Vec<PeerRecord>>>;

async fn endpoint(key: &PrivateKey, epoch: u32, port: u16) -> (Endpoint, Incoming, Journal) {
    let journal = Journal::default();
    let config = Config { key: key.clone(), epoch, listen: ([127, 0, 0, 1], port).into(), advertise: None };
    let records = journal.clone();
    let (endpoint, incoming) = Endpoint::bind(config, move |record| records.lock().unwrap().push(record)).await.unwrap();
    (endpoint, incoming, journal)
}

/// Answers every query with its reverse; counts them.
fn serve(mut incoming: Incoming) -> (Arc<AtomicUsize>, tokio::sync::mpsc::Receiver<Notice>, tokio::sync::mpsc::Receiver<Custom>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    tokio::spawn(async move {
        while let Some(query) = incoming.queries.recv().await {
            counted.fetch_add(1, Ordering::Relaxed);
            query.responder.answer(reversed(&query.data)).await.unwrap();
        }
    });
    (count, incoming.notices, incoming.customs)
}

fn reversed(data: &[u8]) -> Bytes {
    data.iter().rev().copied().collect()
}

fn record(key: &PrivateKey, at: &Endpoint) -> PeerRecord {
    PeerRecord { key: key.public(), address: Some(at.local_addr()), channel_date: 0 }
}

fn unix() -> u32 {
    std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32
}

async fn ask(endpoint: &Endpoint, peer: AdnlId, data: Vec<u8>) {
    let answer = endpoint.query(peer, data.clone(), PATIENCE).await.unwrap();
    assert_eq!(answer, reversed(&data));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn queries_of_all_sizes_in_a_channel() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (a, _a_incoming, _) = endpoint(&a_key, unix(), 0).await;
    let (b, b_incoming, _) = endpoint(&b_key, unix(), 0).await;
    let (count, ..) = serve(b_incoming);
    let peer = a.add_peer(record(&b_key, &b)).await.unwrap();
    for size in [0, 1, 253, 254, 1000, 1300, 1400, 3000, 8000, adnl::MAX_PAYLOAD] {
        ask(&a, peer, (0..size).map(|i| i as u8).collect()).await;
    }
    let queries: Vec<_> = (0..500)
        .map(|i| {
            tokio::spawn({
                let a = a.clone();
                async move { ask(&a, peer, vec![i as u8; i]).await }
            })
        })
        .collect();
    for query in queries {
        query.await.unwrap();
    }
    assert_eq!(count.load(Ordering::Relaxed), 510);
    let stats = a.stats().await.unwrap();
    assert!(stats.sent_root < 10 && stats.sent > 100, "{stats:?}");
    let too_large = a.query(peer, vec![0; adnl::MAX_PAYLOAD + 1], PATIENCE).await;
    assert_eq!(too_large, Err(QueryError::Send(SendError::TooLarge)));
}

#[tokio::test]
async fn nobody_there_is_a_timeout_and_an_unknown_peer_an_error() {
    let (a, _incoming, _) = endpoint(&PrivateKey::generate(), unix(), 0).await;
    let absent = PrivateKey::generate();
    let unknown = a.query(absent.id(), vec![1], PATIENCE).await;
    assert_eq!(unknown, Err(QueryError::Send(SendError::UnknownPeer)));
    let peer = a.introduce(absent.public(), "127.0.0.1:9".parse().unwrap()).await.unwrap();
    assert_eq!(a.query(peer, vec![1], Duration::from_millis(300)).await, Err(QueryError::Timeout));
    a.close().await;
    assert_eq!(a.query(peer, vec![1], PATIENCE).await, Err(QueryError::Closed));
}

#[tokio::test]
async fn answers_come_late_and_out_of_order() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (a, _a_incoming, _) = endpoint(&a_key, unix(), 0).await;
    let (b, mut b_incoming, _) = endpoint(&b_key, unix(), 0).await;
    let peer = a.add_peer(record(&b_key, &b)).await.unwrap();
    let asked: Vec<_> = (0..3u8)
        .map(|i| {
            tokio::spawn({
                let a = a.clone();
                async move { a.query(peer, vec![i], PATIENCE).await.unwrap() }
            })
        })
        .collect();
    let mut queries = Vec::new();
    while queries.len() < 3 {
        let query = b_incoming.queries.recv().await.unwrap();
        assert_eq!((query.peer_id, query.peer), (a.id(), a_key.public()));
        queries.push(query);
    }
    // Longer than several repetitions: none of them reaches the handler.
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert!(b_incoming.queries.try_recv().is_err());
    for query in queries.into_iter().rev() {
        query.responder.answer(query.data).await.unwrap();
    }
    for (i, query) in asked.into_iter().enumerate() {
        assert_eq!(query.await.unwrap(), [i as u8][..]);
    }
}

#[tokio::test]
async fn custom_messages_in_both_directions() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (a, mut a_incoming, _) = endpoint(&a_key, unix(), 0).await;
    let (b, mut b_incoming, _) = endpoint(&b_key, unix(), 0).await;
    let (to_b, _) = (a.add_peer(record(&b_key, &b)).await.unwrap(), b.add_peer(record(&a_key, &a)).await.unwrap());
    let message = |peer, byte| Custom { peer, data: Bytes::from(vec![byte; 800]), reply: false };
    a.customs((0..10).map(|i| message(to_b, i)).collect()).await.unwrap();
    for i in 0..10 {
        assert_eq!(b_incoming.customs.recv().await.unwrap(), message(a.id(), i));
    }
    b.customs(vec![message(a.id(), 77)]).await.unwrap();
    assert_eq!(a_incoming.customs.recv().await.unwrap(), message(b.id(), 77));
}

/// network 3.13: either side is killed and comes back within the same second, with its epoch risen.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_side_restarts_in_the_same_second() {
    let (a_key, b_key) = (PrivateKey::generate(), PrivateKey::generate());
    let (mut a_epoch, mut b_epoch) = (unix(), unix());
    let (mut a, a_incoming, a_journal) = endpoint(&a_key, a_epoch, 0).await;
    let (_, mut a_notices, _) = serve(a_incoming);
    let (mut b, b_incoming, _) = endpoint(&b_key, b_epoch, 0).await;
    serve(b_incoming);
    a.add_peer(record(&b_key, &b)).await.unwrap();
    ask(&a, b.id(), vec![1; 100]).await;
    ask(&b, a.id(), vec![2; 100]).await;
    let mut last_date = 0;
    for round in 0..3 {
        // The asked side restarts; the asking one keeps its state and does not know.
        b.close().await;
        b_epoch = adnl::next_epoch(b_epoch, unix());
        let (again, incoming, _) = endpoint(&b_key, b_epoch, b.local_addr().port()).await;
        b = again;
        let (_, mut b_notices, _) = serve(incoming);
        ask(&a, b.id(), vec![3 + round; 100]).await;
        while a_notices.recv().await.unwrap() != Notice::Reset(b.id()) {}
        // The asking side restarts with what it stored.
        let stored = a_journal.lock().unwrap().iter().rev().find(|record| record.channel_date != 0).cloned().unwrap();
        assert_eq!(stored.address, Some(b.local_addr()));
        a.close().await;
        a_epoch = adnl::next_epoch(a_epoch, unix());
        let (again, incoming, journal) = endpoint(&a_key, a_epoch, a.local_addr().port()).await;
        a = again;
        a_notices = serve(incoming).1;
        a.add_peer(stored.clone()).await.unwrap();
        ask(&a, b.id(), vec![4 + round; 100]).await;
        // The other direction works in the same session.
        ask(&b, a.id(), vec![5 + round; 100]).await;
        while b_notices.recv().await.unwrap() != Notice::Reset(a.id()) {}
        let date = journal.lock().unwrap().last().unwrap().channel_date;
        assert!(date > stored.channel_date && date > last_date);
        last_date = date;
        a_journal.lock().unwrap().extend(journal.lock().unwrap().drain(..));
    }
}
