//! Checks of proofs that one masterchain block follows or precedes another one ("secure" policy, network 6.4). Pure functions.

use std::collections::HashMap;

use adnl::cipher::sha256;
use adnl::keys::{AdnlId, PublicKey};
use tl::{Reader, Writer};
use tycho_types::models::{Block, BlockId, BlockInfo, BlockchainConfig, ValidatorDescription};
use tycho_types::prelude::*;

use crate::field::Field;
use crate::partial::{PartialBlock, PartialState};
use crate::{BlockLink, Error, LinkBack, LinkForward, PartialBlockProof, SignatureSet, SignedCandidate};

/// Links in one answer at most; servers send about 16.
const MAX_LINKS: usize = 64;

/// What an answer's links have shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proven {
    /// The block that the last link leads to.
    pub block: BlockId,
    /// The newest key block on the way.
    pub key_block: Option<BlockId>,
}

/// Walks the links from a trusted masterchain block towards another one. An answer may end before it: ask on from where it ended.
///
/// # Errors
/// [`Error::Unproven`] when a link does not hold, or when the links lead nowhere near the target.
pub fn check_block_proof(trusted: &BlockId, target: &BlockId, answer: &PartialBlockProof) -> Result<Proven, Error> {
    if answer.from != *trusted || answer.steps.len() > MAX_LINKS {
        return Err(Error::Unproven("the links begin at another block"));
    }
    let mut at = *trusted;
    let mut key_block: Option<BlockId> = None;
    for link in &answer.steps {
        let (to, to_key_block) = match link {
            BlockLink::Back(link) => check_back(&at, link)?,
            BlockLink::Forward(link) => check_forward(&at, link)?,
        };
        at = to;
        if to_key_block && key_block.is_none_or(|known| known.seqno < at.seqno) {
            key_block = Some(at);
        }
    }
    let nearer = match target.seqno > trusted.seqno {
        true => trusted.seqno < at.seqno && at.seqno <= target.seqno,
        false => trusted.seqno > at.seqno && at.seqno >= target.seqno,
    };
    if at != answer.to || !nearer {
        return Err(Error::Unproven("the links lead elsewhere"));
    }
    match at.seqno != target.seqno || at == *target {
        true => Ok(Proven { block: at, key_block }),
        false => Err(Error::Unproven("another block has this seqno")),
    }
}

/// A link to a block that the state behind `at` names.
fn check_back(at: &BlockId, link: &LinkBack) -> Result<(BlockId, bool), Error> {
    let to = link.to;
    if link.from != *at || !is_masterchain(at, &to) || to.seqno >= at.seqno {
        return Err(Error::Unproven("a link backwards"));
    }
    if to.seqno > 0 {
        check_target(&to, &link.dest_proof, link.to_key_block)?;
    }
    let block = PartialBlock::new(Boc::decode(&link.proof)?, &at.root_hash)?;
    let named = PartialState::new(Boc::decode(&link.state_proof)?, &block)?.previous_block(to.seqno)?;
    let same = named.block_ref.root_hash == to.root_hash && named.block_ref.file_hash == to.file_hash;
    match same && named.is_key_block == link.to_key_block {
        true => Ok((to, link.to_key_block)),
        false => Err(Error::Unproven("the state names another block")),
    }
}

/// A link to a block that was signed by the validators whom `at` names.
fn check_forward(at: &BlockId, link: &LinkForward) -> Result<(BlockId, bool), Error> {
    let to = link.to;
    if link.from != *at || !is_masterchain(at, &to) || to.seqno <= at.seqno {
        return Err(Error::Unproven("a link forwards"));
    }
    let info = check_target(&to, &link.dest_proof, link.to_key_block)?;
    let proof = Boc::decode(&link.config_proof)?;
    let config = match at.seqno {
        0 => PartialState::of_hash(proof, &at.root_hash)?.config()?,
        _ => PartialBlock::new(proof, &at.root_hash)?.config()?,
    };
    check_signatures(&to, &info, &config, &link.signatures)?;
    Ok((to, link.to_key_block))
}

fn is_masterchain(one: &BlockId, other: &BlockId) -> bool {
    one.shard.is_masterchain() && other.shard.is_masterchain()
}

fn check_target(to: &BlockId, proof: &[u8], is_key_block: bool) -> Result<BlockInfo, Error> {
    let info = PartialBlock::new(Boc::decode(proof)?, &to.root_hash)?.info()?;
    match info.shard == to.shard && info.seqno == to.seqno && info.key_block == is_key_block {
        true => Ok(info),
        false => Err(Error::Unproven("header of a linked block")),
    }
}

/// More than two thirds of the validators' weight must have signed the block.
fn check_signatures(id: &BlockId, info: &BlockInfo, config: &BlockchainConfig, set: &SignatureSet) -> Result<(), Error> {
    let shuffle = config.get_catchain_config()?.shuffle_mc_validators;
    // Looks for a temporary set first: a proof that hides whether there is one is refused.
    let validators = config.get_current_validator_set()?;
    let (validators, hash) =
        validators.compute_mc_subset(info.gen_catchain_seqno, shuffle).ok_or(Error::Unproven("no validators"))?;
    if hash != info.gen_validator_list_hash_short
        || hash != set.validator_set_hash
        || info.gen_catchain_seqno != set.catchain_seqno
    {
        return Err(Error::Unproven("another set of validators"));
    }
    let message = match &set.candidate {
        None => Block::build_data_for_sign(id).to_vec(),
        Some(signed) => candidate_to_sign(id, signed)?,
    };
    let mut waiting: HashMap<HashBytes, &ValidatorDescription> =
        validators.iter().map(|validator| (short_id(&validator.public_key), validator)).collect();
    let mut signed = 0;
    for signature in &set.signatures {
        // Taken out: each counts once.
        let validator = waiting.remove(&signature.node_id).ok_or(Error::Unproven("a signature of somebody else"))?;
        let bytes = signature.signature.as_slice().try_into().map_err(|_| Error::Unproven("length of a signature"))?;
        if !PublicKey::from_bytes(&validator.public_key.0)?.verify(&message, bytes) {
            return Err(Error::Unproven("a forged signature"));
        }
        signed += u128::from(validator.weight);
    }
    let total: u128 = validators.iter().map(|validator| u128::from(validator.weight)).sum();
    match signed * 3 > total * 2 {
        true => Ok(()),
        false => Err(Error::Unproven("too few signatures")),
    }
}

/// Short id of `pub.ed25519` with these bytes, which need not be a point.
fn short_id(key: &HashBytes) -> HashBytes {
    let mut w = Writer::new();
    w.u32(tl::id("pub.ed25519 key:int256 = PublicKey"));
    w.raw(&key.0);
    let AdnlId(id) = AdnlId(sha256(&w.into_bytes()));
    HashBytes(id)
}

const CANDIDATE: u32 = tl::id(
    "consensus.candidateHashDataOrdinary block:tonNode.blockIdExt collated_file_hash:int256 parent:consensus.CandidateParent = consensus.CandidateHashData",
);
const EMPTY_CANDIDATE: u32 = tl::id(
    "consensus.candidateHashDataEmpty block:tonNode.blockIdExt parent:consensus.candidateId = consensus.CandidateHashData",
);
const CANDIDATE_ID: u32 = tl::id("consensus.candidateId slot:int hash:int256 = consensus.CandidateId");
const FINALIZE_VOTE: u32 = tl::id("consensus.simplex.finalizeVote id:consensus.CandidateId = consensus.simplex.UnsignedVote");
const DATA_TO_SIGN: u32 = tl::id("consensus.dataToSign session_id:int256 data:bytes = consensus.DataToSign");

/// The vote for a candidate that must name the block. What follows the block in it is bound by the hash that is signed.
fn candidate_to_sign(id: &BlockId, signed: &SignedCandidate) -> Result<Vec<u8>, Error> {
    let mut r = Reader::new(&signed.candidate);
    if ![CANDIDATE, EMPTY_CANDIDATE].contains(&r.u32("candidate")?) || <BlockId as Field>::read(&mut r, "block")? != *id {
        return Err(Error::Unproven("the candidate names another block"));
    }
    let mut vote = Writer::new();
    vote.u32(FINALIZE_VOTE);
    vote.u32(CANDIDATE_ID);
    vote.u32(signed.slot);
    vote.raw(&sha256(&signed.candidate));
    let mut data = Writer::new();
    data.u32(DATA_TO_SIGN);
    data.raw(&signed.session_id.0);
    data.bytes(&vote.into_bytes());
    Ok(data.into_bytes())
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use adnl::keys::PrivateKey;
    use proptest::prelude::*;
    use tycho_types::models::{CatchainConfig, ConfigParam34, KnownConfigParam as _, ShardIdent, ValidatorSet};

    use super::*;

    const CATCHAIN_SEQNO: u32 = 9;

    fn key(of: u8) -> PrivateKey {
        PrivateKey::from_seed(&[of; 32])
    }

    fn id() -> BlockId {
        BlockId { shard: ShardIdent::MASTERCHAIN, seqno: 5, root_hash: HashBytes([1; 32]), file_hash: HashBytes([2; 32]) }
    }

    /// Validators with these weights, their keys numbered from 0: configuration, header, and a set of no signatures.
    fn world(weights: &[u64], shuffle: bool) -> (BlockchainConfig, BlockInfo, SignatureSet) {
        let validator = |(of, weight): (usize, &u64)| ValidatorDescription {
            public_key: HashBytes(*key(of as u8).public().as_bytes()),
            weight: *weight,
            adnl_addr: None,
            mc_seqno_since: 0,
            prev_total_weight: 0,
        };
        let validators = ValidatorSet {
            utime_since: 0,
            utime_until: 1,
            main: NonZeroU16::new(weights.len() as u16).unwrap(),
            total_weight: weights.iter().sum(),
            list: weights.iter().enumerate().map(validator).collect(),
        };
        let (_, hash) = validators.compute_mc_subset(CATCHAIN_SEQNO, shuffle).unwrap();
        let mut config = BlockchainConfig::new_empty(HashBytes::ZERO);
        let catchain = CatchainConfig {
            isolate_mc_validators: false,
            shuffle_mc_validators: shuffle,
            mc_catchain_lifetime: 1,
            shard_catchain_lifetime: 1,
            shard_validators_lifetime: 1,
            shard_validators_num: 1,
        };
        config.set_catchain_config(&catchain).unwrap();
        config.set_raw(ConfigParam34::ID, CellBuilder::build_from(&validators).unwrap()).unwrap();
        let info = BlockInfo { gen_catchain_seqno: CATCHAIN_SEQNO, gen_validator_list_hash_short: hash, ..Default::default() };
        let set =
            SignatureSet { validator_set_hash: hash, catchain_seqno: CATCHAIN_SEQNO, signatures: Vec::new(), candidate: None };
        (config, info, set)
    }

    fn signed(by: u8, message: &[u8]) -> crate::Signature {
        crate::Signature { node_id: HashBytes(*key(by).id().as_bytes()), signature: key(by).sign(message).to_vec() }
    }

    #[test]
    fn more_than_two_thirds_of_the_weight_must_sign() {
        let message = Block::build_data_for_sign(&id());
        for shuffle in [false, true] {
            let (config, info, mut set) = world(&[10, 20, 30], shuffle);
            let mut check = |by: &[u8]| {
                set.signatures = by.iter().map(|by| signed(*by, &message)).collect();
                check_signatures(&id(), &info, &config, &set)
            };
            assert!(check(&[]).is_err());
            assert!(check(&[2]).is_err());
            // Two thirds exactly are not enough; nobody counts twice; nobody else counts.
            assert!(check(&[0, 2]).is_err());
            assert!(check(&[2, 2]).is_err());
            assert!(check(&[1, 2, 7]).is_err());
            check(&[1, 2]).unwrap();
            check(&[2, 0, 1]).unwrap();
        }
    }

    #[test]
    fn another_block_set_or_session_is_refused() {
        let (config, info, mut set) = world(&[1], false);
        set.signatures = vec![signed(0, &Block::build_data_for_sign(&id()))];
        check_signatures(&id(), &info, &config, &set).unwrap();
        let other = BlockId { file_hash: HashBytes([3; 32]), ..id() };
        assert!(check_signatures(&other, &info, &config, &set).is_err());
        for spoil in [
            |info: &mut BlockInfo, _: &mut SignatureSet| info.gen_catchain_seqno += 1,
            |info: &mut BlockInfo, _: &mut SignatureSet| info.gen_validator_list_hash_short += 1,
            |_: &mut BlockInfo, set: &mut SignatureSet| set.catchain_seqno += 1,
            |_: &mut BlockInfo, set: &mut SignatureSet| set.validator_set_hash += 1,
            |_: &mut BlockInfo, set: &mut SignatureSet| set.signatures[0].signature.truncate(63),
            |_: &mut BlockInfo, set: &mut SignatureSet| set.signatures[0].node_id.0[0] += 1,
        ] {
            let (mut info, mut set) = (info.clone(), set.clone());
            spoil(&mut info, &mut set);
            assert!(check_signatures(&id(), &info, &config, &set).is_err());
        }
        let (others, ..) = world(&[2], false);
        assert!(check_signatures(&id(), &info, &others, &set).is_err());
    }

    #[test]
    fn a_signed_candidate_counts_for_the_block_that_it_names() {
        let (config, info, mut set) = world(&[1], false);
        for constructor in [CANDIDATE, EMPTY_CANDIDATE] {
            let mut w = Writer::new();
            w.u32(constructor);
            id().write(&mut w);
            w.raw(&[4; 36]);
            let candidate = SignedCandidate { session_id: HashBytes([8; 32]), slot: 3, candidate: w.into_bytes() };
            let message = candidate_to_sign(&id(), &candidate).unwrap();
            assert_eq!(message.len(), 4 + 32 + (1 + 44 + 3));
            set.signatures = vec![signed(0, &message)];
            set.candidate = Some(candidate);
            check_signatures(&id(), &info, &config, &set).unwrap();
            let other = BlockId { root_hash: HashBytes([3; 32]), ..id() };
            assert!(check_signatures(&other, &info, &config, &set).is_err());
            let mut moved = set.clone();
            moved.candidate.as_mut().unwrap().slot += 1;
            assert!(check_signatures(&id(), &info, &config, &moved).is_err());
        }
        // What was signed as a block's id does not count as a candidate, and the other way round.
        set.candidate = None;
        assert!(check_signatures(&id(), &info, &config, &set).is_err());
    }

    proptest! {
        #[test]
        fn any_links_parse_or_fail_and_prove_nothing(bytes in proptest::collection::vec(any::<u8>(), 0..600), back in any::<bool>(), boc in proptest::collection::vec(any::<u8>(), 0..200)) {
            use tl::Object;
            let mut boxed = PartialBlockProof::ID.to_le_bytes().to_vec();
            boxed.extend_from_slice(&bytes);
            let _ = PartialBlockProof::from_boxed(&boxed);
            let to = BlockId { seqno: if back { 4 } else { 6 }, ..id() };
            let set = SignatureSet { validator_set_hash: 0, catchain_seqno: 0, signatures: vec![signed(0, &boc)], candidate: None };
            let step = match back {
                true => BlockLink::Back(LinkBack { to_key_block: true, from: id(), to, dest_proof: boc.clone(), proof: boc.clone(), state_proof: boc }),
                false => BlockLink::Forward(LinkForward { to_key_block: true, from: id(), to, dest_proof: boc.clone(), config_proof: boc, signatures: set }),
            };
            let answer = PartialBlockProof { complete: true, from: id(), to, steps: vec![step] };
            prop_assert_eq!(&PartialBlockProof::from_boxed(&answer.to_boxed()).unwrap(), &answer);
            prop_assert!(check_block_proof(&id(), &to, &answer).is_err());
        }
    }
}
