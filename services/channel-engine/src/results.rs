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

    /// Waits until `enough` of the result, or until `until`. `read` asks the database.
    pub async fn wait<F>(
        &self,
        request_id: &str,
        until: Instant,
        enough: fn(&Outcome) -> bool,
        read: impl Fn() -> F,
    ) -> Option<Outcome>
    where
        F: Future<Output = Option<Outcome>>,
    {
        let mut rx = {
            let mut waiting = lock(&self.waiting);
            waiting.retain(|_, tx| tx.receiver_count() > 0);
            waiting.entry(request_id.into()).or_insert_with(|| watch::channel(None).0).subscribe()
        };
        let mut last = read().await;
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
