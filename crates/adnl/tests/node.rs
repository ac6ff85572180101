//! Two nodes joined by a link that loses, doubles, delays and reorders; restarts; hostile datagrams.

mod common;

use adnl::keys::{AdnlId, PrivateKey};
use adnl::{AddressList, Event, MAX_DATAGRAM, Message, Node, Now, Packet, PeerRecord, next_epoch};
use bytes::Bytes;
use common::Dice;
use proptest::prelude::*;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;
use tl::Object;

const UNIX: u32 = 1_700_000_000;
const TIMEOUT: Duration = Duration::from_secs(10);

struct Side {
    key: PrivateKey,
    node: Node,
    addr: SocketAddr,
    epoch: u32,
    /// What a real node would store.
    records: HashMap<AdnlId, PeerRecord>,
    /// Whether queries are answered, with their reverse.
    answers: bool,
    executed: HashMap<Bytes, usize>,
    customs: Vec<Bytes>,
    answered: HashMap<[u8; 32], Bytes>,
    expired: usize,
    resets: usize,
}

impl Side {
    fn new(seed: u8) -> Self {
        let key = PrivateKey::from_seed(&[seed; 32]);
        let node = Node::new(key.clone(), UNIX, None);
        let addr = SocketAddr::from(([10, 0, 0, seed], 1000));
        let (records, executed, customs, answered) = Default::default();
        Self { key, node, addr, epoch: UNIX, records, answers: true, executed, customs, answered, expired: 0, resets: 0 }
    }

    fn record(&self) -> PeerRecord {
        PeerRecord { key: self.key.public(), address: Some(self.addr), channel_date: 0 }
    }
}

struct Link {
    sides: [Side; 2],
    flying: Vec<(Duration, u64, usize, Vec<u8>)>,
    elapsed: Duration,
    count: u64,
    loss: u64,
    dice: Dice,
}

impl Link {
    fn new(loss: u64, seed: u64) -> Self {
        let sides = [Side::new(1), Side::new(2)];
        Self { sides, flying: Vec::new(), elapsed: Duration::ZERO, count: 0, loss, dice: Dice(seed | 1) }
    }

    /// The unix clock stands still, so that everything happens in one second, unless a test wants otherwise.
    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, unix: UNIX }
    }

    fn meet(&mut self, side: usize) {
        let (now, record) = (self.now(), self.sides[1 - side].record());
        let stored = self.sides[side].records.get(&record.key.id()).cloned();
        let record = PeerRecord { address: record.address, ..stored.unwrap_or(record) };
        self.sides[side].node.add_peer(now, &record, true).unwrap();
        self.collect();
    }

    fn ask(&mut self, side: usize, data: &[u8]) -> [u8; 32] {
        let (now, peer) = (self.now(), self.sides[1 - side].node.id());
        let id = self.sides[side].node.query(now, &peer, data, TIMEOUT).unwrap();
        self.collect();
        id
    }

    fn restart(&mut self, side: usize) {
        let unix = self.now().unix;
        let side = &mut self.sides[side];
        side.epoch = next_epoch(side.epoch, unix);
        side.node = Node::new(side.key.clone(), side.epoch, None);
        side.answered.clear();
    }

    fn collect(&mut self) {
        let now = self.now();
        for i in 0..2 {
            let side = &mut self.sides[i];
            for event in side.node.take_events().collect::<Vec<_>>() {
                match event {
                    Event::Query { peer_id, id, data, .. } => {
                        *side.executed.entry(data.clone()).or_default() += 1;
                        if side.answers {
                            let answer: Vec<u8> = data.iter().rev().copied().collect();
                            side.node.answer(now, &peer_id, &id, &answer).unwrap();
                        }
                    }
                    Event::Answer { id, data } => assert!(side.answered.insert(id, data).is_none()),
                    Event::Custom { data, .. } => side.customs.push(data),
                    Event::Expired { .. } => side.expired += 1,
                    Event::Reset { .. } => side.resets += 1,
                    Event::Record(record) => {
                        let stored = side.records.insert(record.key.id(), record.clone());
                        assert!(stored.is_none_or(|stored| stored.channel_date <= record.channel_date));
                    }
                    Event::Up { .. } | Event::Gone { .. } => {}
                }
            }
            side.node.flush(now);
            let from = i;
            for (_, datagram) in side.node.outbox().datagrams() {
                assert!(datagram.len() <= MAX_DATAGRAM);
                self.count += 1;
                for copy in 0..2 {
                    let lost = self.dice.roll(100) < self.loss;
                    // As many are doubled, unless nothing gets through at all.
                    let flies = if copy == 0 { !lost } else { lost && self.loss < 100 };
                    if flies {
                        let delay = 300 + if self.loss > 0 { self.dice.roll(20_000) } else { 0 };
                        self.flying.push((self.elapsed + Duration::from_micros(delay), self.count, from, datagram.to_vec()));
                    }
                }
            }
            side.node.outbox().clear();
        }
    }

    fn run(&mut self, limit: Duration) {
        let end = self.elapsed + limit;
        loop {
            self.flying.sort();
            let timers = self.sides.iter().filter_map(|side| side.node.next_timer()).min();
            let Some(next) = timers.into_iter().chain(self.flying.first().map(|first| first.0)).min() else { break };
            if next > end {
                break;
            }
            self.elapsed = self.elapsed.max(next);
            let now = self.now();
            while self.flying.first().is_some_and(|first| first.0 <= now.elapsed) {
                let (_, _, from, mut datagram) = self.flying.remove(0);
                let addr = self.sides[from].addr;
                self.sides[1 - from].node.handle_datagram(now, addr, &mut datagram);
            }
            self.sides.iter_mut().for_each(|side| side.node.handle_timers(now));
            self.collect();
        }
        self.elapsed = end;
    }

    fn sent_root(&self) -> u64 {
        self.sides.iter().map(|side| side.node.stats().sent_root).sum()
    }

    fn expect_answer(&mut self, side: usize, id: &[u8; 32], data: &[u8], within: Duration) {
        self.run(within);
        let expected: Vec<u8> = data.iter().rev().copied().collect();
        assert_eq!(self.sides[side].answered.get(id).map(|answer| &answer[..]), Some(&expected[..]));
    }
}

fn data(size: usize, mark: u8) -> Vec<u8> {
    (0..size).map(|i| (i as u8).wrapping_mul(31) ^ mark).collect()
}

#[test]
fn first_query_is_answered_in_one_round_trip_and_opens_a_channel() {
    let mut link = Link::new(0, 1);
    let record = link.sides[1].record();
    link.sides[0].node.add_peer(link.now(), &record, false).unwrap();
    let id = link.ask(0, b"hello");
    link.expect_answer(0, &id, b"hello", Duration::from_millis(1));
    let roots = link.sent_root();
    assert_eq!(roots, 2);
    for i in 0..100 {
        let id = link.ask((i % 2) as usize, &[i; 40]);
        link.expect_answer((i % 2) as usize, &id, &[i; 40], Duration::from_millis(1));
    }
    // One confirmation of a channel that its opener had not used yet, at most.
    assert!(link.sent_root() <= roots + 1, "{} roots", link.sent_root());
    link.run(Duration::from_secs(1));
    assert_eq!(link.sides.iter().map(|side| side.node.stats().refused).sum::<u64>(), 0);
}

#[test]
fn both_open_at_once() {
    for seed in 1..20 {
        let mut link = Link::new(if seed < 5 { 0 } else { 30 }, seed);
        link.meet(0);
        link.meet(1);
        let asked = [link.ask(0, b"from a"), link.ask(1, b"from b")];
        link.run(Duration::from_secs(9));
        assert_eq!(link.sides[0].answered[&asked[0]], &b"a morf"[..]);
        assert_eq!(link.sides[1].answered[&asked[1]], &b"b morf"[..]);
        let roots = link.sent_root();
        link.loss = 0;
        let id = link.ask(0, b"again");
        link.expect_answer(0, &id, b"again", Duration::from_millis(800));
        let id = link.ask(1, b"again!");
        link.expect_answer(1, &id, b"again!", Duration::from_millis(800));
        assert!(link.sent_root() <= roots + 2);
    }
}

#[test]
fn several_messages_share_a_packet() {
    let mut link = Link::new(0, 1);
    link.meet(0);
    link.run(Duration::from_secs(1));
    let (now, peer, sent) = (link.now(), link.sides[1].node.id(), link.count);
    for i in 0..5 {
        link.sides[0].node.query(now, &peer, &[i; 100], TIMEOUT).unwrap();
    }
    link.collect();
    assert_eq!(link.count, sent + 1);
    link.run(Duration::from_millis(100));
    assert_eq!((link.count, link.sides[0].answered.len()), (sent + 2, 5));
}

/// network C row 14: nothing is executed twice, everything is answered.
#[test]
fn loss_doubling_and_reordering() {
    for (loss, seed) in [(5, 1), (5, 2), (5, 3), (20, 4), (20, 5)] {
        let mut link = Link::new(loss, seed);
        link.meet(0);
        link.meet(1);
        let mut asked = Vec::new();
        for i in 0..300_usize {
            let query = data([10, 700, 1200, 2000, 7000][i % 5] + i, i as u8);
            let side = i % 2;
            asked.push((side, link.ask(side, &query), query));
            link.run(Duration::from_millis(7));
        }
        link.run(TIMEOUT);
        let lost = asked.iter().filter(|(side, id, _)| !link.sides[*side].answered.contains_key(id)).count();
        // An answer in eight parts may lose one in each of its dozen repetitions, but not often.
        assert!(lost <= if loss > 5 { 15 } else { 0 }, "{lost} lost at {loss} %");
        for (side, id, query) in &asked {
            assert!(link.sides[1 - side].executed.get(&query[..]).is_none_or(|times| *times == 1));
            let expected: Vec<u8> = query.iter().rev().copied().collect();
            assert!(link.sides[*side].answered.get(id).is_none_or(|answer| *answer == expected));
        }
    }
}

/// network 3.13, all in one second: whoever restarts, whoever asks, with and without what was stored about the peer.
#[test]
fn restarts_within_one_second() {
    for (restarting, asking, forgetful) in (0..8).map(|i| (i & 1, i >> 1 & 1, i & 4 != 0)) {
        let mut link = Link::new(0, 7);
        link.meet(0);
        link.meet(1);
        let id = link.ask(0, b"before");
        link.expect_answer(0, &id, b"before", Duration::from_millis(100));
        for round in 0..5 {
            link.restart(restarting);
            if forgetful {
                // The crash lost the dates; the epoch was stored before it was used.
                link.sides[restarting].records.clear();
            }
            if restarting == asking || forgetful {
                link.meet(restarting);
            }
            let resets = link.sides[1 - restarting].resets;
            let id = link.ask(asking, &[round; 9]);
            link.expect_answer(asking, &id, &[round; 9], Duration::from_millis(800));
            let id = link.ask(1 - asking, &[round; 10]);
            link.expect_answer(1 - asking, &id, &[round; 10], Duration::from_millis(800));
            assert_eq!(link.sides[1 - restarting].resets, resets + 1, "the other side notices, once");
        }
    }
}

#[test]
fn a_smaller_epoch_is_refused_and_a_far_one_too() {
    let mut link = Link::new(0, 1);
    link.meet(0);
    link.run(Duration::from_secs(1));
    for epoch in [UNIX - 5, UNIX + 61] {
        link.sides[0].node = Node::new(link.sides[0].key.clone(), epoch, None);
        link.meet(0);
        let id = link.ask(0, b"?");
        link.run(TIMEOUT);
        assert!(!link.sides[0].answered.contains_key(&id));
    }
    assert_eq!(link.sides[1].executed.len(), 0);
}

/// A repeated datagram has no effect but a repeated answer (network 3.5).
#[test]
fn repeated_datagrams_repeat_answers_only() {
    for in_channel in [false, true] {
        let mut link = Link::new(0, 1);
        let record = link.sides[1].record();
        link.sides[0].node.add_peer(link.now(), &record, false).unwrap();
        if in_channel {
            let id = link.ask(0, b"open");
            link.expect_answer(0, &id, b"open", Duration::from_millis(10));
        }
        let peer = link.sides[1].node.id();
        link.sides[0].node.custom(link.now(), &peer, b"custom", false).unwrap();
        let id = link.ask(0, b"query");
        let datagram = link.flying.first().unwrap().3.clone();
        link.expect_answer(0, &id, b"query", Duration::from_millis(10));
        let (now, from, before) = (link.now(), link.sides[0].addr, link.sides[1].node.stats());
        for _ in 0..3 {
            link.sides[1].node.handle_datagram(now, from, &mut datagram.clone());
            link.collect();
        }
        link.run(Duration::from_millis(10));
        let after = link.sides[1].node.stats();
        assert_eq!((after.received, after.repeated), (before.received, before.repeated + 3));
        assert_eq!(after.sent, before.sent + 3);
        assert_eq!(link.sides[1].customs, [&b"custom"[..]]);
        assert_eq!(link.sides[1].executed[&b"query"[..]], 1);
    }
}

/// Whoever repeats the very datagrams of a question in parts (tonutils-go v1.15.0 does) has its answer once more.
#[test]
fn repeated_parts_of_a_query_repeat_its_answer() {
    let mut link = Link::new(0, 1);
    link.meet(0);
    link.run(Duration::from_secs(3));
    let question: Vec<u8> = (0..5000).map(|i| i as u8).collect();
    let id = link.ask(0, &question);
    let parts: Vec<Vec<u8>> = link.flying.iter().map(|flying| flying.3.clone()).collect();
    assert!(parts.len() > 3, "{} datagrams", parts.len());
    link.expect_answer(0, &id, &question, Duration::from_millis(10));
    let (now, from, before) = (link.now(), link.sides[0].addr, link.sides[1].node.stats());
    for part in &parts {
        link.sides[1].node.handle_datagram(now, from, &mut part.clone());
        link.collect();
    }
    let after = link.sides[1].node.stats();
    assert_eq!((after.received, after.repeated), (before.received, before.repeated + parts.len() as u64));
    // The answer is as long as the question: one copy of it.
    assert_eq!(after.sent - before.sent, parts.len() as u64);
    assert_eq!(link.sides[1].executed[&question[..]], 1);
}

#[test]
fn an_unanswered_query_is_repeated_and_executed_once() {
    let mut link = Link::new(0, 1);
    link.sides[1].answers = false;
    link.meet(0);
    link.ask(0, b"?");
    link.run(TIMEOUT + Duration::from_secs(1));
    assert_eq!(link.sides[0].expired, 1);
    assert_eq!(link.sides[1].executed[&b"?"[..]], 1);
}

#[test]
fn a_wanted_peer_is_kept_alive_and_an_unwanted_one_forgotten() {
    let mut link = Link::new(0, 1);
    link.meet(0);
    link.run(Duration::from_secs(300));
    let received = link.sides[1].node.stats().received;
    assert!((5..60).contains(&received), "{received} packets in 300 s");
    assert_eq!(link.sides[1].node.peers(), 1);
    link.sides[0].node.remove_peer(&link.sides[1].node.id());
    link.run(Duration::from_secs(700));
    assert_eq!((link.sides[0].node.peers(), link.sides[1].node.peers()), (0, 0));
}

#[test]
fn an_absent_wanted_peer_costs_little() {
    let mut link = Link::new(100, 1);
    link.meet(0);
    link.ask(0, b"?");
    link.run(Duration::from_secs(600));
    assert!(link.count < 60, "{} datagrams in 600 s", link.count);
    // It comes back: the next greeting opens the channel, whatever was tried before.
    link.loss = 0;
    link.run(Duration::from_secs(70));
    let id = link.ask(0, b"there?");
    link.expect_answer(0, &id, b"there?", Duration::from_millis(10));
}

/// network 9 row 9: the peer closed the session without a word and without a restart; its keys and dates are new then.
#[test]
fn a_peer_that_forgot_us_is_reached_outside_of_the_channel() {
    let mut link = Link::new(0, 1);
    link.meet(0);
    let id = link.ask(0, b"before");
    link.expect_answer(0, &id, b"before", Duration::from_millis(100));
    for round in 0..3 {
        let forgotten = link.sides[0].node.id();
        link.sides[1].node.remove_peer(&forgotten);
        link.collect();
        let roots = link.sent_root();
        let id = link.ask(0, &[round; 7]);
        link.expect_answer(0, &id, &[round; 7], Duration::from_millis(800));
        assert!(link.sent_root() > roots);
        let roots = link.sent_root();
        let id = link.ask(0, &[round; 8]);
        link.expect_answer(0, &id, &[round; 8], Duration::from_millis(10));
        assert!(link.sent_root() <= roots + 1, "the channel is open again");
        link.run(Duration::from_secs(2));
    }
}

/// Whoever never gets as far as a channel is forgotten soon, and makes room before anybody else.
#[test]
fn a_peer_without_a_channel_is_forgotten_after_30_seconds() {
    let mut link = Link::new(0, 1);
    let record = link.sides[1].record();
    link.sides[0].node.add_peer(link.now(), &record, false).unwrap();
    link.ask(0, b"?");
    // The first datagram arrives, nothing else does.
    let (_, _, _, mut datagram) = link.flying.remove(0);
    let (now, from) = (link.now(), link.sides[0].addr);
    link.sides[1].node.handle_datagram(now, from, &mut datagram);
    link.loss = 100;
    link.run(Duration::from_secs(25));
    assert_eq!(link.sides[1].node.peers(), 1);
    link.run(Duration::from_secs(10));
    assert_eq!(link.sides[1].node.peers(), 0);
}

#[test]
fn strangers_are_bounded() {
    let mut server = Node::new(PrivateKey::generate(), UNIX, None);
    let server_record = PeerRecord { key: PrivateKey::generate().public(), address: None, channel_date: 0 };
    assert!(server.add_peer(Now { elapsed: Duration::ZERO, unix: UNIX }, &server_record, true).is_ok());
    // Root packets of one source are limited before they are opened.
    let record = PeerRecord { key: server_record.key, address: Some(([10, 0, 0, 9], 9).into()), channel_date: 0 };
    let mut garbage = vec![0; 200];
    garbage[..32].copy_from_slice(server.id().as_bytes());
    garbage[32..64].copy_from_slice(record.key.as_bytes());
    for _ in 0..2000 {
        server.handle_datagram(Now { elapsed: Duration::ZERO, unix: UNIX }, record.address.unwrap(), &mut garbage.clone());
    }
    assert_eq!((server.stats().refused, server.peers()), (2000, 1));
}

fn any_message() -> impl Strategy<Value = Vec<u8>> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![
        (any::<[u8; 32]>(), any::<u32>()).prop_map(|(key, date)| Message::CreateChannel { key, date }.to_bytes()),
        (any::<[u8; 32]>(), any::<[u8; 32]>(), any::<u32>()).prop_map(|(key, peer_key, date)| Message::ConfirmChannel {
            key,
            peer_key,
            date
        }
        .to_bytes()),
        bytes().prop_map(|data| Message::Custom { data: &data }.to_bytes()),
        Just(Message::Nop.to_bytes()),
        any::<u32>().prop_map(|date| Message::Reinit { date }.to_bytes()),
        (any::<u8>(), bytes()).prop_map(|(id, data)| Message::Query { id: [id; 32], data: &data }.to_bytes()),
        (any::<u8>(), bytes()).prop_map(|(id, data)| Message::Answer { id: [id; 32], data: &data }.to_bytes()),
        (any::<u8>(), any::<u32>(), any::<u32>(), bytes()).prop_map(|(hash, total_size, offset, data)| Message::Part {
            hash: [hash; 32],
            total_size,
            offset,
            data: &data
        }
        .to_bytes()),
        any::<u64>().prop_map(|value| Message::Ping { value }.to_bytes()),
        any::<u64>().prop_map(|value| Message::Pong { value }.to_bytes()),
    ]
}

/// Plaintext of a packet with any combination of fields.
fn any_packet() -> impl Strategy<Value = Vec<u8>> {
    let fields = (any::<u32>(), any::<[u32; 5]>(), any::<[u64; 2]>(), prop::collection::vec(any::<u8>(), 0..16));
    (fields, prop::collection::vec(any_message(), 0..4)).prop_map(|((flags, numbers, seqnos, filler), messages)| {
        let flags = if flags % 5 == 0 { flags } else { flags & 0x0ff3 | if messages.len() == 1 { 4 } else { 8 } };
        let mut w = tl::Writer::new();
        w.u32(0xd142_cd89);
        w.bytes(&filler);
        w.u32(flags);
        if flags & 1 != 0 {
            PrivateKey::from_seed(&[1; 32]).public().write(&mut w);
        }
        if flags & 2 != 0 {
            w.raw(PrivateKey::from_seed(&[1; 32]).id().as_bytes());
        }
        if flags & 8 != 0 {
            w.u32(messages.len() as u32);
        }
        messages.iter().for_each(|message| w.raw(message));
        let list = AddressList { addrs: vec!["10.0.0.1:5".parse().unwrap()], version: numbers[0], ..AddressList::default() };
        (0..2).filter(|i| flags & 0x10 << i != 0).for_each(|_| list.write_bare(&mut w));
        (0..2).filter(|i| flags & 0x40 << i != 0).for_each(|i| w.u64(seqnos[i] >> (i * 40)));
        (0..2).filter(|i| flags & 0x100 << i != 0).for_each(|i| w.u32(numbers[i]));
        if flags & 0x400 != 0 {
            w.u32(UNIX + numbers[2] % 100);
            w.u32(UNIX - numbers[3] % 3);
        }
        if flags & 0x800 != 0 {
            w.bytes(&[7; 64]);
        }
        w.bytes(&filler);
        w.into_bytes()
    })
}

/// How a datagram is spoiled on its way.
#[derive(Debug, Clone)]
struct Spoil {
    side: usize,
    which: prop::sample::Index,
    at: prop::sample::Index,
    flip: u8,
    cut: Option<prop::sample::Index>,
}

fn any_spoil() -> impl Strategy<Value = Spoil> {
    let cut = prop::option::weighted(0.2, any::<prop::sample::Index>());
    (0..2_usize, any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>(), cut)
        .prop_map(|(side, which, at, flip, cut)| Spoil { side, which, at, flip: if flip % 2 == 0 { 0 } else { flip }, cut })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn parsers_are_total(mut bytes in any_packet(), at in any::<prop::sample::Index>(), flip in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let whole = Packet::parse(&bytes).map(|packet| packet.messages.len());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if flip % 4 == 1 {
            bytes.truncate(cut.index(bytes.len()));
        }
        if let Ok(packet) = Packet::parse(&bytes) {
            let _ = packet.signed_bytes(&bytes);
            prop_assert!(packet.messages.len() <= bytes.len() / 4);
        }
        prop_assert!(flip != 0 || whole == Packet::parse(&bytes).map(|packet| packet.messages.len()));
        if let Ok(message) = Message::parse(&bytes) {
            let written = message.to_bytes();
            prop_assert_eq!(Message::parse(&written), Ok(message));
        }
        if let Ok(list) = AddressList::from_boxed(&bytes) {
            let written = list.to_boxed();
            prop_assert_eq!(AddressList::from_boxed(&written), Ok(list));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any datagrams that were ever sent, again, in any order, spoiled or not, with hostile ones among them: the session survives.
    #[test]
    fn a_session_survives_everything_on_the_wire(spoils in prop::collection::vec(any_spoil(), 1..120), hostile in prop::collection::vec(any_packet(), 0..10)) {
        let mut link = Link::new(0, 1);
        link.meet(0);
        link.run(Duration::from_millis(1));
        let (mut wire, mut rounds) = (Vec::new(), 0_u8);
        for chunk in spoils.chunks(10) {
            rounds += 1;
            for side in 0..2 {
                link.ask(side, &[rounds; 600]);
            }
            wire.extend(link.flying.iter().map(|flying| (flying.2, flying.3.clone())));
            link.run(Duration::from_millis(5));
            for spoil in chunk {
                let (from, mut datagram) = wire[spoil.which.index(wire.len())].clone();
                let at = spoil.at.index(datagram.len());
                datagram[at] ^= spoil.flip;
                if let Some(cut) = spoil.cut {
                    datagram.truncate(cut.index(datagram.len()));
                }
                let (now, to) = (link.now(), if spoil.side == 0 { 1 - from } else { from });
                link.sides[to].node.handle_datagram(now, "10.0.0.77:7".parse().unwrap(), &mut datagram);
            }
            link.collect();
            // Correctly encrypted, for a stranger's signature.
            for plaintext in &hostile {
                let target = &link.sides[1];
                let ephemeral = PrivateKey::from_seed(&[rounds; 32]);
                let secret = ephemeral.shared_secret(&target.key.public()).unwrap();
                let mut body = plaintext.clone();
                let checksum = adnl::cipher::seal(&secret, &mut body);
                let mut datagram = [target.node.id().as_bytes(), ephemeral.public().as_bytes(), &checksum[..], &body].concat();
                let now = link.now();
                link.sides[1].node.handle_datagram(now, "10.0.0.77:7".parse().unwrap(), &mut datagram);
            }
            link.collect();
        }
        link.run(Duration::from_secs(3));
        for side in 0..2 {
            prop_assert_eq!(link.sides[side].answered.len(), usize::from(rounds));
            prop_assert!(link.sides[side].executed.values().all(|times| *times == 1));
            prop_assert_eq!(link.sides[side].node.peers(), 1);
        }
    }
}
