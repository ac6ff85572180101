//! Messages of a peer that means ill: each of the corpus as it is, then spoiled, doubled, cut and out of order.

mod common;

use adnl::Now;
use adnl::keys::AdnlId;
use common::Dice;
use rldp::{Event, Message, Packet, Transfers};
use std::time::Duration;

/// A name and a boxed message in hex, per line.
const CORPUS: &str = include_str!("corpus/messages.txt");
const ROUNDS: usize = 20_000;
const PEER: AdnlId = AdnlId([2; 32]);
const UNIX: u32 = 1_700_000_000;

fn corpus() -> Vec<Vec<u8>> {
    let bytes = |line: &str| hex::decode(line.split_once(' ').map_or("", |(_, hex)| hex)).expect("hex");
    CORPUS.lines().map(bytes).collect()
}

fn index(dice: &mut Dice, below: usize) -> usize {
    dice.roll(below as u64) as usize
}

/// Mostly the numbers in front: the transfer's last byte, the code's, the part's, the symbol's.
fn spoil(dice: &mut Dice, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[index(dice, corpus.len())].clone();
    for _ in 0..index(dice, 4) {
        let at = if index(dice, 8) == 0 { index(dice, bytes.len()) } else { 35 + index(dice, 40) };
        let value = [0, 1, 2, 3, 4, 0xff, index(dice, 256) as u8][index(dice, 7)];
        bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte = value);
    }
    if index(dice, 16) == 0 {
        bytes.truncate(index(dice, bytes.len()));
    }
    bytes
}

fn parse(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert_eq!(Packet::parse(&packet.to_bytes()), Ok(packet));
    }
    for start in [0, 72, 76] {
        if let Some(Ok(message)) = bytes.get(start..).map(Message::parse) {
            assert_eq!(Message::parse(&message.to_bytes()), Ok(message));
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

/// With queries of our own under way whose transfers the corpus names; every query is answered.
#[test]
fn hostile_messages_hold_what_was_received_and_are_forgotten() {
    let (corpus, mut dice, mut side) = (corpus(), Dice(2), Transfers::default());
    let (mut elapsed, mut heard, mut said, mut expired) = (Duration::ZERO, 0, 0, 0);
    for transfer in [1, !1, 8, !8] {
        let now = Now { elapsed, unix: UNIX };
        side.query(now, PEER, &[transfer; 9000], 100_000, Duration::from_secs(30), [transfer; 64]).unwrap();
    }
    for round in 0..ROUNDS + corpus.len() {
        let now = Now { elapsed, unix: UNIX + elapsed.as_secs() as u32 };
        let message = bytes::Bytes::from(corpus.get(round).cloned().unwrap_or_else(|| spoil(&mut dice, &corpus)));
        for _ in 0..1 + dice.roll(20) / 19 {
            heard += message.len();
            side.handle(now, PEER, &message);
        }
        side.handle_timers(now);
        for event in side.take_events().collect::<Vec<_>>() {
            match event {
                Event::Query { asker, data } => drop(side.answer(now, &asker, &data)),
                Event::Expired { .. } => expired += 1,
                Event::Answer { .. } => {}
            }
        }
        said += side.take_messages().iter().map(|message| message.data.len()).sum::<usize>();
        assert!(side.receiving() <= heard);
        elapsed += Duration::from_micros(dice.roll(4000));
    }
    assert!(said < 20 * heard && expired <= 4, "{said} bytes for {heard}");
    for _ in 0..200 {
        elapsed += Duration::from_secs(1);
        side.handle_timers(Now { elapsed, unix: UNIX + elapsed.as_secs() as u32 });
        side.take_messages();
    }
    assert_eq!(side.receiving(), 0);
}
