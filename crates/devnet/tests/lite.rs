//! The indexer's client against the devnet's lite servers, and against servers that lie.

mod common;
#[path = "common/lite.rs"]
mod lite;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adnl::keys::PrivateKey;
use common::User;
use devnet::chain::COIN;
use devnet::{Devnet, ServeOptions, Served, serve};
use lite::{is, twisted};
use liteapi::{
    BlockTransactions, Client, ClientOptions, Connection, ConnectionOptions, Error, Handler, ListTransactions, Listed,
    ListedTransaction, ServerAddress, ServerError, code,
};
use tycho_types::models::{BlockId, ShardIdent, StdAddr};
use tycho_types::prelude::*;
use wallet::Transfer;

const LIMIT: Duration = Duration::from_secs(10);
/// Id of the wallet's get-method `seqno`.
const SEQNO: u32 = 85_143;

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
    assert_eq!(id, SEQNO);
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
    use tycho_types::models::AccountState;
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
    let client = client(&served.lite_servers);
    let (all, part) =
        (client.account(&id, alice.address()).await.unwrap(), client.pruned_account(&id, alice.address()).await.unwrap());
    let code = |account: &liteapi::Account| match account.account.as_ref().map(|a| a.state.clone()) {
        Some(AccountState::Active(state)) => state.code.unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!(code(&all).repr_hash(), code(&part).repr_hash());
    assert_eq!((all.last_lt, all.last_hash), (part.last_lt, part.last_hash));
    assert!(code(&part).as_slice().is_err());
    let nobody = StdAddr::new(0, HashBytes([0xee; 32]));
    assert!(client.pruned_account(&id, &nobody).await.unwrap().account.is_none());
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

/// A block with several accounts and transactions: its id, and each transaction as it is listed.
async fn busy_block(devnet: &Devnet, client: &Client) -> (BlockId, Vec<ListedTransaction>) {
    let alice = User::new(1);
    devnet.faucet(alice.address().clone(), 100 * COIN).unwrap();
    devnet.mine().unwrap();
    let transfers = [2, 3, 4, 2].map(|to| Transfer::new(StdAddr::new(0, HashBytes([to; 32])), COIN).bounce(false));
    devnet.send(alice.message(0, devnet.now() + 60, transfers.to_vec())).unwrap();
    devnet.mine().unwrap();
    let last = client.masterchain_info().await.unwrap().last;
    let shard = client.shards(&last).await.unwrap()[0];
    let block = client.block(&shard).await.unwrap();
    let listed =
        |t: &liteapi::AccountTransaction| ListedTransaction { account: t.address.address, lt: t.transaction.lt, hash: t.hash };
    let mut all: Vec<_> = block.transactions.iter().map(listed).collect();
    all.sort();
    assert!(all.len() >= 5 && all.iter().filter(|t| t.account == HashBytes([2; 32])).count() == 2, "{all:?}");
    (shard, all)
}

fn list(id: BlockId, count: u32, reverse: bool, after: Option<(HashBytes, u64)>) -> ListTransactions {
    ListTransactions { id, fields: 0, count, after, reverse, want_proof: false }
}

#[tokio::test]
async fn transactions_of_a_block_are_listed_in_pages_both_ways() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let (block, all) = busy_block(&devnet, &client).await;
    for (count, reverse) in [(1, false), (1, true), (2, false), (2, true), (100, false), (100, true)] {
        let (mut read, mut whole, mut after) = (Vec::new(), Vec::new(), None);
        loop {
            let page = client.list_block_transactions(&list(block, count, reverse, after)).await.unwrap();
            let bodies = client.list_block_transactions_ext(&list(block, count, reverse, after)).await.unwrap();
            assert_eq!(page.incomplete, bodies.incomplete);
            whole.extend(bodies.transactions.iter().map(|t| t.hash));
            read.extend(page.transactions);
            after = read.last().map(|t: &ListedTransaction| (t.account, t.lt));
            if !page.incomplete {
                break;
            }
        }
        if reverse {
            read.reverse();
            whole.reverse();
        }
        assert_eq!(read, all);
        assert_eq!(whole, all.iter().map(|t| t.hash).collect::<Vec<_>>());
    }
    // Behind the last one there is nothing, which is proven too; the masterchain has none at all.
    let last = all.last().map(|t| (t.account, t.lt));
    let nothing = Listed { transactions: Vec::new(), incomplete: false };
    assert_eq!(client.list_block_transactions(&list(block, 9, false, last)).await.unwrap(), nothing);
    assert!(client.list_block_transactions_ext(&list(block, 9, false, last)).await.unwrap().transactions.is_empty());
    let masterchain = client.masterchain_info().await.unwrap().last;
    assert_eq!(client.list_block_transactions(&list(masterchain, 9, false, None)).await.unwrap(), nothing);
}

#[tokio::test]
async fn one_transaction_is_proven_to_be_in_a_block_or_not() {
    let (devnet, served) = start(1).await;
    let client = client(&served.lite_servers);
    let (block, all) = busy_block(&devnet, &client).await;
    for listed in &all {
        let address = StdAddr::new(0, listed.account);
        let found = client.transaction(&block, &address, listed.lt).await.unwrap().unwrap();
        assert_eq!((found.address, found.hash, found.transaction.lt), (address.clone(), listed.hash, listed.lt));
        assert!(client.transaction(&block, &address, listed.lt + 1).await.unwrap().is_none());
    }
    let nobody = StdAddr::new(0, HashBytes([0xee; 32]));
    assert!(client.transaction(&block, &nobody, all[0].lt).await.unwrap().is_none());
}

/// A server that leaves one out, names one that is not there, or ends too early.
#[tokio::test]
async fn a_list_with_a_gap_or_a_stranger_is_refused() {
    use tl::Object;
    type Spoil = fn(&mut BlockTransactions);
    let (devnet, served) = start(1).await;
    let (block, _) = busy_block(&devnet, &client(&served.lite_servers)).await;
    let spoils: [Spoil; 7] = [
        |answer| answer.ids.truncate(answer.ids.len() - 1),
        |answer| {
            answer.ids.remove(1);
        },
        |answer| answer.ids.swap(0, 1),
        |answer| answer.ids.push(answer.ids[0].clone()),
        |answer| answer.ids[2].hash = Some(HashBytes([7; 32])),
        |answer| answer.ids[2].lt = None,
        |answer| {
            answer.ids.clear();
            answer.incomplete = true;
        },
    ];
    for spoil in spoils {
        let liar = twisted(&devnet, move |method, answer| match is::<liteapi::ListBlockTransactions>(method) {
            true => {
                let mut list = BlockTransactions::from_boxed(&answer.unwrap()).unwrap();
                spoil(&mut list);
                Some(Ok(list.to_boxed()))
            }
            false => Some(answer),
        })
        .await;
        let alone = client(std::slice::from_ref(&liar));
        let refused = alone.list_block_transactions(&list(block, 100, false, None)).await;
        assert!(matches!(refused, Err(Error::Unproven(_))), "{refused:?}");
        let both = client(&[liar, served.lite_servers[0].clone()]);
        assert!(!both.list_block_transactions(&list(block, 100, false, None)).await.unwrap().transactions.is_empty());
    }
}

#[tokio::test]
async fn blocks_are_found_by_logical_time_unix_time_and_shard() {
    let (devnet, served) = start(2).await;
    let client = client(&served.lite_servers);
    let (block, all) = busy_block(&devnet, &client).await;
    devnet.mine().unwrap();
    let last = client.masterchain_info().await.unwrap().last;
    let (basechain, masterchain) = (ShardIdent::BASECHAIN, ShardIdent::MASTERCHAIN);
    assert_eq!(client.lookup_lt(basechain, all[0].lt).await.unwrap(), Some(block));
    assert_eq!(client.lookup_lt(basechain, u64::MAX).await.unwrap(), None);
    let time = client.header(&last).await.unwrap().gen_utime;
    assert_eq!(client.lookup_utime(masterchain, time + 100).await.unwrap(), Some(last));
    assert_eq!(client.lookup_utime(masterchain, 1).await.unwrap(), None);
    let newest = client.shards(&last).await.unwrap()[0];
    for exact in [true, false] {
        assert_eq!(client.shard(&last, basechain, exact).await.unwrap(), newest);
    }
    let half = ShardIdent::new(0, 1 << 62).unwrap();
    assert_eq!(client.shard(&last, half, false).await.unwrap(), newest);
    assert!(client.shard(&last, half, true).await.is_err());
    assert!(client.shard(&last, ShardIdent::new(7, 1 << 63).unwrap(), false).await.is_err());
}

/// Each is an answer of one question to another one, or the truth with another number in it.
#[tokio::test]
async fn a_block_of_another_time_is_refused() {
    use tl::Object;
    let (devnet, served) = start(1).await;
    let (_, all) = busy_block(&devnet, &client(&served.lite_servers)).await;
    let first = devnet.read(|ledger| ledger.block_by_seqno(ShardIdent::BASECHAIN, 1).unwrap().id);
    let asked = liteapi::LookupBlock { id: first.as_short_id(), by: liteapi::LookupBy::Seqno };
    let earlier = devnet.answer(&asked.to_boxed()).await.unwrap();
    let liar = twisted(&devnet, move |method, answer| match is::<liteapi::LookupBlock>(method) {
        true => Some(Ok(earlier.clone())),
        false => Some(answer),
    })
    .await;
    let alone = client(&[liar]);
    assert!(alone.lookup_lt(ShardIdent::BASECHAIN, all[0].lt).await.is_err());
    assert!(alone.lookup_lt(ShardIdent::MASTERCHAIN, 1).await.is_err());
    assert!(alone.lookup_utime(ShardIdent::BASECHAIN, 1).await.is_err());
    assert_eq!(alone.lookup_block(ShardIdent::BASECHAIN, 1).await.unwrap(), Some(first));
}

#[tokio::test]
async fn the_whole_configuration_and_libraries_are_read() {
    let (devnet, served) = start(1).await;
    let last = client(&served.lite_servers).masterchain_info().await.unwrap().last;
    let config = client(&served.lite_servers).config_all(&last).await.unwrap();
    assert_eq!(config.get_global_id().unwrap(), devnet::chain::GLOBAL_ID);
    // The devnet has no libraries: a server that has one, and one that has another than it says.
    let library = CellBuilder::build_from(7_u64).unwrap();
    for (hash, believed) in [(*library.repr_hash(), true), (HashBytes([3; 32]), false)] {
        let entry = liteapi::LibraryEntry { hash, data: Boc::encode(&library) };
        let server = twisted(&devnet, move |method, answer| match is::<liteapi::GetLibraries>(method) {
            true => Some(Ok(tl::Object::to_boxed(&liteapi::LibraryResult { result: vec![entry.clone()] }))),
            false => Some(answer),
        })
        .await;
        let asked = [hash, HashBytes([4; 32])];
        match client(&[server]).libraries(&asked).await {
            Ok(found) => assert!(believed && found.len() == 1 && found[&hash] == library),
            Err(error) => assert!(!believed && matches!(error, Error::Unproven(_)), "{error}"),
        }
    }
    assert!(client(&served.lite_servers).libraries(&[HashBytes([1; 32])]).await.unwrap().is_empty());
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
        liteapi::GetOneTransaction::ID,
        liteapi::ListBlockTransactions::ID,
        liteapi::ListBlockTransactionsExt::ID,
        liteapi::GetShardInfo::ID,
        liteapi::RunSmcMethod::ID,
        liteapi::GetAccountStatePruned::ID,
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
        liteapi::GetShardInfo::ID => assert_eq!(client.shard(last, ShardIdent::BASECHAIN, true).await?, *shard),
        liteapi::GetOneTransaction::ID => {
            let found = client.transaction(shard, bob, truth.last_lt).await?;
            assert_eq!(found.unwrap().hash, truth.last_hash);
        }
        liteapi::ListBlockTransactions::ID => {
            let listed = client.list_block_transactions(&list(*shard, 100, false, None)).await?;
            assert!(listed.transactions.iter().any(|t| t.hash == truth.last_hash));
        }
        liteapi::ListBlockTransactionsExt::ID => {
            let listed = client.list_block_transactions_ext(&list(*shard, 100, false, None)).await?;
            assert!(listed.transactions.iter().any(|t| t.hash == truth.last_hash));
        }
        liteapi::GetAccountStatePruned::ID => {
            let account = client.pruned_account(last, bob).await?;
            assert_eq!((account.last_lt, account.last_hash), (truth.last_lt, truth.last_hash));
        }
        // What a get-method returned is not proven, but on what it ran.
        liteapi::RunSmcMethod::ID => drop(client.run_get_method(last, User::new(1).address(), SEQNO, vec![]).await?),
        _ => {
            let id = client.lookup_block(ShardIdent::MASTERCHAIN, last.seqno).await?.unwrap();
            // the file hash is not part of the proof: a wrong one shows when the block is fetched
            assert_eq!(id.root_hash, last.root_hash);
        }
    }
    Ok(())
}
