//! Keeps what is in memory up with the database.

use std::time::Duration;

use protocol::Key;
use tokio_util::sync::CancellationToken;

use crate::lock;
use crate::planner::Planner;

/// How often the graph is read on.
const GRAPH: Duration = Duration::from_secs(1);
/// How many times the graph is read on between two readings of terms and attempts, which other planners of the node may have learnt.
const LEARNT: u32 = 30;

impl Planner {
    /// Reads on what changed on the chain since the last time.
    pub async fn read_graph(&self) -> Result<(), store::Error> {
        let client = self.pool.get().await?;
        // The cursor first: what changes meanwhile is read again the next time, and never missed.
        let head = store::chain::block(&client).await?;
        let known = lock(&self.graph).block;
        let accounts = store::chain::accounts_since(&client, known).await?;
        let mut graph = lock(&self.graph);
        accounts.iter().for_each(|account| graph.apply(account));
        graph.block = graph.block.max(head);
        self.metrics.channels(graph.len());
        Ok(())
    }

    /// Reads what planners of this node have learnt.
    pub async fn read_learnt(&self) -> Result<(), store::Error> {
        let client = self.pool.get().await?;
        let terms = store::route::terms(&client).await?;
        let attempts = store::route::attempts(&client).await?;
        lock(&self.graph).learn(attempts);
        let mut book = lock(&self.book);
        terms.into_iter().for_each(|terms| book.tell(terms));
        Ok(())
    }

    /// Reads until told to stop. `gate` opens with the first success and closes with a failure.
    pub async fn keep_reading(&self, gate: &rpc::Gate, stop: &CancellationToken) {
        let mut turn: u32 = 0;
        while !stop.is_cancelled() {
            let read = async {
                self.read_graph().await?;
                if turn.is_multiple_of(LEARNT) { self.read_learnt().await } else { Ok(()) }
            };
            match read.await {
                Ok(()) => {
                    gate.open();
                    turn = turn.wrapping_add(1);
                }
                Err(error) => gate.close(format!("the database: {error}")),
            }
            tokio::select! {
                () = tokio::time::sleep(GRAPH) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// What is known of the nodes of the graph, by key, beginning behind `after`.
    pub fn nodes(&self, after: Option<&Key>, limit: usize) -> Vec<(Key, u32, Option<store::route::Terms>)> {
        let nodes = lock(&self.graph).nodes();
        let book = lock(&self.book);
        let behind = nodes.into_iter().filter(|(key, _)| after.is_none_or(|after| key > after)).take(limit);
        behind.map(|(key, channels)| (key, channels, book.last(&key).cloned())).collect()
    }
}
