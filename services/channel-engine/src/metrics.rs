//! What is measured.

use prometheus_client::metrics::counter::Counter;

/// The engine's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Pokes sent to other engines and taken by them.
    pub pokes_sent: Counter,
    /// Pokes of other engines.
    pub pokes_received: Counter,
}

impl Metrics {
    /// Makes them visible.
    pub fn register(metrics: &rpc::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("engine");
            registry.register("pokes_sent", "pokes taken by other engines of the node", own.pokes_sent.clone());
            registry.register("pokes_received", "pokes of other engines of the node", own.pokes_received.clone());
        });
        own
    }
}
