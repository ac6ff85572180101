//! What is counted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use adnl::Stats;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio_util::sync::CancellationToken;

use crate::gateway::Gateway;

/// How often the endpoints are asked what they counted.
const EVERY: Duration = Duration::from_secs(5);

/// A reason or an outcome.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Result {
    result: &'static str,
}

/// A kind of datagram at one of our UDP ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Datagram {
    port: &'static str,
    kind: &'static str,
}

/// The gateway's metrics, `causeway_gateway_...`. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    pub sessions: Gauge,
    pub engines: Gauge,
    /// Peers that engines want connected.
    pub wanted: Gauge,
    /// Queries of peers that wait for an engine's stream.
    pub waiting_queries: Gauge,
    /// Queries and answers of engines that did not own the peer's shard.
    pub fenced: Counter,
    /// Queries of peers: passed, answered here, or why dropped.
    incoming: Family<Result, Counter>,
    /// Queries of engines by outcome.
    outgoing: Family<Result, Counter>,
    /// Rounds of keeping wanted peers connected.
    kept: Family<Result, Counter>,
    /// Authentications that we began, or answered, by outcome.
    authentications: Family<Result, Counter>,
    /// What the UDP ports of peers and DHT node saw.
    datagrams: Family<Datagram, Counter>,
}

impl Metrics {
    pub fn register(metrics: &rpc::Metrics) -> Self {
        let own = Self::default();
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("gateway");
            registry.register("sessions", "Authenticated peers", own.sessions.clone());
            registry.register("engines", "Attached engines", own.engines.clone());
            registry.register("wanted_peers", "Peers that engines want connected", own.wanted.clone());
            registry.register(
                "waiting_queries",
                "Queries of peers that wait for an engine's stream",
                own.waiting_queries.clone(),
            );
            registry.register("keeping", "Rounds of keeping wanted peers connected, by outcome", own.kept.clone());
            registry.register("fenced", "Dropped queries and answers of former owners of a shard", own.fenced.clone());
            registry.register("incoming_queries", "Queries of peers", own.incoming.clone());
            registry.register("outgoing_queries", "Queries of engines to peers", own.outgoing.clone());
            registry.register("authentications", "Authentications", own.authentications.clone());
            registry.register("datagrams", "Datagrams by port and kind", own.datagrams.clone());
        });
        own
    }

    pub fn incoming(&self, result: &'static str) {
        self.incoming.get_or_create(&Result { result }).inc();
    }

    pub fn outgoing(&self, result: &'static str) {
        self.outgoing.get_or_create(&Result { result }).inc();
    }

    pub fn kept(&self, result: &'static str) {
        self.kept.get_or_create(&Result { result }).inc();
    }

    pub fn authentication(&self, result: &'static str) {
        self.authentications.get_or_create(&Result { result }).inc();
    }

    /// Takes over what an endpoint has counted since its start.
    fn counted(&self, port: &'static str, stats: &Stats) {
        let kinds = [
            ("received", stats.received),
            ("repeated", stats.repeated),
            ("refused", stats.refused),
            ("opened_root", stats.opened),
            ("sent", stats.sent),
            ("sent_root", stats.sent_root),
        ];
        for (kind, count) in kinds {
            self.datagrams.get_or_create(&Datagram { port, kind }).inner().store(count, Ordering::Relaxed);
        }
    }
}

/// Follows the counters of the endpoints until stopped.
pub(crate) async fn follow_endpoints(gateway: Arc<Gateway>, stop: CancellationToken) {
    loop {
        if let Ok(stats) = gateway.endpoint.stats().await {
            gateway.metrics.counted("peers", &stats);
        }
        if let Some(node) = &gateway.dht_node
            && let Some(stats) = node.stats().await
        {
            gateway.metrics.counted("dht", &stats);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(EVERY) => {}
        }
    }
}
