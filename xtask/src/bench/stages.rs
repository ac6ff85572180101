//! Where the time of a proposal goes, as the engines measure it: `causeway_engine_…_seconds` before and after.

use std::{collections::HashMap, net::SocketAddr, time::Duration};

use anyhow::Context as _;
use testnet::Network;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A stage's name and its metric. The peer's answer lies within the call.
const STAGES: [(&str, &str); 4] = [
    ("commit", "causeway_engine_commit_seconds"),
    ("lock", "causeway_engine_call_seconds{query=\"lock\"}"),
    ("propose", "causeway_engine_call_seconds{query=\"propose\"}"),
    ("answer", "causeway_engine_answer_seconds"),
];
/// An engine that does not answer in this time is broken.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the stages of a node took so far.
pub struct Stages(Vec<Node>);

struct Node {
    name: &'static str,
    /// Seconds and how often, by stage.
    sums: Vec<(f64, f64)>,
}

impl Stages {
    /// What the engines say now.
    pub async fn read(network: &Network) -> anyhow::Result<Self> {
        let mut all = Vec::new();
        for node in &network.nodes {
            let mut sums = vec![(0.0, 0.0); STAGES.len()];
            for address in &node.metrics {
                let text = tokio::time::timeout(PATIENCE, get(*address)).await.context("metrics")??;
                let values: HashMap<&str, f64> = text
                    .lines()
                    .filter_map(|line| line.rsplit_once(' '))
                    .filter_map(|(k, v)| Some((k, v.parse().ok()?)))
                    .collect();
                for ((_, metric), (sum, count)) in STAGES.iter().zip(&mut sums) {
                    *sum += values.get(&*named(metric, "sum")).copied().unwrap_or(0.0);
                    *count += values.get(&*named(metric, "count")).copied().unwrap_or(0.0);
                }
            }
            all.push(Node { name: node.name, sums });
        }
        Ok(Self(all))
    }

    /// The mean of each stage since then, in a line.
    pub fn print_since(&self, before: &Self) {
        let line = |(now, then): (&Node, &Node)| {
            let means = STAGES.iter().zip(now.sums.iter().zip(&then.sums)).filter_map(|((stage, _), (now, then))| {
                let count = now.1 - then.1;
                (count > 0.0).then(|| format!("{stage} {:.2}", (now.0 - then.0) / count * 1e3))
            });
            format!("{}: {}", now.name, means.collect::<Vec<_>>().join(" "))
        };
        println!("    mean ms: {}", self.0.iter().zip(&before.0).map(line).collect::<Vec<_>>().join(", "));
    }
}

/// `name_sum{labels}`
fn named(metric: &str, what: &str) -> String {
    match metric.split_once('{') {
        Some((name, labels)) => format!("{name}_{what}{{{labels}"),
        None => format!("{metric}_{what}"),
    }
}

async fn get(address: SocketAddr) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_stay_behind_the_name() {
        assert_eq!(named("a_seconds", "sum"), "a_seconds_sum");
        assert_eq!(named("a_seconds{query=\"lock\"}", "count"), "a_seconds_count{query=\"lock\"}");
    }
}
