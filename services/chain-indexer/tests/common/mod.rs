//! A node's surroundings: the embedded chain behind two lite servers, a database with the node's channels, and a peer with a wallet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use adnl::keys::PrivateKey;
use chain_indexer::{Config, KeystoreConfig, Proofs};
use contract::{CodeKind, InitToSign, Message, OpenConfig, Pair, SettleToSign, Side, StartToSign, ToSign, constants};
use devnet::chain::{COIN, GLOBAL_ID};
use devnet::{Devnet, ServeOptions, Served};
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::{ChainUpdate, Policy, Task, Write, opening};
use rpc::{Health, InProcess, ServerConfig};
use signer::{ContractMessage, KeySource, Keys, LocalSigner, Signer, Step};
use store::chain::{self, Account, NewOrder, OrderEnd, WalletMessage};
use store::{Change, Committer, Database, Fence, Pool, Verdict, lease};
use tempfile::TempDir;
use testkit::{Cluster, wait_for};
use tokio_util::sync::CancellationToken;
use tycho_types::models::{BlockId, StateInit, StdAddr};
use wallet::{Transfer, Wallet, wallet_id};
use wire::conditionals::{Settlement, resolutions_cell};
use wire::{Body, Condition, Conditionals, Resolution, SignedState, State};

const LIMIT: Duration = Duration::from_secs(60);
const BLOCK: Duration = Duration::from_millis(100);
const ENGINE: &str = "engine-1";

pub struct World {
    pub devnet: Devnet,
    pub pool: Pool,
    url: String,
    committer: Committer,
    served: Served,
    held: Arc<AtomicBool>,
    folder: TempDir,
    signer: Arc<LocalSigner>,
    wallet: Wallet,
    _cluster: Cluster,
}

impl World {
    pub async fn start() -> Self {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        // Each test of the process tries.
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let devnet = Devnet::in_memory().unwrap();
        let lite_servers = (1..=2).map(|n| (PrivateKey::from_seed(&[n; 32]), 0)).collect();
        let options = ServeOptions { lite_servers, control_port: None, block_interval: None };
        let served = devnet::serve(devnet.clone(), options).await.unwrap();
        let held = Arc::new(AtomicBool::new(false));
        let (chain, hold) = (devnet.clone(), held.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BLOCK).await;
                if !hold.load(Ordering::SeqCst) {
                    chain.mine().unwrap();
                }
            }
        });
        let cluster = Cluster::temporary().await.unwrap();
        let url = cluster.create_database("node").await.unwrap().url;
        let database = Database::new(&url, "test").unwrap();
        store::migrate(&database).await.unwrap();
        let pool = database.pool(4).unwrap();
        let client = pool.get().await.unwrap();
        lease::renew(&client, ENGINE, "", Duration::from_secs(3600)).await.unwrap();
        lease::take(&client, ENGINE).await.unwrap();
        let committer = Committer::start(&database, 1).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let signer = Arc::new(LocalSigner::new(keys(&folder)));
        let wallet = Wallet::new(&signer.wallet_key(), wallet_id(GLOBAL_ID)).unwrap();
        Self { devnet, pool, url, committer, served, held, folder, signer, wallet, _cluster: cluster }
    }

    /// Starts an indexer under this name. Those before it must have been stopped or killed.
    pub fn indexer(&self, id: &str) -> Indexer {
        self.indexer_trusting(id, &self.key_block())
    }

    /// The only key block of the chain.
    pub fn key_block(&self) -> BlockId {
        self.devnet.read(|ledger| *ledger.key_block())
    }

    /// The same, with another block that its configuration says to trust.
    pub fn indexer_trusting(&self, id: &str, init_block: &BlockId) -> Indexer {
        let zero_state = self.devnet.read(|ledger| *ledger.zero_state());
        let network = devnet::global_config(&self.served.lite_servers, &zero_state, init_block, Default::default());
        let global_config = self.folder.path().join("global.config.json");
        std::fs::write(&global_config, network.to_string()).unwrap();
        let config = Config {
            indexer_id: id.into(),
            database: self.url.clone(),
            pool_size: 3,
            server: ServerConfig::plain("127.0.0.1:0".parse().unwrap()),
            metrics: None,
            keystore: keystore(&self.folder),
            lite_servers: Vec::new(),
            global_config: Some(global_config),
            // Whole networks are tested with the other one.
            proofs: Proofs::Secure,
            global_id: GLOBAL_ID,
            first_block: Some(1),
            settable_clock: true,
            telemetry: Default::default(),
        };
        let (api, listener) = InProcess::new();
        let stop = CancellationToken::new();
        let run = chain_indexer::run(config, Some(listener), Health::new(), rpc::Metrics::default(), stop.clone());
        // A runtime of its own, so that killing it kills everything that it started.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let task = runtime.spawn(run);
        Indexer { api, stop, task, runtime }
    }

    /// A channel of the node, who is A, with the peer: known to the engine, not yet on the chain.
    pub async fn channel(&self, n: u32) -> Channel {
        let parties = opening::Parties {
            a: (self.signer.channel_key(), self.wallet.address().address.0),
            b: (peer_key().verifying_key().to_bytes(), [78; 32]),
        };
        let config = opening::open_config(&Policy::ton(), &parties, 1_700_000_000 + n);
        let code = CodeKind::of(&channel_contract_ton::code());
        let mut row = opening::new_channel(&Policy::ton(), &code, config, parties.a.0);
        row.version += 1;
        let fence = Fence { channel: row.address, shard: store::shard_of(&parties.b.0), epoch: 1, version: row.version };
        let address = row.address;
        let change = Change::new(fence, vec![Write::Channel(Box::new(row))], vec![]).unwrap();
        assert_eq!(self.committer.commit(change).await.unwrap(), Verdict::Applied);
        let part = InitToSign { channel_id: config.channel_id };
        let signature = self.signer.sign_contract(&ContractMessage::Init(part.clone())).await.unwrap();
        Channel { address, config, init: Message::Init { by: Side::A, signature, part } }
    }

    pub async fn fund(&self, nano: u128) {
        self.devnet.faucet(self.wallet.address().clone(), nano).unwrap();
        self.devnet.mine().unwrap();
    }

    pub async fn place(&self, orders: &[NewOrder]) {
        chain::place(&self.pool.get().await.unwrap(), orders).await.unwrap();
    }

    pub async fn order(&self, id: &str) -> Option<OrderEnd> {
        chain::order_of(&self.pool.get().await.unwrap(), id).await.unwrap().unwrap().1
    }

    pub async fn end_of(&self, id: &str) -> OrderEnd {
        wait_for(id, LIMIT, async || self.order(id).await.ok_or("under way")).await.unwrap()
    }

    /// The last block that was read.
    pub async fn block(&self) -> u32 {
        chain::block(&self.pool.get().await.unwrap()).await.unwrap()
    }

    /// Waits until everything that is on the chain now was read.
    pub async fn caught_up(&self) {
        let seqno = self.devnet.status().seqno + 1;
        let read = async || if self.block().await >= seqno { Ok(()) } else { Err("behind") };
        wait_for("the cursor", LIMIT, read).await.unwrap();
    }

    pub async fn account_with_deposit(&self, channel: &Channel, nano: u128) -> Account {
        wait_for("the deposit", LIMIT, async || {
            let account = chain::account_of(&self.pool.get().await.unwrap(), &channel.address).await.unwrap();
            account.filter(|a| a.storage.balance.deposited.a == nano).ok_or("not there")
        })
        .await
        .unwrap()
    }

    pub async fn message_under_way(&self) -> WalletMessage {
        wait_for("a wallet message", LIMIT, async || {
            chain::under_way(&self.pool.get().await.unwrap()).await.unwrap().ok_or("none")
        })
        .await
        .unwrap()
    }

    /// Tasks of a channel that wait for the engine, in the order of their making.
    pub async fn tasks(&self, channel: &Channel) -> Vec<Task> {
        let shards: Vec<u8> = (0..=255).collect();
        let client = self.pool.get().await.unwrap();
        let due = store::engine::due(&client, &shards, i64::MAX as u64, &[], 1_000).await.unwrap();
        due.into_iter().map(|due| due.task).filter(|task| task.channel == channel.address).map(|task| task.task).collect()
    }

    /// Waits until the updates of a channel are as wanted.
    pub async fn updates(&self, channel: &Channel, wanted: impl Fn(&[ChainUpdate]) -> bool) -> Vec<ChainUpdate> {
        wait_for("updates", LIMIT, async || {
            let mut updates = Vec::new();
            for task in self.tasks(channel).await {
                if let Task::Chain(update) = task {
                    updates.push(*update);
                }
            }
            if wanted(&updates) { Ok(updates) } else { Err("not yet") }
        })
        .await
        .unwrap()
    }

    /// The peer sends these messages to a channel, all in one block.
    pub async fn send_from_peer(&self, channel: &Channel, seqno: u32, messages: &[Message]) {
        let wallet = Wallet::new(&peer_key().verifying_key().to_bytes(), wallet_id(GLOBAL_ID)).unwrap();
        if seqno == 0 {
            self.devnet.faucet(wallet.address().clone(), 100 * COIN).unwrap();
            self.devnet.mine().unwrap();
        }
        let to = StdAddr::new(0, channel.address.into());
        let transfers = messages.iter().map(|m| Transfer::new(to.clone(), constants::SETTLE_VALUE).body(m.to_cell())).collect();
        let order = wallet::Order { seqno, valid_until: self.devnet.now() + 600, transfers };
        let signature = peer_key().sign(&order.signing_hash(&wallet).unwrap()).to_bytes();
        self.devnet.send(order.external_message(&wallet, &signature).unwrap()).unwrap();
    }

    /// Our signed state with `count` conditionals, and the peer's messages that start a close and settle each.
    pub async fn dispute(&self, channel: &Channel, count: u8) -> Dispute {
        let keys: Vec<SigningKey> = (1..=count).map(|n| SigningKey::from_bytes(&[n; 32])).collect();
        let deadline = u64::from(self.devnet.now()) + 30 * 24 * 3600;
        let condition = |key: &SigningKey| {
            let key = key.verifying_key().to_bytes();
            Condition { key, capacity: COIN, fee: 0, prepay: 0, deadline: deadline.try_into().unwrap() }
        };
        let conditionals = Conditionals::from_conditions(keys.iter().map(condition)).unwrap();
        let channel_id = channel.config.channel_id;
        let ours = Body { seqno: 1, sent: 0, conditionals: conditionals.root_hash() };
        let theirs = Body { seqno: 1, sent: 0, conditionals: [0; 32] };
        let state = State { channel_id, body: ours, counterparty: Some(theirs) };
        let agreed = Body { seqno: 0, sent: 0, conditionals: [0; 32] };
        let signature = self.signer.sign_state(&state, Step::Action { agreed }).await.unwrap();
        let our_state = SignedState { signature, state };
        let state = State { channel_id, body: theirs, counterparty: Some(ours) };
        let their_state = SignedState { signature: peer_key().sign(&state.hash()).to_bytes(), state };
        let part = StartToSign { channel_id, states: Pair { a: our_state, b: their_state } };
        let signature = peer_key().sign(&part.hash()).to_bytes();
        let start = Message::StartUncooperativeClose { by: Side::B, signature, part };
        let mut settlement = Settlement::new(&conditionals);
        let mut settles = Vec::new();
        for (amount, key) in (1..).zip(&keys) {
            let index = condition(key).index();
            let proof = settlement.proof(&[index]).unwrap().unwrap();
            let resolutions = resolutions_cell([(index, Resolution::sign(key, amount))]);
            settlement.settle(&[index]).unwrap();
            let part = SettleToSign { channel_id, resolutions, proof };
            let signature = peer_key().sign(&part.hash()).to_bytes();
            settles.push(Message::SettleConditionals { from: Side::B, signature, part });
        }
        Dispute { our_state, start, settles }
    }

    /// No more blocks for now.
    pub fn hold_blocks(&self) {
        self.held.store(true, Ordering::SeqCst);
    }

    pub fn release_blocks(&self) {
        self.held.store(false, Ordering::SeqCst);
    }
}

/// What the peer does when it closes alone.
pub struct Dispute {
    pub our_state: SignedState,
    pub start: Message,
    pub settles: Vec<Message>,
}

fn peer_key() -> SigningKey {
    SigningKey::from_bytes(&[77; 32])
}

fn keystore(folder: &TempDir) -> KeystoreConfig {
    KeystoreConfig { path: folder.path().join("keystore"), key_file: folder.path().join("key") }
}

fn keys(folder: &TempDir) -> Keys {
    let KeystoreConfig { path, key_file } = keystore(folder);
    Keys::open_or_create(&path, &KeySource::KeyFile(key_file)).unwrap()
}

/// A channel of the node with a peer.
pub struct Channel {
    pub address: protocol::Address,
    config: OpenConfig,
    init: Message,
}

impl Channel {
    pub fn quarantine(&self) -> u32 {
        self.config.closing.quarantine_duration
    }

    /// Deploys and initialises.
    pub fn init(&self, id: &str) -> NewOrder {
        let init = StateInit {
            code: Some(channel_contract_ton::code()),
            data: Some(self.config.initial_data()),
            ..StateInit::default()
        };
        let value = self.config.payment.storage_fee + constants::DEPLOY_VALUE;
        let init = ton::CellBuilder::build_from(init).unwrap();
        NewOrder { state_init: Some(init), bounce: false, ..self.order(id, value, &self.init) }
    }

    /// Puts coins on the node's side.
    pub fn top_up(&self, id: &str, nano: u128) -> NewOrder {
        self.order(id, nano + constants::TON_ACCEPT, &Message::TopUp { side: Side::A })
    }

    fn order(&self, id: &str, value: u128, message: &Message) -> NewOrder {
        NewOrder {
            id: id.into(),
            channel: Some(self.address),
            destination: ton::Address::basechain(self.address),
            value,
            body: Some(message.to_cell()),
            state_init: None,
            bounce: true,
        }
    }
}

/// A running indexer.
pub struct Indexer {
    pub api: InProcess,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    runtime: tokio::runtime::Runtime,
}

impl Indexer {
    /// Ends it wherever it is.
    pub fn kill(self) {
        self.runtime.shutdown_background();
    }

    /// As by SIGTERM.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        self.runtime.shutdown_background();
    }
}
