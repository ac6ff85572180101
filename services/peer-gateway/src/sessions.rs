//! Who is connected: authenticated channel keys and the ADNL ids behind them.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use adnl::keys::AdnlId;

use crate::Key;

/// A peer that proved its channel key on this ADNL connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub peer: Key,
    pub adnl: AdnlId,
    pub since: SystemTime,
    round_trip_micros: AtomicU32,
}

impl Session {
    /// Last measured round trip; 0 when never measured.
    pub fn round_trip_micros(&self) -> u32 {
        self.round_trip_micros.load(Ordering::Relaxed)
    }

    pub fn measured(&self, round_trip: Duration) -> u32 {
        let micros = u32::try_from(round_trip.as_micros()).unwrap_or(u32::MAX).max(1);
        self.round_trip_micros.store(micros, Ordering::Relaxed);
        micros
    }
}

/// All sessions. One per channel key and per ADNL id: the newest wins (payments 2.2).
#[derive(Default)]
pub(crate) struct Sessions {
    by_peer: BTreeMap<Key, Arc<Session>>,
    by_adnl: HashMap<AdnlId, Key>,
}

impl Sessions {
    /// A peer has authenticated. Returns the session, and the key that the connection had before if it was another one.
    pub fn open(&mut self, peer: Key, adnl: AdnlId, now: SystemTime) -> (Arc<Session>, Option<Key>) {
        let before = self.by_adnl.insert(adnl, peer).filter(|before| *before != peer);
        if let Some(before) = &before {
            self.by_peer.remove(before);
        }
        let session = Arc::new(Session { peer, adnl, since: now, round_trip_micros: AtomicU32::new(0) });
        if let Some(old) = self.by_peer.insert(peer, session.clone()) {
            if old.adnl != adnl {
                self.by_adnl.remove(&old.adnl);
            } else {
                session.round_trip_micros.store(old.round_trip_micros(), Ordering::Relaxed);
            }
        }
        (session, before)
    }

    /// Ends this session, unless a newer one has taken its place. Whether it did.
    pub fn close(&mut self, session: &Arc<Session>) -> bool {
        let current = self.by_peer.get(&session.peer).is_some_and(|current| Arc::ptr_eq(current, session));
        if current {
            self.by_peer.remove(&session.peer);
            self.by_adnl.remove(&session.adnl);
        }
        current
    }

    pub fn of_peer(&self, peer: &Key) -> Option<&Arc<Session>> {
        self.by_peer.get(peer)
    }

    pub fn of_adnl(&self, adnl: &AdnlId) -> Option<&Arc<Session>> {
        self.by_adnl.get(adnl).and_then(|peer| self.by_peer.get(peer))
    }

    /// All, by key, above this one.
    pub fn after(&self, peer: Option<&Key>) -> impl Iterator<Item = &Arc<Session>> {
        use std::ops::Bound::{Excluded, Unbounded};
        self.by_peer.range::<Key, _>((peer.map_or(Unbounded, Excluded), Unbounded)).map(|(_, session)| session)
    }

    pub fn len(&self) -> usize {
        self.by_peer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: Key = [1; 32];
    const Q: Key = [2; 32];
    const A: AdnlId = AdnlId([3; 32]);
    const B: AdnlId = AdnlId([4; 32]);

    #[test]
    fn the_newest_session_of_a_key_wins() {
        let mut sessions = Sessions::default();
        let (old, _) = sessions.open(P, A, SystemTime::now());
        let (new, before) = sessions.open(P, B, SystemTime::now());
        assert_eq!((before, sessions.len()), (None, 1));
        assert!(sessions.of_adnl(&A).is_none() && sessions.of_peer(&P).unwrap().adnl == B);
        // The old one's end does not end the new one.
        assert!(!sessions.close(&old) && sessions.of_adnl(&B).is_some());
        assert!(sessions.close(&new) && sessions.len() == 0 && sessions.of_adnl(&B).is_none());
    }

    #[test]
    fn a_connection_has_one_key() {
        let mut sessions = Sessions::default();
        sessions.open(P, A, SystemTime::now());
        let (_, before) = sessions.open(Q, A, SystemTime::now());
        assert_eq!((before, sessions.of_peer(&P).is_none(), sessions.of_adnl(&A).unwrap().peer), (Some(P), true, Q));
        let (_, again) = sessions.open(Q, A, SystemTime::now());
        assert_eq!((again, sessions.after(Some(&P)).count(), sessions.after(Some(&Q)).count()), (None, 1, 0));
    }
}
