//! Proofs of masterchain blocks as lite servers send them (network 6.3, appendix A): links between blocks, with the validators'
//! signatures.

use tl::{Error, Object, Reader, Writer};
use tycho_types::models::BlockId;
use tycho_types::prelude::HashBytes;

use crate::field::{Field, object, vector};
use crate::types::optional;

/// Asks for links from a known masterchain block to another one, or to the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetBlockProof {
    /// The block that is trusted.
    pub known: BlockId,
    /// The block to be proven; the newest one when absent (mode bit 0).
    pub target: Option<BlockId>,
}

impl Object for GetBlockProof {
    const ID: u32 = tl::id(
        "liteServer.getBlockProof mode:# known_block:tonNode.blockIdExt target_block:mode.0?tonNode.blockIdExt = liteServer.PartialBlockProof",
    );
    fn write_bare(&self, w: &mut Writer) {
        w.u32(u32::from(self.target.is_some()));
        self.known.write(w);
        self.target.iter().for_each(|id| id.write(w));
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        let mode = r.u32("mode")?;
        Ok(Self { known: Field::read(r, "known_block")?, target: optional(r, mode, 0, "target_block")? })
    }
}
impl crate::Method for GetBlockProof {
    type Answer = PartialBlockProof;
}

object! {
    /// Links from the known block towards the wanted one. Long ways are proven in several answers.
    PartialBlockProof("liteServer.partialBlockProof complete:Bool from:tonNode.blockIdExt to:tonNode.blockIdExt steps:(vector liteServer.BlockLink) = liteServer.PartialBlockProof") {
        /// Whether they reach the wanted block.
        complete: bool,
        /// The known block.
        from: BlockId,
        /// Where the last link ends.
        to: BlockId,
        /// In the order in which they are walked.
        steps: Vec<BlockLink>,
    }
}

/// A link between two masterchain blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockLink {
    /// To an earlier block.
    Back(LinkBack),
    /// From a key block to a later block.
    Forward(LinkForward),
}

object! {
    /// A link to an earlier block: the state behind `from` names it.
    LinkBack("liteServer.blockLinkBack to_key_block:Bool from:tonNode.blockIdExt to:tonNode.blockIdExt dest_proof:bytes proof:bytes state_proof:bytes = liteServer.BlockLink") {
        /// Whether `to` is a key block.
        to_key_block: bool,
        /// The later block.
        from: BlockId,
        /// The earlier block.
        to: BlockId,
        /// A proof of `to` down to its header.
        dest_proof: Vec<u8>,
        /// A proof of `from` down to the hash of its state.
        proof: Vec<u8>,
        /// A proof of the state behind `from` down to its entry of `to`.
        state_proof: Vec<u8>,
    }
}

/// A link from a key block to a later block: validators whom the key block names have signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkForward {
    /// Whether `to` is a key block.
    pub to_key_block: bool,
    /// The key block, or the zero state.
    pub from: BlockId,
    /// The later block.
    pub to: BlockId,
    /// A proof of `to` down to its header.
    pub dest_proof: Vec<u8>,
    /// A proof of `from` down to its validators (configuration 28, 34 and 35).
    pub config_proof: Vec<u8>,
    /// Of `to`.
    pub signatures: SignatureSet,
}

impl Object for LinkForward {
    const ID: u32 = tl::id(
        "liteServer.blockLinkForward to_key_block:Bool from:tonNode.blockIdExt to:tonNode.blockIdExt dest_proof:bytes config_proof:bytes signatures:liteServer.SignatureSet = liteServer.BlockLink",
    );
    fn write_bare(&self, w: &mut Writer) {
        self.to_key_block.write(w);
        self.from.write(w);
        self.to.write(w);
        self.dest_proof.write(w);
        self.config_proof.write(w);
        self.signatures.write(w);
    }
    fn read_bare(r: &mut Reader<'_>) -> Result<Self, Error> {
        Ok(Self {
            to_key_block: Field::read(r, "to_key_block")?,
            from: Field::read(r, "from")?,
            to: Field::read(r, "to")?,
            dest_proof: Field::read(r, "dest_proof")?,
            config_proof: Field::read(r, "config_proof")?,
            signatures: Field::read(r, "signatures")?,
        })
    }
}

/// Boxed, as all elements of `(vector liteServer.BlockLink)` are.
impl Field for BlockLink {
    const MIN_SIZE: usize = 4 + 4 + 80 + 80 + 12;
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Back(link) => link.write_boxed(w),
            Self::Forward(link) => link.write_boxed(w),
        }
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        match r.u32(field)? {
            LinkBack::ID => LinkBack::read_bare(r).map(Self::Back),
            LinkForward::ID => LinkForward::read_bare(r).map(Self::Forward),
            id => Err(Error::UnknownConstructor { field, id }),
        }
    }
}
vector!(BlockLink, Signature);

/// Signatures of a block, and which validators should have made them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureSet {
    /// Short hash of the set of validators.
    pub validator_set_hash: u32,
    /// The validators' session.
    pub catchain_seqno: u32,
    /// At most one of each validator.
    pub signatures: Vec<Signature>,
    /// What was signed instead of the block's id, under the consensus that signs candidates.
    pub candidate: Option<SignedCandidate>,
}

/// What validators sign under the newer consensus: the vote for a candidate, which names the block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCandidate {
    /// The session.
    pub session_id: HashBytes,
    /// The candidate's place in it.
    pub slot: u32,
    /// The boxed candidate.
    pub candidate: Vec<u8>,
}

/// A validator's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Short id of its key.
    pub node_id: HashBytes,
    /// Of 64 bytes.
    pub signature: Vec<u8>,
}

impl Field for Signature {
    const MIN_SIZE: usize = 36;
    fn write(&self, w: &mut Writer) {
        self.node_id.write(w);
        self.signature.write(w);
    }
    fn read(r: &mut Reader<'_>, _: &'static str) -> Result<Self, Error> {
        Ok(Self { node_id: Field::read(r, "node_id_short")?, signature: Field::read(r, "signature")? })
    }
}

/// `liteServer.signatureSet.ordinary`; its id is forced in the schema.
const ORDINARY: u32 = 0xf644_a6e6;
const SIMPLEX: u32 = tl::id(
    "liteServer.signatureSet.simplex cc_seqno:int validator_set_hash:int signatures:(vector liteServer.signature) session_id:int256 slot:int candidate:bytes = liteServer.SignatureSet",
);

/// Boxed.
impl Field for SignatureSet {
    fn write(&self, w: &mut Writer) {
        match &self.candidate {
            None => {
                w.u32(ORDINARY);
                w.u32(self.validator_set_hash);
                w.u32(self.catchain_seqno);
                self.signatures.write(w);
            }
            Some(signed) => {
                w.u32(SIMPLEX);
                w.u32(self.catchain_seqno);
                w.u32(self.validator_set_hash);
                self.signatures.write(w);
                signed.session_id.write(w);
                w.u32(signed.slot);
                signed.candidate.write(w);
            }
        }
    }
    fn read(r: &mut Reader<'_>, field: &'static str) -> Result<Self, Error> {
        match r.u32(field)? {
            ORDINARY => Ok(Self {
                validator_set_hash: r.u32("validator_set_hash")?,
                catchain_seqno: r.u32("catchain_seqno")?,
                signatures: Field::read(r, "signatures")?,
                candidate: None,
            }),
            SIMPLEX => {
                let (catchain_seqno, validator_set_hash) = (r.u32("cc_seqno")?, r.u32("validator_set_hash")?);
                let signatures = Field::read(r, "signatures")?;
                let candidate = SignedCandidate {
                    session_id: Field::read(r, "session_id")?,
                    slot: r.u32("slot")?,
                    candidate: Field::read(r, "candidate")?,
                };
                Ok(Self { validator_set_hash, catchain_seqno, signatures, candidate: Some(candidate) })
            }
            id => Err(Error::UnknownConstructor { field, id }),
        }
    }
}
