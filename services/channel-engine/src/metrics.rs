//! What is measured. Counting costs a few nanoseconds; what must be added up is added up once a second.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
};
use protocol::RequestResult;
use store::Verdict;

use crate::context::Context;

/// How often gauges are set.
const LOOK: Duration = Duration::from_secs(1);

/// Label `result`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// Label `query`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Query {
    query: &'static str,
}

/// The engine's metrics. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Events that channels have taken.
    pub steps: Counter,
    /// Pokes sent to other engines and taken by them.
    pub pokes_sent: Counter,
    /// Pokes of other engines.
    pub pokes_received: Counter,
    commits: Family<Outcome, Counter>,
    commit_seconds: Histogram,
    call_seconds: Family<Query, Histogram>,
    answer_seconds: Histogram,
    batches: Counter,
    changes: Counter,
    payments: Family<Outcome, Counter>,
    shards: Gauge,
    conditionals: Gauge,
    tasks: Gauge,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(metrics: &rpc::Metrics) -> Self {
        let own = Self {
            steps: Counter::default(),
            pokes_sent: Counter::default(),
            pokes_received: Counter::default(),
            commits: Family::default(),
            commit_seconds: seconds(),
            call_seconds: Family::new_with_constructor(seconds),
            answer_seconds: seconds(),
            batches: Counter::default(),
            changes: Counter::default(),
            payments: Family::default(),
            shards: Gauge::default(),
            conditionals: Gauge::default(),
            tasks: Gauge::default(),
        };
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("engine");
            registry.register("steps", "Events that channels have taken", own.steps.clone());
            registry.register("commits", "Changes of channels, by verdict", own.commits.clone());
            registry.register("commit_seconds", "From a step to the verdict over its commit", own.commit_seconds.clone());
            registry.register("call_seconds", "From a query to a peer to its answer", own.call_seconds.clone());
            registry.register(
                "answer_seconds",
                "From a peer's query to our answer, its commit included",
                own.answer_seconds.clone(),
            );
            registry.register("batches", "Groups of changes that were committed together", own.batches.clone());
            registry.register("batched_changes", "Changes in these groups", own.changes.clone());
            registry.register("payments", "Payments of this node's own, by what they came to", own.payments.clone());
            registry.register("shards", "Shards that this engine owns", own.shards.clone());
            registry.register(
                "open_conditionals",
                "Open conditionals in the channels of these, both sides",
                own.conditionals.clone(),
            );
            registry.register("tasks", "Tasks handed to channels and not applied yet", own.tasks.clone());
            registry.register("pokes_sent", "Pokes taken by other engines of the node", own.pokes_sent.clone());
            registry.register("pokes_received", "Pokes of other engines of the node", own.pokes_received.clone());
        });
        own
    }

    /// The verdict over what a step has written.
    pub fn commit(&self, begun: Instant, verdict: &Verdict) {
        let result = match verdict {
            Verdict::Applied => "applied",
            Verdict::NotOwner => "not_owner",
            Verdict::Stale => "stale",
            Verdict::UsedKey(_) => "used_key",
            Verdict::KnownRequest => "known_request",
            Verdict::TaskGone => "task_gone",
            Verdict::Refused(_) => "refused",
        };
        self.commits.get_or_create(&Outcome { result }).inc();
        self.commit_seconds.observe(begun.elapsed().as_secs_f64());
    }

    /// A query to a peer was answered, or given up.
    pub fn call(&self, query: &'static str, begun: Instant) {
        self.call_seconds.get_or_create(&Query { query }).observe(begun.elapsed().as_secs_f64());
    }

    /// A query of a peer was answered.
    pub fn answer(&self, begun: Instant) {
        self.answer_seconds.observe(begun.elapsed().as_secs_f64());
    }

    /// What became of a payment, committed.
    pub fn payment(&self, result: &RequestResult) {
        let result = match result {
            RequestResult::Opened => "opened",
            RequestResult::Paid { .. } => "paid",
            RequestResult::Failed { .. } => "failed",
        };
        self.payments.get_or_create(&Outcome { result }).inc();
    }
}

/// 0.25 ms to 8 s.
fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_25, 2.0, 16))
}

/// Sets what is added up, until the engine stops.
pub async fn keep(ctx: Arc<Context>) {
    let count = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    loop {
        let (metrics, batches) = (&ctx.metrics, ctx.committer.batches());
        metrics.batches.inner().store(batches.batches, Ordering::Relaxed);
        metrics.changes.inner().store(batches.changes, Ordering::Relaxed);
        metrics.shards.set(count(ctx.registry.shards().len()));
        metrics.conditionals.set(count(ctx.hints.conditionals(|peer| ctx.owns(peer))));
        metrics.tasks.set(count(ctx.tasks.under_way()));
        tokio::select! {
            () = ctx.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}
