//! Leases, the cluster's identity, the audit, pruning, and the rows of indexer, planner and gateways.

mod common;

use std::time::{Duration, SystemTime};

use common::*;
use protocol::{Attempt, Half, Leg, LegState, NewTask, Next, Outcome, Side, Task, Write};
use store::{Error, Verdict, chain, engine, gateway, lease, route};
use wire::Resolution;

/// The channel key of the node.
const NODE: protocol::Key = [3; 32];

#[tokio::test]
async fn shards_are_shared_evenly_taken_from_the_dead_and_released_at_shutdown() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    lease::renew(&client, "a", "a:1", LEASE).await.unwrap();
    assert_eq!(lease::take(&client, "a").await.unwrap().len(), 256);
    for engine in ["b", "c"] {
        lease::renew(&client, engine, "x:1", LEASE).await.unwrap();
        assert_eq!(lease::take(&client, engine).await.unwrap(), [], "nothing is free");
    }
    assert_eq!(lease::take(&client, "stranger").await.unwrap(), [], "not a member");
    // The first gives up what is above its share; 256 = 86 + 85 + 85.
    assert_eq!(lease::excess(&client, "a").await.unwrap(), 170);
    let mine = lease::mine(&client, "a").await.unwrap();
    lease::release(&client, "a", &mine[..170]).await.unwrap();
    assert_eq!(lease::excess(&client, "a").await.unwrap(), 0);
    for engine in ["b", "c"] {
        let taken = lease::take(&client, engine).await.unwrap();
        assert_eq!(taken.len(), 85);
        assert!(taken.iter().all(|s| s.epoch == 2));
    }
    // One dies, its shards go to the others.
    lease::renew(&client, "b", "x:1", Duration::ZERO).await.unwrap();
    assert_eq!(lease::take(&client, "a").await.unwrap().len(), 42);
    assert_eq!(lease::take(&client, "c").await.unwrap().len(), 43);
    assert_eq!(lease::mine(&client, "b").await.unwrap(), []);
    // One leaves.
    lease::leave(&client, "c").await.unwrap();
    assert_eq!(lease::take(&client, "a").await.unwrap().len(), 128);
    let members = lease::members(&client).await.unwrap();
    let alive: Vec<_> = members.iter().map(|m| (m.engine.as_str(), m.alive, m.shards.len())).collect();
    assert_eq!(alive, [("a", true, 256), ("b", false, 0)]);
    assert_eq!(node.count("SELECT max(epoch) FROM engine.shard", &[]).await, 4);
}

#[tokio::test]
async fn concurrent_takers_share_without_overlap() {
    let node = Node::empty().await;
    let names = ["a", "b", "c", "d"];
    for engine in names {
        lease::renew(&node.pool.get().await.unwrap(), engine, "", LEASE).await.unwrap();
    }
    let takers = names.map(|engine| {
        let pool = node.pool.clone();
        tokio::spawn(async move { lease::take(&pool.get().await.unwrap(), engine).await.unwrap().len() })
    });
    for taker in takers {
        assert_eq!(taker.await.unwrap(), 64);
    }
}

#[tokio::test]
async fn a_stale_or_foreign_database_is_refused_at_start() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    let first = engine::start(&client, &NODE, None).await.unwrap();
    let second = engine::start(&client, &NODE, Some(first)).await.unwrap();
    assert_eq!((second.cluster, second.counter), (first.cluster, first.counter + 1));
    let third = engine::start(&client, &NODE, Some(first)).await.unwrap();
    assert_eq!(third.counter, second.counter + 1, "another engine started in between");
    let foreign = engine::Started { cluster: [9; 16], ..third };
    assert!(matches!(engine::start(&client, &NODE, Some(foreign)).await, Err(engine::StartRefused::OtherCluster)));
    let ahead = engine::Started { counter: third.counter + 1, ..third };
    assert!(matches!(engine::start(&client, &NODE, Some(ahead)).await, Err(engine::StartRefused::Stale { .. })));
    let other = engine::start(&client, &[7; 32], None).await.unwrap_err();
    assert!(matches!(other, engine::StartRefused::OtherNode { database: NODE, keystore: [7, ..] }), "{other}");
    assert!(matches!(engine::claim(&client, &[7; 32]).await, Err(engine::StartRefused::OtherNode { .. })));
    engine::claim(&client, &NODE).await.unwrap();
    let fourth = engine::start(&client, &NODE, Some(third)).await.unwrap();
    assert_eq!(fourth.counter, third.counter + 1, "a refused start does not count");

    assert_eq!(engine::frozen(&client).await.unwrap(), None);
    engine::freeze(&client, "first").await.unwrap();
    engine::freeze(&client, "second").await.unwrap();
    assert_eq!(engine::frozen(&client).await.unwrap().as_deref(), Some("first"));
    engine::thaw(&client).await.unwrap();
    assert_eq!(engine::frozen(&client).await.unwrap(), None);
}

#[tokio::test]
async fn the_audit_finds_value_that_appeared() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    // The peer deposited 100 and paid 40 + 7 through one virtual channel.
    let mut condition = condition(1);
    condition.capacity = 40;
    let leg = Leg {
        condition,
        state: LegState::Closed,
        resolution: Some(Resolution::sign(&key(9), 40)),
        half: Half::In { next: Next::Receiver, sender: [1; 32] },
        released: 0,
        told: true,
    };
    channel.row.onchain.deposited = [0, 100];
    channel.row.their = body(1, 47);
    let state = channel.peer_state(1, channel.row.their);
    channel.row.their_signed = Some(state);
    let writes = vec![Write::PeerState(state), Write::Leg(Box::new(leg))];
    assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
    assert_eq!(engine::audit(&client).await.unwrap(), []);
    let summary = engine::channel_of(&client, &channel.row.address).await.unwrap().unwrap();
    assert_eq!(summary.available(), [47, 53]);

    engine::fold(&client).await.unwrap();
    let rule_after = async |sql: &str| {
        client.batch_execute(&format!("BEGIN; {sql}")).await.unwrap();
        let found = engine::audit(&client).await.unwrap();
        client.batch_execute("ROLLBACK").await.unwrap();
        found.into_iter().map(|f| f.rule).collect::<Vec<_>>()
    };
    assert_eq!(rule_after("UPDATE engine.leg SET resolved = 41").await, ["the peer's sent is what our incoming legs brought"]);
    assert_eq!(rule_after("UPDATE engine.channel SET their_deposited = 46").await, ["the peer never promises more than it has"]);
    assert_eq!(rule_after("UPDATE engine.channel SET our_withdrawing = 48").await, ["we never promise more than we have"]);
    assert_eq!(rule_after("UPDATE engine.channel SET released = 1").await, ["released is the sum over the legs"]);
    assert_eq!(rule_after("DELETE FROM engine.peer_state").await, ["the peer's state is on record"]);
    assert_eq!(rule_after("UPDATE engine.channel SET our_seqno = 1").await, ["our agreed body is on record"]);
    let locked = "INSERT INTO engine.conditional SELECT address, 0, peer, 1, 1, 0, 0, 1, 1, NULL FROM engine.channel";
    assert_eq!(rule_after(locked).await, ["the empty dictionary has no conditions"]);
}

#[tokio::test]
async fn only_what_no_state_can_need_is_pruned() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    let mut writes = vec![];
    for seqno in 1..=4 {
        writes.push(signed(seqno, Attempt::Action));
        writes.push(Write::BodyOutcome { seqno, attempt: Attempt::Action, outcome: Outcome::Agreed });
        writes.push(Write::PeerState(channel.peer_state(1, body(seqno, 0))));
    }
    for (n, until) in [(1, 2), (2, 3), (3, 4)] {
        writes.push(Write::ConditionAdded { side: Side::Our, condition: condition(n), since: 1 });
        writes.push(Write::ConditionRemoved { side: Side::Our, key: condition(n).key, until });
    }
    channel.row.our = body(4, 1);
    channel.row.onchain.committed = [3, 2];
    assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
    let pruned = engine::prune(&client).await.unwrap();
    assert_eq!((pruned.bodies, pruned.peer_states, pruned.conditions), (2, 1, 1));
    assert_eq!(engine::prune(&client).await.unwrap(), engine::Pruned::default());

    let task = NewTask { id: "t".into(), channel: channel.row.address, task: Task::Increment };
    engine::submit(&client, "r", &[0; 32], &task, 0).await.unwrap();
    assert_eq!(engine::prune(&client).await.unwrap().requests, 0);
    client.execute("UPDATE engine.request SET at = now() - interval '8 days'", &[]).await.unwrap();
    // Its result is still to come.
    let live = "INSERT INTO engine.leg (key, direction, channel, capacity, fee, prepay, deadline, state, request_id, sealed, released, told, live) \
                SELECT address, 1, address, 1, 0, 0, 1, 1, 'r', '', 0, false, true FROM engine.channel";
    client.execute(live, &[]).await.unwrap();
    assert_eq!(engine::prune(&client).await.unwrap().requests, 0);
    client.execute("DELETE FROM engine.leg", &[]).await.unwrap();
    assert_eq!(engine::prune(&client).await.unwrap().requests, 1);
    channel.row.status = protocol::Status::Closed;
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    let pruned = engine::prune(&client).await.unwrap();
    assert_eq!((pruned.bodies, pruned.peer_states, pruned.conditions), (2, 3, 2));
}

#[tokio::test]
async fn the_newest_proven_key_block_stays_and_only_the_leader_writes_it() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    let block = |seqno: u32| chain::KeyBlock { seqno, root_hash: [seqno as u8; 32], file_hash: [seqno as u8 + 1; 32] };
    assert_eq!(chain::key_block(&client).await.unwrap(), None);
    let lead = chain::lead(&client, "one", Duration::ZERO).await.unwrap().unwrap();
    for (given, kept) in [(5, 5), (3, 5), (5, 5), (9, 9)] {
        chain::remember_key_block(&client, lead, &block(given)).await.unwrap();
        assert_eq!(chain::key_block(&client).await.unwrap(), Some(block(kept)));
    }
    assert!(chain::lead(&client, "two", LEASE).await.unwrap().is_some());
    assert!(matches!(chain::remember_key_block(&client, lead, &block(11)).await, Err(Error::Fenced)));
    assert_eq!(chain::key_block(&client).await.unwrap(), Some(block(9)));
}

fn order(id: &str) -> chain::NewOrder {
    chain::NewOrder {
        id: id.into(),
        channel: Some([1; 32]),
        destination: ton::Address { workchain: -1, hash: [1; 32] },
        value: ton::MAX_COINS,
        body: Some(ton::Cell::default()),
        state_init: None,
        bounce: true,
    }
}

async fn queue(client: &store::Pool) -> Vec<String> {
    chain::queued(&client.get().await.unwrap(), 10).await.unwrap().into_iter().map(|o| o.id).collect()
}

#[tokio::test]
async fn the_wallet_sends_each_order_once() {
    let node = Node::empty().await;
    let mut client = node.pool.get().await.unwrap();
    let lead = chain::lead(&client, "indexer", LEASE).await.unwrap().unwrap();
    for _ in 0..2 {
        chain::place(&client, &[order("a"), order("b"), order("c")]).await.unwrap();
    }
    assert_eq!(chain::queued(&client, 10).await.unwrap(), [order("a"), order("b"), order("c")]);
    let mut message =
        chain::WalletMessage { id: 0, seqno: 5, valid_until: 100, boc: vec![1, 2], orders: vec!["a".into(), "b".into()] };
    message.id = chain::write_message(&mut client, lead, &message).await.unwrap();
    assert_eq!(queue(&node.pool).await, ["c"]);
    assert_eq!(chain::under_way(&client).await.unwrap(), Some(message.clone()));
    let second = chain::WalletMessage { orders: vec!["c".into()], ..message.clone() };
    assert!(chain::write_message(&mut client, lead, &second).await.is_err(), "one message at a time");

    // It expired: its orders go into a new one.
    let progress = chain::Progress { message: Some((message.id, chain::MessageEnd::Dead)), ..Default::default() };
    chain::advance(&mut client, lead, 1, &progress).await.unwrap();
    assert_eq!(queue(&node.pool).await, ["a", "b", "c"]);
    message.id = chain::write_message(&mut client, lead, &message).await.unwrap();
    let end = |id: &str, end| (id.to_string(), end);
    let progress = chain::Progress {
        message: Some((message.id, chain::MessageEnd::Executed)),
        orders: vec![end("a", chain::OrderEnd::Done), end("b", chain::OrderEnd::Again)],
        ..Default::default()
    };
    let at = |seqno| chain::Cursor { seqno, ..lead };
    assert!(matches!(chain::advance(&mut client, at(0), 2, &progress).await, Err(Error::Fenced)), "the cursor has moved");
    chain::advance(&mut client, at(1), 2, &progress).await.unwrap();
    assert_eq!(queue(&node.pool).await, ["b", "c"]);
    assert_eq!(chain::under_way(&client).await.unwrap(), None);
    let progress = chain::Progress {
        orders: vec![end("b", chain::OrderEnd::Failed("bounced".into())), end("a", chain::OrderEnd::Again)],
        ..Default::default()
    };
    chain::advance(&mut client, at(2), 3, &progress).await.unwrap();
    assert_eq!(queue(&node.pool).await, ["c"], "what is done stays done");
    let end_of = async |id| chain::order_of(&node.pool.get().await.unwrap(), id).await.unwrap().unwrap().1;
    assert_eq!(end_of("a").await, Some(chain::OrderEnd::Done));
    assert_eq!(end_of("b").await, Some(chain::OrderEnd::Failed("bounced".into())));
    assert_eq!(end_of("c").await, None);
    // The wallet's seqno is spent: no second executed message has it.
    let again = chain::WalletMessage { orders: vec!["c".into()], ..message };
    let id = chain::write_message(&mut client, at(3), &again).await.unwrap();
    let progress = chain::Progress { message: Some((id, chain::MessageEnd::Executed)), ..Default::default() };
    assert!(chain::advance(&mut client, at(3), 4, &progress).await.is_err());
}

#[tokio::test]
async fn one_indexer_leads_and_its_events_reach_the_engine_with_the_cursor() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let channel = node.channel(&committer, 1).await;
    let mut client = node.pool.get().await.unwrap();
    let lead = chain::lead(&client, "one", LEASE).await.unwrap().unwrap();
    assert_eq!(chain::lead(&client, "two", LEASE).await.unwrap(), None);
    assert_eq!(chain::lead(&client, "one", LEASE).await.unwrap(), Some(lead));

    let mut storage = channel.row.config.initial_storage();
    storage.initialised = true;
    storage.balance.deposited.b = 70;
    let account = chain::Account { address: channel.row.address, code_hash: channel.row.code_hash, lt: 9, storage };
    let task = |id: &str, channel| NewTask { id: id.into(), channel, task: Task::Increment };
    let progress = chain::Progress {
        accounts: vec![account.clone()],
        tasks: vec![task("ours", channel.row.address), task("other", [7; 32])],
        ..Default::default()
    };
    assert_eq!(chain::advance(&mut client, lead, 5, &progress).await.unwrap(), [[7; 32]]);
    let due = engine::due(&client, &[channel.shard], 0, &[], 10).await.unwrap();
    assert_eq!(due[0].task, task("ours", channel.row.address));
    assert_eq!(chain::accounts_since(&client, 4).await.unwrap(), std::slice::from_ref(&account));
    assert_eq!(chain::accounts_since(&client, 5).await.unwrap(), []);
    assert_eq!(chain::accounts_of(&client, &channel.row.peer).await.unwrap(), std::slice::from_ref(&account));
    assert_eq!(chain::block(&client).await.unwrap(), 5);
    // An older view never replaces a newer one.
    let mut old = chain::Progress { accounts: vec![account.clone()], ..Default::default() };
    old.accounts[0].lt = 8;
    old.accounts[0].storage.balance.deposited.b = 60;
    chain::advance(&mut client, chain::Cursor { seqno: 5, ..lead }, 6, &old).await.unwrap();
    assert_eq!(chain::account_of(&client, &channel.row.address).await.unwrap(), Some(account));

    chain::stand_down(&client, "one").await.unwrap();
    let new = chain::lead(&client, "two", LEASE).await.unwrap().unwrap();
    assert_eq!(new, chain::Cursor { epoch: lead.epoch + 1, seqno: 6 });
    let late = chain::advance(&mut client, chain::Cursor { seqno: 6, ..lead }, 7, &chain::Progress::default()).await;
    assert!(matches!(late, Err(Error::Fenced)));
    let message = chain::WalletMessage { id: 0, seqno: 1, valid_until: 1, boc: vec![], orders: vec![] };
    assert!(matches!(chain::write_message(&mut client, lead, &message).await, Err(Error::Fenced)));
}

#[tokio::test]
async fn what_happened_in_one_stretch_of_the_chain_is_told_in_its_order() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let channels = [node.channel(&committer, 1).await, node.channel(&committer, 2).await];
    let mut client = node.pool.get().await.unwrap();
    let lead = chain::lead(&client, "one", LEASE).await.unwrap().unwrap();
    let task = |n: usize| NewTask { id: format!("{n}"), channel: channels[n % 2].row.address, task: Task::Increment };
    let tasks: Vec<NewTask> = (0..9).map(task).collect();
    let progress = chain::Progress { tasks: tasks.clone(), ..Default::default() };
    chain::advance(&mut client, lead, 5, &progress).await.unwrap();
    let due = engine::due(&client, &channels.each_ref().map(|channel| channel.shard), 0, &[], 10).await.unwrap();
    assert_eq!(due.into_iter().map(|due| due.task).collect::<Vec<_>>(), tasks);
}

#[tokio::test]
async fn the_planner_keeps_the_newest_terms_and_learns_from_attempts() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let terms =
        route::Terms { node: [1; 32], allowed: true, min_fee: 5, percent: 0.5, max_capacity: ton::MAX_COINS, asked_at: now };
    route::learn_terms(&client, &terms).await.unwrap();
    let old = route::Terms { min_fee: 9, asked_at: now - Duration::from_secs(1), ..terms.clone() };
    route::learn_terms(&client, &old).await.unwrap();
    assert_eq!(route::terms(&client).await.unwrap(), std::slice::from_ref(&terms));

    let learn = async |amount, passed| {
        route::learn_attempt(&client, &[1; 32], &[2; 32], amount, passed).await.unwrap();
        let known = route::attempts(&client).await.unwrap().pop().unwrap();
        (known.passed, known.failed, known.failures)
    };
    assert_eq!(learn(50, false).await, (None, Some(50), 1));
    assert_eq!(learn(60, false).await, (None, Some(50), 2));
    assert_eq!(learn(40, true).await, (Some(40), None, 0));
    assert_eq!(learn(45, false).await, (Some(40), Some(45), 1));
}

#[tokio::test]
async fn an_adnl_key_has_one_process_and_its_dates_only_rise() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    let first = gateway::claim(&client, &[1; 32], 1000).await.unwrap();
    assert_eq!((first.epoch, first.reinit), (1, 1000));
    assert_eq!(gateway::channel_dates(&client, &first, 1000, 3).await.unwrap(), 1000);
    assert_eq!(gateway::channel_dates(&client, &first, 1001, 1).await.unwrap(), 1003);
    // Restarted within the same second.
    let second = gateway::claim(&client, &[1; 32], 1000).await.unwrap();
    assert_eq!((second.epoch, second.reinit), (2, 1001));
    assert!(!gateway::holds(&client, &first).await.unwrap());
    assert!(gateway::holds(&client, &second).await.unwrap());
    assert!(matches!(gateway::channel_dates(&client, &first, 1005, 1).await, Err(Error::Fenced)));
    assert_eq!(gateway::channel_dates(&client, &second, 1000, 1).await.unwrap(), 1004);
    assert_eq!(gateway::channel_dates(&client, &second, 2000, 1).await.unwrap(), 2000);
}

#[tokio::test]
async fn the_newest_session_wins_and_one_gateway_publishes() {
    let node = Node::empty().await;
    let client = node.pool.get().await.unwrap();
    gateway::open_session(&client, &[1; 32], "a").await.unwrap();
    gateway::open_session(&client, &[1; 32], "b").await.unwrap();
    gateway::close_session(&client, &[1; 32], "a").await.unwrap();
    let sessions = gateway::sessions(&client).await.unwrap();
    assert_eq!(sessions.iter().map(|s| s.gateway.as_str()).collect::<Vec<_>>(), ["b"]);
    gateway::close_sessions(&client, "b").await.unwrap();
    assert_eq!(gateway::sessions(&client).await.unwrap(), []);

    assert_eq!(gateway::publish(&client, "a", LEASE).await.unwrap(), Some(1));
    assert_eq!(gateway::publish(&client, "b", LEASE).await.unwrap(), None);
    assert_eq!(gateway::publish(&client, "a", LEASE).await.unwrap(), Some(1));
    gateway::stop_publishing(&client, "a").await.unwrap();
    assert_eq!(gateway::publish(&client, "b", LEASE).await.unwrap(), Some(2));

    let seen = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    let peer = gateway::Peer { adnl_key: [1; 32], node: Some([2; 32]), address: "1.2.3.4:5".into(), seen };
    gateway::remember_peer(&client, &peer).await.unwrap();
    let moved = gateway::Peer { node: None, address: "1.2.3.4:6".into(), seen: seen + Duration::from_secs(1), ..peer.clone() };
    gateway::remember_peer(&client, &moved).await.unwrap();
    gateway::remember_peer(&client, &peer).await.unwrap();
    let expected = gateway::Peer { node: Some([2; 32]), ..moved };
    assert_eq!(gateway::peers_of(&client, &[2; 32]).await.unwrap(), std::slice::from_ref(&expected));
    assert_eq!(gateway::peers(&client, 10).await.unwrap(), [expected]);
}
