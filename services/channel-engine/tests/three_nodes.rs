//! Three engines on one Postgres, joined by an in-memory network that carries the real protobuf.

mod network;

use std::time::{SystemTime, UNIX_EPOCH};

use network::{LIMIT, TON, World, uuid};
use rpc::engine::v1::*;
use testkit::wait_for;

#[tokio::test(flavor = "multi_thread")]
async fn transfers_pass_the_middle_node_and_every_nano_is_accounted_for() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let mut api = world.api(0);
    let count = 20u128;
    for i in 0..count {
        let id = uuid();
        let sent = api.send_transfer(world.send(TON / 10, id.clone())).await?.into_inner();
        assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
        if i == 0 {
            let again = api.send_transfer(world.send(TON / 10, id.clone())).await?.into_inner();
            assert_eq!((again.status(), &again.virtual_key), (TransferStatus::Paid, &sent.virtual_key));
            let other = api.send_transfer(world.send(TON / 5, id)).await.unwrap_err();
            assert_eq!(rpc::Error::from(other).code(), rpc::ErrorCode::RequestIdReused);
        }
    }
    // A has paid when the call ends; the last confirmations downstream are not waited for by it.
    world.until_sent([ab, bc], count, TON / 10).await?;
    for line in ["payments_total{result=\"paid\"} 20", "open_conditionals 0", "shards 256"] {
        wait_for(line, LIMIT, async || {
            let measured = world.metrics(0).encode();
            if measured.contains(&format!("causeway_engine_{line}\n")) { Ok(()) } else { Err(measured) }
        })
        .await?;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let listed = world.api(1).list_virtuals(ListVirtualsRequest::default()).await?.into_inner().virtuals;
    assert_eq!(listed.len(), count as usize);
    for shown in listed {
        assert!((now - 600..=shown.updated_at_unix).contains(&shown.created_at_unix), "{shown:?} at {now}");
        assert!(shown.updated_at_unix <= now + 1, "{shown:?} at {now}");
    }
    let peers = world.api(1).list_peers(ListPeersRequest::default()).await?.into_inner().peers;
    assert_eq!(peers.len(), 2);
    assert!(peers.iter().all(|p| p.connected && (now - 600..=now).contains(&p.connected_since_unix)), "{peers:?} at {now}");
    let services = world.api(0).get_info(GetInfoRequest {}).await?.into_inner().services;
    let ready: Vec<_> = services.iter().map(|s| (s.service.as_str(), s.ready)).collect();
    assert_eq!(ready, [("database", true), ("peer-gateway", true)]);
    world.audit().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_command_needs_no_route_and_no_money() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    world.open(0, 1, TON / 2).await?;
    world.open(1, 2, TON / 2).await?;
    let mut api = world.api(0);
    // After two there is no money for a third, and without a chain and a planner no route.
    let sent = api.send_transfer(world.send(TON / 5, uuid())).await?.into_inner();
    assert_eq!(sent.status(), TransferStatus::Paid, "{sent:?}");
    let first = world.send(TON / 5, uuid());
    let bare = |request: &SendTransferRequest| SendTransferRequest { chain: vec![], ..request.clone() };
    let sent = api.send_transfer(first.clone()).await?.into_inner();
    assert_eq!(api.send_transfer(bare(&first)).await?.into_inner(), sent);
    let without_waiting = SendTransferRequest { wait: false, ..bare(&first) };
    assert_eq!(api.send_transfer(without_waiting).await?.into_inner(), sent);
    let new = SendTransferRequest { request_id: uuid(), ..bare(&first) };
    assert_eq!(rpc::Error::from(api.send_transfer(new).await.unwrap_err()).code(), rpc::ErrorCode::NoRoute);
    let other = SendTransferRequest { amount_nano: "1".into(), ..bare(&first) };
    assert_eq!(rpc::Error::from(api.send_transfer(other).await.unwrap_err()).code(), rpc::ErrorCode::RequestIdReused);

    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: (TON / 20).to_string(),
        ttl_seconds: 0,
        chain: world.chain(&[(1, 1_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    let again = OpenVirtualRequest { chain: vec![], ..open.clone() };
    let opened = api.open_virtual(open).await?.into_inner();
    assert_eq!(opened.virtual_seed.len(), 32);
    let repeated = api.open_virtual(again.clone()).await?.into_inner();
    assert_eq!(repeated, OpenVirtualResponse { virtual_seed: vec![], ..opened });
    let other = OpenVirtualRequest { capacity_nano: TON.to_string(), ..again };
    assert_eq!(rpc::Error::from(api.open_virtual(other).await.unwrap_err()).code(), rpc::ErrorCode::RequestIdReused);
    Ok(())
}

/// A client that repeats a call while the first one is under way, which no lookup sees yet.
#[tokio::test(flavor = "multi_thread")]
async fn copies_of_a_command_at_once_pay_once() -> anyhow::Result<()> {
    const ROUNDS: u128 = 20;
    const AMOUNT: u128 = TON / 100;
    let world = World::start(&["a", "b", "c"]).await?;
    let channels = [world.open(0, 1, 10 * TON).await?, world.open(1, 2, 10 * TON).await?];
    for _ in 0..ROUNDS {
        let request = world.send(AMOUNT, uuid());
        let copies = (0..8).map(|_| {
            let (mut api, request) = (world.api(0), request.clone());
            async move { api.send_transfer(request).await }
        });
        let answers = futures::future::try_join_all(copies).await?;
        let first = answers[0].get_ref().virtual_key.clone();
        for answer in answers {
            let answer = answer.into_inner();
            assert_eq!((answer.status(), &answer.virtual_key), (TransferStatus::Paid, &first), "{answer:?}");
        }
    }
    world.until_sent(channels, ROUNDS, AMOUNT).await?;
    world.audit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_virtual_channel_is_signed_and_closed_by_its_receiver() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let (mut a, mut c) = (world.api(0), world.api(2));
    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: TON.to_string(),
        ttl_seconds: 100_000,
        chain: world.chain(&[(1, 10_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    let opened = a.open_virtual(open).await?.into_inner();
    assert_eq!(opened.virtual_seed.len(), 32);
    // For the receiver that it was opened to.
    let sign = |amount: u128| SignResolutionRequest {
        signer: Some(sign_resolution_request::Signer::VirtualKey(opened.virtual_key.clone())),
        amount_nano: amount.to_string(),
        receiver_key: Vec::new(),
    };
    let above = a.sign_resolution(sign(TON + 1)).await.unwrap_err();
    assert_eq!(rpc::Error::from(above).code(), rpc::ErrorCode::ResolutionAboveCapacity);
    let signed = a.sign_resolution(sign(TON)).await?.into_inner().encrypted_state;
    let close = |text: String| CloseVirtualRequest { request_id: uuid(), encrypted_state: text };
    let tampered = format!("A{}", &signed[1..]);
    assert!(c.close_virtual(close(tampered)).await.is_err());
    wait_for("condition at the receiver", LIMIT, async || c.clone().close_virtual(close(signed.clone())).await).await?;
    world.until_sides(&[(0, ab, (8_990_000_000, 1_010_000_000)), (2, bc, (1_000_000_000, 9_000_000_000))]).await?;
    let second = c.close_virtual(close(signed)).await.unwrap_err();
    assert_eq!(rpc::Error::from(second).code(), rpc::ErrorCode::VirtualNotOpen);
    Ok(())
}
