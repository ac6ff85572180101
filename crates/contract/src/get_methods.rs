use ton::Address;

use crate::{Closing, Pair, Quarantine, Side, Status, Storage};

/// The id of `getChannelState`, which returns a [`Status`]'s number.
pub const GET_CHANNEL_STATE: u32 = 68_143;
/// The id of `getChannelData`, which returns a [`ChannelData`].
pub const GET_CHANNEL_DATA: u32 = 129_768;

/// What `getChannelData` returns, in its order (payments 7.2). Amounts in nano.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData {
    /// At the time of the call.
    pub status: Status,
    /// What each side owns.
    pub balances: Pair<i128>,
    /// Topped up.
    pub deposited: Pair<u128>,
    /// Paid out.
    pub withdrawn: Pair<u128>,
    /// The channel keys.
    pub keys: Pair<[u8; 32]>,
    /// The channel.
    pub channel_id: [u8; 16],
    /// A cell on the stack.
    pub closing: Closing,
    /// See [`Storage::committed_seqnos`].
    pub committed_seqnos: Pair<u64>,
    /// A cell on the stack, or null.
    pub quarantine: Option<Quarantine>,
    /// Nanoton.
    pub storage_fee: u128,
    /// The sides' wallets.
    pub destinations: Pair<Address>,
}

impl ChannelData {
    /// What the contract with this storage returns at `now`, unix seconds.
    pub fn of(storage: &Storage, now: u64) -> Self {
        Self {
            status: storage.status(now),
            balances: Pair { a: storage.balance.of(Side::A), b: storage.balance.of(Side::B) },
            deposited: storage.balance.deposited,
            withdrawn: storage.balance.withdrawn,
            keys: storage.keys,
            channel_id: storage.channel_id,
            closing: storage.closing,
            committed_seqnos: storage.committed_seqnos,
            quarantine: storage.quarantine,
            storage_fee: storage.payment.storage_fee,
            destinations: storage.payment.destinations,
        }
    }
}
