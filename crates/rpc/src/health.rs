//! Health: alive from the start, ready while every gate is open.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::watch;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::{Health as HealthService, HealthServer};

use crate::Connection;

/// gRPC health service name: the process works.
pub const LIVENESS: &str = "liveness";
/// gRPC health service name: the process has all that it needs to serve calls. Also answered under the empty name.
pub const READINESS: &str = "readiness";

/// The health of one process: a set of named gates, each something that the process waits for. Clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    gates: Mutex<BTreeMap<&'static str, Option<String>>>,
    ready: watch::Sender<bool>,
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Without gates: ready.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { gates: Mutex::default(), ready: watch::Sender::new(true) }) }
    }

    /// Adds a gate, closed, saying what it waits for.
    pub fn gate(&self, name: &'static str, waits_for: impl Into<String>) -> Gate {
        let gate = Gate { health: self.clone(), name };
        gate.close(waits_for);
        gate
    }

    /// All gates are open.
    pub fn is_ready(&self) -> bool {
        *self.shared.ready.borrow()
    }

    /// Closed gates and what they wait for, as text for people; empty when ready.
    pub fn waiting_for(&self) -> String {
        let gates = self.lock();
        let closed = gates.iter().filter_map(|(name, reason)| Some(format!("{name}: {}", reason.as_deref()?)));
        closed.collect::<Vec<_>>().join("; ")
    }

    /// Changes of readiness.
    pub fn subscribe(&self) -> watch::Receiver<bool> {
        self.shared.ready.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<&'static str, Option<String>>> {
        self.shared.gates.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, name: &'static str, reason: Option<String>) {
        let mut gates = self.lock();
        if gates.get(name) == Some(&reason) {
            return;
        }
        match &reason {
            Some(reason) => tracing::info!(gate = name, reason, "waiting"),
            None => tracing::info!(gate = name, "ready"),
        }
        gates.insert(name, reason);
        let ready = gates.values().all(Option::is_none);
        self.shared.ready.send_if_modified(|old| std::mem::replace(old, ready) != ready);
    }

    /// The gRPC health service; a task keeps it up to date until the process's last `Health` is gone.
    pub(crate) async fn grpc_service(&self) -> HealthServer<impl HealthService> {
        let (reporter, service) = tonic_health::server::health_reporter();
        let mut ready = self.subscribe();
        reporter.set_service_status(LIVENESS, tonic_health::ServingStatus::Serving).await;
        let first = *ready.borrow_and_update();
        report(&reporter, first).await;
        tokio::spawn(async move {
            while ready.changed().await.is_ok() {
                let now = *ready.borrow_and_update();
                report(&reporter, now).await;
            }
        });
        service
    }
}

/// Whether the service behind a connection is ready, by its own word.
///
/// # Errors
/// It does not answer.
pub async fn is_ready(connection: Connection) -> Result<bool, tonic::Status> {
    let request = HealthCheckRequest { service: READINESS.into() };
    let answer = HealthClient::new(connection).check(request).await?.into_inner();
    Ok(answer.status() == ServingStatus::Serving)
}

async fn report(reporter: &tonic_health::server::HealthReporter, ready: bool) {
    let status = if ready { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    reporter.set_service_status(READINESS, status).await;
    reporter.set_service_status("", status).await;
}

/// One thing that readiness depends on.
#[derive(Clone, Debug)]
pub struct Gate {
    health: Health,
    name: &'static str,
}

impl Gate {
    /// It is there.
    pub fn open(&self) {
        self.health.set(self.name, None);
    }

    /// It is missing; says what is waited for. Logged when it changes.
    pub fn close(&self, waits_for: impl Into<String>) {
        self.health.set(self.name, Some(waits_for.into()));
    }
}
