//! What lite servers are asked (network 6.3, appendix A).

use tl::{Error, Object, Reader, Writer};
use tycho_types::models::{BlockId, BlockIdShort};
use tycho_types::prelude::HashBytes;

use crate::field::{Field, object};
use crate::types::*;

/// A query and the type of its answer.
pub trait Method: Object {
    /// The answer, unless it is a [`ServerError`].
    type Answer: Object;
}

object! {
    /// Wraps every lite query inside an ADNL query.
    LiteQuery("liteServer.query data:bytes = Object") {
        /// Prefixes and the boxed method.
        data: Vec<u8>,
    }
}
object! {
    /// A prefix: answer the method behind it when this masterchain block is known.
    WaitMasterchainSeqno("liteServer.waitMasterchainSeqno seqno:int timeout_ms:int = Object") {
        /// The block to wait for.
        seqno: u32,
        /// Error 652 after this time.
        timeout_ms: u32,
    }
}
object! {
    /// The newest masterchain block.
    GetMasterchainInfo("liteServer.getMasterchainInfo = liteServer.MasterchainInfo") {} => MasterchainInfo
}
object! {
    /// The newest masterchain block and the server's clock.
    GetMasterchainInfoExt("liteServer.getMasterchainInfoExt mode:# = liteServer.MasterchainInfoExt") {
        /// 0.
        mode: u32,
    } => MasterchainInfoExt
}
object! {
    /// The server's clock.
    GetTime("liteServer.getTime = liteServer.CurrentTime") {} => CurrentTime
}
object! {
    /// The server's version.
    GetVersion("liteServer.getVersion = liteServer.Version") {} => Version
}
object! {
    /// A whole block.
    GetBlock("liteServer.getBlock id:tonNode.blockIdExt = liteServer.BlockData") {
        /// Its id.
        id: BlockId,
    } => BlockData
}
object! {
    /// A block's header.
    GetBlockHeader("liteServer.getBlockHeader id:tonNode.blockIdExt mode:# = liteServer.BlockHeader") {
        /// Its id.
        id: BlockId,
        /// 0.
        mode: u32,
    } => BlockHeader
}
object! {
    /// Sends an external message.
    SendMessage("liteServer.sendMessage body:bytes = liteServer.SendMsgStatus") {
        /// Its BoC.
        body: Vec<u8>,
    } => SendMsgStatus
}
object! {
    /// An account at a masterchain block.
    GetAccountState("liteServer.getAccountState id:tonNode.blockIdExt account:liteServer.accountId = liteServer.AccountState") {
        /// The masterchain block.
        id: BlockId,
        /// The account.
        account: AccountId,
    } => AccountState
}
object! {
    /// As [`GetAccountState`], with the account's state pruned down to its code's and data's hashes.
    GetAccountStatePruned("liteServer.getAccountStatePrunned id:tonNode.blockIdExt account:liteServer.accountId = liteServer.AccountState") {
        /// The masterchain block.
        id: BlockId,
        /// The account.
        account: AccountId,
    } => AccountState
}
object! {
    /// Library cells by their hashes.
    GetLibraries("liteServer.getLibraries library_list:(vector int256) = liteServer.LibraryResult") {
        /// Their hashes.
        library_list: Vec<HashBytes>,
    } => LibraryResult
}
object! {
    /// Runs a get-method at a masterchain block.
    RunSmcMethod("liteServer.runSmcMethod mode:# id:tonNode.blockIdExt account:liteServer.accountId method_id:long params:bytes = liteServer.RunMethodResult") {
        /// What to return, bits as in [`RunMethodResult`].
        mode: u32,
        /// The masterchain block.
        id: BlockId,
        /// The account.
        account: AccountId,
        /// CRC-16 of the name with bit 16 set.
        method_id: u64,
        /// The stack.
        params: Vec<u8>,
    } => RunMethodResult
}
object! {
    /// One shard of a masterchain block.
    GetShardInfo("liteServer.getShardInfo id:tonNode.blockIdExt workchain:int shard:long exact:Bool = liteServer.ShardInfo") {
        /// The masterchain block.
        id: BlockId,
        /// 0.
        workchain: i32,
        /// Any shard prefix.
        shard: u64,
        /// Whether the prefix must be the shard's own.
        exact: bool,
    } => ShardInfo
}
object! {
    /// All shards of a masterchain block.
    GetAllShardsInfo("liteServer.getAllShardsInfo id:tonNode.blockIdExt = liteServer.AllShardsInfo") {
        /// The masterchain block.
        id: BlockId,
    } => AllShardsInfo
}
object! {
    /// A transaction of a block.
    GetOneTransaction("liteServer.getOneTransaction id:tonNode.blockIdExt account:liteServer.accountId lt:long = liteServer.TransactionInfo") {
        /// The shard block.
        id: BlockId,
        /// The account.
        account: AccountId,
        /// Logical time.
        lt: u64,
    } => TransactionInfo
}
object! {
    /// Transactions of one account backwards from a known one.
    GetTransactions("liteServer.getTransactions count:# account:liteServer.accountId lt:long hash:int256 = liteServer.TransactionList") {
        /// How many at most.
        count: u32,
        /// The account.
        account: AccountId,
        /// Logical time of the newest one wanted.
        lt: u64,
        /// Its hash.
        hash: HashBytes,
    } => TransactionList
}
object! {
    /// The whole blockchain configuration.
    GetConfigAll("liteServer.getConfigAll mode:# id:tonNode.blockIdExt = liteServer.ConfigInfo") {
        /// 0.
        mode: u32,
        /// The masterchain block.
        id: BlockId,
    } => ConfigInfo
}
object! {
    /// Some parameters of the blockchain configuration.
    GetConfigParams("liteServer.getConfigParams mode:# id:tonNode.blockIdExt param_list:(vector int) = liteServer.ConfigInfo") {
        /// 0.
        mode: u32,
        /// The masterchain block.
        id: BlockId,
        /// The parameters' numbers.
        param_list: Vec<i32>,
    } => ConfigInfo
}

/// Finds a block by its seqno, or the block that holds a logical time or was newest at a unix time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookupBlock {
    /// Workchain, shard and, when the block is looked up by it, seqno.
    pub id: BlockIdShort,
    /// What to look for.
    pub by: LookupBy,
}

/// What a block is looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LookupBy {
    /// The seqno in the id.
    Seqno,
    /// A logical time.
    Lt(u64),
    /// A unix time.
    Utime(u32),
}

impl Object for LookupBlock {
    const ID: u32 =
        tl::id("liteServer.lookupBlock mode:# id:tonNode.blockId lt:mode.1?long utime:mode.2?int = liteServer.BlockHeader");
    fn write_bare(&self, w: &mut Writer) {
        w.u32(match self.by {
            LookupBy::Seqno => 1,
            LookupBy::Lt(_) => 2,
            LookupBy::Utime(_) => 4,
        });
        self.id.write(w);
        match self.by {
            LookupBy::Seqno => {}
            LookupBy::Lt(lt) => w.u64(lt),
            LookupBy::Utime(utime) => w.u32(utime),
        }
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mode = r.u32("mode")?;
        let id = Field::read(r, "id")?;
        let by = match mode & 7 {
            1 => LookupBy::Seqno,
            2 => LookupBy::Lt(r.u64("lt")?),
            4 => LookupBy::Utime(r.u32("utime")?),
            _ => return Err(Error::Invalid { field: "mode", rule: "one of seqno, lt, utime" }),
        };
        Ok(Self { id, by })
    }
}
impl Method for LookupBlock {
    type Answer = BlockHeader;
}

/// The arguments of [`ListBlockTransactions`] and [`ListBlockTransactionsExt`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListTransactions {
    /// The block.
    pub id: BlockId,
    /// Which of account, lt and hash to return (bits 0 to 2).
    pub fields: u32,
    /// How many at most.
    pub count: u32,
    /// Only those behind this account and logical time.
    pub after: Option<(HashBytes, u64)>,
    /// From the last to the first.
    pub reverse: bool,
    /// Whether a proof is wanted.
    pub want_proof: bool,
}

impl ListTransactions {
    fn write(&self, w: &mut Writer) {
        self.id.write(w);
        w.u32(
            self.fields & 7
                | u32::from(self.want_proof) << 5
                | u32::from(self.reverse) << 6
                | u32::from(self.after.is_some()) << 7,
        );
        w.u32(self.count);
        if let Some((account, lt)) = &self.after {
            account.write(w);
            w.u64(*lt);
        }
    }
    fn read(r: &mut Reader<'_>) -> Result<Self, Error> {
        let id = Field::read(r, "id")?;
        let mode = r.u32("mode")?;
        let count = r.u32("count")?;
        let after = match mode >> 7 & 1 {
            1 => Some((Field::read(r, "after")?, r.u64("after")?)),
            _ => None,
        };
        Ok(Self { id, fields: mode & 7, count, after, reverse: mode >> 6 & 1 == 1, want_proof: mode >> 5 & 1 == 1 })
    }
}

macro_rules! list_method {
    ($(#[$doc:meta])* $name:ident($schema:literal) => $answer:ty) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name(pub ListTransactions);
        impl Object for $name {
            const ID: u32 = tl::id($schema);
            fn write_bare(&self, w: &mut Writer) {
                self.0.write(w);
            }
            fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
                ListTransactions::read(r).map(Self)
            }
        }
        impl Method for $name {
            type Answer = $answer;
        }
    };
}
list_method! {
    /// The ids of a block's transactions.
    ListBlockTransactions("liteServer.listBlockTransactions id:tonNode.blockIdExt mode:# count:# after:mode.7?liteServer.transactionId3 reverse_order:mode.6?true want_proof:mode.5?true = liteServer.BlockTransactions") => BlockTransactions
}
list_method! {
    /// A block's transactions.
    ListBlockTransactionsExt("liteServer.listBlockTransactionsExt id:tonNode.blockIdExt mode:# count:# after:mode.7?liteServer.transactionId3 reverse_order:mode.6?true want_proof:mode.5?true = liteServer.BlockTransactionsExt") => BlockTransactionsExt
}
