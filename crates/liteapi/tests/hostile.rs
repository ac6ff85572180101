//! Whatever bytes come, parsers and checks end with a value or an error.

use liteapi::*;
use proptest::prelude::*;
use tl::Object;
use tycho_types::models::{BlockId, BlockIdShort, ShardIdent, StdAddr};
use tycho_types::prelude::*;

fn block_id() -> impl Strategy<Value = BlockId> {
    (any::<u32>(), any::<[u8; 32]>(), any::<[u8; 32]>(), any::<bool>()).prop_map(|(seqno, root, file, master)| BlockId {
        shard: if master { ShardIdent::MASTERCHAIN } else { ShardIdent::BASECHAIN },
        seqno,
        root_hash: HashBytes(root),
        file_hash: HashBytes(file),
    })
}

/// Random cells, so that BoCs parse and the checks get further than the first byte.
fn boc() -> impl Strategy<Value = Vec<u8>> {
    let cell = proptest::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| {
        let mut builder = CellBuilder::new();
        builder.store_raw(&bytes, (bytes.len() * 8) as u16).unwrap();
        builder.build().unwrap()
    });
    let tree = cell.prop_recursive(4, 16, 4, |child| {
        (proptest::collection::vec(any::<u8>(), 0..100), proptest::collection::vec(child, 0..4)).prop_map(|(bytes, children)| {
            let mut builder = CellBuilder::new();
            builder.store_raw(&bytes, (bytes.len() * 8) as u16).unwrap();
            children.into_iter().for_each(|c| builder.store_reference(c).unwrap());
            builder.build().unwrap()
        })
    });
    prop_oneof![tree.prop_map(Boc::encode), proptest::collection::vec(any::<u8>(), 0..300)]
}

fn round_trip<T: Object + PartialEq + std::fmt::Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = value.to_boxed();
    prop_assert_eq!(&T::from_boxed(&bytes).unwrap(), value);
    for cut in 0..bytes.len() {
        let _ = T::from_boxed(&bytes[..cut]);
    }
    Ok(())
}

macro_rules! parse_all {
    ($bytes:expr, $($type:ty),*) => {$(
        let mut boxed = <$type>::ID.to_le_bytes().to_vec();
        boxed.extend_from_slice($bytes);
        let _ = <$type>::from_boxed(&boxed);
    )*};
}

proptest! {
    #[test]
    fn any_bytes_parse_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        parse_all!(&bytes, MasterchainInfo, MasterchainInfoExt, CurrentTime, Version, BlockData, BlockHeader, SendMsgStatus, AccountState,
            ShardInfo, AllShardsInfo, TransactionInfo, TransactionList, BlockTransactions, BlockTransactionsExt, ConfigInfo,
            RunMethodResult, ServerError, LibraryResult, PartialBlockProof, LinkBack, LinkForward, GetBlockProof, GetLibraries, LookupBlock, ListBlockTransactions, GetConfigParams, RunSmcMethod, LiteQuery, TransactionId);
    }

    #[test]
    fn objects_come_back_as_they_were(
        id in block_id(), other in block_id(), lt in any::<u64>(), bytes in proptest::collection::vec(any::<u8>(), 0..300),
        bits in any::<u8>(), hash in any::<[u8; 32]>(),
    ) {
        let hash = HashBytes(hash);
        let by = match bits % 3 { 0 => LookupBy::Seqno, 1 => LookupBy::Lt(lt), _ => LookupBy::Utime(lt as u32) };
        round_trip(&LookupBlock { id: id.as_short_id(), by })?;
        round_trip(&ListBlockTransactions(ListTransactions {
            id, fields: u32::from(bits & 7), count: lt as u32, after: (bits & 8 != 0).then_some((hash, lt)),
            reverse: bits & 16 != 0, want_proof: bits & 32 != 0,
        }))?;
        let transaction = TransactionId {
            account: (bits & 1 != 0).then_some(hash), lt: (bits & 2 != 0).then_some(lt), hash: (bits & 4 != 0).then_some(hash),
        };
        round_trip(&BlockTransactions { id, req_count: 1, incomplete: bits & 1 != 0, ids: vec![transaction; 3], proof: bytes.clone() })?;
        let part = |bit: u8| (bits & 1 << bit != 0).then(|| bytes.clone());
        round_trip(&RunMethodResult {
            mode: u32::from(bits & 0x1f), id, shardblk: other, shard_proof: part(0), proof: part(0), state_proof: part(1),
            init_c7: part(3), lib_extras: part(4), exit_code: lt as i32, result: part(2),
        })?;
        round_trip(&GetBlockProof { known: id, target: (bits & 1 != 0).then_some(other) })?;
        round_trip(&GetLibraries { library_list: vec![hash; usize::from(bits % 4)] })?;
        round_trip(&LibraryResult { result: vec![LibraryEntry { hash, data: bytes.clone() }; 2] })?;
        let candidate = SignedCandidate { session_id: hash, slot: lt as u32, candidate: bytes.clone() };
        let signatures = SignatureSet {
            validator_set_hash: lt as u32, catchain_seqno: 3, candidate: (bits & 1 != 0).then_some(candidate),
            signatures: vec![Signature { node_id: hash, signature: bytes.clone() }; usize::from(bits % 3)],
        };
        let back = LinkBack {
            to_key_block: bits & 2 != 0, from: id, to: other, dest_proof: bytes.clone(), proof: vec![], state_proof: bytes.clone(),
        };
        let forward = LinkForward {
            to_key_block: bits & 2 == 0, from: other, to: id, dest_proof: bytes.clone(), config_proof: bytes.clone(), signatures,
        };
        let steps = vec![BlockLink::Back(back), BlockLink::Forward(forward)];
        round_trip(&PartialBlockProof { complete: bits & 4 != 0, from: id, to: other, steps })?;
        round_trip(&TransactionList { ids: vec![id, other], transactions: bytes.clone() })?;
        round_trip(&GetTransactions { count: 1, account: AccountId { workchain: 0, id: hash }, lt, hash })?;
    }

    #[test]
    fn what_proves_nothing_is_refused(id in block_id(), shard in block_id(), first in boc(), second in boc(), hash in any::<[u8; 32]>()) {
        let address = StdAddr::new(0, HashBytes(hash));
        let block = BlockData { id, data: first.clone() };
        prop_assert!(check_block(&id, &block).is_err());
        let asked: BlockIdShort = id.as_short_id();
        let header = BlockHeader { id, mode: 0, header_proof: first.clone() };
        prop_assert!(check_header(&asked, &header).is_err());
        let shards = AllShardsInfo { id, proof: first.clone(), data: second.clone() };
        prop_assert!(check_shards(&id, &shards).is_err());
        let state = AccountState { id, shardblk: shard, shard_proof: first.clone(), proof: second.clone(), state: vec![] };
        prop_assert!(check_account(&id, &address, &state).is_err());
        let config = ConfigInfo { mode: 0, id, state_proof: first.clone(), config_proof: second.clone() };
        prop_assert!(check_config(&id, &config).is_err());
        let list = TransactionList { ids: vec![], transactions: first.clone() };
        prop_assert!(check_transactions(&address, (1, HashBytes(hash)), 10, &list).is_err());
        let one = TransactionInfo { id, proof: first.clone(), transaction: second.clone() };
        prop_assert!(check_transaction(&id, &address, 1, &one).is_err());
        let asked = ListTransactions { id, fields: 7, count: 10, after: None, reverse: false, want_proof: true };
        let list = BlockTransactions { id, req_count: 10, incomplete: false, ids: vec![], proof: first.clone() };
        prop_assert!(check_block_transactions(&asked, &list).is_err());
        let list = BlockTransactionsExt { id, req_count: 10, incomplete: false, transactions: second.clone(), proof: first.clone() };
        prop_assert!(check_block_transactions_ext(&asked, &list).is_err());
        let run = RunMethodResult {
            mode: 7, id, shardblk: shard, shard_proof: Some(first.clone()), proof: Some(second.clone()), state_proof: Some(vec![]),
            init_c7: None, lib_extras: None, exit_code: -256, result: None,
        };
        prop_assert!(check_run(&id, &address, &run).is_err());
        let one_shard = ShardInfo { id, shardblk: shard, shard_proof: first.clone(), shard_descr: vec![] };
        prop_assert!(check_shard(&id, shard.shard, true, &one_shard).is_err());
        let libraries = LibraryResult { result: vec![LibraryEntry { hash: HashBytes(hash), data: first }] };
        prop_assert!(check_libraries(&[HashBytes(hash)], &libraries).is_err());
    }
}
