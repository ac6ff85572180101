//! Waiting for what comes of an API command. The database has the truth; this only saves asking it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use protocol::RequestResult;
use tokio::sync::watch;
use tracing::warn;

use crate::{context::Context, gateways::lock};

/// How often the database is asked for results that may come from other engines: one query for all who wait.
const POLL: Duration = Duration::from_millis(200);

/// What came of a command so far.
pub type Outcome = RequestResult;

/// Waiters by request id.
#[derive(Default)]
pub struct Results {
    waiting: Mutex<HashMap<String, watch::Sender<Option<Outcome>>>>,
}

impl Results {
    /// A result was committed. An outcome is final: news of the opening that come after it are old.
    pub fn finish(&self, request_id: &str, outcome: Outcome) {
        if let Some(tx) = lock(&self.waiting).get(request_id) {
            tx.send_if_modified(|known| {
                let news = match known {
                    None => true,
                    Some(known) => *known == RequestResult::Opened && outcome != RequestResult::Opened,
                };
                if news {
                    *known = Some(outcome);
                }
                news
            });
        }
    }

    fn waited_for(&self) -> Vec<String> {
        let mut waiting = lock(&self.waiting);
        waiting.retain(|_, tx| tx.receiver_count() > 0);
        waiting.keys().cloned().collect()
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
    /// Waits until `enough` of the result, of which `last` is known, or until `until`.
    pub async fn wait(mut self, last: Option<Outcome>, until: Instant, enough: fn(&Outcome) -> bool) -> Option<Outcome> {
        if last.as_ref().is_some_and(enough) {
            return last;
        }
        let waited = self.0.wait_for(|outcome| outcome.as_ref().is_some_and(enough));
        let found = match tokio::time::timeout_at(until.into(), waited).await {
            Ok(Ok(outcome)) => outcome.clone(),
            Ok(Err(_)) | Err(_) => None,
        };
        found.or_else(|| self.0.borrow().clone()).or(last)
    }
}

/// Asks the database for everybody who waits, until the engine stops.
pub async fn poll(ctx: Arc<Context>) {
    loop {
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(POLL) => {}
        }
        let ids = ctx.results.waited_for();
        if ids.is_empty() {
            continue;
        }
        match read(&ctx, &ids).await {
            Ok(results) => results.into_iter().for_each(|(id, result)| ctx.results.finish(&id, result)),
            Err(error) => warn!(%error, "results cannot be read"),
        }
    }
}

async fn read(ctx: &Context, ids: &[String]) -> Result<Vec<(String, Outcome)>, store::Error> {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    store::engine::results(&ctx.pool.get().await?, &ids).await
}
