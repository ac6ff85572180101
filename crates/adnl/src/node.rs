use crate::address::AddressList;
use crate::admission::Admission;
use crate::cipher;
use crate::common::{Core, Event, PeerRecord, Random, Stats};
use crate::keys::{AdnlId, PrivateKey, PublicKey};
use crate::message::{Message, QueryId};
use crate::outbox::Outbox;
use crate::packet::Packet;
use crate::parts::MAX_MESSAGE;
use crate::peer::Peer;
use crate::time::Now;
use bytes::Bytes;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;

/// Peers at a time. An unknown one takes the place of an unwanted one: of those without a channel, else of all, the one that is silent
/// for longest.
const MAX_PEERS: usize = 4096;
/// Shortest datagram: a channel packet's header.
const MIN_DATAGRAM: usize = 64;
/// Between the root packets that tell peers of a new address.
const TELL_EVERY: Duration = Duration::from_millis(1);
/// Largest query, answer or custom message: the constructor, the id and the length take up to 40 bytes of the message.
pub const MAX_PAYLOAD: usize = MAX_MESSAGE - 44;

/// Why something cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The peer was never added, or is gone.
    #[error("unknown peer")]
    UnknownPeer,
    /// Longer than [`MAX_PAYLOAD`].
    #[error("message too large for a datagram transport")]
    TooLarge,
    /// Too much is under way with this peer.
    #[error("too much under way with this peer")]
    Busy,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Peer(AdnlId),
    Query(AdnlId, QueryId),
}

/// A node without socket and clock: datagrams, calls and the time go in; datagrams and [`Event`]s come out.
///
/// After any calls, [`Node::flush`] writes what they want to send, then [`Node::outbox`] and [`Node::take_events`] are emptied.
pub struct Node {
    core: Core,
    peers: HashMap<AdnlId, Peer>,
    dirty: Vec<AdnlId>,
    timers: BinaryHeap<Reverse<(Duration, Timer)>>,
    admission: Admission,
}

impl Node {
    /// A node with this key. `epoch` is larger than any that the key ever had, see [`crate::next_epoch`]. `address` is published to
    /// peers and must be reachable by them; none for a node that only dials out.
    pub fn new(key: PrivateKey, epoch: u32, address: Option<SocketAddrV4>) -> Self {
        let address =
            AddressList { addrs: address.into_iter().collect(), version: epoch, reinit_date: epoch, priority: 0, expire_at: 0 };
        let core = Core {
            id: key.id(),
            key,
            epoch,
            address,
            random: Random::new(),
            outbox: Outbox::default(),
            messages: Vec::new(),
            events: Vec::new(),
            channels: HashMap::new(),
            stats: Stats::default(),
        };
        Self { core, peers: HashMap::new(), dirty: Vec::new(), timers: BinaryHeap::new(), admission: Admission::new() }
    }

    /// Changes the address that is published. Those whom it concerns are told until they have it, one after another; the others learn it when
    /// they next need to. Returns the list as it is published.
    pub fn advertise(&mut self, now: Now, address: Option<SocketAddrV4>) -> AddressList {
        let list = &mut self.core.address;
        list.addrs = address.into_iter().collect();
        list.version = now.unix.max(list.version.saturating_add(1));
        let ids: Vec<AdnlId> = self.peers.keys().copied().collect();
        for (turn, id) in (0..).zip(&ids) {
            if let Some(peer) = self.peers.get_mut(id) {
                peer.tell_address(now.elapsed + TELL_EVERY * turn);
            }
            self.touched(now, *id);
        }
        self.core.address.clone()
    }

    /// Our id.
    pub fn id(&self) -> AdnlId {
        self.core.id
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.core.stats
    }

    /// Number of peers.
    pub fn peers(&self) -> usize {
        self.peers.len()
    }

    /// Adds a peer or updates its address. A *wanted* one is greeted, kept alive and never forgotten.
    pub fn add_peer(&mut self, now: Now, record: &PeerRecord, wanted: bool) -> Result<AdnlId, SendError> {
        let id = record.key.id();
        if id == self.core.id || !self.make_room(&id) {
            return Err(SendError::Busy);
        }
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(now, record, wanted));
        if let Some(address) = record.address {
            peer.addr = Some(address);
            self.admission.expect(address.ip());
            if let Some(before) = peer.expected.replace(address.ip()) {
                self.admission.expect_no_more(before);
            }
        }
        peer.wanted |= wanted;
        self.touched(now, id);
        Ok(id)
    }

    /// Forgets a peer; its queries expire.
    pub fn remove_peer(&mut self, id: &AdnlId) {
        if let Some(peer) = self.peers.remove(id) {
            peer.expected.iter().for_each(|address| self.admission.expect_no_more(*address));
            peer.dismantle(&mut self.core);
        }
    }

    /// Asks. The query is repeated until it is answered or `timeout` is over; either is an [`Event`].
    pub fn query(&mut self, now: Now, peer: &AdnlId, data: &[u8], timeout: Duration) -> Result<QueryId, SendError> {
        let id = self.core.random.bytes();
        let message = payload(data, |data| Message::Query { id, data })?;
        if !self.peer(peer)?.ask(now, id, message, timeout) {
            return Err(SendError::Busy);
        }
        self.timers.push(Reverse((now.elapsed + timeout.min(Peer::FIRST_RETRY), Timer::Query(*peer, id))));
        self.touched(now, *peer);
        Ok(id)
    }

    /// Gives up a query: its answer will be dropped.
    pub fn forget_query(&mut self, peer: &AdnlId, id: &QueryId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.forget_query(id);
        }
    }

    /// Answers a query of [`Event::Query`].
    pub fn answer(&mut self, now: Now, peer: &AdnlId, id: &QueryId, data: &[u8]) -> Result<(), SendError> {
        let message = payload(data, |data| Message::Answer { id: *id, data })?;
        self.peer(peer)?.answer(now, id, message);
        self.touched(now, *peer);
        Ok(())
    }

    /// The query of an [`Event::Query`] was not executed, and its next copy shall be.
    pub fn cancel_answer(&mut self, peer: &AdnlId, id: &QueryId) {
        if let Some(peer) = self.peers.get_mut(peer) {
            peer.cancel_answer(id);
        }
    }

    /// Sends a message of an upper layer, once. `reply`: it makes the peer send something, so that silence is a sign of a dead session.
    pub fn custom(&mut self, now: Now, peer: &AdnlId, data: &[u8], reply: bool) -> Result<(), SendError> {
        let message = payload(data, |data| Message::Custom { data })?;
        self.peer(peer)?.queue.push(now.elapsed, message, reply);
        self.touched(now, *peer);
        Ok(())
    }

    /// Takes a datagram; decrypts it in place.
    pub fn handle_datagram(&mut self, now: Now, from: SocketAddr, datagram: &mut [u8]) {
        let handled = match datagram.split_first_chunk_mut::<32>() {
            Some((id, rest)) if rest.len() + 32 >= MIN_DATAGRAM => match *id == self.core.id.0 {
                true => self.handle_root(now, from, rest),
                false => self.handle_channel(now, id, rest),
            },
            _ => None,
        };
        match handled {
            Some(peer) => self.touched(now, peer),
            None => self.core.stats.refused += 1,
        }
    }

    fn handle_root(&mut self, now: Now, from: SocketAddr, rest: &mut [u8]) -> Option<AdnlId> {
        let (key, rest) = rest.split_first_chunk_mut::<32>()?;
        let (checksum, body) = rest.split_first_chunk_mut::<32>()?;
        if !self.admission.admit(now, from.ip()) {
            return None;
        }
        self.core.stats.opened += 1;
        let secret = self.core.key.shared_secret(&PublicKey::from_bytes(key).ok()?).ok()?;
        if !cipher::open(&secret, checksum, body) {
            return None;
        }
        let packet = Packet::parse(body).ok()?;
        // The key that encrypts says nothing of the sender (network 3.1).
        let id = packet.from.map(|key| key.id()).or(packet.from_short)?;
        if id == self.core.id || packet.from_short.is_some_and(|short| short != id) {
            return None;
        }
        if let Some(peer) = self.peers.get_mut(&id)
            && peer.knows(checksum)
        {
            peer.repeat_answers(now, &packet);
            self.core.stats.repeated += 1;
            return Some(id);
        }
        let key = packet.from.or_else(|| self.peers.get(&id).map(|peer| peer.key))?;
        if !packet.is_signed_by(&key, body) || !Peer::plausible(now, self.core.epoch, packet.dates) || !self.make_room(&id) {
            return None;
        }
        let record = PeerRecord { key, address: None, channel_date: 0 };
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(now, &record, false));
        if !peer.receive_root(now, &mut self.core, from, &packet, *checksum) {
            return None;
        }
        self.core.stats.received += 1;
        Some(id)
    }

    fn handle_channel(&mut self, now: Now, channel: &[u8; 32], rest: &mut [u8]) -> Option<AdnlId> {
        let id = *self.core.channels.get(channel)?;
        let peer = self.peers.get_mut(&id)?;
        let secret = peer.inbound_secret(now, channel)?;
        let (checksum, body) = rest.split_first_chunk_mut::<32>()?;
        if !cipher::open(&secret, checksum, body) {
            return None;
        }
        let packet = Packet::parse(body).ok()?;
        if peer.receive_channel(now, &mut self.core, channel, &packet) {
            self.core.stats.received += 1;
        } else {
            peer.repeat_answers(now, &packet);
            self.core.stats.repeated += 1;
        }
        Some(id)
    }

    /// Whether there is room for this peer, after the least useful one was removed if need be.
    fn make_room(&mut self, id: &AdnlId) -> bool {
        if self.peers.len() < MAX_PEERS || self.peers.contains_key(id) {
            return true;
        }
        let unwanted = self.peers.values().filter(|peer| !peer.wanted);
        match unwanted.min_by_key(|peer| (peer.is_ready(), peer.last_received)).map(|peer| peer.id) {
            Some(oldest) => {
                self.remove_peer(&oldest);
                true
            }
            None => false,
        }
    }

    /// Does everything that is due.
    pub fn handle_timers(&mut self, now: Now) {
        while self.timers.peek().is_some_and(|Reverse((at, _))| *at <= now.elapsed) {
            let Some(Reverse((at, timer))) = self.timers.pop() else { break };
            let id = match timer {
                Timer::Peer(id) => {
                    let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.armed == Some(at)) else { continue };
                    peer.armed = None;
                    if !peer.handle_timer(now, &mut self.core) {
                        self.remove_peer(&id);
                        continue;
                    }
                    id
                }
                Timer::Query(id, query) => {
                    let Some(peer) = self.peers.get_mut(&id) else { continue };
                    if let Some(next) = peer.retry(now, &mut self.core, &query) {
                        self.timers.push(Reverse((next, Timer::Query(id, query))));
                    }
                    id
                }
            };
            self.touched(now, id);
        }
    }

    /// When [`Self::handle_timers`] is to be called next. It may turn out to have nothing to do.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.peek().map(|Reverse((at, _))| *at)
    }

    /// Writes the datagrams of everything queued: several messages share one.
    pub fn flush(&mut self, now: Now) {
        for id in std::mem::take(&mut self.dirty) {
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.dirty = false;
                peer.flush(now, &mut self.core);
                arm(&mut self.timers, now, peer);
            }
        }
    }

    /// The datagrams to be sent; the caller clears it.
    pub fn outbox(&mut self) -> &mut Outbox {
        &mut self.core.outbox
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.core.events.drain(..)
    }

    fn peer(&mut self, id: &AdnlId) -> Result<&mut Peer, SendError> {
        self.peers.get_mut(id).ok_or(SendError::UnknownPeer)
    }

    /// Lists the peer for the next flush, and sets its timer.
    fn touched(&mut self, now: Now, id: AdnlId) {
        if let Some(peer) = self.peers.get_mut(&id) {
            if peer.has_output() && !std::mem::replace(&mut peer.dirty, true) {
                self.dirty.push(id);
            }
            arm(&mut self.timers, now, peer);
        }
    }
}

fn arm(timers: &mut BinaryHeap<Reverse<(Duration, Timer)>>, now: Now, peer: &mut Peer) {
    let next = peer.next_timer(now);
    if peer.armed.is_none_or(|armed| next < armed) {
        peer.armed = Some(next);
        timers.push(Reverse((next, Timer::Peer(peer.id))));
    }
}

fn payload<'a>(data: &'a [u8], message: impl FnOnce(&'a [u8]) -> Message<'a>) -> Result<Bytes, SendError> {
    if data.len() > MAX_PAYLOAD {
        return Err(SendError::TooLarge);
    }
    Ok(Bytes::from(message(data).to_bytes()))
}
