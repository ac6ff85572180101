//! Protocol time (design 7): wall time, or on an embedded chain whose clock can be set, wall time plus the offset that the indexer sees.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rpc::{
    Connection,
    indexer::v1::{GetChainTimeRequest, indexer_service_client::IndexerServiceClient},
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the indexer is asked.
const FOLLOW: Duration = Duration::from_secs(1);
/// How long it may take.
const TIMEOUT: Duration = Duration::from_secs(2);

/// What deadlines, quarantines and timers go by.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Milliseconds ahead of wall time. None for ever, unless the configuration says that the chain's clock can be set.
    offset: Option<Arc<watch::Sender<i64>>>,
}

impl Clock {
    /// Milliseconds of unix time.
    pub fn now_ms(&self) -> u64 {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
        let offset = self.offset.as_ref().map_or(0, |offset| *offset.borrow());
        wall.saturating_add(offset).max(0) as u64
    }

    /// Waits until `at`, also when the clock is set meanwhile.
    pub fn sleep_until(&self, at: u64) -> impl Future<Output = ()> + Send + use<> {
        let clock = self.clone();
        let mut changes = self.offset.as_ref().map(|offset| offset.subscribe());
        async move {
            loop {
                let wait = tokio::time::sleep(Duration::from_millis(at.saturating_sub(clock.now_ms())));
                let Some(changes) = &mut changes else { return wait.await };
                tokio::select! {
                    () = wait => return,
                    _ = changes.changed() => {}
                }
            }
        }
    }

    /// The clock of an embedded chain, once the indexer knows it; it is followed until `stop`. `None` when stopped before.
    pub async fn follow(indexer: Connection, stop: CancellationToken) -> Option<Self> {
        let mut indexer = IndexerServiceClient::new(indexer);
        let offset = loop {
            match read(&mut indexer).await {
                Ok(offset) => break offset,
                Err(error) => warn!(%error, "waiting for the chain's clock"),
            }
            tokio::select! {
                () = stop.cancelled() => return None,
                () = tokio::time::sleep(FOLLOW) => {}
            }
        };
        let offset = Arc::new(watch::Sender::new(offset));
        tokio::spawn(keep_following(indexer, offset.clone(), stop));
        Some(Self { offset: Some(offset) })
    }
}

async fn keep_following(mut indexer: IndexerServiceClient<Connection>, offset: Arc<watch::Sender<i64>>, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(FOLLOW) => {}
        }
        // The chain's clock runs on while nobody tells it: the last offset stays.
        let Ok(now) = read(&mut indexer).await else { continue };
        let set = offset.send_if_modified(|offset| std::mem::replace(offset, now) != now);
        if set {
            info!(offset_ms = now, "the chain's clock was set");
        }
    }
}

async fn read(indexer: &mut IndexerServiceClient<Connection>) -> Result<i64, tonic::Status> {
    let mut request = tonic::Request::new(GetChainTimeRequest {});
    request.set_timeout(TIMEOUT);
    Ok(indexer.get_chain_time(request).await?.into_inner().protocol_offset_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sleeper_notices_that_the_clock_was_set() {
        let offset = Arc::new(watch::Sender::new(0));
        let clock = Clock { offset: Some(offset.clone()) };
        let hour = 3_600_000;
        let at = clock.now_ms() + hour;
        let sleeper = tokio::spawn(clock.sleep_until(at));
        offset.send_replace(1);
        offset.send_replace(hour as i64);
        // Would take an hour.
        sleeper.await.unwrap();
        assert!(clock.now_ms() >= at);
    }
}
