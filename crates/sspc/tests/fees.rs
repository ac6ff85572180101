//! Transactions that do not get into a block are raised, within limits, across restarts; what waits behind them waits no longer than it may.
#![cfg(feature = "revm")]

use sspc::{
    Amount, Balances, ChainError, Channel, Errand, Error, Goal, NewChannel, Params, Party, Phase, Risk, Set, Stage, TooDear,
    Variant,
};

const DEPOSITS: (u128, u128) = (10_000, 8_000);
const GWEI: u128 = 1_000_000_000;

fn sets() -> [Set; 2] {
    [Variant::Word, Variant::Compact].map(|variant| Set::new(variant, false))
}

/// One more channel of a, with the same peer.
async fn second(stage: &Stage) -> Channel {
    let about = stage.a.metadata();
    let params = Params { salt: 2, ..about.params };
    Channel::new_channel(stage.tools(Party::A), NewChannel::Propose { place: about.place, params }).await.unwrap()
}

fn offers(stage: &Stage, party: Party) -> Vec<u128> {
    let account = stage.a.metadata().params.address(party);
    stage.chain.waiting().into_iter().filter(|(of, ..)| *of == account).map(|(_, _, offer)| offer).collect()
}

/// b has closed with an old state; in front of a's answer waits an opening of another channel that offers too little, and prices rise.
async fn answered_in_time(set: Set, restart: bool) {
    let mut stage = Stage::open(set).await.unwrap();
    let mut second = second(&stage).await;
    stage.pay(Party::B, 10).await.unwrap();
    stage.chain.price(1, 50);
    assert!(!second.advance(&mut Errand::new(Goal::Open)).await.unwrap());
    stage.chain.price(60, 50);
    let deadline = stage.liar(Party::B).await.unwrap().start_force_close().await.unwrap();
    // Blocks ask far more than the node says.
    stage.chain.price(1, 1_000);
    assert_eq!(offers(&stage, Party::A), [1]);
    for _ in 0..80 {
        stage.a.watch().await.unwrap();
        second.watch().await.unwrap();
        if restart {
            let key = second.metadata().key;
            stage.a = stage.again(Party::A).await.unwrap();
            second = Channel::new_channel(stage.tools(Party::A), NewChannel::Load(key)).await.unwrap();
        }
        stage.chain.pass(15);
    }
    let now = stage.tools(Party::A).chain.head().await.unwrap().time;
    assert!(now < deadline, "the test itself is too long");
    let balances = Balances { a: Amount::new(DEPOSITS.0 + 10), b: Amount::new(DEPOSITS.1 - 10) };
    assert_eq!(*stage.a.phase(), Phase::Closed(balances));
    assert_eq!(*second.phase(), Phase::Proposed, "the opening was raised, not given up");
    assert_eq!(stage.locked().await.unwrap(), DEPOSITS.0, "one opening");
}

#[tokio::test]
async fn what_waits_in_front_of_an_answer_to_a_stale_close_is_raised_with_it() {
    for set in sets() {
        answered_in_time(set, false).await;
    }
}

#[tokio::test]
async fn a_restart_goes_on_raising() {
    for set in sets() {
        answered_in_time(set, true).await;
    }
}

#[tokio::test]
async fn what_is_not_urgent_is_raised_slowly() {
    let mut stage = Stage::new(sets()[0]).await.unwrap();
    stage.chain.price(100, 1_000);
    assert!(!stage.a.advance(&mut Errand::new(Goal::Open)).await.unwrap());
    for _ in 0..29 {
        stage.chain.pass(10);
        stage.a.watch().await.unwrap();
    }
    assert_eq!(offers(&stage, Party::A), [100], "five minutes are not over");
    stage.chain.pass(10);
    stage.a.watch().await.unwrap();
    assert_eq!(offers(&stage, Party::A), [121]);
    stage.chain.price(400, 1_000);
    stage.chain.pass(300);
    stage.a.watch().await.unwrap();
    assert_eq!(offers(&stage, Party::A), [400], "not below the market");
}

#[tokio::test]
async fn an_offer_that_was_raised_may_still_be_the_one_in_a_block() {
    for set in sets() {
        let mut stage = Stage::new(set).await.unwrap();
        stage.chain.price(1, 50);
        let mut errand = Errand::new(Goal::Open);
        assert!(!stage.a.advance(&mut errand).await.unwrap());
        // It is raised and kept; the process ends before it is sent. Then prices fall.
        stage.chain.lose(true);
        stage.chain.pass(400);
        stage.a.watch().await.unwrap();
        let pending = stage.a.record().pending.clone().unwrap();
        assert_eq!(pending.earlier.len(), 1);
        stage.chain.price(1, 1);
        stage.a = stage.again(Party::A).await.unwrap();
        stage.chain.lose(false);
        assert_eq!(stage.a.record().pending.as_ref(), Some(&pending), "kept");
        assert!(stage.a.advance(&mut errand).await.unwrap());
        assert_eq!(*stage.a.phase(), Phase::Proposed);
        assert!(stage.a.metadata().id.is_some(), "the name that the compact contract gave");
        assert_eq!(stage.locked().await.unwrap(), DEPOSITS.0, "one deposit");
    }
}

#[tokio::test]
async fn what_a_node_has_lost_is_sent_again_after_a_restart() {
    let token = Set { token: true, ..sets()[0] };
    for set in sets().into_iter().chain([token]) {
        let mut stage = Stage::new(set).await.unwrap();
        stage.chain.lose(true);
        assert!(!stage.a.advance(&mut Errand::new(Goal::Open)).await.unwrap());
        stage.a = stage.again(Party::A).await.unwrap();
        stage.chain.lose(false);
        stage.a.open().await.unwrap();
        assert_eq!(stage.locked().await.unwrap(), DEPOSITS.0);
    }
}

fn too_dear<T: std::fmt::Debug>(outcome: Result<T, Error>) -> TooDear {
    match outcome {
        Err(Error::Chain(ChainError::TooDear(limit))) => limit,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_node_cannot_make_us_offer_more_than_the_limits() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    stage.pay(Party::B, 10).await.unwrap();
    stage.liar(Party::B).await.unwrap().start_force_close().await.unwrap();
    // A lie about the market: what can wait is not sent, what cannot offers the limit and no more.
    stage.chain.price(u128::MAX, u128::MAX);
    let mut second = second(&stage).await;
    let asked = too_dear(second.open().await);
    assert_eq!(asked, TooDear::PerGas { asked: u128::MAX, most: 200 * GWEI });
    assert_eq!(second.record().pending, None, "nothing was signed");
    stage.a.watch().await.unwrap();
    assert_eq!(offers(&stage, Party::A), [1_000 * GWEI]);
    stage.a.take_alarms();
    stage.chain.pass(60);
    stage.a.watch().await.unwrap();
    assert_eq!(offers(&stage, Party::A), [1_000 * GWEI]);
    let alarms = stage.a.take_alarms();
    assert!(alarms.iter().any(|risk| matches!(risk, Risk::Waits(TooDear::PerGas { .. }))), "{alarms:?}");
}

#[tokio::test]
async fn all_transactions_of_a_channel_together_have_a_limit() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    let spent = stage.a.record().fees;
    assert!(!spent.is_zero());
    // Kept: a restart does not begin to count anew.
    let key = stage.a.metadata().key;
    let mut tools = stage.tools(Party::A);
    tools.settings.most_fees = spent.plus(Amount::new(1)).unwrap();
    let mut channel = Channel::new_channel(tools, NewChannel::Load(key)).await.unwrap();
    let TooDear::Total { asked, most } = too_dear(channel.start_force_close().await) else { panic!("another limit") };
    assert!(asked > most && most == spent.plus(Amount::new(1)).unwrap());
    assert_eq!(*channel.phase(), Phase::Open, "nothing was given up");

    // A raise counts what it adds.
    stage.chain.price(1, 50);
    assert!(!stage.a.advance(&mut Errand::new(Goal::StartForceClose)).await.unwrap());
    let record = stage.a.record().clone();
    stage.chain.pass(400);
    stage.a.watch().await.unwrap();
    let (old, new) = (record.pending.unwrap().transaction.cost, stage.a.record().pending.clone().unwrap().transaction.cost);
    assert!(new > old);
    assert_eq!(stage.a.record().fees, record.fees.plus(new.minus(old).unwrap()).unwrap());
}
