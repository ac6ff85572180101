//! Streams: whole messages arrive, hostile bytes end the stream, TLS works.
#![cfg(feature = "client")]

use std::sync::Arc;

use proptest::prelude::*;
use sspc::{
    Address, Amount, Envelope, Identity, Link, LinkError, LocalKey, MAX_MESSAGE_BYTES, Message, Round, SignError, Signable,
    Signature, Signer, StreamProof,
};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};

fn letters(count: u128) -> Vec<Envelope> {
    (0..count)
        .map(|units| Envelope {
            channel: [3; 32].into(),
            message: Message::Ack { counted: Amount::new(units), round: Round::OPENING },
        })
        .collect()
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

fn key(seed: u8) -> LocalKey {
    LocalKey::from_bytes(&[seed; 32]).unwrap()
}

#[tokio::test]
async fn both_ends_of_a_stream_prove_their_accounts() {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (one, other) = (Identity::new().unwrap(), Identity::new().unwrap());
    let (a, b) = (key(1), key(2));
    let (near, far) = tokio::join!(Link::dial_on(near, &one, &a), Link::answer_on(far, &other, &b));
    let ((near, there), (far, here)) = (near.unwrap(), far.unwrap());
    assert_eq!((there, here), (b.address(), a.address()));
    talk(near, far).await;
}

/// Says it is `account`, and signs with what it has.
struct Impostor {
    account: Address,
    proof: Box<dyn Fn(&StreamProof) -> Signature + Send + Sync>,
}

#[async_trait::async_trait]
impl Signer for Impostor {
    fn address(&self) -> Address {
        self.account
    }

    async fn sign(&self, _: &Signable, _: &sspc::Payload) -> Result<Signature, SignError> {
        Err(SignError("not asked".to_owned()))
    }

    async fn prove(&self, stream: &StreamProof) -> Result<Signature, SignError> {
        Ok((self.proof)(stream))
    }
}

#[tokio::test]
async fn nobody_proves_an_account_without_its_key() {
    let identity = Identity::new().unwrap();
    let (honest, victim) = (key(1), key(2));
    let account = victim.address();
    let mine = key(3);
    let own_key: Box<dyn Fn(&StreamProof) -> Signature + Send + Sync> =
        Box::new(move |stream| mine.sign_digest(&stream.digest()));
    // Signed by the victim for another session, or for the other direction of this one.
    let other =
        Box::new(move |stream: &StreamProof| victim.sign_digest(&StreamProof { binding: [7; 32].into(), ..*stream }.digest()));
    let victim = key(2);
    let turned =
        Box::new(move |stream: &StreamProof| victim.sign_digest(&StreamProof { dialed: !stream.dialed, ..*stream }.digest()));
    for proof in [own_key, other, turned] {
        let impostor = Impostor { account, proof };
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (_, refused) = tokio::join!(Link::dial_on(near, &identity, &impostor), Link::answer_on(far, &identity, &honest));
        assert!(matches!(refused, Err(LinkError::Unproven)));
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (refused, _) = tokio::join!(Link::dial_on(near, &identity, &honest), Link::answer_on(far, &identity, &impostor));
        assert!(matches!(refused, Err(LinkError::Unproven)));
    }
}

#[tokio::test]
async fn whoever_sits_between_the_two_cannot_pass_their_proofs_on() {
    // a dials what it takes for b; the one between dials b, and gives each the other's hello, which is all that it can do.
    let (identity, middle) = (Identity::new().unwrap(), Identity::new().unwrap());
    let (a, b) = (key(1), key(2));
    let (near_a, far_a) = tokio::io::duplex(64 * 1024);
    let (near_b, far_b) = tokio::io::duplex(64 * 1024);
    let between = async {
        let server = middle.acceptor().accept(far_a).await.unwrap();
        let client = middle.connector().connect("sspc".try_into().unwrap(), near_b).await.unwrap();
        let (mut server, mut client) = (server, client);
        let _ = tokio::io::copy_bidirectional(&mut server, &mut client).await;
    };
    let honest = async { tokio::join!(Link::dial_on(near_a, &identity, &a), Link::answer_on(far_b, &identity, &b)) };
    let between = async {
        between.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        (near, far) = honest => {
            assert!(matches!(near, Err(LinkError::Unproven)));
            assert!(matches!(far, Err(LinkError::Unproven)));
        }
        () = between => unreachable!("pending"),
    }
}
