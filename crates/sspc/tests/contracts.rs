//! Every way to end a channel, on both contracts, in the native coin and in a token; exact balances.
#![cfg(feature = "revm")]

use alloy_primitives::{Address, Bytes, U256};
use sspc::{
    Amount, Balances, Chain as _, Envelope, Errand, Error, Goal, Message, Party, Phase, Prepared, Refusal, Request, Risk, Round,
    Set, Simulation, Stage, Urgency, Variant,
};

const PERIOD: u32 = 3_600;
const DEPOSITS: (u128, u128) = (10_000, 8_000);
const FUNDS: u128 = 1_000_000;

fn sets() -> [Set; 4] {
    [(Variant::Word, false), (Variant::Word, true), (Variant::Compact, false), (Variant::Compact, true)]
        .map(|(variant, token)| Set::new(variant, token))
}

/// What each has beyond what it began with; the contract is empty.
async fn check(stage: &Stage, a: i128, b: i128) {
    assert_eq!(stage.locked().await.unwrap(), 0, "left in the contract");
    assert_eq!(stage.funds(Party::A).await.unwrap(), FUNDS.checked_add_signed(a).unwrap(), "a");
    assert_eq!(stage.funds(Party::B).await.unwrap(), FUNDS.checked_add_signed(b).unwrap(), "b");
}

fn amount(units: u128) -> Amount {
    Amount::new(units)
}

fn balances(a: u128) -> Balances {
    Balances { a: amount(a), b: amount(DEPOSITS.0 + DEPOSITS.1 - a) }
}

#[tokio::test]
async fn a_cooperative_close_pays_both() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::A, 300).await.unwrap();
        stage.pay(Party::B, 50).await.unwrap();
        stage.pay(Party::A, 7).await.unwrap();
        let close = stage.a.create_coop_close().await.unwrap();
        assert!(matches!(stage.a.send_money(amount(1)).await, Err(Error::Refused(Refusal::Phase("close-signed")))));
        assert_eq!(stage.b.coop_close(Some(close)).await.unwrap(), balances(DEPOSITS.0 - 257));
        stage.a.watch().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Closed(balances(DEPOSITS.0 - 257)));
        check(&stage, -257, 257).await;
    }
}

#[tokio::test]
async fn an_unaccepted_proposal_is_taken_back() {
    for set in sets() {
        let mut stage = Stage::new(set).await.unwrap();
        stage.a.open().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Proposed);
        stage.a.cancel().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Cancelled);
        stage.exchange().await.unwrap();
        stage.b.watch().await.unwrap();
        assert!(stage.b.accept().await.is_err());
        check(&stage, 0, 0).await;
    }
}

#[tokio::test]
async fn who_was_never_paid_leaves_alone_with_the_opening() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        let deadline = stage.a.start_force_close().await.unwrap();
        assert!(matches!(stage.a.finish_force_close().await, Err(Error::Refused(Refusal::TooEarly(at))) if at == deadline));
        assert!(stage.a.send_money(amount(1)).await.is_err());
        stage.b.watch().await.unwrap();
        assert!(matches!(stage.b.dispute_force_close().await, Err(Error::Refused(Refusal::NothingNewer(Round::OPENING)))));
        stage.chain.pass(u64::from(PERIOD) + 1);
        stage.b.watch().await.unwrap();
        stage.b.watch().await.unwrap();
        assert_eq!(stage.a.finish_force_close().await.unwrap(), balances(DEPOSITS.0), "finished by b: no error");
        check(&stage, 0, 0).await;
    }
}

#[tokio::test]
async fn a_stale_close_is_answered_by_the_guard() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::B, 10).await.unwrap();
        stage.pay(Party::A, 500).await.unwrap();
        // b still has a's old state only in its head: it closes with the opening, as a liar would.
        let mut liar = stage.liar(Party::B).await.unwrap();
        liar.start_force_close().await.unwrap();
        stage.a.watch().await.unwrap();
        assert!(stage.a.take_alarms().iter().any(|risk| matches!(risk, Risk::StaleClose { .. })));
        stage.a.watch().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Closed(balances(DEPOSITS.0 + 10)));
        check(&stage, 10, -10).await;
    }
}

#[tokio::test]
async fn an_answer_does_not_wait_until_something_else_is_deep() {
    for set in sets() {
        let mut stage = Stage::new(Set { confirmations: 5, ..set }).await.unwrap();
        let chain = stage.chain.clone();
        with_blocks(chain.clone(), stage.a.open()).await.unwrap();
        stage.exchange().await.unwrap();
        with_blocks(chain.clone(), stage.b.accept()).await.unwrap();
        stage.a.watch().await.unwrap();
        stage.pay(Party::B, 10).await.unwrap();
        // a leaves, and b is faster, with an old state: a's own transaction comes to nothing.
        chain.price(1, 50);
        assert!(!stage.a.advance(&mut Errand::new(Goal::StartForceClose)).await.unwrap());
        chain.price(60, 50);
        assert!(!stage.liar(Party::B).await.unwrap().advance(&mut Errand::new(Goal::StartForceClose)).await.unwrap());
        chain.price(1, 1);
        // No block comes any more: the answer is in one all the same.
        stage.a.watch().await.unwrap();
        assert_eq!(stage.locked().await.unwrap(), 0, "answered");
        check(&stage, 10, -10).await;
    }
}

#[tokio::test]
async fn a_channel_that_was_open_for_long_ends_on_a_node_that_looks_through_few_blocks() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::A, 300).await.unwrap();
        (0..4_500).for_each(|_| stage.chain.pass(12));
        let close = stage.a.create_coop_close().await.unwrap();
        stage.b.coop_close(Some(close)).await.unwrap();
        (0..2_500).for_each(|_| stage.chain.pass(12));
        stage.a.watch().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Closed(balances(DEPOSITS.0 - 300)));

        // A proposal that was taken back long after it was made.
        let mut stage = Stage::new(set).await.unwrap();
        stage.a.open().await.unwrap();
        stage.exchange().await.unwrap();
        stage.b.watch().await.unwrap();
        (0..4_500).for_each(|_| stage.chain.pass(12));
        stage.a.cancel().await.unwrap();
        stage.b.watch().await.unwrap();
        assert_eq!([stage.a.phase(), stage.b.phase()], [&Phase::Cancelled; 2]);
    }
}

#[tokio::test]
async fn what_the_contract_could_not_pay_is_pulled_once() {
    for set in sets().into_iter().filter(|set| !set.token) {
        let mut stage = Stage::open(set).await.unwrap();
        let close = stage.b.create_coop_close().await.unwrap();
        let (owner, to) = (stage.b.metadata().params.b, sspc::Address::repeat_byte(0x42));
        stage.chain.set_code(owner, refuses_after(0).into());
        stage.a.coop_close(Some(close)).await.unwrap();
        stage.chain.set_code(owner, Bytes::new());
        assert_eq!(stage.locked().await.unwrap(), DEPOSITS.1, "b could not be paid");
        // The process ends before the withdrawal is sent; it is kept.
        stage.chain.lose(true);
        assert!(!stage.b.advance(&mut Errand::new(Goal::Withdraw(to))).await.unwrap());
        stage.b = stage.again(Party::B).await.unwrap();
        stage.chain.lose(false);
        assert!(stage.b.record().pending.is_some());
        stage.b.withdraw(to).await.unwrap();
        assert_eq!(stage.b.withdraw(to).await.unwrap(), U256::ZERO, "nothing is owed any more");
        let chain = stage.tools(Party::A).chain;
        assert_eq!(chain.balance(to).await.unwrap(), U256::from(DEPOSITS.1));
        assert_eq!(stage.locked().await.unwrap(), 0);
    }
}

#[tokio::test]
async fn an_allowance_that_is_too_small_is_taken_back_first() {
    for set in sets().into_iter().filter(|set| set.token) {
        let mut stage = Stage::new(set).await.unwrap();
        let about = stage.a.metadata();
        let chain = stage.tools(Party::A).chain;
        let call = [&alloy_primitives::keccak256("approve(address,uint256)")[..4], &[0; 12], about.place.contract.as_slice()];
        let data = [&call.concat()[..], &U256::from(5).to_be_bytes::<32>()].concat().into();
        let to = Some(about.params.token);
        let request = Request { to, value: U256::ZERO, data, spare_gas: 0, urgency: Urgency::Calm };
        let small = chain.prepare(request).await.unwrap();
        chain.broadcast(&small).await.unwrap();
        let before = chain.next_number(stage.chain.block()).await.unwrap();
        stage.a.open().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Proposed);
        // Down to nothing, up to the deposit, and the opening.
        assert_eq!(chain.next_number(stage.chain.block()).await.unwrap() - before, 3);
    }
}

#[tokio::test]
async fn the_alarm_is_raised_before_an_answer_that_fails() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    stage.pay(Party::B, 10).await.unwrap();
    stage.liar(Party::B).await.unwrap().start_force_close().await.unwrap();
    // No answer can be made: it may cost nothing.
    let mut tools = stage.tools(Party::A);
    tools.settings.most_fees = Amount::ZERO;
    let key = stage.a.metadata().key;
    let mut channel = sspc::Channel::new_channel(tools, sspc::NewChannel::Load(key)).await.unwrap();
    assert!(channel.watch().await.is_err());
    assert!(matches!(channel.take_alarms().as_slice(), [Risk::StaleClose { .. }]));
    stage.chain.pass(u64::from(PERIOD) - 60);
    assert!(channel.watch().await.is_err());
    assert!(matches!(channel.take_alarms().as_slice(), [Risk::DeadlineNear { .. }]));
}

/// Takes the native coin up to block `until`, afterwards refuses it.
fn refuses_after(until: u64) -> Vec<u8> {
    let until = u32::try_from(until).unwrap().to_be_bytes();
    // NUMBER, PUSH4 until, LT, PUSH1 11, JUMPI, STOP, JUMPDEST, PUSH1 0, PUSH1 0, REVERT
    [&[0x43, 0x63][..], &until, &[0x10, 0x60, 0x0b, 0x57, 0x00, 0x5b, 0x60, 0x00, 0x60, 0x00, 0xfd]].concat()
}

#[tokio::test]
async fn a_peer_whose_account_refuses_money_only_in_earnest_is_answered() {
    for set in sets().into_iter().filter(|set| !set.token) {
        // While the transaction is estimated the peer's account takes its payout, in the block that has it not: the contract then
        // needs far more gas than was estimated.
        let refuse_from_now_on = |stage: &Stage| {
            let (chain, liar) = (&stage.chain, stage.b.metadata().params.b);
            chain.set_code(liar, refuses_after(chain.block()).into());
        };
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::B, 10).await.unwrap();
        stage.liar(Party::B).await.unwrap().start_force_close().await.unwrap();
        refuse_from_now_on(&stage);
        assert_eq!(stage.a.dispute_force_close().await.unwrap(), balances(DEPOSITS.0 + 10), "dispute");

        let mut stage = Stage::open(set).await.unwrap();
        stage.b.start_force_close().await.unwrap();
        stage.chain.pass(u64::from(PERIOD) + 1);
        refuse_from_now_on(&stage);
        assert_eq!(stage.a.finish_force_close().await.unwrap(), balances(DEPOSITS.0), "finish");

        let mut stage = Stage::open(set).await.unwrap();
        let close = stage.b.create_coop_close().await.unwrap();
        refuse_from_now_on(&stage);
        assert_eq!(stage.a.coop_close(Some(close)).await.unwrap(), balances(DEPOSITS.0), "cooperative close");
    }
}

#[tokio::test]
async fn a_forced_close_with_the_newest_state_ends_after_the_deadline() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::A, 500).await.unwrap();
        stage.pay(Party::B, 20).await.unwrap();
        stage.b.start_force_close().await.unwrap();
        stage.a.watch().await.unwrap();
        // b closed with round 1; a holds round 2, in which b paid.
        stage.a.watch().await.unwrap();
        stage.b.watch().await.unwrap();
        assert_eq!(*stage.b.phase(), Phase::Closed(balances(DEPOSITS.0 - 480)));
        check(&stage, -480, 480).await;

        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::B, 20).await.unwrap();
        stage.pay(Party::A, 500).await.unwrap();
        stage.b.start_force_close().await.unwrap();
        stage.a.watch().await.unwrap();
        stage.chain.pass(u64::from(PERIOD) + 1);
        assert_eq!(stage.b.finish_force_close().await.unwrap(), balances(DEPOSITS.0 - 480));
        check(&stage, -480, 480).await;
    }
}

#[tokio::test]
async fn a_close_is_submitted_during_a_forced_close() {
    for set in sets() {
        let mut stage = Stage::open(set).await.unwrap();
        stage.pay(Party::A, 1).await.unwrap();
        let close = stage.a.create_coop_close().await.unwrap();
        // Said again, as often as a guard likes: kept once.
        stage.exchange().await.unwrap();
        let kept = stage.b.record().version;
        assert_eq!(stage.b.record().offer, Some(close));
        stage.a.greet().await.unwrap();
        stage.exchange().await.unwrap();
        assert_eq!(stage.b.record().version, kept);
        stage.b.start_force_close().await.unwrap();
        assert_eq!(stage.b.coop_close(Some(close)).await.unwrap(), balances(DEPOSITS.0 - 1));
        check(&stage, -1, 1).await;
    }
}

#[tokio::test]
async fn payments_that_cross_both_arrive() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    stage.a.send_money(amount(11)).await.unwrap();
    stage.b.send_money(amount(40)).await.unwrap();
    stage.a.send_money(amount(2)).await.unwrap();
    stage.exchange().await.unwrap();
    for channel in [&stage.a, &stage.b] {
        assert_eq!(channel.current_state().balances, balances(DEPOSITS.0 + 27));
        assert_eq!(channel.record().paid, channel.record().acknowledged);
    }
}

#[tokio::test]
async fn a_forged_or_foreign_message_changes_nothing() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    let signed = stage.a.send_money(amount(5)).await.unwrap();
    let record = stage.b.record().clone();
    let mut forged = signed;
    forged.state.balances = balances(0);
    assert!(matches!(stage.b.received_money(forged, Amount::ZERO).await, Err(Error::Forged)));
    let key = stage.b.metadata().key;
    let ack = Message::Ack { counted: amount(1), round: Round::OPENING };
    let foreign = Envelope { channel: [7; 32].into(), message: ack };
    assert!(matches!(stage.b.handle(&[foreign]).await, Err(Error::NotOurs)));
    assert_eq!(*stage.b.record(), record);
    // What is known is not verified again: nobody can keep a party busy with it. It is acknowledged.
    let known = Message::Pay { signed: forged, counted: Amount::ZERO };
    let letter = |message| Envelope { channel: key, message };
    stage.b.take_outbox();
    let mut paid = Stage::open(sets()[0]).await.unwrap();
    paid.pay(Party::A, 5).await.unwrap();
    let key_of_paid = paid.b.metadata().key;
    paid.b.handle(&[Envelope { channel: key_of_paid, ..letter(known) }]).await.unwrap();
    let answer = Message::Ack { counted: amount(5), round: Round::new(1).unwrap() };
    assert_eq!(paid.b.take_outbox(), [Envelope { channel: key_of_paid, message: answer }]);
    // The good part of a burst counts, the rest does not.
    let burst = [Message::Pay { signed, counted: Amount::ZERO }, Message::Pay { signed: forged, counted: Amount::ZERO }];
    let burst = burst.map(|message| Envelope { channel: key, message });
    assert!(matches!(stage.b.handle(&burst).await, Err(Error::Forged)));
    assert_eq!(stage.b.record().received, amount(5));
}

#[tokio::test]
async fn a_channel_without_a_deposit_of_b_needs_no_acceptance() {
    for set in sets() {
        let mut stage = Stage::new(Set { deposits: (1_000, 0), ..set }).await.unwrap();
        stage.a.open().await.unwrap();
        assert_eq!(*stage.a.phase(), Phase::Open);
        stage.exchange().await.unwrap();
        stage.b.watch().await.unwrap();
        stage.pay(Party::A, 400).await.unwrap();
        stage.b.start_force_close().await.unwrap();
        stage.chain.pass(u64::from(PERIOD) + 1);
        stage.a.watch().await.unwrap();
        stage.a.watch().await.unwrap();
        check(&stage, -400, 400).await;
    }
}

/// Nothing is made again in the place of a transaction whose number another one has taken, before that is certain.
#[tokio::test]
async fn a_transaction_is_replaced_when_another_one_is_deep_enough() {
    let (simulation, account) = (Simulation::new(1), Address::repeat_byte(7));
    let chain = simulation.account(account, U256::from(1_000_000));
    let pay = async |value: u64| {
        let request = Request {
            to: Some(Address::repeat_byte(9)),
            value: U256::from(value),
            data: Bytes::new(),
            spare_gas: 0,
            urgency: Urgency::Calm,
        };
        chain.prepare(request).await.unwrap()
    };
    let (first, other) = (pay(1).await, pay(2).await);
    let replaced = async |transaction: &Prepared, depth: u64| {
        let number = chain.number(transaction).unwrap();
        chain.is_replaced(number, &[transaction.hash], depth).await.unwrap()
    };
    assert!(!replaced(&first, 0).await);
    chain.broadcast(&other).await.unwrap();
    assert!(replaced(&first, 0).await);
    for _ in 0..3 {
        assert!(!replaced(&first, 3).await);
        simulation.pass(1);
    }
    assert!(replaced(&first, 3).await);
    assert!(!replaced(&other, 0).await);
}

#[tokio::test]
async fn a_request_is_paid_once_also_after_a_restart() {
    let mut stage = Stage::open(sets()[0]).await.unwrap();
    let id = |number: u16| {
        let mut id = sspc::RequestId::default();
        id[..2].copy_from_slice(&number.to_be_bytes());
        id
    };
    assert!(stage.a.send_money_once(id(1), amount(5)).await.unwrap());
    assert!(!stage.a.send_money_once(id(1), amount(5)).await.unwrap(), "paid already");
    assert!(matches!(stage.a.send_money_once(id(1), amount(6)).await, Err(Error::RequestUsed(paid)) if paid == amount(5)));
    assert!(matches!(stage.a.send_money_once(id(2), amount(DEPOSITS.0)).await, Err(Error::Refused(Refusal::Funds { .. }))));
    assert!(stage.a.send_money_once(id(2), amount(3)).await.unwrap(), "a refused payment was not made");
    // What is kept is all that is left of the process.
    stage.a = stage.again(Party::A).await.unwrap();
    for (request, paid) in [(1, 5), (2, 3)] {
        assert!(!stage.a.send_money_once(id(request), amount(paid)).await.unwrap());
    }
    assert_eq!(stage.a.record().paid, amount(8));
    // Bounded: the oldest make room, and the record can be read.
    for request in 3..=sspc::MAX_REQUESTS as u16 + 1 {
        assert!(stage.a.send_money_once(id(request), amount(1)).await.unwrap());
    }
    let record = stage.a.record();
    assert_eq!((record.paid_for(&id(1)), record.paid_for(&id(2))), (None, Some(amount(3))));
    assert_eq!(record.requests.len(), sspc::MAX_REQUESTS);
    assert_eq!(&sspc::Record::decode(&record.encode()).unwrap(), record);
    assert!(record.encode().len() + 4_096 < sspc::MAX_RECORD_BYTES, "with room for a transaction");
}

/// Does something while blocks come.
async fn with_blocks<T>(chain: sspc::Simulation, work: impl Future<Output = T>) -> T {
    let blocks = async {
        loop {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            chain.pass(1);
        }
    };
    tokio::select! {
        done = work => done,
        () = blocks => unreachable!("blocks come for ever"),
    }
}

#[tokio::test]
async fn what_is_not_deep_enough_is_not_relied_on() {
    for set in sets() {
        let mut stage = Stage::new(Set { confirmations: 3, ..set }).await.unwrap();
        let chain = stage.chain.clone();
        with_blocks(chain.clone(), stage.a.open()).await.unwrap();
        stage.exchange().await.unwrap();
        with_blocks(chain.clone(), stage.b.accept()).await.unwrap();
        assert_eq!(*stage.b.phase(), Phase::Open, "returned when it was deep enough");
        stage.a.watch().await.unwrap();
        stage.pay(Party::A, 5).await.unwrap();
        // A forced close counts at once, since time runs; its end counts when it is deep enough.
        let mut liar = stage.liar(Party::A).await.unwrap();
        with_blocks(chain.clone(), liar.start_force_close()).await.unwrap();
        stage.b.watch().await.unwrap();
        stage.b.watch().await.unwrap();
        assert!(matches!(stage.b.phase(), Phase::Closing(_)), "answered, not deep enough");
        (0..3).for_each(|_| chain.pass(1));
        stage.b.watch().await.unwrap();
        assert_eq!(*stage.b.phase(), Phase::Closed(balances(DEPOSITS.0 - 5)));
        let nobody = alloy_primitives::Address::ZERO;
        assert_eq!(stage.b.withdraw(nobody).await.unwrap(), alloy_primitives::U256::ZERO, "nothing is owed");
        check(&stage, -5, 5).await;
    }
}

#[tokio::test]
async fn a_place_without_our_contract_is_refused() {
    let stage = Stage::new(sets()[0]).await.unwrap();
    let about = stage.a.metadata();
    let key = sspc::LocalKey::from_bytes(&[11; 32]).unwrap();
    let tools = sspc::Tools {
        store: std::sync::Arc::new(sspc::MemoryStore::default()),
        chain: std::sync::Arc::new(stage.chain.account(key.address(), alloy_primitives::U256::from(FUNDS))),
        signer: std::sync::Arc::new(key),
        settings: sspc::Settings::default(),
    };
    let nobody = sspc::Place { contract: sspc::Address::repeat_byte(0x77), ..about.place };
    let other_chain = sspc::Place { chain_id: 1, ..about.place };
    for place in [nobody, other_chain] {
        let made = sspc::Channel::new_channel(tools.clone(), sspc::NewChannel::Propose { place, params: about.params }).await;
        assert!(matches!(made, Err(Error::Chain(sspc::ChainError::OtherTerms("contract")) | Error::OtherChain { .. })));
    }
}
