//! Lite servers for the tests, honest and hostile.
#![allow(dead_code)] // each test takes what it needs

use std::sync::Arc;
use std::time::Duration;

use adnl::keys::PrivateKey;
use devnet::Devnet;
use liteapi::{Client, ClientOptions, Handler, Policy, ServerAddress, ServerError};
use tokio::net::TcpListener;

type Answer = Result<Vec<u8>, ServerError>;

/// Passes on what the devnet says, twisted: `None` is silence for ever.
struct Twisted<F> {
    honest: Devnet,
    twist: F,
}

impl<F: Fn(&[u8], Answer) -> Option<Answer> + Send + Sync + 'static> Handler for Twisted<F> {
    async fn answer(&self, method: &[u8]) -> Answer {
        match (self.twist)(method, self.honest.answer(method).await) {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
    async fn wait_masterchain_seqno(&self, seqno: u32) {
        self.honest.wait_masterchain_seqno(seqno).await;
    }
}

/// A server that twists the devnet's answers; it lives as long as the test.
pub async fn twisted(devnet: &Devnet, twist: impl Fn(&[u8], Answer) -> Option<Answer> + Send + Sync + 'static) -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let key = PrivateKey::generate();
    let server = ServerAddress { address: listener.local_addr().unwrap(), key: key.public() };
    let handler = Twisted { honest: devnet.clone(), twist };
    tokio::spawn(liteapi::serve(listener, vec![key], Arc::new(handler)));
    server
}

/// An honest server.
pub async fn honest(devnet: &Devnet) -> ServerAddress {
    twisted(devnet, |_, answer| Some(answer)).await
}

/// A server that takes connections and ends them at once.
pub async fn disconnecting() -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = ServerAddress { address: listener.local_addr().unwrap(), key: PrivateKey::generate().public() };
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    server
}

/// A client that does not wait long.
pub fn client(servers: &[ServerAddress], policy: Policy) -> Client {
    let options = ClientOptions { query_timeout: Duration::from_secs(1), policy, ..ClientOptions::default() };
    Client::new(servers.to_vec(), options).unwrap()
}

/// Whether a boxed method is `M`.
pub fn is<M: tl::Object>(method: &[u8]) -> bool {
    method[..4] == M::ID.to_le_bytes()
}
