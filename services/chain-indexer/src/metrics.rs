//! What is measured.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use store::chain::OrderEnd;

/// The indexer's metrics. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Last masterchain block read.
    pub block: Gauge,
    /// Masterchain blocks known and not yet read.
    pub lag: Gauge,
    /// Channel contracts seen, anyone's.
    pub channels: Gauge,
    /// Events for the engine.
    pub events: Counter,
    /// Nanoton.
    pub balance: Gauge,
    /// Orders in no message yet.
    pub orders_queued: Gauge,
    /// Orders that the wallet cannot pay for.
    pub orders_unaffordable: Gauge,
    orders_done: Counter,
    orders_failed: Counter,
}

impl Metrics {
    /// Makes them visible.
    pub fn new(metrics: &rpc::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            registry.register("chain_block", "last masterchain block read", own.block.clone());
            registry.register("chain_lag_blocks", "masterchain blocks known and not yet read", own.lag.clone());
            registry.register("chain_channels", "channel contracts seen, anyone's", own.channels.clone());
            registry.register("chain_events", "events for the engine", own.events.clone());
            registry.register("wallet_balance_nano", "balance of the wallet, nanoton", own.balance.clone());
            registry.register("wallet_orders_queued", "orders in no message yet", own.orders_queued.clone());
            registry.register("wallet_orders_unaffordable", "orders that wait for money", own.orders_unaffordable.clone());
            registry.register("wallet_orders_done", "orders whose effect was seen", own.orders_done.clone());
            registry.register("wallet_orders_failed", "orders that failed", own.orders_failed.clone());
        });
        own
    }

    pub fn count_order(&self, end: &OrderEnd) {
        match end {
            OrderEnd::Done => drop(self.orders_done.inc()),
            OrderEnd::Failed(_) => drop(self.orders_failed.inc()),
            OrderEnd::Again => {}
        }
    }
}
