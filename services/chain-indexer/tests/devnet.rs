//! The indexer against a real chain (the embedded one, over LiteAPI) and a real database.

mod common;

use common::*;
use devnet::chain::COIN;
use protocol::Task;
use rpc::indexer::v1::indexer_service_client::IndexerServiceClient;
use rpc::indexer::v1::{GetWalletRequest, ListPublicChannelsRequest};
use store::chain::{self, OrderEnd};
use tycho_types::models::BlockId;
use tycho_types::prelude::HashBytes;

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_deployed_topped_up_and_seen() {
    let world = World::start().await;
    let channel = world.channel(1).await;
    let indexer = world.indexer("a");
    world.fund(100 * COIN).await;
    world.place(&[channel.init("init"), channel.top_up("top-up", 3 * COIN)]).await;
    assert_eq!(world.end_of("init").await, OrderEnd::Done);
    assert_eq!(world.end_of("top-up").await, OrderEnd::Done);

    let account = world.account_with_deposit(&channel, 3 * COIN).await;
    assert!(account.storage.initialised);
    assert_eq!(account.code_hash, channel_contract_ton::CODE_HASH);
    let tasks = world.tasks(&channel).await;
    let Some(Task::Chain(update)) = tasks.last() else { panic!("{tasks:?}") };
    assert_eq!((update.lt, &update.storage), (account.lt, &account.storage));

    let mut api = IndexerServiceClient::new(indexer.api.connect());
    let wallet = api.get_wallet(GetWalletRequest {}).await.unwrap().into_inner();
    assert_eq!((wallet.seqno, wallet.pending_messages), (1, 0));
    let balance: u128 = wallet.balance_nano.parse().unwrap();
    assert!(balance > 95 * COIN && balance < 97 * COIN, "{balance}");
    let page = api.list_public_channels(ListPublicChannelsRequest::default()).await.unwrap().into_inner();
    assert_eq!(page.channels.len(), 1);
    assert_eq!(page.channels[0].balance_a_nano, (3 * COIN).to_string());
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_order_is_reported_and_a_poor_wallet_waits() {
    let world = World::start().await;
    let channel = world.channel(1).await;
    let indexer = world.indexer("a");
    // Not deployed, so the value comes back.
    world.place(&[channel.top_up("early", COIN)]).await;
    world.caught_up().await;
    assert_eq!(world.order("early").await, None);
    world.fund(10 * COIN).await;
    let OrderEnd::Failed(reason) = world.end_of("early").await else { panic!("done without a contract") };
    assert!(reason.contains("bounced"), "{reason}");
    assert_eq!(world.tasks(&channel).await, [Task::OrderFailed { order: "early".into() }]);

    // Twice initialised: exit code 100, without a bounce.
    world.place(&[channel.init("init"), channel.init("again")]).await;
    assert_eq!(world.end_of("init").await, OrderEnd::Done);
    let OrderEnd::Failed(reason) = world.end_of("again").await else { panic!("initialised twice") };
    assert!(reason.contains("exit code 100"), "{reason}");
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_sends_nothing() {
    let world = World::start().await;
    let channel = world.channel(1).await;
    let indexer = world.indexer("a");
    world.fund(100 * COIN).await;
    let client = world.pool.get().await.unwrap();
    store::engine::freeze(&client, "test").await.unwrap();
    world.place(&[channel.init("init")]).await;
    for _ in 0..3 {
        world.caught_up().await;
    }
    let messages: i64 = client.query_one("SELECT count(*) FROM chain.wallet_message", &[]).await.unwrap().get(0);
    assert_eq!((messages, world.order("init").await), (0, None));
    store::engine::thaw(&client).await.unwrap();
    assert_eq!(world.end_of("init").await, OrderEnd::Done);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restarts_lose_and_double_nothing() {
    const ORDERS: usize = 12;
    let world = World::start().await;
    let channel = world.channel(1).await;
    world.fund(100 * COIN).await;
    world.place(&[channel.init("init")]).await;
    for n in 0..ORDERS {
        world.place(&[channel.top_up(&format!("top-up-{n}"), COIN)]).await;
        // Killed in the middle of whatever it does, after a different time in each round.
        let indexer = world.indexer("a");
        tokio::time::sleep(std::time::Duration::from_millis(37 * n as u64)).await;
        indexer.kill();
    }
    let indexer = world.indexer("a");
    for n in 0..ORDERS {
        assert_eq!(world.end_of(&format!("top-up-{n}")).await, OrderEnd::Done, "{n}");
    }
    world.account_with_deposit(&channel, ORDERS as u128 * COIN).await;
    let updates: Vec<u64> = world
        .tasks(&channel)
        .await
        .into_iter()
        .map(|task| match task {
            Task::Chain(update) => update.lt,
            other => panic!("{other:?}"),
        })
        .collect();
    assert!(updates.is_sorted_by(|a, b| a < b), "{updates:?}");
    assert!(updates.len() <= ORDERS + 1);
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_was_not_taken_in_time_is_made_anew() {
    let world = World::start().await;
    let channel = world.channel(1).await;
    world.fund(100 * COIN).await;
    world.place(&[channel.init("init")]).await;
    world.hold_blocks();
    let indexer = world.indexer("a");
    let first = world.message_under_way().await;
    // Its time is over before the next block: the chain refuses it.
    world.devnet.advance(1_000).unwrap();
    world.release_blocks();
    assert_eq!(world.end_of("init").await, OrderEnd::Done);
    let client = world.pool.get().await.unwrap();
    let states: Vec<i16> = client
        .query("SELECT state FROM chain.wallet_message ORDER BY id", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert_eq!(states, [2, 1]);
    assert_eq!(chain::under_way(&client).await.unwrap(), None);
    assert!(first.valid_until < world.devnet.now());
    indexer.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_settlement_of_the_peer_and_our_signature_are_read() {
    let world = World::start().await;
    let channel = world.channel(1).await;
    let indexer = world.indexer("a");
    world.fund(100 * COIN).await;
    world.place(&[channel.init("init"), channel.top_up("top-up", 5 * COIN)]).await;
    assert_eq!(world.end_of("top-up").await, OrderEnd::Done);

    let dispute = world.dispute(&channel, 3).await;
    world.send_from_peer(&channel, 0, std::slice::from_ref(&dispute.start)).await;
    let updates = world.updates(&channel, |all| all.iter().any(|u| u.storage.quarantine.is_some())).await;
    assert_eq!(updates.last().unwrap().our_states, [dispute.our_state]);

    world.devnet.advance(channel.quarantine() + 10).unwrap();
    // Three messages in one block (payments 10.1.13).
    world.send_from_peer(&channel, 1, &dispute.settles).await;
    let updates = world.updates(&channel, |all| all.iter().any(|u| !u.settled.is_empty())).await;
    let settled: Vec<u128> = updates.iter().flat_map(|u| &u.settled).map(|(_, resolution)| resolution.amount).collect();
    assert_eq!(settled, [1, 2, 3]);
    indexer.stop().await;
}

/// Proofs begin at the newest key block that was proven, not at the block of the configuration, from which here nothing can be proven any more.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_begins_at_the_key_block_that_was_proven() {
    let world = World::start().await;
    let zero_state = world.devnet.read(|ledger| *ledger.zero_state());
    let lost = BlockId { root_hash: HashBytes([7; 32]), ..zero_state };
    let indexer = world.indexer_trusting("a", &lost);
    let proven = async || chain::key_block(&world.pool.get().await.unwrap()).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!((proven().await, world.block().await), (None, 0));
    indexer.stop().await;

    let indexer = world.indexer_trusting("a", &zero_state);
    world.caught_up().await;
    let (stored, expected) = (proven().await.unwrap(), world.key_block());
    assert_eq!((stored.seqno, stored.root_hash, stored.file_hash), (1, expected.root_hash.0, expected.file_hash.0));
    indexer.stop().await;

    let indexer = world.indexer_trusting("a", &lost);
    world.caught_up().await;
    assert_eq!(proven().await, Some(stored));
    indexer.stop().await;
}
