//! The transactions of one account, one behind the other: each number is used once, and none gets into a block before all below it.

use std::collections::BTreeMap;
use std::sync::{Mutex as StdMutex, MutexGuard as StdMutexGuard, PoisonError};

use tokio::sync::{Mutex, MutexGuard};

use crate::fees::Urgency;

/// See the module. In memory: after a start each channel that has a transaction on its way joins again.
#[derive(Default)]
pub struct Lane {
    turn: Mutex<()>,
    waiting: StdMutex<BTreeMap<u64, Urgency>>,
}

impl Lane {
    /// Held while a transaction is made, kept and sent, so that two do not take one number.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn waiting(&self) -> StdMutexGuard<'_, BTreeMap<u64, Urgency>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transaction with this number is on its way.
    pub fn join(&self, number: u64, urgency: Urgency) {
        self.waiting().insert(number, urgency);
    }

    /// A transaction with this number is in a block that is deep enough.
    pub fn leave(&self, number: u64) {
        self.waiting().remove(&number);
    }

    /// The first number from `from` on that no transaction of ours has: a node may not know all of them.
    pub fn free(&self, from: u64) -> u64 {
        let waiting = self.waiting();
        let mut free = from;
        while waiting.contains_key(&free) {
            free = free.saturating_add(1);
        }
        free
    }

    /// How soon this number must be in a block: as soon as any that waits behind it.
    pub fn urgency(&self, number: u64) -> Urgency {
        self.waiting().range(number..).map(|(_, urgency)| *urgency).max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_in_front_of_something_urgent_is_urgent() {
        let lane = Lane::default();
        lane.join(5, Urgency::Calm);
        lane.join(6, Urgency::Urgent);
        lane.join(8, Urgency::Calm);
        assert_eq!([4, 5, 6, 7, 8].map(|number| lane.urgency(number) == Urgency::Urgent), [true, true, true, false, false]);
        assert_eq!([lane.free(3), lane.free(5), lane.free(7)], [3, 7, 7]);
        lane.leave(6);
        assert_eq!((lane.urgency(5), lane.free(5)), (Urgency::Calm, 6));
    }
}
