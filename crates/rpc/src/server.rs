//! Servers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt as _};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codegen::{Service, http};
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::ServerTlsConfig;
use tonic::transport::server::Connected;

use crate::config::ConfigError;
use crate::security::{TlsServerConfig, Token, TokenCheck};
use crate::{FILE_DESCRIPTOR_SET, Gate, Health, InProcessListener, Metrics};

/// How long calls that are under way may go on after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// Silence after which a connection is probed, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// Where a server listens and whom it lets in.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ServerConfig {
    /// `ip:port`; port 0 takes a free one. Anything but loopback needs `tls` and `token_file`.
    pub listen: SocketAddr,
    /// TLS.
    pub tls: Option<TlsServerConfig>,
    /// File with the bearer token that callers must show. Health checks need none.
    pub token_file: Option<PathBuf>,
}

impl ServerConfig {
    /// Plain text without token: loopback only.
    pub fn plain(listen: SocketAddr) -> Self {
        Self { listen, tls: None, token_file: None }
    }

    /// Checks the rule of the house: no TLS or no token means loopback. `field` is the configuration's path, for errors.
    ///
    /// # Errors
    /// Names `listen`.
    pub fn validate(&self, field: &str) -> Result<(), ConfigError> {
        if self.listen.ip().is_loopback() || (self.tls.is_some() && self.token_file.is_some()) {
            return Ok(());
        }
        Err(ConfigError::rule(
            format!("{field}.listen"),
            format!("must be a loopback address unless both `tls` and `token_file` are set, but is {}", self.listen),
        ))
    }
}

/// Why a server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The transport failed.
    #[error("server failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// A server being put together: health and reflection are in it from the start.
pub struct Server {
    routes: Routes,
    check: TokenCheck,
    tls: Option<ServerTlsConfig>,
    listen: SocketAddr,
    draining: Gate,
}

impl Server {
    /// A server for the network. `field` is the configuration's path, for errors. Needs a tokio runtime.
    ///
    /// # Errors
    /// A field breaks a rule, or a file cannot be read.
    pub async fn new(config: &ServerConfig, field: &str, health: &Health) -> Result<Self, ConfigError> {
        // Health answers without a token: probes have none.
        let routes = Routes::new(health.grpc_service().await);
        Ok(Self::with(config, field, routes, health)?.with_reflection())
    }

    /// A server inside the process, without a port. Needs a tokio runtime.
    pub async fn in_process(health: &Health) -> Self {
        let routes = Routes::new(health.grpc_service().await);
        let loopback = ServerConfig::plain(SocketAddr::from(([127, 0, 0, 1], 0)));
        Self::with(&loopback, "in_process", routes, health).expect("loopback is allowed").with_reflection()
    }

    /// The HTTP server of `/metrics` (needs the token when one is configured), `/livez` and `/readyz`.
    ///
    /// # Errors
    /// A field breaks a rule, or a file cannot be read.
    pub fn metrics(config: &ServerConfig, field: &str, health: &Health, metrics: &Metrics) -> Result<Self, ConfigError> {
        let mut server = Self::with(config, field, Routes::default(), health)?;
        server.routes = Routes::from(metrics.router(health.clone(), server.check.clone()));
        Ok(server)
    }

    fn with(config: &ServerConfig, field: &str, routes: Routes, health: &Health) -> Result<Self, ConfigError> {
        config.validate(field)?;
        let token = config.token_file.as_deref().map(|path| Token::load(path, &format!("{field}.token_file"))).transpose()?;
        let tls = config.tls.as_ref().map(|tls| tls.load(&format!("{field}.tls"))).transpose()?;
        let draining = health.gate("shutdown", "starting");
        draining.open();
        Ok(Self { routes, check: TokenCheck(token.map(Arc::new)), tls, listen: config.listen, draining })
    }

    fn with_reflection(self) -> Self {
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("our own descriptors decode");
        self.add_service(reflection)
    }

    /// Adds a service; its calls need the token when one is configured.
    #[must_use]
    pub fn add_service<S>(mut self, service: S) -> Self
    where
        S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(InterceptedService::new(service, self.check.clone()));
        self
    }

    /// Takes the address, so that the port is known before the first call is served.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(self) -> Result<BoundServer, ServerError> {
        let address = self.listen;
        let bind = |source| ServerError::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(bind)?;
        let local_addr = listener.local_addr().map_err(bind)?;
        Ok(BoundServer { server: self, listener, local_addr })
    }

    /// Serves connections made by [`crate::InProcess`] until `shutdown` is cancelled; then as [`BoundServer::serve`].
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve_in_process(self, listener: InProcessListener, shutdown: CancellationToken) -> Result<(), ServerError> {
        self.serve(listener.into_stream().map(Ok::<_, std::io::Error>), shutdown).await
    }

    async fn serve<I, IO>(self, incoming: I, shutdown: CancellationToken) -> Result<(), ServerError>
    where
        I: Stream<Item = Result<IO, std::io::Error>>,
        IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
    {
        let mut builder = tonic::transport::Server::builder()
            .accept_http1(true)
            .http2_keepalive_interval(Some(KEEP_ALIVE))
            .http2_keepalive_timeout(Some(KEEP_ALIVE))
            .trace_fn(crate::telemetry::call_span);
        if let Some(tls) = self.tls {
            builder = builder.tls_config(tls)?;
        }
        let stop = shutdown.clone().cancelled_owned();
        let serving = builder.add_routes(self.routes).serve_with_incoming_shutdown(incoming, stop);
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => return Ok(ended?),
            () = shutdown.cancelled() => self.draining.close("shutting down"),
        }
        match tokio::time::timeout(DRAIN, serving).await {
            Ok(ended) => Ok(ended?),
            Err(_) => {
                tracing::warn!("calls are still under way; stopping without them");
                Ok(())
            }
        }
    }
}

/// A server that has its port.
pub struct BoundServer {
    server: Server,
    listener: TcpListener,
    local_addr: SocketAddr,
}

impl BoundServer {
    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `shutdown` is cancelled: then readiness goes, no new call is taken, and calls under way have ten seconds to end.
    ///
    /// # Errors
    /// The transport failed.
    pub async fn serve(self, shutdown: CancellationToken) -> Result<(), ServerError> {
        let incoming = TcpListenerStream::new(self.listener).map(|connection| {
            let connection = connection?;
            connection.set_nodelay(true)?;
            Ok(connection)
        });
        self.server.serve(incoming, shutdown).await
    }
}
