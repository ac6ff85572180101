//! Remembering what was received (network 3.5).

use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// Packet numbers that the window covers.
const WINDOW: u64 = 1024;
/// Root packets remembered per peer, and for how long.
const MAX_DIGESTS: usize = 1024;
const DIGEST_TTL: Duration = Duration::from_secs(60);

/// A sliding window over the packet numbers of one channel.
#[derive(Debug, Clone)]
pub(crate) struct Window {
    top: u64,
    seen: [u64; (WINDOW / 64) as usize],
}

impl Default for Window {
    fn default() -> Self {
        Self { top: 0, seen: [0; (WINDOW / 64) as usize] }
    }
}

impl Window {
    /// Takes note of a number; whether it is new. One that is too old to tell is not.
    pub fn accept(&mut self, seqno: u64) -> bool {
        if seqno > self.top {
            for passed in 1..=(seqno - self.top).min(WINDOW) {
                let number = self.top.wrapping_add(passed);
                self.seen[Self::word(number)] &= !Self::bit(number);
            }
            self.top = seqno;
        } else if self.top - seqno >= WINDOW {
            return false;
        }
        let fresh = self.seen[Self::word(seqno)] & Self::bit(seqno) == 0;
        self.seen[Self::word(seqno)] |= Self::bit(seqno);
        fresh
    }

    fn word(seqno: u64) -> usize {
        (seqno % WINDOW / 64) as usize
    }
    fn bit(seqno: u64) -> u64 {
        1 << (seqno % 64)
    }
}

/// The checksums of recent root packets.
#[derive(Debug, Default)]
pub(crate) struct Digests {
    known: HashSet<[u8; 32]>,
    order: VecDeque<(Duration, [u8; 32])>,
}

impl Digests {
    pub fn contains(&self, digest: &[u8; 32]) -> bool {
        self.known.contains(digest)
    }

    pub fn insert(&mut self, now: Duration, digest: [u8; 32]) {
        while self.order.front().is_some_and(|(at, _)| self.order.len() >= MAX_DIGESTS || *at + DIGEST_TTL < now) {
            let (_, old) = self.order.pop_front().expect("there is a front");
            self.known.remove(&old);
        }
        if self.known.insert(digest) {
            self.order.push_back((now, digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_window_agrees_with_a_set(numbers in prop::collection::vec(prop_oneof![0u64..3000, 0u64..20, any::<u64>()], 1..400)) {
            let (mut window, mut seen, mut top) = (Window::default(), HashSet::new(), 0);
            for number in numbers {
                top = top.max(number);
                let expected = top - number < WINDOW && seen.insert(number);
                prop_assert_eq!(window.accept(number), expected, "{}", number);
            }
        }

        #[test]
        fn digests_stay_bounded(numbers in prop::collection::vec(any::<u16>(), 1..3000)) {
            let mut digests = Digests::default();
            for (at, number) in numbers.into_iter().enumerate() {
                let digest = std::array::from_fn(|i| (number >> (8 * (i % 2))) as u8);
                digests.insert(Duration::from_millis(at as u64), digest);
                prop_assert!(digests.contains(&digest));
                prop_assert!(digests.order.len() <= MAX_DIGESTS && digests.known.len() == digests.order.len());
            }
        }
    }
}
