//! Askers that ask without a pause, so many at a time.

use adnl::Endpoint;
use adnl::keys::AdnlId;
use bytes::Bytes;
use rldp::Rldp;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(10);
const MAX_ANSWER: usize = 65_536;

#[derive(Clone)]
pub enum Way {
    Adnl(Endpoint),
    Rldp(Rldp),
}

pub struct Load {
    pub way: Way,
    pub peer: AdnlId,
    pub size: usize,
    pub in_flight: usize,
    /// Process of the peer.
    pub answerer: u32,
}

/// How it went.
#[derive(Default)]
pub struct Times {
    pub took: Duration,
    /// Sorted.
    pub times: Vec<Duration>,
    /// Processor time of asker and answerer.
    pub cpu: [Duration; 2],
}

impl Load {
    pub async fn run(&self, warm_up: Duration, row: Duration) -> Times {
        self.ask(warm_up).await;
        let processes = [std::process::id(), self.answerer];
        let (before, start) = (processes.map(cpu_time), Instant::now());
        let mut times = self.ask(row).await;
        let took = start.elapsed();
        times.sort_unstable();
        let after = processes.map(cpu_time);
        Times { took, times, cpu: [0, 1].map(|i| after[i].saturating_sub(before[i])) }
    }

    async fn ask(&self, span: Duration) -> Vec<Duration> {
        let start = Instant::now();
        let askers: Vec<_> = (0..self.in_flight)
            .map(|_| {
                let (way, peer, data) = (self.way.clone(), self.peer, Bytes::from(vec![7; self.size]));
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while start.elapsed() < span {
                        let begin = Instant::now();
                        match &way {
                            Way::Adnl(endpoint) => drop(endpoint.query(peer, data.clone(), TIMEOUT).await.expect("answered")),
                            Way::Rldp(rldp) => drop(rldp.query(peer, data.clone(), MAX_ANSWER, TIMEOUT).await.expect("answered")),
                        }
                        times.push(begin.elapsed());
                    }
                    times
                })
            })
            .collect();
        let mut times = Vec::new();
        for asker in askers {
            times.extend(asker.await.expect("no asker panics"));
        }
        times
    }
}

impl Times {
    /// Another span of the same load.
    pub fn add(&mut self, other: Self) {
        self.took += other.took;
        self.times.extend(other.times);
        self.times.sort_unstable();
        self.cpu = [0, 1].map(|i| self.cpu[i] + other.cpu[i]);
    }

    /// Microseconds.
    pub fn percentile(&self, percent: f64) -> f64 {
        let at = (self.times.len() as f64 * percent / 100.0) as usize;
        self.times.get(at.min(self.times.len().saturating_sub(1))).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    }

    pub fn print(&self, name: &str) {
        let rate = self.times.len() as f64 / self.took.as_secs_f64();
        let [asker, answerer] = self.cpu.map(|cpu| cpu.as_secs_f64() * 1e6 / self.times.len().max(1) as f64);
        let [p50, p99] = [50.0, 99.0].map(|percent| self.percentile(percent));
        println!("{name:<38} {rate:>9.0} {p50:>8.0} {p99:>8.0} {asker:>10.1} {answerer:>10.1}");
    }
}

/// Processor time of a process's main thread, which is its only busy one.
pub fn cpu_time(process: u32) -> Duration {
    let schedstat = std::fs::read_to_string(format!("/proc/{process}/schedstat")).unwrap_or_default();
    let nanos = schedstat.split_whitespace().next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}
