//! What is counted.

use std::sync::atomic::AtomicI64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

/// An outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    result: &'static str,
}

/// The planner's metrics, `causeway_planner_...`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    routes: Family<Outcome, Counter>,
    terms: Family<Outcome, Counter>,
    channels: Gauge<i64, AtomicI64>,
}

impl Metrics {
    pub fn register(metrics: &rpc::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("planner");
            registry.register("routes", "Routes asked for, by outcome", own.routes.clone());
            registry.register("terms_queries", "Nodes asked for their terms, by outcome", own.terms.clone());
            registry.register("channels", "Open channels in the graph", own.channels.clone());
        });
        own
    }

    pub fn route(&self, result: &'static str) {
        self.routes.get_or_create(&Outcome { result }).inc();
    }

    pub fn terms(&self, result: &'static str) {
        self.terms.get_or_create(&Outcome { result }).inc();
    }

    pub fn channels(&self, number: usize) {
        self.channels.set(i64::try_from(number).unwrap_or(i64::MAX));
    }
}
