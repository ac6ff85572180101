//! A chain of hops from the sender's view: fees, deadlines, instructions (payments 5.2).

use ton::Cell;
use wire::{conditionals::Condition, instruction::Instruction};

use crate::Key;

/// The longest chain. Longer ones carry more instructions than peers must accept.
pub const MAX_HOPS: usize = 10;
/// Dummy instructions added to each chain, as the live network's senders do.
pub const DUMMIES: usize = 5;
/// Seconds that a condition may be older than the sender thinks when it reaches the last hop.
pub const SLACK: u64 = 120;

/// A node on the way, in order from the sender; the last one is the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Node {
    /// Channel key.
    pub key: Key,
    /// Nano that it keeps for passing the money on; 0 for the receiver.
    pub fee: u128,
    /// Seconds between the deadlines of its incoming and its outgoing condition; for the receiver, what it needs to enforce payment.
    pub gap: u64,
}

/// Terms of one hop: what its payer promises to `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hop {
    /// Who is paid.
    pub target: Key,
    /// Nano.
    pub capacity: u128,
    /// Nano still to be distributed behind this hop.
    pub fee: u128,
    /// Unix seconds.
    pub deadline: u32,
}

/// Why no chain can be built. Displayed as the rule that is broken, without the field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no receiver.
    #[error("must have at least one node")]
    Empty,
    /// More than [`MAX_HOPS`].
    #[error("must have at most {MAX_HOPS} nodes")]
    TooLong,
    /// A node occurs twice, or is the sender.
    #[error("must have no node twice, nor the sender")]
    Loop,
    /// Nothing to pay.
    #[error("must be above zero")]
    Zero,
    /// Above 120 bits.
    #[error("must have, with all fees, at most 120 bits")]
    TooLarge,
    /// The last hop would be dead before it could be enforced.
    #[error("must be at least {least} seconds for this chain")]
    TooShort {
        /// The least that would do.
        least: u64,
    },
    /// The deadline does not fit 32 bits.
    #[error("must end within what the contract can express")]
    TooFar,
}

/// Lays fees and deadlines along `nodes`. `ttl` seconds is how long the last hop lives.
pub fn lay(sender: &Key, nodes: &[Node], amount: u128, now: u64, ttl: u64) -> Result<Vec<Hop>, RouteError> {
    let last = nodes.last().ok_or(RouteError::Empty)?;
    if nodes.len() > MAX_HOPS {
        return Err(RouteError::TooLong);
    }
    let seen = |i: usize| nodes[i].key == *sender || nodes[..i].iter().any(|n| n.key == nodes[i].key);
    if (0..nodes.len()).any(seen) {
        return Err(RouteError::Loop);
    }
    if amount == 0 {
        return Err(RouteError::Zero);
    }
    let least = last.gap + SLACK;
    if ttl < least {
        return Err(RouteError::TooShort { least });
    }
    let mut hops = Vec::with_capacity(nodes.len());
    let mut fee = 0u128;
    let mut deadline = now.checked_add(ttl).ok_or(RouteError::TooFar)?;
    for (i, node) in nodes.iter().enumerate().rev() {
        if i + 1 < nodes.len() {
            fee = fee.checked_add(node.fee).ok_or(RouteError::TooLarge)?;
            deadline = deadline.checked_add(node.gap + SLACK).ok_or(RouteError::TooFar)?;
        }
        let locked = amount.checked_add(fee).ok_or(RouteError::TooLarge)?;
        if locked > ton::MAX_COINS {
            return Err(RouteError::TooLarge);
        }
        let deadline = u32::try_from(deadline).map_err(|_| RouteError::TooFar)?;
        hops.push(Hop { target: node.key, capacity: amount, fee, deadline });
    }
    hops.reverse();
    Ok(hops)
}

impl Hop {
    /// The payer's promise on this hop.
    pub fn condition(&self, virtual_key: Key) -> Condition {
        Condition { key: virtual_key, capacity: self.capacity, fee: self.fee, prepay: 0, deadline: self.deadline }
    }
}

/// The instruction of each hop's target. `instruction_keys[i]` is the public instruction key of hop i; the last may be the sender's channel
/// key, which discloses it to the receiver (payments 5.2). `final_state` makes the transfer close by itself.
///
/// # Panics
/// When there are not as many keys as hops.
pub fn instructions(hops: &[Hop], instruction_keys: &[Key], final_state: Option<Cell>) -> Vec<Instruction> {
    assert_eq!(hops.len(), instruction_keys.len(), "one instruction key per hop");
    hops.iter()
        .enumerate()
        .map(|(i, hop)| {
            let next = hops.get(i + 1);
            let after = next.unwrap_or(hop);
            Instruction {
                target: hop.target,
                next_instruction_key: next.map_or([0; 32], |_| instruction_keys[i + 1]),
                expected_fee: hop.fee,
                expected_capacity: hop.capacity,
                expected_deadline: i64::from(hop.deadline),
                next_target: after.target,
                next_fee: after.fee,
                next_capacity: after.capacity,
                next_deadline: i64::from(after.deadline),
                final_state: if next.is_none() { final_state.clone() } else { None },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(i: u8, fee: u128) -> Node {
        Node { key: [i; 32], fee, gap: 100 }
    }

    #[test]
    fn fees_cascade_and_deadlines_fall_towards_the_receiver() {
        let hops = lay(&[9; 32], &[node(1, 7), node(2, 5), node(3, 0)], 1000, 10_000, 500).unwrap();
        assert_eq!(hops.iter().map(|h| h.fee).collect::<Vec<_>>(), [12, 5, 0]);
        assert_eq!(hops.iter().map(|h| h.deadline).collect::<Vec<_>>(), [10_940, 10_720, 10_500]);
        assert!(hops.iter().all(|h| h.capacity == 1000));
    }

    #[test]
    fn bad_chains_are_named() {
        let ok = [node(1, 0)];
        assert_eq!(lay(&[9; 32], &[], 1, 0, 500), Err(RouteError::Empty));
        assert_eq!(lay(&[9; 32], &[node(1, 0), node(1, 0)], 1, 0, 500), Err(RouteError::Loop));
        assert_eq!(lay(&[1; 32], &ok, 1, 0, 500), Err(RouteError::Loop));
        assert_eq!(lay(&[9; 32], &ok, 0, 0, 500), Err(RouteError::Zero));
        assert_eq!(lay(&[9; 32], &ok, 1 << 120, 0, 500), Err(RouteError::TooLarge));
        assert_eq!(lay(&[9; 32], &ok, 1, 0, 219), Err(RouteError::TooShort { least: 220 }));
        assert_eq!(lay(&[9; 32], &ok, 1, u64::from(u32::MAX), 500), Err(RouteError::TooFar));
        let many: Vec<Node> = (0..=MAX_HOPS as u8).map(|i| node(i + 20, 0)).collect();
        assert_eq!(lay(&[9; 32], &many, 1, 0, 500), Err(RouteError::TooLong));
    }
}
