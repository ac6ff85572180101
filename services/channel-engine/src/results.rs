//! Waiting for what comes of an API command. The database has the truth; this only saves asking it.

use std::{
    collections::HashMap,
    sync::Mutex,
    time::{Duration, Instant},
};

use protocol::RequestResult;
use tokio::sync::watch;

use crate::gateways::lock;

/// How often the database is asked when the result may come from another engine.
const POLL: Duration = Duration::from_millis(200);

/// What came of a command so far.
pub type Outcome = RequestResult;

/// Waiters by request id.
#[derive(Default)]
pub struct Results {
    waiting: Mutex<HashMap<String, watch::Sender<Option<Outcome>>>>,
}

impl Results {
    /// A result was committed by this engine.
    pub fn finish(&self, request_id: &str, outcome: Outcome) {
        if let Some(tx) = lock(&self.waiting).get(request_id) {
            tx.send_replace(Some(outcome));
        }
    }

    /// To be taken before the command is queued, so that no result is missed.
    pub fn waiter(&self, request_id: &str) -> Waiter {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|_, tx| tx.receiver_count() > 0);
        Waiter(waiting.entry(request_id.into()).or_insert_with(|| watch::channel(None).0).subscribe())
    }
}

/// Waits for the result of one command.
pub struct Waiter(watch::Receiver<Option<Outcome>>);

impl Waiter {
    /// Waits until `enough` of the result, of which `last` is known, or until `until`. `read` asks the database.
    pub async fn wait<F>(
        mut self,
        mut last: Option<Outcome>,
        until: Instant,
        enough: fn(&Outcome) -> bool,
        read: impl Fn() -> F,
    ) -> Option<Outcome>
    where
        F: Future<Output = Option<Outcome>>,
    {
        let rx = &mut self.0;
        loop {
            if last.as_ref().is_some_and(enough) || Instant::now() >= until {
                return last;
            }
            let poll = POLL.min(until.saturating_duration_since(Instant::now()));
            tokio::select! {
                changed = rx.changed() => {
                    if changed.is_err() {
                        return last;
                    }
                    last = rx.borrow_and_update().clone().or(last);
                }
                () = tokio::time::sleep(poll) => last = read().await.or(last),
            }
        }
    }
}
