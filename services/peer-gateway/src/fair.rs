//! Queries of many peers that wait for one engine, taken in turns: whoever asks much waits for himself.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// A turn is one query of up to so many bytes; a larger one waits for as many turns as it needs.
const QUANTUM: usize = 4_096;

/// A queue per peer, and whose turn it is (deficit round robin). Without clock and network.
#[derive(Debug)]
pub(crate) struct FairQueue<K, T> {
    queues: HashMap<K, Waiting<T>>,
    /// Peers that have something waiting, in the order of their turns.
    turns: VecDeque<K>,
    len: usize,
    max: usize,
}

#[derive(Debug)]
struct Waiting<T> {
    items: VecDeque<(T, usize)>,
    /// Bytes that it was given in its turns and did not use yet.
    credit: usize,
}

impl<K: Copy + Eq + Hash, T> FairQueue<K, T> {
    /// A queue of at most `max` queries in all.
    pub fn new(max: usize) -> Self {
        Self { queues: HashMap::new(), turns: VecDeque::new(), len: 0, max }
    }

    /// Appends a query of this size. When there is no room, whoever has most waiting loses his newest one, which is returned.
    pub fn push(&mut self, peer: K, item: T, bytes: usize) -> Option<T> {
        let queue = self.queues.entry(peer).or_insert_with(|| {
            self.turns.push_back(peer);
            Waiting { items: VecDeque::new(), credit: 0 }
        });
        queue.items.push_back((item, bytes));
        self.len += 1;
        match self.len > self.max {
            true => self.drop_one(),
            false => None,
        }
    }

    fn drop_one(&mut self) -> Option<T> {
        let (longest, queue) = self.queues.iter_mut().max_by_key(|(_, queue)| queue.items.len())?;
        let (peer, (item, _)) = (*longest, queue.items.pop_back()?);
        self.len -= 1;
        if queue.items.is_empty() {
            self.queues.remove(&peer);
            self.turns.retain(|other| *other != peer);
        }
        Some(item)
    }

    /// The next query.
    pub fn pop(&mut self) -> Option<T> {
        loop {
            let peer = self.turns.pop_front()?;
            let queue = self.queues.get_mut(&peer)?;
            queue.credit += QUANTUM;
            let cost = queue.items.front()?.1.max(QUANTUM);
            let item = if queue.credit >= cost { queue.items.pop_front() } else { None };
            if queue.items.is_empty() {
                self.queues.remove(&peer);
            } else {
                queue.credit -= if item.is_some() { cost } else { 0 };
                self.turns.push_back(peer);
            }
            if let Some((item, _)) = item {
                self.len -= 1;
                return Some(item);
            }
        }
    }

    /// Queries that wait.
    pub fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_starve_others() {
        let mut queue = FairQueue::new(2_000);
        for i in 0..1_000 {
            assert_eq!(queue.push('a', ('a', i), 100), None);
        }
        for i in 0..3 {
            assert_eq!(queue.push('b', ('b', i), 100), None);
            assert_eq!(queue.push('c', ('c', i), 100), None);
        }
        let order: Vec<_> = (0..9).map(|_| queue.pop().unwrap()).collect();
        let expected = [('a', 0), ('b', 0), ('c', 0), ('a', 1), ('b', 1), ('c', 1), ('a', 2), ('b', 2), ('c', 2)];
        assert_eq!(order, expected);
        assert_eq!((0..997).map(|_| queue.pop().unwrap().1).collect::<Vec<_>>(), (3..1_000).collect::<Vec<_>>());
        assert_eq!((queue.pop(), queue.len(), queue.queues.len()), (None, 0, 0));
    }

    #[test]
    fn bytes_count_too() {
        let mut queue = FairQueue::new(100);
        for i in 0..3 {
            queue.push('a', ('a', i), 10 * QUANTUM);
        }
        for i in 0..25 {
            queue.push('b', ('b', i), 10);
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        let place = |of: (char, usize)| order.iter().position(|item| *item == of).unwrap();
        // Ten small ones for each large one.
        assert!((9..=10).contains(&place(('a', 0))) && (19..=21).contains(&place(('a', 1))), "{order:?}");
        assert_eq!(order.len(), 28);
    }

    #[test]
    fn when_it_is_full_whoever_has_most_loses_his_newest() {
        let mut queue = FairQueue::new(10);
        for i in 0..10 {
            assert_eq!(queue.push('a', ('a', i), 1), None);
        }
        assert_eq!(queue.push('b', ('b', 0), 1), Some(('a', 9)));
        assert_eq!(queue.push('b', ('b', 1), 1), Some(('a', 8)));
        assert_eq!(queue.push('a', ('a', 10), 1), Some(('a', 10)));
        assert_eq!(queue.len(), 10);
        let left: Vec<_> = std::iter::from_fn(|| queue.pop()).filter(|(peer, _)| *peer == 'b').collect();
        assert_eq!(left, [('b', 0), ('b', 1)]);
        // No room at all is no way to get stuck.
        let mut none = FairQueue::new(0);
        assert_eq!((none.push('a', 1, 1), none.len(), none.pop()), (Some(1), 0, None));
    }
}
