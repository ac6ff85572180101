//! Prometheus metrics, and health for probes that speak HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::Health;
use crate::security::TokenCheck;

/// The metrics of one process, all named `causeway_...`. Clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("causeway"))) }
    }
}

impl Metrics {
    /// Adds metrics; the prefix is put before their names. Returns what the closure returns, usually the metrics themselves.
    pub fn register<T>(&self, add: impl FnOnce(&mut Registry) -> T) -> T {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All metrics in OpenMetrics text.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        encode(&mut text, &registry).expect("writing to a string cannot fail");
        text
    }

    pub(crate) fn router(&self, health: Health, check: TokenCheck) -> Router {
        let metrics = Router::new()
            .route("/metrics", get(metrics))
            .layer(middleware::from_fn_with_state(check, require_token))
            .with_state(self.clone());
        let probes = Router::new().route("/livez", get(|| async { "ok" })).route("/readyz", get(ready)).with_state(health);
        metrics.merge(probes)
    }
}

async fn metrics(State(metrics): State<Metrics>) -> Response {
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], metrics.encode()).into_response()
}

async fn ready(State(health): State<Health>) -> Response {
    if health.is_ready() {
        return "ok".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, health.waiting_for()).into_response()
}

async fn require_token(State(check): State<TokenCheck>, request: Request, next: Next) -> Response {
    if check.allows(request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes())) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    }
}
