//! A real cluster: durable, private, and back after a stop and a kill.

use testkit::Cluster;
use tokio_postgres::{Client, NoTls};

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}

async fn count(url: &str) -> i64 {
    connect(url).await.unwrap().query_one("SELECT count(*) FROM t", &[]).await.unwrap().get(0)
}

#[tokio::test]
async fn keeps_what_was_committed_and_keeps_databases_apart() {
    let mut cluster = Cluster::temporary().await.unwrap();
    let a = cluster.create_database("node_a").await.unwrap();
    let b = cluster.create_database("node_b").await.unwrap();

    let client = connect(&a.url).await.unwrap();
    for setting in ["fsync", "full_page_writes", "synchronous_commit"] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.unwrap();
        assert_eq!(row.get::<_, String>(0), "on", "{setting}");
    }
    client.batch_execute("CREATE TABLE t (x int); INSERT INTO t VALUES (1)").await.unwrap();

    let foreign = b.url.replace("/node_b", "/node_a");
    assert!(connect(&foreign).await.is_err(), "one node's role must not enter another's database");
    let password = a.url.split(['@', ':']).nth(2).unwrap();
    assert!(connect(&a.url.replace(password, "wrong")).await.is_err());

    cluster.kill().unwrap();
    assert!(connect(&a.url).await.is_err());
    cluster.start().await.unwrap();
    assert_eq!(count(&a.url).await, 1);
    connect(&a.url).await.unwrap().batch_execute("INSERT INTO t VALUES (2)").await.unwrap();

    cluster.stop().unwrap();
    assert!(connect(&a.url).await.is_err());
    cluster.start().await.unwrap();
    assert_eq!(count(&a.url).await, 2);

    let folder = cluster.folder().to_owned();
    drop(cluster);
    assert!(!folder.exists());
}

#[tokio::test]
async fn a_folder_is_opened_again_with_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("work");
    let first = Cluster::open(&place).await.unwrap();
    let old = first.create_database("node").await.unwrap();
    connect(&old.url).await.unwrap().batch_execute("CREATE TABLE t (x int); INSERT INTO t VALUES (1)").await.unwrap();
    let data = first.folder().to_owned();
    drop(first);

    let second = Cluster::open(&place).await.unwrap();
    assert_eq!(second.folder(), data);
    let new = second.create_database("node").await.unwrap();
    assert_eq!(count(&new.url).await, 1);
    drop(second);
    // Running as root the data may lie outside the folder.
    if !data.starts_with(folder.path()) {
        std::fs::remove_dir_all(data).unwrap();
    }
}

#[tokio::test]
async fn a_name_that_is_not_plain_is_refused() {
    let cluster = Cluster::temporary().await.unwrap();
    for name in ["", "Node", "a b", "a;drop", "1a", "a'b"] {
        assert!(cluster.create_database(name).await.is_err(), "{name:?}");
    }
}
