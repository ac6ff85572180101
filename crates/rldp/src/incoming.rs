use crate::fec::Fec;
use crate::message::{Receipt, SYMBOL, Symbol, Version, symbols};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

/// Parts of one transfer that may be under way at once: C++ nodes send as many.
const MAX_OPEN_PARTS: u32 = 20;
/// Symbols kept beyond the number that a part needs. With so many, decoding has failed for good.
const MAX_EXTRA: u32 = 64;
/// Symbols between two confirmations (network 4.4).
const CONFIRM_EVERY: u32 = 10;
/// Late symbols are answered at most once in so long (network 4.4).
pub(crate) const COMPLETE_EVERY: Duration = Duration::from_millis(10);
/// The first symbol is confirmed after so long, unless the part is complete by then.
const CONFIRM_AFTER: Duration = Duration::from_millis(2);

/// What a symbol led to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing to say.
    Stored,
    /// Confirm the part.
    Confirm(Receipt),
    /// The part is complete: say so.
    Part,
    /// The last part is complete: the message.
    Message(Vec<u8>),
    /// Contradicts what is known, or cannot be decoded.
    Refused,
}

/// One part being received.
struct Open {
    size: usize,
    /// The symbols as they came: memory follows what was received, not what was announced.
    symbols: BTreeMap<u32, Bytes>,
    sources: u32,
    unconfirmed: u32,
    confirm_at: Option<Duration>,
    /// Decode when there are so many.
    decode_at: u32,
}

impl Open {
    fn new(size: usize) -> Self {
        Self { size, symbols: BTreeMap::new(), sources: 0, unconfirmed: 0, confirm_at: None, decode_at: symbols(size) }
    }

    fn receipt(&mut self) -> Option<Receipt> {
        (self.unconfirmed, self.confirm_at) = (0, None);
        let highest = *self.symbols.last_key_value()?.0;
        let received = |i: &u32| highest.checked_sub(*i).is_some_and(|seqno| self.symbols.contains_key(&seqno));
        let mask = (0..32).filter(received).fold(0, |mask, i| mask | 1 << i);
        Some(Receipt { highest, mask: Some(mask), count: Some(self.symbols.len() as u32) })
    }

    /// The part, if it can be had. Source symbols are copied; the code is used only when one is missing.
    fn assemble(&mut self, fec: &dyn Fec) -> Option<Vec<u8>> {
        let (needed, count) = (symbols(self.size), self.symbols.len() as u32);
        if self.sources == needed {
            let mut data = Vec::with_capacity(needed as usize * SYMBOL);
            self.symbols.range(..needed).for_each(|(_, symbol)| data.extend_from_slice(symbol));
            data.truncate(self.size);
            return Some(data);
        }
        if count < self.decode_at {
            return None;
        }
        // Each failure costs time: try again with one more, two more, four more.
        self.decode_at = count + (count - needed).max(1);
        fec.decode(self.size, &mut self.symbols.iter().map(|(seqno, data)| (*seqno, &data[..])))
    }
}

/// A message being received.
pub(crate) struct Incoming {
    pub version: Version,
    total: usize,
    /// The parts before `next`, in order.
    data: Vec<u8>,
    next: u32,
    /// Complete parts behind a missing one.
    ahead: BTreeMap<u32, Vec<u8>>,
    open: BTreeMap<u32, Open>,
    pub last_symbol: Duration,
    /// When a part was last said to be complete.
    completed: Duration,
    /// Bytes of the symbols received.
    pub held: usize,
}

impl Incoming {
    pub fn new(version: Version, total: usize) -> Self {
        let (data, ahead, open) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        Self { version, total, data, next: 0, ahead, open, last_symbol: Duration::ZERO, completed: Duration::ZERO, held: 0 }
    }

    /// Bytes announced by the parts known so far; at most the message.
    fn announced(&self) -> usize {
        let ahead: usize = self.ahead.values().map(Vec::len).sum();
        let open: usize = self.open.values().map(|open| open.size).sum();
        self.data.len() + ahead + open
    }

    /// Takes a symbol; `bytes` is its data, shared with the datagram.
    pub fn symbol(&mut self, now: Duration, symbol: &Symbol<'_>, bytes: Bytes, fec: &dyn Fec) -> Taken {
        let part = symbol.part;
        if symbol.total_size != self.total {
            return Taken::Refused;
        }
        self.last_symbol = now;
        if part < self.next || self.ahead.contains_key(&part) {
            // A late symbol: the sender missed it.
            if now < self.completed + COMPLETE_EVERY {
                return Taken::Stored;
            }
            self.completed = now;
            return Taken::Part;
        }
        if part - self.next >= MAX_OPEN_PARTS {
            return Taken::Refused;
        }
        if !self.open.contains_key(&part) {
            if self.announced() + symbol.data_size > self.total {
                return Taken::Refused;
            }
            self.open.insert(part, Open::new(symbol.data_size));
        }
        let Some(open) = self.open.get_mut(&part).filter(|open| open.size == symbol.data_size) else {
            return Taken::Refused;
        };
        let needed = symbols(open.size);
        if open.symbols.len() as u32 > needed + MAX_EXTRA {
            return Taken::Refused;
        }
        if open.symbols.insert(symbol.seqno, bytes).is_some() {
            return Taken::Stored;
        }
        self.held += SYMBOL;
        open.sources += u32::from(symbol.seqno < needed);
        match open.assemble(fec) {
            Some(data) => self.part_done(now, part, data),
            None => {
                open.unconfirmed += 1;
                if open.unconfirmed >= CONFIRM_EVERY {
                    return open.receipt().map_or(Taken::Stored, Taken::Confirm);
                }
                open.confirm_at.get_or_insert(now + CONFIRM_AFTER);
                Taken::Stored
            }
        }
    }

    fn part_done(&mut self, now: Duration, part: u32, data: Vec<u8>) -> Taken {
        self.open.remove(&part);
        self.completed = now;
        if part == self.next && self.data.is_empty() && data.len() == self.total {
            return Taken::Message(data);
        }
        self.ahead.insert(part, data);
        while let Some(data) = self.ahead.remove(&self.next) {
            self.data.extend_from_slice(&data);
            self.next += 1;
        }
        match self.data.len() == self.total {
            true => Taken::Message(std::mem::take(&mut self.data)),
            false => Taken::Part,
        }
    }

    /// The confirmations that are due.
    pub fn confirm(&mut self, now: Duration) -> Vec<(u32, Receipt)> {
        let due = self.open.iter_mut().filter(|(_, open)| open.confirm_at.is_some_and(|at| at <= now));
        due.filter_map(|(part, open)| Some((*part, open.receipt()?))).collect()
    }

    /// When the next one is.
    pub fn confirm_at(&self) -> Option<Duration> {
        self.open.values().filter_map(|open| open.confirm_at).min()
    }
}
