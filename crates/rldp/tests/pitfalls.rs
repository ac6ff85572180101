//! What peers of other implementations insist on (network 9, rows 19 to 26), read from the bytes.

use adnl::Now;
use adnl::keys::AdnlId;
use bytes::Bytes;
use rldp::{Body, Event, Message, PART, Packet, Receipt, SYMBOL, Symbol, TransferId, Transfers, Version, symbols};
use std::time::Duration;

const PEER: AdnlId = AdnlId([2; 32]);
const UNIX: u32 = 1_700_000_000;
const TRANSFER: TransferId = [9; 32];

fn at(ms: u64) -> Now {
    Now { elapsed: Duration::from_millis(ms), unix: UNIX }
}

fn sent(side: &mut Transfers) -> Vec<Bytes> {
    side.take_messages().into_iter().map(|message| message.data).collect()
}

/// The symbols of a message, as a peer sends them.
fn transfer(version: Version, transfer: TransferId, message: &[u8]) -> Vec<Bytes> {
    let mut padded = message.to_vec();
    padded.resize(symbols(message.len()) as usize * SYMBOL, 0);
    let symbol = |(seqno, data)| {
        let symbol = Symbol { data_size: message.len(), part: 0, total_size: message.len(), seqno: seqno as u32, data };
        Packet { version, transfer, body: Body::Symbol(symbol) }.to_bytes().into()
    };
    padded.chunks(SYMBOL).enumerate().map(symbol).collect()
}

fn query(data: &[u8], max_answer: u64) -> Vec<u8> {
    Message::Query { id: [5; 32], max_answer, timeout: UNIX + 10, data }.to_bytes()
}

fn completions(messages: &[Bytes]) -> usize {
    messages.iter().filter(|message| matches!(Packet::parse(message).unwrap().body, Body::Complete { .. })).count()
}

/// Row 19: the numbers in each symbol, at their places.
#[test]
fn symbols_have_768_bytes_and_parts_two_million() {
    let mut side = Transfers::default();
    let mut ids = 0_u8;
    for size in [1, 700, 768, 2000, 60_000] {
        ids += 1;
        side.query(at(0), PEER, &vec![1; size], 100, Duration::from_secs(5), [ids; 64]).unwrap();
        let (total, messages) = (query(&vec![1; size], 0).len() as u32, sent(&mut side));
        let number = |message: &Bytes, at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap());
        for (seqno, message) in messages.iter().enumerate() {
            // Behind the id and the transfer's: the code's id, data_size, symbol_size, symbols_count, part, total_size, seqno.
            assert_eq!(number(message, 36), 0x8b93_a7e0);
            assert_eq!((number(message, 40), number(message, 44), number(message, 48)), (total, 768, total.div_ceil(768)));
            assert_eq!((number(message, 52), number(message, 56), number(message, 60)), (0, total, 0));
            assert_eq!((number(message, 64), message.len()), (seqno as u32, 840));
        }
        side.take_messages();
    }
    assert_eq!((PART, symbols(PART)), (2_000_000, 2605));
}

/// Row 21.
#[test]
fn a_late_symbol_is_answered_with_complete() {
    for version in [Version::V1, Version::V2] {
        let mut side = Transfers::default();
        let symbols = transfer(version, TRANSFER, &query(&[1; 2000], 1000));
        symbols.iter().for_each(|symbol| side.handle(at(0), PEER, symbol));
        assert_eq!(side.take_events().count(), 1);
        side.handle_timers(at(5));
        assert_eq!(completions(&sent(&mut side)), 1);
        for round in 1..=100 {
            side.handle(at(round * 200), PEER, &symbols[0]);
            let again = sent(&mut side);
            assert_eq!((completions(&again), again.len()), (1, 1));
            assert_eq!(Packet::parse(&again[0]).unwrap().version, version);
        }
        // Not for each of many at once, and nothing is executed again.
        (0..50).for_each(|_| side.handle(at(21_000), PEER, &symbols[1]));
        assert_eq!((sent(&mut side).len(), side.take_events().count()), (1, 0));
    }
}

/// A completion waits a little for its answer and rides in front of it; a peer that goes on sending hears it at once.
#[test]
fn a_completion_waits_for_company_but_not_while_symbols_come() {
    let asked = |side: &mut Transfers| {
        transfer(Version::V2, TRANSFER, &query(&[1; 2000], 1000)).iter().for_each(|symbol| side.handle(at(0), PEER, symbol));
        let Some(Event::Query { asker, .. }) = side.take_events().next() else { panic!("a query") };
        assert_eq!(sent(side).len(), 0);
        asker
    };
    let mut side = Transfers::default();
    let asker = asked(&mut side);
    side.handle_timers(at(4));
    side.answer(at(4), &asker, b"!").unwrap();
    let messages = sent(&mut side);
    assert_eq!((completions(&messages[..1]), messages.len()), (1, 2));

    let mut side = Transfers::default();
    asked(&mut side);
    side.handle(at(1), PEER, &transfer(Version::V2, TRANSFER, &query(&[1; 2000], 1000))[1]);
    assert_eq!(completions(&sent(&mut side)), 1);
    side.handle_timers(at(100));
    assert_eq!(sent(&mut side).len(), 0);

    // A large one is not kept waiting: its sender may have others.
    let mut side = Transfers::default();
    transfer(Version::V2, TRANSFER, &query(&[1; 20_000], 1000)).iter().for_each(|symbol| side.handle(at(0), PEER, symbol));
    sent(&mut side);
    side.handle_timers(at(1));
    assert_eq!(completions(&sent(&mut side)), 1);
}

/// Row 23: older peers do not answer when the time is over in the current second.
#[test]
fn a_timeout_is_told_as_two_seconds_at_least() {
    let mut side = Transfers::default();
    for (i, ms) in [1, 500, 1500, 7000].into_iter().enumerate() {
        side.query(at(0), PEER, b"?", 100, Duration::from_millis(ms), [i as u8; 64]).unwrap();
        let messages = sent(&mut side);
        let Body::Symbol(symbol) = Packet::parse(&messages[0]).unwrap().body else { panic!("a symbol") };
        let Ok(Message::Query { timeout, .. }) = Message::parse(&symbol.data[..symbol.total_size]) else { panic!("a query") };
        assert!(timeout >= UNIX + 2 && u64::from(timeout - UNIX) * 1000 >= ms);
    }
}

/// Row 25: some count the wrapping, some do not.
#[test]
fn an_answer_of_the_largest_size_is_taken_with_its_wrapping() {
    for (size, taken) in [(956, true), (1000, true), (1100, false)] {
        let mut side = Transfers::default();
        let id = side.query(at(0), PEER, b"?", 1000, Duration::from_secs(5), [7; 64]).unwrap();
        let answer = Message::Answer { id: [7; 32], data: &vec![3; size] }.to_bytes();
        for symbol in transfer(Version::V2, id.map(|byte| !byte), &answer) {
            side.handle(at(1), PEER, &symbol);
        }
        assert_eq!(side.take_events().count(), usize::from(taken), "{size}");
    }
    // We count it when we answer.
    for (size, max_answer) in [(1000, 1040), (1000, 1039)] {
        let mut side = Transfers::default();
        let asked = transfer(Version::V2, TRANSFER, &query(b"?", max_answer));
        asked.iter().for_each(|symbol| side.handle(at(0), PEER, symbol));
        let events: Vec<_> = side.take_events().collect();
        let [Event::Query { asker, .. }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(side.answer(at(1), asker, &vec![0; size]).is_ok(), max_answer == 1040);
    }
}

/// Row 26.
#[test]
fn confirmations_of_version_2_count_from_one() {
    let receipt = Receipt { highest: 6, mask: Some(0b101), count: Some(2) };
    let confirm = |version| Packet { version, transfer: TRANSFER, body: Body::Confirm { part: 0, receipt } }.to_bytes();
    assert_eq!((confirm(Version::V2)[40], confirm(Version::V1)[40]), (7, 6));
    assert_eq!(Packet::parse(&confirm(Version::V2)).unwrap().body, Body::Confirm { part: 0, receipt });
    // And when the seventh symbol of a longer part arrives, that is what we say.
    let mut side = Transfers::default();
    let symbols = transfer(Version::V2, TRANSFER, &query(&[1; 20_000], 1000));
    side.handle(at(0), PEER, &symbols[6]);
    side.handle_timers(at(2));
    let messages = sent(&mut side);
    assert_eq!((messages.len(), messages[0][40]), (1, 7));
}
