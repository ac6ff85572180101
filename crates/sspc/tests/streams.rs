//! Streams: whole messages arrive, hostile bytes end the stream, TLS works.
#![cfg(feature = "client")]

use std::sync::Arc;

use proptest::prelude::*;
use sspc::{Amount, Envelope, Link, LinkError, MAX_MESSAGE_BYTES, Message};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

fn letters(count: u128) -> Vec<Envelope> {
    (0..count).map(|units| Envelope { channel: [3; 32].into(), message: Message::Ack(Amount::new(units)) }).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[tokio::test]
async fn messages_arrive_whole_and_in_order_however_they_are_cut() {
    let (near, mut far) = tokio::io::duplex(7);
    let (sent, mut link) = (letters(50), Link::new(near));
    let mut bytes = Vec::new();
    for letter in &sent {
        let letter = letter.encode();
        bytes.extend(u32::try_from(letter.len()).unwrap().to_be_bytes());
        bytes.extend(letter);
    }
    let writer = tokio::spawn(async move { far.write_all(&bytes).await });
    let mut received = Vec::new();
    while received.len() < sent.len() {
        let burst = link.receive(3).await.unwrap();
        assert!((1..=3).contains(&burst.len()));
        received.extend(burst);
    }
    assert_eq!(received, sent);
    writer.await.unwrap().unwrap();
    assert!(matches!(link.receive(1).await, Err(LinkError::Closed)));
}

#[tokio::test]
async fn a_length_that_is_too_long_ends_the_stream() {
    let (near, mut far) = tokio::io::duplex(1024);
    far.write_all(&u32::try_from(MAX_MESSAGE_BYTES + 1).unwrap().to_be_bytes()).await.unwrap();
    assert!(matches!(Link::new(near).receive(1).await, Err(LinkError::TooLong(_))));
}

proptest! {
    #[test]
    fn any_bytes_are_messages_or_end_the_stream(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        block_on(async {
            let (near, mut far) = tokio::io::duplex(256);
            far.write_all(&bytes).await.unwrap();
            drop(far);
            let mut link = Link::new(near);
            while link.receive(10).await.is_ok() {}
        });
    }
}

#[tokio::test]
async fn tcp_and_tls_carry_messages() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (near, far) = tokio::join!(Link::connect(address), Link::accept(&listener));
    talk(near.unwrap(), far.unwrap()).await;

    let made = rcgen::generate_simple_self_signed(["peer.test".to_owned()]).unwrap();
    let certificate: CertificateDer<'static> = made.cert.der().clone();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let server = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate.clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        Link::accept_tls(stream, Arc::new(server)).await
    };
    let name = ServerName::try_from("peer.test").unwrap();
    let (near, far) = tokio::join!(Link::connect_tls(address, name, client.clone()), accept);
    talk(near.unwrap(), far.unwrap()).await;

    // Another name is another peer.
    let other = ServerName::try_from("other.test").unwrap();
    let accept = async {
        let (stream, _) = listener.accept().await.unwrap();
        drop(stream);
    };
    let (near, ()) = tokio::join!(Link::connect_tls(address, other, client), accept);
    assert!(near.is_err());
}

async fn talk(mut near: Link, mut far: Link) {
    let sent = letters(5);
    near.send(&sent).await.unwrap();
    let mut received = Vec::new();
    while received.len() < sent.len() {
        received.extend(far.receive(10).await.unwrap());
    }
    assert_eq!(received, sent);
    far.send(&sent[..1]).await.unwrap();
    assert_eq!(near.receive(10).await.unwrap(), sent[..1]);
}
