use crate::fec::{Encoder, Fec};
use crate::message::{Body, PART, Packet, Receipt, SYMBOL, Symbol, TransferId, Version, symbols};
use bytes::Bytes;
use std::time::Duration;

/// Symbols that may be unconfirmed at first, at least, and at most.
const FIRST_WINDOW: u32 = 64;
const MIN_WINDOW: u32 = 32;
const MAX_WINDOW: u32 = 1024;
/// Parts of so few symbols are repaired by sending source symbols again: C++ nodes ignore numbers more than 32 behind the highest.
const REPEAT_BELOW: u32 = 32;
/// Longest pause between two rounds of repair.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Whether a transfer may send: many large ones at once would only drown each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Small: sent at once.
    Free,
    /// Large, and others are under way.
    Waiting,
    /// Large, and under way.
    Taken,
}

/// A message being sent: part after part, source symbols first, then whatever the receiver lacks, until it says complete
/// (network 4.5).
pub(crate) struct Outgoing {
    version: Version,
    transfer: TransferId,
    message: Bytes,
    part: u32,
    /// Symbols of this part sent at least once; from `needed` on they are repair symbols.
    next: u32,
    sent: u32,
    received: u32,
    written_off: u32,
    window: u32,
    receipt: Option<Receipt>,
    encoder: Option<Box<dyn Encoder>>,
    part_began: Duration,
    rounds: u32,
    first_pause: Duration,
    pause: Duration,
    /// The next round of repair, unless the receiver reacts before.
    pub timer: Duration,
    pub deadline: Duration,
    /// When its timer is set to.
    pub armed: Duration,
    pub turn: Turn,
}

impl Outgoing {
    pub fn new(
        now: Duration,
        version: Version,
        transfer: TransferId,
        message: Bytes,
        pause: Duration,
        deadline: Duration,
    ) -> Self {
        Self {
            version,
            transfer,
            message,
            part: 0,
            next: 0,
            sent: 0,
            received: 0,
            written_off: 0,
            window: FIRST_WINDOW,
            receipt: None,
            encoder: None,
            part_began: now,
            rounds: 0,
            first_pause: pause,
            pause,
            timer: now + pause,
            deadline,
            armed: deadline,
            turn: Turn::Free,
        }
    }

    /// When there is something to do.
    pub fn wakes_at(&self) -> Duration {
        if self.turn == Turn::Waiting { self.deadline } else { self.timer.min(self.deadline) }
    }

    /// Symbols of the first part.
    pub fn size(&self) -> u32 {
        symbols(self.message.len().min(PART))
    }

    /// Sends the first symbols.
    pub fn begin(&mut self, now: Duration, out: &mut Vec<Bytes>) {
        (self.part_began, self.timer) = (now, now + self.pause);
        self.fill_window(out);
    }

    fn data(&self) -> Bytes {
        let start = self.part as usize * PART;
        self.message.slice(start..self.message.len().min(start + PART))
    }

    fn needed(&self) -> u32 {
        symbols(self.data().len())
    }

    /// Sends source symbols as far as the window goes.
    fn fill_window(&mut self, out: &mut Vec<Bytes>) {
        let needed = self.needed();
        while self.next < needed && self.sent - self.received - self.written_off < self.window {
            self.source(self.next, out);
            self.next += 1;
        }
    }

    /// The receiver has something of a part.
    pub fn confirmed(&mut self, now: Duration, part: u32, receipt: Receipt, out: &mut Vec<Bytes>) {
        if part != self.part || receipt.highest >= self.next {
            return;
        }
        // Version 1 tells the highest only: take what is below for received.
        let count = receipt.count.unwrap_or(receipt.highest + 1).min(self.sent - self.written_off);
        if count > self.received {
            self.window = (self.window + count - self.received).min(MAX_WINDOW);
            self.received = count;
            self.timer = now + self.pause;
        }
        self.receipt = Some(receipt);
        self.fill_window(out);
    }

    /// The receiver has a part. The round-trip time, if this tells it; whether the transfer is over.
    pub fn completed(&mut self, now: Duration, part: u32, out: &mut Vec<Bytes>) -> (Option<Duration>, bool) {
        if part != self.part {
            return (None, false);
        }
        // Repaired parts count too: else a peer that is slower than the first guess would be repaired for ever.
        let sample = Some(now.saturating_sub(self.part_began));
        self.part += 1;
        if self.part as usize * PART >= self.message.len() {
            return (sample, true);
        }
        (self.next, self.sent, self.received, self.written_off, self.rounds) = (0, 0, 0, 0, 0);
        (self.receipt, self.encoder) = (None, None);
        (self.part_began, self.pause) = (now, self.first_pause);
        self.timer = now + self.pause;
        self.fill_window(out);
        (sample, false)
    }

    /// The receiver did not react in time: what is out counts as lost, and is replaced.
    pub fn repair(&mut self, now: Duration, fec: &dyn Fec, out: &mut Vec<Bytes>) {
        self.rounds += 1;
        self.pause = (self.pause * 2).min(MAX_PAUSE);
        self.timer = now + self.pause;
        self.written_off = self.sent - self.received;
        self.window = (self.window / 2).max(MIN_WINDOW);
        let needed = self.needed();
        if self.next < needed {
            self.fill_window(out);
        } else if needed <= REPEAT_BELOW {
            // The receipt's numbering is not the same everywhere (network 4.4): trust it for one round only.
            let receipt = self.receipt.take();
            for seqno in (0..needed).filter(|seqno| !receipt.is_some_and(|receipt| has(&receipt, *seqno))) {
                self.source(seqno, out);
            }
        } else {
            // Version 1 does not say how many are there.
            let unknown = self.receipt.is_some_and(|receipt| receipt.count.is_none());
            let missing = if unknown { needed / 8 } else { needed.saturating_sub(self.received) }.clamp(1, self.window);
            let count = missing + missing / 16 + 1;
            let data = self.data();
            let encoder = self.encoder.get_or_insert_with(|| fec.encoder(&data));
            let repair = encoder.repair(self.next, count);
            for symbol in repair {
                self.symbol(self.next, &symbol, out);
                self.next += 1;
            }
        }
    }

    fn source(&mut self, seqno: u32, out: &mut Vec<Bytes>) {
        let (data, start) = (self.data(), seqno as usize * SYMBOL);
        match data.get(start..start + SYMBOL) {
            Some(whole) => self.symbol(seqno, whole, out),
            None => {
                let mut last = [0; SYMBOL];
                let rest = &data[start..];
                last[..rest.len()].copy_from_slice(rest);
                self.symbol(seqno, &last, out);
            }
        }
    }

    fn symbol(&mut self, seqno: u32, data: &[u8], out: &mut Vec<Bytes>) {
        let (data_size, total_size) = (self.data().len(), self.message.len());
        let body = Body::Symbol(Symbol { data_size, part: self.part, total_size, seqno, data });
        out.push(Packet { version: self.version, transfer: self.transfer, body }.to_bytes().into());
        self.sent += 1;
    }
}

fn has(receipt: &Receipt, seqno: u32) -> bool {
    match (receipt.highest.checked_sub(seqno), receipt.mask) {
        (Some(behind), Some(mask)) => behind < 32 && mask & 1 << behind != 0,
        _ => false,
    }
}
