//! Walking `HashmapE 32` cell by cell. The library's own walk cannot tell a pruned branch from any other exotic cell.

use ton::{Cell, CellBuilder, CellError, CellFamily, CellSlice, CellType, DynCell, make_pruned_branch};

use super::LookupError;

const KEY_BITS: u32 = 32;

/// The label of an edge: `len` bits, right-aligned.
struct Label {
    bits: u32,
    len: u32,
}

/// Reads `HmLabel ~len left` (all three forms, as any reader of dictionaries).
fn read_label(s: &mut CellSlice<'_>, left: u32) -> Result<Label, CellError> {
    let bits_of_len = (u32::BITS - left.leading_zeros()) as u16;
    let long = s.load_bit()?;
    let (len, repeated) = if !long {
        let mut len = 0;
        while s.load_bit()? {
            len += 1;
        }
        (len, None)
    } else if s.load_bit()? {
        let bit = s.load_bit()?;
        (s.load_uint(bits_of_len)? as u32, Some(bit))
    } else {
        (s.load_uint(bits_of_len)? as u32, None)
    };
    if len > left {
        return Err(CellError::InvalidData);
    }
    let bits = match repeated {
        Some(bit) => low_mask(len) * u32::from(bit),
        None => s.load_uint(len as u16)? as u32,
    };
    Ok(Label { bits, len })
}

fn low_mask(len: u32) -> u32 {
    ((1u64 << len) - 1) as u32
}

/// Whether `index` continues with the label when `left` bits remain behind it.
fn matches(index: u32, label: &Label, left: u32) -> bool {
    (u64::from(index) >> left) as u32 & low_mask(label.len) == label.bits
}

/// The value at `index`, what is left of its leaf's slice; `None` when the tree shows that there is none.
pub(super) fn find(root: &DynCell, index: u32) -> Result<Option<CellSlice<'_>>, LookupError> {
    let (mut cell, mut left) = (root, KEY_BITS);
    loop {
        match cell.cell_type() {
            CellType::Ordinary => {}
            CellType::PrunedBranch => return Err(LookupError::Pruned),
            _ => return Err(LookupError::Malformed(CellError::UnexpectedExoticCell)),
        }
        let mut s = cell.as_slice()?;
        let label = read_label(&mut s, left)?;
        left -= label.len;
        if !matches(index, &label, left) {
            return Ok(None);
        }
        if left == 0 {
            return Ok(Some(s));
        }
        if s.size_bits() != 0 || s.size_refs() != 2 {
            return Err(LookupError::Malformed(CellError::InvalidData));
        }
        left -= 1;
        cell = s.get_reference((index >> left & 1) as u8)?;
    }
}

/// The tree reduced to the paths of `indices`, which must be sorted. By the rule of the live network (payments 4.4): off the paths a cell
/// that has references becomes a pruned branch, a cell without references stays; the end of a path stays whole.
pub(super) fn prune(root: &DynCell, indices: &[u32]) -> Result<Cell, CellError> {
    prune_edge(root, KEY_BITS, indices)
}

fn prune_edge(cell: &DynCell, left: u32, indices: &[u32]) -> Result<Cell, CellError> {
    let mut s = cell.as_slice()?;
    let label = read_label(&mut s, left)?;
    let left = left - label.len;
    let mut b = CellBuilder::new();
    b.store_cell_data(cell)?;
    if left == 0 {
        for reference in cell.references().cloned() {
            b.store_reference(shorten(reference)?)?;
        }
        return b.build();
    }
    // Those of the sorted indices that share the label are neighbours, as are those of either branch.
    let start = indices.partition_point(|i| (u64::from(*i) >> left) as u32 & low_mask(label.len) < label.bits);
    let end = start + indices[start..].partition_point(|i| matches(*i, &label, left));
    let inside = &indices[start..end];
    let (zeros, ones) = inside.split_at(inside.partition_point(|i| i >> (left - 1) & 1 == 0));
    for (reference, indices) in cell.references().cloned().zip([zeros, ones]) {
        b.store_reference(match indices {
            [] => shorten(reference)?,
            _ => prune_edge(reference.as_ref(), left - 1, indices)?,
        })?;
    }
    b.build()
}

fn shorten(cell: Cell) -> Result<Cell, CellError> {
    if cell.as_ref().reference_count() == 0 { Ok(cell) } else { make_pruned_branch(cell.as_ref(), 0, Cell::empty_context()) }
}
