//! Bad input over the API: a gRPC status with its code, the field and the rule, and not one row changed on any node.

mod network;

use std::{fmt::Debug, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use network::{LIMIT, Rows, TON, World, uuid};
use rpc::{
    ErrorCode::{self, *},
    common::v1::{ChainHop, Coin, coin::Kind},
    engine::v1::{sign_resolution_request::Signer, *},
};
use testkit::wait_for;
use tonic::{Response, Status};
use wire::{Resolution, crypt::shared_secret, resolution::seal_state};

/// A world at rest, and how it looked.
struct Still {
    world: World,
    rows: Vec<Rows>,
}

impl Still {
    async fn new(world: World) -> anyhow::Result<Self> {
        let mut still = Self { world, rows: Vec::new() };
        still.settle().await?;
        Ok(still)
    }

    /// Something was meant to change.
    async fn settle(&mut self) -> anyhow::Result<()> {
        self.rows.clear();
        for node in &self.world.nodes {
            self.rows.push(Rows::settled(&node.pool).await?);
        }
        Ok(())
    }

    /// The call was refused by this code for this field, with a rule, and changed nothing anywhere.
    async fn refused<T: Debug>(&self, called: Result<Response<T>, Status>, code: ErrorCode, field: &str) -> anyhow::Result<()> {
        let status = called.expect_err(field);
        let error = rpc::Error::from(status.clone());
        assert_eq!((error.code(), status.code()), (code, code.status()), "{field}: {error}");
        let (named, rule) = error.violation().unwrap_or_else(|| panic!("{error}: names no field"));
        assert_eq!(named, field, "{error}");
        assert!(rule.starts_with("must"), "{error}: no rule");
        for (node, before) in self.world.nodes.iter().zip(&self.rows) {
            let after = Rows::read(&node.pool).await?;
            assert_eq!(before.difference(&after), [""; 0], "{error}");
        }
        Ok(())
    }
}

fn key_of(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn public(seed: u8) -> Vec<u8> {
    key_of(seed).verifying_key().to_bytes().to_vec()
}

fn friendly(hash: [u8; 32]) -> String {
    ton::Address::basechain(hash).to_friendly(true)
}

#[tokio::test(flavor = "multi_thread")]
async fn payments_that_break_a_rule_are_refused_and_change_nothing() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    world.open(0, 1, 10 * TON).await?;
    world.open(1, 2, 10 * TON).await?;
    let still = Still::new(world).await?;
    let world = &still.world;
    let good = world.send(TON, uuid());
    let mut api = world.api(0);
    macro_rules! refuse {
        ($code:expr, $field:expr, $($change:tt)*) => {
            let request = SendTransferRequest { $($change)*, ..good.clone() };
            still.refused(api.send_transfer(request).await, $code, $field).await?;
        };
    }
    refuse!(InvalidRequestId, "request_id", request_id: "seven".into());
    let no_point = [&[2][..], &[0; 31]].concat();
    for bytes in [vec![], vec![7; 31], vec![7; 33], vec![0; 32], no_point] {
        refuse!(InvalidKey, "receiver_key", receiver_key: bytes);
    }
    let beyond = (ton::MAX_COINS + 1).to_string();
    let long = "9".repeat(38);
    for text in ["", "x", "1.5", "1e9", "-1", "+1", " 1", "0x10", "007", "00", "٣", &beyond, &long, &"9".repeat(4000)] {
        refuse!(InvalidAmount, "amount_nano", amount_nano: text.into());
        refuse!(InvalidAmount, "max_fee_nano", max_fee_nano: Some(text.into()));
    }
    refuse!(AmountOutOfRange, "amount_nano", amount_nano: "0".into());
    refuse!(AmountOutOfRange, "amount_nano", amount_nano: ton::MAX_COINS.to_string());
    refuse!(InsufficientBalance, "amount_nano", amount_nano: (10 * TON + 1).to_string());
    refuse!(InsufficientBalance, "amount_nano", amount_nano: (10 * TON).to_string()); // the fee comes on top
    for ttl in [1, 43_319] {
        refuse!(InvalidTtl, "ttl_seconds", ttl_seconds: ttl);
    }
    for ttl in [u64::from(u32::MAX), u64::MAX] {
        refuse!(InvalidTtl, "ttl_seconds", ttl_seconds: ttl);
    }
    refuse!(FeeTooHigh, "max_fee_nano", max_fee_nano: Some("1".into()));
    refuse!(UnsupportedCoin, "coin", coin: Some(Coin { kind: Some(Kind::ExtraCurrencyId(7)) }));
    // chains
    let hop = |key: Vec<u8>| ChainHop { node_key: key, fee_nano: Some("1000000".into()), deadline_gap_seconds: None };
    let eleven: Vec<ChainHop> = (1..=11).map(|i| hop(public(i))).collect();
    refuse!(ChainTooLong, "chain", receiver_key: public(11), chain: eleven);
    refuse!(InvalidField, "chain", chain: world.chain(&[(1, 1_000_000)])); // does not end with the receiver
    refuse!(InvalidField, "chain", chain: world.chain(&[(1, 1), (0, 1), (2, 0)])); // back to the sender
    refuse!(InvalidKey, "chain[1].node_key", chain: vec![hop(public(1)), hop(vec![1; 31]), good.chain[1].clone()]);
    let mut chain = good.chain.clone();
    chain[0].fee_nano = Some("-1".into());
    refuse!(InvalidAmount, "chain[0].fee_nano", chain);
    // nobody there
    refuse!(NoRoute, "receiver_key", receiver_key: public(9), chain: vec![]);
    refuse!(NoRoute, "chain[0].node_key", receiver_key: public(9), chain: vec![hop(public(9))]);
    refuse!(NoRoute, "chain[0].node_key", chain: world.chain(&[(2, 0)])); // no channel of ours
    // the same for a virtual channel that stays open: the fields have other names
    let good = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: good.receiver_key.clone(),
        coin: None,
        capacity_nano: TON.to_string(),
        ttl_seconds: 100_000,
        chain: good.chain.clone(),
        max_fee_nano: None,
    };
    for (code, amount) in
        [(InvalidAmount, "01".into()), (AmountOutOfRange, "0".into()), (InsufficientBalance, (11 * TON).to_string())]
    {
        let request = OpenVirtualRequest { capacity_nano: amount, ..good.clone() };
        still.refused(api.open_virtual(request).await, code, "capacity_nano").await?;
    }
    let request = OpenVirtualRequest { ttl_seconds: 10, ..good };
    still.refused(api.open_virtual(request).await, InvalidTtl, "ttl_seconds").await?;
    // and what is good is still done
    let paid = api.send_transfer(world.send(TON / 10, uuid())).await?.into_inner();
    assert_eq!(paid.status(), TransferStatus::Paid, "{paid:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_not_opened_topped_up_or_closed_against_the_rules() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    let bc = world.open(1, 2, 10 * TON).await?;
    let mut api = world.api(0);
    let held = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: TON.to_string(),
        ttl_seconds: 0,
        chain: world.chain(&[(1, 10_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    api.open_virtual(held).await?;
    let mut still = Still::new(world).await?;
    let open = |peer: &[u8], amount: &str| OpenChannelRequest {
        request_id: uuid(),
        peer_key: peer.to_vec(),
        coin: None,
        top_up_nano: amount.into(),
    };
    let own = still.world.nodes[0].key;
    still.refused(api.open_channel(open(&[1; 31], "1")).await, InvalidKey, "peer_key").await?;
    still.refused(api.open_channel(open(&own, "1")).await, InvalidKey, "peer_key").await?;
    still.refused(api.open_channel(open(&public(9), "1")).await, PeerUnreachable, "peer_key").await?;
    still.refused(api.open_channel(open(&public(9), "-1")).await, InvalidAmount, "top_up_nano").await?;
    let top_up =
        |address: &str, amount: &str| TopUpRequest { request_id: uuid(), address: address.into(), amount_nano: amount.into() };
    let close = |address: &str| CloseChannelRequest { request_id: uuid(), address: address.into(), force: false };
    for (address, code) in [
        ("", InvalidField),
        ("nowhere", InvalidField),
        (&ton::Address { workchain: -1, hash: ab }.to_friendly(true), InvalidField),
        (&friendly([7; 32]), ChannelUnknown),
        (&friendly(bc), ChannelUnknown), // a channel of others
    ] {
        still.refused(api.top_up(top_up(address, "1")).await, code, "address").await?;
        still.refused(api.close_channel(close(address)).await, code, "address").await?;
        let get = GetChannelRequest { address: address.into() };
        still.refused(api.get_channel(get).await, code, "address").await?;
    }
    still.refused(api.top_up(top_up(&friendly(ab), "0")).await, AmountOutOfRange, "amount_nano").await?;
    still.refused(api.close_channel(close(&friendly(ab))).await, ConditionalsOpen, "address").await?;
    let list = ListChannelsRequest { page_size: 1001, ..Default::default() };
    still.refused(api.list_channels(list).await, InvalidField, "page_size").await?;
    let list = ListVirtualsRequest { page_token: "zz".into(), ..Default::default() };
    still.refused(api.list_virtuals(list).await, InvalidPageToken, "page_token").await?;

    // A channel of one's own is closed: a second close, a top-up and a payment are refused, while it closes and when it is closed.
    let world = &still.world;
    let ac = world.open(0, 2, 10 * TON).await?;
    let first = close(&friendly(ac));
    api.close_channel(first.clone()).await?;
    world.wait_for_status(0, ac, ChannelStatus::Closing).await?;
    world.wait_for_status(2, ac, ChannelStatus::Closing).await?;
    let direct = |world: &World| SendTransferRequest { chain: world.chain(&[(2, 0)]), ..world.send(TON, uuid()) };
    for closed in [false, true] {
        if closed {
            for node in [0, 2] {
                let taken_out = |s: &mut contract::Storage| s.balance.withdrawn = contract::Pair { a: 10 * TON, b: 0 };
                still.world.tell(node, ac, 2, taken_out).await?;
                still.world.wait_for_status(node, ac, ChannelStatus::Closed).await?;
            }
        }
        still.settle().await?;
        let request = direct(&still.world);
        still.refused(api.close_channel(close(&friendly(ac))).await, ChannelNotActive, "address").await?;
        still.refused(api.top_up(top_up(&friendly(ac), "1")).await, ChannelNotActive, "address").await?;
        still.refused(api.send_transfer(request).await, NoRoute, "chain[0].node_key").await?;
        // The same command again is no second close.
        api.close_channel(first.clone()).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_whole_resolutions_of_open_virtual_channels_are_claimed_and_only_once() -> anyhow::Result<()> {
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
    let opened = a.open_virtual(open.clone()).await?.into_inner();
    let second = a.open_virtual(OpenVirtualRequest { request_id: uuid(), ..open }).await?.into_inner();
    let key = SigningKey::from_bytes(&opened.virtual_seed.clone().try_into().unwrap());
    wait_for("both at the receiver", LIMIT, async || {
        let listed = c.clone().list_virtuals(ListVirtualsRequest::default()).await?.into_inner().virtuals;
        let open = listed.iter().filter(|v| v.status() == VirtualStatus::Active).count();
        if open == 2 { Ok(()) } else { Err(Status::unavailable(format!("{open}"))) }
    })
    .await?;
    let mut still = Still::new(world).await?;
    let receiver = still.world.nodes[2].key;

    let sign = |signer: Signer, amount: &str, to: &[u8]| SignResolutionRequest {
        signer: Some(signer),
        amount_nano: amount.into(),
        receiver_key: to.to_vec(),
    };
    let ours = || Signer::VirtualKey(opened.virtual_key.clone());
    let above = (TON + 1).to_string();
    for (request, code, field) in [
        (sign(ours(), "-1", &receiver), InvalidAmount, "amount_nano"),
        (sign(ours(), &above, &receiver), ResolutionAboveCapacity, "amount_nano"),
        (sign(ours(), "1", &[1; 31]), InvalidKey, "receiver_key"),
        (sign(Signer::VirtualKey(vec![1; 31]), "1", &receiver), InvalidKey, "virtual_key"),
        (sign(Signer::VirtualKey(public(9)), "1", &receiver), VirtualUnknown, "virtual_key"),
        (sign(Signer::VirtualSeed(vec![1; 31]), "1", &receiver), InvalidKey, "virtual_seed"),
        (SignResolutionRequest { signer: None, ..sign(ours(), "1", &receiver) }, InvalidField, "signer"),
    ] {
        still.refused(a.sign_resolution(request).await, code, field).await?;
    }

    let claim = |text: String| CloseVirtualRequest { request_id: uuid(), encrypted_state: text };
    let seal = |name: &SigningKey, signer: &SigningKey, amount: u128, to: &[u8; 32]| {
        let secret = shared_secret(name, to).unwrap();
        STANDARD.encode(seal_state(&name.verifying_key().to_bytes(), &Resolution::sign(signer, amount), &secret))
    };
    let good = STANDARD.decode(seal(&key, &key, TON, &receiver))?;
    // Every byte of it matters.
    for place in (0..good.len()).step_by(11) {
        let mut bytes = good.clone();
        bytes[place] ^= 0x10;
        still.refused(c.close_virtual(claim(STANDARD.encode(bytes))).await, ResolutionInvalid, "encrypted_state").await?;
    }
    for text in [
        String::new(),
        "no base64!".into(),
        STANDARD.encode(&good[..40]),
        STANDARD.encode(&good[..good.len() - 1]),
        STANDARD.encode([good.clone(), vec![0; 5_000]].concat()),
        seal(&key, &key_of(9), TON, &receiver),                // signed by another key
        seal(&key, &key, TON, &public(8).try_into().unwrap()), // for another node
    ] {
        still.refused(c.close_virtual(claim(text)).await, ResolutionInvalid, "encrypted_state").await?;
    }
    let stranger = seal(&key_of(9), &key_of(9), TON, &receiver);
    still.refused(c.close_virtual(claim(stranger)).await, VirtualUnknown, "encrypted_state").await?;
    let above = seal(&key, &key, TON + 1, &receiver);
    still.refused(c.close_virtual(claim(above)).await, ResolutionAboveCapacity, "encrypted_state").await?;
    let unknown = GetVirtualRequest { virtual_key: public(9) };
    still.refused(a.get_virtual(unknown).await, VirtualUnknown, "virtual_key").await?;

    // Claimed once: not with another amount, not again.
    let first = claim(seal(&key, &key, TON / 2, &receiver));
    c.close_virtual(first.clone()).await?;
    // The other one is still promised.
    still.world.until_sides(&[(0, ab, (8_480_000_000, 510_000_000)), (2, bc, (500_000_000, 8_500_000_000))]).await?;
    still.settle().await?;
    for amount in [TON / 2, TON] {
        let again = claim(seal(&key, &key, amount, &receiver));
        still.refused(c.close_virtual(again).await, VirtualNotOpen, "encrypted_state").await?;
    }
    // The same command again gets its result.
    let repeated = c.close_virtual(first).await?.into_inner().r#virtual.unwrap();
    assert_eq!((repeated.status(), repeated.resolved_nano.as_str()), (VirtualStatus::Closed, "500000000"));

    // Too late. The receiver alone is ahead of time, so that nobody removes the condition first.
    still.world.set_time_ahead(2, 100_000);
    still.world.network.cut(still.world.nodes[1].key, receiver);
    still.world.replace_engine(2, "c-late", false).await?;
    tokio::time::sleep(Duration::from_millis(500)).await;
    still.settle().await?;
    let late = SigningKey::from_bytes(&second.virtual_seed.try_into().unwrap());
    let late = claim(seal(&late, &late, TON, &receiver));
    still.refused(still.world.api(2).close_virtual(late).await, VirtualExpired, "encrypted_state").await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_belongs_to_one_command() -> anyhow::Result<()> {
    let world = World::start(&["a", "b", "c"]).await?;
    let ab = world.open(0, 1, 10 * TON).await?;
    world.open(1, 2, 10 * TON).await?;
    let mut a = world.api(0);
    // Nearly all that there is: what the first one took is not there for its repetition.
    let dear = |id| SendTransferRequest { chain: world.chain(&[(1, 30_000_000), (2, 0)]), ..world.send(9 * TON / 2, id) };
    let sent = dear(uuid());
    let paid = a.send_transfer(sent.clone()).await?.into_inner();
    assert_eq!(paid.status(), TransferStatus::Paid, "{paid:?}");
    assert_eq!(a.send_transfer(dear(uuid())).await?.into_inner().status(), TransferStatus::Paid);
    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: sent.receiver_key.clone(),
        coin: None,
        capacity_nano: (TON / 10).to_string(),
        ttl_seconds: 0,
        chain: sent.chain.clone(),
        max_fee_nano: None,
    };
    let opened = a.open_virtual(open.clone()).await?.into_inner();
    let topped = TopUpRequest { request_id: uuid(), address: friendly(ab), amount_nano: "5".into() };
    a.top_up(topped.clone()).await?;
    let closed = CloseChannelRequest { request_id: uuid(), address: friendly(ab), force: true };
    let still = Still::new(world).await?;

    let again = a.send_transfer(sent.clone()).await?.into_inner();
    assert_eq!((again.status(), &again.virtual_key), (TransferStatus::Paid, &paid.virtual_key));
    let again = a.open_virtual(open.clone()).await?.into_inner();
    assert_eq!((&again.virtual_key, again.virtual_seed.len()), (&opened.virtual_key, 0), "the seed is given once");
    a.top_up(topped.clone()).await?;

    let (id, node) = ("request_id", &still.world.nodes[1]);
    let reused = SendTransferRequest { amount_nano: "1".into(), ..sent.clone() };
    still.refused(a.send_transfer(reused).await, RequestIdReused, id).await?;
    let reused = SendTransferRequest { receiver_key: node.key.to_vec(), chain: vec![], ..sent.clone() };
    still.refused(a.send_transfer(reused).await, RequestIdReused, id).await?;
    let reused = OpenVirtualRequest { capacity_nano: "1".into(), ..open.clone() };
    still.refused(a.open_virtual(reused).await, RequestIdReused, id).await?;
    let reused = OpenVirtualRequest { request_id: sent.request_id.to_uppercase(), ..open.clone() };
    still.refused(a.open_virtual(reused).await, RequestIdReused, id).await?;
    let reused = TopUpRequest { amount_nano: "6".into(), ..topped.clone() };
    still.refused(a.top_up(reused).await, RequestIdReused, id).await?;
    let reused = OpenChannelRequest {
        request_id: topped.request_id.clone(),
        peer_key: node.key.to_vec(),
        coin: None,
        top_up_nano: "5".into(),
    };
    still.refused(a.open_channel(reused).await, RequestIdReused, id).await?;
    let reused = CloseChannelRequest { request_id: sent.request_id.clone(), ..closed };
    still.refused(a.close_channel(reused).await, RequestIdReused, id).await?;
    Ok(())
}
