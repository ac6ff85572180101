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

fn request(world: &World) -> OpenChannelRequest {
    OpenChannelRequest { request_id: uuid(), peer_key: world.nodes[1].key.to_vec(), coin: None, top_up_nano: TON.to_string() }
}

/// Opens a channel from A to B, trying until the engine can, but not after a refusal.
async fn opened(world: &World) -> anyhow::Result<Result<String, rpc::Error>> {
    wait_for("an answer of the peer", LIMIT, async || match world.api(0).open_channel(request(world)).await {
        Ok(opened) => Ok(Ok(opened.into_inner().channel.unwrap().address)),
        Err(status) => match rpc::Error::from(status) {
            error if error.code() == ErrorCode::PeerRefused => Ok(Err(error)),
            error => Err(error.to_string()),
        },
    })
    .await
}

async fn agreed_at(world: &World, node: usize) -> anyhow::Result<Vec<String>> {
    let channels = store::engine::open_channels(&world.nodes[node].pool.get().await?).await?;
    Ok(channels.iter().map(|channel| ton::Address::basechain(channel.row.address).to_friendly(true)).collect())
}

async fn offers(world: &World) -> anyhow::Result<i64> {
    Ok(world.nodes[0].pool.get().await?.query_one("SELECT count(*) FROM engine.offer", &[]).await?.try_get(0)?)
}

/// The engine ends between the peer's agreement and its own commit. The next one offers the same channel, whoever asks it to.
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_outlives_the_engine_that_made_it() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.network.lose_answer_to(OpenChannelOffchain::ID);
    let mut api = world.api(0);
    let offering = tokio::spawn({
        let request = request(&world);
        async move { api.open_channel(request).await }
    });
    wait_for("the peer to agree", LIMIT, async || match agreed_at(&world, 1).await {
        Ok(agreed) if agreed.len() == 1 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await?;
    assert_eq!((offers(&world).await?, agreed_at(&world, 0).await?.len()), (1, 0));
    world.replace_engine(0, "a-2", false).await?;
    offering.await?.expect_err("its engine has ended");
    let address = opened(&world).await??;
    assert_eq!(agreed_at(&world, 1).await?, [address]);
    assert_eq!(offers(&world).await?, 0);
    Ok(())
}

/// A peer that lost its database has one more channel with us than it knows.
#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_the_peer_has_forgotten_does_not_keep_it_out_for_ever() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.set_time_ahead(1, 1);
    world.replace_engine(1, "b-2", false).await?;
    let forgotten = world.agree(0, 1, TON).await?;
    let a = world.nodes[0].pool.get().await?;
    world.stop_engine(0).await?;
    for table in ["journal", "head", "task", "channel", "signed_body", "peer_state", "offer", "request"] {
        a.execute(&format!("DELETE FROM engine.{table}"), &[]).await?;
    }
    // The moment is part of a channel's id.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    world.replace_engine(0, "a-2", false).await?;
    let refused = opened(&world).await?.expect_err("the first one may still get its deposit");
    assert!(refused.message().contains("waits for its deposit"), "{refused}");
    assert_eq!(offers(&world).await?, 0, "what was refused is over");
    world.set_time_ahead(1, 601);
    let again = wait_for("ten minutes", LIMIT, async || match opened(&world).await {
        Ok(Ok(address)) => Ok(address),
        other => Err(format!("{other:?}")),
    })
    .await?;
    let agreed = agreed_at(&world, 1).await?;
    assert!(agreed.len() == 2 && agreed.contains(&again), "{agreed:?}");
    // It lives: a deposit may have been on its way all the time.
    world
        .tell(1, forgotten, 1, |storage| {
            storage.initialised = true;
            storage.balance.deposited = contract::Pair { a: TON, b: 0 };
        })
        .await?;
    wait_for("the deposit", LIMIT, async || match network::get(&world.api(1), forgotten).await {
        Ok(channel) if channel.their.as_ref().is_some_and(|side| side.deposited_nano == TON.to_string()) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// An offer keeps nobody from answering the other's.
#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_open_channels_with_each_other_at_the_same_moment() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    let open = |from: usize| OpenChannelRequest {
        request_id: uuid(),
        peer_key: world.nodes[1 - from].key.to_vec(),
        coin: None,
        top_up_nano: TON.to_string(),
    };
    let (mut a, mut b) = (world.api(0), world.api(1));
    let (one, other) = tokio::try_join!(a.open_channel(open(0)), b.open_channel(open(1)))?;
    let address = |response: tonic::Response<OpenChannelResponse>| response.into_inner().channel.unwrap().address;
    assert_ne!(address(one), address(other));
    for node in &world.nodes {
        assert_eq!(store::engine::open_channels(&node.pool.get().await?).await?.len(), 2);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_go_on_while_an_offer_waits_for_its_answer() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    world.open(0, 1, 10 * TON).await?;
    world.network.lose_answer_to(OpenChannelOffchain::ID);
    let key = world.nodes[1].key.to_vec();
    let open = OpenChannelRequest { request_id: uuid(), peer_key: key.clone(), coin: None, top_up_nano: TON.to_string() };
    let mut api = world.api(0);
    let opening = tokio::spawn(async move { api.open_channel(open).await });
    let b = world.nodes[1].pool.get().await?;
    wait_for("the peer to agree", LIMIT, async || {
        let agreed = store::engine::open_channels(&b).await.map_err(|e| e.to_string())?.len();
        if agreed == 2 { Ok(()) } else { Err(format!("{agreed}")) }
    })
    .await?;
    let request = SendTransferRequest {
        request_id: uuid(),
        receiver_key: key,
        coin: None,
        amount_nano: TON.to_string(),
        ttl_seconds: 0,
        chain: vec![],
        max_fee_nano: None,
        wait: true,
    };
    let paid = world.api(0).send_transfer(request).await?.into_inner();
    assert_eq!(paid.status(), TransferStatus::Paid);
    assert!(!opening.is_finished(), "its answer was lost");
    opening.await?.expect_err("its answer was lost");
    Ok(())
}

/// The moment that tells a node's channels with one peer apart has only seconds.
#[tokio::test(flavor = "multi_thread")]
async fn channels_opened_in_the_same_second_are_different_ones() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    let mut all = std::collections::HashSet::new();
    for _ in 0..3 {
        all.insert(world.open(0, 1, TON).await?);
    }
    assert_eq!(all.len(), 3);
    Ok(())
}

/// Without the contract's code a first deposit would lie at an empty account: nothing is ordered.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_paid_into_a_contract_that_cannot_be_deployed() -> anyhow::Result<()> {
    let world = World::start(&["a", "b"]).await?;
    let channel = world.agree(0, 1, TON).await?;
    let a = world.nodes[0].pool.get().await?;
    let orders = async || anyhow::Ok(a.query_one("SELECT count(*) FROM chain.wallet_order", &[]).await?.get::<_, i64>(0));
    let first = wait_for("the first deposit", LIMIT, async || match orders().await? {
        0 => anyhow::bail!("not ordered"),
        count => Ok(count),
    })
    .await?;
    let live = contract::CodeKind::LIVE.hash;
    a.execute("UPDATE engine.channel SET code_hash = $1::bytea", &[&live.as_slice()]).await?;
    let address = ton::Address::basechain(channel).to_string();
    let more = TopUpRequest { request_id: uuid(), address, amount_nano: "1".into() };
    let refused = world.api(0).top_up(more).await.expect_err("there is no code");
    assert_eq!(rpc::Error::from(refused.clone()).code(), ErrorCode::ChannelNotActive);
    assert!(refused.message().contains("code is not at hand"), "{refused}");
    // Nor does asking for the channel once more pay into it.
    let again = OpenChannelRequest {
        request_id: uuid(),
        peer_key: world.nodes[1].key.to_vec(),
        coin: None,
        top_up_nano: TON.to_string(),
    };
    assert!(world.api(0).open_channel(again).await.is_err());
    assert_eq!(orders().await?, first);
    Ok(())
}
