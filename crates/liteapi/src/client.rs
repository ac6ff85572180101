use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use adnl::keys::PublicKey;
use tokio::sync::Mutex;
use tokio::time::Instant;
use tracing::{debug, warn};
use tycho_types::models::{BlockId, BlockIdShort, ShardIdent, StdAddr};
use tycho_types::prelude::*;

use crate::check::{check_account, check_block, check_header, check_shards, check_transactions};
use crate::*;

/// Where a lite server is and which key it has.
#[derive(Debug, Clone)]
pub struct ServerAddress {
    /// Its address.
    pub address: SocketAddr,
    /// Its key.
    pub key: PublicKey,
}

/// How the client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// For each connection.
    pub connection: ConnectionOptions,
    /// Time for one question to one server.
    pub query_timeout: Duration,
    /// How often all servers are asked before an error is returned.
    pub rounds: usize,
    /// A server that could not be reached is not tried again within this time while another one answers.
    pub reconnect_delay: Duration,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            query_timeout: Duration::from_secs(5),
            rounds: 2,
            reconnect_delay: Duration::from_secs(1),
        }
    }
}

/// Several lite servers as one: asks one, and the next when it does not answer or its answer does not hold.
pub struct Client {
    servers: Vec<Server>,
    /// The server that answered last.
    current: AtomicUsize,
    options: ClientOptions,
}

struct Server {
    address: ServerAddress,
    link: Mutex<Link>,
}

#[derive(Default)]
struct Link {
    connection: Option<Arc<Connection>>,
    failed_at: Option<Instant>,
}

impl Server {
    /// The open connection, or a new one. Callers queue up behind one attempt to connect.
    async fn connection(&self, options: &ClientOptions, last_resort: bool) -> Result<Arc<Connection>, Error> {
        let mut link = self.link.lock().await;
        if let Some(connection) = link.connection.as_ref().filter(|c| !c.is_closed()) {
            return Ok(connection.clone());
        }
        link.connection = None;
        if !last_resort && link.failed_at.is_some_and(|at| at.elapsed() < options.reconnect_delay) {
            return Err(Error::Closed);
        }
        match Connection::connect(self.address.address, self.address.key, &options.connection).await {
            Ok(connection) => {
                let connection = Arc::new(connection);
                *link = Link { connection: Some(connection.clone()), failed_at: None };
                Ok(connection)
            }
            Err(error) => {
                link.failed_at = Some(Instant::now());
                Err(error)
            }
        }
    }
}

impl Client {
    /// A client of these servers. Connects when it is first asked.
    pub fn new(servers: Vec<ServerAddress>, options: ClientOptions) -> Result<Self, Error> {
        if servers.is_empty() {
            return Err(Error::NoServer);
        }
        let servers = servers.into_iter().map(|address| Server { address, link: Mutex::default() }).collect();
        Ok(Self { servers, current: AtomicUsize::new(0), options })
    }

    /// The newest masterchain block, as a server says.
    pub async fn masterchain_info(&self) -> Result<MasterchainInfo, Error> {
        self.ask(None, &GetMasterchainInfo {}, check_is_masterchain).await
    }

    /// Waits until a masterchain block is known and returns the newest one. Error 652 after `limit`.
    pub async fn wait_masterchain_seqno(&self, seqno: u32, limit: Duration) -> Result<MasterchainInfo, Error> {
        let wait = Wait { seqno, limit };
        self.ask(Some(wait), &GetMasterchainInfo {}, |info| {
            let info = check_is_masterchain(info)?;
            match info.last.seqno >= seqno {
                true => Ok(info),
                false => Err(Error::Unproven("the server did not wait")),
            }
        })
        .await
    }

    /// The id of a block by its seqno; none when the servers do not know it.
    pub async fn lookup_block(&self, shard: ShardIdent, seqno: u32) -> Result<Option<BlockId>, Error> {
        let id = BlockIdShort { shard, seqno };
        let found = self
            .ask(None, &LookupBlock { id, by: LookupBy::Seqno }, |answer| check_header(&id, &answer).map(|_| answer.id))
            .await;
        match found {
            Ok(found) => Ok(Some(found)),
            Err(error) if error.server_code() == Some(code::BLOCK_NOT_FOUND) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The shard blocks that a masterchain block names.
    pub async fn shards(&self, masterchain: &BlockId) -> Result<Vec<BlockId>, Error> {
        self.ask(None, &GetAllShardsInfo { id: *masterchain }, |answer| check_shards(masterchain, &answer)).await
    }

    /// A block with all its transactions.
    pub async fn block(&self, id: &BlockId) -> Result<Block, Error> {
        self.ask(None, &GetBlock { id: *id }, |answer| check_block(id, &answer)).await
    }

    /// An account at a masterchain block.
    pub async fn account(&self, masterchain: &BlockId, address: &StdAddr) -> Result<Account, Error> {
        let query = GetAccountState { id: *masterchain, account: account_id(address) };
        let wait = Wait { seqno: masterchain.seqno, limit: self.options.query_timeout };
        self.ask(Some(wait), &query, |answer| check_account(masterchain, address, &answer)).await
    }

    /// At most `count` transactions of an account backwards from the one with this logical time and hash, newest first.
    pub async fn transactions(
        &self,
        address: &StdAddr,
        lt: u64,
        hash: HashBytes,
        count: u32,
    ) -> Result<Vec<AccountTransaction>, Error> {
        let query = GetTransactions { count, account: account_id(address), lt, hash };
        self.ask(None, &query, |answer| check_transactions(address, (lt, hash), count, &answer)).await
    }

    /// Sends an external message. That a server takes it does not mean that the account will.
    pub async fn send_message(&self, message: &Cell) -> Result<(), Error> {
        self.ask(None, &SendMessage { body: Boc::encode(message) }, |answer| match answer.status {
            1 => Ok(()),
            _ => Err(Error::Unproven("message not taken")),
        })
        .await
    }

    /// Runs a get-method and returns exit code and stack (a server's word: the result is not proven).
    pub async fn run_get_method(
        &self,
        masterchain: &BlockId,
        address: &StdAddr,
        method_id: u32,
        params: Vec<u8>,
    ) -> Result<(i32, Option<Vec<u8>>), Error> {
        const RESULT: u32 = 1 << 2;
        let account = account_id(address);
        let query = RunSmcMethod { mode: RESULT, id: *masterchain, account, method_id: method_id.into(), params };
        self.ask(None, &query, |answer| Ok((answer.exit_code, answer.result))).await
    }

    /// Asks the servers in turn until one gives an answer that passes `check`.
    async fn ask<M: Method, T>(
        &self,
        wait: Option<Wait>,
        method: &M,
        check: impl Fn(M::Answer) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let first = self.current.load(Ordering::Relaxed);
        let attempts = self.servers.len() * self.options.rounds.max(1);
        let mut last_error = Error::NoServer;
        for attempt in 0..attempts {
            let index = (first + attempt) % self.servers.len();
            let server = &self.servers[index];
            let last_round = attempt + self.servers.len() >= attempts;
            match self.ask_server(server, wait, method, last_round).await.and_then(&check) {
                Ok(value) => {
                    self.current.store(index, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error) if wait.is_some() && error.server_code() == Some(code::TIMEOUT) => return Err(error),
                Err(error @ (Error::Unproven(_) | Error::Tl(_) | Error::Boc(_) | Error::Cell(_))) => {
                    warn!(server = %server.address.address, %error, "a lite server's answer does not hold");
                    last_error = error;
                }
                Err(error) => {
                    debug!(server = %server.address.address, %error, "a lite server did not answer");
                    // a definite answer of a server says more than another one's silence
                    if error.server_code().is_some() || last_error.server_code().is_none() {
                        last_error = error;
                    }
                }
            }
        }
        Err(last_error)
    }

    async fn ask_server<M: Method>(
        &self,
        server: &Server,
        wait: Option<Wait>,
        method: &M,
        last_resort: bool,
    ) -> Result<M::Answer, Error> {
        let connection = server.connection(&self.options, last_resort).await?;
        match wait {
            None => connection.query(method, self.options.query_timeout).await,
            Some(wait) => connection.query_after(wait.seqno, method, wait.limit).await,
        }
    }
}

/// Answer only after this masterchain block is known.
#[derive(Clone, Copy)]
struct Wait {
    seqno: u32,
    limit: Duration,
}

fn check_is_masterchain(info: MasterchainInfo) -> Result<MasterchainInfo, Error> {
    match info.last.shard.is_masterchain() {
        true => Ok(info),
        false => Err(Error::Unproven("not a masterchain block")),
    }
}

fn account_id(address: &StdAddr) -> AccountId {
    AccountId { workchain: address.workchain.into(), id: address.address }
}
