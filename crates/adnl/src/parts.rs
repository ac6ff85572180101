//! Messages larger than a datagram (network 3.9).

use crate::cipher::sha256;
use crate::message::Message;
use bytes::Bytes;
use std::time::Duration;

/// Largest message that may be sent in parts, and received.
pub const MAX_MESSAGE: usize = 8320;
/// Bytes of one part that we send.
const PART: usize = 1024;
/// Messages under reassembly per peer; the oldest gives way.
const MAX_OPEN: usize = 8;
const MAX_PIECES: usize = 64;
const TTL: Duration = Duration::from_secs(10);

/// Cuts a boxed message into boxed parts, in order.
pub(crate) fn split(message: &[u8]) -> impl Iterator<Item = Bytes> + '_ {
    let (hash, total_size) = (sha256(message), message.len() as u32);
    message
        .chunks(PART)
        .enumerate()
        .map(move |(i, data)| Bytes::from(Message::Part { hash, total_size, offset: (i * PART) as u32, data }.to_bytes()))
}

#[derive(Debug)]
struct Open {
    hash: [u8; 32],
    since: Duration,
    data: Vec<u8>,
    /// Offset and length of what arrived.
    pieces: Vec<(usize, usize)>,
}

/// One peer's messages under reassembly: at most [`MAX_OPEN`] × [`MAX_MESSAGE`] bytes.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    open: Vec<Open>,
}

impl Reassembly {
    /// Takes a part, in any order; gives the message when it is complete and matches its hash.
    pub fn part(&mut self, now: Duration, hash: [u8; 32], total_size: u32, offset: u32, data: &[u8]) -> Option<Vec<u8>> {
        let (total, offset) = (total_size as usize, offset as usize);
        if total > MAX_MESSAGE || data.is_empty() || offset.checked_add(data.len())? > total {
            return None;
        }
        self.open.retain(|open| now < open.since + TTL);
        let at = match self.open.iter().position(|open| open.hash == hash && open.data.len() == total) {
            Some(at) => at,
            None => {
                if self.open.len() == MAX_OPEN {
                    self.open.remove(0);
                }
                self.open.push(Open { hash, since: now, data: vec![0; total], pieces: Vec::new() });
                self.open.len() - 1
            }
        };
        let open = &mut self.open[at];
        if open.pieces.len() == MAX_PIECES || open.pieces.iter().any(|piece| piece.0 == offset) {
            return None;
        }
        open.pieces.push((offset, data.len()));
        open.data[offset..offset + data.len()].copy_from_slice(data);
        if open.pieces.iter().map(|piece| piece.1).sum::<usize>() < total {
            return None;
        }
        let done = self.open.swap_remove(at);
        (sha256(&done.data) == hash).then_some(done.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn fields(part: &Bytes) -> ([u8; 32], u32, u32, &[u8]) {
        match Message::parse(part).unwrap() {
            Message::Part { hash, total_size, offset, data } => (hash, total_size, offset, data),
            other => panic!("{other:?}"),
        }
    }

    proptest! {
        #[test]
        fn any_order_of_parts_gives_the_message(size in 1..=MAX_MESSAGE, order in any::<u64>()) {
            let message: Vec<u8> = (0..size).map(|i| (i * 7 + i / 256) as u8).collect();
            let mut parts: Vec<_> = split(&message).collect();
            parts.sort_by_key(|part| sha256(&[&order.to_le_bytes()[..], part].concat()));
            let mut reassembly = Reassembly::default();
            let results: Vec<_> = parts.iter().chain(&parts[..parts.len() - 1]).map(|part| {
                let (hash, total, offset, data) = fields(part);
                reassembly.part(Duration::ZERO, hash, total, offset, data)
            }).collect();
            prop_assert_eq!(results[parts.len() - 1].as_ref(), Some(&message));
            prop_assert_eq!(results.iter().flatten().count(), 1);
        }

        #[test]
        fn hostile_parts_neither_panic_nor_pile_up(parts in prop::collection::vec((any::<u8>(), any::<u32>(), any::<u32>(), 0usize..1400), 0..200)) {
            let mut reassembly = Reassembly::default();
            for (hash, total, offset, len) in parts {
                for (total, offset) in [(total, offset), (total % 9000, offset % 9000)] {
                    let done = reassembly.part(Duration::ZERO, [hash % 12; 32], total, offset, &vec![1; len]);
                    prop_assert!(done.is_none());
                    prop_assert!(reassembly.open.len() <= MAX_OPEN && reassembly.open.iter().all(|open| open.data.len() <= MAX_MESSAGE));
                }
            }
        }
    }
}
