//! The Merkle update between two states, at a cost that grows with what changed and not with the size of the state.

use std::collections::HashSet;

use tycho_types::error::Error;
use tycho_types::merkle::MerkleUpdate;
use tycho_types::prelude::*;

/// Builds the update from `old` to `new`.
pub(super) fn state_update(old: &Cell, new: &Cell) -> Result<MerkleUpdate, Error> {
    MerkleUpdate::create(old.as_ref(), new.as_ref(), near_changes(old, new)).build()
}

/// Cells of the old tree near to what changed: those on the changed paths and their children. The update writes out every cell of the
/// new tree that is not among them, so leaving one out makes the update longer, never wrong.
///
/// Both trees are walked side by side, level by level. A dictionary edge that was split or joined moves subtrees by one level, which
/// the children cover.
fn near_changes(old: &Cell, new: &Cell) -> HashSet<HashBytes> {
    let mut near = HashSet::from([*old.repr_hash()]);
    let mut level = vec![(old.clone(), new.clone())];
    while !level.is_empty() {
        for (old, _) in &level {
            near.extend(old.references().map(|child| *child.repr_hash()));
        }
        let mut next = Vec::new();
        for (old, new) in &level {
            for (index, new_child) in (0..new.reference_count()).filter_map(|i| Some((i, new.reference_cloned(i)?))) {
                if near.contains(new_child.repr_hash()) {
                    continue;
                }
                let old_child = old.reference_cloned(index).or_else(|| old.reference_cloned(0));
                if let Some(old_child) = old_child {
                    next.push((old_child, new_child));
                }
            }
        }
        level = next;
    }
    near
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_of_a_large_dictionary_are_small_and_apply() {
        let mut dict = Dict::<u64, u64>::new();
        let key = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for i in 0..5000 {
            dict.set(key(i), i).unwrap();
        }
        let root = |dict: &Dict<u64, u64>| dict.root().clone().unwrap();
        for round in 0..200 {
            let old = root(&dict);
            match round % 4 {
                0 => dict.set(key(10_000 + round), 1).map(drop).unwrap(),
                1 => dict.remove(key(round)).map(drop).unwrap(),
                2 => dict.set(key(1000 + round), round).map(drop).unwrap(),
                _ => {
                    dict.remove(key(2000 + round)).unwrap();
                    dict.set(key(20_000 + round), 1).unwrap();
                    dict.set(key(3000 + round), round).unwrap();
                }
            }
            let new = root(&dict);
            let update = state_update(&old, &new).unwrap();
            assert_eq!(update.apply(&old).unwrap().repr_hash(), new.repr_hash());
            let size = Boc::encode(CellBuilder::build_from(&update).unwrap()).len();
            assert!(size < 20_000, "round {round}: {size} bytes for a few changes of 5000 entries");
        }
    }

    #[test]
    fn nothing_changed_is_an_empty_update() {
        let cell = CellBuilder::build_from(7_u64).unwrap();
        let update = state_update(&cell, &cell).unwrap();
        assert_eq!(update.apply(&cell).unwrap(), cell);
    }
}
