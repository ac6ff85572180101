use ton::{Cell, CellError, CellFamily, Dict, RawIter, build_dict_from_sorted_iter, hash};

use super::{Condition, proof, tree};

/// The index is taken, by this key or by another one with the same first four bytes (payments 10.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("index {index} is taken")]
pub struct Occupied {
    /// The index.
    pub index: u32,
}

/// All conditionals of one side of a channel: `HashmapE 32` in memory, its cells' hashes cached (payments 3.4).
///
/// Only built from [`Condition`]s, so its cells are well-formed. A clone shares the cells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditionals {
    root: Option<Cell>,
    len: usize,
    locked: Total,
}

impl Conditionals {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// All at once, in any order: for loading.
    pub fn from_conditions(conditions: impl IntoIterator<Item = Condition>) -> Result<Self, Occupied> {
        let mut entries: Vec<_> = conditions.into_iter().map(|condition| (condition.index(), condition)).collect();
        entries.sort_unstable_by_key(|(index, _)| *index);
        if let Some(pair) = entries.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(Occupied { index: pair[0].0 });
        }
        let (len, mut locked) = (entries.len(), Total::default());
        entries.iter().for_each(|(_, condition)| locked.add(condition.locked()));
        let root = well_formed(build_dict_from_sorted_iter(entries, Cell::empty_context()));
        Ok(Self { root, len, locked })
    }

    /// The condition at an index. Compare its key: another one may share the index.
    pub fn get(&self, index: u32) -> Option<Condition> {
        let value = well_formed(tree::find(self.root.as_deref()?, index))?;
        Some(well_formed(Condition::from_slice(value)))
    }

    /// The condition of a virtual key.
    pub fn get_key(&self, key: &[u8; 32]) -> Option<Condition> {
        self.get(Condition::index_of(key)).filter(|condition| condition.key == *key)
    }

    /// Adds a condition. Nothing changes when its index is taken.
    pub fn insert(&mut self, condition: Condition) -> Result<(), Occupied> {
        let index = condition.index();
        if !self.update(|dict| dict.add(index, condition)) {
            return Err(Occupied { index });
        }
        self.len += 1;
        self.locked.add(condition.locked());
        Ok(())
    }

    /// Puts a condition in the place of the one with the same key, which is returned. `None`, and nothing changes, when there is none.
    pub fn replace(&mut self, condition: Condition) -> Option<Condition> {
        let old = self.get_key(&condition.key)?;
        self.update(|dict| dict.replace(condition.index(), condition));
        self.locked.sub(old.locked());
        self.locked.add(condition.locked());
        Some(old)
    }

    /// Takes the condition at an index out.
    pub fn remove(&mut self, index: u32) -> Option<Condition> {
        let old = self.get(index)?;
        self.update(|dict| dict.remove_raw(index));
        self.len -= 1;
        self.locked.sub(old.locked());
        Some(old)
    }

    fn update<T>(&mut self, change: impl FnOnce(&mut Dict<u32, Condition>) -> Result<T, CellError>) -> T {
        let mut dict = Dict::from_raw(self.root.take());
        let result = well_formed(change(&mut dict));
        self.root = dict.into_root();
        result
    }

    /// What a state commits to: the root's hash, 32 zero bytes when there are none.
    pub fn root_hash(&self) -> [u8; 32] {
        self.root.as_ref().map_or([0; 32], |root| hash(root.as_ref()))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The sum of [`Condition::locked`], nano. Kept, not computed. `u128::MAX` when it does not fit.
    pub fn locked(&self) -> u128 {
        self.locked.value()
    }

    /// All, by ascending index.
    pub fn iter(&self) -> impl Iterator<Item = Condition> + '_ {
        RawIter::new(&self.root, 32).map(|entry| well_formed(entry.and_then(|(_, value)| Condition::from_slice(value))))
    }

    /// The root of the dictionary.
    pub fn root(&self) -> Option<&Cell> {
        self.root.as_ref()
    }

    /// The update proof that shows the entry at `index` in full: openVirtual, commitVirtual (payments 4.4). `None` when there are none.
    pub fn proof_of_entry(&self, index: u32) -> Option<Cell> {
        self.proof(&[index])
    }

    /// The update proof that shows the absence of `index`: removeVirtual, confirmClose (payments 4.4). `None` when there are none.
    pub fn proof_of_absence(&self, index: u32) -> Option<Cell> {
        self.proof(&[index])
    }

    /// The update proof that shows the root cell only: every other action (payments 4.4). `None` when there are none.
    pub fn proof_of_root(&self) -> Option<Cell> {
        self.proof(&[])
    }

    fn proof(&self, indices: &[u32]) -> Option<Cell> {
        self.root.as_ref().map(|root| well_formed(proof::create(root, indices)))
    }
}

/// Our own cells are well-formed, and no dictionary is too deep or a leaf too large for a cell.
fn well_formed<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
    result.expect("the dictionary is built from conditions")
}

/// A sum that cannot overflow: 10,000 amounts of 121 bits exceed 128 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Total {
    low: u128,
    high: u32,
}

impl Total {
    fn add(&mut self, amount: u128) {
        let (low, carry) = self.low.overflowing_add(amount);
        self.low = low;
        self.high += u32::from(carry);
    }
    fn sub(&mut self, amount: u128) {
        let (low, borrow) = self.low.overflowing_sub(amount);
        self.low = low;
        self.high -= u32::from(borrow);
    }
    fn value(self) -> u128 {
        if self.high == 0 { self.low } else { u128::MAX }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LookupError, UpdateProof};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn condition(n: u32) -> Condition {
        let mut key = [0xaa; 32];
        key[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        Condition { key, capacity: 1_000 + u128::from(n), fee: 7, prepay: 0, deadline: 1 + n }
    }

    #[test]
    fn a_taken_index_is_refused_even_for_another_key() {
        let mut all = Conditionals::new();
        all.insert(condition(1)).unwrap();
        let before = all.clone();
        let mut other = condition(1);
        other.key[31] ^= 1;
        assert_eq!(all.insert(other), Err(Occupied { index: other.index() }));
        assert_eq!(all.replace(other), None);
        assert_eq!(all.get_key(&other.key), None);
        assert_eq!(all, before);
        assert!(Conditionals::from_conditions([condition(1), other]).is_err());
    }

    #[test]
    fn the_locked_sum_saturates_and_comes_back() {
        let mut all = Conditionals::new();
        let huge = |n| Condition { capacity: ton::MAX_COINS, fee: ton::MAX_COINS, ..condition(n) };
        (0..300).for_each(|n| all.insert(huge(n)).unwrap());
        assert_eq!(all.locked(), u128::MAX);
        (1..300).for_each(|n| assert!(all.remove(huge(n).index()).is_some()));
        assert_eq!(all.locked(), 2 * ton::MAX_COINS);
    }

    #[derive(Debug, Clone)]
    enum Change {
        Insert(u32),
        Replace(u32, u128),
        Remove(u32),
    }

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            3 => (0u32..60).prop_map(Change::Insert),
            1 => (0u32..60, 0u128..900).prop_map(|(n, prepay)| Change::Replace(n, prepay)),
            2 => (0u32..60).prop_map(Change::Remove),
        ]
    }

    proptest! {
        #[test]
        fn agrees_with_a_map_whatever_the_history(changes in proptest::collection::vec(change(), 0..80), probe in 0u32..60) {
            let (mut all, mut model) = (Conditionals::new(), BTreeMap::new());
            for change in changes {
                match change {
                    Change::Insert(n) => {
                        let expected = model.insert(condition(n).index(), condition(n));
                        if let Some(old) = expected {
                            model.insert(old.index(), old);
                        }
                        prop_assert_eq!(all.insert(condition(n)).is_err(), expected.is_some());
                    }
                    Change::Replace(n, prepay) => {
                        let new = Condition { prepay, ..condition(n) };
                        let old = model.get_mut(&new.index()).map(|old| std::mem::replace(old, new));
                        prop_assert_eq!(all.replace(new), old);
                    }
                    Change::Remove(n) => prop_assert_eq!(all.remove(condition(n).index()), model.remove(&condition(n).index())),
                }
            }
            prop_assert_eq!(all.len(), model.len());
            prop_assert_eq!(all.locked(), model.values().map(Condition::locked).sum::<u128>());
            prop_assert_eq!(all.iter().collect::<Vec<_>>(), model.values().copied().collect::<Vec<_>>());
            prop_assert_eq!(&Conditionals::from_conditions(all.iter()).unwrap(), &all);

            let index = condition(probe).index();
            prop_assert_eq!(all.get(index), model.get(&index).copied());
            let proof = UpdateProof::verify(all.proof_of_entry(index).as_ref(), &all.root_hash()).unwrap();
            prop_assert_eq!(proof.lookup(index), Ok(model.get(&index).copied()));
            for other in model.keys().filter(|other| **other != index) {
                // A neighbour may be visible where two paths share their last fork, but never as absent.
                prop_assert!(matches!(proof.lookup(*other), Ok(Some(_)) | Err(LookupError::Pruned)));
            }
        }
    }
}
