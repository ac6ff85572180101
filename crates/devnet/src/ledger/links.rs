//! Links between masterchain blocks, with the validator's signature (network 6.3, getBlockProof).

use tycho_types::models::{Block, BlockId};
use tycho_types::prelude::*;

use super::{Error, Ledger, proof};
use crate::chain;

/// A link to an earlier or a later block. Each proof has one root.
#[derive(Debug, Clone)]
pub enum Link {
    /// The state behind `from` names `to`.
    Back {
        /// The later block.
        from: BlockId,
        /// The earlier one.
        to: BlockId,
        /// Whether the earlier one is a key block.
        to_key_block: bool,
        /// Of the earlier one's header; none for the zero state, which has no header.
        header: Option<Cell>,
        /// Of the later one down to the hash of its state.
        block: Cell,
        /// Of that state down to its entry of the earlier block.
        state: Cell,
    },
    /// The validators whom `from` names have signed `to`.
    Forward {
        /// The key block, or the zero state.
        from: BlockId,
        /// The later block.
        to: BlockId,
        /// Whether the later one is a key block.
        to_key_block: bool,
        /// Of the later one's header.
        header: Cell,
        /// Of the earlier one down to its validators.
        validators: Cell,
        /// Of the later one.
        signature: BlockSignature,
    },
}

/// The only validator's signature of a masterchain block.
#[derive(Debug, Clone)]
pub struct BlockSignature {
    /// Short hash of the set of validators.
    pub set_hash: u32,
    /// The validators' session.
    pub catchain_seqno: u32,
    /// Short id of the validator's key.
    pub node_id: HashBytes,
    /// Of the block's id.
    pub signature: [u8; 64],
}

impl Ledger {
    /// Links from one masterchain block, or the zero state, to another one.
    pub fn links(&self, from: &BlockId, to: &BlockId) -> Result<Vec<Link>, Error> {
        self.masterchain_or_zero(from)?;
        self.masterchain_or_zero(to)?;
        if from == to {
            return Ok(Vec::new());
        }
        if from.seqno > to.seqno {
            return Ok(vec![self.link_back(from, to)?]);
        }
        let mut links = Vec::new();
        let mut at = *from;
        if let Some(key_block) = self.key_block.as_ref().filter(|key| at.seqno > key.seqno) {
            let key_block = self.blocks[key_block.seqno as usize][1].id;
            links.push(self.link_back(&at, &key_block)?);
            at = key_block;
        }
        if at.seqno >= to.seqno {
            return Err(Error::NoLink);
        }
        links.push(self.link_forward(&at, to)?);
        Ok(links)
    }

    fn link_back(&self, from: &BlockId, to: &BlockId) -> Result<Link, Error> {
        Ok(Link::Back {
            from: *from,
            to: *to,
            to_key_block: self.is_key_block(to),
            header: if to.seqno > 0 { Some(self.header_proof(to)?) } else { None },
            block: self.header_proof(from)?,
            state: proof::previous_block(&self.states(from)?.masterchain, to.seqno)?,
        })
    }

    fn link_forward(&self, from: &BlockId, to: &BlockId) -> Result<Link, Error> {
        let validators = match from.seqno {
            0 => proof::state_validators(&Boc::decode(&self.blocks[0][1].boc)?)?,
            _ => proof::block_validators(&self.masterchain_block(from)?.cell()?)?,
        };
        Ok(Link::Forward {
            from: *from,
            to: *to,
            to_key_block: self.is_key_block(to),
            header: self.header_proof(to)?,
            validators,
            signature: self.signature(to),
        })
    }

    /// Ed25519 gives the same signature each time, so there is nothing to keep.
    fn signature(&self, id: &BlockId) -> BlockSignature {
        let key = chain::validator_key();
        BlockSignature {
            set_hash: self.validators.validator_list_hash_short,
            catchain_seqno: self.validators.catchain_seqno,
            node_id: HashBytes(*key.id().as_bytes()),
            signature: key.sign(&Block::build_data_for_sign(id)),
        }
    }

    fn is_key_block(&self, id: &BlockId) -> bool {
        self.key_block.as_ref().is_some_and(|key| key.seqno == id.seqno)
    }

    fn masterchain_or_zero(&self, id: &BlockId) -> Result<(), Error> {
        match id.seqno {
            0 if id == self.zero_state() => Ok(()),
            _ => self.masterchain_block(id).map(drop),
        }
    }
}
