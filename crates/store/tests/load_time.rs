//! How long a channel with many open conditions takes to come back into memory. Prints, asserts no times:
//! `cargo test -p store --test load_time -- --ignored --nocapture`

mod common;

use std::time::Instant;

use common::*;
use protocol::{Half, Leg, LegState, Next, Side, Write};
use store::engine;
use wire::{Condition, conditionals::Conditionals};

const OPEN: u64 = 10_000;
/// Changes are made of so many conditions.
const CHUNK: u64 = 500;

fn numbered(n: u64) -> Condition {
    let mut key = [0x5a; 32];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    Condition { key, capacity: u128::from(n) + 1, fee: 3, prepay: 0, deadline: 1_800_000_000 }
}

#[tokio::test]
#[ignore = "a measurement"]
async fn ten_thousand_open_conditions_are_loaded() {
    let node = Node::start().await;
    let committer = node.committer().await;
    let mut channel = node.channel(&committer, 1).await;
    let all: Vec<Condition> = (0..OPEN).map(numbered).collect();
    channel.row.their.seqno = OPEN;
    channel.row.their.conditionals = Conditionals::from_conditions(all.iter().copied()).unwrap().root_hash();
    for (n, some) in all.chunks(CHUNK as usize).enumerate() {
        let first = n as u64 * CHUNK + 1;
        let writes = some.iter().zip(first..).flat_map(|(condition, since)| {
            let half = Half::In { next: Next::Receiver, sender: [1; 32] };
            let leg = Leg { condition: *condition, state: LegState::Open, resolution: None, half, released: 0, told: false };
            [Write::ConditionAdded { side: Side::Their, condition: *condition, since }, Write::Leg(Box::new(leg))]
        });
        let change = channel.change(writes.collect());
        assert_eq!(committer.commit(change).await.unwrap(), store::Verdict::Applied);
    }
    let mut client = node.pool.get().await.unwrap();
    for turn in 0..3 {
        let began = Instant::now();
        let mut loaded = engine::load(&mut client, &(0..=255).collect::<Vec<u8>>()).await.unwrap();
        let read = began.elapsed();
        let loaded = loaded.pop().unwrap();
        assert_eq!((loaded.theirs.len(), loaded.legs.len()), (OPEN as usize, OPEN as usize));
        let channel = loaded.into_channel().unwrap();
        println!("{turn}: read {read:?}, in memory after {:?}", began.elapsed());
        assert_eq!(channel.row().their.seqno, OPEN);
    }
}
