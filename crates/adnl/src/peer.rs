use crate::answers::{Answers, Known};
use crate::channel::{Channel, Direction, OwnKey, derive};
use crate::common::{Core, Event, PeerRecord};
use crate::keys::{AdnlId, PrivateKey, PublicKey};
use crate::message::{Message, QueryId, brief};
use crate::packet::{Dates, Packet};
use crate::parts::Reassembly;
use crate::replay::{Digests, Window};
use crate::send::Queue;
use crate::time::{Allowance, Now};
use bytes::Bytes;
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// An epoch may be this far ahead of our clock (network 3.6 step 2).
const MAX_AHEAD: u32 = 60;
/// How long packets of a replaced channel are still understood (network 3.4 rule 2).
const PREVIOUS_TTL: Duration = Duration::from_secs(60);
/// When something was received and nothing sent for so long, a nop tells the peer that we hear it (network 3.11).
const ACK_AFTER: Duration = Duration::from_millis(1500);
/// The same while a channel is being opened, so that it gets ready.
const ACK_HANDSHAKE_AFTER: Duration = Duration::from_millis(20);
/// A wanted peer that is silent for so long gets a nop.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Longest pause between nops to a wanted peer that does not react.
const MAX_KEEPALIVE: Duration = Duration::from_secs(60);
/// An unwanted peer that is silent for so long is forgotten (network 3.11).
pub(crate) const IDLE: Duration = Duration::from_secs(600);
/// The same for one that did not get as far as a channel.
const PENDING: Duration = Duration::from_secs(30);
/// A channel key that nothing reacted to for so long is replaced: the peer may hold a larger date for us.
const RENEW_KEY_AFTER: Duration = Duration::from_secs(10);
/// An address is not moved by a packet with an old number unless the peer was silent for so long.
const ADDRESS_HOLD: Duration = Duration::from_secs(10);
/// Root packets to one peer: so many at once, then one per interval, as C++ nodes limit them (network 3.11).
const ROOT_BURST: u32 = 16;
const ROOT_INTERVAL: Duration = Duration::from_millis(500);
/// A peer is told of our new address so often, and again after so long, doubled each time, until it says that it has it: some never do.
const MAX_TOLD: u32 = 5;
const TELL_AGAIN: Duration = Duration::from_secs(2);
/// Unanswered queries to one peer.
const MAX_QUERIES: usize = 8192;
/// Pauses before a query's copies (network 3.8); the last one repeats.
const RETRY: [Duration; 3] = [Duration::from_millis(250), Duration::from_millis(500), Duration::from_millis(1000)];

/// A query of ours under way.
struct Asked {
    message: Bytes,
    deadline: Duration,
    copies: usize,
}

struct Previous {
    inbound: Direction,
    window: Window,
    until: Duration,
}

/// One peer: its session, its channel, what is under way with it.
pub(crate) struct Peer {
    pub id: AdnlId,
    pub key: PublicKey,
    pub addr: Option<SocketAddr>,
    /// Where we were told that it is.
    pub expected: Option<IpAddr>,
    pub wanted: bool,
    /// The peer's reinit date, zero = unknown.
    pub epoch: u32,
    pub out_seqno: u64,
    pub in_seqno: u64,
    pub own: Option<OwnKey>,
    channel_date: u32,
    pub channel: Option<Channel>,
    previous: Option<Previous>,
    /// The version of the peer's address list that we have.
    pub list_version: Option<u32>,
    /// The next packet says so.
    pub tell_list_version: bool,
    /// The peer has our address list.
    pub list_acked: bool,
    /// When it is told of a new one again, and how often it was.
    tell_at: Option<Duration>,
    told: u32,
    digests: Digests,
    answers: Answers,
    parts: Reassembly,
    queries: HashMap<QueryId, Asked>,
    pub queue: Queue,
    pub root_allowance: Allowance,
    /// The next packet goes outside of the channel.
    pub force_root: bool,
    /// The next packet repeats the confirmation of a ready channel.
    pub confirm_once: bool,
    /// A packet is due even if it carries nothing.
    pub nop_due: bool,
    contact: bool,
    pub last_received: Duration,
    /// Since when something that asks for a reaction is out without any.
    pub waiting_since: Option<Duration>,
    /// Since when a root packet is out without any reaction.
    pub root_since: Option<Duration>,
    /// Alternates the channel message (network 3.4 rule 3).
    pub create_again: bool,
    pub ack_at: Option<Duration>,
    keepalive_at: Duration,
    keepalives: u32,
    /// The timer that is set.
    pub armed: Option<Duration>,
    /// Listed for the next flush.
    pub dirty: bool,
}

impl Peer {
    pub fn new(now: Now, record: &PeerRecord, wanted: bool) -> Self {
        Self {
            id: record.key.id(),
            key: record.key,
            addr: record.address,
            expected: None,
            wanted,
            epoch: 0,
            out_seqno: 0,
            in_seqno: 0,
            own: None,
            channel_date: record.channel_date,
            channel: None,
            previous: None,
            list_version: None,
            tell_list_version: false,
            list_acked: false,
            tell_at: None,
            told: 0,
            digests: Digests::default(),
            answers: Answers::default(),
            parts: Reassembly::default(),
            queries: HashMap::new(),
            queue: Queue::default(),
            root_allowance: Allowance::new(ROOT_BURST, ROOT_INTERVAL, now.elapsed),
            force_root: false,
            confirm_once: false,
            nop_due: wanted,
            contact: false,
            last_received: now.elapsed,
            waiting_since: None,
            root_since: None,
            create_again: false,
            ack_at: None,
            keepalive_at: now.elapsed + Duration::from_secs(1),
            keepalives: 0,
            armed: None,
            dirty: false,
        }
    }

    pub fn record(&self) -> PeerRecord {
        PeerRecord { key: self.key, address: self.addr, channel_date: self.channel_date }
    }

    pub fn is_ready(&self) -> bool {
        self.channel.as_ref().is_some_and(|channel| channel.ready)
    }

    /// Whether a flush has something to write.
    pub fn has_output(&self) -> bool {
        !self.queue.is_empty() || self.nop_due
    }

    /// Whether this root packet was processed before.
    pub fn knows(&self, digest: &[u8; 32]) -> bool {
        self.digests.contains(digest)
    }

    /// Whether the epochs of a root packet allow it at all (network 3.6 steps 1, 2).
    pub fn plausible(now: Now, epoch: u32, dates: Option<Dates>) -> bool {
        dates.is_none_or(|dates| dates.peer <= epoch && dates.own <= now.unix.saturating_add(MAX_AHEAD))
    }

    /// A root packet whose signature is this peer's (network 3.6 steps 3 to 6). False when it is refused.
    pub fn receive_root(&mut self, now: Now, core: &mut Core, from: SocketAddr, packet: &Packet<'_>, digest: [u8; 32]) -> bool {
        let dates = packet.dates.unwrap_or(Dates { own: 0, peer: 0 });
        let restarted = dates.own > self.epoch;
        if restarted {
            self.restarted(now, core, dates.own);
        } else if dates.own != 0 && dates.own < self.epoch {
            return false;
        }
        self.locate(now, core, from, packet.seqno.unwrap_or(0));
        self.heard(now, core, packet);
        if dates.peer != 0 && dates.peer < core.epoch {
            // The peer does not know that we restarted. Its messages are for the run before this one.
            (self.force_root, self.nop_due) = (true, true);
            return true;
        }
        self.digests.insert(now.elapsed, digest);
        self.process(now, core, &packet.messages);
        true
    }

    /// The secret of an inbound channel id of this peer.
    pub fn inbound_secret(&self, now: Now, id: &[u8; 32]) -> Option<[u8; 32]> {
        match (&self.channel, &self.previous) {
            (Some(channel), _) if channel.inbound.id == *id => Some(channel.inbound.key),
            (_, Some(previous)) if previous.inbound.id == *id && now.elapsed < previous.until => Some(previous.inbound.key),
            _ => None,
        }
    }

    /// A channel packet that decrypted. False when it is a repeat (network 3.5) or has no number.
    pub fn receive_channel(&mut self, now: Now, core: &mut Core, id: &[u8; 32], packet: &Packet<'_>) -> bool {
        let Some(seqno) = packet.seqno else { return false };
        match (&mut self.channel, &mut self.previous) {
            (Some(channel), _) if channel.inbound.id == *id => {
                if !channel.window.accept(seqno) {
                    return false;
                }
                channel.ready = true;
            }
            (_, Some(previous)) if previous.inbound.id == *id => {
                if !previous.window.accept(seqno) {
                    return false;
                }
            }
            _ => return false,
        }
        self.heard(now, core, packet);
        self.process(now, core, &packet.messages);
        true
    }

    /// A packet that was processed before: its sender may have missed our answers, and nothing else matters (network 3.5).
    pub fn repeat_answers(&mut self, now: Now, packet: &Packet<'_>) {
        for message in &packet.messages {
            let asked = match message {
                Message::Query { id, .. } => Some(*id),
                // The first part stands for all: one copy of the question, one of the answer.
                Message::Part { hash, offset: 0, .. } => self.answers.of_parts(hash),
                _ => None,
            };
            if let Some(id) = asked
                && let Known::Answered(answer) = self.answers.get(&id)
            {
                self.queue.push(now.elapsed, answer, false);
            }
        }
    }

    /// A larger epoch: the peer forgot the channel and starts counting anew. Our channel key stays (network 3.6 step 3).
    fn restarted(&mut self, now: Now, core: &mut Core, epoch: u32) {
        let known = std::mem::replace(&mut self.epoch, epoch);
        if known == 0 {
            // The first that we hear of it: what we sent it was for this run, and was counted.
            return;
        }
        (self.in_seqno, self.out_seqno) = (0, 0);
        (self.list_version, self.list_acked) = (None, false);
        self.retire_channel(now, core);
        tracing::debug!(peer = brief(&self.id), epoch, "peer restarted");
        core.events.push(Event::Reset { peer: self.id });
        // What we asked before is lost (network 3.6): ask again at once.
        for asked in self.queries.values() {
            self.queue.push(now.elapsed, asked.message.clone(), true);
        }
    }

    fn retire_channel(&mut self, now: Now, core: &mut Core) {
        self.confirm_once = false;
        if let Some(Channel { inbound, window, .. }) = self.channel.take() {
            self.drop_previous(core);
            self.previous = Some(Previous { inbound, window, until: now.elapsed + PREVIOUS_TTL });
        }
    }

    fn drop_previous(&mut self, core: &mut Core) {
        if let Some(previous) = self.previous.take() {
            core.channels.remove(&previous.inbound.id);
        }
    }

    /// Replies go to the source of the last root packet (network 3.3). A replayed old one does not move them.
    fn locate(&mut self, now: Now, core: &mut Core, from: SocketAddr, seqno: u64) {
        let current = seqno > self.in_seqno || now.elapsed > self.last_received + ADDRESS_HOLD;
        if self.addr != Some(from) && (self.addr.is_none() || current) {
            self.addr = Some(from);
            // Before our channel key exists its date is not known; with the key the record is reported.
            if self.own.is_some() {
                core.events.push(Event::Record(self.record()));
            }
        }
    }

    fn heard(&mut self, now: Now, core: &mut Core, packet: &Packet<'_>) {
        if !std::mem::replace(&mut self.contact, true) {
            core.events.push(Event::Up { peer: self.key });
        }
        self.in_seqno = self.in_seqno.max(packet.seqno.unwrap_or(0));
        if let Some(list) = &packet.address {
            (self.list_version, self.tell_list_version) = (Some(list.version), true);
            // Outside of channels it is said until it is known to be there.
            if packet.dates.is_some() {
                self.acknowledge_in(now, ACK_HANDSHAKE_AFTER);
            }
        }
        // Packets of a channel may leave it out.
        self.list_acked &= packet.dates.is_none() || packet.recv_version.is_some();
        if let Some(version) = packet.recv_version {
            self.list_acked = version == core.address.version;
        }
        self.last_received = now.elapsed;
        (self.waiting_since, self.root_since) = (None, None);
        (self.keepalives, self.keepalive_at) = (0, now.elapsed + KEEPALIVE);
    }

    fn process(&mut self, now: Now, core: &mut Core, messages: &[Message<'_>]) {
        for message in messages {
            match *message {
                Message::Part { hash, total_size, offset, data } => {
                    let whole = self.parts.part(now.elapsed, hash, total_size, offset, data);
                    // A part of a part is nothing (network 3.9).
                    if let Some(Ok(whole)) = whole.as_deref().map(Message::parse) {
                        if let Message::Query { id, .. } = whole {
                            self.answers.came_in_parts(now.elapsed, &hash, id);
                        }
                        self.message(now, core, whole);
                    }
                }
                message => self.message(now, core, message),
            }
        }
        if messages.iter().any(|message| *message != Message::Nop) {
            self.acknowledge_in(now, ACK_AFTER);
        }
    }

    fn acknowledge_in(&mut self, now: Now, pause: Duration) {
        let at = now.elapsed + pause;
        self.ack_at = Some(self.ack_at.map_or(at, |set| set.min(at)));
    }

    fn message(&mut self, now: Now, core: &mut Core, message: Message<'_>) {
        match message {
            Message::CreateChannel { key, date } => self.create_channel(now, core, key, date),
            Message::ConfirmChannel { key, peer_key, date } => self.confirm_channel(now, core, key, peer_key, date),
            Message::Custom { data } => {
                core.events.push(Event::Custom { peer: self.id, data: Bytes::copy_from_slice(data) });
            }
            Message::Query { id, data } => match self.answers.get(&id) {
                Known::New => {
                    self.answers.begin(now.elapsed, &id);
                    let data = Bytes::copy_from_slice(data);
                    core.events.push(Event::Query { peer: self.key, peer_id: self.id, id, data });
                }
                Known::Taken => {}
                Known::Answered(answer) => self.queue.push(now.elapsed, answer, false),
            },
            Message::Answer { id, data } => {
                if self.queries.remove(&id).is_some() {
                    core.events.push(Event::Answer { id, data: Bytes::copy_from_slice(data) });
                }
            }
            Message::Reinit { date } => {
                if date > self.epoch && date <= now.unix.saturating_add(MAX_AHEAD) {
                    self.restarted(now, core, date);
                }
            }
            Message::Ping { value } => {
                self.queue.push(now.elapsed, Bytes::from(Message::Pong { value }.to_bytes()), false);
            }
            Message::Nop | Message::Pong { .. } | Message::Part { .. } => {}
        }
    }

    fn create_channel(&mut self, now: Now, core: &mut Core, key: [u8; 32], date: u32) {
        match &self.channel {
            // The peer asks again, so it lacks our confirmation; a ready channel would never send one by itself.
            Some(channel) if channel.peer_key == key => self.confirm_once = channel.ready,
            // Same-second renewal is normal for older peers (network 3.4 rule 4).
            Some(channel) if date < channel.peer_date => return,
            _ => {
                self.open_channel(now, core, key, date);
            }
        }
        self.acknowledge_in(now, ACK_HANDSHAKE_AFTER);
    }

    fn confirm_channel(&mut self, now: Now, core: &mut Core, key: [u8; 32], peer_key: [u8; 32], date: u32) {
        if self.own.as_ref().is_none_or(|own| own.key.public().to_bytes() != peer_key) {
            return;
        }
        let usable = match &self.channel {
            Some(channel) if channel.peer_key == key => true,
            Some(channel) if date < channel.peer_date => false,
            _ => self.open_channel(now, core, key, date),
        };
        if usable && let Some(channel) = &mut self.channel {
            channel.ready = true;
        }
    }

    /// Derives the channel of our channel key and this one. False when the key is none.
    fn open_channel(&mut self, now: Now, core: &mut Core, key: [u8; 32], date: u32) -> bool {
        let id = self.id;
        let own = self.own_key(now, core);
        let derived = PublicKey::from_bytes(&key).and_then(|peer_key| derive(&core.id, &own.key, &id, &peer_key));
        let Ok((inbound, outbound)) = derived else { return false };
        if self.channel.is_some() {
            core.events.push(Event::Reset { peer: self.id });
        }
        self.retire_channel(now, core);
        core.channels.insert(inbound.id, self.id);
        self.channel =
            Some(Channel { peer_key: key, peer_date: date, inbound, outbound, window: Window::default(), ready: false });
        true
    }

    /// Our channel key for this peer: made once, and anew when nothing ever reacted to it.
    pub fn own_key(&mut self, now: Now, core: &mut Core) -> &OwnKey {
        let dead = self.own.as_ref().is_some_and(|own| {
            self.channel.is_none() && self.last_received <= own.since && own.since + RENEW_KEY_AFTER < now.elapsed
        });
        if self.own.is_none() || dead {
            self.channel_date = now.unix.max(core.epoch + 1).max(self.channel_date.saturating_add(1));
            self.own = None;
            core.events.push(Event::Record(self.record()));
        }
        let date = self.channel_date;
        self.own.get_or_insert_with(|| OwnKey { key: PrivateKey::generate(), date, since: now.elapsed })
    }

    /// Starts a query. False when too much is under way.
    pub fn ask(&mut self, now: Now, id: QueryId, message: Bytes, timeout: Duration) -> bool {
        if self.queries.len() >= MAX_QUERIES || self.queue.is_full() {
            return false;
        }
        self.queue.push(now.elapsed, message.clone(), true);
        self.queries.insert(id, Asked { message, deadline: now.elapsed + timeout, copies: 0 });
        true
    }

    /// A query's timer. The next one, or none when the query is over.
    pub fn retry(&mut self, now: Now, core: &mut Core, id: &QueryId) -> Option<Duration> {
        let asked = self.queries.get_mut(id)?;
        if now.elapsed >= asked.deadline {
            self.queries.remove(id);
            core.events.push(Event::Expired { id: *id });
            return None;
        }
        asked.copies += 1;
        self.queue.push(now.elapsed, asked.message.clone(), true);
        let pause = RETRY[asked.copies.min(RETRY.len() - 1)];
        Some(asked.deadline.min(now.elapsed + pause))
    }

    /// The pause before the first copy of a query.
    pub const FIRST_RETRY: Duration = RETRY[0];

    pub fn forget_query(&mut self, id: &QueryId) {
        self.queries.remove(id);
    }

    pub fn answer(&mut self, now: Now, id: &QueryId, message: Bytes) {
        self.answers.finish(now.elapsed, id, &message);
        self.queue.push(now.elapsed, message, false);
    }

    pub fn cancel_answer(&mut self, id: &QueryId) {
        self.answers.cancel(id);
    }

    /// Our address list is another one: the peer is told at this time, if it has to do with us now.
    pub fn tell_address(&mut self, at: Duration) {
        self.list_acked = false;
        if self.wanted || self.is_ready() {
            (self.tell_at, self.told) = (Some(at), 0);
        }
    }

    /// Does what is due. False when the peer is to be forgotten.
    pub fn handle_timer(&mut self, now: Now, core: &mut Core) -> bool {
        if self.is_idle(now) {
            return false;
        }
        if self.previous.as_ref().is_some_and(|previous| previous.until <= now.elapsed) {
            self.drop_previous(core);
        }
        self.queue.drop_stale(now.elapsed);
        self.answers.expire(now.elapsed);
        self.parts.expire(now.elapsed);
        if self.ack_at.is_some_and(|at| at <= now.elapsed) {
            self.ack_at = None;
            self.nop_due = true;
        }
        if self.tell_at.is_some_and(|at| at <= now.elapsed) {
            let again = !self.list_acked && self.told < MAX_TOLD;
            (self.force_root, self.nop_due) = (self.force_root || again, self.nop_due || again);
            self.tell_at = again.then(|| now.elapsed + TELL_AGAIN * (1 << self.told));
            self.told += 1;
        }
        if self.wanted && self.keepalive_at <= now.elapsed {
            // The second one in a row leaves the channel, which the peer may have forgotten.
            self.force_root = self.keepalives > 0;
            self.nop_due = true;
            self.keepalives += 1;
            let base = if self.contact { KEEPALIVE } else { Duration::from_secs(1) };
            self.keepalive_at = now.elapsed + (base * (1 << self.keepalives.min(6))).min(MAX_KEEPALIVE);
        }
        true
    }

    fn is_idle(&self, now: Now) -> bool {
        !self.wanted && self.queries.is_empty() && self.last_received + self.patience() <= now.elapsed
    }

    /// Silence after which an unwanted peer is forgotten: soon when it said something but never opened a channel.
    fn patience(&self) -> Duration {
        if self.contact && !self.is_ready() { PENDING } else { IDLE }
    }

    /// When [`Self::handle_timer`] or a flush has something to do next.
    pub fn next_timer(&mut self, now: Now) -> Duration {
        let idle_at = (self.last_received + self.patience()).max(now.elapsed + Duration::from_secs(1));
        let mut next = if self.wanted { self.keepalive_at } else { idle_at };
        let stale = [self.queue.stale_at(), self.answers.expires_at(), self.parts.expires_at()];
        let ends = [self.previous.as_ref().map(|previous| previous.until), self.ack_at, self.tell_at];
        for at in stale.into_iter().chain(ends).flatten() {
            next = next.min(at);
        }
        // One that is allowed now leaves with the next flush and needs no timer.
        let allowed = self.root_allowance.next(now.elapsed);
        if self.has_output() && self.addr.is_some() && !self.is_ready() && allowed > now.elapsed {
            next = next.min(allowed);
        }
        next
    }

    /// Removes what the core knows of this peer, and reports its queries as lost.
    pub fn dismantle(mut self, core: &mut Core) {
        self.drop_previous(core);
        if let Some(channel) = &self.channel {
            core.channels.remove(&channel.inbound.id);
        }
        core.events.extend(self.queries.into_keys().map(|id| Event::Expired { id }));
        core.events.push(Event::Gone { peer: self.id });
    }
}
