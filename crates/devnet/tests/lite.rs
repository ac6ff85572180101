//! The indexer's client against the devnet's lite servers, and against servers that lie.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adnl::keys::PrivateKey;
use common::User;
use devnet::chain::COIN;
use devnet::{Devnet, ServeOptions, Served, serve};
use liteapi::{Client, ClientOptions, Connection, ConnectionOptions, Error, Handler, ServerAddress, ServerError, code};
use tycho_types::models::{ShardIdent, StdAddr};
use tycho_types::prelude::*;
use wallet::Transfer;

const LIMIT: Duration = Duration::from_secs(10);

async fn start(servers: u8) -> (Devnet, Served) {
    let devnet = Devnet::in_memory().unwrap();
    let lite_servers = (1..=servers).map(|i| (PrivateKey::from_seed(&[i; 32]), 0)).collect();
    let options = ServeOptions { lite_servers, control_port: None, block_interval: None };
    let served = serve(devnet.clone(), options).await.unwrap();
    (devnet, served)
}

fn client(servers: &[ServerAddress]) -> Client {
    Client::new(servers.to_vec(), ClientOptions::default()).unwrap()
}

/// Alice pays Bob; returns the block's seqno.
fn pay(devnet: &Devnet, alice: &User, bob: &StdAddr, seqno: u32, nano: u128) -> u32 {
    let transfer = Transfer::new(bob.clone(), nano).bounce(false);
    devnet.send(alice.message(seqno, devnet.now() + 60, vec![transfer])).unwrap();
    devnet.mine().unwrap();
    devnet.status().seqno
}

#[tokio::test]
async fn a_transfer_is_found_by_scanning_blocks_and_on_the_account() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let (alice, bob) = (User::new(1), StdAddr::new(0, HashBytes([2; 32])));
    devnet.faucet(alice.address().clone(), 10 * COIN).unwrap();
    devnet.mine().unwrap();
    let from = client.masterchain_info().await.unwrap().last;
    let message = alice.message(0, devnet.now() + 60, vec![Transfer::new(bob.clone(), COIN).bounce(false)]);
    client.send_message(&message).await.unwrap();
    client.send_message(&message).await.unwrap();
    let waiting = client.wait_masterchain_seqno(from.seqno + 1, LIMIT);
    let (seen, _) = tokio::join!(waiting, async { devnet.mine().unwrap() });
    let seen = seen.unwrap().last;
    assert_eq!(seen.seqno, from.seqno + 1);

    // block scanner: masterchain block, its shards, each shard block back to the one listed before
    assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, seen.seqno).await.unwrap(), Some(seen));
    assert_eq!(client.lookup_block(ShardIdent::MASTERCHAIN, seen.seqno + 1).await.unwrap(), None);
    let shards = client.shards(&seen).await.unwrap();
    let block = client.block(&shards[0]).await.unwrap();
    assert_eq!(block.previous, client.shards(&from).await.unwrap());
    let received: Vec<_> = block.transactions.iter().filter(|t| t.address == bob).collect();
    assert_eq!(received.len(), 1);

    // account mode
    let account = client.account(&seen, &bob).await.unwrap();
    assert_eq!(account.account.unwrap().balance.tokens.into_inner(), COIN);
    assert_eq!((account.last_lt, account.last_hash), (received[0].transaction.lt, received[0].hash));
    let list = client.transactions(&bob, account.last_lt, account.last_hash, 10).await.unwrap();
    assert_eq!(list.len(), 1);
    assert_eq!(list[0].hash, received[0].hash);

    // an account that never was, and the same account before
    let nobody = StdAddr::new(0, HashBytes([0xee; 32]));
    assert!(client.account(&seen, &nobody).await.unwrap().account.is_none());
    assert!(client.account(&from, &bob).await.unwrap().account.is_none());
}

#[tokio::test]
async fn long_histories_are_read_in_pages() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let (alice, bob) = (User::new(1), StdAddr::new(0, HashBytes([2; 32])));
    devnet.faucet(alice.address().clone(), 100 * COIN).unwrap();
    devnet.mine().unwrap();
    for seqno in 0..25 {
        pay(&devnet, &alice, &bob, seqno, COIN);
    }
    let last = client.masterchain_info().await.unwrap().last;
    let account = client.account(&last, &bob).await.unwrap();
    let (mut lt, mut hash, mut read) = (account.last_lt, account.last_hash, 0);
    while lt != 0 {
        let page = client.transactions(&bob, lt, hash, 10).await.unwrap();
        read += page.len();
        let oldest = &page.last().unwrap().transaction;
        (lt, hash) = (oldest.prev_trans_lt, oldest.prev_trans_hash);
    }
    assert_eq!(read, 25);
    let unknown = client.transactions(&bob, account.last_lt, HashBytes([1; 32]), 10).await;
    assert_eq!(unknown.unwrap_err().server_code(), Some(code::BAD_REQUEST));
}

#[tokio::test]
async fn get_methods_answer_over_the_network() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let alice = User::new(1);
    devnet.faucet(alice.address().clone(), 10 * COIN).unwrap();
    pay(&devnet, &alice, &StdAddr::new(0, HashBytes([2; 32])), 0, COIN);
    let last = client.masterchain_info().await.unwrap().last;
    let id = devnet::chain::method_id("seqno");
    let (exit_code, stack) = client.run_get_method(&last, alice.address(), id, vec![]).await.unwrap();
    assert_eq!(exit_code, 0);
    let stack = Boc::decode(stack.unwrap()).unwrap().parse::<tycho_vm::Stack>().unwrap();
    assert_eq!(stack.items[0].as_int(), Some(&1.into()));
}

/// There are clients that a proof with another number of roots, or a masterchain without a shard, kills (network 9, 33).
#[tokio::test]
async fn proofs_have_their_roots_and_there_is_always_a_shard() {
    use liteapi::{AccountId, GetAccountState, GetAllShardsInfo, GetConfigAll, GetShardInfo, RunSmcMethod};
    use tycho_types::boc::de::{BocHeader, Options};
    let roots = |boc: &[u8]| BocHeader::decode(boc, &Options { min_roots: None, max_roots: None }).unwrap().roots().len();
    let (devnet, served) = start(1).await;
    let alice = User::new(1);
    let ServerAddress { address, key } = served.lite_servers[0].clone();
    let connection = Connection::connect(address, key, &ConnectionOptions::default()).await.unwrap();
    for round in 0..3 {
        let id = devnet.read(|l| *l.last());
        for account in [alice.address().address, HashBytes([0xee; 32])] {
            let account = AccountId { workchain: 0, id: account };
            let state = connection.query(&GetAccountState { id, account: account.clone() }, LIMIT).await.unwrap();
            assert_eq!((roots(&state.shard_proof), roots(&state.proof)), (2, 2), "round {round}");
            let query = RunSmcMethod { mode: 7, id, account, method_id: 1, params: vec![] };
            if let Ok(run) = connection.query(&query, LIMIT).await {
                assert_eq!((roots(&run.shard_proof.unwrap()), roots(&run.proof.unwrap())), (2, 2));
            }
        }
        let shards = connection.query(&GetAllShardsInfo { id }, LIMIT).await.unwrap();
        assert_eq!((roots(&shards.proof), roots(&shards.data)), (1, 1));
        assert_eq!(client(&served.lite_servers).shards(&id).await.unwrap().len(), 1);
        let query = GetShardInfo { id, workchain: 0, shard: 1 << 63, exact: true };
        assert_eq!(roots(&connection.query(&query, LIMIT).await.unwrap().shard_proof), 2);
        let config = connection.query(&GetConfigAll { mode: 0, id }, LIMIT).await.unwrap();
        assert_eq!((roots(&config.state_proof), roots(&config.config_proof)), (1, 1));
        devnet.faucet(alice.address().clone(), COIN).unwrap();
        devnet.mine().unwrap();
    }
}

#[tokio::test]
async fn a_pruned_account_has_its_hash_and_no_code() {
    use liteapi::{AccountId, GetAccountState, GetAccountStatePruned, GetLibraries};
    use tycho_types::merkle::MerkleProof;
    let (devnet, served) = start(1).await;
    let alice = User::new(1);
    devnet.faucet(alice.address().clone(), 10 * COIN).unwrap();
    pay(&devnet, &alice, &StdAddr::new(0, HashBytes([2; 32])), 0, COIN);
    let ServerAddress { address, key } = served.lite_servers[0].clone();
    let connection = Connection::connect(address, key, &ConnectionOptions::default()).await.unwrap();
    let (id, account) = (devnet.read(|l| *l.last()), AccountId { workchain: 0, id: alice.address().address });
    let whole = connection.query(&GetAccountState { id, account: account.clone() }, LIMIT).await.unwrap();
    let pruned = connection.query(&GetAccountStatePruned { id, account }, LIMIT).await.unwrap();
    let proof = Boc::decode(&pruned.state).unwrap().parse_exotic::<MerkleProof>().unwrap();
    assert_eq!(proof.hash, *Boc::decode(&whole.state).unwrap().repr_hash());
    assert!(pruned.state.len() < whole.state.len() / 3, "{} of {}", pruned.state.len(), whole.state.len());
    let libraries = connection.query(&GetLibraries { library_list: vec![HashBytes([1; 32])] }, LIMIT).await.unwrap();
    assert_eq!(libraries.result, []);
}

/// Wallets ask for their seqno before they are deployed and look at the exit code; an error they would take for a failure.
#[tokio::test]
async fn get_methods_of_accounts_without_code_end_with_their_own_exit_code() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let (funded, nobody) = (StdAddr::new(0, HashBytes([2; 32])), StdAddr::new(0, HashBytes([3; 32])));
    devnet.faucet(funded.clone(), COIN).unwrap();
    devnet.mine().unwrap();
    let last = client.masterchain_info().await.unwrap().last;
    for address in [funded, nobody] {
        let (exit_code, _) = client.run_get_method(&last, &address, devnet::chain::method_id("seqno"), vec![]).await.unwrap();
        assert_eq!(exit_code, -256);
    }
}

#[tokio::test]
async fn waiting_for_a_block_that_does_not_come_is_error_652() {
    let (devnet, served) = start(2).await;
    let client = client(&served.lite_servers);
    let late = client.wait_masterchain_seqno(devnet.status().seqno + 1, Duration::from_millis(50)).await;
    assert_eq!(late.unwrap_err().server_code(), Some(code::TIMEOUT));
}

#[tokio::test]
async fn another_server_is_asked_when_one_is_dead() {
    let (devnet, served) = start(3).await;
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        ServerAddress { address: listener.local_addr().unwrap(), key: served.lite_servers[0].key }
    };
    let wrong_key = ServerAddress { key: PrivateKey::from_seed(&[77; 32]).public(), ..served.lite_servers[0].clone() };
    let mut options = ClientOptions::default();
    options.connection.connect_timeout = Duration::from_millis(500);
    let servers = vec![dead.clone(), wrong_key, served.lite_servers[1].clone(), served.lite_servers[2].clone()];
    let client = Client::new(servers, options.clone()).unwrap();
    assert_eq!(client.masterchain_info().await.unwrap().last.seqno, devnet.status().seqno);
    let alone = Client::new(vec![dead], options).unwrap();
    assert!(alone.masterchain_info().await.is_err());
}

#[tokio::test]
async fn a_client_reconnects_after_the_server_was_away() {
    let (devnet, served) = start(1).await;
    let server = served.lite_servers[0].clone();
    let client = client(std::slice::from_ref(&server));
    client.masterchain_info().await.unwrap();
    drop(served);
    let options = || ServeOptions {
        lite_servers: vec![(PrivateKey::from_seed(&[1; 32]), server.address.port())],
        control_port: None,
        block_interval: None,
    };
    let _served = loop {
        match serve(devnet.clone(), options()).await {
            Ok(served) => break served,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    };
    assert_eq!(client.masterchain_info().await.unwrap().last.seqno, devnet.status().seqno);
}

#[tokio::test]
async fn authenticated_and_plain_connections_work_and_unknown_methods_are_refused() {
    let (_devnet, served) = start(1).await;
    let ServerAddress { address, key } = served.lite_servers[0].clone();
    for authenticate in [None, Some(PrivateKey::from_seed(&[9; 32]))] {
        let options = ConnectionOptions { authenticate, ..Default::default() };
        let connection = Connection::connect(address, key, &options).await.unwrap();
        let version = connection.query(&liteapi::GetVersion {}, LIMIT).await.unwrap();
        assert!(version.now > 0);
        let refused = connection.query(&liteapi::GetBlock { id: Default::default() }, LIMIT).await;
        assert_eq!(refused.unwrap_err().server_code(), Some(code::BLOCK_NOT_FOUND));
        let garbage = connection.query_raw(liteapi_query(&[1, 2, 3, 4, 5, 6, 7, 8]), LIMIT).await.unwrap();
        let error: ServerError = tl::Object::from_boxed(&garbage).unwrap();
        assert_eq!(error.code, code::BAD_REQUEST);
    }
}

fn liteapi_query(data: &[u8]) -> Vec<u8> {
    tl::Object::to_boxed(&liteapi::LiteQuery { data: data.to_vec() })
}

/// Passes on what the devnet says, with one bit of the answer flipped.
struct Liar {
    honest: Devnet,
    /// Thousandths of the answer's length at which it lies.
    at: usize,
    method: u32,
}

impl Handler for Liar {
    async fn answer(&self, method: &[u8]) -> Result<Vec<u8>, ServerError> {
        let mut answer = self.honest.answer(method).await?;
        if method[..4] == self.method.to_le_bytes() {
            let at = answer.len() * self.at / 1000;
            answer[at] ^= 0x10;
        }
        Ok(answer)
    }
    async fn wait_masterchain_seqno(&self, seqno: u32) {
        self.honest.wait_masterchain_seqno(seqno).await;
    }
}

async fn start_liar(honest: &Devnet, method: u32, at: usize) -> (ServerAddress, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let key = PrivateKey::from_seed(&[66; 32]);
    let server = ServerAddress { address, key: key.public() };
    let liar = Arc::new(Liar { honest: honest.clone(), at, method });
    (server, tokio::spawn(liteapi::serve(listener, vec![key], liar)))
}

#[tokio::test]
async fn a_lie_anywhere_in_a_proven_answer_is_noticed_and_another_server_is_asked() {
    use tl::Object;
    let (devnet, served) = start(2).await;
    let (alice, bob) = (User::new(1), StdAddr::new(0, HashBytes([2; 32])));
    devnet.faucet(alice.address().clone(), 10 * COIN).unwrap();
    devnet.mine().unwrap();
    pay(&devnet, &alice, &bob, 0, COIN);
    let honest = client(&served.lite_servers);
    let last = honest.masterchain_info().await.unwrap().last;
    let shard = honest.shards(&last).await.unwrap()[0];
    let truth = honest.account(&last, &bob).await.unwrap();
    let methods = [
        liteapi::GetBlock::ID,
        liteapi::GetAccountState::ID,
        liteapi::GetTransactions::ID,
        liteapi::GetAllShardsInfo::ID,
        liteapi::LookupBlock::ID,
    ];
    for method in methods {
        let (mut noticed, mut tried) = (0, 0);
        for at in (0..1000).step_by(37) {
            let (liar, task) = start_liar(&devnet, method, at).await;
            let alone = client(std::slice::from_ref(&liar));
            let all = client(&[liar, served.lite_servers[0].clone(), served.lite_servers[1].clone()]);
            let lied = ask(&alone, method, &last, &shard, &bob, &truth).await;
            let told = ask(&all, method, &last, &shard, &bob, &truth).await;
            // a flipped bit in a part that proves nothing (a BoC's unused flags, a list of ids that is not used) may pass,
            // but then what was read is the truth
            if let Err(error) = &lied {
                assert!(error.server_code().is_none(), "{error}");
                noticed += 1;
            }
            tried += 1;
            told.unwrap();
            task.abort();
        }
        assert!(noticed * 2 > tried, "method {method:08x}: {noticed} of {tried} lies noticed");
    }
}

/// Asks the method and checks that a successful answer is the true one.
async fn ask(
    client: &Client,
    method: u32,
    last: &tycho_types::models::BlockId,
    shard: &tycho_types::models::BlockId,
    bob: &StdAddr,
    truth: &liteapi::Account,
) -> Result<(), Error> {
    use tl::Object;
    match method {
        liteapi::GetBlock::ID => {
            let block = client.block(shard).await?;
            assert_eq!(*block.cell.repr_hash(), shard.root_hash);
        }
        liteapi::GetAccountState::ID => {
            let account = client.account(last, bob).await?;
            assert_eq!(account.account, truth.account);
            assert_eq!((account.last_lt, account.last_hash), (truth.last_lt, truth.last_hash));
        }
        liteapi::GetTransactions::ID => {
            let list = client.transactions(bob, truth.last_lt, truth.last_hash, 10).await?;
            assert_eq!(list[0].hash, truth.last_hash);
        }
        liteapi::GetAllShardsInfo::ID => assert_eq!(client.shards(last).await?, [*shard]),
        _ => {
            let id = client.lookup_block(ShardIdent::MASTERCHAIN, last.seqno).await?.unwrap();
            // the file hash is not part of the proof: a wrong one shows when the block is fetched
            assert_eq!(id.root_hash, last.root_hash);
        }
    }
    Ok(())
}
