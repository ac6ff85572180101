//! What every service shares at its edges: the generated protobuf code, servers and clients with transport security, health,
//! errors, configuration, logs, traces and metrics.
//!
//! Not here: what a call does. Handlers live in the services, decisions about money in `protocol`.
//!
//! Invariants:
//! - without TLS *and* a token a server binds to loopback only; any other address is refused at start ([`ServerConfig::validate`]);
//! - a client sends its token over TLS or to loopback only;
//! - a token is compared in constant time and appears in no log, error or `Debug` text;
//! - each error that leaves a service is an [`Error`] with an [`ErrorCode`]; a client gets the same value back from the status;
//! - unknown configuration fields are refused, and each refusal names the field and the rule.

mod client;
pub mod config;
mod error;
mod error_code;
mod health;
mod in_process;
mod metrics;
mod proto;
mod security;
mod server;
mod shutdown;
mod telemetry;

pub use client::{ClientConfig, Connection};
pub use error::{ERROR_DOMAIN, Error};
pub use error_code::ErrorCode;
pub use health::{Gate, Health, LIVENESS, READINESS, is_ready};
pub use in_process::{InProcess, InProcessListener};
pub use metrics::Metrics;
/// What a service's binary allocates with: many small, short-lived values of many tasks are what it lives on.
pub use mimalloc::MiMalloc as Allocator;
pub use proto::{FILE_DESCRIPTOR_SET, common, engine, gateway, indexer, planner, sspc};
pub use security::{Credentials, TlsClientConfig, TlsServerConfig};
pub use server::{BoundServer, Server, ServerConfig, ServerError};
pub use shutdown::shutdown_signal;
pub use telemetry::{LogFormat, Telemetry, TelemetryConfig, TelemetryError};
