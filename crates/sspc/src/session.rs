//! Streams whose two ends have proven their accounts to each other: TLS 1.3, and in it from each end a signature of its account over what
//! only this TLS session exports (channel binding, RFC 9266).
//!
//! No authority and no name is asked for: certificates are made anew by each process and prove nothing. Whoever sits between the two has
//! another session with each of them, so that no signature that it passes on is good.

use std::net::SocketAddr;
use std::sync::Arc;

use alloy_primitives::{Address, B256};
use tokio::net::TcpStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error as TlsError, ServerConfig, SideData, SignatureScheme};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::codec::Hello;
use crate::link::{Link, LinkError, Stream, tcp};
use crate::signature::Verifier;
use crate::signer::Signer;
use crate::typed::StreamProof;

const EXPORTER: &[u8] = b"EXPORTER-Channel-Binding";
/// Stands in the certificates; means nothing.
const NAME: &str = "sspc";

/// The TLS of a process: its certificate is made anew when it starts.
#[derive(Clone)]
pub struct Identity {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Identity {
    /// A new key and certificate.
    ///
    /// # Errors
    /// The system's randomness.
    pub fn new() -> Result<Self, LinkError> {
        let broken = |error: &dyn std::fmt::Display| LinkError::Io(std::io::Error::other(error.to_string()));
        let made = rcgen::generate_simple_self_signed([NAME.to_owned()]).map_err(|error| broken(&error))?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).map_err(|error| broken(&error))?;
        let provider = Arc::new(ring::default_provider());
        let server = ServerConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let server = server.map_err(|error| broken(&error))?.with_no_client_auth();
        let server = server.with_single_cert(vec![made.cert.der().clone()], key).map_err(|error| broken(&error))?;
        let client = ClientConfig::builder_with_provider(provider.clone()).with_protocol_versions(&[&TLS13]);
        let client =
            client.map_err(|error| broken(&error))?.dangerous().with_custom_certificate_verifier(Arc::new(Any(provider)));
        Ok(Self { client: Arc::new(client.with_no_client_auth()), server: Arc::new(server) })
    }

    /// Its TLS as the end that dials, without proofs.
    #[must_use]
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.client.clone())
    }

    /// Its TLS as the end that answers, without proofs.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.server.clone())
    }
}

/// Takes any certificate: the account's signature over the session proves the peer. The handshake's own signature is checked, as always.
#[derive(Debug)]
struct Any(Arc<CryptoProvider>);

impl ServerCertVerifier for Any {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

impl Link {
    /// Connects over TCP and TLS, and proves accounts both ways. Who is there; the caller decides whether that is whom it wants.
    ///
    /// # Errors
    /// The transport; the peer proves nothing.
    pub async fn dial(address: SocketAddr, identity: &Identity, signer: &dyn Signer) -> Result<(Self, Address), LinkError> {
        Self::dial_on(tcp(address).await?, identity, signer).await
    }

    /// As [`Self::dial`], on a stream that exists.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub async fn dial_on(
        stream: impl Stream + 'static,
        identity: &Identity,
        signer: &dyn Signer,
    ) -> Result<(Self, Address), LinkError> {
        let name = ServerName::try_from(NAME).map_err(|_| LinkError::Unproven)?;
        let stream = identity.connector().connect(name, stream).await?;
        let binding = binding(stream.get_ref().1)?;
        Self::new(stream).greet(StreamProof { binding, dialed: true }, signer).await
    }

    /// The other end of [`Self::dial`], on a stream that was accepted. It waits for the peer: give it a time limit and a task of its own.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub async fn answer(stream: TcpStream, identity: &Identity, signer: &dyn Signer) -> Result<(Self, Address), LinkError> {
        stream.set_nodelay(true)?;
        Self::answer_on(stream, identity, signer).await
    }

    /// As [`Self::answer`], on any stream.
    ///
    /// # Errors
    /// As [`Self::dial`].
    pub async fn answer_on(
        stream: impl Stream + 'static,
        identity: &Identity,
        signer: &dyn Signer,
    ) -> Result<(Self, Address), LinkError> {
        let stream = identity.acceptor().accept(stream).await?;
        let binding = binding(stream.get_ref().1)?;
        Self::new(stream).greet(StreamProof { binding, dialed: false }, signer).await
    }

    async fn greet(mut self, own: StreamProof, signer: &dyn Signer) -> Result<(Self, Address), LinkError> {
        let hello = Hello { account: signer.address(), signature: signer.prove(&own).await? };
        self.send_frame(hello.encode()).await?;
        let hello = Hello::decode(self.receive_frame().await?)?;
        let theirs = StreamProof { dialed: !own.dialed, ..own };
        let proven = Verifier::new(hello.account).verify(&theirs.digest(), &hello.signature);
        // Nobody speaks with itself: an account at both ends is our own, or a thief of it.
        if proven && hello.account != signer.address() { Ok((self, hello.account)) } else { Err(LinkError::Unproven) }
    }
}

fn binding<D: SideData>(session: &tokio_rustls::rustls::ConnectionCommon<D>) -> Result<B256, LinkError> {
    let exported = session.export_keying_material([0; 32], EXPORTER, None);
    Ok(exported.map_err(std::io::Error::other)?.into())
}
