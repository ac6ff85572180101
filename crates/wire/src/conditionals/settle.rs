use ton::{Cell, CellBuilder, CellContext, CellError, CellFamily, Dict, Store, build_dict_from_sorted_iter, hash};

use super::{Conditionals, proof, tree};
use crate::Resolution;

/// The most entries of a settle message that we read; gas ends far below (payments 7.6.5).
pub const MAX_SETTLED: usize = 256;

/// Why entries cannot be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The quarantined dictionary has no such entry: the contract would refuse the whole message.
    #[error("index {0} has no entry")]
    Absent(u32),
    /// The entry was settled before: the contract would fail.
    #[error("index {0} was settled")]
    Settled(u32),
}

/// The quarantined dictionary while it is being settled: the contract replaces each settled value by an empty slice, and the next message
/// proves against the result (payments 7.6.5).
#[derive(Debug, Clone)]
pub struct Settlement {
    root: Option<Cell>,
}

/// The value of a settled entry.
struct Empty;

impl Store for Empty {
    fn store_into(&self, _: &mut CellBuilder, _: &dyn CellContext) -> Result<(), CellError> {
        Ok(())
    }
}

impl Settlement {
    /// Nothing settled yet.
    pub fn new(conditionals: &Conditionals) -> Self {
        Self { root: conditionals.root().cloned() }
    }

    /// What the contract's body must commit to for the next message.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root.as_ref().map_or([0; 32], |root| hash(root.as_ref()))
    }

    /// The proof for a message that settles these indices (in any order, at least one). `Ok(None)` when there are no conditionals and no
    /// indices.
    pub fn proof(&self, indices: &[u32]) -> Result<Option<Cell>, SettleError> {
        let indices = self.checked(indices)?;
        Ok(self.root.as_ref().map(|root| proof::create(root, &indices).expect("our own tree is well-formed")))
    }

    /// Empties the entries, as the contract does when it accepts the message. Nothing changes on an error.
    pub fn settle(&mut self, indices: &[u32]) -> Result<(), SettleError> {
        let indices = self.checked(indices)?;
        let mut dict = Dict::<u32, Empty>::from_raw(self.root.take());
        for index in indices {
            dict.replace(index, Empty).expect("our own tree is well-formed");
        }
        self.root = dict.into_root();
        Ok(())
    }

    fn checked(&self, indices: &[u32]) -> Result<Vec<u32>, SettleError> {
        for index in indices {
            match self.root.as_ref().map(|root| tree::find(root.as_ref(), *index)) {
                Some(Ok(Some(value))) if value.is_empty() => return Err(SettleError::Settled(*index)),
                Some(Ok(Some(_))) => {}
                _ => return Err(SettleError::Absent(*index)),
            }
        }
        let mut sorted = indices.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        Ok(sorted)
    }
}

/// The dictionary of resolutions by index that a settle message carries: its root. `None` for none; of several at one index the first
/// counts.
pub fn resolutions_cell(resolutions: impl IntoIterator<Item = (u32, Resolution)>) -> Option<Cell> {
    let mut sorted: Vec<_> = resolutions.into_iter().collect();
    sorted.sort_by_key(|(index, _)| *index);
    build_dict_from_sorted_iter(sorted, Cell::empty_context()).expect("resolutions fit a dictionary")
}

/// Reads the resolutions of a settle message. Refuses more than [`MAX_SETTLED`].
pub fn read_resolutions(root: Option<&Cell>) -> Result<Vec<(u32, Resolution)>, CellError> {
    let dict = Dict::<u32, Resolution>::from_raw(root.cloned());
    let read = dict.iter().take(MAX_SETTLED + 1).collect::<Result<Vec<_>, _>>()?;
    if read.len() > MAX_SETTLED { Err(CellError::InvalidData) } else { Ok(read) }
}

#[cfg(test)]
mod tests {
    use super::super::Condition;
    use super::*;

    fn conditionals(count: u8) -> Conditionals {
        let condition = |n| Condition { key: [n; 32], capacity: 5, fee: 1, prepay: 0, deadline: 1 };
        Conditionals::from_conditions((0..count).map(|n| condition(n.wrapping_mul(37)))).unwrap()
    }

    #[test]
    fn entries_are_settled_once() {
        let all = conditionals(10);
        let indices: Vec<u32> = all.iter().map(|c| c.index()).collect();
        let mut settlement = Settlement::new(&all);
        assert_eq!(settlement.root_hash(), all.root_hash());
        settlement.settle(&indices[..3]).unwrap();
        assert_ne!(settlement.root_hash(), all.root_hash());
        let before = settlement.root_hash();
        assert_eq!(settlement.settle(&indices[2..4]), Err(SettleError::Settled(indices[2])));
        assert_eq!(settlement.proof(&[7]).unwrap_err(), SettleError::Absent(7));
        assert_eq!(settlement.root_hash(), before);
        assert!(settlement.proof(&indices[3..5]).unwrap().is_some());
    }

    #[test]
    fn resolutions_are_read_back_and_bounded() {
        let resolution = |n: u32| (n, Resolution { signature: [n as u8; 64], amount: n.into() });
        let some: Vec<_> = (0..MAX_SETTLED as u32).map(resolution).collect();
        let root = resolutions_cell(some.iter().rev().copied());
        assert_eq!(read_resolutions(root.as_ref()), Ok(some.clone()));
        assert_eq!(read_resolutions(None), Ok(vec![]));
        let more = resolutions_cell((0..=MAX_SETTLED as u32).map(resolution));
        assert!(read_resolutions(more.as_ref()).is_err());
    }
}
