//! The secure policy: blocks are believed when the validator's signatures lead to them from a trusted block.

#[path = "common/lite.rs"]
mod lite;

use std::time::Duration;

use devnet::Devnet;
use devnet::chain::COIN;
use lite::{client, honest, is, twisted};
use liteapi::{
    BlockLink, Connection, ConnectionOptions, Error, GetBlockProof, PartialBlockProof, Policy, Proven, check_block_proof,
};
use tl::Object;
use tycho_types::models::{BlockId, ShardIdent, StdAddr};
use tycho_types::prelude::*;

const LIMIT: Duration = Duration::from_secs(10);
const BOB: StdAddr = StdAddr::new(0, HashBytes([2; 32]));

fn chain(blocks: u32, coins: u128) -> Devnet {
    let devnet = Devnet::in_memory().unwrap();
    devnet.faucet(BOB, coins * COIN).unwrap();
    (0..blocks).for_each(|_| drop(devnet.mine().unwrap()));
    devnet
}

/// A chain with another key block. (Chains that begin in the same second have the same one.)
async fn other_chain(devnet: &Devnet, blocks: u32) -> Devnet {
    loop {
        let other = chain(blocks, 2);
        if init_block(&other) != init_block(devnet) {
            return other;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn last(devnet: &Devnet) -> BlockId {
    devnet.read(|ledger| *ledger.last())
}

/// As a client learns it: from the global configuration.
fn init_block(devnet: &Devnet) -> BlockId {
    let (zero, key) = devnet.read(|ledger| (*ledger.zero_state(), *ledger.key_block()));
    let config = devnet::global_config(&[], &zero, &key, serde_json::Value::Null);
    let block = liteapi::init_block_of_global_config(&config.to_string()).unwrap();
    assert_eq!((block, block.seqno), (key, 1));
    block
}

#[tokio::test]
async fn one_honest_server_is_enough() {
    let devnet = chain(10, 1);
    let other = other_chain(&devnet, 12).await;
    let trusted = init_block(&devnet);
    let servers = [honest(&other).await, honest(&other).await, honest(&devnet).await];
    let client = client(&servers, Policy::Secure { trusted });
    let head = client.masterchain_info().await.unwrap().last;
    assert_eq!(head, last(&devnet));
    for seqno in 1..=head.seqno {
        let expected = devnet.read(|ledger| ledger.block_by_seqno(ShardIdent::MASTERCHAIN, seqno).unwrap().id);
        assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, seqno).await.unwrap(), Some(expected));
    }
    let next = head.seqno + 1;
    let (waited, ()) = tokio::join!(client.wait_masterchain_seqno(next, LIMIT), async { drop(devnet.mine().unwrap()) });
    assert_eq!(waited.unwrap().last, last(&devnet));
    assert_eq!(client.account(&head, &BOB).await.unwrap().account.unwrap().balance.tokens.into_inner(), COIN);
    assert_eq!(client.trusted(), Some(trusted));
}

#[tokio::test]
async fn the_zero_state_may_be_trusted_and_leads_to_the_key_block() {
    let devnet = chain(5, 1);
    let trusted = devnet.read(|ledger| *ledger.zero_state());
    let client = client(&[honest(&devnet).await], Policy::Secure { trusted });
    let first = client.lookup_block(ShardIdent::MASTERCHAIN, 1).await.unwrap();
    assert_eq!((first, client.trusted()), (Some(init_block(&devnet)), first));
    assert_eq!(client.masterchain_info().await.unwrap().last, last(&devnet));
}

#[tokio::test]
async fn another_chain_or_another_trusted_block_is_refused() {
    let devnet = chain(5, 1);
    let other = other_chain(&devnet, 5).await;
    let server = honest(&devnet).await;
    for trusted in [init_block(&other), BlockId { file_hash: HashBytes([1; 32]), ..init_block(&devnet) }] {
        let client = client(std::slice::from_ref(&server), Policy::Secure { trusted });
        assert!(client.masterchain_info().await.is_err());
        assert!(client.lookup_block(ShardIdent::MASTERCHAIN, 1).await.is_err());
        assert!(client.lookup_block(ShardIdent::MASTERCHAIN, 3).await.is_err());
    }
}

#[tokio::test]
async fn a_forged_signature_is_a_lie_of_that_server() {
    let devnet = chain(5, 1);
    let forger = twisted(&devnet, |method, answer| match is::<GetBlockProof>(method) {
        true => {
            let mut proof = PartialBlockProof::from_boxed(&answer.unwrap()).unwrap();
            for step in &mut proof.steps {
                let BlockLink::Forward(link) = step else { continue };
                link.signatures.signatures[0].signature[5] ^= 1;
            }
            Some(Ok(proof.to_boxed()))
        }
        false => Some(answer),
    })
    .await;
    let trusted = init_block(&devnet);
    let alone = client(std::slice::from_ref(&forger), Policy::Secure { trusted });
    assert!(matches!(alone.masterchain_info().await, Err(Error::Unproven("a forged signature"))));
    let both = client(&[forger, honest(&devnet).await], Policy::Secure { trusted });
    assert_eq!(both.masterchain_info().await.unwrap().last, last(&devnet));
    assert_eq!(both.lookup_block(ShardIdent::MASTERCHAIN, 3).await.unwrap().unwrap().seqno, 3);
    assert!(both.servers()[1].lies == 0 && both.servers()[1].available);
}

/// Links of each kind, and the same with any byte of the answer changed: refused, or it proves the same.
#[tokio::test]
async fn links_forwards_and_backwards_prove_and_no_changed_one_proves_more() {
    let devnet = chain(30, 1);
    let server = honest(&devnet).await;
    let connection = Connection::connect(server.address, server.key, &ConnectionOptions::default()).await.unwrap();
    let at = |seqno: u32| devnet.read(|ledger| ledger.block_by_seqno(ShardIdent::MASTERCHAIN, seqno).unwrap().id);
    let zero = devnet.read(|ledger| *ledger.zero_state());
    let ways = [
        (at(1), at(20), None),
        (zero, at(1), Some(at(1))),
        (at(9), at(20), Some(at(1))),
        (at(20), at(9), None),
        (at(20), zero, None),
    ];
    for (known, target, key_block) in ways {
        let query = GetBlockProof { known, target: Some(target) };
        let answer = connection.query(&query, LIMIT).await.unwrap();
        let proven = Proven { block: target, key_block };
        assert_eq!(check_block_proof(&known, &target, &answer).unwrap(), proven);
        assert!(check_block_proof(&at(2), &target, &answer).is_err());
        assert!(check_block_proof(&known, &BlockId { root_hash: HashBytes([9; 32]), ..target }, &answer).is_err());
        let bytes = answer.to_boxed();
        let mut refused = 0;
        for at in (0..bytes.len()).step_by(11) {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            match PartialBlockProof::from_boxed(&changed)
                .map_err(Error::from)
                .and_then(|a| check_block_proof(&known, &target, &a))
            {
                Ok(same) => assert_eq!(same, proven),
                Err(_) => refused += 1,
            }
        }
        assert!(refused * 20 > bytes.len() / 11 * 19, "{refused} of {} changes refused", bytes.len() / 11);
    }
    let newest = connection.query(&GetBlockProof { known: at(1), target: None }, LIMIT).await.unwrap();
    assert_eq!(newest.to, last(&devnet));
    assert!(connection.query(&GetBlockProof { known: at(1), target: Some(Default::default()) }, LIMIT).await.is_err());
}
