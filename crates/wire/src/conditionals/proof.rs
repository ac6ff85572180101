use ton::{Cell, CellBuilder, CellError, MerkleProof};

use super::{Condition, tree};

/// Why an update proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no proof, but the state has conditionals.
    #[error("a proof is missing")]
    Missing,
    /// Not a Merkle proof, or its tree is not what it says.
    #[error("not a proof: {0}")]
    Malformed(#[from] CellError),
    /// The proof is about another dictionary.
    #[error("a proof of another dictionary")]
    OtherDictionary,
}

/// Why a proof does not answer a look-up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// The path to the index was cut away.
    #[error("the entry is pruned away")]
    Pruned,
    /// What lies there is no dictionary or no condition.
    #[error("malformed: {0}")]
    Malformed(#[from] CellError),
}

/// Makes the Merkle proof of the paths to `indices`, which must be sorted.
pub(super) fn create(root: &Cell, indices: &[u32]) -> Result<Cell, CellError> {
    let proof = MerkleProof {
        hash: *root.as_ref().repr_hash(),
        depth: root.as_ref().repr_depth(),
        cell: tree::prune(root.as_ref(), indices)?,
    };
    CellBuilder::build_from(&proof)
}

/// A verified proof about the dictionary that a state commits to: what a responder sees of a proposal's change (payments 4.4).
#[derive(Debug, Clone)]
pub struct UpdateProof {
    /// The pruned tree; `None` when the dictionary is empty.
    root: Option<Cell>,
}

impl UpdateProof {
    /// Checks a proof against the conditionals hash of the proposed state. It may be missing only when that hash is zero.
    pub fn verify(proof: Option<&Cell>, hash: &[u8; 32]) -> Result<Self, ProofError> {
        let Some(proof) = proof else {
            return if *hash == [0; 32] { Ok(Self { root: None }) } else { Err(ProofError::Missing) };
        };
        // Checks that the tree has the stored hash and depth at level 0.
        let proof: MerkleProof = proof.as_ref().parse_exotic()?;
        if proof.hash.0 != *hash {
            return Err(ProofError::OtherDictionary);
        }
        Ok(Self { root: Some(proof.cell) })
    }

    /// The condition at an index; `Ok(None)` only when the proof shows that there is none.
    pub fn lookup(&self, index: u32) -> Result<Option<Condition>, LookupError> {
        let Some(root) = &self.root else { return Ok(None) };
        match tree::find(root.as_ref(), index)? {
            None => Ok(None),
            // A pruned code cell below a visible entry is as good as a pruned entry: its hash is not what a condition needs.
            Some(value) => Ok(Some(Condition::from_slice(value)?)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Conditionals;
    use super::*;
    use proptest::prelude::*;

    fn all(count: u8) -> Conditionals {
        let condition = |n| Condition { key: [n; 32], capacity: 5, fee: 1, prepay: 0, deadline: 1 };
        Conditionals::from_conditions((0..count).map(|n| condition(n.wrapping_mul(37)))).unwrap()
    }

    #[test]
    fn a_missing_proof_means_no_conditionals() {
        let none = UpdateProof::verify(None, &[0; 32]).unwrap();
        assert_eq!(none.lookup(5), Ok(None));
        assert_eq!(UpdateProof::verify(None, &[1; 32]).unwrap_err(), ProofError::Missing);
        assert_eq!(Conditionals::new().proof_of_root(), None);
    }

    #[test]
    fn a_proof_is_about_its_dictionary_only() {
        let (one, other) = (all(20), all(19));
        let proof = one.proof_of_root();
        assert_eq!(UpdateProof::verify(proof.as_ref(), &other.root_hash()).unwrap_err(), ProofError::OtherDictionary);
        assert!(matches!(UpdateProof::verify(one.root(), &one.root_hash()), Err(ProofError::Malformed(_))));
        assert_eq!(UpdateProof::verify(proof.as_ref(), &one.root_hash()).unwrap().lookup(0), Err(LookupError::Pruned));
    }

    #[test]
    fn absence_is_shown_and_not_guessed() {
        let mut all = all(20);
        let index = all.iter().nth(7).unwrap().index();
        all.remove(index);
        let proof = UpdateProof::verify(all.proof_of_absence(index).as_ref(), &all.root_hash()).unwrap();
        assert_eq!(proof.lookup(index), Ok(None));
    }

    proptest! {
        #[test]
        fn a_damaged_proof_is_refused_or_says_the_truth(at in 0usize..2_000, with in any::<u8>(), pick in 0usize..20) {
            let all = all(20);
            let index = all.iter().nth(pick).unwrap().index();
            let mut boc = ton::encode_boc(&all.proof_of_entry(index).unwrap());
            let at = at % boc.len();
            boc[at] = with;
            let Ok(cell) = ton::decode_boc(&boc) else { return Ok(()) };
            let Ok(proof) = UpdateProof::verify(Some(&cell), &all.root_hash()) else { return Ok(()) };
            if let Ok(found) = proof.lookup(index) {
                prop_assert_eq!(found, all.get(index));
            }
        }

        /// Any cells in the place of the tree: the proof's own hash is right, the tree is nonsense.
        #[test]
        fn any_tree_is_walked_or_refused(
            cells in proptest::collection::vec((any::<[u8; 40]>(), 0u16..320, any::<[u8; 4]>(), 0usize..5), 1..12), index in any::<u32>(),
        ) {
            let mut built: Vec<Cell> = vec![Cell::default()];
            for (data, bits, picks, refs) in cells {
                let mut b = CellBuilder::new();
                b.store_raw(&data, bits).unwrap();
                for pick in &picks[..refs.min(4)] {
                    b.store_reference(built[*pick as usize % built.len()].clone()).unwrap();
                }
                built.push(b.build().unwrap());
            }
            let cell = built.pop().unwrap();
            let (hash, depth) = (*cell.as_ref().repr_hash(), cell.as_ref().repr_depth());
            let proof = CellBuilder::build_from(MerkleProof { hash, depth, cell }).unwrap();
            let _ = UpdateProof::verify(Some(&proof), &hash.0).unwrap().lookup(index);
        }
    }
}
