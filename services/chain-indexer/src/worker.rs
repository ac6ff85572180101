//! The loop of the leading indexer: read on, write down, send.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use liteapi::Client;
use rpc::Gate;
use store::Pool;
use store::chain::{self, Cursor, Progress};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::channels::Channels;
use crate::metrics::Metrics;
use crate::scanner::{Head, Scanner};
use crate::sender::{Report, Sender};
use crate::trust::Memory;

/// Masterchain blocks read and written together at most.
const BATCH: u32 = 16;
/// How long the lead lasts. One batch takes much less.
const LEASE: Duration = Duration::from_secs(15);
/// How long a new block is waited for before the queue of orders is looked at again.
const WAIT: Duration = Duration::from_millis(500);
/// Time between two attempts after an error, and between two looks of an indexer that stands by.
const PAUSE: Duration = Duration::from_millis(500);
/// Differences up to this are only the age of a block, seconds.
const CLOCK_NOISE: i64 = 5;

/// What the worker knows, for the API.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// The last block read.
    pub head: Option<Head>,
    /// The wallet's address is the configuration's; this is its account.
    pub wallet: Option<crate::wallet_view::WalletView>,
    /// Wallet messages under way.
    pub pending: u32,
    /// What protocol time adds to wall time, seconds; unknown until a fresh block was seen.
    pub offset: Option<i64>,
}

/// See [`crate::run`].
pub struct Worker {
    pub id: String,
    pub pool: Pool,
    pub client: Arc<Client>,
    pub scanner: Scanner,
    pub channels: Channels,
    pub sender: Sender,
    pub trust: Memory,
    pub metrics: Metrics,
    pub gate: Gate,
    pub view: watch::Sender<View>,
    pub first_block: Option<u32>,
    pub settable_clock: bool,
}

impl Worker {
    /// Works until told to stop; then gives the lead up.
    pub async fn run(mut self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            match self.turn().await {
                Ok(true) => {}
                Ok(false) => pause(&stop).await,
                Err(error) => {
                    warn!(error = format!("{error:#}"), "the chain cannot be followed now");
                    self.gate.close(format!("the chain: {error:#}"));
                    pause(&stop).await;
                }
            }
        }
        match self.pool.get().await {
            Ok(client) => {
                if let Err(error) = chain::stand_down(&client, &self.id).await {
                    warn!(%error, "the lead was not given up");
                }
            }
            Err(error) => warn!(%error, "the lead was not given up"),
        }
    }

    /// One round: a stretch of blocks, and the wallet when nothing is left to read. `false` while another indexer leads.
    async fn turn(&mut self) -> anyhow::Result<bool> {
        let Some(cursor) = chain::lead(&self.pool.get().await?, &self.id, LEASE).await? else {
            // It serves what the other one writes.
            self.gate.open();
            return Ok(false);
        };
        let client = self.client.clone();
        if cursor.seqno == 0
            && let Some(start) = self.start(&client).await?
        {
            info!(block = start, "begins to read the chain behind this masterchain block");
            chain::advance(&mut self.pool.get().await?, cursor, start, &Progress::default()).await?;
            return Ok(true);
        }
        let newest = self.newest(&client, cursor).await;
        self.metrics.lite_servers(&client.servers());
        let newest = newest?;
        self.trust.keep(&self.pool, cursor, client.trusted()).await?;
        let to = newest.min(cursor.seqno.saturating_add(BATCH));
        let cursor = self.read(&client, cursor, to).await?;
        self.metrics.block.set(to.into());
        self.metrics.lag.set((newest - to).into());
        let head = self.scanner.head(&client, to).await?;
        let (true, Some(head)) = (to == newest, head) else {
            if newest - to > BATCH {
                self.gate.close("the chain to be read up to its head");
            }
            return Ok(true);
        };
        let report = self.sender.step(&client, cursor, &head).await?;
        self.show(head, report);
        self.gate.open();
        Ok(true)
    }

    /// Behind which block a new database begins; `None` for the very first.
    async fn start(&self, client: &Client) -> anyhow::Result<Option<u32>> {
        let start = match self.first_block {
            Some(first) => first - 1,
            None => client.masterchain_info().await?.last.seqno,
        };
        Ok((start > 0).then_some(start))
    }

    /// The newest masterchain block, waiting a little for one behind the cursor.
    async fn newest(&self, client: &Client, cursor: Cursor) -> anyhow::Result<u32> {
        match client.wait_masterchain_seqno(cursor.seqno + 1, WAIT).await {
            Ok(info) => Ok(info.last.seqno),
            Err(error) if error.server_code() == Some(liteapi::code::TIMEOUT) => Ok(cursor.seqno),
            Err(error) => Err(error).context("the newest block"),
        }
    }

    /// Reads up to a block and writes what was seen, in one transaction with the cursor.
    async fn read(&mut self, client: &Arc<Client>, cursor: Cursor, to: u32) -> anyhow::Result<Cursor> {
        if to == cursor.seqno {
            return Ok(cursor);
        }
        let stretches = self.scanner.read(client, cursor.seqno, to).await?;
        let newest = stretches.last().context("an empty stretch")?.head.id;
        let mut progress = Progress::default();
        for stretch in &stretches {
            self.channels.read(client, stretch, &newest, &mut progress).await?;
        }
        let unknown = chain::advance(&mut self.pool.get().await?, cursor, to, &progress).await?;
        for address in unknown {
            warn!(channel = %ton::Address::basechain(address), "a contract names this node as a side, but the node has no such channel");
        }
        self.metrics.events.inc_by(progress.tasks.len() as u64);
        self.metrics.channels.set(self.channels.count() as i64);
        Ok(Cursor { seqno: to, ..cursor })
    }

    fn show(&mut self, head: Head, report: Report) {
        self.metrics.balance.set(i64::try_from(report.wallet.balance).unwrap_or(i64::MAX));
        self.view.send_modify(|view| {
            let fresh = view.head.as_ref().is_some_and(|old| old.id.seqno < head.id.seqno);
            if !self.settable_clock {
                view.offset = Some(0);
            } else if fresh {
                view.offset = Some(follow_clock(view.offset.unwrap_or(0), i64::from(head.time) - wall_clock()));
            }
            view.head = Some(head);
            view.wallet = Some(report.wallet);
            view.pending = report.pending;
        });
    }
}

/// The offset that stays, or that the clock was set to.
fn follow_clock(known: i64, seen: i64) -> i64 {
    if (seen - known).abs() <= CLOCK_NOISE { known } else { seen }
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}

/// Unix seconds.
fn wall_clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs().cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_block_does_not_move_the_clock() {
        assert_eq!(follow_clock(0, -CLOCK_NOISE), 0);
        assert_eq!(follow_clock(0, 86_399), 86_399);
        assert_eq!(follow_clock(86_399, 86_400), 86_399);
        assert_eq!(follow_clock(86_399, 90_000), 90_000);
    }
}
