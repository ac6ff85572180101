//! What the peer can be told. Keys, ids and seeds are hex; addresses are `ip:port`; times are milliseconds.
//!
//! | command | answer |
//! |---|---|
//! | `listen <seed> <port> <last epoch> <clock shift, s> <serve>` | `<public key> <address> <epoch>` |
//! | `close` | |
//! | `forget` (the records of all peers, as after a lost database) | |
//! | `dial <key> <address>` | |
//! | `ask <key> <time> <transport> <number> <answer size> <data size>` | times that the question was executed |
//! | `ask-many <key> <time> <first number> <count> <at once> <answer size> <data size>` | most executions of one question |
//! | `stats` | `<received> <repeated> <refused> <sent> <sent root>` |
//! | `dht-section` (of a peer that serves `dht`) | JSON |
//! | `dht-nodes <global configuration, JSON>` | nodes read |
//! | `store-address <seed> <address>`, `store-payment-node <seed of the channel key> <id>` | nodes that stored it |
//! | `find-address <id>`, `find-payment-node <channel key>` | `<key> <address>`, `<id>` |
//! | `join-overlay <seed> <name>`, `store-note <key's bytes> <content>` | nodes that stored it |
//! | `find-overlay <name>`, `find-note <key's bytes>` | keys of its nodes, the content |
//! | `lite <address> <key>` | `<masterchain seqno>` as read with authentication and a wait prefix |
//!
//! `serve` is `questions`, `one-packet` or `dht`; `transport` is `adnl` or `rldp`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use adnl::keys::{AdnlId, PrivateKey, PublicKey};
use adnl::{AddressList, Endpoint, Incoming, PeerRecord};
use anyhow::{Context as _, bail};
use liteapi::{Connection, ConnectionOptions, GetMasterchainInfo};
use rldp::Rldp;
use tl::Object as _;
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::task::JoinSet;

use crate::one_packet;
use crate::question::{Ask, Teller};

/// Largest answer taken over RLDP.
const MAX_ANSWER: usize = 1 << 21;
/// How long the records that we store hold.
const TTL: u32 = 1800;

/// How long a lite server is waited for.
const LITE_PATIENCE: Duration = Duration::from_secs(5);

type Records = Arc<Mutex<HashMap<AdnlId, PeerRecord>>>;

/// An open endpoint and what runs on it.
#[derive(Clone)]
struct Open {
    endpoint: Endpoint,
    /// None where RLDP is answered by hand.
    rldp: Option<Rldp>,
    /// How a DHT server presents itself.
    presented: Option<dht::Node>,
}

/// The peer. It outlives its endpoint: `close` and `listen` are a restart.
#[derive(Default)]
pub struct Peer {
    open: AsyncMutex<Option<Open>>,
    records: Records,
    teller: Teller,
    dht_nodes: Mutex<Vec<dht::Node>>,
}

impl Peer {
    /// Executes one line.
    pub async fn execute(&self, words: &[&str]) -> anyhow::Result<String> {
        match *words {
            ["listen", seed, port, last, shift, serve] => {
                self.listen(&private_key(seed)?, number(port)?, number(last)?, number(shift)?, serve).await
            }
            ["close"] => {
                let open = self.open.lock().await.take().context("not open")?;
                drop(open.rldp);
                open.endpoint.close().await;
                Ok(String::new())
            }
            ["forget"] => {
                self.records.lock().expect("no panic").clear();
                Ok(String::new())
            }
            ["dial", key, address] => self.dial(public_key(key)?, address.parse()?).await,
            ["ask", key, time, transport, number_, answer, data] => {
                let ask = Ask::new(number(number_)?, number(answer)?, number(data)?);
                let times = self.open().await?.ask(public_key(key)?.id(), &ask, milliseconds(time)?, transport).await?;
                Ok(times.to_string())
            }
            ["ask-many", key, time, first, count, at_once, answer, data] => {
                let numbers = number(first)?..number::<u64>(first)? + number::<u64>(count)?;
                let asks = numbers.map(|n| Ok(Ask::new(n, number(answer)?, number(data)?))).collect::<anyhow::Result<_>>()?;
                self.open().await?.ask_many(public_key(key)?.id(), asks, milliseconds(time)?, number(at_once)?).await
            }
            ["stats"] => {
                let s = self.open().await?.endpoint.stats().await?;
                Ok(format!("{} {} {} {} {}", s.received, s.repeated, s.refused, s.sent, s.sent_root))
            }
            ["lite", address, key] => masterchain_seqno(address.parse()?, public_key(key)?).await,
            _ => self.execute_dht(words).await,
        }
    }

    async fn execute_dht(&self, words: &[&str]) -> anyhow::Result<String> {
        match *words {
            ["dht-section"] => {
                let node = self.open().await?.presented.context("no DHT server")?;
                Ok(dht::dht_section(&[node]).to_string())
            }
            ["dht-nodes", json] => {
                let nodes = dht::static_nodes(&serde_json::from_str(json)?);
                let count = nodes.len();
                *self.dht_nodes.lock().expect("no panic") = nodes;
                Ok(count.to_string())
            }
            ["store-address", seed, address] => {
                let list =
                    AddressList { addrs: vec![address.parse()?], version: unix()?, reinit_date: unix()?, ..Default::default() };
                self.store(dht::address_value(&private_key(seed)?, &list, unix()? + TTL)).await
            }
            ["store-payment-node", seed, id] => {
                let data = dht::PaymentNode(AdnlId(bytes(id)?)).to_boxed();
                self.store(dht::Value::signed(&private_key(seed)?, dht::PAYMENT_NODE, data, unix()? + TTL)).await
            }
            ["find-address", id] => {
                let (key, address) = self.dht().await?.find_address(AdnlId(bytes(id)?)).await?;
                Ok(format!("{} {address}", hex::encode(key.to_bytes())))
            }
            ["find-payment-node", key] => {
                let id = self.dht().await?.find_payment_node(&public_key(key)?).await?;
                Ok(hex::encode(id.as_bytes()))
            }
            _ => self.execute_dht_without_owner(words).await,
        }
    }

    /// Values that have no owner: of overlays, and of anybody.
    async fn execute_dht_without_owner(&self, words: &[&str]) -> anyhow::Result<String> {
        const NOTE: &str = "note";
        match *words {
            ["join-overlay", seed, name] => {
                let (name, now) = (hex::decode(name)?, unix()?);
                let overlay = dht::Owner::Overlay(name.clone()).id();
                let node = dht::OverlayNode::signed(&private_key(seed)?, overlay, now);
                self.store(dht::Value::of_overlay(&name, &dht::OverlayNodes(vec![node]), now + TTL)).await
            }
            ["find-overlay", name] => {
                let nodes = self.dht().await?.find_overlay_nodes(&hex::decode(name)?).await?;
                let keys: Vec<_> = nodes.0.iter().map(|node| hex::encode(node.key.to_bytes())).collect();
                Ok(keys.join(" "))
            }
            ["store-note", bytes, content] => {
                let owner = dht::Owner::Unencrypted(hex::decode(bytes)?);
                self.store(dht::Value::unsigned(owner, NOTE, hex::decode(content)?, unix()? + TTL)).await
            }
            ["find-note", bytes] => {
                let key = dht::Key::new(dht::Owner::Unencrypted(hex::decode(bytes)?).id(), NOTE);
                Ok(hex::encode(self.dht().await?.find_value(&key).await?.data))
            }
            _ => bail!("unknown command"),
        }
    }

    async fn listen(&self, key: &PrivateKey, port: u16, last: u32, shift: i64, serve: &str) -> anyhow::Result<String> {
        let mut open = self.open.lock().await;
        anyhow::ensure!(open.is_none(), "already open");
        let clock = u32::try_from(i64::from(unix()?) + shift)?;
        let epoch = adnl::next_epoch(last, clock);
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let config = adnl::Config { key: key.clone(), epoch, listen, advertise: None };
        let records = self.records.clone();
        let journal = move |record: PeerRecord| {
            records.lock().expect("no panic").insert(record.key.id(), record);
        };
        let (endpoint, incoming) = Endpoint::bind(config, journal).await?;
        let address = endpoint.local_addr();
        *open = Some(self.serve(endpoint, incoming, key, epoch, serve)?);
        Ok(format!("{} {address} {epoch}", hex::encode(key.public().to_bytes())))
    }

    fn serve(&self, endpoint: Endpoint, incoming: Incoming, key: &PrivateKey, epoch: u32, serve: &str) -> anyhow::Result<Open> {
        let Incoming { queries, customs, .. } = incoming;
        let (mut rldp, mut presented) = (None, None);
        match serve {
            "questions" => {
                answer_adnl(queries, self.teller.clone());
                rldp = Some(answer_rldp(endpoint.clone(), customs, self.teller.clone()));
            }
            "one-packet" => {
                tokio::spawn(one_packet::run(endpoint.clone(), customs, self.teller.clone()));
            }
            "dht" => {
                let SocketAddr::V4(address) = endpoint.local_addr() else { bail!("not IPv4") };
                let node = dht::Node::present(key, address, epoch);
                let others = self.dht_nodes.lock().expect("no panic").clone();
                tokio::spawn(dht::Server::new(node.clone(), others).run(queries));
                presented = Some(node);
            }
            _ => bail!("serves questions, one-packet or dht"),
        }
        Ok(Open { endpoint, rldp, presented })
    }

    async fn dial(&self, key: PublicKey, address: SocketAddr) -> anyhow::Result<String> {
        let stored = self.records.lock().expect("no panic").get(&key.id()).cloned();
        let channel_date = stored.map_or(0, |record| record.channel_date);
        self.open().await?.endpoint.add_peer(PeerRecord { key, address: Some(address), channel_date }).await?;
        Ok(String::new())
    }

    async fn store(&self, value: dht::Value) -> anyhow::Result<String> {
        Ok(self.dht().await?.store(&value).await?.to_string())
    }

    async fn dht(&self) -> anyhow::Result<dht::Client> {
        let nodes = self.dht_nodes.lock().expect("no panic").clone();
        Ok(dht::Client::new(self.open().await?.endpoint, nodes))
    }

    async fn open(&self) -> anyhow::Result<Open> {
        self.open.lock().await.clone().context("not open")
    }
}

impl Open {
    async fn ask(&self, peer: AdnlId, ask: &Ask, time: Duration, transport: &str) -> anyhow::Result<u32> {
        let question = ask.to_boxed();
        let answer = match transport {
            "adnl" => self.endpoint.query(peer, question, time).await?,
            "rldp" => self.rldp.as_ref().context("no RLDP here")?.query(peer, question, MAX_ANSWER, time).await?,
            _ => bail!("asks over adnl or rldp"),
        };
        ask.check(&answer)
    }

    async fn ask_many(&self, peer: AdnlId, asks: Vec<Ask>, time: Duration, at_once: usize) -> anyhow::Result<String> {
        let permits = Arc::new(Semaphore::new(at_once));
        let mut asking = JoinSet::new();
        for ask in asks {
            let (open, permits) = (self.clone(), permits.clone());
            asking.spawn(async move {
                let _permit = permits.acquire().await?;
                open.ask(peer, &ask, time, "adnl").await.with_context(|| format!("question {}", ask.number))
            });
        }
        let times = asking.join_all().await.into_iter().collect::<anyhow::Result<Vec<u32>>>()?;
        Ok(times.into_iter().max().unwrap_or_default().to_string())
    }
}

fn answer_adnl(mut queries: tokio::sync::mpsc::Receiver<adnl::IncomingQuery>, teller: Teller) {
    tokio::spawn(async move {
        while let Some(query) = queries.recv().await {
            if let Some(answer) = teller.tell(&query.data) {
                let _ = query.responder.answer(answer).await;
            }
        }
    });
}

fn answer_rldp(endpoint: Endpoint, customs: tokio::sync::mpsc::Receiver<adnl::Custom>, teller: Teller) -> Rldp {
    let (rldp, mut queries) = Rldp::start(endpoint, customs);
    tokio::spawn(async move {
        while let Some(query) = queries.recv().await {
            if let Some(answer) = teller.tell(&query.data) {
                let _ = query.responder.answer(answer).await;
            }
        }
    });
    rldp
}

/// Handshake, authentication, and a query with a wait prefix.
async fn masterchain_seqno(address: SocketAddr, key: PublicKey) -> anyhow::Result<String> {
    let options = ConnectionOptions { authenticate: Some(PrivateKey::generate()), ..Default::default() };
    let connection = Connection::connect(address, key, &options).await?;
    let seqno = connection.query(&GetMasterchainInfo {}, LITE_PATIENCE).await?.last.seqno;
    let waited = connection.query_after(seqno, &GetMasterchainInfo {}, LITE_PATIENCE).await?;
    Ok(waited.last.seqno.to_string())
}

fn unix() -> anyhow::Result<u32> {
    Ok(u32::try_from(UNIX_EPOCH.elapsed()?.as_secs())?)
}

fn bytes(hex: &str) -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(hex, &mut bytes)?;
    Ok(bytes)
}

fn private_key(hex: &str) -> anyhow::Result<PrivateKey> {
    Ok(PrivateKey::from_seed(&bytes(hex)?))
}

fn public_key(hex: &str) -> anyhow::Result<PublicKey> {
    Ok(PublicKey::from_bytes(&bytes(hex)?)?)
}

fn number<N: FromStr<Err: std::error::Error + Send + Sync + 'static>>(word: &str) -> anyhow::Result<N> {
    word.parse().with_context(|| format!("not a number: {word}"))
}

fn milliseconds(word: &str) -> anyhow::Result<Duration> {
    Ok(Duration::from_millis(number(word)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two peers as the tests use them: question and answer over both transports, and what the second execution shows.
    #[tokio::test]
    async fn two_peers_ask_each_other() {
        let (a, b) = (Peer::default(), Peer::default());
        let listen = async |peer: &Peer, seed: &str| {
            let words = peer.execute(&["listen", &seed.repeat(32), "0", "0", "0", "questions"]).await.unwrap();
            words.split(' ').map(str::to_owned).collect::<Vec<_>>()
        };
        let (_, of_b) = (listen(&a, "01").await, listen(&b, "02").await);
        a.execute(&["dial", &of_b[0], &of_b[1]]).await.unwrap();
        for (transport, number, data) in [("adnl", "1", "6000"), ("rldp", "2", "30000")] {
            let ask = ["ask", &of_b[0], "10000", transport, number, "2000", data];
            assert_eq!(a.execute(&ask).await.unwrap(), "1");
            assert_eq!(a.execute(&ask).await.unwrap(), "2", "another question of the same number");
        }
        assert_eq!(a.execute(&["ask-many", &of_b[0], "10000", "100", "50", "8", "10", "10"]).await.unwrap(), "1");
        a.execute(&["close"]).await.unwrap();
        assert!(a.execute(&["stats"]).await.is_err());
    }

    #[tokio::test]
    async fn nonsense_is_refused() {
        let peer = Peer::default();
        for words in [&["dance"][..], &[], &["listen", "zz", "0", "0", "0", "questions"], &["stats"], &["find-address", "00"]] {
            assert!(peer.execute(words).await.is_err(), "{words:?}");
        }
    }
}
