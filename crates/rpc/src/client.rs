//! Clients.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint, Uri};

use crate::config::ConfigError;
use crate::security::{Credentials, TlsClientConfig, Token};

/// How long a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a connection is probed, so that a dead one is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// What generated clients are built on: `ChannelServiceClient::new(connection)`.
pub type Connection = InterceptedService<Channel, Credentials>;

/// Where a service is and how to reach it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct ClientConfig {
    /// `http://host:port`, or `https://host:port` with `tls`.
    pub endpoint: String,
    /// TLS.
    pub tls: Option<TlsClientConfig>,
    /// File with the bearer token.
    pub token_file: Option<PathBuf>,
}

impl ClientConfig {
    /// Plain text, without token: for loopback.
    pub fn plain(endpoint: impl Into<String>) -> Self {
        Self { endpoint: endpoint.into(), tls: None, token_file: None }
    }

    /// A connection that is made with the first call, and again after each loss. `field` is the configuration's path, for errors.
    ///
    /// # Errors
    /// A field breaks a rule, or a file cannot be read. Needs a tokio runtime.
    pub fn connect(&self, field: &str) -> Result<Connection, ConfigError> {
        let endpoint_field = format!("{field}.endpoint");
        let invalid = |rule: String| ConfigError::rule(&endpoint_field, rule);
        let uri: Uri = self.endpoint.parse().map_err(|error| invalid(format!("must be a URL ({error})")))?;
        let host = uri.host().ok_or_else(|| invalid("must be `http://host:port` or `https://host:port`".into()))?;
        let token = self.token_file.as_deref().map(|path| Token::load(path, &format!("{field}.token_file"))).transpose()?;
        match (uri.scheme_str(), &self.tls) {
            (Some("https"), Some(_)) => {}
            (Some("http"), None) if token.is_none() || is_loopback(host) => {}
            (Some("http"), None) => return Err(invalid("must be https or on loopback when a token is sent".into())),
            (Some("https"), None) => return Err(ConfigError::rule(format!("{field}.tls"), "must be set for an https endpoint")),
            (_, Some(_)) => return Err(invalid("must be https when `tls` is set".into())),
            _ => return Err(invalid("must be `http://host:port` or `https://host:port`".into())),
        }
        let mut endpoint = Endpoint::from(uri)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true);
        if let Some(tls) = &self.tls {
            let tls_field = format!("{field}.tls");
            endpoint = endpoint
                .tls_config(tls.load(&tls_field)?)
                .map_err(|error| ConfigError::rule(&tls_field, format!("must hold valid certificates ({error})")))?;
        }
        Ok(InterceptedService::new(endpoint.connect_lazy(), Credentials(token.map(Arc::new))))
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
