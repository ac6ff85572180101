use crate::address::AddressList;
use crate::keys::{AdnlId, PrivateKey, PublicKey};
use crate::message::QueryId;
use crate::outbox::Outbox;
use bytes::Bytes;
use std::collections::HashMap;
use std::net::SocketAddr;

/// What must survive a restart about a peer (network 3.4 rule 5, 3.13). Storage is the caller's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerRecord {
    /// The peer's key.
    pub key: PublicKey,
    /// Where it was last.
    pub address: Option<SocketAddr>,
    /// The largest date of a channel key that we gave it.
    pub channel_date: u32,
}

/// What happened, for the owner of a [`crate::Node`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer asks. Reported once per query, whatever is repeated or doubled on the way.
    Query {
        /// The asker, authenticated.
        peer: PublicKey,
        /// Its id.
        peer_id: AdnlId,
        /// For the answer.
        id: QueryId,
        /// The question.
        data: Bytes,
    },
    /// A query of ours was answered.
    Answer {
        /// Which one.
        id: QueryId,
        /// The answer.
        data: Bytes,
    },
    /// A query of ours was not answered in time.
    Expired {
        /// Which one.
        id: QueryId,
    },
    /// A message of an upper layer. Doubled datagrams are reported once.
    Custom {
        /// The sender, authenticated.
        peer: AdnlId,
        /// The message.
        data: Bytes,
    },
    /// The first packet of a peer since it was added.
    Up {
        /// The peer.
        peer: PublicKey,
    },
    /// The peer restarted or forgot our channel: what it knew of this session is gone.
    Reset {
        /// The peer.
        peer: AdnlId,
    },
    /// The peer was removed: unwanted and silent for long, or to make room.
    Gone {
        /// The peer.
        peer: AdnlId,
    },
    /// The peer's record changed.
    Record(PeerRecord),
}

/// Counters since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Datagrams accepted.
    pub received: u64,
    /// Datagrams that were repeats of accepted ones.
    pub repeated: u64,
    /// Datagrams refused: foreign, garbled, unsigned, outdated or over a limit.
    pub refused: u64,
    /// Root packets for which a key agreement was made, which is the expensive step of receiving.
    pub opened: u64,
    /// Datagrams written.
    pub sent: u64,
    /// Those of them outside of channels, which cost a hundred times as much.
    pub sent_root: u64,
}

/// What all peers of a node share.
pub(crate) struct Core {
    pub key: PrivateKey,
    pub id: AdnlId,
    pub epoch: u32,
    pub address: AddressList,
    pub random: Random,
    pub outbox: Outbox,
    /// The messages of the packet being written; empty otherwise, and kept for its memory.
    pub messages: Vec<Bytes>,
    pub events: Vec<Event>,
    /// Owner of each inbound channel id.
    pub channels: HashMap<[u8; 32], AdnlId>,
    pub stats: Stats,
}

/// The system's random source, read in blocks.
pub(crate) struct Random {
    block: [u8; 1024],
    at: usize,
}

impl Random {
    pub fn new() -> Self {
        Self { block: [0; 1024], at: 1024 }
    }

    pub fn bytes<const N: usize>(&mut self) -> [u8; N] {
        if self.at + N > self.block.len() {
            getrandom::fill(&mut self.block).expect("the system's random source works");
            self.at = 0;
        }
        self.at += N;
        std::array::from_fn(|i| self.block[self.at - N + i])
    }
}
