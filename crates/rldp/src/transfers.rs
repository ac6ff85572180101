use crate::fec::{Fec, RaptorQ};
use crate::incoming::{COMPLETE_EVERY, Incoming, Taken};
use crate::message::{Body, Message, PART, Packet, Receipt, SYMBOL, Symbol, TransferId, Version, symbols};
use crate::outgoing::{Outgoing, Turn};
use adnl::keys::AdnlId;
use adnl::{Custom, Recent};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

pub use adnl::Now;

/// Largest query or answer sent, and largest answer that may be asked for.
pub const MAX_MESSAGE: usize = 8 << 20;
/// Largest message taken from a peer that was not asked for one (network 4.4).
pub const MAX_UNEXPECTED: usize = 64 << 10;
/// What [`MAX_UNEXPECTED`] and a query's largest answer are exceeded by the wrapping.
const WRAPPING: usize = 64;
/// Peers with transfers; those of an idle one are forgotten within [`SWEEP`].
const MAX_PEERS: usize = 8192;
/// Transfers under way per peer, each way.
const MAX_TRANSFERS: usize = 4096;
/// Messages of more symbols than [`SMALL`] that are sent to one peer at a time; the others wait for their turn.
const MAX_LARGE: usize = 4;
const SMALL: u32 = 8;
/// Messages not asked for that are being received, per peer.
const MAX_UNEXPECTED_TRANSFERS: usize = 128;
/// Bytes of symbols held for all peers, beyond which nothing unexpected is begun.
const MAX_RECEIVING: usize = 128 << 20;
/// Finished transfers remembered per peer, at most twice as many, and for how long at least, so that none is taken twice.
const MAX_FINISHED: usize = 458_752;
const FINISHED_TTL: Duration = Duration::from_secs(30);
/// A transfer without symbols for so long is dropped.
const RECEIVE_IDLE: Duration = Duration::from_secs(30);
/// The completion of a message waits so long for company: a small one for its answer, which a durable commit is in front of; a large one, whose
/// sender may not begin the next before it hears of it, only for one that is there. Who sends another symbol meanwhile hears at once.
const COMPLETE_DELAY: Duration = Duration::from_millis(5);
const COMPLETE_DELAY_LARGE: Duration = Duration::from_millis(1);
/// Pause before the first repair to a peer whose round-trip time is unknown, and the shortest. The others are twice the round trip and what a
/// completion may wait.
const FIRST_PAUSE: Duration = Duration::from_millis(40);
const MIN_PAUSE: Duration = Duration::from_millis(15);
/// An answer is sent for at most so long (network 4.3).
const MAX_ANSWERING: Duration = Duration::from_secs(60);
/// Shortest timeout told to a peer: older ones do not answer when it is over in the current second (network 4.3).
const MIN_TIMEOUT: u32 = 2;
const SWEEP: Duration = Duration::from_secs(10);

/// Why a message cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Longer than [`MAX_MESSAGE`], or an answer longer than the asker takes.
    #[error("message too large")]
    TooLarge,
    /// Too many transfers are under way with this peer.
    #[error("too many transfers with this peer")]
    Busy,
}

/// A query received, with what its answer needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asker {
    /// Who asks, authenticated.
    pub peer: AdnlId,
    /// Largest answer that it takes, wrapping included.
    pub max_answer: u64,
    /// Unix seconds until which it waits.
    pub timeout: u32,
    version: Version,
    transfer: TransferId,
    query: [u8; 32],
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A peer asks. Reported once per transfer.
    Query {
        /// For the answer.
        asker: Asker,
        /// The question.
        data: Bytes,
    },
    /// A query of ours was answered.
    Answer {
        /// Which one.
        id: TransferId,
        /// The answer.
        data: Bytes,
    },
    /// A query of ours was not answered in time.
    Expired {
        /// Which one.
        id: TransferId,
    },
}

struct Asked {
    query: [u8; 32],
    max_answer: usize,
    deadline: Duration,
}

struct Peer {
    asked: HashMap<TransferId, Asked>,
    outgoing: HashMap<TransferId, Outgoing>,
    incoming: HashMap<TransferId, Incoming>,
    /// When the completion of each was last said.
    finished: Recent<TransferId, Duration>,
    /// Large messages under way, and those that wait.
    large: usize,
    waiting: VecDeque<TransferId>,
    /// Completions that wait for company, and until when.
    held: Vec<Bytes>,
    held_until: Option<Duration>,
    round_trip: Option<Duration>,
}

impl Default for Peer {
    fn default() -> Self {
        Self {
            asked: HashMap::new(),
            outgoing: HashMap::new(),
            incoming: HashMap::new(),
            finished: Recent::new(FINISHED_TTL, MAX_FINISHED),
            large: 0,
            waiting: VecDeque::new(),
            held: Vec::new(),
            held_until: None,
            round_trip: None,
        }
    }
}

impl Peer {
    fn pause(&self) -> Duration {
        self.round_trip.map_or(FIRST_PAUSE, |round_trip| (2 * round_trip + COMPLETE_DELAY).max(MIN_PAUSE))
    }

    fn sample(&mut self, sample: Duration) {
        self.round_trip = Some(self.round_trip.map_or(sample, |known| (7 * known + sample) / 8));
    }

    fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.outgoing.is_empty() && self.incoming.is_empty() && self.finished.is_empty()
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    Held(AdnlId),
    Confirm(AdnlId, TransferId),
    Repair(AdnlId, TransferId),
    Query(AdnlId, TransferId),
    Sweep,
}

/// All transfers of a node, without socket, clock and tasks: custom messages of ADNL, calls and the time go in; custom messages and
/// [`Event`]s come out.
pub struct Transfers {
    peers: HashMap<AdnlId, Peer>,
    /// Those of what is under way, and few others: they are taken out when it ends.
    timers: BTreeSet<(Duration, Timer)>,
    fec: Box<dyn Fec>,
    out: Vec<Custom>,
    events: Vec<Event>,
    /// Bytes of symbols held.
    receiving: usize,
}

impl Default for Transfers {
    fn default() -> Self {
        Self::new(Box::new(RaptorQ))
    }
}

impl Transfers {
    /// Transfers with this erasure code.
    pub fn new(fec: Box<dyn Fec>) -> Self {
        let timers = BTreeSet::from([(SWEEP, Timer::Sweep)]);
        Self { peers: HashMap::new(), timers, fec, out: Vec::new(), events: Vec::new(), receiving: 0 }
    }

    /// Asks. `random` names the transfer and the query and comes from a secure source. The outcome is an [`Event`].
    pub fn query(
        &mut self,
        now: Now,
        peer: AdnlId,
        data: &[u8],
        max_answer: usize,
        timeout: Duration,
        random: [u8; 64],
    ) -> Result<TransferId, SendError> {
        if data.len() > MAX_MESSAGE || max_answer > MAX_MESSAGE {
            return Err(SendError::TooLarge);
        }
        let state = self.peers.entry(peer).or_default();
        if state.asked.len() >= MAX_TRANSFERS {
            return Err(SendError::Busy);
        }
        let (transfer, query): (TransferId, [u8; 32]) =
            (std::array::from_fn(|i| random[i]), std::array::from_fn(|i| random[32 + i]));
        let seconds = u32::try_from(timeout.as_secs() + 1).unwrap_or(u32::MAX).max(MIN_TIMEOUT);
        let message =
            Message::Query { id: query, max_answer: max_answer as u64, timeout: now.unix.saturating_add(seconds), data };
        let deadline = now.elapsed + timeout;
        state.asked.insert(transfer, Asked { query, max_answer, deadline });
        self.timers.insert((deadline, Timer::Query(peer, transfer)));
        self.send(now, peer, Version::V2, transfer, message.to_bytes(), deadline);
        Ok(transfer)
    }

    /// Answers a query of [`Event::Query`].
    pub fn answer(&mut self, now: Now, asker: &Asker, data: &[u8]) -> Result<(), SendError> {
        let message = Message::Answer { id: asker.query, data }.to_bytes();
        if data.len() > MAX_MESSAGE || message.len() as u64 > asker.max_answer {
            return Err(SendError::TooLarge);
        }
        if self.peers.entry(asker.peer).or_default().outgoing.len() >= MAX_TRANSFERS {
            return Err(SendError::Busy);
        }
        let left = Duration::from_secs(u64::from(asker.timeout.saturating_sub(now.unix)) + 1).min(MAX_ANSWERING);
        let transfer = complement(&asker.transfer);
        self.send(now, asker.peer, asker.version, transfer, message, now.elapsed + left);
        Ok(())
    }

    fn send(&mut self, now: Now, peer: AdnlId, version: Version, transfer: TransferId, message: Vec<u8>, deadline: Duration) {
        let state = self.peers.entry(peer).or_default();
        let mut outgoing = Outgoing::new(now.elapsed, version, transfer, message.into(), state.pause(), deadline);
        if outgoing.size() > SMALL {
            outgoing.turn = Turn::Waiting;
            state.waiting.push_back(transfer);
        }
        let small = outgoing.turn == Turn::Free;
        // One whose id is under way already does not come from a peer that keeps to the rules.
        if let Some(replaced) = state.outgoing.insert(transfer, outgoing) {
            state.large -= usize::from(replaced.turn == Turn::Taken);
            self.timers.remove(&(replaced.armed, Timer::Repair(peer, transfer)));
        }
        self.timers.insert((deadline, Timer::Repair(peer, transfer)));
        match small {
            true => self.begin(now, peer, transfer, Turn::Free),
            false => self.next_turns(now, peer),
        }
    }

    /// Sets the timer of a message that we send.
    fn arm(&mut self, peer: AdnlId, transfer: TransferId) {
        let state = self.peers.get_mut(&peer);
        let Some(outgoing) = state.and_then(|state| state.outgoing.get_mut(&transfer)) else { return };
        let at = outgoing.wakes_at();
        if at != outgoing.armed {
            self.timers.remove(&(outgoing.armed, Timer::Repair(peer, transfer)));
            self.timers.insert((at, Timer::Repair(peer, transfer)));
            outgoing.armed = at;
        }
    }

    fn begin(&mut self, now: Now, peer: AdnlId, transfer: TransferId, turn: Turn) {
        let state = self.peers.get_mut(&peer);
        let Some(outgoing) = state.and_then(|state| state.outgoing.get_mut(&transfer)) else { return };
        let mut symbols = Vec::new();
        outgoing.turn = turn;
        outgoing.begin(now.elapsed, &mut symbols);
        self.arm(peer, transfer);
        self.emit(peer, symbols);
    }

    /// Begins waiting messages while there is room.
    fn next_turns(&mut self, now: Now, peer: AdnlId) {
        while let Some(state) = self.peers.get_mut(&peer)
            && state.large < MAX_LARGE
            && let Some(transfer) = state.waiting.pop_front()
        {
            if state.outgoing.contains_key(&transfer) {
                state.large += 1;
                self.begin(now, peer, transfer, Turn::Taken);
            }
        }
    }

    /// Ends a message that we send, and lets another one begin.
    fn stop(&mut self, now: Now, peer: AdnlId, transfer: &TransferId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(outgoing) = state.outgoing.remove(transfer) else { return };
        self.timers.remove(&(outgoing.armed, Timer::Repair(peer, *transfer)));
        if outgoing.turn == Turn::Taken {
            state.large -= 1;
            self.next_turns(now, peer);
        }
    }

    /// Sends symbols, with the completions that waited for them in front.
    fn emit(&mut self, peer: AdnlId, symbols: Vec<Bytes>) {
        if !symbols.is_empty() {
            self.release_held(peer);
        }
        self.out.extend(symbols.into_iter().map(|data| Custom { peer, data, reply: true }));
    }

    /// Takes a custom message. What is not RLDP, or breaks a rule, is ignored.
    pub fn handle(&mut self, now: Now, peer: AdnlId, message: &Bytes) {
        let Ok(packet) = Packet::parse(message) else { return };
        match packet.body {
            Body::Symbol(symbol) => self.symbol(now, peer, &packet, &symbol, message),
            Body::Confirm { part, receipt } => self.outgoing(now, peer, &packet.transfer, |outgoing, out| {
                outgoing.confirmed(now.elapsed, part, receipt, out);
                (None, false)
            }),
            Body::Complete { part } => {
                self.outgoing(now, peer, &packet.transfer, |outgoing, out| outgoing.completed(now.elapsed, part, out));
            }
        }
    }

    /// Runs `react` on a transfer that we send; it tells a round-trip time and whether the transfer is over.
    fn outgoing(
        &mut self,
        now: Now,
        peer: AdnlId,
        transfer: &TransferId,
        react: impl FnOnce(&mut Outgoing, &mut Vec<Bytes>) -> (Option<Duration>, bool),
    ) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(outgoing) = state.outgoing.get_mut(transfer) else { return };
        let mut symbols = Vec::new();
        let (sample, over) = react(outgoing, &mut symbols);
        if let Some(sample) = sample {
            state.sample(sample);
        }
        self.emit(peer, symbols);
        match over {
            true => self.stop(now, peer, transfer),
            false => self.arm(peer, *transfer),
        }
    }

    fn symbol(&mut self, now: Now, peer: AdnlId, packet: &Packet<'_>, symbol: &Symbol<'_>, message: &Bytes) {
        if self.peers.len() >= MAX_PEERS && !self.peers.contains_key(&peer) {
            return;
        }
        let (version, transfer) = (packet.version, packet.transfer);
        let state = self.peers.entry(peer).or_default();
        if !state.incoming.contains_key(&transfer) {
            if let Some(completed) = state.finished.get_mut(&transfer) {
                if *completed + COMPLETE_EVERY <= now.elapsed {
                    *completed = now.elapsed;
                    self.reply(peer, version, transfer, Body::Complete { part: symbol.part });
                }
                // Its sender goes on until it hears that it is complete.
                return self.release_held(peer);
            }
            let limit = match state.asked.get(&complement(&transfer)) {
                Some(asked) => asked.max_answer + WRAPPING,
                None if state.incoming.len() < MAX_UNEXPECTED_TRANSFERS && self.receiving < MAX_RECEIVING => {
                    MAX_UNEXPECTED + WRAPPING
                }
                None => 0,
            };
            if symbol.total_size > limit {
                return;
            }
            state.incoming.insert(transfer, Incoming::new(version, symbol.total_size));
        }
        let Some(incoming) = state.incoming.get_mut(&transfer) else { return };
        // The symbol's data lies in the message: shared, not copied.
        let bytes = message.slice_ref(symbol.data);
        let (held, confirm_at) = (incoming.held, incoming.confirm_at());
        let taken = incoming.symbol(now.elapsed, symbol, bytes, &*self.fec);
        self.receiving += incoming.held - held;
        if let Some(at) = incoming.confirm_at().filter(|at| confirm_at != Some(*at)) {
            self.timers.insert((at, Timer::Confirm(peer, transfer)));
        }
        match taken {
            Taken::Stored | Taken::Refused => {}
            Taken::Confirm(receipt) => self.reply(peer, version, transfer, Body::Confirm { part: symbol.part, receipt }),
            Taken::Part => self.reply(peer, version, transfer, Body::Complete { part: symbol.part }),
            Taken::Message(data) => {
                self.receiving -= state.incoming.remove(&transfer).map_or(0, |incoming| incoming.held);
                state.finished.insert(now.elapsed, transfer, now.elapsed);
                let body = Body::Complete { part: symbol.part };
                state.held.push(Packet { version, transfer, body }.to_bytes().into());
                let large = symbols(symbol.total_size.min(PART)) > SMALL;
                let until = now.elapsed + if large { COMPLETE_DELAY_LARGE } else { COMPLETE_DELAY };
                if state.held_until.is_none_or(|earlier| until < earlier) {
                    if let Some(later) = state.held_until.replace(until) {
                        self.timers.remove(&(later, Timer::Held(peer)));
                    }
                    self.timers.insert((until, Timer::Held(peer)));
                }
                self.received(now, peer, version, transfer, data.into());
            }
        }
    }

    fn reply(&mut self, peer: AdnlId, version: Version, transfer: TransferId, body: Body<'_>) {
        let data = Packet { version, transfer, body }.to_bytes().into();
        self.out.push(Custom { peer, data, reply: false });
    }

    /// A complete message.
    fn received(&mut self, now: Now, peer: AdnlId, version: Version, transfer: TransferId, bytes: Bytes) {
        match Message::parse(&bytes) {
            Ok(Message::Query { id, max_answer, timeout, data }) if timeout >= now.unix => {
                let asker = Asker { peer, max_answer, timeout, version, transfer, query: id };
                self.events.push(Event::Query { asker, data: bytes.slice_ref(data) });
            }
            Ok(Message::Answer { id, data }) => {
                let (asked, state) = (complement(&transfer), self.peers.entry(peer).or_default());
                if let Some(known) = state.asked.get(&asked).filter(|known| known.query == id) {
                    self.timers.remove(&(known.deadline, Timer::Query(peer, asked)));
                    state.asked.remove(&asked);
                    // An answer shows that the query arrived, even when its completion got lost.
                    self.events.push(Event::Answer { id: asked, data: bytes.slice_ref(data) });
                    self.stop(now, peer, &asked);
                }
            }
            Ok(Message::Query { .. } | Message::OneWay { .. }) => {}
            Err(error) => tracing::debug!(%peer, %error, "transfer is no message"),
        }
    }

    /// Does everything that is due.
    pub fn handle_timers(&mut self, now: Now) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now.elapsed) {
            match self.timers.pop_first() {
                Some((_, Timer::Held(peer))) => self.release_held(peer),
                Some((_, Timer::Confirm(peer, transfer))) => self.confirm(now, peer, transfer),
                Some((_, Timer::Repair(peer, transfer))) => self.repair(now, peer, transfer),
                Some((_, Timer::Query(peer, transfer))) => self.expire(now, peer, transfer),
                Some((_, Timer::Sweep)) => self.sweep(now),
                None => {}
            }
        }
    }

    /// When [`Self::handle_timers`] is to be called next.
    pub fn next_timer(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Sends the completions that wait.
    fn release_held(&mut self, peer: AdnlId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Some(until) = state.held_until.take() {
            self.timers.remove(&(until, Timer::Held(peer)));
        }
        self.out.extend(state.held.drain(..).map(|data| Custom { peer, data, reply: false }));
    }

    fn confirm(&mut self, now: Now, peer: AdnlId, transfer: TransferId) {
        let Some(incoming) = self.peers.get_mut(&peer).and_then(|state| state.incoming.get_mut(&transfer)) else { return };
        let (version, due): (_, Vec<(u32, Receipt)>) = (incoming.version, incoming.confirm(now.elapsed));
        for (part, receipt) in due {
            self.reply(peer, version, transfer, Body::Confirm { part, receipt });
        }
    }

    fn repair(&mut self, now: Now, peer: AdnlId, transfer: TransferId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let Some(outgoing) = state.outgoing.get_mut(&transfer) else { return };
        if outgoing.deadline <= now.elapsed {
            return self.stop(now, peer, &transfer);
        }
        let mut symbols = Vec::new();
        if outgoing.turn != Turn::Waiting && outgoing.timer <= now.elapsed {
            outgoing.repair(now.elapsed, &*self.fec, &mut symbols);
        }
        self.arm(peer, transfer);
        self.emit(peer, symbols);
    }

    fn expire(&mut self, now: Now, peer: AdnlId, transfer: TransferId) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if state.asked.get(&transfer).is_some_and(|asked| asked.deadline <= now.elapsed) {
            state.asked.remove(&transfer);
            self.receiving -= state.incoming.remove(&complement(&transfer)).map_or(0, |incoming| incoming.held);
            self.events.push(Event::Expired { id: transfer });
            self.stop(now, peer, &transfer);
        }
    }

    fn sweep(&mut self, now: Now) {
        self.peers.retain(|_, state| {
            state.incoming.retain(|_, incoming| {
                let keep = now.elapsed < incoming.last_symbol + RECEIVE_IDLE;
                self.receiving -= if keep { 0 } else { incoming.held };
                keep
            });
            state.finished.expire(now.elapsed);
            !state.is_idle()
        });
        self.timers.insert((now.elapsed + SWEEP, Timer::Sweep));
    }

    /// The messages to be sent since the last call.
    pub fn take_messages(&mut self) -> Vec<Custom> {
        std::mem::take(&mut self.out)
    }

    /// What happened since the last call.
    pub fn take_events(&mut self) -> impl Iterator<Item = Event> + '_ {
        self.events.drain(..)
    }

    /// Bytes of symbols held for messages under way.
    pub fn receiving(&self) -> usize {
        self.receiving
    }
}

fn complement(transfer: &TransferId) -> TransferId {
    let mut complement = *transfer;
    complement.iter_mut().for_each(|byte| *byte = !*byte);
    complement
}

const _: () = assert!(SYMBOL < adnl::MAX_PAYLOAD);
