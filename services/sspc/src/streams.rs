//! Streams to peers. Each end proves its account when a stream begins ([`sspc::Identity`]), and a stream carries messages of the channels with
//! that account only: what somebody else says or claims neither reaches a channel nor moves its messages.
//!
//! A peer may have several streams, since both ends may dial; the newest is used. It begins with an acknowledgement per channel, so that the
//! other side says again what was lost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use alloy_primitives::Address;
use sspc::{Envelope, Error, Incoming, Link, LinkError, Outgoing};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::node::{Node, locked};

/// Messages that are taken together.
const BURST: usize = 1_024;
/// Bursts that wait for a slow stream; more are lost, and said again.
const QUEUE: usize = 256;
/// Streams whose peer has not proven its account yet.
const MAX_GREETINGS: usize = 256;
/// Streams of accounts that we have no channel with that is on the chain: accounts, and drafts, cost nothing.
const MAX_STRANGERS: usize = 64;
/// How long such a stream may stay: whoever has become known makes a new one.
const STRANGER_TIME: Duration = Duration::from_secs(300);
/// Streams of one peer; the oldest makes room.
const MAX_OF_PEER: usize = 4;
/// Longest time for TLS and the proofs.
const GREETING: Duration = Duration::from_secs(10);
/// Longest silence of a stream before it is ended; whoever dialed makes a new one.
const IDLE: Duration = Duration::from_secs(300);
/// Longest wait for a peer to read what it is sent.
const SEND_TIME: Duration = Duration::from_secs(30);
/// After a stream could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Between two tries to dial.
const DIAL_PAUSE: Duration = Duration::from_millis(200);

type Letters = mpsc::Sender<Vec<Envelope>>;

/// The streams of each peer, the newest last. A stream that is taken out ends.
#[derive(Default)]
pub struct Streams {
    open: StdMutex<HashMap<Address, Vec<(u64, Letters)>>>,
    /// Peers that the configuration names.
    named: StdMutex<HashSet<Address>>,
    count: AtomicU64,
}

impl Streams {
    fn add(&self, peer: Address) -> (u64, Letters, mpsc::Receiver<Vec<Envelope>>) {
        let (sender, letters) = mpsc::channel(QUEUE);
        let id = self.count.fetch_add(1, Ordering::Relaxed);
        let mut open = locked(&self.open);
        let streams = open.entry(peer).or_default();
        streams.push((id, sender.clone()));
        let surplus = streams.len().saturating_sub(MAX_OF_PEER);
        streams.drain(..surplus);
        (id, sender, letters)
    }

    /// The stream that the peer's messages go to from now on, when this one was it and there is another.
    fn remove(&self, peer: Address, id: u64) -> Option<Letters> {
        let mut open = locked(&self.open);
        let streams = open.get_mut(&peer)?;
        let was_newest = streams.last().is_some_and(|(newest, _)| *newest == id);
        streams.retain(|(other, _)| *other != id);
        let next = streams.last().map(|(_, letters)| letters.clone()).filter(|_| was_newest);
        if streams.is_empty() {
            open.remove(&peer);
        }
        next
    }

    /// Whether the newest stream of the peer takes these letters.
    pub(crate) fn send(&self, peer: Address, letters: Vec<Envelope>) -> bool {
        let open = locked(&self.open);
        let newest = open.get(&peer).and_then(|streams| streams.last());
        newest.is_some_and(|(_, stream)| stream.try_send(letters).is_ok())
    }
}

impl Node {
    /// Keeps a stream to an address until the node stops, connecting anew when it ends. With a `peer`, only if that account is there.
    pub async fn connect(self: Arc<Self>, address: SocketAddr, peer: Option<Address>) {
        locked(&self.streams.named).extend(peer);
        while !self.stop.is_cancelled() {
            let dialed = timeout(GREETING, Link::dial(address, &self.identity, self.tools.signer.as_ref())).await;
            match dialed.unwrap_or(Err(LinkError::Unproven)) {
                Ok((link, there)) if peer.is_none_or(|peer| peer == there) => self.clone().serve(link, there).await,
                Ok((_, there)) => tracing::warn!(%address, %there, "another account than the configured one"),
                Err(error) => tracing::debug!(%address, %error, "no stream"),
            }
            tokio::select! {
                () = tokio::time::sleep(DIAL_PAUSE) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Takes streams of peers until the node stops.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let (greetings, strangers) = (Arc::new(Semaphore::new(MAX_GREETINGS)), Arc::new(Semaphore::new(MAX_STRANGERS)));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of files, perhaps: the next try at once would fail as well.
                    tracing::warn!(%error, "no stream was accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(greeting) = greetings.clone().try_acquire_owned() else { continue };
            let (node, strangers) = (self.clone(), strangers.clone());
            tokio::spawn(async move {
                let answered = timeout(GREETING, Link::answer(stream, &node.identity, node.tools.signer.as_ref())).await;
                drop(greeting);
                match answered.unwrap_or(Err(LinkError::Unproven)) {
                    Ok((link, peer)) if node.knows(peer) => node.serve(link, peer).await,
                    Ok((link, peer)) => {
                        let Ok(_stranger) = strangers.try_acquire() else { return };
                        node.serve(link, peer).await;
                    }
                    Err(error) => tracing::debug!(%error, "a stream without a proof"),
                }
            });
        }
    }

    fn knows(&self, peer: Address) -> bool {
        locked(&self.streams.named).contains(&peer) || self.has_dealings_with(peer)
    }

    /// Ends when the peer has been a stranger for too long.
    async fn outstay(&self, peer: Address, patience: Duration) -> String {
        if !self.knows(peer) {
            tokio::time::sleep(patience).await;
        }
        if self.knows(peer) {
            std::future::pending::<()>().await;
        }
        "a stranger for too long".to_owned()
    }

    /// Speaks with a peer until the stream ends. Both directions on their own: who waits for the peer to read goes on reading.
    async fn serve(self: Arc<Self>, link: Link, peer: Address) {
        let (id, stream, letters) = self.streams.add(peer);
        tokio::spawn(self.clone().greet(peer, stream));
        let (incoming, outgoing) = link.split();
        let ended = tokio::select! {
            reason = self.listen_to(peer, incoming) => reason,
            reason = tell(outgoing, letters, SEND_TIME) => reason,
            reason = self.outstay(peer, STRANGER_TIME) => reason,
            () = self.stop.cancelled() => "the node stops".to_owned(),
        };
        tracing::debug!(%peer, reason = ended, "a stream has ended");
        if let Some(next) = self.streams.remove(peer, id) {
            // What was lost on this one is said again there.
            tokio::spawn(self.greet(peer, next));
        }
    }

    /// Takes what a peer says until it ends or says what cannot be taken.
    async fn listen_to(&self, peer: Address, mut incoming: Incoming) -> String {
        loop {
            match timeout(IDLE, incoming.receive(BURST)).await {
                Ok(Ok(messages)) => {
                    if let Err(error) = self.take(peer, &messages).await {
                        return error.to_string();
                    }
                }
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "silence".to_owned(),
            }
        }
    }

    /// Says on a stream what we have, and again what may be lost.
    async fn greet(self: Arc<Self>, peer: Address, stream: Letters) {
        for key in self.channels_with(peer) {
            // Waits for room, so that nothing of many channels is lost.
            if stream.reserve().await.is_err() {
                return;
            }
            if let Err(error) = self.with(&key, async |channel| channel.greet().await).await {
                tracing::debug!(channel = %key, %error, "not greeted");
            }
        }
    }

    /// Messages of a peer, in order; those of one channel that follow each other are one change.
    async fn take(&self, peer: Address, messages: &[Envelope]) -> Result<(), Error> {
        for burst in messages.chunk_by(|one, next| one.channel == next.channel) {
            let key = burst[0].channel;
            match self.entry(&key) {
                Ok(entry) if entry.peer() == peer => {}
                Ok(_) => return Err(Error::NotOurs),
                Err(_) if self.proposed(peer, burst).await? => {}
                Err(_) => continue,
            }
            match self.with(&key, async |channel| channel.handle(burst).await).await {
                Ok(()) => {}
                // Forgotten meanwhile.
                Err(Error::Unknown) => {}
                Err(Error::Refused(refusal)) => tracing::debug!(channel = %key, %refusal, "refused"),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Tells a peer what there is for it until it does not read, for `patience`, or newer streams have taken this one's place.
async fn tell(mut outgoing: Outgoing, mut letters: mpsc::Receiver<Vec<Envelope>>, patience: Duration) -> String {
    while let Some(letters) = letters.recv().await {
        match timeout(patience, outgoing.send(&letters)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return "the peer does not read".to_owned(),
        }
    }
    "newer ones took its place".to_owned()
}

#[cfg(test)]
mod tests {
    use sspc::{Amount, Message, Round};

    use super::*;

    fn letters() -> Vec<Envelope> {
        let message = Message::Ack { counted: Amount::new(1), round: Round::OPENING };
        vec![Envelope { channel: [3; 32].into(), message }]
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_not_waited_for_for_ever() {
        let (near, far) = tokio::io::duplex(16);
        let (sender, queue) = mpsc::channel(2);
        sender.send(letters()).await.unwrap();
        let ended = tell(Link::new(near).split().1, queue, Duration::from_millis(10)).await;
        assert_eq!(ended, "the peer does not read");
        drop(far);
    }

    #[tokio::test]
    async fn a_stranger_does_not_stay_and_whoever_is_known_does() {
        let key = sspc::LocalKey::from_bytes(&[1; 32]).unwrap();
        let chain = sspc::Simulation::new(1).account(sspc::Signer::address(&key), alloy_primitives::U256::ZERO);
        let store = Arc::new(sspc::MemoryStore::default());
        let tools = sspc::Tools { store, chain: Arc::new(chain), signer: Arc::new(key), settings: sspc::Settings::default() };
        let node = Node::start(tools, None, tokio_util::sync::CancellationToken::new()).await.unwrap();
        let (stranger, known) = (Address::repeat_byte(1), Address::repeat_byte(2));
        locked(&node.streams.named).insert(known);
        assert_eq!(node.outstay(stranger, Duration::from_millis(1)).await, "a stranger for too long");
        let mut staying = std::pin::pin!(node.outstay(known, Duration::ZERO));
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(staying.as_mut().poll(&mut context).is_pending());
    }

    #[test]
    fn the_newest_stream_of_a_peer_is_used_and_the_oldest_makes_room() {
        let (streams, peer, other) = (Streams::default(), Address::repeat_byte(1), Address::repeat_byte(2));
        assert!(!streams.send(peer, letters()));
        let mut all: Vec<_> = (0..=MAX_OF_PEER).map(|_| streams.add(peer)).collect();
        let (stranger, _, mut to_stranger) = streams.add(other);
        assert!(streams.send(peer, letters()));
        let mut received = |index: usize| all[index].2.try_recv();
        assert_eq!(received(MAX_OF_PEER), Ok(letters()));
        // Only our own copies of the first one's sender are left.
        assert!(to_stranger.try_recv().is_err());
        let newest = all[MAX_OF_PEER].0;
        assert!(streams.remove(peer, newest).is_some(), "another one goes on");
        assert!(streams.send(peer, letters()));
        assert_eq!(all[MAX_OF_PEER - 1].2.try_recv(), Ok(letters()));
        let (_, first, mut to_first) = all.remove(0);
        drop(first);
        assert_eq!(to_first.try_recv(), Err(mpsc::error::TryRecvError::Disconnected), "the oldest is ended");
        assert!(streams.remove(other, stranger).is_none());
        assert!(!streams.send(other, letters()));
    }
}
