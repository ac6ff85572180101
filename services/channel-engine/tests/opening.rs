//! Channels are agreed although answers are lost (payments 7.8).

mod network;

use network::{LIMIT, TON, World, uuid};
use rpc::{ErrorCode, engine::v1::*};
use testkit::wait_for;
use tl::Object;
use wire::message::OpenChannelOffchain;

/// The peer has agreed and will take no other channel before this one has a deposit: the opener asks for the same one again.
#[tokio::test(flavor = "multi_thread")]
async fn an_opening_whose_answer_was_lost_is_repeated_not_made_anew() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.network.lose_answer_to(OpenChannelOffchain::ID);
    let open = OpenChannelRequest {
        request_id: uuid(),
        peer_key: world.nodes[1].key.to_vec(),
        coin: None,
        top_up_nano: TON.to_string(),
    };
    let b = world.nodes[1].pool.get().await?;
    let lost = wait_for("the opening to be lost", LIMIT, async || {
        let error = world.api(0).open_channel(open.clone()).await.map(drop).expect_err("the answer was lost");
        let agreed = store::engine::open_channels(&b).await.map_err(|e| e.to_string())?.len();
        if agreed == 1 { Ok(rpc::Error::from(error)) } else { Err(format!("{error}")) }
    })
    .await?;
    assert_eq!(lost.code(), ErrorCode::PeerUnreachable);
    // The moment is part of a channel's id.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    let opened = world.api(0).open_channel(open).await?.into_inner().channel.unwrap();
    let agreed = store::engine::open_channels(&b).await?;
    assert_eq!(agreed.len(), 1);
    assert_eq!(opened.address, ton::Address::basechain(agreed[0].row.address).to_friendly(true));
    Ok(())
}
