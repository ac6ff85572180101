use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// A map that forgets: what was put in is found for one to two times `ttl`. No more than twice `max` keys are kept; when they come faster than
/// that, they are forgotten earlier.
///
/// There are two generations, and the older one is dropped as a whole: nothing is kept per key but the key and its value.
#[derive(Debug)]
pub struct Recent<K, V> {
    current: HashMap<K, V>,
    last: HashMap<K, V>,
    /// When the current generation began.
    since: Duration,
    ttl: Duration,
    max: usize,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    /// An empty map.
    pub fn new(ttl: Duration, max: usize) -> Self {
        Self { current: HashMap::new(), last: HashMap::new(), since: Duration::ZERO, ttl, max }
    }

    /// Drops what is too old.
    pub fn expire(&mut self, now: Duration) {
        if now >= self.since + 2 * self.ttl {
            (self.current, self.last, self.since) = (HashMap::new(), HashMap::new(), now);
        } else if now >= self.since + self.ttl {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Duration) {
        self.last = std::mem::take(&mut self.current);
        self.since = now;
    }

    /// Puts a value in; the one that the key had is replaced.
    pub fn insert(&mut self, now: Duration, key: K, value: V) {
        self.expire(now);
        if self.current.len() >= self.max {
            self.turn(now);
        }
        self.last.remove(&key);
        self.current.insert(key, value);
    }

    /// The value of a key.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.current.get(key).or_else(|| self.last.get(key))
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.current.get_mut(key).or_else(|| self.last.get_mut(key))
    }

    /// Takes a key out.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        self.current.remove(key).or_else(|| self.last.remove(key))
    }

    /// When [`Self::expire`] has something to do.
    pub fn expires_at(&self) -> Option<Duration> {
        (!self.is_empty()).then_some(self.since + self.ttl)
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.current.is_empty() && self.last.is_empty()
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.current.len() + self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a list of everything that was put in.
        #[test]
        fn nothing_is_forgotten_early_or_kept_for_long(steps in prop::collection::vec((0_u8..40, 0_u64..30, any::<bool>()), 1..300)) {
            let (ttl, mut at) = (Duration::from_secs(100), Duration::ZERO);
            let mut recent = Recent::new(ttl, 1000);
            let mut all: HashMap<u8, (Duration, u64)> = HashMap::new();
            for (key, pause, remove) in steps {
                at += Duration::from_secs(pause);
                recent.expire(at);
                for (key, (since, value)) in &all {
                    match at - *since {
                        age if age < ttl => prop_assert_eq!(recent.get(key), Some(value)),
                        // A generation ends with the first call after its time.
                        age if age >= 2 * ttl + Duration::from_secs(60) => prop_assert_eq!(recent.get(key), None),
                        _ => {}
                    }
                }
                if remove {
                    recent.remove(&key);
                    all.remove(&key);
                } else {
                    recent.insert(at, key, pause);
                    all.insert(key, (at, pause));
                }
                prop_assert!(recent.len() <= 40);
            }
        }

        #[test]
        fn the_number_is_bounded(keys in prop::collection::vec(any::<u16>(), 1..500)) {
            let mut recent = Recent::new(Duration::from_secs(1), 16);
            for key in keys {
                recent.insert(Duration::ZERO, key, ());
                prop_assert!(recent.get(&key).is_some() && recent.len() <= 32);
            }
        }
    }
}
