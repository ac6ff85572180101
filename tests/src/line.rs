//! Channels A-B and B-C between nodes of real processes, and transfers from A to C while something breaks.

use std::collections::HashSet;

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use store::Database;
use testkit::Cluster;
use testnet::{Network, Node, Plan, TON, close, open, send, transfer, until_free};
use tokio::sync::watch;

/// What A puts on A-B, and B on B-C.
const DEPOSIT: u128 = 20 * TON;
/// What each transfer brings C.
const AMOUNT: u128 = TON / 1_000;
/// Transfers under way at a time.
const IN_FLIGHT: usize = 16;

/// A running network of the nodes A, B and C with both channels, and what was paid over it so far.
#[derive(Debug)]
pub struct Line {
    /// The network.
    pub network: Network,
    /// Address of A-B.
    pub ab: String,
    /// Address of B-C.
    pub bc: String,
    moved: u128,
    fees: u128,
    _folder: tempfile::TempDir,
}

/// What a fault may work on while transfers are under way.
pub struct Scene<'a> {
    /// A, B and C.
    pub nodes: &'a [Node],
    /// Their databases' server.
    pub cluster: &'a mut Cluster,
    paid: watch::Receiver<usize>,
}

impl Scene<'_> {
    /// Waits until so many of the transfers are paid.
    pub async fn until_paid(&mut self, count: usize) {
        // The sender outlives the scene.
        let _ = self.paid.wait_for(|paid| *paid >= count).await;
    }

    /// How many are paid by now.
    pub fn paid(&self) -> usize {
        *self.paid.borrow()
    }
}

impl Line {
    /// Starts the nodes, B with so many engines and each with a key that suits ([`Plan::suits`]), and opens the channels.
    pub async fn start(engines_of_b: usize, suits: fn(&str, &[u8; 32]) -> bool) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut plan = Plan::three(&testnet::built_binaries()?, folder.path());
        (plan.nodes[1].1, plan.suits) = (engines_of_b, suits);
        if let Some(kept) = std::env::var_os("CAUSEWAY_KEEP") {
            plan.folder = kept.into();
        }
        let network = Network::start(&plan, |_| ()).await?;
        let [a, b, c] = &network.nodes[..] else { anyhow::bail!("three nodes are planned") };
        let ab = open(a, b, DEPOSIT).await?;
        let bc = open(b, c, DEPOSIT).await?;
        let mut line = Self { network, ab, bc, moved: 0, fees: 0, _folder: folder };
        // The planner has to hear of the channels.
        line.pay(1, async |_| Ok(())).await?;
        Ok(line)
    }

    /// The node in between.
    pub fn b(&self) -> &Node {
        &self.network.nodes[1]
    }

    /// Pays `count` transfers from A to C while `fault` runs, and checks that each was paid exactly once.
    pub async fn pay(
        &mut self,
        count: usize,
        fault: impl AsyncFnOnce(&mut Scene<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let Network { nodes, cluster, .. } = &mut self.network;
        let nodes = &nodes[..];
        let (paid, watched) = watch::channel(0);
        let requests: Vec<_> = (0..count).map(|_| transfer(&nodes[2], AMOUNT)).collect();
        let sent = stream::iter(&requests)
            .map(async |request| {
                let answer = send(&nodes[0], request).await?;
                paid.send_modify(|paid| *paid += 1);
                anyhow::Ok(answer)
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect::<Vec<_>>();
        let mut scene = Scene { nodes, cluster, paid: watched };
        let (answers, ()) = tokio::try_join!(sent, fault(&mut scene))?;
        let keys: HashSet<&[u8]> = answers.iter().map(|answer| &answer.virtual_key[..]).collect();
        ensure!(keys.len() == count, "{count} transfers have {} virtual channels", keys.len());
        self.moved += AMOUNT * count as u128;
        for answer in &answers {
            self.fees += answer.fee_nano.parse::<u128>()?;
        }
        self.check().await
    }

    /// Every balance, to the nano, on both sides of both channels; the databases; the chain.
    pub async fn check(&self) -> anyhow::Result<()> {
        let [a, b, c] = &self.network.nodes[..] else { anyhow::bail!("three nodes are planned") };
        let (moved, fees) = (self.moved, self.fees);
        let rows = [
            ("A on A-B", a, &self.ab, DEPOSIT - moved - fees),
            ("B on A-B", b, &self.ab, moved + fees),
            ("B on B-C", b, &self.bc, DEPOSIT - moved),
            ("C on B-C", c, &self.bc, moved),
        ];
        for (name, node, address, expected) in rows {
            until_free(node, address, expected).await.context(name)?;
        }
        for node in [a, b, c] {
            for service in node.services() {
                ensure!(service.is_running(), "{} has ended", service.name());
            }
            let findings = store::engine::audit(&database(node)?.get().await?).await?;
            ensure!(findings.is_empty(), "the audit of {} finds {findings:?}", node.name);
        }
        self.conserved()
    }

    /// All balances and all fees are all that was minted.
    pub fn conserved(&self) -> anyhow::Result<()> {
        let totals = self.network.chain.totals()?;
        ensure!(totals.minted == totals.held + totals.fees, "not conserved: {totals:?}");
        Ok(())
    }

    /// Closes both channels cooperatively.
    pub async fn close(&self) -> anyhow::Result<()> {
        close(self.b(), &self.bc).await?;
        close(&self.network.nodes[0], &self.ab).await?;
        self.conserved()
    }
}

/// A node's database.
pub fn database(node: &Node) -> anyhow::Result<store::Pool> {
    Ok(Database::new(&node.database.url, "causeway-tests")?.pool(1)?)
}
