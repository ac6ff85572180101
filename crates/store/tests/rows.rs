//! What is written comes back the same, and old dictionaries can be rebuilt.

mod common;

use common::*;
use contract::{CloseToSign, CommitToSign, Pair};
use protocol::{
    Attempt, ChainUpdate, Change as Difference, Half, Leg, LegState, NewTask, Next, Onchain, OpenLeg, Origin, Outcome, Pending,
    Quarantined, Side, SignedBody, Status, Task, Withdrawal, Work, Write,
};
use store::{Verdict, engine};
use wire::{Body, Condition, Conditionals, InstructionContainer, Resolution, message::OpenVirtual};

fn resolution(n: u8) -> Resolution {
    Resolution::sign(&key(n), ton::MAX_COINS)
}

fn open_virtual() -> OpenVirtual {
    OpenVirtual {
        channel_key: [1; 32],
        instruction_key: [2; 32],
        instructions: vec![InstructionContainer { hash: [7; 32], data: vec![8; 300] }],
        signature: [3; 64],
    }
}

fn any_body(n: u8) -> Body {
    Body { seqno: 1 << 60 | u64::from(n), sent: ton::MAX_COINS - u128::from(n), conditionals: [n; 32] }
}

/// A row with something in every column.
fn full(channel: &mut TestChannel) {
    let row = &mut channel.row;
    row.status = Status::Disputed;
    row.suspended = true;
    row.our = any_body(1);
    row.their = any_body(2);
    row.pending = Some(Pending {
        work: Work::Open([4; 32]),
        first: SignedBody { attempt: Attempt::Action, body: any_body(3), change: Difference::Insert(condition(4)) },
        lock_id: i64::MAX,
        increment: true,
        since: 1_700_000_000_000,
    });
    row.increment = Some(true);
    row.pending_withdraw = [1, ton::MAX_COINS];
    (row.signed_commit, row.asked_commit) = ([2, 3], [4, 5]);
    row.released = 12_345_678_901_234_567_890;
    row.onchain = Onchain {
        lt: 54_000_000_000_001,
        inited: true,
        deposited: [10_000, 20_000],
        withdrawn: [1, 2],
        committed: [3, 4],
        quarantine: Some(Quarantined {
            our: any_body(5),
            their: any_body(6),
            their_base: [6; 32],
            started_at: 1_700_000_001,
            by_us: true,
            challenged: true,
        }),
    };
    row.close_wanted = true;
    row.close = Some(CloseToSign {
        channel_id: row.config.channel_id,
        sent: Pair { a: 1, b: ton::MAX_COINS },
        seqnos: Pair { a: 5, b: u64::MAX },
    });
    row.force = Some("a resolution was not honoured in time".into());
    row.void = Some(any_body(7));
    row.withdrawal = Some(Withdrawal {
        request_id: "w".into(),
        amount: ton::MAX_COINS,
        asked: Some(CommitToSign {
            channel_id: row.config.channel_id,
            sent: Pair { a: ton::MAX_COINS, b: 1 },
            seqnos: Pair { a: 6, b: u64::MAX },
            withdrawn: Pair { a: 2, b: 3 },
        }),
        peer_signature: Some([8; 64]),
        order: Some("withdraw:1".into()),
        tries: 2,
    });
    row.deploys = vec!["topup:1".into(), "topup:2".into()];
    row.order_round = 9;
    row.ordered = Some("start:1".into());
    row.settled = vec![1, u32::MAX];
    row.settling = vec![7];
    channel.row.their_signed = Some(channel.peer_state(1, any_body(2)));
}

#[tokio::test]
async fn channels_survive() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let mut client = node.pool.get().await.unwrap();
    let load = engine::load_channel(&mut client, &channel.row.address).await.unwrap().unwrap();
    assert_eq!((load.shard, load.row), (channel.shard, channel.row.clone()));

    full(&mut channel);
    assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
    let load = engine::load_channel(&mut client, &channel.row.address).await.unwrap().unwrap();
    assert_eq!(load.row, channel.row);

    let works = [
        (Work::Increment { want_response: true }, Difference::None),
        (Work::Confirm([1; 32]), Difference::Remove([1; 32])),
        (Work::Remove([2; 32]), Difference::Remove([2; 32])),
    ];
    for (work, change) in works {
        if let Some(pending) = &mut channel.row.pending {
            (pending.work, pending.first.change) = (work, change);
        }
        assert_eq!(committer.commit(channel.change(vec![])).await.unwrap(), Verdict::Applied);
        let load = engine::load_channel(&mut client, &channel.row.address).await.unwrap().unwrap();
        assert_eq!(load.row, channel.row);
    }
    let listed = engine::channels(&client, Some(&channel.row.peer), true, None, 10).await.unwrap();
    assert_eq!(listed.iter().map(|c| &c.row).collect::<Vec<_>>(), [&channel.row]);
    assert_eq!(engine::channels(&client, None, true, Some(&channel.row.address), 10).await.unwrap(), []);
}

fn legs(other: [u8; 32]) -> Vec<Leg> {
    let sender = Origin::Sender { request_id: "r".into(), sealed: vec![9; 72] };
    let halves = [
        Half::In { next: Next::Receiver, sender: [1; 32] },
        Half::In { next: Next::Forward(other), sender: [1; 32] },
        Half::Out { origin: Origin::Forward { channel: other }, action: None },
        Half::Out { origin: sender, action: Some(Box::new(open_virtual())) },
    ];
    let states = [LegState::Opening, LegState::Open, LegState::Closing, LegState::Removing];
    let halves = halves.into_iter().zip(states).enumerate();
    halves
        .map(|(n, (half, state))| Leg {
            condition: condition(n as u8),
            state,
            resolution: (n % 2 == 0).then(|| resolution(n as u8)),
            half,
            released: n as u128,
            told: n % 2 == 0,
        })
        .collect()
}

#[tokio::test]
async fn legs_survive_and_final_ones_leave_memory_but_not_the_table() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let mut all = legs([5; 32]);
    let writes = all.iter().map(|leg| Write::Leg(Box::new(leg.clone()))).collect();
    assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
    let mut client = node.pool.get().await.unwrap();
    let mut loaded = engine::load(&mut client, &[channel.shard]).await.unwrap().pop().unwrap().legs;
    loaded.sort_by_key(|leg| leg.key());
    assert_eq!(loaded, all);

    for state in [LegState::Closed, LegState::Removed, LegState::Refused, LegState::Abandoned] {
        let mut leg = all.pop().unwrap();
        (leg.state, leg.released, leg.told) = (state, 0, true);
        assert_eq!(committer.commit(channel.change(vec![Write::Leg(Box::new(leg.clone()))])).await.unwrap(), Verdict::Applied);
        assert_eq!(engine::legs_of(&client, &leg.key()).await.unwrap()[0].leg, leg);
        // What is final stays what it is.
        let mut changed = leg.clone();
        changed.state = LegState::Open;
        assert_eq!(committer.commit(channel.change(vec![Write::Leg(Box::new(changed))])).await.unwrap(), Verdict::Applied);
        assert_eq!(engine::legs_of(&client, &leg.key()).await.unwrap()[0].leg, leg);
    }
    assert_eq!(engine::load(&mut client, &[channel.shard]).await.unwrap().pop().unwrap().legs, []);
    let filter = engine::LegFilter { channel: Some(channel.row.address), live: false };
    let first = engine::legs(&client, filter, None, 3).await.unwrap();
    let rest = engine::legs(&client, filter, first.last().map(|l| l.place()), 3).await.unwrap();
    assert_eq!((first.len(), rest.len()), (3, 1));
    assert_eq!(engine::legs(&client, engine::LegFilter { live: true, ..filter }, None, 3).await.unwrap(), []);
}

#[tokio::test]
async fn tasks_survive() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let mut storage = channel.row.config.initial_storage();
    storage.initialised = true;
    storage.balance.deposited.a = 5;
    let open = |origin| Task::Open(Box::new(OpenLeg { condition: condition(1), action: open_virtual(), origin }));
    let update = ChainUpdate {
        lt: 7,
        storage,
        settled: vec![(u32::MAX, resolution(1)), (0, resolution(2))],
        our_states: vec![channel.peer_state(1, body(1, 2))],
    };
    let all = [
        open(Origin::Sender { request_id: "r".into(), sealed: vec![1; 72] }),
        open(Origin::Forward { channel: [4; 32] }),
        Task::Close { key: [1; 32], resolution: resolution(1) },
        Task::Unwind { key: [1; 32], reason: "expired".into() },
        Task::Increment,
        Task::CloseChannel { force: true },
        Task::CloseChannel { force: false },
        Task::TopUp { order: "o".into(), amount: ton::MAX_COINS },
        Task::Withdraw { request_id: "w".into(), amount: 1 },
        Task::LiftSuspension,
        Task::Chain(Box::new(update)),
        Task::OrderFailed { order: "o".into() },
    ];
    let tasks: Vec<_> = all
        .into_iter()
        .enumerate()
        .map(|(n, task)| NewTask { id: format!("t{n}"), channel: channel.row.address, task })
        .collect();
    let writes = tasks.iter().cloned().map(Write::Task).collect();
    assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
    let client = node.pool.get().await.unwrap();
    let due = engine::due(&client, &[channel.shard], 0, &[], 100).await.unwrap();
    assert_eq!(due.into_iter().map(|d| d.task).collect::<Vec<_>>(), tasks);
}

/// Pseudo-random, so that a failure repeats.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }
}

fn numbered(n: u64) -> Condition {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&n.to_le_bytes());
    Condition { key, capacity: u128::from(n) + 1, fee: 3, prepay: 0, deadline: 1_800_000_000 }
}

fn root(conditions: impl IntoIterator<Item = Condition>) -> [u8; 32] {
    Conditionals::from_conditions(conditions).unwrap().root_hash()
}

#[tokio::test]
async fn the_dictionary_of_every_body_ever_signed_can_be_rebuilt() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let mut draw = Draw(1);
    let mut sides = [Conditionals::new(), Conditionals::new()];
    let (mut signed, mut agreed, mut live) = (Vec::new(), Vec::new(), [Vec::new(), Vec::new()]);
    let mut verdicts = Vec::new();
    for n in 0..400 {
        let side = draw.below(2) as usize;
        let seqno = if side == 0 { channel.row.our.seqno } else { channel.row.their.seqno } + 1;
        let remove = !live[side].is_empty() && draw.below(5) < 2;
        let mut next = sides[side].clone();
        let (change, place) = if remove {
            let place = draw.below(live[side].len() as u64) as usize;
            let gone: Condition = live[side][place];
            next.remove(gone.index());
            (Difference::Remove(gone.key), place)
        } else {
            next.insert(numbered(n)).unwrap();
            (Difference::Insert(numbered(n)), 0)
        };
        let mut writes = Vec::new();
        // Every third action of ours is refused and settled by an increment.
        let void = side == 0 && draw.below(3) == 0;
        if side == 0 {
            let body = Body { seqno, sent: 0, conditionals: next.root_hash() };
            writes.push(Write::SignedBody(SignedBody { attempt: Attempt::Action, body, change: change.clone() }));
            signed.push((seqno, Attempt::Action, next.root_hash()));
            let (attempt, of) = if void { (Attempt::Action, Outcome::Void) } else { (Attempt::Action, Outcome::Agreed) };
            writes.push(Write::BodyOutcome { seqno, attempt, outcome: of });
        }
        if void {
            let body = Body { seqno, sent: 0, conditionals: sides[0].root_hash() };
            writes.push(Write::SignedBody(SignedBody { attempt: Attempt::Increment, body, change: Difference::None }));
            signed.push((seqno, Attempt::Increment, body.conditionals));
            writes.push(Write::BodyOutcome { seqno, attempt: Attempt::Increment, outcome: Outcome::Agreed });
        } else {
            let of = if side == 0 { Side::Our } else { Side::Their };
            match change {
                Difference::Insert(condition) => {
                    live[side].push(condition);
                    writes.push(Write::ConditionAdded { side: of, condition, since: seqno });
                }
                Difference::Remove(key) => {
                    live[side].swap_remove(place);
                    writes.push(Write::ConditionRemoved { side: of, key, until: seqno });
                }
                Difference::None => {}
            }
            sides[side] = next;
        }
        let body = Body { seqno, sent: 0, conditionals: sides[side].root_hash() };
        agreed.push((side, seqno, body.conditionals));
        if side == 0 {
            channel.row.our = body
        } else {
            channel.row.their = body
        };
        verdicts.push(committer.commit(channel.change(writes)));
    }
    for verdict in verdicts {
        assert_eq!(verdict.await.unwrap(), Verdict::Applied);
    }
    let client = node.pool.get().await.unwrap();
    let address = channel.row.address;
    for (seqno, attempt, hash) in signed {
        let version = engine::Version::Signed { seqno, attempt };
        assert_eq!(root(engine::dictionary(&client, &address, version).await.unwrap()), hash, "{version:?}");
    }
    for (side, seqno, hash) in agreed {
        let side = if side == 0 { Side::Our } else { Side::Their };
        let version = engine::Version::Agreed { side, seqno };
        assert_eq!(root(engine::dictionary(&client, &address, version).await.unwrap()), hash, "{version:?}");
    }
    let mut client = node.pool.get().await.unwrap();
    let loaded = engine::load_channel(&mut client, &address).await.unwrap().unwrap();
    assert_eq!(root(loaded.ours.clone()), channel.row.our.conditionals);
    assert_eq!(root(loaded.theirs.clone()), channel.row.their.conditionals);
    loaded.into_channel().unwrap();
}

#[tokio::test]
async fn the_peers_old_dictionary_comes_with_the_resolutions_that_we_hold() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let leg = |n: u8, resolution| {
        let half = Half::In { next: Next::Receiver, sender: [1; 32] };
        Write::Leg(Box::new(Leg {
            condition: condition(n),
            state: LegState::Closing,
            resolution,
            half,
            released: 0,
            told: false,
        }))
    };
    let added = |n, since| Write::ConditionAdded { side: Side::Their, condition: condition(n), since };
    let writes = vec![
        added(1, 1),
        added(2, 2),
        leg(1, Some(resolution(1))),
        leg(2, None),
        Write::ConditionRemoved { side: Side::Their, key: condition(1).key, until: 3 },
    ];
    assert_eq!(committer.commit(channel.change(writes)).await.unwrap(), Verdict::Applied);
    let client = node.pool.get().await.unwrap();
    let at = |seqno| engine::dictionary_with_resolutions(&client, &channel.row.address, Side::Their, seqno);
    assert_eq!(at(0).await.unwrap(), []);
    assert_eq!(at(1).await.unwrap(), [(condition(1), Some(resolution(1)))]);
    let mut both = at(2).await.unwrap();
    both.sort_by_key(|(c, _)| c.key);
    assert_eq!(both, [(condition(1), Some(resolution(1))), (condition(2), None)]);
    assert_eq!(at(3).await.unwrap(), [(condition(2), None)]);
}

#[tokio::test]
async fn an_index_is_free_for_another_condition_once_the_first_is_gone() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let added = |condition, since| Write::ConditionAdded { side: Side::Our, condition, since };
    let removed = Write::ConditionRemoved { side: Side::Our, key: condition(1).key, until: 2 };
    // In the same change already, folded together or not.
    assert_eq!(committer.commit(channel.change(vec![added(condition(1), 1)])).await.unwrap(), Verdict::Applied);
    let replaced = vec![removed, added(same_index(1), 2)];
    assert_eq!(committer.commit(channel.change(replaced)).await.unwrap(), Verdict::Applied);
    let client = node.pool.get().await.unwrap();
    for (seqno, expected) in [(1, condition(1)), (2, same_index(1))] {
        let version = engine::Version::Agreed { side: Side::Our, seqno };
        assert_eq!(engine::dictionary(&client, &channel.row.address, version).await.unwrap(), [expected]);
    }
}
