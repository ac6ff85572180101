//! Amounts that the contract takes, and that a node attaches (payments 7.5–7.7). Nanoton.

/// Kept of a top up's value in a TON channel: the deposit grows by value − this.
pub const TON_ACCEPT: u128 = 30_000_000;
/// The least value of a jetton notification; the forward value of a jetton top up.
pub const JETTON_ACCEPT: u128 = 35_000_000;
/// The least value of an extra currency top up.
pub const EXTRA_ACCEPT: u128 = 25_000_000;
/// Kept of a cooperative commit's value.
pub const COMMIT_FEE: u128 = 30_000_000;
/// Kept of a cooperative commit's value for each jetton payout.
pub const JETTON_PAYOUT: u128 = 80_000_000;
/// Forwarded with a jetton payout.
pub const JETTON_PAYOUT_FORWARD: u128 = 30_000_000;
/// Kept of a cooperative commit's value for each extra currency payout.
pub const EXTRA_PAYOUT: u128 = 30_000_000;
/// Sent with the question for the jetton wallet's address.
pub const WALLET_REQUEST: u128 = 30_000_000;
/// The storage fee must exceed this at init.
pub const MIN_BALANCE: u128 = 10_000_000;
/// Added to [`MIN_BALANCE`] in an extra currency channel.
pub const MIN_BALANCE_EXTRA: u128 = 60_000_000;
/// Added to [`MIN_BALANCE`] in a jetton channel.
pub const MIN_BALANCE_JETTON: u128 = 190_000_000;

/// Attached to deploy and init, beyond the storage fee.
pub const DEPLOY_VALUE: u128 = 250_000_000;
/// Attached to an extra currency top up and to a jetton top up's transfer.
pub const COIN_TOP_UP_VALUE: u128 = 70_000_000;
/// Attached to a cooperative commit.
pub const COMMIT_VALUE: u128 = 160_000_000;
/// Attached to cooperative close, start, challenge and finish.
pub const CLOSE_VALUE: u128 = 50_000_000;
/// Attached to each settle message.
pub const SETTLE_VALUE: u128 = 500_000_000;
/// The most conditionals that the live network's node puts into one settle message (payments 8.2).
pub const SETTLE_BATCH: usize = 30;
