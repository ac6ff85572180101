//! The whole stack, ADNL and RLDP, over a link that loses 5 % of the datagrams, reorders 2 % and doubles 1 %.

mod common;

use adnl::keys::PrivateKey;
use adnl::{Node, Now, PeerRecord};
use common::Dice;
use rldp::Transfers;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

const UNIX: u32 = 1_700_000_000;
const TIMEOUT: Duration = Duration::from_secs(10);
/// Asked by the two sides together.
const QUERIES: u64 = 10_000;
const IN_FLIGHT: usize = 64;
/// Queries up to this size take a plain ADNL query: one datagram.
const PLAIN: usize = 1200;

/// The number of a query, padded: 600 to 3,500 bytes that depend on nothing else. Answers are made in the same way, from another number.
fn payload(number: u64) -> Vec<u8> {
    let mut dice = Dice(number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    dice.roll(1);
    let size = 600 + dice.roll(2901) as usize;
    let mut data = number.to_le_bytes().to_vec();
    data.resize_with(size, || dice.roll(256) as u8);
    data
}

fn answer_to(query: &[u8]) -> Vec<u8> {
    payload(!u64::from_le_bytes(query[..8].try_into().unwrap()))
}

struct Side {
    node: Node,
    transfers: Transfers,
    addr: SocketAddr,
    asked: HashMap<[u8; 32], u64>,
    /// How often each query was executed here.
    executed: HashMap<u64, u32>,
}

struct World {
    sides: [Side; 2],
    flying: std::collections::BTreeMap<(Duration, u64), (usize, Vec<u8>)>,
    elapsed: Duration,
    sent: u64,
    lost: u64,
    dice: Dice,
    begun: u64,
    answered: u64,
    plain: u64,
    slowest: Duration,
    began_at: HashMap<u64, Duration>,
}

impl World {
    fn new(seed: u64) -> Self {
        let side = |i: u8| Side {
            node: Node::new(PrivateKey::from_seed(&[i; 32]), UNIX, None),
            transfers: Transfers::default(),
            addr: SocketAddr::from(([10, 0, 0, i], 1000)),
            asked: HashMap::new(),
            executed: HashMap::new(),
        };
        let (sides, flying, began_at) = ([side(1), side(2)], Default::default(), HashMap::new());
        let (elapsed, slowest, dice) = (Duration::ZERO, Duration::ZERO, Dice(seed));
        Self { sides, flying, elapsed, sent: 0, lost: 0, dice, begun: 0, answered: 0, plain: 0, slowest, began_at }
    }

    fn now(&self) -> Now {
        Now { elapsed: self.elapsed, unix: UNIX + self.elapsed.as_secs() as u32 }
    }

    /// Keeps so many queries under way.
    fn ask(&mut self) {
        while self.began_at.len() < IN_FLIGHT && self.begun < QUERIES {
            self.begun += 1;
            let (number, now, random) = (self.begun, self.now(), std::array::from_fn(|_| self.dice.roll(256) as u8));
            let (from, data) = ((number % 2) as usize, payload(number));
            let peer = self.sides[1 - from].node.id();
            let side = &mut self.sides[from];
            let id = match data.len() <= PLAIN {
                true => side.node.query(now, &peer, &data, TIMEOUT).unwrap(),
                false => side.transfers.query(now, peer, &data, 4096, TIMEOUT, random).unwrap(),
            };
            self.plain += u64::from(data.len() <= PLAIN);
            side.asked.insert(id, number);
            self.began_at.insert(number, self.elapsed);
        }
    }

    fn answered(&mut self, side: usize, id: &[u8; 32], data: &[u8]) {
        let number = self.sides[side].asked.remove(id).expect("answered once");
        assert!(data == answer_to(&number.to_le_bytes()), "the answer to query {number}");
        let began = self.began_at.remove(&number).unwrap();
        self.slowest = self.slowest.max(self.elapsed - began);
        self.answered += 1;
    }

    /// Lets the layers of a side talk until they have nothing more to say, then puts its datagrams onto the link.
    fn settle(&mut self, i: usize) {
        let now = self.now();
        loop {
            let (mut quiet, mut answers) = (true, Vec::new());
            let side = &mut self.sides[i];
            for event in side.node.take_events().collect::<Vec<_>>() {
                match event {
                    adnl::Event::Custom { peer, data } => side.transfers.handle(now, peer, &data),
                    adnl::Event::Query { peer_id, id, data, .. } => {
                        let number = u64::from_le_bytes(data[..8].try_into().unwrap());
                        *side.executed.entry(number).or_default() += 1;
                        side.node.answer(now, &peer_id, &id, &answer_to(&data)).unwrap();
                    }
                    adnl::Event::Answer { id, data } => answers.push((id, data)),
                    adnl::Event::Expired { .. } => panic!("a query expired at {:?}", self.elapsed),
                    _ => continue,
                }
                quiet = false;
            }
            for event in side.transfers.take_events().collect::<Vec<_>>() {
                match event {
                    rldp::Event::Query { asker, data } => {
                        let number = u64::from_le_bytes(data[..8].try_into().unwrap());
                        *side.executed.entry(number).or_default() += 1;
                        side.transfers.answer(now, &asker, &answer_to(&data)).unwrap();
                    }
                    rldp::Event::Answer { id, data } => answers.push((id, data)),
                    rldp::Event::Expired { .. } => panic!("a transfer expired at {:?}", self.elapsed),
                }
                quiet = false;
            }
            for message in side.transfers.take_messages() {
                side.node.custom(now, &message.peer, &message.data, message.reply).unwrap();
            }
            answers.iter().for_each(|(id, data)| self.answered(i, id, data));
            if quiet {
                break;
            }
        }
        self.ask();
        self.sides[i].node.flush(now);
        let datagrams: Vec<_> = self.sides[i].node.outbox().datagrams().map(|(_, bytes)| bytes.to_vec()).collect();
        self.sides[i].node.outbox().clear();
        for datagram in datagrams {
            self.launch(i, &datagram);
        }
    }

    fn launch(&mut self, from: usize, datagram: &[u8]) {
        let lost = self.dice.roll(100) < 5;
        self.lost += u64::from(lost);
        for _ in 0..u64::from(!lost) + u64::from(self.dice.roll(100) < 1) {
            self.sent += 1;
            // A millisecond, and what is reordered takes three.
            let micros = 1000 + if self.dice.roll(100) < 2 { 2000 } else { 0 };
            self.flying.insert((self.elapsed + Duration::from_micros(micros), self.sent), (from, datagram.to_vec()));
        }
    }

    fn step(&mut self) {
        let timers = self.sides.iter().flat_map(|side| [side.node.next_timer(), side.transfers.next_timer()]).flatten();
        let next = timers.chain(self.flying.keys().next().map(|(at, _)| *at)).min().unwrap();
        self.elapsed = self.elapsed.max(next);
        let now = self.now();
        while let Some(entry) = self.flying.first_entry().filter(|entry| entry.key().0 <= now.elapsed) {
            let (from, mut datagram) = entry.remove();
            let addr = self.sides[from].addr;
            self.sides[1 - from].node.handle_datagram(now, addr, &mut datagram);
        }
        for i in 0..2 {
            self.sides[i].node.handle_timers(now);
            self.sides[i].transfers.handle_timers(now);
            self.settle(i);
        }
    }
}

#[test]
fn ten_thousand_queries_with_loss_and_reordering_all_succeed_and_none_is_executed_twice() {
    let mut world = World::new(0x00c0_ffee);
    let records = [1, 0].map(|i: usize| PeerRecord {
        key: PrivateKey::from_seed(&[i as u8 + 1; 32]).public(),
        address: Some(world.sides[i].addr),
        channel_date: 0,
    });
    for (i, record) in records.iter().enumerate() {
        world.sides[i].node.add_peer(world.now(), record, true).unwrap();
    }
    world.ask();
    (0..2).for_each(|i| world.settle(i));
    while world.answered < QUERIES {
        assert!(world.elapsed < Duration::from_secs(600), "{} answered", world.answered);
        world.step();
    }
    let executed: Vec<u32> = world.sides.iter().flat_map(|side| side.executed.values().copied()).collect();
    assert_eq!((executed.len() as u64, executed.iter().max()), (QUERIES, Some(&1)));
    assert!(world.lost > world.sent / 30 && (QUERIES / 10..QUERIES / 2).contains(&world.plain), "{} plain", world.plain);
    println!(
        "{} datagrams, {} lost; slowest answer after {:?}, all after {:?}",
        world.sent, world.lost, world.slowest, world.elapsed
    );
    // What was under way is forgotten.
    let end = world.elapsed + Duration::from_secs(120);
    while world.elapsed < end {
        world.step();
    }
    assert!(world.sides.iter().all(|side| side.transfers.receiving() == 0));
}
