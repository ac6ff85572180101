//! What an operator must see: alarms, and that the guard looks.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use sspc::Risk;

/// Label `risk`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    risk: &'static str,
}

/// The node's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    alarms: Family<Kind, Counter>,
    looks: Counter,
    failed_looks: Counter,
}

impl Watched {
    /// Adds them to those of the process.
    pub fn register(&self, metrics: &rpc::Metrics) {
        metrics.register(|registry| {
            registry.register("sspc_alarms", "Alarms of channels, again with each look while they last", self.alarms.clone());
            registry.register("sspc_looks", "Looks of the guard at a channel", self.looks.clone());
            registry.register("sspc_failed_looks", "Looks that have failed and will be repeated", self.failed_looks.clone());
        });
    }

    pub(crate) fn alarm(&self, risk: &Risk) {
        self.alarms.get_or_create(&Kind { risk: risk.name() }).inc();
    }

    pub(crate) fn look(&self, failed: bool) {
        self.looks.inc();
        if failed {
            self.failed_looks.inc();
        }
    }
}
