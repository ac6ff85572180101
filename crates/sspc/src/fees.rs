//! What transactions may cost: what is offered, how an offer is raised, and where it ends. Pure; prices are in wei per unit of gas (EIP-1559).
//!
//! A node tells the market's price, and may lie: whatever it says, no transaction offers more than [`FeeLimits`] allow.

use crate::amount::Amount;

/// How soon a transaction must be in a block.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Urgency {
    /// Nothing is lost when it is late.
    #[default]
    Calm,
    /// Money is lost when it is late: a forced close has a deadline.
    Urgent,
}

/// What a transaction offers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bid {
    /// Most that is paid, the tip included.
    pub most: u128,
    /// Of it at most this for whoever makes the block.
    pub tip: u128,
}

/// The most that one transaction may cost, whatever a node says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeeLimits {
    /// Most wei for a unit of gas.
    pub per_gas: u128,
    /// The same where money is lost when the transaction is late.
    pub per_gas_urgent: u128,
    /// Most gas of a transaction.
    pub gas: u64,
}

impl Default for FeeLimits {
    /// For Ethereum: 200 gwei, 1,000 gwei where it is urgent, 3 million gas.
    fn default() -> Self {
        Self { per_gas: 200_000_000_000, per_gas_urgent: 1_000_000_000_000, gas: 3_000_000 }
    }
}

/// Why a transaction is not made or not raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TooDear {
    /// The market or the next offer.
    #[error("{asked} wei per gas are needed, at most {most} are allowed")]
    PerGas {
        /// What it takes.
        asked: u128,
        /// The limit.
        most: u128,
    },
    /// The node's estimate.
    #[error("{asked} gas are needed, at most {most} are allowed")]
    Gas {
        /// What it takes.
        asked: u64,
        /// The limit.
        most: u64,
    },
    /// All transactions of the channel together.
    #[error("the channel's transactions could cost {asked} wei, at most {most} are allowed")]
    Total {
        /// With this one.
        asked: Amount,
        /// The limit.
        most: Amount,
    },
    /// What the account has.
    #[error("{asked} wei per gas are needed, the account can pay {most}")]
    Funds {
        /// What it takes.
        asked: u128,
        /// What there is.
        most: u128,
    },
    /// It was raised as often as can be remembered.
    #[error("raised {0} times already")]
    Often(usize),
}

/// Nodes take a transaction in the place of another one when it offers at least a tenth more, some an eighth: both for all and for the tip.
const LEAST_RAISE: u128 = 8;
/// A calm offer is raised by a fifth, ...
const CALM_RAISE: u128 = 5;
/// ... an urgent one by half.
const URGENT_RAISE: u128 = 2;
/// Seconds without a block before an offer is raised: calm, ...
const CALM_WAIT: u64 = 300;
/// ... and urgent: three blocks of Ethereum.
const URGENT_WAIT: u64 = 36;
/// An urgent offer is raised at least this often in a period, however short that is.
const URGENT_RAISES: u64 = 12;

fn more(old: u128, part: u128) -> u128 {
    old.saturating_add(old.div_ceil(part)).saturating_add(1)
}

impl Urgency {
    /// Seconds that a transaction may wait for a block before its offer is raised, in a channel with this period.
    #[must_use]
    pub fn wait(self, period: u32) -> u64 {
        match self {
            Self::Calm => CALM_WAIT,
            Self::Urgent => URGENT_WAIT.min(u64::from(period) / URGENT_RAISES),
        }
    }
}

impl FeeLimits {
    fn per_gas(&self, urgency: Urgency) -> u128 {
        match urgency {
            Urgency::Calm => self.per_gas,
            Urgency::Urgent => self.per_gas_urgent.max(self.per_gas),
        }
    }

    /// The first offer in a market. What is urgent may cost more than the market asks, so that prices may rise meanwhile, and offers the limit
    /// where the market asks for more than that: it may fall in time. The tip is the market's: it is paid in any case, and on a chain with
    /// little traffic our own tips are the market.
    ///
    /// # Errors
    /// The market is above the limit, and it is not urgent.
    pub fn first(&self, market: Bid, urgency: Urgency) -> Result<Bid, TooDear> {
        let most = self.per_gas(urgency);
        let wanted = match urgency {
            Urgency::Calm if market.most > most => return Err(TooDear::PerGas { asked: market.most, most }),
            Urgency::Calm => market,
            Urgency::Urgent => Bid { most: more(market.most, URGENT_RAISE), ..market },
        };
        let most = wanted.most.min(most);
        Ok(Bid { most, tip: wanted.tip.min(most) })
    }

    /// The next offer in the place of `old`: enough more that nodes take it, not below the market, and not above the limit.
    ///
    /// # Errors
    /// The limit leaves no room for an offer that nodes would take.
    pub fn raised(&self, old: Bid, market: Bid, urgency: Urgency) -> Result<Bid, TooDear> {
        let (limit, part) = match urgency {
            Urgency::Calm => (self.per_gas(urgency), CALM_RAISE),
            Urgency::Urgent => (self.per_gas(urgency), URGENT_RAISE),
        };
        let least = old.next();
        if least.most > limit {
            return Err(TooDear::PerGas { asked: least.most, most: limit });
        }
        let most = more(old.most, part).max(market.most).min(limit);
        let tip = more(old.tip, part).max(market.tip).min(most);
        Ok(Bid { most, tip: tip.max(least.tip) })
    }

    /// The gas limit, when it is allowed.
    ///
    /// # Errors
    /// It is above the limit.
    pub fn gas(&self, wanted: u64) -> Result<u64, TooDear> {
        if wanted > self.gas { Err(TooDear::Gas { asked: wanted, most: self.gas }) } else { Ok(wanted) }
    }
}

impl Bid {
    /// The least that nodes take in the place of this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self { most: more(self.most, LEAST_RAISE), tip: more(self.tip, LEAST_RAISE) }
    }

    /// The most that a transaction with this offer can cost, its value aside.
    #[must_use]
    pub fn cost(&self, gas: u64) -> Amount {
        Amount::new(self.most.saturating_mul(u128::from(gas)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: FeeLimits = FeeLimits { per_gas: 1_000, per_gas_urgent: 5_000, gas: 100 };

    #[test]
    fn a_market_above_the_limit_stops_what_can_wait_and_not_what_cannot() {
        let market = Bid { most: 1_001, tip: 9 };
        assert_eq!(LIMITS.first(market, Urgency::Calm), Err(TooDear::PerGas { asked: 1_001, most: 1_000 }));
        assert_eq!(LIMITS.first(market, Urgency::Urgent), Ok(Bid { most: 1_503, tip: 9 }));
        let lie = Bid { most: u128::MAX, tip: u128::MAX };
        assert_eq!(LIMITS.first(lie, Urgency::Urgent), Ok(Bid { most: 5_000, tip: 5_000 }));
        assert_eq!(LIMITS.gas(101), Err(TooDear::Gas { asked: 101, most: 100 }));
    }

    fn urgency() -> impl Strategy<Value = Urgency> {
        prop_oneof![Just(Urgency::Calm), Just(Urgency::Urgent)]
    }

    proptest! {
        #[test]
        fn offers_rise_by_an_eighth_at_least_and_end_at_the_limit(
            most in 0..6_000_u128, tip: u128, market in (any::<u128>(), any::<u128>()), urgency in urgency()
        ) {
            let market = Bid { most: market.0, tip: market.1 };
            let mut bid = Bid { most, tip: tip % (most + 1) };
            let mut raises = 0;
            while let Ok(next) = LIMITS.raised(bid, market, urgency) {
                prop_assert!(next.most * 8 >= bid.most * 9 && next.most > bid.most);
                prop_assert!(next.tip * 8 >= bid.tip * 9 && next.tip > bid.tip);
                prop_assert!(next.tip <= next.most && next.most <= LIMITS.per_gas(urgency));
                bid = next;
                raises += 1;
            }
            // From a unit to the limit: it ends.
            prop_assert!(raises <= 64);
        }
    }
}
