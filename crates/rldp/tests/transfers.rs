//! Two sides joined by a link that loses, doubles and delays.

mod common;

use adnl::Now;
use adnl::keys::AdnlId;
use bytes::Bytes;
use common::Dice;
use proptest::prelude::*;
use rldp::{
    Body, Event, MAX_UNEXPECTED, Message, PART, Packet, SYMBOL, SendError, Symbol, TransferId, Transfers, Version, symbols,
};
use std::collections::HashMap;
use std::time::Duration;

const A: AdnlId = AdnlId([1; 32]);
const B: AdnlId = AdnlId([2; 32]);
const UNIX: u32 = 1_700_000_000;

struct Link {
    sides: HashMap<AdnlId, Transfers>,
    flying: Vec<(Duration, u64, AdnlId, AdnlId, Bytes)>,
    elapsed: Duration,
    sent: u64,
    loss: u64,
    dice: Dice,
    /// Rewrites what A sends into version 1.
    downgrade: bool,
    asked: Vec<Bytes>,
    answers: HashMap<TransferId, Bytes>,
    expired: usize,
}

impl Link {
    fn new(loss: u64, seed: u64) -> Self {
        Self {
            sides: HashMap::from([(A, Transfers::default()), (B, Transfers::default())]),
            flying: Vec::new(),
            elapsed: Duration::ZERO,
            sent: 0,
            loss,
            dice: Dice(seed | 1),
            downgrade: false,
            asked: Vec::new(),
            answers: HashMap::new(),
            expired: 0,
        }
    }

    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, unix: UNIX + self.elapsed.as_secs() as u32 }
    }

    fn query(&mut self, data: &[u8], max_answer: usize) -> Result<TransferId, SendError> {
        let (now, random) = (self.now(), std::array::from_fn(|_| self.dice.roll(256) as u8));
        let id = self.sides.get_mut(&A).unwrap().query(now, B, data, max_answer, Duration::from_secs(10), random);
        self.collect();
        id
    }

    /// Takes what the sides say: messages onto the link, events into the lists. B answers with the query, reversed and doubled.
    fn collect(&mut self) {
        let now = self.now();
        for (from, to) in [(A, B), (B, A)] {
            let events: Vec<_> = self.sides.get_mut(&from).unwrap().take_events().collect();
            for event in events {
                match event {
                    Event::Query { asker, data } => {
                        let answer: Vec<u8> = data.iter().rev().chain(data.iter()).copied().collect();
                        self.asked.push(data);
                        let _ = self.sides.get_mut(&from).unwrap().answer(now, &asker, &answer);
                    }
                    Event::Answer { id, data } => assert!(self.answers.insert(id, data).is_none()),
                    Event::Expired { .. } => self.expired += 1,
                }
            }
            for message in self.sides.get_mut(&from).unwrap().take_messages() {
                assert_eq!(message.peer, to);
                let mut packet = Packet::parse(&message.data).unwrap();
                if self.downgrade && from == A {
                    packet.version = Version::V1;
                } else if self.downgrade {
                    assert_eq!(packet.version, Version::V1, "answered in kind");
                }
                let bytes = Bytes::from(packet.to_bytes());
                self.sent += 1;
                for copy in 0..2 {
                    let survives = if copy == 0 { self.dice.roll(100) >= self.loss } else { self.dice.roll(100) < self.loss / 2 };
                    if survives {
                        let delay = 200 + if self.loss > 0 { self.dice.roll(3000) } else { 0 };
                        self.flying.push((self.elapsed + Duration::from_micros(delay), self.sent, from, to, bytes.clone()));
                    }
                }
            }
        }
    }

    /// Lets time pass until nothing is under way, or the limit.
    fn run(&mut self, limit: Duration) {
        let end = self.elapsed + limit;
        loop {
            self.flying.sort();
            let timers = self.sides.values().filter_map(Transfers::next_timer).min();
            let next = timers.into_iter().chain(self.flying.first().map(|first| first.0)).min().unwrap();
            if next > end {
                return;
            }
            self.elapsed = self.elapsed.max(next);
            let now = self.now();
            while self.flying.first().is_some_and(|first| first.0 <= now.elapsed) {
                let (_, _, from, to, message) = self.flying.remove(0);
                self.sides.get_mut(&to).unwrap().handle(now, from, &message);
            }
            self.sides.values_mut().for_each(|side| side.handle_timers(now));
            self.collect();
        }
    }
}

fn data(size: usize) -> Vec<u8> {
    (0..size).map(|i| (i * 31 + i / 256) as u8).collect()
}

fn exchange(sizes: &[usize], loss: u64, seed: u64, downgrade: bool) -> Link {
    let mut link = Link::new(loss, seed);
    link.downgrade = downgrade;
    let asked: Vec<_> = sizes.iter().map(|size| (link.query(&data(*size), 2 * size + 100).unwrap(), *size)).collect();
    link.run(Duration::from_secs(9));
    assert_eq!(link.asked.len(), sizes.len(), "each query is delivered exactly once");
    for (id, size) in asked {
        let expected: Vec<u8> = data(size).iter().rev().chain(&data(size)).copied().collect();
        assert_eq!(link.answers.remove(&id).as_deref(), Some(&expected[..]), "{size} bytes, loss {loss} %");
    }
    link.run(Duration::from_secs(200));
    assert!(link.sides.values().all(|side| side.receiving() == 0));
    link
}

#[test]
fn without_loss_nothing_is_sent_twice_and_complete_rides_with_the_answer() {
    let link = exchange(&[10], 0, 1, false);
    // Query symbol; its completion and the answer's symbol; the answer's completion.
    assert_eq!(link.sent, 4);
    let link = exchange(&[2048], 0, 1, false);
    assert_eq!(link.sent, u64::from(symbols(2048 + 56) + symbols(4096 + 40) + 2));
}

#[test]
fn both_versions_with_loss() {
    let sizes = [0, 10, 700, 768, 769, 1500, 3500, 20_000, 30_000, 60_000];
    for (loss, downgrade) in [(0, false), (0, true), (5, false), (5, true), (20, false), (20, true)] {
        for seed in 1..6 {
            exchange(&sizes, loss, seed, downgrade);
        }
    }
}

/// More than 48 symbols with loss: the repair symbols of the network's dialect, up to several parts.
#[test]
fn large_messages_with_loss() {
    let mut link = Link::new(5, 77);
    for round in 0..4 {
        let id = link.query(&data(37_000 + round), 263_168).unwrap();
        link.run(Duration::from_secs(9));
        assert_eq!(link.answers[&id].len(), 2 * (37_000 + round));
    }
    let mut answering = Link::new(3, 5);
    let id = answering.query(&data(60_000), 200_000).unwrap();
    answering.run(Duration::from_secs(9));
    assert_eq!(answering.answers[&id].len(), 120_000);
}

/// An answer of several parts: only the answer may be that large.
#[test]
fn several_parts() {
    let mut link = Link::new(1, 3);
    let (now, random) = (link.now(), [7; 64]);
    let id = link.sides.get_mut(&A).unwrap().query(now, B, b"all of it", 5_000_000, Duration::from_secs(10), random).unwrap();
    let messages = link.sides.get_mut(&A).unwrap().take_messages();
    messages.iter().for_each(|message| link.sides.get_mut(&B).unwrap().handle(now, A, &message.data));
    let events: Vec<_> = link.sides.get_mut(&B).unwrap().take_events().collect();
    let [Event::Query { asker, .. }] = &events[..] else { panic!("{events:?}") };
    let answer = data(2 * PART + 12_345);
    link.sides.get_mut(&B).unwrap().answer(now, asker, &answer).unwrap();
    link.collect();
    link.run(Duration::from_secs(9));
    assert!(link.answers.remove(&id).unwrap() == answer);
}

#[test]
fn limits_are_kept() {
    let mut link = Link::new(0, 1);
    // A query above what nobody asked for, and an answer above what was asked for.
    let large = link.query(&data(MAX_UNEXPECTED + 100), 1000).unwrap();
    let greedy = link.query(&data(400), 500).unwrap();
    link.run(Duration::from_secs(11));
    assert_eq!((link.asked.len(), link.answers.len(), link.expired), (1, 0, 2));
    assert_ne!(large, greedy);
    assert_eq!(link.query(&[], rldp::MAX_MESSAGE + 1), Err(SendError::TooLarge));
    assert_eq!(link.query(&data(rldp::MAX_MESSAGE + 1), 1), Err(SendError::TooLarge));
}

#[test]
fn an_answer_on_a_foreign_transfer_is_nobodys() {
    let mut side = Transfers::default();
    let now = Now { elapsed: Duration::ZERO, unix: UNIX };
    let id = side.query(now, B, b"?", 1000, Duration::from_secs(5), [9; 64]).unwrap();
    let answer = |transfer, query| {
        let message = Message::Answer { id: query, data: b"!" }.to_bytes();
        let mut padded = message.clone();
        padded.resize(SYMBOL, 0);
        let symbol = Symbol { data_size: message.len(), part: 0, total_size: message.len(), seqno: 0, data: &padded };
        Bytes::from(Packet { version: Version::V2, transfer, body: Body::Symbol(symbol) }.to_bytes())
    };
    let complement = id.map(|byte| !byte);
    side.handle(now, B, &answer([3; 32], [9; 32]));
    side.handle(now, A, &answer(complement, [9; 32]));
    assert_eq!(side.take_events().count(), 0);
    side.handle(now, B, &answer(complement, [9; 32]));
    side.handle(now, B, &answer(complement, [9; 32]));
    assert_eq!(side.take_events().collect::<Vec<_>>(), [Event::Answer { id, data: Bytes::from_static(b"!") }]);
}

fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let symbol =
        (0_u8..3, 1_usize..200_000, 0_u32..4, 0_usize..200_000, 0_u32..300).prop_map(|(transfer, size, part, more, seqno)| {
            let data = [seqno as u8; SYMBOL];
            let symbol = Symbol { data_size: size, part, total_size: size + more / 2, seqno, data: &data };
            Packet { version: Version::V2, transfer: [transfer; 32], body: Body::Symbol(symbol) }.to_bytes()
        });
    let confirm = (0_u8..3, any::<[u32; 4]>()).prop_map(|(transfer, [part, highest, mask, count])| {
        let receipt = rldp::Receipt { highest: highest >> 1, mask: Some(mask), count: Some(count) };
        Packet { version: Version::V2, transfer: [transfer; 32], body: Body::Confirm { part: part % 3, receipt } }.to_bytes()
    });
    prop_oneof![4 => symbol, 2 => confirm, 1 => prop::collection::vec(any::<u8>(), 0..900)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn parsers_are_total_and_agree_with_the_writers(mut bytes in any_packet(), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(1 + cut.index(bytes.len()));
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            let written = packet.to_bytes();
            prop_assert_eq!(Packet::parse(&written), Ok(packet));
        }
        if let Ok(message) = Message::parse(&bytes) {
            let written = message.to_bytes();
            prop_assert_eq!(Message::parse(&written), Ok(message));
        }
    }

    #[test]
    fn hostile_packets_neither_panic_nor_hold_more_than_was_sent(packets in prop::collection::vec(any_packet(), 0..300)) {
        let mut side = Transfers::default();
        // Our own query and an answer under way have the ids that the packets name.
        let at = |ms| Now { elapsed: Duration::from_millis(ms), unix: UNIX };
        side.query(at(0), B, &data(90_000), 100_000, Duration::from_secs(5), [!1; 64]).unwrap();
        side.query(at(0), B, &data(10), 100_000, Duration::from_secs(5), [2; 64]).unwrap();
        let mut received = 0;
        for (i, packet) in packets.into_iter().enumerate() {
            received += packet.len();
            side.handle(at(i as u64), B, &packet.into());
            side.handle_timers(at(i as u64));
            prop_assert!(side.receiving() <= received);
        }
        for second in 1..100 {
            side.handle_timers(at(second * 1000));
        }
        prop_assert_eq!(side.receiving(), 0);
    }
}
