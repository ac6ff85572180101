//! Commands: queued once per request id, handed over in memory when the channel lives here (design 3).

use std::time::{Duration, Instant};

use protocol::{NewTask, RequestResult};
use rpc::{Error, ErrorCode};
use sha2::{Digest, Sha256};
use store::engine::Submitted;

use super::{Api, unavailable};

/// How long a call waits for its result when the caller set no deadline.
pub const WAIT: Duration = Duration::from_secs(60);

impl Api {
    /// Queues the task of a command. `content` is what makes two commands the same. A repeated id is told the result so far.
    pub(super) async fn submit(
        &self,
        request_id: &str,
        content: &[&[u8]],
        task: NewTask,
    ) -> Result<Option<RequestResult>, Error> {
        let mut hash = Sha256::new();
        for part in content {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let submitted =
            store::engine::submit(&client, request_id, &hash.finalize().into(), &task, 0).await.map_err(unavailable)?;
        drop(client);
        match submitted {
            Submitted::Queued => {
                self.ctx.hand_over(vec![task]);
                Ok(None)
            }
            Submitted::Known(result) => Ok(result),
            Submitted::Conflict => Err(Error::field(ErrorCode::RequestIdReused, "request_id", "was used with other content")),
        }
    }

    /// Waits for a result that satisfies `enough`.
    pub(super) async fn wait(&self, request_id: &str, enough: fn(&RequestResult) -> bool) -> Option<RequestResult> {
        let read = || async {
            let client = self.ctx.pool.get().await.ok()?;
            let results = store::engine::results(&client, &[request_id]).await.ok()?;
            results.into_iter().next().map(|(_, result)| result)
        };
        self.ctx.results.wait(request_id, Instant::now() + WAIT, enough, read).await
    }
}
