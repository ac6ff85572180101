//! A node that lags behind the chain, and one that says anything at all: the first costs nothing but time, the second no more than the limits.
#![cfg(feature = "revm")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alloy_primitives::{Address, B256, Bytes, U256};
use proptest::prelude::*;
use sspc::{
    Amount, Chain, ChainError, Channel, Errand, Goal, Head, Lane, Log, NewChannel, Party, Phase, Prepared, Receipt, Request, Set,
    Stage, Tools, Urgency, Variant,
};

/// What the node says about the chain behind it.
enum Word {
    /// It is this many blocks behind.
    Lags(u64),
    /// Numbers drawn from this seed decide what it says.
    Lies(AtomicU64),
}

struct Node {
    inner: Arc<dyn Chain>,
    word: Word,
}

impl Node {
    /// A number below `below`; never the same order for two seeds.
    fn chance(&self, below: u64) -> u64 {
        let Word::Lies(state) = &self.word else { return 0 };
        let next = state.load(Ordering::Relaxed).wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.store(next, Ordering::Relaxed);
        (next >> 33) % below
    }

    fn lies(&self) -> bool {
        self.chance(3) == 1
    }

    /// The newest block that it knows.
    async fn known(&self) -> Result<u64, ChainError> {
        let behind = if let Word::Lags(behind) = self.word { behind } else { 0 };
        Ok(self.inner.head().await?.number.saturating_sub(behind))
    }
}

#[async_trait::async_trait]
impl Chain for Node {
    fn account(&self) -> Address {
        self.inner.account()
    }

    fn lane(&self) -> &Lane {
        self.inner.lane()
    }

    async fn chain_id(&self) -> Result<u64, ChainError> {
        self.inner.chain_id().await
    }

    async fn head(&self) -> Result<Head, ChainError> {
        let head = self.inner.head().await?;
        if self.lies() {
            // Of any size.
            let number = self.chance(u64::MAX) >> self.chance(64);
            return Ok(Head { number, time: self.chance(u64::MAX) >> self.chance(64) });
        }
        Ok(Head { number: self.known().await?, ..head })
    }

    async fn call(&self, to: Address, data: Bytes, block: u64) -> Result<Bytes, ChainError> {
        if self.lies() {
            // Words of a channel's record, or nonsense.
            let words = (0..self.chance(6)).flat_map(|_| U256::from(self.chance(7)).to_be_bytes::<32>());
            return Ok(words.collect());
        }
        self.inner.call(to, data, block).await
    }

    async fn logs(&self, address: Address, topics: &[Option<B256>], from: u64, to: u64) -> Result<Vec<Log>, ChainError> {
        if self.lies() {
            let data = vec![0xff; usize::try_from(self.chance(40)).unwrap()].into();
            return Ok(vec![Log { address, topics: topics.iter().map(|topic| topic.unwrap_or_default()).collect(), data }]);
        }
        self.inner.logs(address, topics, from, to.min(self.known().await?)).await
    }

    async fn prepare(&self, request: Request) -> Result<Prepared, ChainError> {
        if self.lies() { Err(ChainError::Node("no".to_owned())) } else { self.inner.prepare(request).await }
    }

    async fn raise(&self, transaction: &Prepared, urgency: Urgency) -> Result<Prepared, ChainError> {
        self.inner.raise(transaction, urgency).await
    }

    fn number(&self, transaction: &Prepared) -> Result<u64, ChainError> {
        self.inner.number(transaction)
    }

    async fn next_number(&self, block: u64) -> Result<u64, ChainError> {
        if self.lies() { Ok(self.chance(u64::MAX)) } else { self.inner.next_number(block.min(self.known().await?)).await }
    }

    async fn broadcast(&self, transaction: &Prepared) -> Result<(), ChainError> {
        if self.lies() { Ok(()) } else { self.inner.broadcast(transaction).await }
    }

    async fn receipt(&self, hash: &B256) -> Result<Option<Receipt>, ChainError> {
        if self.lies() {
            let receipt = Receipt { block: self.chance(9), success: self.chance(2) == 0, logs: Vec::new(), gas: 0 };
            return Ok((self.chance(2) == 0).then_some(receipt));
        }
        let known = self.known().await?;
        Ok(self.inner.receipt(hash).await?.filter(|receipt| receipt.block <= known))
    }

    async fn balance(&self, account: Address) -> Result<U256, ChainError> {
        self.inner.balance(account).await
    }
}

/// a, with another node.
async fn behind(stage: &Stage, word: Word) -> (Channel, Tools) {
    let tools = stage.tools(Party::A);
    let tools = Tools { chain: Arc::new(Node { inner: tools.chain.clone(), word }), ..tools };
    let key = stage.a.metadata().key;
    (Channel::new_channel(tools.clone(), NewChannel::Load(key)).await.unwrap(), tools)
}

#[tokio::test]
async fn a_node_that_lags_costs_time_and_nothing_else() {
    for variant in [Variant::Word, Variant::Compact] {
        for lag in [1, 2, 7] {
            let set = Set { confirmations: 3, ..Set::new(variant, false) };
            let mut stage = Stage::new(set).await.unwrap();
            let (mut a, _) = behind(&stage, Word::Lags(lag)).await;
            let chain = stage.chain.clone();
            let until = async |channel: &mut Channel, goal| {
                let mut errand = Errand::new(goal);
                while !channel.advance(&mut errand).await.unwrap_or_else(|error| {
                    panic!("{variant:?} {lag} {goal:?} {error} {:?} waiting {:?}", channel.record().pending, chain.waiting())
                }) {
                    chain.pass(12);
                }
            };
            until(&mut a, Goal::Open).await;
            stage.b.handle(&a.take_outbox()).await.unwrap();
            until(&mut stage.b, Goal::Accept).await;
            while *a.phase() != Phase::Open {
                chain.pass(12);
                a.watch().await.unwrap();
            }
            stage.b.send_money(Amount::new(10)).await.unwrap();
            a.handle(&stage.b.take_outbox()).await.unwrap();
            let mut liar = stage.liar(Party::B).await.unwrap();
            assert!(!liar.advance(&mut Errand::new(Goal::StartForceClose)).await.unwrap());
            for _ in 0..100 {
                chain.pass(12);
                // It may say that a number is used before it shows by what: the guard looks again.
                let _ = a.watch().await;
            }
            assert!(matches!(a.phase(), Phase::Closed(_)), "{variant:?} {lag}");
            assert_eq!(stage.funds(Party::A).await.unwrap(), set.funds + 10, "{variant:?} {lag}");
            assert_eq!(stage.locked().await.unwrap(), 0);
        }
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Nothing panics, nothing is offered or spent beyond the limits, no payment is lost, and with an honest node it goes on.
    #[test]
    fn a_node_that_says_anything_costs_no_more_than_the_limits(seed: u64, compact: bool, opened: bool) {
        block_on(async {
            let variant = if compact { Variant::Compact } else { Variant::Word };
            let set = Set::new(variant, false);
            let mut stage = if opened { Stage::open(set).await.unwrap() } else { Stage::new(set).await.unwrap() };
            if opened {
                stage.pay(Party::B, 10).await.unwrap();
            }
            let (mut a, mut tools) = behind(&stage, Word::Lies(AtomicU64::new(seed))).await;
            // Enough for a few transactions.
            tools.settings.most_fees = Amount::new(40_000_000);
            a = Channel::new_channel(tools.clone(), NewChannel::Load(a.metadata().key)).await.unwrap();
            let goal = if opened { Goal::StartForceClose } else { Goal::Open };
            let mut errand = Errand::new(goal);
            for look in 0..60 {
                let _ = a.advance(&mut errand).await;
                let _ = a.watch().await;
                if look % 20 == 19 {
                    a = Channel::new_channel(tools.clone(), NewChannel::Load(a.metadata().key)).await.unwrap();
                }
                stage.chain.pass(60);
                let record = a.record();
                prop_assert!(record.fees <= tools.settings.most_fees);
                prop_assert_eq!(record.own_balance(), Amount::new(if opened { 10_010 } else { 10_000 }));
            }
            // Whatever it said, what is on the chain is at most one opening, and nobody else's.
            prop_assert!(stage.locked().await.unwrap() <= 18_000);
            Ok(())
        })?;
    }
}
