//! JSON-RPC over HTTP and HTTPS, with bounds: a node cannot make us read without end, and no error shows the URL, which often holds a key.

use std::path::Path;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use alloy::rpc::json_rpc::{RequestPacket, ResponsePacket, RpcError};
use alloy::transports::{TransportError, TransportErrorKind, TransportFut};
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Client, Url};
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest answer: the events of a channel, or a block without its transactions, are far shorter.
const MAX_ANSWER_BYTES: usize = 4 << 20;
/// Longest part of an answer that an error shows.
const MAX_SHOWN_BYTES: usize = 200;
/// Longest wait for a connection.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// A node behind a URL.
#[derive(Clone)]
pub(super) struct Http {
    client: Client,
    url: Url,
}

impl Http {
    /// With the system's authorities, or those of a PEM file alone.
    pub(super) fn new(url: &str, authorities: Option<&Path>) -> Result<Self, String> {
        let url: Url = url.parse().map_err(|_| "not a URL".to_owned())?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("must be an http or https URL".to_owned());
        }
        let client = Client::builder()
            .redirect(Policy::none())
            .connect_timeout(CONNECT_TIME)
            .tls_backend_preconfigured(tls(authorities)?)
            .build()
            .map_err(|error| error.without_url().to_string())?;
        Ok(Self { client, url })
    }

    async fn ask(self, request: RequestPacket) -> Result<ResponsePacket, TransportError> {
        let failed = |error: reqwest::Error| TransportErrorKind::custom_str(&causes(&error.without_url()));
        let body = serde_json::to_vec(&request).map_err(RpcError::ser_err)?;
        let json = HeaderValue::from_static("application/json");
        let mut answer = self.client.post(self.url).header(CONTENT_TYPE, json).body(body).send().await.map_err(failed)?;
        let status = answer.status();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(TransportErrorKind::custom_str("an answer that is too long"));
            }
            bytes.extend_from_slice(&chunk);
        }
        // Nodes answer with an error of JSON-RPC under any status.
        serde_json::from_slice(&bytes).map_err(|error| {
            let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_SHOWN_BYTES)]).into_owned();
            if status.is_success() {
                RpcError::deser_err(error, shown)
            } else {
                TransportErrorKind::http_error(status.as_u16(), shown)
            }
        })
    }
}

/// An error and what caused it.
fn causes(error: &dyn std::error::Error) -> String {
    std::iter::successors(error.source(), |cause| cause.source())
        .fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

fn tls(authorities: Option<&Path>) -> Result<ClientConfig, String> {
    let versions = ClientConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| error.to_string())?;
    let Some(file) = authorities else {
        let trusted = builder.with_platform_verifier().map_err(|error| format!("the system's authorities: {error}"))?;
        return Ok(trusted.with_no_client_auth());
    };
    let name = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| name(&error))? {
        roots.add(certificate.map_err(|error| name(&error))?).map_err(|error| name(&error))?;
    }
    if roots.is_empty() {
        return Err(name(&"holds no certificate"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl tower::Service<RequestPacket> for Http {
    type Response = ResponsePacket;
    type Error = TransportError;
    type Future = TransportFut<'static>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: RequestPacket) -> Self::Future {
        Box::pin(self.clone().ask(request))
    }
}
