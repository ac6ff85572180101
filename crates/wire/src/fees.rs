//! The fees that two nodes must compute alike (payments 5.5.6, 6.5). Exact: a rate is the rational number that its double is.

use num_bigint::BigUint;

/// The period of the rent rate: 30 days in seconds.
const RENT_PERIOD: u32 = 2_592_000;

/// A share of an amount: the double `percent / 100`, taken as the exact rational `mantissa · 2^exponent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    mantissa: u64,
    exponent: i32,
}

impl Rate {
    /// `None` for a percentage that is negative, infinite or not a number.
    pub fn from_percent(percent: f64) -> Option<Self> {
        let share = percent / 100.0;
        if !share.is_finite() || share < 0.0 {
            return None;
        }
        let bits = share.to_bits();
        let fraction = bits & ((1 << 52) - 1);
        let exponent = (bits >> 52 & 0x7ff) as i32;
        Some(match exponent {
            0 => Self { mantissa: fraction, exponent: -1074 },
            _ => Self { mantissa: fraction | 1 << 52, exponent: exponent - 1075 },
        })
    }

    /// `amount · rate / divisor` as a fraction.
    fn fraction_of(self, amount: BigUint, divisor: u32) -> (BigUint, BigUint) {
        let scale = self.exponent.unsigned_abs();
        let (numerator, denominator) = (amount * self.mantissa, BigUint::from(divisor));
        if self.exponent >= 0 { (numerator << scale, denominator) } else { (numerator, denominator << scale) }
    }
}

/// What a node asks for forwarding: `max(min_fee, floor(rate · amount))`, with amount = next capacity + next fee, all nano.
///
/// `None` when the fee does not fit 128 bits.
pub fn tunnel_fee(amount: u128, min_fee: u128, rate: Rate) -> Option<u128> {
    let (numerator, denominator) = rate.fraction_of(amount.into(), 1);
    Some(min_fee.max(u128::try_from(numerator / denominator).ok()?))
}

/// Capacity rented before (payments 6.4). Amounts in nano.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rented {
    /// The whole amount.
    pub amount: u128,
    /// How much of it was used.
    pub used: u128,
    /// Until when, unix seconds.
    pub till: i64,
}

/// The fee for renting `amount` in total until `till`, beyond what is rented already, nano. 0 when nothing grows or `till` is past.
///
/// `None` when the fee does not fit 128 bits.
pub fn rent_fee(amount: u128, till: i64, now: i64, old: Option<Rented>, rate: Rate, deposit_fee: u128) -> Option<u128> {
    let seconds = seconds_between(now, till);
    let old = old.filter(|old| old.till > now).unwrap_or(Rented { amount: 0, used: 0, till });
    let growth = amount.saturating_sub(old.amount);
    if seconds == 0 || growth == 0 {
        return Some(0);
    }
    let free = old.amount.saturating_sub(old.used);
    let rented = BigUint::from(free) * seconds_between(old.till, till) + BigUint::from(growth) * seconds;
    let (numerator, denominator) = rate.fraction_of(rented, RENT_PERIOD);
    let fee = u128::try_from((numerator + &denominator - 1u32) / denominator).ok()?;
    fee.checked_add(deposit_fee)
}

/// Whole seconds from `from` to `to`; 0 when `to` is not later.
fn seconds_between(from: i64, to: i64) -> u64 {
    if to > from { to.abs_diff(from) } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_checked() {
        for wrong in [-0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Rate::from_percent(wrong), None);
        }
        assert_eq!(tunnel_fee(1_000, 3, Rate::from_percent(0.0).unwrap()), Some(3));
        assert_eq!(tunnel_fee(1_000, 0, Rate::from_percent(50.0).unwrap()), Some(500));
        assert_eq!(tunnel_fee(1_000, 0, Rate::from_percent(f64::MIN_POSITIVE).unwrap()), Some(0));
        assert_eq!(tunnel_fee(1_000, 0, Rate::from_percent(f64::MAX).unwrap()), None);
    }

    proptest! {
        #[test]
        fn any_values_give_a_fee_or_none(
            amount in any::<u128>(), used in any::<u128>(), till in any::<i64>(), now in any::<i64>(), old_till in any::<i64>(),
            percent in any::<f64>(),
        ) {
            let Some(rate) = Rate::from_percent(percent) else { return Ok(()) };
            let _ = tunnel_fee(amount, used, rate);
            let _ = rent_fee(amount, till, now, Some(Rented { amount: used, used: amount, till: old_till }), rate, used);
        }
    }
}
