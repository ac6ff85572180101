//! What this engine believes about the node's channels, for choosing where to forward. Only a hint: the outgoing leg decides again (design 3).

use std::{collections::HashMap, sync::RwLock};

use protocol::{Address, Channel, Key, Side, Status};
use store::engine::ChannelSummary;

/// A channel at a glance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hint {
    /// The peer.
    pub peer: Key,
    /// Nano that we can promise on it.
    pub available: u128,
    /// Whether new virtual channels may be opened on it.
    pub usable: bool,
    /// Open conditionals of both sides.
    pub open: usize,
}

fn hint_of(summary: &ChannelSummary) -> Hint {
    let row = &summary.row;
    Hint {
        peer: row.peer,
        available: u128::try_from(summary.available()[0]).unwrap_or(0),
        usable: row.status == Status::Active && !row.suspended && row.their_signed.is_some(),
        open: usize::try_from(summary.open.iter().sum::<u64>()).unwrap_or(usize::MAX),
    }
}

/// Hints by channel.
#[derive(Default)]
pub struct Hints {
    channels: RwLock<HashMap<Address, Hint>>,
}

impl Hints {
    /// What a step of an own channel made of it.
    pub fn update(&self, channel: &Channel) {
        let row = channel.row();
        let hint = Hint {
            peer: row.peer,
            available: u128::try_from(channel.available(Side::Our)).unwrap_or(0),
            usable: row.status == Status::Active && !row.suspended && channel.is_ready(),
            open: channel.conditionals(Side::Our).len() + channel.conditionals(Side::Their).len(),
        };
        self.write().insert(row.address, hint);
    }

    /// What the database says of a channel: another engine's, or before it is loaded.
    pub fn set_from(&self, summary: &ChannelSummary) {
        self.write().insert(summary.row.address, hint_of(summary));
    }

    /// What the database says of all open channels with peers of this kind: what is not among them is forgotten.
    pub fn replace(&self, channels: &[ChannelSummary], kind: impl Fn(&Key) -> bool) {
        let mut hints = self.write();
        hints.retain(|_, hint| !kind(&hint.peer));
        let those = channels.iter().filter(|channel| kind(&channel.row.peer));
        hints.extend(those.map(|channel| (channel.row.address, hint_of(channel))));
    }

    /// What is believed of a channel.
    pub fn get(&self, address: &Address) -> Option<Hint> {
        self.read().get(address).copied()
    }

    /// Open conditionals in all channels with peers of this kind.
    pub fn conditionals(&self, kind: impl Fn(&Key) -> bool) -> usize {
        self.read().values().filter(|hint| kind(&hint.peer)).map(|hint| hint.open).sum()
    }

    /// Whether there is a usable channel with this peer.
    pub fn knows(&self, peer: &Key) -> bool {
        self.read().values().any(|h| h.peer == *peer && h.usable)
    }

    /// Whether there is any channel with this peer.
    pub fn has_peer(&self, peer: &Key) -> bool {
        self.read().values().any(|h| h.peer == *peer)
    }

    /// The channel towards `peer` with the most to give, if it has at least `amount` nano.
    pub fn towards(&self, peer: &Key, amount: u128) -> Option<Address> {
        self.read()
            .iter()
            .filter(|(_, h)| h.peer == *peer && h.usable && h.available >= amount)
            .max_by_key(|(address, h)| (h.available, **address))
            .map(|(address, _)| *address)
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, HashMap<Address, Hint>> {
        self.channels.read().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, HashMap<Address, Hint>> {
        self.channels.write().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
