//! Stores: what was kept is there after a restart, torn tails are cut, damage is refused, versions and names are guarded.
#![cfg(feature = "client")]

#[allow(dead_code)] // Other tests use the rest.
mod world;

use std::sync::Arc;

use proptest::prelude::*;
use sspc::{Call, ChannelId, FileStore, MemoryStore, Pending, Prepared, Record, Store, StoreError, Variant};
use world::{params, place};

fn record(salt: u64) -> Record {
    let mut params = params();
    params.salt = salt;
    Record::new(place(), params, sspc::Party::A, 0).unwrap()
}

fn at(version: u64, salt: u64) -> Record {
    Record { version, ..record(salt) }
}

/// With a transaction on its way.
fn large(version: u64, salt: u64) -> Record {
    let transaction = Prepared { hash: [9; 32].into(), raw: vec![9; 2_400], cost: sspc::Amount::ZERO };
    let pending = Pending { call: Call::Open, transaction, since: 0, earlier: Vec::new() };
    Record { pending: Some(pending), ..at(version, salt) }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

/// What each store must do.
async fn guards(store: &dyn Store) {
    let first = record(1);
    assert!(store.load(&first.key()).await.unwrap().is_none());
    store.commit(None, &first).await.unwrap();
    assert!(matches!(store.commit(None, &first).await, Err(StoreError::Version { .. })), "made twice");
    store.commit(Some(0), &at(1, 1)).await.unwrap();
    assert!(matches!(store.commit(Some(0), &at(2, 1)).await, Err(StoreError::Version { stored: 1, expected: 0 })));
    assert_eq!(store.load(&first.key()).await.unwrap(), Some(at(1, 1)));

    // Two drafts of one compact channel: a peer that opened once must not pay twice.
    let compact = |salt: u64, id: Option<u64>, version: u64| {
        let mut record = at(version, salt);
        record.place.variant = Variant::Compact;
        record.id = id.map(ChannelId::Compact);
        record
    };
    for salt in [10, 11] {
        store.commit(None, &compact(salt, None, 0)).await.unwrap();
    }
    store.commit(Some(0), &compact(10, Some(5), 1)).await.unwrap();
    assert!(matches!(store.commit(Some(0), &compact(11, Some(5), 1)).await, Err(StoreError::Taken)));
    store.commit(Some(1), &compact(10, Some(6), 2)).await.unwrap();
    store.commit(Some(0), &compact(11, Some(5), 1)).await.unwrap();
    let mut keys = store.keys().await.unwrap();
    keys.sort();
    let mut expected = vec![first.key(), compact(10, None, 0).key(), compact(11, None, 0).key()];
    expected.sort();
    assert_eq!(keys, expected);

    // What is forgotten is gone, and its name is free; nobody forgets what somebody else has changed meanwhile.
    let (named, other) = (compact(11, None, 0), compact(12, Some(5), 0));
    assert!(matches!(store.remove(&named.key(), 0).await, Err(StoreError::Version { stored: 1, expected: 0 })));
    store.remove(&named.key(), 1).await.unwrap();
    assert_eq!(store.load(&named.key()).await.unwrap(), None);
    assert!(matches!(store.remove(&named.key(), 1).await, Err(StoreError::Version { stored: 0, expected: 1 })));
    store.commit(None, &other).await.unwrap();
    store.commit(None, &named).await.unwrap();
    store.remove(&named.key(), 0).await.unwrap();
}

#[test]
fn the_memory_and_the_file_guard() {
    block_on(guards(&MemoryStore::default()));
    let folder = tempfile::tempdir().unwrap();
    block_on(guards(&FileStore::open(folder.path()).unwrap()));
}

#[cfg(feature = "postgres")]
#[tokio::test]
async fn postgres_guards_and_remembers() {
    let cluster = testkit::Cluster::temporary().await.unwrap();
    let database = cluster.create_database("sspc").await.unwrap();
    let store = sspc::PostgresStore::connect(&database.url).await.unwrap();
    guards(&store).await;
    let again = sspc::PostgresStore::connect(&database.url).await.unwrap();
    assert_eq!(again.load(&record(1).key()).await.unwrap(), Some(at(1, 1)));
    assert_eq!(again.keys().await.unwrap().len(), 3);
}

/// A database behind a line that can fall silent: it stays open and carries nothing.
#[cfg(feature = "postgres")]
#[tokio::test]
async fn a_database_that_falls_silent_is_not_waited_for_for_ever() {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    let cluster = testkit::Cluster::temporary().await.unwrap();
    let database = cluster.create_database("sspc").await.unwrap();
    let (rest, target) = database.url.rsplit_once('@').unwrap();
    let (target, name) = target.split_once('/').unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("{rest}@{}/{name}", listener.local_addr().unwrap());
    let target = target.to_owned();
    let (silence, silent) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let (target, mut silent) = (target.clone(), silent.clone());
            tokio::spawn(async move {
                let mut far = TcpStream::connect(target).await.unwrap();
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                    _ = silent.wait_for(|silent| *silent) => {}
                }
                // The streams stay open.
                let _ = silent.wait_for(|silent| !silent).await;
            });
        }
    });
    let patience = Duration::from_millis(500);
    let store = sspc::PostgresStore::connect_with(&url, patience).await.unwrap();
    store.commit(None, &record(1)).await.unwrap();
    silence.send(true).unwrap();
    let silent = |error: StoreError| matches!(error, StoreError::Io(text) if text.contains("does not answer"));
    assert!(silent(store.load(&record(1).key()).await.unwrap_err()));
    assert!(silent(store.commit(Some(0), &at(1, 1)).await.unwrap_err()), "a new line is silent as well");
    assert!(sspc::PostgresStore::connect_with(&url, patience).await.is_err());
    // A new line that carries is used.
    silence.send(false).unwrap();
    assert_eq!(store.load(&record(1).key()).await.unwrap(), Some(record(1)));
}

#[test]
fn a_folder_has_one_owner_and_remembers() {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    assert!(matches!(FileStore::open(folder.path()), Err(StoreError::Io(_))));
    block_on(store.commit(None, &record(1))).unwrap();
    drop(store);
    let store = FileStore::open(folder.path()).unwrap();
    assert_eq!(block_on(store.load(&record(1).key())).unwrap(), Some(record(1)));
    block_on(store.remove(&record(1).key(), 0)).unwrap();
    drop(store);
    let store = FileStore::open(folder.path()).unwrap();
    assert_eq!(block_on(store.load(&record(1).key())).unwrap(), None);
}

fn written(versions: u64) -> (tempfile::TempDir, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let store = FileStore::open(folder.path()).unwrap();
    for version in 1..=versions {
        let expected = (version > 1).then(|| version - 1);
        block_on(store.commit(expected, &at(version, 1))).unwrap();
    }
    drop(store);
    let bytes = std::fs::read(folder.path().join("records.log")).unwrap();
    (folder, bytes)
}

#[test]
fn any_torn_tail_is_cut() {
    let (folder, bytes) = written(3);
    let entry = bytes.len() / 3;
    for length in 0..bytes.len() {
        std::fs::write(folder.path().join("records.log"), &bytes[..length]).unwrap();
        let store = FileStore::open(folder.path()).unwrap();
        let stored = block_on(store.load(&record(1).key())).unwrap().map(|record| record.version);
        let whole = (length / entry) as u64;
        assert_eq!(stored, (whole > 0).then_some(whole), "{length} of {}", bytes.len());
    }
}

#[test]
fn what_is_broken_before_something_newer_is_refused() {
    let (folder, bytes) = written(3);
    for at in [0, 5, 20, bytes.len() / 3 + 30] {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        std::fs::write(folder.path().join("records.log"), &broken).unwrap();
        assert!(matches!(FileStore::open(folder.path()), Err(StoreError::Io(_))), "byte {at}");
    }
    std::fs::write(folder.path().join("records.log"), &bytes).unwrap();
    assert!(FileStore::open(folder.path()).is_ok());
}

#[test]
fn many_writers_share_a_sync_and_the_log_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Arc::new(FileStore::open(folder.path()).unwrap());
        let writers = (0..200_u64).map(|salt| {
            let store = store.clone();
            tokio::spawn(async move {
                for version in 0..40_u64 {
                    store.commit(version.checked_sub(1), &large(version, salt)).await.unwrap();
                }
            })
        });
        for writer in writers.collect::<Vec<_>>() {
            writer.await.unwrap();
        }
    });
    let size = std::fs::metadata(folder.path().join("records.log")).unwrap().len();
    assert!(size < 17 << 20, "{size}: never written anew");
    let store = FileStore::open(folder.path()).unwrap();
    for salt in 0..200 {
        assert_eq!(block_on(store.load(&record(salt).key())).unwrap(), Some(large(39, salt)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_file_is_opened_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("records.log"), &bytes).unwrap();
        let _ = FileStore::open(folder.path());
    }
}
