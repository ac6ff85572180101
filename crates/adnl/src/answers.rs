//! Each query is executed once, and its answer repeated for every further copy (network 3.8).

use crate::message::QueryId;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::Duration;

/// How long an answer, or the mark of a running query, is kept.
const TTL: Duration = Duration::from_secs(30);
/// Queries remembered per peer. Beyond it the oldest are forgotten early: at 2,000 queries a second still after 16 s.
const MAX_QUERIES: usize = 32_768;
/// Bytes of answers kept per peer.
const MAX_BYTES: usize = 4 << 20;

/// What is known about a query.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// Nothing: execute it.
    New,
    /// It is being executed, or nobody answered it.
    Running,
    /// The boxed answer message.
    Answered(Bytes),
}

/// The queries of one peer.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    known: HashMap<QueryId, Option<Bytes>>,
    order: VecDeque<(Duration, QueryId)>,
    bytes: usize,
}

impl Answers {
    pub fn get(&self, id: &QueryId) -> Known {
        match self.known.get(id) {
            None => Known::New,
            Some(None) => Known::Running,
            Some(Some(answer)) => Known::Answered(answer.clone()),
        }
    }

    /// Marks a new query as running.
    pub fn begin(&mut self, now: Duration, id: QueryId) {
        while self.order.front().is_some_and(|(at, _)| self.order.len() >= MAX_QUERIES || *at + TTL < now) {
            self.forget_oldest();
        }
        if self.known.insert(id, None).is_none() {
            self.order.push_back((now, id));
        }
    }

    /// Keeps the answer of a running query. An answer to an unknown query is not kept.
    pub fn finish(&mut self, id: &QueryId, answer: &Bytes) {
        if let Some(slot @ None) = self.known.get_mut(id) {
            *slot = Some(answer.clone());
            self.bytes += answer.len();
        }
        while self.bytes > MAX_BYTES {
            self.forget_oldest();
        }
    }

    /// The query was not executed after all: its next copy shall be.
    pub fn cancel(&mut self, id: &QueryId) {
        // Its entry in the order stays and does no harm.
        self.known.remove(id);
    }

    fn forget_oldest(&mut self) {
        if let Some((_, id)) = self.order.pop_front()
            && let Some(Some(answer)) = self.known.remove(&id)
        {
            self.bytes -= answer.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> QueryId {
        std::array::from_fn(|i| (n >> (8 * (i % 4))) as u8)
    }

    #[test]
    fn a_query_is_new_then_running_then_answered() {
        let (mut answers, answer) = (Answers::default(), Bytes::from_static(b"yes"));
        assert_eq!(answers.get(&id(1)), Known::New);
        answers.begin(Duration::ZERO, id(1));
        assert_eq!(answers.get(&id(1)), Known::Running);
        answers.finish(&id(1), &answer);
        assert_eq!(answers.get(&id(1)), Known::Answered(answer));
        answers.begin(Duration::ZERO, id(2));
        answers.cancel(&id(2));
        assert_eq!(answers.get(&id(2)), Known::New);
    }

    #[test]
    fn count_bytes_and_age_are_bounded() {
        let mut answers = Answers::default();
        for n in 0..MAX_QUERIES + 10 {
            answers.begin(Duration::ZERO, id(n));
        }
        assert_eq!((answers.order.len(), answers.get(&id(0)), answers.get(&id(10))), (MAX_QUERIES, Known::New, Known::Running));
        let large = Bytes::from(vec![0; 8000]);
        for n in 10..MAX_QUERIES {
            answers.finish(&id(n), &large);
            assert!(answers.bytes <= MAX_BYTES);
        }
        answers.begin(TTL * 2, id(usize::MAX));
        assert_eq!((answers.order.len(), answers.bytes), (1, 0));
    }
}
