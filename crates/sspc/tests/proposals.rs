//! Proposals end with their time; nothing is lost when an opening lands late.
#![cfg(feature = "revm")]

use sspc::{Channel, Envelope, Errand, Error, Goal, Message, NewChannel, Party, Phase, Refusal, Set, Stage, Variant};

const DAY: u64 = 86_400;
const PERIOD: u32 = 3_600;
const DEPOSITS: (u128, u128) = (10_000, 8_000);
const FUNDS: u128 = 1_000_000;

fn sets() -> [Set; 2] {
    [Variant::Word, Variant::Compact].map(|variant| Set::new(variant, false))
}

#[tokio::test]
async fn a_proposal_that_nobody_opens_is_forgotten_by_both() {
    for set in sets() {
        let mut stage = Stage::new(set).await.unwrap();
        for party in [Party::A, Party::B] {
            let channel = if party == Party::A { &mut stage.a } else { &mut stage.b };
            assert!(!channel.forget().await.unwrap(), "its time is not over");
        }
        stage.chain.pass(DAY + 1);
        assert!(matches!(stage.a.open().await, Err(Error::Refused(Refusal::Expired(_)))));
        for party in [Party::A, Party::B] {
            let channel = if party == Party::A { &mut stage.a } else { &mut stage.b };
            channel.watch().await.unwrap();
            assert!(channel.forget().await.unwrap());
            assert!(matches!(channel.watch().await, Err(Error::Reload)));
            assert!(stage.tools(party).store.keys().await.unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn an_opening_that_lands_late_is_taken_back() {
    for set in sets() {
        let mut stage = Stage::new(set).await.unwrap();
        stage.chain.price(1, 50);
        assert!(!stage.a.advance(&mut Errand::new(Goal::Open)).await.unwrap());
        stage.chain.price(1, u128::MAX);
        stage.chain.pass(DAY + 1);
        stage.a.watch().await.unwrap();
        assert!(!stage.a.forget().await.unwrap(), "the deposit is on its way");
        assert!(stage.b.forget().await.unwrap());
        stage.a = stage.again(Party::A).await.unwrap();
        stage.chain.price(1, 1);
        for _ in 0..3 {
            stage.a.watch().await.unwrap();
        }
        assert_eq!(*stage.a.phase(), Phase::Cancelled, "by the guard alone");
        assert_eq!(stage.funds(Party::A).await.unwrap(), FUNDS);
        assert_eq!(stage.locked().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn without_a_deposit_of_b_a_late_opening_is_left_alone() {
    for set in sets() {
        let mut stage = Stage::new(Set { deposits: (DEPOSITS.0, 0), ..set }).await.unwrap();
        stage.chain.price(1, 50);
        assert!(!stage.a.advance(&mut Errand::new(Goal::Open)).await.unwrap());
        stage.chain.pass(DAY + 1);
        assert!(stage.b.forget().await.unwrap());
        stage.chain.price(1, 1);
        for _ in 0..2 {
            stage.a.watch().await.unwrap();
        }
        assert_eq!(*stage.a.phase(), Phase::Open);
        stage.a.start_force_close().await.unwrap();
        stage.chain.pass(u64::from(PERIOD) + 1);
        stage.a.finish_force_close().await.unwrap();
        assert_eq!(stage.funds(Party::A).await.unwrap(), FUNDS);
    }
}

#[tokio::test]
async fn a_deposit_that_was_signed_is_never_forgotten() {
    // The node loses the opening, then says that nothing is there and that another transaction has the number.
    let mut stage = Stage::new(sets()[0]).await.unwrap();
    stage.chain.lose(true);
    assert!(!stage.a.advance(&mut Errand::new(Goal::Open)).await.unwrap());
    stage.chain.lose(false);
    let chain = stage.tools(Party::A).chain;
    let other = sspc::Request {
        to: Some(sspc::Address::repeat_byte(9)),
        value: alloy_primitives::U256::ZERO,
        data: alloy_primitives::Bytes::new(),
        spare_gas: 0,
        urgency: sspc::Urgency::Calm,
    };
    let number = chain.number(&stage.a.record().pending.as_ref().unwrap().transaction).unwrap();
    chain.lane().leave(number);
    let other = chain.prepare(other).await.unwrap();
    chain.broadcast(&other).await.unwrap();
    stage.chain.pass(DAY + 1);
    stage.a.watch().await.unwrap();
    assert_eq!((stage.a.record().pending.clone(), *stage.a.phase()), (None, Phase::Draft));
    assert!(!stage.a.forget().await.unwrap());
    assert!(stage.b.forget().await.unwrap(), "b has signed nothing");
}

#[tokio::test]
async fn nothing_is_accepted_after_the_time() {
    let mut stage = Stage::new(sets()[0]).await.unwrap();
    stage.a.open().await.unwrap();
    stage.exchange().await.unwrap();
    stage.chain.pass(DAY + 1);
    assert!(matches!(stage.b.accept().await, Err(Error::Refused(Refusal::Expired(_)))));
    assert_eq!(stage.funds(Party::B).await.unwrap(), FUNDS);
    // An old proposal is no new one, and a peer does not choose how long ours is kept.
    let about = stage.a.metadata();
    let expires = stage.a.record().expires;
    let params = sspc::Params { salt: 5, ..about.params };
    let proposal = |expires| {
        let channel = sspc::channel_key(&about.place, &params);
        NewChannel::FromProposal(Envelope { channel, message: Message::Propose { place: about.place, params, expires } })
    };
    for old in [0, expires] {
        let made = Channel::new_channel(stage.tools(Party::B), proposal(old)).await;
        assert!(matches!(made, Err(Error::Expired(at)) if at == old));
    }
    let kept = Channel::new_channel(stage.tools(Party::B), proposal(u64::MAX)).await.unwrap();
    let now = stage.tools(Party::B).chain.head().await.unwrap().time;
    assert_eq!(kept.record().expires, now + DAY);
}
