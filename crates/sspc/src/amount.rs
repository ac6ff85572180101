//! Money, rounds and the two parties.

use std::fmt;

/// An amount in the smallest unit of the channel's token (wei for the native coin). No plain arithmetic: a sum or a difference is
/// asked for, and may not exist.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Amount(u128);

impl Amount {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From the smallest unit.
    #[must_use]
    pub const fn new(units: u128) -> Self {
        Self(units)
    }

    /// In the smallest unit.
    #[must_use]
    pub const fn get(self) -> u128 {
        self.0
    }

    /// Nothing at all.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum, when it is below 2^128.
    #[must_use]
    pub const fn plus(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, when it is not negative.
    #[must_use]
    pub const fn minus(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Number of a state, below 2^48. Round 0 is the opening state; a signs odd rounds, b even ones (4.3.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Round(u64);

impl Round {
    /// The opening state: the deposits, signed by nobody.
    pub const OPENING: Self = Self(0);
    /// The last round.
    pub const MAX: Self = Self((1 << 48) - 1);

    /// A round, when it is below 2^48.
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX.0 { Some(Self(number)) } else { None }
    }

    /// Its number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// Who signs it; nobody signs the opening.
    #[must_use]
    pub const fn signer(self) -> Option<Party> {
        match (self.0, self.0 % 2) {
            (0, _) => None,
            (_, 1) => Some(Party::A),
            _ => Some(Party::B),
        }
    }

    /// The first round after this one that `party` signs.
    #[must_use]
    pub const fn next_of(self, party: Party) -> Option<Self> {
        let next = match (party, self.0 % 2) {
            (Party::A, 0) | (Party::B, 1) => self.0 + 1,
            _ => self.0 + 2,
        };
        Self::new(next)
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One of the two.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Party {
    /// Opened the channel; signs odd rounds.
    A,
    /// Accepted it; signs even rounds.
    B,
}

impl Party {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "a",
            Self::B => "b",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_one_signer_and_each_party_a_next_round() {
        assert_eq!(Round::OPENING.signer(), None);
        for number in 0..50 {
            let round = Round::new(number).unwrap();
            for party in [Party::A, Party::B] {
                let next = round.next_of(party).unwrap();
                assert_eq!(next.signer(), Some(party));
                assert!(next > round && next.get() <= number + 2);
            }
        }
        assert_eq!(Round::MAX.next_of(Party::A), None);
        assert_eq!(Round::new(1 << 48), None);
    }

    #[test]
    fn sums_and_differences_that_do_not_exist_are_none() {
        assert_eq!(Amount::new(u128::MAX).plus(Amount::new(1)), None);
        assert_eq!(Amount::new(1).minus(Amount::new(2)), None);
        assert_eq!(Amount::new(3).minus(Amount::new(2)), Some(Amount::new(1)));
    }
}
