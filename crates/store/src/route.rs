//! The route planner's rows: other nodes' terms, and what attempts taught.

use std::time::SystemTime;

use deadpool_postgres::GenericClient;
use protocol::{Address, Key};

use crate::{Error, codec, value::Nano};

/// A node's terms for passing virtual channels on, as its `channelConfig` said.
#[derive(Debug, Clone, PartialEq)]
pub struct Terms {
    /// The node's channel key.
    pub node: Key,
    /// Whether it passes any on.
    pub allowed: bool,
    /// Nano.
    pub min_fee: u128,
    /// Percent of the amount: 0.5 is 0.5 %.
    pub percent: f64,
    /// Nano.
    pub max_capacity: u128,
    /// When it said so.
    pub asked_at: SystemTime,
}

/// What is known of a channel in one direction from payments that went, or did not go, through it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// The channel.
    pub channel: Address,
    /// Which side paid.
    pub payer: Key,
    /// The amount that passed last, nano.
    pub passed: Option<u128>,
    /// The smallest amount that failed since, nano.
    pub failed: Option<u128>,
    /// Failures since one passed.
    pub failures: u32,
    /// The last attempt.
    pub at: SystemTime,
}

/// Keeps a node's newest terms.
pub async fn learn_terms(client: &impl GenericClient, terms: &Terms) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO route.terms AS t (node, allowed, min_fee, percent, max_capacity, asked_at) VALUES ($1, $2, $3, $4, $5, $6) \
             ON CONFLICT (node) DO UPDATE SET allowed = excluded.allowed, min_fee = excluded.min_fee, percent = excluded.percent, \
                 max_capacity = excluded.max_capacity, asked_at = excluded.asked_at WHERE t.asked_at <= excluded.asked_at",
        )
        .await?;
    let (min_fee, max_capacity) = (Nano(terms.min_fee), Nano(terms.max_capacity));
    let node = terms.node.as_slice();
    client.execute(&statement, &[&node, &terms.allowed, &min_fee, &terms.percent, &max_capacity, &terms.asked_at]).await?;
    Ok(())
}

/// All known terms.
pub async fn terms(client: &impl GenericClient) -> Result<Vec<Terms>, Error> {
    let rows = client.query("SELECT * FROM route.terms", &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Terms {
                node: codec::bytes(row, "node")?,
                allowed: row.try_get("allowed")?,
                min_fee: codec::nano(row, "min_fee")?,
                percent: row.try_get("percent")?,
                max_capacity: codec::nano(row, "max_capacity")?,
                asked_at: row.try_get("asked_at")?,
            })
        })
        .collect()
}

/// An amount (nano) went through a channel from `payer`, or did not.
pub async fn learn_attempt(
    client: &impl GenericClient,
    channel: &Address,
    payer: &Key,
    amount: u128,
    passed: bool,
) -> Result<(), Error> {
    let statement = client
        .prepare_cached(
            "INSERT INTO route.attempt AS a (channel, payer, passed, failed, failures) \
             VALUES ($1, $2, CASE WHEN $4 THEN $3::numeric END, CASE WHEN NOT $4 THEN $3::numeric END, (NOT $4)::int) \
             ON CONFLICT (channel, payer) DO UPDATE SET at = now(), \
                 passed = CASE WHEN $4 THEN $3::numeric ELSE a.passed END, \
                 failed = CASE WHEN $4 THEN NULL ELSE least(a.failed, $3::numeric) END, \
                 failures = CASE WHEN $4 THEN 0 ELSE a.failures + 1 END",
        )
        .await?;
    client.execute(&statement, &[&channel.as_slice(), &payer.as_slice(), &Nano(amount), &passed]).await?;
    Ok(())
}

/// Everything that attempts taught.
pub async fn attempts(client: &impl GenericClient) -> Result<Vec<Attempt>, Error> {
    let rows = client.query("SELECT * FROM route.attempt", &[]).await?;
    rows.iter()
        .map(|row| {
            Ok(Attempt {
                channel: codec::bytes(row, "channel")?,
                payer: codec::bytes(row, "payer")?,
                passed: codec::maybe_nano(row, "passed")?,
                failed: codec::maybe_nano(row, "failed")?,
                failures: codec::number(row.try_get::<_, i32>("failures")?.into(), "failures")?,
                at: row.try_get("at")?,
            })
        })
        .collect()
}
