//! One side of a virtual channel: its states and what they wait for. Legs of one virtual channel talk only by tasks (design 3).

use wire::{conditionals::Condition, message::OpenVirtual, resolution::Resolution};

use crate::{Address, Key, step::Origin};

/// Which way the money goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// The peer pays us: its condition.
    In,
    /// We pay the peer: our condition.
    Out,
}

/// Where an incoming leg's money goes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// On to the outgoing leg on this channel.
    Forward(Address),
    /// It stays here.
    Receiver,
}

/// One node's half of a virtual channel on one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leg {
    /// The promise.
    pub condition: Condition,
    /// Where it stands.
    pub state: LegState,
    /// The best resolution known.
    pub resolution: Option<Resolution>,
    /// Which half this is.
    pub half: Half,
    /// Nano that we count as ours again although the peer could still claim them until the deadline (design 4.7).
    pub released: u128,
    /// Whether the other end, the previous hop or the API's caller, knows the outcome.
    pub told: bool,
}

/// What differs between the halves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Half {
    /// The peer pays us.
    In {
        /// Where the money goes next.
        next: Next,
        /// Key that the action was encrypted with: the sender's channel key if disclosed (payments 5.6).
        sender: Key,
    },
    /// We pay the peer.
    Out {
        /// Whom to tell.
        origin: Origin,
        /// The action as it is proposed; `None` once it was agreed.
        action: Option<Box<OpenVirtual>>,
    },
}

/// Where a leg stands. The last four are final for the condition; the leg's row stays, and it stays in memory while something is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LegState {
    /// Out: to be proposed, or proposed.
    Opening,
    /// Both sides agreed on the condition.
    Open,
    /// In: we hold a resolution and ask for it. Out: the peer showed one, confirmClose is to be proposed.
    Closing,
    /// In: we ask the payer to remove it. Out: removeVirtual is to be proposed.
    Removing,
    /// Paid.
    Closed,
    /// Removed unpaid.
    Removed,
    /// Out: never agreed.
    Refused,
    /// The contract was closed under it.
    Abandoned,
}

impl Leg {
    /// The virtual key.
    pub fn key(&self) -> Key {
        self.condition.key
    }

    /// Which half.
    pub fn direction(&self) -> Direction {
        match self.half {
            Half::In { .. } => Direction::In,
            Half::Out { .. } => Direction::Out,
        }
    }

    /// Whether nothing more will happen to the condition.
    pub fn is_final(&self) -> bool {
        use LegState::*;
        matches!(self.state, Closed | Removed | Refused | Abandoned)
    }

    /// Milliseconds of unix time after which the condition can no longer be claimed: it is payable while deadline ≥ now in whole
    /// seconds (payments 3.5).
    pub fn dead_at(&self) -> u64 {
        (u64::from(self.condition.deadline) + 1) * 1000
    }

    /// Nano that the condition pays for the resolution known, 0 without one (payments 3.5: amount − prepay + fee; prepay is 0 here).
    pub fn due(&self) -> u128 {
        self.resolution.as_ref().map_or(0, |r| r.amount + self.condition.fee)
    }

    /// Keeps `resolution` when it is better than the one known; whether it was.
    pub fn learn(&mut self, resolution: &Resolution) -> bool {
        let better = self.resolution.as_ref().is_none_or(|known| resolution.amount > known.amount);
        if better {
            self.resolution = Some(*resolution);
        }
        better
    }
}
