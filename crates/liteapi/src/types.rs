//! What lite servers answer (network 6.3, appendix A).

use tl::{Error, Reader, Writer};
use tycho_types::models::BlockId;
use tycho_types::prelude::HashBytes;

use crate::field::{Field, object, vector};

object! {
    /// The server could not or would not answer.
    ServerError("liteServer.error code:int message:string = liteServer.Error") {
        /// See [`crate::code`].
        code: i32,
        /// For people.
        message: String,
    }
}
object! {
    /// A zero state. As a field it is bare.
    ZeroStateId("tonNode.zeroStateIdExt workchain:int root_hash:int256 file_hash:int256 = tonNode.ZeroStateIdExt") {
        /// -1 for the masterchain.
        workchain: i32,
        /// Hash of the state.
        root_hash: HashBytes,
        /// SHA-256 of its bytes.
        file_hash: HashBytes,
    }
}
object! {
    /// An account. As a field it is bare.
    AccountId("liteServer.accountId workchain:int id:int256 = liteServer.AccountId") {
        /// 0 or -1.
        workchain: i32,
        /// The address within the workchain.
        id: HashBytes,
    }
}
macro_rules! bare_field {
    ($($type:ty: $size:literal),*) => {$(
        impl Field for $type {
            const MIN_SIZE: usize = $size;
            fn write(&self, w: &mut Writer) {
                tl::Object::write_bare(self, w);
            }
            fn read(r: &mut Reader<'_>, _: &'static str) -> Result<Self, Error> {
                tl::Object::read_bare(r)
            }
        }
    )*};
}
bare_field!(ZeroStateId: 68, AccountId: 36, TransactionId: 4, LibraryEntry: 36);
vector!(TransactionId, LibraryEntry);

object! {
    /// The newest masterchain block.
    MasterchainInfo("liteServer.masterchainInfo last:tonNode.blockIdExt state_root_hash:int256 init:tonNode.zeroStateIdExt = liteServer.MasterchainInfo") {
        /// Its id.
        last: BlockId,
        /// Hash of the state behind it.
        state_root_hash: HashBytes,
        /// Where the chain began.
        init: ZeroStateId,
    }
}
object! {
    /// The newest masterchain block and the server's clock.
    MasterchainInfoExt("liteServer.masterchainInfoExt mode:# version:int capabilities:long last:tonNode.blockIdExt last_utime:int now:int state_root_hash:int256 init:tonNode.zeroStateIdExt = liteServer.MasterchainInfoExt") {
        /// As asked for.
        mode: u32,
        /// 0x0101 for 1.1.
        version: u32,
        /// Bit 0: block proofs, bit 1: masterchainInfoExt, bit 2: state of run methods.
        capabilities: u64,
        /// The block's id.
        last: BlockId,
        /// The block's time.
        last_utime: u32,
        /// The server's time.
        now: u32,
        /// Hash of the state behind the block.
        state_root_hash: HashBytes,
        /// Where the chain began.
        init: ZeroStateId,
    }
}
object! {
    /// The server's clock.
    CurrentTime("liteServer.currentTime now:int = liteServer.CurrentTime") {
        /// Unix seconds.
        now: u32,
    }
}
object! {
    /// The server's version.
    Version("liteServer.version mode:# version:int capabilities:long now:int = liteServer.Version") {
        /// Always 0.
        mode: u32,
        /// See [`MasterchainInfoExt::version`].
        version: u32,
        /// See [`MasterchainInfoExt::capabilities`].
        capabilities: u64,
        /// Unix seconds.
        now: u32,
    }
}
object! {
    /// A whole block.
    BlockData("liteServer.blockData id:tonNode.blockIdExt data:bytes = liteServer.BlockData") {
        /// Its id.
        id: BlockId,
        /// Its BoC.
        data: Vec<u8>,
    }
}
object! {
    /// A block's header.
    BlockHeader("liteServer.blockHeader id:tonNode.blockIdExt mode:# header_proof:bytes = liteServer.BlockHeader") {
        /// The block's id.
        id: BlockId,
        /// As asked for.
        mode: u32,
        /// One Merkle proof of the block down to its info.
        header_proof: Vec<u8>,
    }
}
object! {
    /// A message was taken.
    SendMsgStatus("liteServer.sendMsgStatus status:int = liteServer.SendMsgStatus") {
        /// 1 = taken.
        status: i32,
    }
}
object! {
    /// An account with its proofs.
    AccountState("liteServer.accountState id:tonNode.blockIdExt shardblk:tonNode.blockIdExt shard_proof:bytes proof:bytes state:bytes = liteServer.AccountState") {
        /// The masterchain block.
        id: BlockId,
        /// The shard block that it refers to.
        shardblk: BlockId,
        /// Proofs of the masterchain block and of its state, two roots.
        shard_proof: Vec<u8>,
        /// Proofs of the shard block and of its state, two roots.
        proof: Vec<u8>,
        /// The account's BoC, empty when there is none.
        state: Vec<u8>,
    }
}
object! {
    /// One shard of a masterchain block.
    ShardInfo("liteServer.shardInfo id:tonNode.blockIdExt shardblk:tonNode.blockIdExt shard_proof:bytes shard_descr:bytes = liteServer.ShardInfo") {
        /// The masterchain block.
        id: BlockId,
        /// The shard block.
        shardblk: BlockId,
        /// Proofs of the masterchain block and of its state.
        shard_proof: Vec<u8>,
        /// The shard's descriptor.
        shard_descr: Vec<u8>,
    }
}
object! {
    /// All shards of a masterchain block.
    AllShardsInfo("liteServer.allShardsInfo id:tonNode.blockIdExt proof:bytes data:bytes = liteServer.AllShardsInfo") {
        /// The masterchain block.
        id: BlockId,
        /// A proof of the masterchain block down to its shard hashes.
        proof: Vec<u8>,
        /// The shard hashes.
        data: Vec<u8>,
    }
}
object! {
    /// One transaction with its proof.
    TransactionInfo("liteServer.transactionInfo id:tonNode.blockIdExt proof:bytes transaction:bytes = liteServer.TransactionInfo") {
        /// The shard block.
        id: BlockId,
        /// A proof of the block down to the transaction.
        proof: Vec<u8>,
        /// The transaction's BoC.
        transaction: Vec<u8>,
    }
}
object! {
    /// Transactions of one account, newest first.
    TransactionList("liteServer.transactionList ids:(vector tonNode.blockIdExt) transactions:bytes = liteServer.TransactionList") {
        /// The block of each.
        ids: Vec<BlockId>,
        /// One BoC with a root for each.
        transactions: Vec<u8>,
    }
}
object! {
    /// The transactions of a block, by account and logical time.
    BlockTransactions("liteServer.blockTransactions id:tonNode.blockIdExt req_count:# incomplete:Bool ids:(vector liteServer.transactionId) proof:bytes = liteServer.BlockTransactions") {
        /// The block.
        id: BlockId,
        /// As asked for.
        req_count: u32,
        /// More are left.
        incomplete: bool,
        /// Account, logical time and hash of each.
        ids: Vec<TransactionId>,
        /// A proof of the block, when asked for.
        proof: Vec<u8>,
    }
}
object! {
    /// The transactions of a block themselves.
    BlockTransactionsExt("liteServer.blockTransactionsExt id:tonNode.blockIdExt req_count:# incomplete:Bool transactions:bytes proof:bytes = liteServer.BlockTransactionsExt") {
        /// The block.
        id: BlockId,
        /// As asked for.
        req_count: u32,
        /// More are left.
        incomplete: bool,
        /// One BoC with a root for each.
        transactions: Vec<u8>,
        /// A proof of the block, when asked for.
        proof: Vec<u8>,
    }
}
object! {
    /// The blockchain configuration with its proofs.
    ConfigInfo("liteServer.configInfo mode:# id:tonNode.blockIdExt state_proof:bytes config_proof:bytes = liteServer.ConfigInfo") {
        /// As asked for.
        mode: u32,
        /// The masterchain block.
        id: BlockId,
        /// A proof of the block down to the hash of its state.
        state_proof: Vec<u8>,
        /// A proof of the state down to the parameters.
        config_proof: Vec<u8>,
    }
}

object! {
    /// A library. As a field it is bare.
    LibraryEntry("liteServer.libraryEntry hash:int256 data:bytes = liteServer.LibraryEntry") {
        /// Its hash.
        hash: HashBytes,
        /// Its BoC.
        data: Vec<u8>,
    }
}
object! {
    /// Those of the wanted libraries that there are.
    LibraryResult("liteServer.libraryResult result:(vector liteServer.libraryEntry) = liteServer.LibraryResult") {
        /// One for each.
        result: Vec<LibraryEntry>,
    }
}

/// Which transaction of a block. Fields are present as `mode` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TransactionId {
    /// The account's address within the workchain (bit 0).
    pub account: Option<HashBytes>,
    /// Logical time (bit 1).
    pub lt: Option<u64>,
    /// Hash (bit 2).
    pub hash: Option<HashBytes>,
}

impl tl::Object for TransactionId {
    const ID: u32 = 0xb12f_65af; // forced in the schema
    fn write_bare(&self, w: &mut Writer) {
        w.u32(u32::from(self.account.is_some()) | u32::from(self.lt.is_some()) << 1 | u32::from(self.hash.is_some()) << 2);
        self.account.iter().for_each(|x| x.write(w));
        self.lt.iter().for_each(|x| x.write(w));
        self.hash.iter().for_each(|x| x.write(w));
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mode = r.u32("mode")?;
        let id = Self {
            account: optional(r, mode, 0, "account")?,
            lt: optional(r, mode, 1, "lt")?,
            hash: optional(r, mode, 2, "hash")?,
        };
        if mode & 1 << 8 != 0 {
            // liteServer.transactionMetadata mode depth initiator initiator_lt
            r.raw(4 + 4 + 36 + 8, "metadata")?;
        }
        Ok(id)
    }
}

/// What a get-method returned. Fields are present as `mode` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunMethodResult {
    /// As asked for.
    pub mode: u32,
    /// The masterchain block.
    pub id: BlockId,
    /// The shard block.
    pub shardblk: BlockId,
    /// Bit 0: proofs of the masterchain block and of its state.
    pub shard_proof: Option<Vec<u8>>,
    /// Bit 0: proofs of the shard block and of its state.
    pub proof: Option<Vec<u8>>,
    /// Bit 1: a proof of the account's state.
    pub state_proof: Option<Vec<u8>>,
    /// Bit 3: the first c7.
    pub init_c7: Option<Vec<u8>>,
    /// Bit 4: libraries.
    pub lib_extras: Option<Vec<u8>>,
    /// 0 or 1 on success.
    pub exit_code: i32,
    /// Bit 2: the stack.
    pub result: Option<Vec<u8>>,
}

impl tl::Object for RunMethodResult {
    const ID: u32 = tl::id(
        "liteServer.runMethodResult mode:# id:tonNode.blockIdExt shardblk:tonNode.blockIdExt shard_proof:mode.0?bytes proof:mode.0?bytes state_proof:mode.1?bytes init_c7:mode.3?bytes lib_extras:mode.4?bytes exit_code:int result:mode.2?bytes = liteServer.RunMethodResult",
    );
    fn write_bare(&self, w: &mut Writer) {
        w.u32(self.mode);
        self.id.write(w);
        self.shardblk.write(w);
        for bytes in [&self.shard_proof, &self.proof, &self.state_proof, &self.init_c7, &self.lib_extras].into_iter().flatten() {
            bytes.write(w);
        }
        w.i32(self.exit_code);
        self.result.iter().for_each(|x| x.write(w));
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mode = r.u32("mode")?;
        Ok(Self {
            mode,
            id: Field::read(r, "id")?,
            shardblk: Field::read(r, "shardblk")?,
            shard_proof: optional(r, mode, 0, "shard_proof")?,
            proof: optional(r, mode, 0, "proof")?,
            state_proof: optional(r, mode, 1, "state_proof")?,
            init_c7: optional(r, mode, 3, "init_c7")?,
            lib_extras: optional(r, mode, 4, "lib_extras")?,
            exit_code: r.i32("exit_code")?,
            result: optional(r, mode, 2, "result")?,
        })
    }
}

/// A field that is present when `bit` of `mode` is set.
pub(crate) fn optional<T: Field>(r: &mut Reader<'_>, mode: u32, bit: u32, field: &'static str) -> Result<Option<T>, Error> {
    match mode >> bit & 1 {
        1 => T::read(r, field).map(Some),
        _ => Ok(None),
    }
}
