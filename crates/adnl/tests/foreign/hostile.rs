//! Packets of a peer that has a channel with us and means ill: each of the corpus as it is, then spoiled, doubled, cut and out of order.

use crate::common::Dice;
use crate::peer::{Foreign, query};
use adnl::keys::PrivateKey;
use adnl::{AddressList, Message, Packet, PeerRecord};
use std::time::Duration;
use tl::Object;

/// A name and the plaintext of a packet in hex, per line.
const CORPUS: &str = include_str!("../corpus/packets.txt");
const ROUNDS: usize = 20_000;

fn corpus() -> Vec<Vec<u8>> {
    let bytes = |line: &str| hex::decode(line.split_once(' ').map_or("", |(_, hex)| hex)).expect("hex");
    CORPUS.lines().map(bytes).collect()
}

fn index(dice: &mut Dice, below: usize) -> usize {
    dice.roll(below as u64) as usize
}

/// Spoils a few bytes, cuts, or joins the front of one with the back of another.
fn spoil(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[index(dice, corpus.len())].clone();
    for _ in 0..index(dice, 4) {
        let at = index(dice, bytes.len());
        let value = [0, 0xff, 0xfe, index(dice, 256) as u8][index(dice, 4)];
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
    }
    match index(dice, 8) {
        0 => bytes.truncate(index(dice, bytes.len())),
        1 => {
            let other = &corpus[index(dice, corpus.len())];
            bytes.truncate(index(dice, bytes.len()));
            bytes.extend_from_slice(&other[index(dice, other.len())..]);
        }
        _ => {}
    }
    bytes
}

fn parse(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert!(packet.messages.len() <= bytes.len() / 4);
        let _ = packet.signed_bytes(bytes);
    }
    for start in 0..bytes.len().min(64) {
        if let Ok(message) = Message::parse(&bytes[start..]) {
            assert_eq!(Message::parse(&message.to_bytes()), Ok(message));
        }
        if let Ok(list) = AddressList::from_boxed(&bytes[start..]) {
            assert_eq!(AddressList::from_boxed(&list.to_boxed()), Ok(list));
        }
    }
}

#[test]
fn the_corpus_and_what_is_made_of_it_is_parsed_or_refused() {
    let (corpus, mut dice) = (corpus(), Dice(1));
    assert!(corpus.len() > 40 && corpus.iter().filter(|bytes| Packet::parse(bytes).is_ok()).count() > 20);
    corpus.iter().for_each(|bytes| parse(bytes));
    (0..ROUNDS).for_each(|_| parse(&spoil(&mut dice, &corpus)));
}

/// Root packets forged in the names of many sources cost a bounded number of key agreements, and a peer that we were told of is served
/// meanwhile, in its channel, and outside of it when it restarts.
#[test]
fn a_flood_from_many_sources_is_bounded_and_the_peer_is_served() {
    let mut foreign = Foreign::new();
    let record = PeerRecord { key: foreign.key.public(), address: Some(foreign.addr), channel_date: 0 };
    foreign.node.add_peer(foreign.now(), &record, true).unwrap();
    foreign.open_channel();
    foreign.listen();
    let mut forged = vec![7; 300];
    forged[..32].copy_from_slice(foreign.node.id().as_bytes());
    forged[32..64].copy_from_slice(PrivateKey::generate().public().as_bytes());
    let (before, began) = (foreign.node.stats(), foreign.elapsed);
    const FLOOD: u32 = 200_000;
    for i in 0..FLOOD {
        let source = (std::net::Ipv4Addr::from(0x0b00_0000 + i), 1234).into();
        foreign.node.handle_datagram(foreign.now(), source, &mut forged.clone());
        if i % 2000 == 0 {
            foreign.elapsed += Duration::from_millis(10);
            let number = i.to_le_bytes();
            match i % 20_000 {
                // It restarted, and has forgotten the channel.
                0 => {
                    let mut root = foreign.root();
                    root.dates.0 += i / 20_000;
                    let create = foreign.create(root.dates.0);
                    foreign.send(&root, &[create, query(&number)]);
                }
                _ => foreign.send_in_channel(1000 + u64::from(i), &[query(&number)]),
            }
            assert_eq!(foreign.queries(), [number], "at {i}");
            foreign.listen();
        }
    }
    let (stats, seconds) = (foreign.node.stats(), (foreign.elapsed - began).as_secs_f64());
    let opened = stats.opened - before.opened;
    assert!(f64::from(opened as u32) < 1100.0 + 1000.0 * seconds, "{opened} opened in {seconds} s");
    assert!(stats.refused - before.refused >= u64::from(FLOOD));
}

/// Correctly encrypted, in the channel. The node never says much more than it heard, and a new channel works as ever.
#[test]
fn a_session_with_a_hostile_peer_stays_bounded_and_recovers() {
    let (corpus, mut dice) = (corpus(), Dice(2));
    let mut foreign = Foreign::new();
    foreign.open_channel();
    let (mut heard, mut said) = (0, 0);
    for round in 0..ROUNDS + corpus.len() {
        let plaintext = corpus.get(round).cloned().unwrap_or_else(|| spoil(&mut dice, &corpus));
        heard += plaintext.len() + 64;
        let mut datagram = foreign.seal(plaintext);
        if dice.roll(10) == 0 {
            foreign.take(&mut datagram.clone());
        }
        if dice.roll(20) == 0 {
            datagram.truncate(index(&mut dice, datagram.len()));
        }
        foreign.take(&mut datagram);
        foreign.elapsed += Duration::from_micros(dice.roll(5000));
        foreign.node.handle_timers(foreign.now());
        said += foreign.raw_output();
        assert!(foreign.node.take_events().count() < 64);
    }
    assert!(said < 4 * heard, "{said} bytes for {heard}");
    assert_eq!(foreign.node.peers(), 1);
    foreign.elapsed += Duration::from_secs(100);
    foreign.node.handle_timers(foreign.now());
    foreign.raw_output();
    // The reinit messages of the corpus reach no further than a minute ahead.
    let mut root = foreign.root();
    root.dates.0 += 61;
    let root = crate::peer::Root { seqno: 1 << 40, ..root };
    let now = adnl::Now { unix: foreign.now().unix + 10, ..foreign.now() };
    let mut datagram = foreign.datagram(&root, &[foreign.create(u32::MAX), query(b"still there?")]);
    foreign.node.handle_datagram(now, foreign.addr, &mut datagram);
    assert_eq!(foreign.queries(), [b"still there?"]);
}
