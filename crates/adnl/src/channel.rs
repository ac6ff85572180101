use crate::keys::{AdnlId, KeyError, PrivateKey, PublicKey, aes_key_id};
use crate::replay::Window;
use std::time::Duration;

/// One direction of a channel: its key and the id on its datagrams.
#[derive(Debug, Clone)]
pub struct Direction {
    /// First 32 bytes of each datagram.
    pub id: [u8; 32],
    /// Secret of the packet cipher.
    pub key: [u8; 32],
}

impl Direction {
    fn new(key: [u8; 32]) -> Self {
        Self { id: aes_key_id(&key), key }
    }
}

/// The two directions, (inbound, outbound), of the channel between the nodes `own` and `peer` with these channel keys (network 3.4).
pub fn derive(
    own: &AdnlId,
    own_key: &PrivateKey,
    peer: &AdnlId,
    peer_key: &PublicKey,
) -> Result<(Direction, Direction), KeyError> {
    let straight = own_key.shared_secret(peer_key)?;
    let mut reversed = straight;
    reversed.reverse();
    let (inbound, outbound) = match own.cmp(peer) {
        std::cmp::Ordering::Less => (straight, reversed),
        std::cmp::Ordering::Greater => (reversed, straight),
        std::cmp::Ordering::Equal => (straight, straight),
    };
    Ok((Direction::new(inbound), Direction::new(outbound)))
}

/// Our half of a channel: made once per peer and run, so that a peer that lost the channel can be given it again.
pub(crate) struct OwnKey {
    pub key: PrivateKey,
    /// Strictly larger than any date we ever gave this peer (network 3.4 rule 5).
    pub date: u32,
    pub since: Duration,
}

/// A channel whose two keys are known.
pub(crate) struct Channel {
    pub peer_key: [u8; 32],
    pub peer_date: u32,
    pub inbound: Direction,
    pub outbound: Direction,
    pub window: Window,
    /// The peer is known to be able to decrypt.
    pub ready: bool,
}
