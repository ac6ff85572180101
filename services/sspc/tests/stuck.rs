//! On a real node: an opening that offers too little waits in front of the answer to a stale close; both are raised, by the rules of a real
//! pool of transactions, and the answer is in time. The party starts again meanwhile.

#[allow(dead_code)] // The other test uses the rest.
mod node;

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::U256;
use node::{KEYS, Node};
use serde_json::json;
use sspc::{
    Amount, Channel, Errand, Goal, LocalKey, MemoryStore, NewChannel, Params, Phase, Place, Rpc, RpcChain, Settings, Store as _,
    Tools, Variant, deploy,
};

const PERIOD: u32 = 3_600;

async fn tools(node: &Node, key: &str) -> (Tools, LocalKey) {
    let key = LocalKey::from_bytes(&hex::decode(key).unwrap().try_into().unwrap()).unwrap();
    let rpc = Rpc { url: node.url.clone(), ..Rpc::default() };
    let chain = RpcChain::connect(&rpc, &key).await.unwrap();
    let settings = Settings { confirmations: 0, poll: Duration::from_millis(20), ..Settings::default() };
    let (store, signer) = (Arc::new(MemoryStore::default()), Arc::new(key.clone()));
    (Tools { store, chain: Arc::new(chain), signer, settings }, key)
}

/// A chain client and what the process keeps, as after a restart.
async fn again(node: &Node, old: &Tools, channel: &Channel) -> Channel {
    let (fresh, _) = tools(node, KEYS[0]).await;
    let tools = Tools { store: old.store.clone(), ..fresh };
    Channel::new_channel(tools, NewChannel::Load(channel.metadata().key)).await.unwrap()
}

async fn place(node: &Node, tools: &Tools) -> Place {
    let transaction = deploy(tools.chain.as_ref(), Variant::Word, (60, 86_400)).await.unwrap();
    tools.chain.broadcast(&transaction).await.unwrap();
    let receipt = node.ask("eth_getTransactionReceipt", json!([transaction.hash]));
    let contract = receipt["contractAddress"].as_str().unwrap().parse().unwrap();
    Place { chain_id: tools.chain.chain_id().await.unwrap(), contract, variant: Variant::Word }
}

/// A block, `seconds` later, in which gas costs this much.
fn block(node: &Node, seconds: u64, gwei: u64) {
    node.ask("anvil_setNextBlockBaseFeePerGas", json!([format!("{:#x}", u128::from(gwei) * 1_000_000_000)]));
    node.ask("evm_increaseTime", json!([seconds]));
    node.ask("evm_mine", json!([]));
}

#[tokio::test]
async fn what_waits_in_front_of_an_answer_is_raised_with_it() {
    let Some(node) = Node::anvil() else { return };
    let ((a_tools, a_key), (b_tools, b_key)) = (tools(&node, KEYS[0]).await, tools(&node, KEYS[1]).await);
    let place = place(&node, &a_tools).await;
    let params = |salt| Params {
        a: a_key.address(),
        b: b_key.address(),
        token: sspc::Address::ZERO,
        value_a: Amount::new(10_000),
        value_b: Amount::new(8_000),
        period: PERIOD,
        salt,
    };
    // An open channel in which b has paid a.
    let mut a = Channel::new_channel(a_tools.clone(), NewChannel::Propose { place, params: params(1) }).await.unwrap();
    let mut b = Channel::new_channel(b_tools.clone(), NewChannel::FromProposal(a.take_outbox().remove(0))).await.unwrap();
    a.open().await.unwrap();
    b.accept().await.unwrap();
    a.watch().await.unwrap();
    b.take_outbox();
    b.send_money(Amount::new(10)).await.unwrap();
    a.handle(&b.take_outbox()).await.unwrap();

    // Gas becomes dear after a's second opening was sent.
    node.ask("evm_setAutomine", json!([false]));
    let mut second = Channel::new_channel(a_tools.clone(), NewChannel::Propose { place, params: params(2) }).await.unwrap();
    let mut errand = Errand::new(Goal::Open);
    assert!(!second.advance(&mut errand).await.unwrap());
    block(&node, 12, 50);
    block(&node, 12, 50);
    let stuck = second.record().pending.clone().unwrap();
    assert_eq!(a_tools.chain.receipt(&stuck.transaction.hash).await.unwrap(), None, "it offers too little");

    // b lies: it closes with the opening.
    let mut record = b.record().clone();
    (record.held, record.given) = (None, None);
    let store = MemoryStore::default();
    store.commit(None, &record).await.unwrap();
    let lying = Tools { store: Arc::new(store), ..b_tools.clone() };
    let mut liar = Channel::new_channel(lying, NewChannel::Load(record.key())).await.unwrap();
    assert!(!liar.advance(&mut Errand::new(Goal::StartForceClose)).await.unwrap());
    block(&node, 12, 50);
    liar.watch().await.unwrap();
    let Phase::Closing(closing) = *liar.phase() else { panic!("not closing") };

    for look in 0..60 {
        a.watch().await.unwrap();
        second.watch().await.unwrap();
        if matches!(a.phase(), Phase::Closed(_)) && second.record().pending.is_none() {
            break;
        }
        if look % 3 == 2 {
            a = again(&node, &a_tools, &a).await;
            second = again(&node, &a_tools, &second).await;
        }
        // Dearer and dearer: 50, 55, 60 ...
        block(&node, 15, 50 + look.min(20) * 5);
    }
    let Phase::Closed(balances) = *a.phase() else { panic!("not answered: {:?}", a.record()) };
    assert_eq!((balances.a, balances.b), (Amount::new(10_010), Amount::new(7_990)));
    assert!(a_tools.chain.head().await.unwrap().time < closing.deadline, "in time");
    assert_eq!(*second.phase(), Phase::Proposed);
    // One opening, by the chain: the contract holds a's second deposit and nothing else.
    assert_eq!(a_tools.chain.balance(place.contract).await.unwrap(), U256::from(10_000));
    assert_eq!(a_tools.chain.receipt(&stuck.transaction.hash).await.unwrap(), None, "the one that was in a block offers more");
}
