//! Servers and clients over real sockets, real TLS, and inside the process.

mod common;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rpc::gateway::v1::gateway_service_client::GatewayServiceClient;
use rpc::gateway::v1::*;
use rpc::{
    ClientConfig, Error, ErrorCode, Health, InProcess, LIVENESS, Metrics, READINESS, Server, ServerConfig, TlsClientConfig,
    TlsServerConfig,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const TOKEN: &str = "00112233445566778899aabbccddeeff";
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

struct Running {
    address: SocketAddr,
    shutdown: CancellationToken,
    ended: tokio::task::JoinHandle<Result<(), rpc::ServerError>>,
}

async fn start(server: Server) -> Running {
    let bound = server.bind().await.unwrap();
    let shutdown = CancellationToken::new();
    let address = bound.local_addr();
    let ended = tokio::spawn(bound.serve(shutdown.clone()));
    Running { address, shutdown, ended }
}

async fn start_echo(config: &ServerConfig, health: &Health) -> Running {
    start(Server::new(config, "server", health).await.unwrap().add_service(common::service())).await
}

fn write(folder: &Path, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A certificate authority and a certificate for `localhost`; returns (ca, certificate, key) as files.
fn certificates(folder: &Path, name: &str) -> (PathBuf, PathBuf, PathBuf) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &issuer).unwrap();
    (
        write(folder, &format!("{name}-ca.pem"), issuer.pem()),
        write(folder, &format!("{name}.pem"), certificate.pem()),
        write(folder, &format!("{name}.key"), key.serialize_pem()),
    )
}

async fn query(client: &mut GatewayServiceClient<rpc::Connection>, data: &'static [u8]) -> Result<Vec<u8>, Error> {
    let request = QueryPeerRequest { data: data.into(), ..QueryPeerRequest::default() };
    Ok(client.query_peer(request).await?.into_inner().data.to_vec())
}

#[tokio::test]
async fn tls_and_token_are_both_needed() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, certificate, private_key) = certificates(folder.path(), "server");
    let (other_ca, ..) = certificates(folder.path(), "other");
    let token_file = Some(write(folder.path(), "token", format!("{TOKEN}\n")));
    let wrong_token = Some(write(folder.path(), "wrong", TOKEN.replace('0', "1")));
    let tls = Some(TlsServerConfig { certificate, private_key, client_ca: None });
    let server = start_echo(&ServerConfig { listen: LOOPBACK, tls, token_file: token_file.clone() }, &Health::new()).await;

    let connect = |ca: &PathBuf, token_file: &Option<PathBuf>| {
        let tls = TlsClientConfig { ca: ca.clone(), domain: Some("localhost".into()), certificate: None, private_key: None };
        let endpoint = format!("https://{}", server.address);
        let config = ClientConfig { endpoint, tls: Some(tls), token_file: token_file.clone() };
        GatewayServiceClient::new(config.connect("client").unwrap())
    };
    assert_eq!(query(&mut connect(&ca, &token_file), b"hello").await.unwrap(), b"hello");
    for token in [&None, &wrong_token] {
        let error = query(&mut connect(&ca, token), b"hello").await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::Unauthenticated, "{error}");
    }
    let stranger = query(&mut connect(&other_ca, &token_file), b"hello").await.unwrap_err();
    assert_eq!(stranger.code(), ErrorCode::Unavailable, "{stranger}");
    let plain = ClientConfig::plain(format!("http://{}", server.address)).connect("client").unwrap();
    assert!(query(&mut GatewayServiceClient::new(plain), b"hello").await.is_err());
}

#[tokio::test]
async fn client_certificates_are_checked_when_configured() {
    let folder = tempfile::tempdir().unwrap();
    let (ca, certificate, private_key) = certificates(folder.path(), "server");
    let (client_ca, client_certificate, client_key) = certificates(folder.path(), "client");
    let tls = Some(TlsServerConfig { certificate, private_key, client_ca: Some(client_ca) });
    let server = start_echo(&ServerConfig { listen: LOOPBACK, tls, token_file: None }, &Health::new()).await;
    let connect = |certificate: Option<PathBuf>, private_key: Option<PathBuf>| {
        let tls = TlsClientConfig { ca: ca.clone(), domain: Some("localhost".into()), certificate, private_key };
        let config = ClientConfig { endpoint: format!("https://{}", server.address), tls: Some(tls), token_file: None };
        GatewayServiceClient::new(config.connect("client").unwrap())
    };
    assert!(query(&mut connect(Some(client_certificate), Some(client_key)), b"x").await.is_ok());
    assert!(query(&mut connect(None, None), b"x").await.is_err());
}

#[tokio::test]
async fn without_tls_and_token_only_loopback_is_allowed() {
    let folder = tempfile::tempdir().unwrap();
    let (_, certificate, private_key) = certificates(folder.path(), "server");
    let tls = Some(TlsServerConfig { certificate, private_key, client_ca: None });
    let token_file = Some(write(folder.path(), "token", TOKEN));
    let everywhere: SocketAddr = "0.0.0.0:0".parse().unwrap();
    let health = Health::new();
    for (tls, token_file) in [(None, None), (tls.clone(), None), (None, token_file.clone())] {
        let config = ServerConfig { listen: everywhere, tls, token_file };
        let error = Server::new(&config, "server", &health).await.err().unwrap().to_string();
        assert!(error.contains("`server.listen` must be a loopback address unless both"), "{error}");
        assert!(Server::metrics(&config, "metrics", &health, &Metrics::default()).is_err());
    }
    let config = ServerConfig { listen: everywhere, tls, token_file: token_file.clone() };
    Server::new(&config, "server", &health).await.unwrap().bind().await.unwrap();

    let remote = ClientConfig { endpoint: "http://192.0.2.1:1".into(), tls: None, token_file };
    let error = remote.connect("engine").unwrap_err().to_string();
    assert!(error.contains("`engine.endpoint` must be https"), "{error}");
}

#[tokio::test]
async fn a_short_token_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = Some(write(folder.path(), "token", "short"));
    let config = ServerConfig { listen: LOOPBACK, tls: None, token_file };
    let error = Server::new(&config, "server", &Health::new()).await.err().unwrap().to_string();
    assert!(error.contains("`server.token_file`") && !error.contains("short"), "{error}");
}

#[tokio::test]
async fn errors_arrive_with_code_field_and_rule() {
    let server = start_echo(&ServerConfig::plain(LOOPBACK), &Health::new()).await;
    let connection = ClientConfig::plain(format!("http://{}", server.address)).connect("client").unwrap();
    let mut client = GatewayServiceClient::new(connection);

    let status = client.ping_peer(PingPeerRequest { peer_key: vec![1; 5].into() }).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::InvalidArgument);
    assert_eq!(Error::from(status), Error::field(ErrorCode::InvalidKey, "peer_key", "must be 32 bytes"));
    let status = client.ping_peer(PingPeerRequest { peer_key: vec![1; 32].into() }).await.unwrap_err();
    assert_eq!(Error::from(status), Error::new(ErrorCode::PeerUnreachable));
    let status = client.connect_peer(ConnectPeerRequest::default()).await.unwrap_err();
    assert_eq!(Error::from(status).code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn the_stream_works_inside_the_process_and_ends_with_the_server() {
    let (seam, listener) = InProcess::new();
    let health = Health::new();
    let shutdown = CancellationToken::new();
    let server = Server::in_process(&health).await.add_service(common::service());
    let ended = tokio::spawn(server.serve_in_process(listener, shutdown.clone()));

    let mut client = GatewayServiceClient::new(seam.connect());
    let (frames, outgoing) = tokio::sync::mpsc::channel(4);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    let mut incoming = client.attach(outgoing).await.unwrap().into_inner();
    let data = vec![7; 65_536];
    let queries = (0..20).map(|call_id| OutgoingQuery { call_id, data: data.clone().into(), ..OutgoingQuery::default() });
    frames.send(EngineFrame { queries: queries.collect(), ..EngineFrame::default() }).await.unwrap();
    let frame = incoming.message().await.unwrap().unwrap();
    assert_eq!(frame.results.len(), 20);
    assert_eq!(frame.results[19].outcome, Some(call_result::Outcome::Answer(data.into())));

    drop(frames);
    assert_eq!(incoming.message().await.unwrap(), None);
    assert!(health.is_ready());
    shutdown.cancel();
    ended.await.unwrap().unwrap();
    assert_eq!(health.waiting_for(), "shutdown: shutting down");
    assert!(client.list_peers(ListPeersRequest::default()).await.is_err());
}

async fn grpc_health(client: &mut HealthClient<rpc::Connection>, service: &str) -> ServingStatus {
    client.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner().status()
}

#[tokio::test]
async fn health_needs_no_token_and_follows_the_gates() {
    let folder = tempfile::tempdir().unwrap();
    let token_file = Some(write(folder.path(), "token", TOKEN));
    let config = ServerConfig { listen: LOOPBACK, tls: None, token_file };
    let health = Health::new();
    let database = health.gate("database", "connecting");
    let server = start_echo(&config, &health).await;
    let metrics = Metrics::default();
    let counter = prometheus_client::metrics::counter::Counter::<u64>::default();
    metrics.register(|registry| registry.register("transfers", "Transfers", counter.clone()));
    counter.inc();
    let pages = start(Server::metrics(&config, "metrics", &health, &metrics).unwrap()).await;

    let connection = ClientConfig::plain(format!("http://{}", server.address)).connect("client").unwrap();
    let mut client = HealthClient::new(connection);
    assert_eq!(grpc_health(&mut client, LIVENESS).await, ServingStatus::Serving);
    assert_eq!(grpc_health(&mut client, READINESS).await, ServingStatus::NotServing);
    let page = http_get(pages.address, "/readyz", None).await;
    assert!(page.starts_with("HTTP/1.1 503") && page.ends_with("database: connecting"), "{page}");
    assert!(http_get(pages.address, "/livez", None).await.starts_with("HTTP/1.1 200"));

    let mut changes = client.watch(HealthCheckRequest { service: READINESS.into() }).await.unwrap().into_inner();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    database.open();
    assert_eq!(changes.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert!(http_get(pages.address, "/readyz", None).await.starts_with("HTTP/1.1 200"));
    drop(changes);

    assert!(http_get(pages.address, "/metrics", None).await.starts_with("HTTP/1.1 401"));
    let page = http_get(pages.address, "/metrics", Some(TOKEN)).await;
    assert!(page.contains("causeway_transfers_total 1"), "{page}");

    server.shutdown.cancel();
    server.ended.await.unwrap().unwrap();
}

async fn http_get(address: SocketAddr, path: &str, token: Option<&str>) -> String {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let authorization = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{authorization}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
