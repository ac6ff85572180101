//! Everything of a node's database that a request may change, to be compared before and after.

use std::{collections::BTreeMap, time::Duration};

use store::Pool;

/// Tables that a command or a peer can change. The rest is the cluster's own business: leases, owners, committers.
const TABLES: [&str; 11] = [
    "engine.channel",
    "engine.conditional",
    "engine.signed_body",
    "engine.peer_state",
    "engine.virtual_key",
    "engine.leg",
    "engine.task",
    "engine.request",
    "engine.cluster",
    "chain.wallet_order",
    "chain.wallet_message",
];
/// Quiet for so long counts as quiet.
const QUIET: Duration = Duration::from_millis(400);

/// The rows of one node as text, by table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rows(BTreeMap<&'static str, Vec<String>>);

impl Rows {
    /// What is there now.
    pub async fn read(pool: &Pool) -> anyhow::Result<Self> {
        let client = pool.get().await?;
        store::engine::fold(&client).await?;
        let mut tables = BTreeMap::new();
        for table in TABLES {
            // A channel's version also counts the commits that change nothing else.
            let rows = client.query(&format!("SELECT (to_jsonb(t) - 'version')::text FROM {table} t ORDER BY 1"), &[]).await?;
            tables.insert(table, rows.iter().map(|row| row.get(0)).collect());
        }
        Ok(Self(tables))
    }

    /// What is there once no task waits and nothing changes any more.
    pub async fn settled(pool: &Pool) -> anyhow::Result<Self> {
        let mut last = Self::read(pool).await?;
        for _ in 0..100 {
            tokio::time::sleep(QUIET).await;
            let now = Self::read(pool).await?;
            if now == last && now.0["engine.task"].is_empty() {
                return Ok(now);
            }
            last = now;
        }
        anyhow::bail!("the node does not come to rest: {:?}", last.0["engine.task"])
    }

    /// What differs, for the message of a failing test.
    pub fn difference(&self, later: &Self) -> Vec<String> {
        let mut out = Vec::new();
        for table in TABLES {
            let (before, after) = (&self.0[table], &later.0[table]);
            out.extend(before.iter().filter(|row| !after.contains(row)).map(|row| format!("- {table} {row}")));
            out.extend(after.iter().filter(|row| !before.contains(row)).map(|row| format!("+ {table} {row}")));
        }
        out
    }
}
