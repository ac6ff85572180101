//! The fenced commit: design 4.1, 4.3, 4.4, 4.5 at the database.

mod common;

use common::*;
use protocol::{Attempt, NewTask, Order, OrderMessage, Outcome, RequestResult, Side, Task, Write};
use store::{Change, Error, Verdict, chain::NewOrder, engine, lease};
use tokio_postgres::Client;
use wire::Body;

/// The rule that a body breaks which is not above the last one that we signed.
const ANOTHER_BODY: &str = "another body was signed at that seqno";

/// Another session with the locks on a shard that a takeover has.
async fn lock_shard(node: &Node, shard: u8) -> Client {
    let (client, connection) = tokio_postgres::connect(&node.url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let lock = format!("BEGIN; SELECT FROM engine.shard WHERE shard = {shard} FOR UPDATE");
    client.batch_execute(&lock).await.unwrap();
    client
}

fn task(id: &str, channel: &TestChannel) -> NewTask {
    NewTask { id: id.into(), channel: channel.row.address, task: Task::Increment }
}

/// A change that writes into every table.
fn everything(channel: &mut TestChannel, n: u8, other: &TestChannel) -> Change {
    let condition = condition(n);
    channel.row.our = body(channel.row.our.seqno + 1, 5);
    let order = Order { id: format!("order-{n}"), message: OrderMessage::Finish };
    let message = NewOrder {
        id: order.id.clone(),
        channel: Some(channel.row.address),
        destination: ton::Address::basechain(channel.row.address),
        value: 1,
        body: None,
        state_init: None,
        bounce: true,
    };
    let leg = protocol::Leg {
        condition,
        state: protocol::LegState::Open,
        resolution: None,
        half: protocol::Half::In { next: protocol::Next::Receiver, sender: [3; 32] },
        released: 0,
        told: false,
    };
    let seqno = channel.row.our.seqno;
    channel.change_with_orders(
        vec![
            signed(seqno, Attempt::Action),
            Write::PeerState(channel.peer_state(n, body(1, 0))),
            Write::VirtualKey(condition.key),
            Write::ConditionAdded { side: Side::Their, condition, since: 1 },
            Write::Leg(Box::new(leg)),
            Write::Task(task(&format!("task-{n}"), other)),
            Write::Order(Box::new(order)),
        ],
        vec![message],
    )
}

#[tokio::test]
async fn a_former_owner_changes_nothing() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let other = node.channel(&committer, 2).await;

    let client = node.pool.get().await.unwrap();
    lease::renew(&client, ENGINE, "", std::time::Duration::ZERO).await.unwrap();
    lease::renew(&client, "engine-2", "", LEASE).await.unwrap();
    assert_eq!(lease::take(&client, "engine-2").await.unwrap().len(), lease::SHARDS);

    let before = node.fingerprint().await;
    let change = everything(&mut channel.clone(), 1, &other);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::NotOwner);
    let aside = channel.aside(vec![Write::Task(task("x", &other))]);
    assert_eq!(committer.commit(aside).await.unwrap(), Verdict::NotOwner);
    assert_eq!(node.fingerprint().await, before);

    channel.epoch = 2;
    let change = everything(&mut channel, 1, &other);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    assert_ne!(node.fingerprint().await, before);
}

#[tokio::test]
async fn a_commit_that_waits_for_a_takeover_fails() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;

    let takeover = lock_shard(&node, channel.shard).await;
    let verdict = committer.commit(channel.change(vec![]));
    let shard = channel.shard;
    takeover
        .batch_execute(&format!("UPDATE engine.shard SET owner = 'other', epoch = epoch + 1 WHERE shard = {shard}; COMMIT"))
        .await
        .unwrap();
    assert_eq!(verdict.await.unwrap(), Verdict::NotOwner);
    assert_eq!(node.version(&channel).await, 1);
}

#[tokio::test]
async fn every_change_of_a_batch_has_its_own_verdict() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channels = Vec::new();
    for n in 0..8 {
        channels.push(node.channel(&committer, n).await);
    }
    let used = Write::VirtualKey(virtual_key(9));
    let first = channels[0].change(vec![used.clone()]);
    assert_eq!(committer.commit(first).await.unwrap(), Verdict::Applied);

    // Everything behind the change that waits for the lock becomes one batch.
    let lock = lock_shard(&node, channels[0].shard).await;
    let front = committer.commit(channels[0].change(vec![]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let good = [
        committer.commit(channels[1].change(vec![Write::VirtualKey(virtual_key(1))])),
        committer.commit(channels[2].change(vec![signed(1, Attempt::Action)])),
        committer.commit(channels[2].change(vec![Write::BodyOutcome {
            seqno: 1,
            attempt: Attempt::Action,
            outcome: Outcome::Agreed,
        }])),
    ];
    channels[3].epoch = 7;
    let not_owner = committer.commit(channels[3].change(vec![]));
    channels[4].row.version = 7;
    let stale = committer.commit(channels[4].change(vec![]));
    let used_key = committer.commit(channels[5].change(vec![used]));
    let behind_it = committer.commit(channels[5].change(vec![]));
    let gone = committer.commit(channels[6].change(vec![Write::TaskDone("nobody".into())]));
    let twice = [signed(1, Attempt::Action), signed(1, Attempt::Action)];
    let refused = committer.commit(channels[7].change(twice.into()));
    drop(lock);

    assert_eq!(front.await.unwrap(), Verdict::Applied);
    for verdict in good {
        assert_eq!(verdict.await.unwrap(), Verdict::Applied);
    }
    assert_eq!(not_owner.await.unwrap(), Verdict::NotOwner);
    assert_eq!(stale.await.unwrap(), Verdict::Stale);
    assert_eq!(used_key.await.unwrap(), Verdict::UsedKey(virtual_key(9)));
    assert_eq!(behind_it.await.unwrap(), Verdict::Stale);
    assert_eq!(gone.await.unwrap(), Verdict::TaskGone);
    assert_eq!(refused.await.unwrap(), Verdict::Refused(ANOTHER_BODY.into()));
    let versions = [3, 2, 3, 1, 1, 1, 1, 1];
    for (channel, version) in channels.iter().zip(versions) {
        assert_eq!(node.version(channel).await, version);
    }
}

#[tokio::test]
async fn versions_follow_each_other_and_changes_without_a_row_are_checked_too() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;

    // Several changes in flight at once are a chain.
    let verdicts: Vec<_> = (0..10).map(|_| committer.commit(channel.change(vec![]))).collect();
    for verdict in verdicts {
        assert_eq!(verdict.await.unwrap(), Verdict::Applied);
    }
    assert_eq!(node.version(&channel).await, 11);

    let mut old = channel.clone();
    old.row.version = 4;
    assert_eq!(committer.commit(old.aside(vec![])).await.unwrap(), Verdict::Stale);
    assert_eq!(committer.commit(old.change(vec![])).await.unwrap(), Verdict::Stale);
    assert_eq!(committer.commit(channel.aside(vec![])).await.unwrap(), Verdict::Applied);
    // A second channel of the same address is a stale one.
    let mut again = TestChannel::new(1);
    assert_eq!(committer.commit(again.change(vec![])).await.unwrap(), Verdict::Stale);
    assert_eq!(node.version(&channel).await, 11);
}

#[tokio::test]
async fn seqno_sent_and_a_closed_channel_never_go_back() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = TestChannel::new(1);
    channel.row.our = body(5, 100);
    channel.row.their = body(6, 200);
    channel.row.onchain.lt = 10;
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    let lower: [fn(&mut TestChannel); 5] = [
        |c| c.row.our = body(4, 100),
        |c| c.row.our = body(6, 99),
        |c| c.row.their = body(5, 200),
        |c| c.row.their = body(7, 199),
        |c| c.row.onchain.lt = 9,
    ];
    for lower in lower {
        let mut lowered = channel.clone();
        lower(&mut lowered);
        let verdict = committer.commit(lowered.change(vec![])).await.unwrap();
        assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    }
    channel.row.status = protocol::Status::Closed;
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    channel.row.status = protocol::Status::Active;
    assert!(matches!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Refused(_)));
}

#[tokio::test]
async fn a_third_body_is_refused_before_it_is_signed() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let outcome = |attempt, outcome| Write::BodyOutcome { seqno: 1, attempt, outcome };
    let both = vec![signed(1, Attempt::Action), signed(1, Attempt::Increment), outcome(Attempt::Action, Outcome::Refused)];
    assert_eq!(committer.commit(channel.change(both)).await.unwrap(), Verdict::Applied);

    for attempt in [Attempt::Action, Attempt::Increment] {
        let again = channel.clone().change(vec![signed(1, attempt)]);
        assert_eq!(committer.commit(again).await.unwrap(), Verdict::Refused(ANOTHER_BODY.into()));
    }
    let falling = channel.clone().change(vec![signed(2, Attempt::Increment), signed(2, Attempt::Action)]);
    assert_eq!(committer.commit(falling).await.unwrap(), Verdict::Refused(ANOTHER_BODY.into()));
    let resolved = vec![outcome(Attempt::Increment, Outcome::Agreed), outcome(Attempt::Action, Outcome::Void)];
    channel.row.our = body(1, 0);
    assert_eq!(committer.commit(channel.change(resolved)).await.unwrap(), Verdict::Applied);
    // Alone at its seqno: that it is agreed is said by the channel's row.
    assert_eq!(committer.commit(channel.change(vec![signed(2, Attempt::Action)])).await.unwrap(), Verdict::Applied);
    let bodies = engine::signed(&node.pool.get().await.unwrap(), &channel.row.address, 0).await.unwrap();
    let outcomes: Vec<_> = bodies.iter().map(|b| b.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Void), Some(Outcome::Agreed), None]);
}

#[tokio::test]
async fn what_the_tables_contradict_is_never_folded_and_stops_the_engine() {
    let outcome = |attempt, outcome| Write::BodyOutcome { seqno: 1, attempt, outcome };
    let (agreed, other) = ((Attempt::Action, Outcome::Agreed), (Attempt::Increment, Outcome::Agreed));
    let gone = Write::ConditionRemoved { side: Side::Our, key: virtual_key(1), until: 1 };
    let broken: [(&str, Vec<Write>, Vec<Write>); 4] = [
        (
            "signed_body_agreed",
            vec![signed(1, Attempt::Action), signed(1, Attempt::Increment)],
            vec![outcome(agreed.0, agreed.1), outcome(other.0, other.1)],
        ),
        (
            "no such open body",
            vec![
                signed(1, Attempt::Action),
                signed(1, Attempt::Increment),
                outcome(Attempt::Action, Outcome::Void),
                outcome(Attempt::Increment, Outcome::Agreed),
            ],
            // What is void stays void.
            vec![outcome(Attempt::Action, Outcome::Refused)],
        ),
        ("no such condition", vec![], vec![gone]),
        (
            "conditional_live",
            vec![Write::ConditionAdded { side: Side::Our, condition: condition(1), since: 1 }],
            vec![Write::ConditionAdded { side: Side::Our, condition: same_index(1), since: 2 }],
        ),
    ];
    for (rule, before, what) in broken {
        let node = Node::start().await;
        let committer = node.committer().await;
        let mut channel = node.channel(&committer, 1).await;
        assert_eq!(committer.commit(channel.change(before)).await.unwrap(), Verdict::Applied);
        let client = node.pool.get().await.unwrap();
        engine::fold(&client).await.unwrap();
        let tables = node.tables().await;
        assert_eq!(committer.commit(channel.change(what)).await.unwrap(), Verdict::Applied);
        // Nobody who reads gets anything, nothing is lost, and the engine learns that it must stop.
        for _ in 0..2 {
            let error = engine::fold(&client).await.unwrap_err();
            assert!(matches!(&error, Error::Journal(r) if r == rule), "{error:?} is not {rule}");
            assert!(engine::signed(&client, &channel.row.address, 0).await.is_err());
        }
        assert_eq!(node.tables().await, tables);
        assert_eq!(node.count("SELECT count(*) FROM engine.journal", &[]).await, 1);
        assert!(committer.spoiled().await.contains(rule));
    }
}

#[tokio::test]
async fn what_the_database_would_not_take_never_gets_into_the_journal() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    // A peer's words.
    let result = |result| Write::Result { request_id: "r".into(), result };
    let words = result(RequestResult::Failed { reason: "no\0pe".into() });
    let change = channel.change(vec![words]).of_command("r".into(), &[1; 32]);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    let failed = RequestResult::Failed { reason: "no\u{fffd}pe".into() };
    assert_eq!(engine::results(&client, &["r"]).await.unwrap(), [("r".to_string(), failed)]);
    for amount in [u128::MAX, 10u128.pow(37)] {
        let change = Change::new(channel.fence(), vec![result(RequestResult::Paid { amount })], vec![]);
        assert!(matches!(change, Err(Error::TooLarge(_))), "{change:?}");
    }
    let named = Write::Result { request_id: "r\0".into(), result: RequestResult::Opened };
    assert!(matches!(Change::new(channel.fence(), vec![named], vec![]), Err(Error::Inconsistent(_))));
    engine::fold(&client).await.unwrap();
}

#[tokio::test]
async fn a_late_word_about_what_was_pruned_of_a_closed_channel_is_folded() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    let added = Write::ConditionAdded { side: Side::Our, condition: condition(1), since: 1 };
    assert_eq!(committer.commit(channel.change(vec![signed(1, Attempt::Action), added])).await.unwrap(), Verdict::Applied);
    channel.row.status = protocol::Status::Closed;
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    let pruned = engine::prune(&client).await.unwrap();
    assert_eq!((pruned.bodies, pruned.conditions), (1, 1));
    let late = vec![
        Write::BodyOutcome { seqno: 1, attempt: Attempt::Action, outcome: Outcome::Refused },
        Write::ConditionRemoved { side: Side::Our, key: condition(1).key, until: 2 },
        Write::ConditionRemoved { side: Side::Their, key: condition(2).key, until: 2 },
    ];
    assert_eq!(committer.commit(channel.change(late)).await.unwrap(), Verdict::Applied);
    engine::fold(&client).await.unwrap();
    assert_eq!(node.count("SELECT count(*) FROM engine.journal", &[]).await, 0);
}

#[tokio::test]
async fn another_body_of_the_peer_never_replaces_the_stored_one_but_a_newer_signature_does() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let first = channel.peer_state(1, body(1, 5));
    channel.row.their = body(1, 5);
    assert_eq!(committer.commit(channel.change(vec![Write::PeerState(first)])).await.unwrap(), Verdict::Applied);
    let client = node.pool.get().await.unwrap();
    engine::fold(&client).await.unwrap();
    let mut replaced = channel.clone();
    replaced.row.their = body(1, 6);
    let other = channel.peer_state(1, body(1, 6));
    let verdict = committer.commit(replaced.change(vec![Write::PeerState(other)])).await.unwrap();
    assert!(matches!(verdict, Verdict::Refused(_)), "{verdict:?}");
    channel.row.our = body(1, 0);
    let newer = channel.peer_state(1, body(1, 5));
    assert_eq!(committer.commit(channel.change(vec![Write::PeerState(newer)])).await.unwrap(), Verdict::Applied);
    assert_eq!(engine::peer_states(&client, &channel.row, 0).await.unwrap(), [newer]);
    // Nor by way of the journal, should the channel's row not tell.
    assert_eq!(committer.commit(channel.change(vec![Write::PeerState(other)])).await.unwrap(), Verdict::Applied);
    assert!(matches!(engine::fold(&client).await, Err(Error::Journal(_))));
}

#[tokio::test]
async fn many_fold_at_once_and_everything_is_folded_once_and_in_order() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channels = Vec::new();
    for n in 0..4 {
        channels.push(node.channel(&committer, n).await);
    }
    let folding: Vec<_> = (0..6)
        .map(|_| {
            let pool = node.pool.clone();
            tokio::spawn(async move {
                for _ in 0..40 {
                    engine::fold(&pool.get().await.unwrap()).await.unwrap();
                }
            })
        })
        .collect();
    for seqno in 1..=60 {
        for channel in &mut channels {
            // The last body is always agreed, and a condition comes and goes.
            let (now, before) = (condition(seqno as u8), condition(seqno as u8 - 1));
            let mut writes =
                vec![signed(seqno, Attempt::Action), Write::ConditionAdded { side: Side::Our, condition: now, since: seqno }];
            if seqno > 1 {
                writes.push(Write::ConditionRemoved { side: Side::Our, key: before.key, until: seqno });
            }
            channel.row.our = Body { seqno, sent: 1, conditionals: [0; 32] };
            assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
        }
    }
    for folds in folding {
        folds.await.unwrap();
    }
    let client = node.pool.get().await.unwrap();
    for channel in &channels {
        let bodies = engine::signed(&client, &channel.row.address, 0).await.unwrap();
        assert_eq!(bodies.iter().map(|b| b.body.body.seqno).collect::<Vec<_>>(), (1..=60).collect::<Vec<_>>());
        for seqno in [1, 30, 60] {
            let version = engine::Version::Agreed { side: Side::Our, seqno };
            let conditions = engine::dictionary(&client, &channel.row.address, version).await.unwrap();
            assert_eq!(conditions, [condition(seqno as u8)]);
        }
        assert_eq!(node.version(channel).await, 61);
    }
    assert_eq!(node.count("SELECT count(*) FROM engine.journal", &[]).await, 0);
}

#[tokio::test]
async fn what_an_engine_left_in_the_journal_the_next_one_finds_in_the_tables() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    assert_eq!(committer.commit(channel.change(vec![signed(1, Attempt::Action)])).await.unwrap(), Verdict::Applied);
    // It ends here, as by kill -9: whatever its folder has not done, nobody of it will do.
    std::mem::forget(committer);
    let mut client = node.pool.get().await.unwrap();
    let loaded = engine::load(&mut client, &[channel.shard]).await.unwrap();
    assert_eq!((loaded.len(), loaded[0].row.version), (1, 2));
    assert_eq!(engine::signed(&client, &channel.row.address, 0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_task_is_queued_once_and_applied_once() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut a = node.channel(&committer, 1).await;
    let mut b = node.channel(&committer, 2).await;
    for _ in 0..2 {
        assert_eq!(committer.commit(a.change(vec![Write::Task(task("t", &b))])).await.unwrap(), Verdict::Applied);
    }
    let client = node.pool.get().await.unwrap();
    let due = engine::due(&client, &[b.shard], 0, &[], 10).await.unwrap();
    assert_eq!(due.iter().map(|d| &d.task).collect::<Vec<_>>(), [&task("t", &b)]);
    assert_eq!(engine::due(&client, &[b.shard], 0, &[due[0].seq], 10).await.unwrap(), []);

    let done = || vec![Write::TaskDone("t".into())];
    if a.shard != b.shard {
        assert_eq!(committer.commit(a.aside(done())).await.unwrap(), Verdict::TaskGone, "a task of another shard");
    }
    assert_eq!(committer.commit(b.change(done())).await.unwrap(), Verdict::Applied);
    assert_eq!(committer.commit(b.aside(done())).await.unwrap(), Verdict::TaskGone);
    assert_eq!(engine::due(&client, &[b.shard], 0, &[], 10).await.unwrap(), []);
    // A task for a channel that is not there must not get lost silently.
    let verdict = committer.commit(a.change(vec![Write::Task(task("u", &TestChannel::new(77)))])).await.unwrap();
    assert_eq!(verdict, Verdict::Refused("shard".into()));
}

#[tokio::test]
async fn a_body_that_is_alone_is_agreed_when_the_channel_says_so() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let outcomes = async || {
        let bodies = engine::signed(&node.pool.get().await.unwrap(), &channel.row.address, 0).await.unwrap();
        bodies.iter().map(|b| b.outcome).collect::<Vec<_>>()
    };
    let change = channel.clone().change(vec![signed(1, Attempt::Action)]);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    assert_eq!(outcomes().await, [None]);
    channel.row.version += 1;
    channel.row.our = body(1, 0);
    let agreed = Write::BodyOutcome { seqno: 1, attempt: Attempt::Action, outcome: Outcome::Agreed };
    let change = channel.clone().change(vec![agreed]);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    assert_eq!(outcomes().await, [Some(Outcome::Agreed)]);
}

#[tokio::test]
async fn a_task_applied_ahead_of_its_row_stands_and_falls_with_it() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut a = node.channel(&committer, 1).await;
    let mut b = node.channel(&committer, 2).await;
    let tasks = async || node.count("SELECT count(*) FROM engine.task", &[]).await;
    let apply = |b: &mut TestChannel, id: &str| b.change(vec![Write::TaskDone(id.into())]).of_early_task(id.into());

    // In one batch: no row of it is ever written.
    let lock = lock_shard(&node, a.shard).await;
    let front = committer.commit(a.change(vec![]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let posted = committer.commit(a.change(vec![Write::Task(task("t", &b))]));
    let applied = committer.commit(apply(&mut b, "t"));
    drop(lock);
    for verdict in [front, posted, applied] {
        assert_eq!(verdict.await.unwrap(), Verdict::Applied);
    }
    assert_eq!(tasks().await, 0);
    // One after the other: it comes and goes.
    assert_eq!(committer.commit(a.change(vec![Write::Task(task("u", &b))])).await.unwrap(), Verdict::Applied);
    assert_eq!(tasks().await, 1);
    assert_eq!(committer.commit(apply(&mut b, "u")).await.unwrap(), Verdict::Applied);
    assert_eq!(tasks().await, 0);

    // The change that brings it fails: what was made of it fails too, in one batch or not.
    let versions = [node.version(&a).await, node.version(&b).await];
    let lock = lock_shard(&node, a.shard).await;
    let front = committer.commit(a.aside(vec![]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let mut stale = a.clone();
    stale.row.version -= 1;
    let posted = committer.commit(stale.change(vec![Write::Task(task("v", &b))]));
    let applied = committer.commit(apply(&mut b.clone(), "v"));
    drop(lock);
    assert_eq!(front.await.unwrap(), Verdict::Applied);
    assert_eq!(posted.await.unwrap(), Verdict::Stale);
    assert_eq!(applied.await.unwrap(), Verdict::TaskGone);
    assert_eq!(committer.commit(apply(&mut b.clone(), "v")).await.unwrap(), Verdict::TaskGone);
    assert_eq!([node.version(&a).await, node.version(&b).await], versions);
    assert_eq!(tasks().await, 0);
}

#[tokio::test]
async fn a_command_that_its_channel_puts_on_record_is_carried_out_once() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    let failed = || Write::Result { request_id: "r".into(), result: RequestResult::Failed { reason: "no".into() } };
    let change = channel.change(vec![failed()]).of_command("r".into(), &[1; 32]);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    assert_eq!(engine::content_of(&client, "r").await.unwrap(), Some([1; 32]));
    assert_eq!(engine::results(&client, &["r"]).await.unwrap()[0].1, RequestResult::Failed { reason: "no".into() });

    let before = node.fingerprint().await;
    let again = channel.clone().change(vec![Write::VirtualKey(virtual_key(1))]).of_command("r".into(), &[1; 32]);
    assert_eq!(committer.commit(again).await.unwrap(), Verdict::KnownRequest);
    // The number of the batch that came to nothing is all that changed.
    let changed: Vec<_> = before.iter().zip(node.fingerprint().await).filter(|(b, a)| *b != a).map(|(b, _)| b.clone()).collect();
    assert!(changed.iter().all(|table| table.starts_with("engine.shard ")), "{changed:?}");
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
}

#[tokio::test]
async fn copies_of_a_command_and_of_a_key_in_one_batch_count_once() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut a = node.channel(&committer, 1).await;
    let mut b = node.channel(&committer, 2).await;
    let of = |channel: &mut TestChannel, key: u8| {
        channel.change(vec![Write::VirtualKey(virtual_key(key))]).of_command("r".into(), &[1; 32])
    };
    let lock = lock_shard(&node, a.shard).await;
    let front = committer.commit(a.change(vec![]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    // Twice on one channel, with what was made after it, and once more on another.
    let first = committer.commit(of(&mut a, 1));
    let second = committer.commit(of(&mut a, 2));
    let behind = committer.commit(a.change(vec![]));
    let elsewhere = committer.commit(of(&mut b.clone(), 3));
    drop(lock);
    assert_eq!(front.await.unwrap(), Verdict::Applied);
    assert_eq!(first.await.unwrap(), Verdict::Applied);
    assert_eq!(second.await.unwrap(), Verdict::KnownRequest);
    assert_eq!(behind.await.unwrap(), Verdict::Stale);
    assert_eq!(elsewhere.await.unwrap(), Verdict::KnownRequest);
    assert_eq!(node.count("SELECT count(*) FROM engine.virtual_key", &[]).await, 1);

    // A key that two channels bring at once: one of them has it.
    a.row.version = 3;
    let lock = lock_shard(&node, a.shard).await;
    let front = committer.commit(a.change(vec![]));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let one = committer.commit(a.change(vec![Write::VirtualKey(virtual_key(9))]));
    let other = committer.commit(b.change(vec![Write::VirtualKey(virtual_key(9))]));
    drop(lock);
    assert_eq!(front.await.unwrap(), Verdict::Applied);
    assert_eq!(one.await.unwrap(), Verdict::Applied);
    assert_eq!(other.await.unwrap(), Verdict::UsedKey(virtual_key(9)));
}

#[tokio::test]
async fn of_two_committers_under_one_epoch_none_takes_the_others_batches_for_its_own() {
    let node = Node::start().await;
    let first = node.committer().await;
    let mut channel = node.channel(&first, 1).await;
    let second = node.committer().await;
    assert_eq!(second.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    // The older one's numbers are below: nothing of it is applied until it has new ones.
    assert_eq!(first.commit(channel.clone().change(vec![])).await.unwrap(), Verdict::Stale);
    assert_eq!(first.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    assert_eq!(node.version(&channel).await, 3);
}

#[tokio::test]
async fn a_command_is_carried_out_once() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let client = node.pool.get().await.unwrap();
    let task = task("request:r", &channel);
    let submit = |content| engine::submit(&client, "r", content, &task, 0);
    assert_eq!(submit(&[1; 32]).await.unwrap(), engine::Submitted::Queued);
    assert_eq!(submit(&[1; 32]).await.unwrap(), engine::Submitted::Known);
    assert_eq!(submit(&[2; 32]).await.unwrap(), engine::Submitted::Conflict);
    assert_eq!(engine::results(&client, &["r"]).await.unwrap(), []);

    let result = |result| Write::Result { request_id: "r".into(), result };
    let paid = RequestResult::Paid { amount: ton::MAX_COINS };
    let change = channel.change(vec![Write::TaskDone(task.id.clone()), result(RequestResult::Opened)]);
    assert_eq!(committer.commit(change).await.unwrap(), Verdict::Applied);
    assert_eq!(engine::results(&client, &["r", "s"]).await.unwrap(), [("r".to_string(), RequestResult::Opened)]);
    // The task is gone, and still the command is not carried out again.
    assert_eq!(submit(&[1; 32]).await.unwrap(), engine::Submitted::Known);
    assert_eq!(engine::due(&client, &[channel.shard], 0, &[], 10).await.unwrap(), []);
    assert_eq!(committer.commit(channel.change(vec![result(paid.clone())])).await.unwrap(), Verdict::Applied);
    // A final result stays.
    assert_eq!(committer.commit(channel.change(vec![result(RequestResult::Opened)])).await.unwrap(), Verdict::Applied);
    let failed = RequestResult::Failed { reason: "late".into() };
    assert_eq!(committer.commit(channel.change(vec![result(failed)])).await.unwrap(), Verdict::Applied);
    assert_eq!(engine::results(&client, &["r"]).await.unwrap()[0].1, paid);
}

#[tokio::test]
async fn an_inconsistent_change_is_not_tried() {
    let channel = TestChannel::new(1);
    let mut other = TestChannel::new(2);
    other.row.version = 1;
    let foreign = Change::new(channel.fence(), vec![Write::Channel(Box::new(other.row))], vec![]);
    assert!(matches!(foreign, Err(Error::Inconsistent(_))));
    let order = Order { id: "o".into(), message: OrderMessage::Finish };
    assert!(matches!(Change::new(channel.fence(), vec![Write::Order(Box::new(order))], vec![]), Err(Error::Inconsistent(_))));
    let huge = Write::BodyOutcome { seqno: u64::MAX, attempt: Attempt::Action, outcome: Outcome::Agreed };
    assert!(matches!(Change::new(channel.fence(), vec![huge], vec![]), Err(Error::TooLarge(_))));
}
