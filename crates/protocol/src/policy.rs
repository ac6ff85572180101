use wire::fees;

/// Seconds that the safety of a condition is reckoned with (payments 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Time reserved to get a transaction onto the chain.
    pub buffer: u32,
    /// Quarantine of the contract.
    pub quarantine: u32,
    /// Window of the contract for settling conditions.
    pub conditional_close: u32,
    /// The least time a condition must live beyond what closing takes.
    pub min_safe: u32,
}

impl Timing {
    /// The live network's defaults (payments 9.5).
    pub const DEFAULT: Self = Self { buffer: 10_800, quarantine: 21_600, conditional_close: 10_800, min_safe: 60 };

    /// SafeOnchainClosePeriod: what settling on the chain takes at most (payments 5.4).
    pub fn safe_close(&self) -> u64 {
        u64::from(self.buffer) + u64::from(self.quarantine) + u64::from(self.conditional_close)
    }

    /// What must lie between the deadlines of two neighbouring hops.
    pub fn hop_gap(&self) -> u64 {
        self.safe_close() + u64::from(self.min_safe)
    }
}

/// The operator's terms for one coin. Amounts in nano.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Times of new channels and conditions.
    pub timing: Timing,
    /// Fine for closing with a stale state (payments 7.6.4).
    pub fine: u128,
    /// ExcessFeeTon: what the contract keeps for its storage.
    pub storage_fee: u128,
    /// Whether virtual channels may pass through this node.
    pub allow_tunneling: bool,
    /// ProxyMaxCapacity: the most that one passing virtual channel may carry, fee included.
    pub proxy_max_capacity: u128,
    /// ProxyMinFee.
    pub proxy_min_fee: u128,
    /// ProxyFeePercent.
    pub proxy_fee_percent: f64,
    /// The most that may be released upstream while a signed condition downstream is still payable, per peer (design 4.7).
    pub risk_limit: u128,
    /// Whether a cooperative commit is signed for a peer that might leave us without usable states (payments 10.1.6).
    pub sign_commits: bool,
    /// The most open conditions that one side of a channel may have.
    pub max_conditions: usize,
}

impl Policy {
    /// The live network's defaults for TON (payments 9.5).
    pub fn ton() -> Self {
        Self {
            timing: Timing::DEFAULT,
            fine: 3_000_000_000,
            storage_fee: 250_000_000,
            allow_tunneling: true,
            proxy_max_capacity: 5_000_000_000,
            proxy_min_fee: 500_000,
            proxy_fee_percent: 0.5,
            risk_limit: 5_000_000_000,
            sign_commits: false,
            max_conditions: 30_000,
        }
    }

    /// The fee this node wants for passing on `amount` = next capacity + next fee (payments 5.5.6).
    /// `None`: the percentage is no rate, or the fee does not fit.
    pub fn proxy_fee(&self, amount: u128) -> Option<u128> {
        fees::tunnel_fee(amount, self.proxy_min_fee, fees::Rate::from_percent(self.proxy_fee_percent)?)
    }
}
