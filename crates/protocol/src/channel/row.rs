//! What the database keeps of a channel, but for conditions, legs and signed bodies, which have rows of their own.

use contract::{CloseToSign, CommitToSign, OpenConfig};
use wire::state::{Body, SignedState};

use super::dispute::Quarantined;
use crate::{Address, Key, step::SignedBody};

/// Where the channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// In use.
    Active,
    /// A cooperative close is signed or asked for: no new actions.
    Closing,
    /// Closed alone by one side, or about to be.
    Disputed,
    /// The contract paid out. Nothing is ever signed again for this channel (design 4.11).
    Closed,
}

/// A channel's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelRow {
    /// The contract's address.
    pub address: Address,
    /// Rises by one with every write; a write that does not fit fails (design 4.3).
    pub version: u64,
    /// What the contract was opened with.
    pub config: OpenConfig,
    /// Which code it runs.
    pub code_hash: [u8; 32],
    /// Whether we are side A: the lock master.
    pub left: bool,
    /// The peer's channel key.
    pub peer: Key,
    /// SafeOnchainClosePeriod of this channel in seconds (payments 5.4).
    pub safe_close: u64,
    /// Where it stands.
    pub status: Status,
    /// No new off-chain signatures: the database may be old (design 4.10). Deadlines are still enforced.
    pub suspended: bool,
    /// Our agreed body.
    pub our: Body,
    /// The peer's stored body.
    pub their: Body,
    /// The peer's newest signature over `their`, with the copy of our body that it covers. `None` before the first exchange.
    pub their_signed: Option<SignedState>,
    /// Our proposal without evidence yet.
    pub pending: Option<Pending>,
    /// Our void body at the seqno of `our`, when it pays more: a peer that lied about storing it could challenge with it (payments 7.6.4).
    /// Our next body pays as much at least.
    pub void: Option<Body>,
    /// An increment to propose, and whether to ask for one in return.
    pub increment: Option<bool>,
    /// Withdrawal targets signed but not on the chain yet: ours, theirs (payments 6.1). Nano.
    pub pending_withdraw: [u128; 2],
    /// Seqnos, ours first, of the newest commit of the peer's that we signed: it may land at any time while the committed ones are below.
    pub signed_commit: [u64; 2],
    /// The same of ours, which the peer may have signed.
    pub asked_commit: [u64; 2],
    /// Our withdrawal under way.
    pub withdrawal: Option<Withdrawal>,
    /// Nano released while still payable, over all legs (design 4.7).
    pub released: u128,
    /// The contract as last seen.
    pub onchain: Onchain,
    /// Whether the operator wants it closed together with the peer.
    pub close_wanted: bool,
    /// The cooperative close that we signed: nothing else is agreed any more.
    pub close: Option<CloseToSign>,
    /// Why it is to be closed alone, when it is.
    pub force: Option<String>,
    /// First top-ups, each behind an order to initialise, whose end was not seen yet. Together they would open a contract anew that was
    /// closed meanwhile (design 4.11).
    pub deploys: Vec<String>,
    /// Counts repeated orders, so that each has an id of its own.
    pub order_round: u32,
    /// The closing order that was placed last in this round.
    pub ordered: Option<String>,
    /// Conditions of the peer's quarantined dictionary that we settled, in the order of settling (payments 7.6.5).
    pub settled: Vec<u32>,
    /// Conditions in the settle message under way.
    pub settling: Vec<u32>,
}

/// A proposal that was written ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What it does.
    pub work: Work,
    /// The body of the action.
    pub first: SignedBody,
    /// The lock id of all its attempts.
    pub lock_id: i64,
    /// Whether the settling increment was signed too.
    pub increment: bool,
    /// When it was written, in milliseconds.
    pub since: u64,
}

/// A withdrawal of ours, from the command to the contract's payout. Its amount is in [`ChannelRow::pending_withdraw`] all the while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    /// The command's id.
    pub request_id: String,
    /// Nano.
    pub amount: u128,
    /// What we asked the peer to sign last: our signature of it is out.
    pub asked: Option<CommitToSign>,
    /// The peer's signature of it: from now on it will be done.
    pub peer_signature: Option<[u8; 64]>,
    /// The order that brings it to the contract.
    pub order: Option<String>,
    /// How many orders failed, so that each has an id of its own.
    pub tries: u32,
}

/// A proposal to make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// incrementStates.
    Increment {
        /// Whether the peer shall propose one too.
        want_response: bool,
    },
    /// openVirtual for the outgoing leg.
    Open(Key),
    /// confirmClose for the outgoing leg.
    Confirm(Key),
    /// removeVirtual for the outgoing leg.
    Remove(Key),
}

/// The contract as last seen. Pairs are ours, theirs. Nano.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Onchain {
    /// Logical time of the transaction seen last.
    pub lt: u64,
    /// Whether the contract is initialised.
    pub inited: bool,
    /// Deposits.
    pub deposited: [u128; 2],
    /// Withdrawals.
    pub withdrawn: [u128; 2],
    /// Committed seqnos.
    pub committed: [u64; 2],
    /// A closure that is under way.
    pub quarantine: Option<Quarantined>,
}
