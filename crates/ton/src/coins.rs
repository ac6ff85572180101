use crate::{CellBuilder, CellError, CellSlice};

/// The largest amount of Coins: 120 bits. Every amount, also those that the wire writes otherwise, stays within (payments 10.2.5).
pub const MAX_COINS: u128 = (1 << 120) - 1;

/// Writes `Coins`: a 4-bit byte length and that many bytes, minimal. [`CellError::IntOverflow`] above [`MAX_COINS`].
pub fn store_coins(b: &mut CellBuilder, amount: u128) -> Result<(), CellError> {
    if amount > MAX_COINS {
        return Err(CellError::IntOverflow);
    }
    let bytes = 16 - amount.leading_zeros() / 8;
    b.store_small_uint(bytes as u8, 4)?;
    b.store_raw(&amount.to_be_bytes()[16 - bytes as usize..], bytes as u16 * 8)
}

/// Reads `Coins`. Leading zero bytes are accepted, as the TVM does; who needs one form only compares hashes.
pub fn load_coins(s: &mut CellSlice<'_>) -> Result<u128, CellError> {
    let bytes = s.load_small_uint(4)?;
    let mut be = [0; 16];
    s.load_raw(&mut be[16 - bytes as usize..], u16::from(bytes) * 8)?;
    Ok(u128::from_be_bytes(be))
}

/// Why a text is not an amount of a coin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    /// Not digits with at most one point between digits.
    #[error("not a decimal number")]
    NotANumber,
    /// More decimals than the coin has.
    #[error("more than {decimals} decimals")]
    TooManyDecimals {
        /// What the coin has.
        decimals: u8,
    },
    /// Above [`MAX_COINS`].
    #[error("too large")]
    TooLarge,
}

/// An amount in coin units (`"1.5"`) as the smallest unit of a coin with `decimals` decimals. No sign, no exponent, no spaces.
pub fn parse_amount(text: &str, decimals: u8) -> Result<u128, AmountError> {
    let (whole, fraction) = match text.split_once('.') {
        Some((_, "")) => return Err(AmountError::NotANumber),
        Some(parts) => parts,
        None => (text, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|c| c.is_ascii_digit()) {
        return Err(AmountError::NotANumber);
    }
    let missing = usize::from(decimals).checked_sub(fraction.len()).ok_or(AmountError::TooManyDecimals { decimals })?;
    let mut amount = 0u128;
    for digit in whole.bytes().chain(fraction.bytes()).map(|c| u128::from(c - b'0')).chain(std::iter::repeat_n(0, missing)) {
        amount = amount * 10 + digit;
        if amount > MAX_COINS {
            return Err(AmountError::TooLarge);
        }
    }
    Ok(amount)
}

/// An amount of the smallest unit as text in coin units, without trailing zeros: the reverse of [`parse_amount`].
pub fn format_amount(amount: u128, decimals: u8) -> String {
    let decimals = usize::from(decimals);
    let digits = format!("{amount:0>width$}", width = decimals + 1);
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    match fraction.trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn amounts_are_read_and_refused() {
        for (text, decimals, nano) in
            [("1.5", 9, 1_500_000_000), ("0", 9, 0), ("7", 0, 7), ("0.000000001", 9, 1), ("00.10", 2, 10)]
        {
            assert_eq!(parse_amount(text, decimals), Ok(nano), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e9", " 1", "1,5", "1.2.3", "0x1", "٣"] {
            assert_eq!(parse_amount(text, 9), Err(AmountError::NotANumber), "{text}");
        }
        assert_eq!(parse_amount("1.0000000000", 9), Err(AmountError::TooManyDecimals { decimals: 9 }));
        assert_eq!(parse_amount("1.5", 0), Err(AmountError::TooManyDecimals { decimals: 0 }));
        assert_eq!(parse_amount(&MAX_COINS.to_string(), 0), Ok(MAX_COINS));
        assert_eq!(parse_amount(&(MAX_COINS + 1).to_string(), 0), Err(AmountError::TooLarge));
        assert_eq!(parse_amount("1", 255), Err(AmountError::TooLarge));
    }

    proptest! {
        #[test]
        fn text_and_amount_agree(amount in 0..=MAX_COINS, decimals in 0u8..40) {
            prop_assert_eq!(parse_amount(&format_amount(amount, decimals), decimals), Ok(amount));
        }

        #[test]
        fn coins_survive_and_are_minimal(amount in any::<u128>(), shift in 0u32..128) {
            let amount = amount >> shift;
            let mut b = CellBuilder::new();
            if amount > MAX_COINS {
                prop_assert!(store_coins(&mut b, amount).is_err());
            } else {
                store_coins(&mut b, amount).unwrap();
                prop_assert_eq!(u32::from(b.size_bits()), 4 + (128 - amount.leading_zeros()).div_ceil(8) * 8);
                let cell = b.build().unwrap();
                prop_assert_eq!(load_coins(&mut cell.as_slice().unwrap()).unwrap(), amount);
            }
        }
    }
}
