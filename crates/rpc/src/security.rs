//! Tokens and TLS.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};
use tonic::{Request, Status};

use crate::config::ConfigError;
use crate::{Error, ErrorCode};

/// Shortest token that is accepted: 16 bytes in hex.
const MIN_TOKEN_LENGTH: usize = 32;

/// TLS of a server.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsServerConfig {
    /// PEM file: certificate chain.
    pub certificate: PathBuf,
    /// PEM file: private key.
    pub private_key: PathBuf,
    /// PEM file: clients must show a certificate that one of these signed.
    pub client_ca: Option<PathBuf>,
}

/// TLS of a client.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct TlsClientConfig {
    /// PEM file: certificates that the server's must be signed by.
    pub ca: PathBuf,
    /// Name in the server's certificate, when it is not the host of the endpoint.
    pub domain: Option<String>,
    /// PEM file: certificate of this client.
    pub certificate: Option<PathBuf>,
    /// PEM file: private key of this client.
    pub private_key: Option<PathBuf>,
}

impl TlsServerConfig {
    pub(crate) fn load(&self, field: &str) -> Result<ServerTlsConfig, ConfigError> {
        let identity = Identity::from_pem(
            read(&self.certificate, &format!("{field}.certificate"))?,
            read(&self.private_key, &format!("{field}.private_key"))?,
        );
        let tls = ServerTlsConfig::new().identity(identity);
        Ok(match &self.client_ca {
            Some(path) => tls.client_ca_root(Certificate::from_pem(read(path, &format!("{field}.client_ca"))?)),
            None => tls,
        })
    }
}

impl TlsClientConfig {
    pub(crate) fn load(&self, field: &str) -> Result<ClientTlsConfig, ConfigError> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&self.ca, &format!("{field}.ca"))?));
        if let Some(domain) = &self.domain {
            tls = tls.domain_name(domain);
        }
        match (&self.certificate, &self.private_key) {
            (Some(certificate), Some(key)) => {
                let certificate = read(certificate, &format!("{field}.certificate"))?;
                tls = tls.identity(Identity::from_pem(certificate, read(key, &format!("{field}.private_key"))?));
            }
            (None, None) => {}
            (Some(_), None) => return Err(ConfigError::rule(format!("{field}.private_key"), "must be set with `certificate`")),
            (None, Some(_)) => return Err(ConfigError::rule(format!("{field}.certificate"), "must be set with `private_key`")),
        }
        Ok(tls)
    }
}

/// A bearer token: checked at a server, added at a client. `Debug` does not show it.
#[derive(Clone)]
pub struct Token {
    header: MetadataValue<Ascii>,
}

impl Token {
    /// Reads a token file: one line, white space around it does not count.
    pub(crate) fn load(path: &Path, field: &str) -> Result<Self, ConfigError> {
        let text = String::from_utf8(read(path, field)?)
            .map_err(|_| ConfigError::rule(field, "must name a file with one line of printable ASCII"))?;
        let text = text.trim();
        if text.len() < MIN_TOKEN_LENGTH {
            return Err(ConfigError::rule(
                field,
                format!("must name a file with a token of at least {MIN_TOKEN_LENGTH} characters"),
            ));
        }
        let mut header = MetadataValue::try_from(format!("Bearer {text}"))
            .map_err(|_| ConfigError::rule(field, "must name a file with one line of printable ASCII"))?;
        header.set_sensitive(true);
        Ok(Self { header })
    }

    fn matches(&self, given: &[u8]) -> bool {
        // Runs over the same number of bytes wherever the first difference is.
        let ours = self.header.as_encoded_bytes();
        ours.len() == given.len() && ours.iter().zip(given).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Refuses calls without the right token; lets all pass when there is none.
#[derive(Clone, Debug)]
pub struct TokenCheck(pub(crate) Option<Arc<Token>>);

impl TokenCheck {
    /// Whether this `authorization` header passes.
    pub(crate) fn allows(&self, header: Option<&[u8]>) -> bool {
        self.0.as_ref().is_none_or(|token| header.is_some_and(|given| token.matches(given)))
    }
}

impl Interceptor for TokenCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        if self.allows(request.metadata().get("authorization").map(|header| header.as_encoded_bytes())) {
            Ok(request)
        } else {
            Err(Error::new(ErrorCode::Unauthenticated).into())
        }
    }
}

/// Adds the token and the trace of the current span to calls.
#[derive(Clone, Debug, Default)]
pub struct Credentials(pub(crate) Option<Arc<Token>>);

impl Interceptor for Credentials {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.header.clone());
        }
        crate::telemetry::inject_trace(request.metadata_mut());
        Ok(request)
    }
}

fn read(path: &Path, field: &str) -> Result<Vec<u8>, ConfigError> {
    std::fs::read(path)
        .map_err(|error| ConfigError::rule(field, format!("must name a readable file: {} ({error})", path.display())))
}
