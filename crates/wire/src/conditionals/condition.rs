use std::sync::LazyLock;

use ton::{Cell, CellBuilder, CellContext, CellError, CellSlice, DynCell, Load, MAX_COINS, Store, expect_end};

/// The hash of the code that every condition ends in (payments 3.5).
pub const STATIC_CODE_HASH: [u8; 32] = [
    0x44, 0x93, 0xb3, 0x85, 0x62, 0x74, 0xe2, 0x0a, 0xcd, 0x1e, 0x5f, 0x6b, 0x02, 0x15, 0xac, 0xfa, 0x88, 0x09, 0xf3, 0x94, 0x78,
    0x22, 0xa0, 0x1e, 0xd8, 0xd7, 0x39, 0xb7, 0x7b, 0xac, 0xa3, 0x9a,
];

const STATIC_CODE: [u8; 33] = [
    0x05, 0x83, 0x08, 0xd7, 0x18, 0x66, 0x07, 0xf9, 0x11, 0x01, 0xf8, 0x23, 0xbe, 0xb0, 0xf2, 0x98, 0x03, 0xfa, 0x00, 0x30, 0x52,
    0x02, 0xbb, 0x53, 0x31, 0xbb, 0xb0, 0xf2, 0x9a, 0x58, 0xa1, 0x01, 0xa0,
];

static STATIC_CODE_CELL: LazyLock<Cell> = LazyLock::new(|| {
    let mut b = CellBuilder::new();
    b.store_raw(&STATIC_CODE, STATIC_CODE.len() as u16 * 8).and_then(|()| b.build()).expect("33 bytes fit a cell")
});

/// One hop's promise: pay `amount + fee` against a resolution of `amount` signed by the virtual key before the deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Condition {
    /// The virtual channel's public key.
    pub key: [u8; 32],
    /// The largest amount that may be resolved, nano.
    pub capacity: u128,
    /// Paid on top of the amount, nano.
    pub fee: u128,
    /// What was paid already (payments 5.9), nano.
    pub prepay: u128,
    /// Unix seconds; never 0.
    pub deadline: u32,
}

impl Condition {
    /// The place in the dictionary.
    pub fn index(&self) -> u32 {
        Self::index_of(&self.key)
    }

    /// The place of a virtual key: its first four bytes, little endian (payments 3.4). Different keys may share one.
    pub fn index_of(key: &[u8; 32]) -> u32 {
        u32::from_le_bytes([key[0], key[1], key[2], key[3]])
    }

    /// What this condition takes from the payer's balance (payments 6): capacity + fee − prepay, nano. 0 when more was prepaid.
    pub fn locked(&self) -> u128 {
        self.capacity.saturating_add(self.fee).saturating_sub(self.prepay)
    }

    /// The executable cell, minimal.
    pub fn to_cell(&self) -> Cell {
        CellBuilder::build_from(self).expect("five numbers of at most 272 bits fit a cell")
    }

    /// Reads a condition within the limits of payments 3.5, amounts of at most 120 bits. Numbers need not be minimal; who agrees to a
    /// new condition rebuilds the cell and compares hashes.
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        Self::from_slice(cell.as_slice()?)
    }

    pub(crate) fn from_slice(mut s: CellSlice<'_>) -> Result<Self, CellError> {
        let condition = Self::load_from(&mut s)?;
        expect_end(&s)?;
        Ok(condition)
    }
}

impl Store for Condition {
    fn store_into(&self, b: &mut CellBuilder, _: &dyn CellContext) -> Result<(), CellError> {
        push_number(b, self.fee)?;
        push_number(b, self.capacity)?;
        push_number(b, self.prepay)?;
        push_number(b, self.deadline.into())?;
        push(b, &self.key)?;
        b.store_reference(STATIC_CODE_CELL.clone())
    }
}

impl<'a> Load<'a> for Condition {
    fn load_from(s: &mut CellSlice<'a>) -> Result<Self, CellError> {
        let (fee, capacity, prepay) = (pop_amount(s)?, pop_amount(s)?, pop_amount(s)?);
        let deadline = u32::try_from(pop_number(s)?).ok().filter(|d| *d != 0).ok_or(CellError::IntOverflow)?;
        let key = pop(s)?;
        if s.load_reference()?.repr_hash().0 != STATIC_CODE_HASH {
            return Err(CellError::InvalidData);
        }
        Ok(Self { key, capacity, fee, prepay, deadline })
    }
}

fn push_number(b: &mut CellBuilder, value: u128) -> Result<(), CellError> {
    let mut be = [0; 32];
    be[16..].copy_from_slice(&value.to_be_bytes());
    push(b, &be)
}

/// `PUSHINT` of an unsigned number, in the shortest of the three forms of payments 3.5.
fn push(b: &mut CellBuilder, be: &[u8; 32]) -> Result<(), CellError> {
    let leading_bytes = be.iter().take_while(|byte| **byte == 0).count();
    let significant = be.get(leading_bytes).map_or(0, |top| (32 - leading_bytes) * 8 - top.leading_zeros() as usize);
    match significant + 1 {
        1..=8 => {
            b.store_u8(0x80)?;
            b.store_u8(be[31])
        }
        9..=16 => {
            b.store_u8(0x81)?;
            b.store_raw(&be[30..], 16)
        }
        signed => {
            let length = signed.saturating_sub(19).div_ceil(8); // the smallest L with 8 L + 19 >= signed
            b.store_u8(0x82)?;
            b.store_small_uint(length as u8, 5)?;
            store_low_bits(b, be, 8 * length + 19)
        }
    }
}

/// The lowest `bits` bits of a number, zeros above its 256.
fn store_low_bits(b: &mut CellBuilder, be: &[u8; 32], bits: usize) -> Result<(), CellError> {
    let zeros = bits.saturating_sub(256);
    b.store_zeros(zeros as u16)?;
    let (bytes, rest) = ((bits - zeros) / 8, (bits - zeros) % 8);
    if rest > 0 {
        b.store_small_uint(be[31 - bytes] & ((1 << rest) - 1), rest as u16)?;
    }
    b.store_raw(&be[32 - bytes..], bytes as u16 * 8)
}

fn pop_number(s: &mut CellSlice<'_>) -> Result<u128, CellError> {
    let be = pop(s)?;
    let (high, low) = be.split_first_chunk::<16>().expect("32 bytes have a first half");
    if *high != [0; 16] {
        return Err(CellError::IntOverflow);
    }
    low.try_into().map(u128::from_be_bytes).map_err(|_| CellError::IntOverflow)
}

fn pop_amount(s: &mut CellSlice<'_>) -> Result<u128, CellError> {
    let amount = pop_number(s)?;
    if amount > MAX_COINS { Err(CellError::IntOverflow) } else { Ok(amount) }
}

/// The number of a `PUSHINT` in any of the three forms; a negative one or one above 256 bits is [`CellError::IntOverflow`].
fn pop(s: &mut CellSlice<'_>) -> Result<[u8; 32], CellError> {
    let bits = match s.load_u8()? {
        0x80 => 8,
        0x81 => 16,
        0x82 => 8 * u16::from(s.load_small_uint(5)?) + 19,
        _ => return Err(CellError::InvalidTag),
    };
    if s.get_bit(0)? {
        return Err(CellError::IntOverflow);
    }
    let above = bits.saturating_sub(256);
    if s.load_uint(above)? != 0 {
        return Err(CellError::IntOverflow);
    }
    let mut be = [0; 32];
    let (bytes, rest) = ((bits - above) / 8, (bits - above) % 8);
    if rest > 0 {
        be[31 - bytes as usize] = s.load_small_uint(rest)?;
    }
    s.load_raw(&mut be[32 - bytes as usize..], bytes * 8)?;
    Ok(be)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_static_code_has_its_hash() {
        assert_eq!(ton::hash(STATIC_CODE_CELL.as_ref()), STATIC_CODE_HASH);
    }

    #[test]
    fn the_index_is_little_endian() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&[0xed, 0x49, 0x28, 0xc6]);
        assert_eq!(Condition::index_of(&key), 3_324_529_133); // payments 3.4
    }

    /// The forms in payments 3.5, with their sizes in bits.
    #[test]
    fn pushes_are_the_shortest() {
        for (value, bits) in
            [(0, 16), (127, 16), (128, 24), (32_767, 24), (32_768, 32), (262_143, 32), (262_144, 40), (1 << 63, 80)]
        {
            let mut b = CellBuilder::new();
            push_number(&mut b, value).unwrap();
            assert_eq!(b.size_bits(), bits, "{value}");
        }
        let mut b = CellBuilder::new();
        push(&mut b, &[0xff; 32]).unwrap();
        assert_eq!(b.size_bits(), 272);
    }

    #[test]
    fn longer_pushes_are_read_and_negative_ones_are_not() {
        let read = |build: &dyn Fn(&mut CellBuilder)| {
            let mut b = CellBuilder::new();
            build(&mut b);
            pop_number(&mut b.build().unwrap().as_slice().unwrap())
        };
        let long = |b: &mut CellBuilder| {
            b.store_u8(0x82).unwrap();
            b.store_small_uint(30, 5).unwrap();
            b.store_zeros(251).unwrap();
            b.store_u8(5).unwrap();
        };
        assert_eq!(read(&long), Ok(5));
        assert_eq!(read(&|b| b.store_u16(0x80ff).unwrap()), Err(CellError::IntOverflow));
        assert_eq!(read(&|b| b.store_u16(0x7500).unwrap()), Err(CellError::InvalidTag));
    }

    proptest! {
        #[test]
        fn conditions_survive(
            key in any::<[u8; 32]>(), zeros in 0usize..32, amounts in any::<[u128; 3]>(), shifts in any::<[u8; 3]>(), deadline in 1u32..,
        ) {
            let mut key = key;
            key[..zeros].fill(0);
            let [capacity, fee, prepay] = std::array::from_fn(|i| (amounts[i] & MAX_COINS) >> (shifts[i] % 120));
            let condition = Condition { key, capacity, fee, prepay, deadline };
            prop_assert_eq!(Condition::from_cell(condition.to_cell().as_ref()), Ok(condition));
        }

        #[test]
        fn any_cell_is_read_or_refused(data in any::<[u8; 100]>(), bits in 0u16..800) {
            let mut b = CellBuilder::new();
            b.store_raw(&data, bits).unwrap();
            let _ = Condition::from_cell(b.clone().build().unwrap().as_ref());
            b.store_reference(STATIC_CODE_CELL.clone()).unwrap();
            let _ = Condition::from_cell(b.build().unwrap().as_ref());
        }
    }
}
