//! Each query is executed once, and its answer repeated for every further copy (network 3.8).

use crate::message::QueryId;
use crate::recent::Recent;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long a query is known, at least.
const TTL: Duration = Duration::from_secs(15);
/// Queries known per peer, at most twice as many. At 60,000 a second each is still known for 7 s.
const MAX_QUERIES: usize = 458_752;
/// Queries in parts whose parts are known per peer, at most twice as many.
const MAX_IN_PARTS: usize = 1024;
/// Bytes of answers kept per peer. What is behind an older answer's end is not executed again either: its copies get silence.
const MAX_BYTES: usize = 4 << 20;
/// What a kept answer costs beside its bytes.
const OVERHEAD: usize = 160;

/// What is known about a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: execute it.
    New,
    /// It is being executed, or nobody answered it, or its answer is kept no longer.
    Taken,
    /// The boxed answer message.
    Answered(Bytes),
}

/// Enough of a query's 32 random bytes. Whoever makes two of them alike loses its own query.
type Short = u128;

fn short(id: &QueryId) -> Short {
    Short::from_le_bytes(std::array::from_fn(|i| id[i]))
}

/// The queries of one peer.
#[derive(Debug)]
pub(crate) struct Answers {
    taken: Recent<Short, ()>,
    /// Which query came in parts, by the hash that its parts name.
    in_parts: Recent<Short, QueryId>,
    kept: HashMap<Short, Bytes>,
    order: VecDeque<(Duration, Short)>,
    bytes: usize,
}

impl Default for Answers {
    fn default() -> Self {
        let (taken, in_parts) = (Recent::new(TTL, MAX_QUERIES), Recent::new(TTL, MAX_IN_PARTS));
        Self { taken, in_parts, kept: HashMap::new(), order: VecDeque::new(), bytes: 0 }
    }
}

impl Answers {
    pub fn get(&self, id: &QueryId) -> Known {
        match self.kept.get(&short(id)) {
            Some(answer) => Known::Answered(answer.clone()),
            None if self.taken.get(&short(id)).is_some() => Known::Taken,
            None => Known::New,
        }
    }

    /// Marks a new query as taken.
    pub fn begin(&mut self, now: Duration, id: &QueryId) {
        self.taken.insert(now, short(id), ());
    }

    /// A query came in parts, of a message with this hash.
    pub fn came_in_parts(&mut self, now: Duration, hash: &[u8; 32], id: QueryId) {
        self.in_parts.insert(now, short(hash), id);
    }

    /// The query that came in parts of a message with this hash.
    pub fn of_parts(&self, hash: &[u8; 32]) -> Option<QueryId> {
        self.in_parts.get(&short(hash)).copied()
    }

    /// Keeps the answer of a query. An answer to an unknown query, or a second one, is not kept.
    pub fn finish(&mut self, now: Duration, id: &QueryId, answer: &Bytes) {
        let id = short(id);
        if self.taken.get(&id).is_none() || self.kept.contains_key(&id) {
            return;
        }
        self.bytes += answer.len() + OVERHEAD;
        self.kept.insert(id, answer.clone());
        self.order.push_back((now, id));
        self.expire(now);
    }

    /// The query was not executed after all: its next copy shall be.
    pub fn cancel(&mut self, id: &QueryId) {
        self.taken.remove(&short(id));
    }

    /// Forgets what is old, or too much.
    pub fn expire(&mut self, now: Duration) {
        self.taken.expire(now);
        self.in_parts.expire(now);
        while self.bytes > MAX_BYTES || self.order.front().is_some_and(|(at, _)| *at + TTL <= now) {
            let Some((_, id)) = self.order.pop_front() else { break };
            self.bytes -= self.kept.remove(&id).map_or(0, |answer| answer.len() + OVERHEAD);
        }
        if self.order.is_empty() && self.order.capacity() > 0 {
            (self.kept, self.order) = (HashMap::new(), VecDeque::new());
        }
    }

    /// When [`Self::expire`] has something to do.
    pub fn expires_at(&self) -> Option<Duration> {
        let kept = self.order.front().map(|(at, _)| *at + TTL);
        self.taken.expires_at().into_iter().chain(self.in_parts.expires_at()).chain(kept).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> QueryId {
        std::array::from_fn(|i| (n >> (8 * (i % 4))) as u8)
    }

    #[test]
    fn a_query_is_new_then_taken_then_answered() {
        let (mut answers, answer) = (Answers::default(), Bytes::from_static(b"yes"));
        assert_eq!(answers.get(&id(1)), Known::New);
        answers.begin(Duration::ZERO, &id(1));
        assert_eq!(answers.get(&id(1)), Known::Taken);
        answers.finish(Duration::ZERO, &id(1), &answer);
        assert_eq!(answers.get(&id(1)), Known::Answered(answer.clone()));
        answers.begin(Duration::ZERO, &id(2));
        answers.cancel(&id(2));
        assert_eq!(answers.get(&id(2)), Known::New);
        answers.finish(Duration::ZERO, &id(3), &answer);
        assert_eq!(answers.get(&id(3)), Known::New);
    }

    /// What is kept is bounded; a query whose answer had to go is not executed again.
    #[test]
    fn bytes_and_age_are_bounded_and_nothing_is_new_again() {
        let (mut answers, large, count) = (Answers::default(), Bytes::from(vec![0; 8000]), 5000);
        for n in 0..count {
            answers.begin(Duration::ZERO, &id(n));
            answers.finish(Duration::ZERO, &id(n), &large);
            assert!(answers.bytes <= MAX_BYTES);
        }
        assert_eq!((answers.get(&id(0)), answers.get(&id(count - 1))), (Known::Taken, Known::Answered(large)));
        assert_eq!(answers.expires_at(), Some(TTL));
        answers.expire(TTL);
        assert_eq!((answers.order.len(), answers.bytes, answers.get(&id(0))), (0, 0, Known::Taken));
        answers.expire(TTL * 2);
        assert_eq!((answers.get(&id(0)), answers.expires_at()), (Known::New, None));
    }
}
