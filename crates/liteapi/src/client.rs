use std::time::Duration;

use tycho_types::models::{BlockId, BlockIdShort, BlockchainConfig, ShardIdent, StdAddr};
use tycho_types::prelude::*;

use crate::check::{check_account, check_block, check_config, check_header, check_shards, check_transactions};
use crate::head::Heads;
use crate::pool::{Pool, Wait};
use crate::*;

/// Which masterchain blocks are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// Those that [`ClientOptions::agreement`] servers name.
    Fast,
    /// Those that are proven from a trusted block by validators' signatures. One honest server is enough.
    Secure {
        /// A masterchain key block, or the zero state: the network's configuration has one ([`init_block_of_global_config`]).
        trusted: BlockId,
    },
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
    /// A server that did not answer is not asked again within this time while another one answers; doubled with each failure.
    pub reconnect_delay: Duration,
    /// Which masterchain blocks are believed.
    pub policy: Policy,
    /// So many servers must name a masterchain block that nothing else proves; all of them if there are fewer.
    pub agreement: usize,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connection: ConnectionOptions::default(),
            query_timeout: Duration::from_secs(5),
            rounds: 2,
            reconnect_delay: Duration::from_secs(1),
            policy: Policy::Fast,
            agreement: 2,
        }
    }
}

/// Several lite servers as one. Connects when it is first asked.
pub struct Client {
    pool: Pool,
    heads: Heads,
}

impl Client {
    /// A client of these servers.
    ///
    /// # Errors
    /// [`Error::NoServer`] when there are none.
    pub fn new(servers: Vec<ServerAddress>, options: ClientOptions) -> Result<Self, Error> {
        let heads = Heads::new(options.policy);
        Ok(Self { pool: Pool::new(servers, options)?, heads })
    }

    /// How each server is doing, in the order in which they were given.
    pub fn servers(&self) -> Vec<ServerHealth> {
        self.pool.health()
    }

    /// The newest key block that was proven, under [`Policy::Secure`]: what a new client may trust.
    pub fn trusted(&self) -> Option<BlockId> {
        self.heads.trusted()
    }

    /// The newest masterchain block; never an older one than before. Only `last` of the answer is checked.
    pub async fn masterchain_info(&self) -> Result<MasterchainInfo, Error> {
        self.heads.newest(&self.pool, None).await
    }

    /// Waits until a masterchain block is known and returns the newest one. Error 652 after `limit`.
    pub async fn wait_masterchain_seqno(&self, seqno: u32, limit: Duration) -> Result<MasterchainInfo, Error> {
        self.heads.newest(&self.pool, Some(Wait { seqno, limit })).await
    }

    /// The id of a block by its seqno; none when the servers do not know it. Signatures prove masterchain blocks only: of other blocks
    /// several servers must give the same id under both policies.
    pub async fn lookup_block(&self, shard: ShardIdent, seqno: u32) -> Result<Option<BlockId>, Error> {
        self.heads.lookup(&self.pool, BlockIdShort { shard, seqno }).await
    }

    /// The header of a block.
    pub async fn header(&self, id: &BlockId) -> Result<tycho_types::models::BlockInfo, Error> {
        let query = GetBlockHeader { id: *id, mode: 0 };
        self.pool
            .ask(None, &query, |answer| match answer.id == *id {
                true => check_header(&id.as_short_id(), &answer),
                false => Err(Error::Unproven("another block")),
            })
            .await
    }

    /// The shard blocks that a masterchain block names.
    pub async fn shards(&self, masterchain: &BlockId) -> Result<Vec<BlockId>, Error> {
        self.pool.ask(None, &GetAllShardsInfo { id: *masterchain }, |answer| check_shards(masterchain, &answer)).await
    }

    /// A block with all its transactions.
    pub async fn block(&self, id: &BlockId) -> Result<Block, Error> {
        self.pool.ask(None, &GetBlock { id: *id }, |answer| check_block(id, &answer)).await
    }

    /// An account at a masterchain block.
    pub async fn account(&self, masterchain: &BlockId, address: &StdAddr) -> Result<Account, Error> {
        let query = GetAccountState { id: *masterchain, account: account_id(address) };
        let wait = Wait { seqno: masterchain.seqno, limit: self.pool.options().query_timeout };
        self.pool.ask(Some(wait), &query, |answer| check_account(masterchain, address, &answer)).await
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
        self.pool.ask(None, &query, |answer| check_transactions(address, (lt, hash), count, &answer)).await
    }

    /// Parameters of the blockchain configuration at a masterchain block. Looking up others in it is an error.
    pub async fn config(&self, masterchain: &BlockId, params: &[i32]) -> Result<BlockchainConfig, Error> {
        let query = GetConfigParams { mode: 0, id: *masterchain, param_list: params.to_vec() };
        self.pool.ask(None, &query, |answer| check_config(masterchain, &answer)).await
    }

    /// Asks anything of network 6.3. The answer is the word of the best server, and nothing is checked.
    pub async fn unproven<M: Method>(&self, method: &M) -> Result<M::Answer, Error> {
        self.pool.ask(None, method, Ok).await
    }

    /// Sends an external message. That a server takes it does not mean that the account will.
    pub async fn send_message(&self, message: &Cell) -> Result<(), Error> {
        let query = SendMessage { body: Boc::encode(message) };
        self.pool
            .ask(None, &query, |answer| match answer.status {
                1 => Ok(()),
                _ => Err(Error::Server(ServerError { code: code::NOT_READY, message: "message not taken".into() })),
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
        self.pool.ask(None, &query, |answer| Ok((answer.exit_code, answer.result))).await
    }
}

fn account_id(address: &StdAddr) -> AccountId {
    AccountId { workchain: address.workchain.into(), id: address.address }
}
