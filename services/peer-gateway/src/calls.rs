//! Room for an engine's queries to peers: so many in all, and so many to one peer, so that one who does not answer takes not all of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use crate::{Key, lock};

/// Queries of an engine under way; more are refused.
const MAX_CALLS: usize = 4_096;
/// Of these to one peer: as many as its gateway would take.
const MAX_CALLS_TO_PEER: usize = 2_048;

/// See the module.
#[derive(Clone, Default)]
pub(crate) struct Calls(Arc<Mutex<UnderWay>>);

#[derive(Default)]
struct UnderWay {
    all: usize,
    to_peer: HashMap<Key, usize>,
}

/// Room for one query, given back when dropped.
pub(crate) struct CallRoom {
    calls: Calls,
    peer: Key,
}

impl Calls {
    /// Room for a query to a peer, if there is any.
    pub fn admit(&self, peer: Key) -> Option<CallRoom> {
        let mut under_way = lock(&self.0);
        let to_peer = under_way.to_peer.get(&peer).copied().unwrap_or(0);
        if under_way.all >= MAX_CALLS || to_peer >= MAX_CALLS_TO_PEER {
            return None;
        }
        under_way.all += 1;
        under_way.to_peer.insert(peer, to_peer + 1);
        Some(CallRoom { calls: self.clone(), peer })
    }
}

impl Drop for CallRoom {
    fn drop(&mut self) {
        let mut under_way = lock(&self.calls.0);
        under_way.all -= 1;
        if let Some(to_peer) = under_way.to_peer.get_mut(&self.peer) {
            *to_peer -= 1;
            if *to_peer == 0 {
                under_way.to_peer.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_does_not_answer_leaves_room_for_others() {
        let calls = Calls::default();
        let mut rooms: Vec<_> = std::iter::from_fn(|| calls.admit([1; 32])).collect();
        assert_eq!(rooms.len(), MAX_CALLS_TO_PEER);
        for peer in 2.. {
            let before = rooms.len();
            rooms.extend(std::iter::from_fn(|| calls.admit([peer; 32])));
            if rooms.len() == before {
                break;
            }
        }
        assert_eq!(rooms.len(), MAX_CALLS);
        rooms.pop();
        assert!(calls.admit([99; 32]).is_some());
        drop(rooms);
        let under_way = lock(&calls.0);
        assert_eq!((under_way.all, under_way.to_peer.len()), (0, 0));
    }
}
