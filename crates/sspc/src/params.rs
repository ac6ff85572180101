//! What a channel is: where, between whom, over how much.

use alloy_primitives::{Address, B256, keccak256};

use crate::amount::{Amount, Party};

/// Shortest time for an answer that a proposal may name, in seconds; the contracts have bounds of their own.
pub const MIN_PERIOD: u32 = 60;
/// Longest.
pub const MAX_PERIOD: u32 = 90 * 86_400;

/// Which of the two contracts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Variant {
    /// `Sspc`: one storage word per channel, parameters in the calldata. The default.
    Word,
    /// `SspcCompact`: three words, little calldata, for chains where calldata is dear.
    Compact,
}

/// A contract on a chain.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Place {
    /// Chain id (EIP-155).
    pub chain_id: u64,
    /// Address of the contract.
    pub contract: Address,
    /// Which contract it is.
    pub variant: Variant,
}

/// What two parties agree on before they open a channel.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Params {
    /// Opens the channel.
    pub a: Address,
    /// Accepts it.
    pub b: Address,
    /// An ERC-20 contract; zero is the native coin.
    pub token: Address,
    /// Deposit of a.
    pub value_a: Amount,
    /// Deposit of b; when it is zero the channel is open without `accept` (4.3.1).
    pub value_b: Amount,
    /// Seconds that a party has to answer a forced close.
    pub period: u32,
    /// Tells apart channels with otherwise equal parameters.
    pub salt: u64,
}

/// Why parameters cannot be those of a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadParams {
    /// A party is the zero address, or both are one.
    #[error("the parties must be two different addresses, neither of them zero")]
    Parties,
    /// The deposits sum to 2^128 or more.
    #[error("the deposits must sum to less than 2^128")]
    Total,
    /// Both deposits are zero.
    #[error("a channel without a deposit cannot pay")]
    Empty,
    /// The period is out of bounds.
    #[error("the period is {0} s, must be {MIN_PERIOD} to {MAX_PERIOD} s")]
    Period(u32),
}

impl Params {
    /// Checks what both contracts check (4.1).
    ///
    /// # Errors
    /// The rule that is broken.
    pub fn validate(&self) -> Result<(), BadParams> {
        if self.a == self.b || self.a.is_zero() || self.b.is_zero() {
            return Err(BadParams::Parties);
        }
        let total = self.value_a.plus(self.value_b).ok_or(BadParams::Total)?;
        if total.is_zero() {
            return Err(BadParams::Empty);
        }
        if !(MIN_PERIOD..=MAX_PERIOD).contains(&self.period) {
            return Err(BadParams::Period(self.period));
        }
        Ok(())
    }

    /// Both deposits; zero when they have no sum, which [`Self::validate`] refuses.
    #[must_use]
    pub fn total(&self) -> Amount {
        self.value_a.plus(self.value_b).unwrap_or(Amount::ZERO)
    }

    /// Address of a party.
    #[must_use]
    pub fn address(&self, party: Party) -> Address {
        match party {
            Party::A => self.a,
            Party::B => self.b,
        }
    }

    /// Deposit of a party.
    #[must_use]
    pub fn deposit(&self, party: Party) -> Amount {
        match party {
            Party::A => self.value_a,
            Party::B => self.value_b,
        }
    }

    /// keccak-256 of the seven parameters in 224 bytes: the channel's id in `Sspc`, and the two parties' name for a proposal in both.
    #[must_use]
    pub fn hash(&self) -> B256 {
        let mut words = [0; 7 * 32];
        let mut put = |index: usize, bytes: &[u8]| {
            let end = (index + 1) * 32;
            words[end - bytes.len()..end].copy_from_slice(bytes);
        };
        put(0, self.a.as_slice());
        put(1, self.b.as_slice());
        put(2, self.token.as_slice());
        put(3, &self.value_a.get().to_be_bytes());
        put(4, &self.value_b.get().to_be_bytes());
        put(5, &self.period.to_be_bytes());
        put(6, &self.salt.to_be_bytes());
        keccak256(words)
    }
}

/// Name of a channel in its contract.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ChannelId {
    /// In `Sspc`: [`Params::hash`].
    Word(B256),
    /// In `SspcCompact`: counted by the contract.
    Compact(u64),
}

impl ChannelId {
    /// As the word that events are indexed by.
    #[must_use]
    pub fn topic(&self) -> B256 {
        match self {
            Self::Word(id) => *id,
            Self::Compact(number) => B256::left_padding_from(&number.to_be_bytes()),
        }
    }
}

impl std::fmt::Display for ChannelId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Word(id) => id.fmt(f),
            Self::Compact(number) => number.fmt(f),
        }
    }
}
