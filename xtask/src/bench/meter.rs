//! What a number of transfers cost, by node and service.

use std::time::Duration;

use testkit::cpu_time;
use testnet::Network;

/// Processor time and commits so far.
pub struct Meter {
    time: Vec<(String, Duration)>,
    commits: Vec<(String, i64)>,
}

/// Per transfer.
pub struct Cost {
    /// Milliseconds.
    time: Vec<(String, f64)>,
    /// Durable batches of changes.
    commits: Vec<(String, f64)>,
}

impl Meter {
    /// Starts now.
    pub async fn start(network: &Network) -> anyhow::Result<Self> {
        Ok(Self { commits: commits(network).await?, time: read(network) })
    }

    /// The difference, for each of so many transfers.
    pub async fn stop(&self, network: &Network, transfers: usize) -> anyhow::Result<Cost> {
        let each = |((name, now), (_, then)): ((String, Duration), &(String, Duration))| {
            (name, now.saturating_sub(*then).as_secs_f64() * 1e3 / transfers as f64)
        };
        let time = read(network).into_iter().zip(&self.time).map(each).collect();
        let each = |((name, now), (_, then)): ((String, i64), &(String, i64))| (name, (now - then) as f64 / transfers as f64);
        let commits = commits(network).await?.into_iter().zip(&self.commits).map(each).collect();
        Ok(Cost { time, commits })
    }
}

impl Cost {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.time.iter().map(|(_, ms)| ms).sum()
    }

    /// The parts that count, in a line.
    pub fn print(&self) {
        let parts: Vec<String> =
            self.time.iter().filter(|(_, ms)| *ms >= 0.05).map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        let commits: Vec<String> = self.commits.iter().map(|(name, count)| format!("{name} {count:.1}")).collect();
        println!("    CPU ms: {}; commits: {}", parts.join(", "), commits.join(", "));
    }
}

/// Every commit of changes is one row of the journal.
async fn commits(network: &Network) -> anyhow::Result<Vec<(String, i64)>> {
    let mut all = Vec::new();
    for node in &network.nodes {
        let count = network.cluster.number(&node.database, "SELECT last_value FROM engine.journal_seq_seq").await?;
        all.push((node.name.to_owned(), count));
    }
    Ok(all)
}

fn read(network: &Network) -> Vec<(String, Duration)> {
    let services = network.nodes.iter().flat_map(|node| node.services());
    let mut all: Vec<_> = services.map(|s| (s.name().to_owned(), s.id().map_or(Duration::ZERO, cpu_time))).collect();
    all.push(("postgres".into(), network.cluster.server_id().map_or(Duration::ZERO, cpu_time)));
    all
}
