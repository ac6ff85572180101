//! What is measured.

use liteapi::ServerHealth;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use store::chain::OrderEnd;

/// A lite server.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Server {
    server: String,
}

type PerServer = Family<Server, Gauge>;

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
    lite_available: PerServer,
    lite_lag: PerServer,
    lite_round_trip: PerServer,
    lite_failures: PerServer,
    lite_lies: PerServer,
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
            registry.register("lite_server_available", "1 while the lite server is asked first", own.lite_available.clone());
            registry.register(
                "lite_server_lag_blocks",
                "masterchain blocks that the lite server is behind",
                own.lite_lag.clone(),
            );
            registry.register("lite_server_round_trip_micros", "average time of an answer", own.lite_round_trip.clone());
            registry.register("lite_server_failures", "questions that the lite server did not answer", own.lite_failures.clone());
            registry.register("lite_server_lies", "answers of the lite server that did not hold", own.lite_lies.clone());
        });
        own
    }

    /// How the lite servers are doing.
    pub fn lite_servers(&self, servers: &[ServerHealth]) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        for server in servers {
            let label = Server { server: server.address.to_string() };
            self.lite_available.get_or_create(&label).set(server.available.into());
            self.lite_lag.get_or_create(&label).set(server.lag.into());
            self.lite_round_trip.get_or_create(&label).set(i64::try_from(server.round_trip.as_micros()).unwrap_or(i64::MAX));
            self.lite_failures.get_or_create(&label).set(count(server.failures));
            self.lite_lies.get_or_create(&label).set(count(server.lies));
        }
    }

    pub fn count_order(&self, end: &OrderEnd) {
        match end {
            OrderEnd::Done => drop(self.orders_done.inc()),
            OrderEnd::Failed(_) => drop(self.orders_failed.inc()),
            OrderEnd::Again => {}
        }
    }
}
