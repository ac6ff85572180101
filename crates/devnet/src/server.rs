//! The devnet as a lite server: one handler for each method (network 6.3).

use liteapi::{Handler, ServerError, code};
use tl::{Object, Reader};
use tycho_types::boc::ser::BocHeader;
use tycho_types::models::{BlockId, StdAddr};
use tycho_types::prelude::*;
use tycho_vm::Stack;

use crate::chain;
use crate::ledger::{self, Ledger, Link, ListedTransaction, SealedBlock};
use crate::node::Devnet;

/// 1.1, as lite servers that know masterchainInfoExt say.
const LITE_VERSION: u32 = 0x0101;
const CAPABILITIES: u64 = 7;
/// Transactions in one answer at most.
const MAX_TRANSACTIONS: u32 = 256;
/// Parameters of a get-method at most, cells.
const MAX_PARAMS: usize = 1 << 16;

type Answer = Result<Vec<u8>, ServerError>;

impl Handler for Devnet {
    async fn answer(&self, method: &[u8]) -> Answer {
        let id = Reader::new(method).u32("method").map_err(bad_request)?;
        match id {
            liteapi::GetMasterchainInfo::ID => with(method, |m| self.masterchain_info(m)),
            liteapi::GetMasterchainInfoExt::ID => with(method, |m| self.masterchain_info_ext(m)),
            liteapi::GetTime::ID => with(method, |_: liteapi::GetTime| Ok(liteapi::CurrentTime { now: self.now() })),
            liteapi::GetVersion::ID => with(method, |_: liteapi::GetVersion| {
                Ok(liteapi::Version { mode: 0, version: LITE_VERSION, capabilities: CAPABILITIES, now: self.now() })
            }),
            liteapi::GetBlock::ID => with(method, |m| self.block(m)),
            liteapi::GetBlockHeader::ID => with(method, |m: liteapi::GetBlockHeader| self.header(m.id, m.mode)),
            liteapi::LookupBlock::ID => with(method, |m| self.lookup(m)),
            liteapi::SendMessage::ID => with(method, |m| self.send_message(m)),
            liteapi::GetAccountState::ID => with(method, |m| self.account_state(m)),
            liteapi::GetAccountStatePruned::ID => with(method, |m| self.account_state_pruned(m)),
            liteapi::GetBlockProof::ID => with(method, |m| self.block_proof(m)),
            // there are none: the embedded chain has no masterchain accounts to keep them
            liteapi::GetLibraries::ID => {
                with(method, |_: liteapi::GetLibraries| Ok(liteapi::LibraryResult { result: Vec::new() }))
            }
            liteapi::RunSmcMethod::ID => with(method, |m| self.run_method(m)),
            liteapi::GetShardInfo::ID => with(method, |m| self.shard_info(m)),
            liteapi::GetAllShardsInfo::ID => with(method, |m| self.all_shards(m)),
            liteapi::GetTransactions::ID => with(method, |m| self.transactions(m)),
            liteapi::GetOneTransaction::ID => with(method, |m| self.one_transaction(m)),
            liteapi::ListBlockTransactions::ID => with(method, |m| self.list_transactions(m)),
            liteapi::ListBlockTransactionsExt::ID => with(method, |m| self.list_transactions_ext(m)),
            liteapi::GetConfigAll::ID => with(method, |m: liteapi::GetConfigAll| self.config(m.mode, m.id, None)),
            liteapi::GetConfigParams::ID => with(method, |m: liteapi::GetConfigParams| {
                let params: Vec<u32> = m.param_list.iter().filter_map(|p| u32::try_from(*p).ok()).collect();
                self.config(m.mode, m.id, Some(&params))
            }),
            _ => Err(error(code::BAD_REQUEST, format!("method {id:08x} is not served"))),
        }
    }

    async fn wait_masterchain_seqno(&self, seqno: u32) {
        // the sender lives as long as self
        let _ = self.subscribe().wait_for(|head| *head >= seqno).await;
    }
}

/// Parses the method, runs it, writes the answer.
fn with<M: liteapi::Method>(method: &[u8], run: impl FnOnce(M) -> Result<M::Answer, ServerError>) -> Answer {
    run(M::from_boxed(method).map_err(bad_request)?).map(|answer| answer.to_boxed())
}

impl Devnet {
    fn masterchain_info(&self, _: liteapi::GetMasterchainInfo) -> Result<liteapi::MasterchainInfo, ServerError> {
        Ok(self.read(|ledger| liteapi::MasterchainInfo {
            last: *ledger.last(),
            state_root_hash: *ledger.last_state_hash(),
            init: zero_state_id(ledger.zero_state()),
        }))
    }

    fn masterchain_info_ext(&self, m: liteapi::GetMasterchainInfoExt) -> Result<liteapi::MasterchainInfoExt, ServerError> {
        let now = self.now();
        Ok(self.read(|ledger| liteapi::MasterchainInfoExt {
            mode: m.mode,
            version: LITE_VERSION,
            capabilities: CAPABILITIES,
            last: *ledger.last(),
            last_utime: ledger.now(),
            now,
            state_root_hash: *ledger.last_state_hash(),
            init: zero_state_id(ledger.zero_state()),
        }))
    }

    fn block(&self, m: liteapi::GetBlock) -> Result<liteapi::BlockData, ServerError> {
        let data = self.read(|ledger| ledger.block(&m.id).map(|b| b.boc.to_vec())).map_err(ledger_error)?;
        Ok(liteapi::BlockData { id: m.id, data })
    }

    fn header(&self, id: BlockId, mode: u32) -> Result<liteapi::BlockHeader, ServerError> {
        let proof = self.read(|ledger| ledger.header_proof(&id)).map_err(ledger_error)?;
        Ok(liteapi::BlockHeader { id, mode, header_proof: Boc::encode(proof) })
    }

    fn lookup(&self, m: liteapi::LookupBlock) -> Result<liteapi::BlockHeader, ServerError> {
        let found = self.read(|ledger| {
            let block: Result<&SealedBlock, _> = match m.by {
                liteapi::LookupBy::Seqno => ledger.block_by_seqno(m.id.shard, m.id.seqno),
                liteapi::LookupBy::Lt(lt) => ledger.block_by_lt(m.id.shard, lt),
                liteapi::LookupBy::Utime(utime) => ledger.block_by_time(m.id.shard, utime),
            };
            block.map(|b| b.id)
        });
        self.header(found.map_err(ledger_error)?, 0)
    }

    fn send_message(&self, m: liteapi::SendMessage) -> Result<liteapi::SendMsgStatus, ServerError> {
        let cell = Boc::decode(&m.body).map_err(bad_request)?;
        let message = chain::Message::parse(&cell).map_err(bad_request)?;
        if message.kind != chain::MessageKind::ExternalIn {
            return Err(error(code::BAD_REQUEST, "not an external message"));
        }
        self.send(cell).map_err(|e| match e {
            crate::Error::Busy => error(code::NOT_READY, e),
            _ => error(code::BAD_REQUEST, e),
        })?;
        Ok(liteapi::SendMsgStatus { status: 1 })
    }

    fn account_state(&self, m: liteapi::GetAccountState) -> Result<liteapi::AccountState, ServerError> {
        let address = basechain(&m.account)?;
        let account = self.read(|ledger| ledger.account(&m.id, &address.address)).map_err(ledger_error)?;
        Ok(liteapi::AccountState {
            id: m.id,
            shardblk: account.shard_block,
            shard_proof: encode_roots(&account.shard_proof),
            proof: encode_roots(&account.proof),
            state: account.account.map(Boc::encode).unwrap_or_default(),
        })
    }

    fn account_state_pruned(&self, m: liteapi::GetAccountStatePruned) -> Result<liteapi::AccountState, ServerError> {
        let whole = self.account_state(liteapi::GetAccountState { id: m.id, account: m.account })?;
        if whole.state.is_empty() {
            return Ok(whole);
        }
        let account = Boc::decode(&whole.state).map_err(bad_request)?;
        let pruned = Ledger::pruned(&account).map_err(ledger_error)?;
        Ok(liteapi::AccountState { state: Boc::encode(pruned), ..whole })
    }

    fn block_proof(&self, m: liteapi::GetBlockProof) -> Result<liteapi::PartialBlockProof, ServerError> {
        let links = |ledger: &Ledger| {
            let target = m.target.unwrap_or(*ledger.last());
            Ok((target, ledger.links(&m.known, &target)?))
        };
        let (to, links) = self.read(links).map_err(ledger_error)?;
        let steps = links.into_iter().map(block_link).collect();
        Ok(liteapi::PartialBlockProof { complete: true, from: m.known, to, steps })
    }

    fn run_method(&self, m: liteapi::RunSmcMethod) -> Result<liteapi::RunMethodResult, ServerError> {
        const PROOF: u32 = 1 << 0;
        const STATE_PROOF: u32 = 1 << 1;
        const RESULT: u32 = 1 << 2;
        let address = basechain(&m.account)?;
        let method_id = u32::try_from(m.method_id).map_err(bad_request)?;
        if m.params.len() > MAX_PARAMS {
            return Err(error(code::BAD_REQUEST, "too many parameters"));
        }
        let arguments = match m.params.is_empty() {
            true => Vec::new(),
            false => Boc::decode(&m.params).map_err(bad_request)?.parse::<Stack>().map_err(bad_request)?.items,
        };
        let (account, state_proof, exit_code, result) = self
            .read(|ledger| {
                let run = ledger.run_method(&m.id, &address, method_id, arguments)?;
                let stack = CellBuilder::build_from(Stack { items: run.result.stack })?;
                Ok((run.account, run.state_proof, run.result.exit_code, Boc::encode(stack)))
            })
            .map_err(ledger_error)?;
        let wanted = |bit: u32, bytes: Vec<u8>| (m.mode & bit != 0).then_some(bytes);
        Ok(liteapi::RunMethodResult {
            mode: m.mode & (PROOF | STATE_PROOF | RESULT),
            id: m.id,
            shardblk: account.shard_block,
            shard_proof: wanted(PROOF, encode_roots(&account.shard_proof)),
            proof: wanted(PROOF, encode_roots(&account.proof)),
            state_proof: wanted(STATE_PROOF, state_proof.map(Boc::encode).unwrap_or_default()),
            init_c7: None,
            lib_extras: None,
            exit_code,
            result: wanted(RESULT, result),
        })
    }

    fn shard_info(&self, m: liteapi::GetShardInfo) -> Result<liteapi::ShardInfo, ServerError> {
        if m.workchain != 0 {
            return Err(error(code::NOT_FOUND, "no such shard"));
        }
        let (shardblk, proof, (_, shards)) = self
            .read(|ledger| {
                let (shardblk, proof) = ledger.shard_proof(&m.id)?;
                Ok((shardblk, proof, ledger.shards(&m.id)?))
            })
            .map_err(ledger_error)?;
        Ok(liteapi::ShardInfo { id: m.id, shardblk, shard_proof: encode_roots(&proof), shard_descr: Boc::encode(shards) })
    }

    fn all_shards(&self, m: liteapi::GetAllShardsInfo) -> Result<liteapi::AllShardsInfo, ServerError> {
        let (proof, data) = self.read(|ledger| ledger.shards(&m.id)).map_err(ledger_error)?;
        Ok(liteapi::AllShardsInfo { id: m.id, proof: Boc::encode(proof), data: Boc::encode(data) })
    }

    fn transactions(&self, m: liteapi::GetTransactions) -> Result<liteapi::TransactionList, ServerError> {
        let address = basechain(&m.account)?;
        let count = m.count.min(MAX_TRANSACTIONS) as usize;
        let list = self
            .read(|ledger| ledger.account_transactions(&address.address, m.lt, &m.hash, count))
            .map_err(|e| error(code::BAD_REQUEST, e))?;
        Ok(liteapi::TransactionList { ids: list.iter().map(|t| t.block).collect(), transactions: encode_roots(&cells(&list)) })
    }

    fn one_transaction(&self, m: liteapi::GetOneTransaction) -> Result<liteapi::TransactionInfo, ServerError> {
        let address = basechain(&m.account)?;
        let (proof, transaction) = self.read(|ledger| ledger.transaction(&m.id, &address.address, m.lt)).map_err(ledger_error)?;
        let transaction = transaction.map(Boc::encode).unwrap_or_default();
        Ok(liteapi::TransactionInfo { id: m.id, proof: Boc::encode(proof), transaction })
    }

    fn list_transactions(&self, m: liteapi::ListBlockTransactions) -> Result<liteapi::BlockTransactions, ServerError> {
        let (list, incomplete, proof) = self.listed(&m.0)?;
        let field = |bit: u32| m.0.fields >> bit & 1 == 1;
        let ids = list
            .iter()
            .map(|t| liteapi::TransactionId {
                account: field(0).then_some(t.account),
                lt: field(1).then_some(t.lt),
                hash: field(2).then_some(t.hash),
            })
            .collect();
        Ok(liteapi::BlockTransactions { id: m.0.id, req_count: m.0.count, incomplete, ids, proof })
    }

    fn list_transactions_ext(&self, m: liteapi::ListBlockTransactionsExt) -> Result<liteapi::BlockTransactionsExt, ServerError> {
        let (list, incomplete, proof) = self.listed(&m.0)?;
        let transactions = encode_roots(&cells(&list));
        Ok(liteapi::BlockTransactionsExt { id: m.0.id, req_count: m.0.count, incomplete, transactions, proof })
    }

    /// The part of a block's transactions that was asked for, whether more are left, and the proof if wanted.
    fn listed(&self, m: &liteapi::ListTransactions) -> Result<(Vec<ListedTransaction>, bool, Vec<u8>), ServerError> {
        let (mut list, proof) = self
            .read(|ledger| {
                let proof = m.want_proof.then(|| ledger.block_transactions_proof(&m.id)).transpose()?;
                Ok((ledger.block_transactions(&m.id)?, proof))
            })
            .map_err(ledger_error)?;
        if m.reverse {
            list.reverse();
        }
        if let Some(after) = m.after {
            list.retain(|t| match m.reverse {
                true => (t.account, t.lt) < after,
                false => (t.account, t.lt) > after,
            });
        }
        let count = m.count.min(MAX_TRANSACTIONS) as usize;
        let incomplete = list.len() > count;
        list.truncate(count);
        Ok((list, incomplete, proof.map(Boc::encode).unwrap_or_default()))
    }

    fn config(&self, mode: u32, id: BlockId, params: Option<&[u32]>) -> Result<liteapi::ConfigInfo, ServerError> {
        let [state_proof, config_proof] = self.read(|ledger| ledger.config_proof(&id, params)).map_err(ledger_error)?;
        Ok(liteapi::ConfigInfo { mode, id, state_proof: Boc::encode(state_proof), config_proof: Boc::encode(config_proof) })
    }
}

fn block_link(link: Link) -> liteapi::BlockLink {
    match link {
        Link::Back { from, to, to_key_block, header, block, state } => liteapi::BlockLink::Back(liteapi::LinkBack {
            to_key_block,
            from,
            to,
            dest_proof: header.map(Boc::encode).unwrap_or_default(),
            proof: Boc::encode(block),
            state_proof: Boc::encode(state),
        }),
        Link::Forward { from, to, to_key_block, header, validators, signature } => {
            let signed = liteapi::Signature { node_id: signature.node_id, signature: signature.signature.to_vec() };
            liteapi::BlockLink::Forward(liteapi::LinkForward {
                to_key_block,
                from,
                to,
                dest_proof: Boc::encode(header),
                config_proof: Boc::encode(validators),
                signatures: liteapi::SignatureSet {
                    validator_set_hash: signature.set_hash,
                    catchain_seqno: signature.catchain_seqno,
                    signatures: vec![signed],
                    candidate: None,
                },
            })
        }
    }
}

fn basechain(account: &liteapi::AccountId) -> Result<StdAddr, ServerError> {
    match account.workchain {
        0 => Ok(StdAddr::new(0, account.id)),
        _ => Err(error(code::BAD_REQUEST, "only basechain accounts exist here")),
    }
}

fn zero_state_id(id: &BlockId) -> liteapi::ZeroStateId {
    liteapi::ZeroStateId { workchain: id.shard.workchain(), root_hash: id.root_hash, file_hash: id.file_hash }
}

fn cells(list: &[ListedTransaction]) -> Vec<Cell> {
    list.iter().map(|t| t.cell.clone()).collect()
}

/// Several cells as the roots of one BoC; nothing for none.
fn encode_roots(cells: &[Cell]) -> Vec<u8> {
    if cells.is_empty() {
        return Vec::new();
    }
    let mut header = BocHeader::<std::hash::RandomState>::default();
    cells.iter().for_each(|cell| header.add_root(cell.as_ref()));
    let mut boc = Vec::new();
    header.encode(&mut boc);
    boc
}

fn ledger_error(e: ledger::Error) -> ServerError {
    let code = match &e {
        ledger::Error::NoBlock => code::BLOCK_NOT_FOUND,
        ledger::Error::NoTransaction => code::NOT_FOUND,
        _ => code::BAD_REQUEST,
    };
    error(code, e)
}

fn bad_request(e: impl std::fmt::Display) -> ServerError {
    error(code::BAD_REQUEST, e)
}

fn error(code: i32, message: impl std::fmt::Display) -> ServerError {
    ServerError { code, message: message.to_string() }
}
