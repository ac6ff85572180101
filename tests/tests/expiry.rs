//! A virtual channel that nobody closes expires by the chain's clock: it unwinds on every hop, and all the money is free again.

use causeway_tests::{Line, advance_to, open_virtual, until_virtual};
use rpc::engine::v1::VirtualStatus;
use testnet::{TON, balance, channel};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_virtual_channel_expires_and_unwinds() {
    let mut line = Line::start(1, |_, _| true).await.unwrap();
    let [a, b, c] = &line.network.nodes[..] else { panic!("three nodes are planned") };
    let before = balance(a, &line.ab).await.unwrap();
    let opened = open_virtual(a, c, TON).await.unwrap();
    let first = until_virtual(a, &opened.virtual_key, VirtualStatus::Active).await.unwrap().outgoing.unwrap();
    until_virtual(c, &opened.virtual_key, VirtualStatus::Active).await.unwrap();
    let promised = TON + opened.fee_nano.parse::<u128>().unwrap();
    assert_eq!(balance(a, &line.ab).await.unwrap(), before - promised, "the promise is not free");

    advance_to(&line.network.chain, &[a, b, c], first.deadline_unix + 1).await.unwrap();
    for node in [a, b, c] {
        until_virtual(node, &opened.virtual_key, VirtualStatus::Removed).await.unwrap();
    }
    line.check().await.unwrap();
    for (node, address) in [(a, &line.ab), (b, &line.ab), (b, &line.bc), (c, &line.bc)] {
        let shown = channel(node, address).await.unwrap();
        let open: u64 = shown.our.iter().chain(&shown.their).map(|side| side.conditionals).sum();
        assert_eq!(open, 0, "{} still has a condition", node.name);
    }
    line.pay(10, async |_| Ok(())).await.unwrap();
    line.close().await.unwrap();
}
