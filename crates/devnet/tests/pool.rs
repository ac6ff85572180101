//! The client's pool against servers that are stale, forge, hang, disconnect and contradict each other.

#[path = "common/lite.rs"]
mod lite;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use devnet::Devnet;
use devnet::chain::COIN;
use lite::{client, disconnecting, honest, is, twisted};
use liteapi::{Error, GetAccountState, GetMasterchainInfo, LookupBlock, MasterchainInfo, Policy};
use tl::Object;
use tycho_types::models::{BlockId, ShardIdent, StdAddr};
use tycho_types::prelude::*;

type Answer = Result<Vec<u8>, liteapi::ServerError>;

const LIMIT: Duration = Duration::from_secs(10);
const BOB: StdAddr = StdAddr::new(0, HashBytes([2; 32]));

/// A chain of some blocks.
fn chain(blocks: u32) -> Devnet {
    let devnet = Devnet::in_memory().unwrap();
    devnet.faucet(BOB, COIN).unwrap();
    (0..blocks).for_each(|_| drop(devnet.mine().unwrap()));
    devnet
}

/// Another chain of the same length: what a server of it says holds together, and is of no use to us.
fn fork(blocks: u32) -> Devnet {
    let devnet = Devnet::in_memory().unwrap();
    devnet.faucet(BOB, 1000 * COIN).unwrap();
    (0..blocks).for_each(|_| drop(devnet.mine().unwrap()));
    devnet
}

fn last(devnet: &Devnet) -> BlockId {
    devnet.read(|ledger| *ledger.last())
}

fn at(devnet: &Devnet, seqno: u32) -> BlockId {
    devnet.read(|ledger| ledger.block_by_seqno(ShardIdent::MASTERCHAIN, seqno).unwrap().id)
}

/// Names this block as its newest.
fn naming(head: BlockId) -> impl Fn(&[u8], Answer) -> Option<Answer> {
    move |method, answer| match (is::<GetMasterchainInfo>(method), answer) {
        (true, Ok(answer)) => {
            let info = MasterchainInfo { last: head, ..MasterchainInfo::from_boxed(&answer).unwrap() };
            Some(Ok(info.to_boxed()))
        }
        (_, answer) => Some(answer),
    }
}

#[tokio::test]
async fn a_stale_head_is_passed_over_and_its_server_known_to_lag() {
    let devnet = chain(20);
    let stale = twisted(&devnet, naming(at(&devnet, 5))).await;
    let client = client(&[stale, honest(&devnet).await, honest(&devnet).await], Policy::Fast);
    assert_eq!(client.masterchain_info().await.unwrap().last, last(&devnet));
    let lags: Vec<u32> = client.servers().iter().map(|server| server.lag).collect();
    assert_eq!(lags, [last(&devnet).seqno - 5, 0, 0]);
}

#[tokio::test]
async fn one_servers_head_is_not_believed_however_high() {
    let devnet = chain(10);
    let high = BlockId { seqno: u32::MAX, root_hash: HashBytes([7; 32]), ..last(&devnet) };
    let forger = || twisted(&devnet, naming(high));
    let three = client(&[forger().await, honest(&devnet).await, honest(&devnet).await], Policy::Fast);
    assert_eq!(three.masterchain_info().await.unwrap().last, last(&devnet));
    assert!(three.servers()[1..].iter().all(|server| server.lag == 0 && server.available));
    // Two: the honest one's block is known to both, so it is believed; the other one is not.
    let two = client(&[forger().await, honest(&devnet).await], Policy::Fast);
    assert_eq!(two.masterchain_info().await.unwrap().last, last(&devnet));
    // A wait cannot be cut short by it either.
    let next = last(&devnet).seqno + 1;
    assert!(two.wait_masterchain_seqno(next, Duration::from_millis(100)).await.is_err());
    let (waited, ()) = tokio::join!(two.wait_masterchain_seqno(next, LIMIT), async { drop(devnet.mine().unwrap()) });
    assert_eq!(waited.unwrap().last, last(&devnet));
}

#[tokio::test]
async fn the_majority_decides_and_whoever_contradicts_it_is_left_alone() {
    let (devnet, other) = (chain(10), fork(10));
    let servers = [honest(&other).await, honest(&devnet).await, honest(&devnet).await];
    let three = client(&servers, Policy::Fast);
    assert_eq!(three.masterchain_info().await.unwrap().last, last(&devnet));
    let seen = three.servers();
    assert_eq!((seen[0].lies, seen[0].available), (1, false));
    assert!(seen[1..].iter().all(|server| server.lies == 0 && server.available));
    for seqno in 1..=last(&devnet).seqno {
        assert_eq!(three.lookup_block(ShardIdent::MASTERCHAIN, seqno).await.unwrap(), Some(at(&devnet, seqno)));
    }
    let fresh = client(&servers, Policy::Fast);
    assert_eq!(fresh.lookup_block(ShardIdent::MASTERCHAIN, 3).await.unwrap(), Some(at(&devnet, 3)));

    // One against one: nobody is believed.
    let two = client(&servers[..2], Policy::Fast);
    assert!(matches!(two.masterchain_info().await, Err(Error::Contradiction(_))));
    assert!(matches!(two.lookup_block(ShardIdent::MASTERCHAIN, 3).await, Err(Error::Contradiction(3))));
}

#[tokio::test]
async fn a_single_voice_among_several_servers_is_not_enough() {
    let devnet = chain(3);
    let servers = [disconnecting().await, honest(&devnet).await];
    // The same server twice is one server.
    let two = client(&[servers[0].clone(), servers[1].clone(), servers[1].clone()], Policy::Fast);
    assert!(matches!(two.masterchain_info().await, Err(Error::Unconfirmed(_))));
    assert!(matches!(two.lookup_block(ShardIdent::MASTERCHAIN, 2).await, Err(Error::Unconfirmed(2))));
    // What is below a block that is believed needs one server only.
    assert!(two.account(&last(&devnet), &BOB).await.unwrap().account.is_some());
    let seen = two.servers();
    assert!(seen[0].failures > 0 && !seen[0].available && seen[1].failures == 0, "{seen:?}");
    // The only server that is configured is believed, under this policy.
    assert_eq!(client(&servers[1..], Policy::Fast).masterchain_info().await.unwrap().last, last(&devnet));
}

#[tokio::test]
async fn servers_that_hang_or_disconnect_are_passed_over() {
    let devnet = chain(3);
    let hanging = twisted(&devnet, |_, _| None).await;
    let half = twisted(&devnet, |method, answer| (!is::<GetAccountState>(method)).then_some(answer)).await;
    let servers = [hanging, disconnecting().await, half, honest(&devnet).await];
    let client = client(&servers, Policy::Fast);
    assert_eq!(client.masterchain_info().await.unwrap().last, last(&devnet));
    for _ in 0..4 {
        assert!(client.account(&last(&devnet), &BOB).await.unwrap().account.is_some());
    }
    assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, 2).await.unwrap(), Some(at(&devnet, 2)));
    let seen = client.servers();
    assert!(seen[3].available && seen[3].answers >= 4, "{seen:?}");
    assert!(seen[..2].iter().all(|server| server.answers == 0 && server.failures > 0), "{seen:?}");
}

#[tokio::test]
async fn an_unproven_account_is_refused_and_the_next_server_asked() {
    let (devnet, other) = (chain(3), fork(3));
    let liar = {
        let other = other.clone();
        // Another chain's account, with proofs that hold there.
        twisted(&devnet, move |method, answer| match is::<GetAccountState>(method) {
            true => {
                let asked = GetAccountState::from_boxed(method).unwrap();
                let account = other.read(|ledger| ledger.account(ledger.last(), &asked.account.id)).unwrap();
                let forged = liteapi::AccountState {
                    shardblk: account.shard_block,
                    state: account.account.map(Boc::encode).unwrap_or_default(),
                    ..liteapi::AccountState::from_boxed(&answer.unwrap()).unwrap()
                };
                Some(Ok(forged.to_boxed()))
            }
            false => Some(answer),
        })
        .await
    };
    let servers = [liar, honest(&devnet).await];
    let alone = client(&servers[..1], Policy::Fast);
    assert!(matches!(alone.account(&last(&devnet), &BOB).await, Err(Error::Unproven(_))));
    let both = client(&servers, Policy::Fast);
    for _ in 0..2 {
        let account = both.account(&last(&devnet), &BOB).await.unwrap().account.unwrap();
        assert_eq!(account.balance.tokens.into_inner(), COIN);
    }
    // Once was enough.
    assert!(both.servers()[0].lies <= 1 && both.servers()[1].lies == 0);
}

/// The configuration is proven; with any part of the answer changed it is refused, or is the same.
#[tokio::test]
async fn the_configuration_is_proven() {
    use liteapi::{Connection, ConnectionOptions, GetConfigParams, check_config};
    let devnet = chain(3);
    let server = honest(&devnet).await;
    let client = client(std::slice::from_ref(&server), Policy::Fast);
    let config = client.config(&last(&devnet), &[34, 35]).await.unwrap();
    let validators = config.get_current_validator_set().unwrap();
    assert_eq!(validators.list.len(), 1);
    assert!(config.get_workchains().is_err(), "it was not asked for");
    assert_eq!(client.unproven(&liteapi::GetVersion {}).await.unwrap().version, 0x0101);

    let connection = Connection::connect(server.address, server.key, &ConnectionOptions::default()).await.unwrap();
    let query = GetConfigParams { mode: 0, id: last(&devnet), param_list: vec![34, 35] };
    let params = connection.query(&query, LIMIT).await.unwrap();
    assert!(check_config(&at(&devnet, 2), &params).is_err());
    let mut refused = 0;
    for at in 0..params.config_proof.len() {
        let mut changed = params.clone();
        changed.config_proof[at] ^= 4;
        match check_config(&last(&devnet), &changed).map(|config| config.get_current_validator_set()) {
            Ok(Ok(found)) => assert_eq!(found, validators),
            _ => refused += 1,
        }
    }
    assert!(refused * 10 > params.config_proof.len() * 9, "{refused} of {} changes refused", params.config_proof.len());
}

#[tokio::test]
async fn the_newest_block_never_goes_back() {
    let devnet = chain(10);
    let (past, old) = (Arc::new(AtomicBool::new(false)), at(&devnet, 4));
    let mut servers = Vec::new();
    for _ in 0..2 {
        let past = past.clone();
        let stale = naming(old);
        servers.push(
            twisted(&devnet, move |method, answer| match past.load(Ordering::Relaxed) {
                true => stale(method, answer),
                false => Some(answer),
            })
            .await,
        );
    }
    let client = client(&servers, Policy::Fast);
    assert_eq!(client.masterchain_info().await.unwrap().last, last(&devnet));
    past.store(true, Ordering::Relaxed);
    assert_eq!(client.masterchain_info().await.unwrap().last, last(&devnet));
}

#[tokio::test]
async fn an_unknown_block_is_none_and_a_hidden_one_is_not_believed_away() {
    let devnet = chain(5);
    let hiding = twisted(&devnet, |method, answer| match is::<LookupBlock>(method) {
        true => Some(Err(liteapi::ServerError { code: liteapi::code::BLOCK_NOT_FOUND, message: String::new() })),
        false => Some(answer),
    })
    .await;
    let client = client(&[hiding, honest(&devnet).await, honest(&devnet).await], Policy::Fast);
    assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, 3).await.unwrap(), Some(at(&devnet, 3)));
    assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, 1000).await.unwrap(), None);
}
