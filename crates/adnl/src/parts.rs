//! Messages larger than a datagram (network 3.9).

use crate::cipher::sha256;
use crate::message::Message;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Largest message that may be sent in parts, and received.
pub const MAX_MESSAGE: usize = 8320;
/// Bytes of one part that we send.
const PART: usize = 1024;
/// Bytes of messages under reassembly per peer; the oldest gives way.
const MAX_BYTES: usize = 128 << 10;
/// What a message and each of its pieces cost beside their bytes.
const OVERHEAD: usize = 128;
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
    total: usize,
    since: Duration,
    /// What arrived, by offset.
    pieces: BTreeMap<usize, Vec<u8>>,
}

impl Open {
    fn received(&self) -> usize {
        self.pieces.values().map(Vec::len).sum()
    }

    /// The message, when its pieces cover it. They may overlap: tonutils-go v1.15.0 cuts a message anew, under the same hash, when a part
    /// of the first cut turns out too large for its datagram, after the parts before it were sent.
    fn whole(&self) -> Option<Vec<u8>> {
        if self.received() < self.total {
            return None;
        }
        let mut data = Vec::with_capacity(self.total);
        for (offset, piece) in &self.pieces {
            let known = data.len().checked_sub(*offset)?;
            data.extend_from_slice(piece.get(known..).unwrap_or_default());
        }
        (data.len() == self.total).then_some(data)
    }
}

/// One peer's messages under reassembly: at most [`MAX_BYTES`], of what was received.
#[derive(Debug, Default)]
pub(crate) struct Reassembly {
    /// The oldest first.
    open: VecDeque<Open>,
    bytes: usize,
}

impl Reassembly {
    /// Forgets what never became complete.
    pub fn expire(&mut self, now: Duration) {
        while self.open.front().is_some_and(|open| open.since + TTL <= now) {
            self.remove(0);
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn expires_at(&self) -> Option<Duration> {
        self.open.front().map(|open| open.since + TTL)
    }

    fn remove(&mut self, at: usize) -> Option<Open> {
        let open = self.open.remove(at)?;
        self.bytes -= open.received() + OVERHEAD * (1 + open.pieces.len());
        Some(open)
    }

    /// Takes a part, in any order; gives the message when it is complete and matches its hash.
    pub fn part(&mut self, now: Duration, hash: [u8; 32], total_size: u32, offset: u32, data: &[u8]) -> Option<Vec<u8>> {
        let (total, offset) = (total_size as usize, offset as usize);
        if total > MAX_MESSAGE || data.is_empty() || offset.checked_add(data.len())? > total {
            return None;
        }
        self.expire(now);
        while self.bytes > MAX_BYTES {
            self.remove(0);
        }
        let known = self.open.iter().position(|open| open.hash == hash && open.total == total);
        let at = known.unwrap_or_else(|| {
            self.open.push_back(Open { hash, total, since: now, pieces: BTreeMap::new() });
            self.bytes += OVERHEAD;
            self.open.len() - 1
        });
        let open = &mut self.open[at];
        let known = open.pieces.get(&offset).map_or(0, Vec::len);
        if known >= data.len() || (known == 0 && open.pieces.len() == MAX_PIECES) {
            return None;
        }
        open.pieces.insert(offset, data.to_vec());
        self.bytes += data.len() - known + if known == 0 { OVERHEAD } else { 0 };
        let data = open.whole()?;
        self.remove(at);
        (sha256(&data) == hash).then_some(data)
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

        /// Parts of two cuts of one message in any order, enough of them to cover it.
        #[test]
        fn two_cuts_of_a_message_add_up(size in 1..=MAX_MESSAGE, first in 900_usize..1400, second in 900_usize..1400, sent in 0_usize..10) {
            let message: Vec<u8> = (0..size).map(|i| (i * 7 + i / 256) as u8).collect();
            let cut = |length: usize| message.chunks(length).enumerate().map(move |(i, data)| (i * length, data));
            let mut reassembly = Reassembly::default();
            let whole = cut(first).take(sent).chain(cut(second)).find_map(|(offset, data)| {
                reassembly.part(Duration::ZERO, sha256(&message), size as u32, offset as u32, data)
            });
            prop_assert_eq!(whole, Some(message));
            prop_assert_eq!((reassembly.bytes, reassembly.open.len()), (0, 0));
        }

        #[test]
        fn hostile_parts_neither_panic_nor_pile_up(parts in prop::collection::vec((any::<u8>(), any::<u32>(), any::<u32>(), 0usize..1400), 0..200)) {
            let mut reassembly = Reassembly::default();
            for (hash, total, offset, len) in parts {
                for (total, offset) in [(total, offset), (total % 9000, offset % 9000)] {
                    let done = reassembly.part(Duration::ZERO, [hash % 12; 32], total, offset, &vec![1; len]);
                    prop_assert!(done.is_none());
                    let held: usize = reassembly.open.iter().map(Open::received).sum();
                    prop_assert!(held <= reassembly.bytes && reassembly.bytes <= MAX_BYTES + 2 * OVERHEAD + len);
                }
            }
        }
    }
}
