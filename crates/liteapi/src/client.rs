use std::collections::HashMap;
use std::time::Duration;

use tycho_types::models::{BlockId, BlockIdShort, BlockchainConfig, ShardIdent, StdAddr};
use tycho_types::prelude::*;

use crate::block_transactions::{check_block_transactions, check_block_transactions_ext, check_transaction};
use crate::check::{
    check_account, check_block, check_config, check_header, check_libraries, check_pruned_account, check_run, check_shard,
    check_shards, check_transactions,
};
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
        self.lookup(LookupBlock { id: BlockIdShort { shard, seqno }, by: LookupBy::Seqno }).await
    }

    /// The id of the block that holds a logical time; none when the servers know none. Believed as by [`Self::lookup_block`].
    pub async fn lookup_lt(&self, shard: ShardIdent, lt: u64) -> Result<Option<BlockId>, Error> {
        self.lookup(LookupBlock { id: BlockIdShort { shard, seqno: 0 }, by: LookupBy::Lt(lt) }).await
    }

    /// The id of the newest block that is not younger than a unix time. Believed as by [`Self::lookup_block`]; that it is the newest is the
    /// servers' word.
    pub async fn lookup_utime(&self, shard: ShardIdent, utime: u32) -> Result<Option<BlockId>, Error> {
        self.lookup(LookupBlock { id: BlockIdShort { shard, seqno: 0 }, by: LookupBy::Utime(utime) }).await
    }

    async fn lookup(&self, query: LookupBlock) -> Result<Option<BlockId>, Error> {
        self.heads.lookup(&self.pool, &query).await
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

    /// The block of one shard that a masterchain block names: of exactly this shard, or of any that shares accounts with it.
    pub async fn shard(&self, masterchain: &BlockId, shard: ShardIdent, exact: bool) -> Result<BlockId, Error> {
        let query = GetShardInfo { id: *masterchain, workchain: shard.workchain(), shard: shard.prefix(), exact };
        self.pool.ask(None, &query, |answer| check_shard(masterchain, shard, exact, &answer)).await
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

    /// As [`Self::account`], without code, data and libraries: of these there are the hashes.
    pub async fn pruned_account(&self, masterchain: &BlockId, address: &StdAddr) -> Result<Account, Error> {
        let query = GetAccountStatePruned { id: *masterchain, account: account_id(address) };
        let wait = Wait { seqno: masterchain.seqno, limit: self.pool.options().query_timeout };
        self.pool.ask(Some(wait), &query, |answer| check_pruned_account(masterchain, address, &answer)).await
    }

    /// The transaction of an account at a logical time in a block; none when the block has none there.
    pub async fn transaction(&self, block: &BlockId, address: &StdAddr, lt: u64) -> Result<Option<AccountTransaction>, Error> {
        let query = GetOneTransaction { id: *block, account: account_id(address), lt };
        self.pool.ask(None, &query, |answer| check_transaction(block, address, lt, &answer)).await
    }

    /// The ids of a block's transactions, all fields and the proof included whatever the arguments say.
    pub async fn list_block_transactions(&self, list: &ListTransactions) -> Result<Listed<ListedTransaction>, Error> {
        let query = ListBlockTransactions(ListTransactions { fields: 7, want_proof: true, ..list.clone() });
        self.pool.ask(None, &query, |answer| check_block_transactions(list, &answer)).await
    }

    /// A block's transactions themselves, the proof included whatever the arguments say.
    pub async fn list_block_transactions_ext(&self, list: &ListTransactions) -> Result<Listed<AccountTransaction>, Error> {
        let query = ListBlockTransactionsExt(ListTransactions { fields: 7, want_proof: true, ..list.clone() });
        self.pool.ask(None, &query, |answer| check_block_transactions_ext(list, &answer)).await
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

    /// The whole blockchain configuration at a masterchain block.
    pub async fn config_all(&self, masterchain: &BlockId) -> Result<BlockchainConfig, Error> {
        self.pool.ask(None, &GetConfigAll { mode: 0, id: *masterchain }, |answer| check_config(masterchain, &answer)).await
    }

    /// Library cells by their hashes; those that no server has are left out.
    pub async fn libraries(&self, hashes: &[HashBytes]) -> Result<HashMap<HashBytes, Cell>, Error> {
        let query = GetLibraries { library_list: hashes.to_vec() };
        self.pool.ask(None, &query, |answer| check_libraries(hashes, &answer)).await
    }

    /// Asks anything of network 6.3, such as clock and version. The answer is the word of the best server, and nothing is checked.
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

    /// Runs a get-method and returns exit code and stack. It is proven on which state it ran; the result is a server's word.
    pub async fn run_get_method(
        &self,
        masterchain: &BlockId,
        address: &StdAddr,
        method_id: u32,
        params: Vec<u8>,
    ) -> Result<(i32, Option<Vec<u8>>), Error> {
        const PROOFS_AND_RESULT: u32 = 0b111;
        let account = account_id(address);
        let query = RunSmcMethod { mode: PROOFS_AND_RESULT, id: *masterchain, account, method_id: method_id.into(), params };
        self.pool.ask(None, &query, |answer| check_run(masterchain, address, &answer)).await
    }
}

fn account_id(address: &StdAddr) -> AccountId {
    AccountId { workchain: address.workchain.into(), id: address.address }
}
