use std::net::SocketAddr;

/// Datagrams ready to be sent, back to back in one buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    buffer: Vec<u8>,
    /// Receiver and end of each datagram.
    ends: Vec<(SocketAddr, usize)>,
}

impl Outbox {
    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Forgets everything and keeps the memory.
    pub fn clear(&mut self) {
        self.buffer.clear();
        self.ends.clear();
    }

    /// Each datagram and its receiver.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.runs(1).map(|run| (run.to, run.bytes))
    }

    /// The datagrams in groups of at most `max` that one segmented send can carry: one receiver, one length, but for a shorter last.
    pub fn runs(&self, max: usize) -> impl Iterator<Item = Run<'_>> {
        let mut at = 0_usize;
        std::iter::from_fn(move || {
            let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
            let &(to, mut end) = self.ends.get(at)?;
            let segment = end - start;
            at += 1;
            for _ in 1..max {
                match self.ends.get(at) {
                    Some(&(next, next_end)) if next == to && next_end - end <= segment => {
                        let shorter = next_end - end < segment;
                        (at, end) = (at + 1, next_end);
                        if shorter {
                            break;
                        }
                    }
                    _ => break,
                }
            }
            Some(Run { to, bytes: &self.buffer[start..end], segment })
        })
    }

    /// Lends the buffer for one datagram to be appended; [`Self::put_back`] ends it.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    pub(crate) fn put_back(&mut self, to: SocketAddr, buffer: Vec<u8>) {
        self.buffer = buffer;
        self.ends.push((to, self.buffer.len()));
    }
}

/// Datagrams that leave in one system call.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// Their receiver.
    pub to: SocketAddr,
    /// The datagrams back to back.
    pub bytes: &'a [u8],
    /// The length of each but the last.
    pub segment: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_keep_order_and_break_at_another_length_or_receiver() {
        let (a, b): (SocketAddr, SocketAddr) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut outbox = Outbox::default();
        for (to, len) in [(a, 4), (a, 4), (a, 2), (a, 4), (b, 4), (b, 8)] {
            let mut buffer = outbox.take();
            buffer.extend(vec![len as u8; len]);
            outbox.put_back(to, buffer);
        }
        let runs: Vec<_> = outbox.runs(64).map(|run| (run.to, run.bytes.len(), run.segment)).collect();
        assert_eq!(runs, [(a, 10, 4), (a, 4, 4), (b, 4, 4), (b, 8, 8)]);
        let single: Vec<_> = outbox.datagrams().map(|(to, bytes)| (to, bytes.len())).collect();
        assert_eq!(single, [(a, 4), (a, 4), (a, 2), (a, 4), (b, 4), (b, 8)]);
    }
}
