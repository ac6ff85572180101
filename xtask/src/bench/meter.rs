//! What a number of transfers cost, by node and service.

use std::time::Duration;

use testkit::cpu_time;
use testnet::Network;

/// Processor time so far.
pub struct Meter(Vec<(String, Duration)>);

/// Milliseconds per transfer.
pub struct Cost(Vec<(String, f64)>);

impl Meter {
    /// Starts now.
    pub fn start(network: &Network) -> Self {
        Self(read(network))
    }

    /// The difference, for each of so many transfers.
    pub fn stop(&self, network: &Network, transfers: usize) -> Cost {
        let each = |((name, now), (_, then)): ((String, Duration), &(String, Duration))| {
            (name, now.saturating_sub(*then).as_secs_f64() * 1e3 / transfers as f64)
        };
        Cost(read(network).into_iter().zip(&self.0).map(each).collect())
    }
}

impl Cost {
    /// All of it.
    pub fn total(&self) -> f64 {
        self.0.iter().map(|(_, ms)| ms).sum()
    }

    /// The parts that count, in a line.
    pub fn print(&self) {
        let parts: Vec<String> =
            self.0.iter().filter(|(_, ms)| *ms >= 0.05).map(|(name, ms)| format!("{name} {ms:.2}")).collect();
        println!("    CPU ms: {}", parts.join(", "));
    }
}

fn read(network: &Network) -> Vec<(String, Duration)> {
    let services = network.nodes.iter().flat_map(|node| node.services());
    let mut all: Vec<_> = services.map(|s| (s.name().to_owned(), s.id().map_or(Duration::ZERO, cpu_time))).collect();
    all.push(("postgres".into(), network.cluster.server_id().map_or(Duration::ZERO, cpu_time)));
    all
}
