//! A node behind http and https, honest or not: who it must be, how much it may say, what an error shows.
#![cfg(feature = "alloy")]

use std::sync::Arc;

use serde_json::{Value, json};
use sspc::{ChainError, LocalKey, Rpc, RpcChain};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// Answers one request with a result.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, result: Value) -> std::io::Result<()> {
    let mut request = Vec::new();
    let body = loop {
        stream.read_buf(&mut request).await?;
        let text = String::from_utf8_lossy(&request);
        if let Some((_, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str::<Value>(body)
        {
            break body;
        }
    };
    let body = json!({"jsonrpc": "2.0", "id": body["id"], "result": result}).to_string();
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(&[head.as_bytes(), body.as_bytes()].concat()).await?;
    stream.shutdown().await
}

/// A node that answers everything with `result`; its port.
async fn node(tls: Option<TlsAcceptor>, result: Value) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = match &tls {
                Some(tls) => match tls.accept(stream).await {
                    Ok(stream) => answer(stream, result.clone()).await,
                    Err(_) => continue,
                },
                None => answer(stream, result.clone()).await,
            };
        }
    });
    port
}

async fn connect(rpc: Rpc) -> Result<RpcChain, ChainError> {
    RpcChain::connect(&rpc, &LocalKey::from_bytes(&[1; 32]).unwrap()).await
}

#[tokio::test]
async fn a_node_behind_https_must_have_a_certificate_that_is_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = |name: &str, pem: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let (right, wrong) = (file("right.pem", made.cert.pem()), file("wrong.pem", other.cert.pem()));
    let empty = file("empty.pem", String::new());
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let port = node(Some(TlsAcceptor::from(Arc::new(config))), json!("0x7")).await;
    let rpc = |host: &str, authorities: Option<&std::path::PathBuf>| Rpc {
        url: format!("https://{host}:{port}/v2/secret"),
        authorities: authorities.cloned(),
        ..Rpc::default()
    };
    use sspc::Chain as _;
    assert_eq!(connect(rpc("localhost", Some(&right))).await.unwrap().chain_id().await, Ok(7));
    for (host, authorities) in [("localhost", Some(&wrong)), ("127.0.0.1", Some(&right)), ("localhost", None)] {
        let Err(ChainError::Node(error)) = connect(rpc(host, authorities)).await else { panic!("{host} {authorities:?}") };
        assert!(error.contains("certificate"), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
    assert!(connect(rpc("localhost", Some(&empty))).await.is_err());
    assert!(connect(rpc("localhost", Some(&folder.path().join("none.pem")))).await.is_err());
}

#[tokio::test]
async fn what_a_node_says_is_bounded() {
    let url = async |result: Value| format!("http://127.0.0.1:{}/v2/secret", node(None, result).await);
    let long = Rpc { url: url(json!("0".repeat(5 << 20))).await, ..Rpc::default() };
    let Err(ChainError::Node(error)) = connect(long).await else { panic!("taken") };
    assert!(error.contains("too long"), "{error}");
    for nonsense in [json!(null), json!("no number"), json!({"a": []})] {
        assert!(connect(Rpc { url: url(nonsense).await, ..Rpc::default() }).await.is_err());
    }
    let nobody = Rpc { url: "http://127.0.0.1:1/v2/secret".to_owned(), ..Rpc::default() };
    let Err(ChainError::Node(error)) = connect(nobody).await else { panic!("connected") };
    assert!(!error.contains("secret"), "{error}");
    for bad in ["", "localhost", "ftp://localhost"] {
        assert!(connect(Rpc { url: bad.to_owned(), ..Rpc::default() }).await.is_err());
    }
}
