//! Clients that send transfers, so many at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use anyhow::ensure;
use futures::future::try_join_all;
use rpc::engine::v1::TransferStatus;
use testnet::{Node, transfer};

use super::AMOUNT;

/// What to do.
pub struct Load<'a> {
    /// Payers and receivers, in turn.
    pub pairs: &'a [(&'a Node, &'a Node)],
    /// Transfers at a time.
    pub in_flight: usize,
    /// Transfers in all.
    pub transfers: usize,
}

/// How it went.
pub struct Done {
    took: Duration,
    times: Vec<Duration>,
}

impl Load<'_> {
    /// Sends all. A transfer that is not paid ends it.
    pub async fn run(&self) -> anyhow::Result<Done> {
        let next = AtomicUsize::new(0);
        let started = Instant::now();
        let clients = (0..self.in_flight).map(|_| self.client(&next));
        let mut times = try_join_all(clients).await?.concat();
        times.sort_unstable();
        Ok(Done { took: started.elapsed(), times })
    }

    async fn client(&self, next: &AtomicUsize) -> anyhow::Result<Vec<Duration>> {
        let mut times = Vec::new();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            if turn >= self.transfers {
                return Ok(times);
            }
            let (payer, receiver) = self.pairs[turn % self.pairs.len()];
            let started = Instant::now();
            let sent = payer.api().send_transfer(transfer(receiver, AMOUNT)).await?.into_inner();
            ensure!(sent.status() == TransferStatus::Paid, "a transfer is {:?}: {}", sent.status(), sent.failure);
            times.push(started.elapsed());
        }
    }
}

impl Done {
    /// Transfers per second.
    pub fn per_second(&self) -> f64 {
        self.times.len() as f64 / self.took.as_secs_f64()
    }

    /// Milliseconds.
    pub fn percentile(&self, percent: usize) -> f64 {
        let at = (self.times.len() * percent / 100).min(self.times.len() - 1);
        self.times[at].as_secs_f64() * 1e3
    }
}
