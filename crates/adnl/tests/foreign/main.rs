//! Our node against a peer that behaves as those of other implementations do (network 9).

#[path = "../common/mod.rs"]
mod common;
mod hostile;
mod peer;

use adnl::keys::{PrivateKey, PublicKey};
use adnl::{AddressList, Event, Message, PeerRecord, cipher, next_epoch};
use peer::{Foreign, Heard, UNIX, query};
use std::net::{SocketAddr, SocketAddrV4};
use std::time::Duration;
use tl::Object;

const TIMEOUT: Duration = Duration::from_secs(10);

fn record(foreign: &Foreign) -> PeerRecord {
    PeerRecord { key: foreign.key.public(), address: Some(foreign.addr), channel_date: 0 }
}

fn is_query(message: Message<'_>) -> bool {
    matches!(message, Message::Query { .. })
}

/// From the first packet on, in both forms: older peers crash without a number, and C++ nodes drop one that they saw.
#[test]
fn every_packet_has_a_number_and_they_rise() {
    let mut foreign = Foreign::new();
    foreign.node.add_peer(foreign.now(), &record(&foreign), true).unwrap();
    let mut heard = foreign.wait(Duration::from_millis(500));
    foreign.open_channel();
    heard.extend(foreign.wait(Duration::from_millis(10)));
    for i in 0..20 {
        foreign.node.query(foreign.now(), &foreign.key.id(), &[i; 300], TIMEOUT).unwrap();
        heard.extend(foreign.wait(Duration::from_millis(300)));
    }
    assert!(heard.iter().any(|heard| heard.root) && heard.iter().any(|heard| !heard.root));
    let numbers: Vec<u64> = heard.iter().map(|heard| heard.seqno.expect("a number")).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(heard.iter().all(|heard| heard.root == heard.dates.is_some()));
    let never = |heard: &Heard| heard.has(|message| matches!(message, Message::Reinit { .. } | Message::Ping { .. }));
    assert!(!heard.iter().any(never));
}

/// network 3.4 rule 3.
#[test]
fn an_unheard_confirmation_alternates_with_a_creation() {
    let mut foreign = Foreign::new();
    let (root, create) = (foreign.root(), foreign.create(UNIX));
    foreign.send(&root, &[create]);
    foreign.node.query(foreign.now(), &foreign.key.id(), b"?", TIMEOUT).unwrap();
    let heard = foreign.wait(TIMEOUT);
    let kind = |heard: &Heard| heard.has(|message| matches!(message, Message::CreateChannel { .. }));
    let kinds: Vec<bool> = heard.iter().map(kind).collect();
    assert!(heard.iter().all(|heard| heard.root) && kinds.len() > 4, "{kinds:?}");
    assert!(!kinds[0] && kinds.windows(2).all(|pair| pair[0] != pair[1]), "{kinds:?}");
}

#[test]
fn the_next_epoch_is_the_time_or_one_more_than_the_last() {
    assert_eq!([next_epoch(0, 50), next_epoch(50, 50), next_epoch(90, 50)], [50, 51, 91]);
}

/// Older peers count anew without a new epoch.
#[test]
fn numbers_that_begin_anew_are_no_replay() {
    let mut foreign = Foreign::new();
    for seqno in [50, 51, 1, 2, 1] {
        let root = peer::Root { seqno, ..foreign.root() };
        foreign.send(&root, &[query(&foreign.elapsed.as_nanos().to_le_bytes())]);
        foreign.elapsed += Duration::from_millis(1);
    }
    assert_eq!(foreign.queries().len(), 5);
}

#[test]
fn a_confirmation_of_more_than_was_sent_is_no_reason_to_refuse() {
    let mut foreign = Foreign::new();
    let root = peer::Root { confirm: u64::MAX, ..foreign.root() };
    foreign.send(&root, &[query(b"?")]);
    assert_eq!(foreign.queries(), [b"?"]);
}

/// And after a silence we confirm nothing ourselves: who forgot us has sent nothing.
#[test]
fn a_silent_peer_is_confirmed_nothing() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.node.query(foreign.now(), &foreign.key.id(), b"?", TIMEOUT).unwrap();
    let heard = foreign.wait(Duration::from_secs(2));
    assert!(heard.iter().filter(|heard| !heard.root).all(|heard| heard.confirm > Some(0)));
    let roots: Vec<_> = heard.iter().filter(|heard| heard.root).collect();
    assert!(!roots.is_empty() && roots.iter().all(|heard| heard.confirm == Some(0) && heard.has(is_query)));
}

/// network 3.3: in root packets until the peer has it, and again when it may have forgotten it. C++ nodes reply nowhere else.
#[test]
fn our_address_is_given_until_the_peer_has_it() {
    let mut foreign = Foreign::new();
    let answered = |foreign: &mut Foreign, has_version| {
        let root = peer::Root { has_version, ..foreign.root() };
        foreign.send(&root, &[Message::Ping { value: 1 }]);
        foreign.listen().pop().expect("an answer").address.is_some()
    };
    assert!(answered(&mut foreign, None));
    assert!(answered(&mut foreign, Some(UNIX - 1)));
    assert!(!answered(&mut foreign, Some(UNIX)));
    assert!(answered(&mut foreign, None));
    assert!(!answered(&mut foreign, Some(UNIX)));
    foreign.node.query(foreign.now(), &foreign.key.id(), b"?", TIMEOUT).unwrap();
    assert!(foreign.listen().pop().unwrap().address.is_none());
    let heard = foreign.wait(Duration::from_secs(2));
    assert!(heard.len() > 1 && heard.iter().all(|heard| heard.address.is_some()));
}

/// network 3.3: outside of the channel, and again until the peer says that it has it. There are peers that never do.
#[test]
fn a_new_address_is_told_until_the_peer_has_it() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.wait(Duration::from_secs(1));
    let mut last = UNIX;
    for (port, confirms) in [(1, true), (2, true), (3, false)] {
        let address = SocketAddrV4::new([10, 0, 0, 22].into(), port);
        let list = foreign.node.advertise(foreign.now(), Some(address));
        assert!(list.version > last && list.addrs == [address]);
        last = list.version;
        let told = |heard: Vec<Heard>| heard.iter().filter(|heard| heard.root && heard.address == Some(list.clone())).count();
        assert_eq!(told(foreign.wait(Duration::from_secs(1))), 1);
        // Who has an older one does not have it.
        foreign.say_in_channel(1000 * u64::from(port), &[Message::Nop], Some(last - 1));
        assert_eq!(told(foreign.wait(Duration::from_secs(4))), 1);
        if confirms {
            foreign.say_in_channel(1000 * u64::from(port) + 1, &[Message::Nop], Some(last));
        }
        assert_eq!(told(foreign.wait(Duration::from_secs(100))), if confirms { 0 } else { 3 });
    }
}

/// We say that we have a peer's list, at once and in the channel, and repeat it when the peer does.
#[test]
fn a_peers_new_address_is_confirmed_in_the_channel() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.wait(Duration::from_secs(2));
    for version in [UNIX + 5, UNIX + 5, UNIX + 9] {
        let list = AddressList { addrs: vec![], version, reinit_date: UNIX, priority: 0, expire_at: 0 };
        let mut bare = tl::Writer::new();
        list.write_bare(&mut bare);
        let root = peer::Root { address: Some(bare.into_bytes()), ..foreign.root() };
        foreign.send(&root, &[Message::Nop]);
        let heard = foreign.wait(Duration::from_millis(50));
        assert!(heard.iter().all(|heard| !heard.root) && heard.len() == 1);
        assert_eq!(heard[0].has_version, Some(version));
        foreign.node.query(foreign.now(), &foreign.key.id(), b"?", TIMEOUT).unwrap();
        assert_eq!(foreign.listen()[0].has_version, None);
        let answer = Message::Answer { id: [0; 32], data: b"" };
        foreign.send_in_channel(u64::from(version) + foreign.elapsed.as_millis() as u64, &[answer]);
    }
}

#[test]
fn the_key_that_encrypts_names_nobody() {
    let mut foreign = Foreign::new();
    let third = PrivateKey::from_seed(&[44; 32]);
    for encrypts in [foreign.key.clone(), third, PrivateKey::generate()] {
        let root = peer::Root { encrypts, ..foreign.root() };
        foreign.send(&root, &[query(&root.seqno.to_le_bytes())]);
    }
    let asker = foreign.key.public();
    let askers: Vec<_> = foreign.node.take_events().filter(|event| matches!(event, Event::Query { .. })).collect();
    assert!(askers.len() == 3 && askers.iter().all(|event| matches!(event, Event::Query { peer, .. } if *peer == asker)));
    // Without the signature it is nobody's.
    let root = peer::Root { signed: false, ..foreign.root() };
    foreign.send(&root, &[query(b"unsigned")]);
    assert!(foreign.queries().is_empty());
}

#[test]
fn a_sender_named_by_its_id_only_is_known_by_its_stored_key() {
    let mut foreign = Foreign::new();
    let root = peer::Root { from: false, from_short: true, ..foreign.root() };
    foreign.send(&root, &[query(b"who?")]);
    assert!(foreign.queries().is_empty());
    foreign.node.add_peer(foreign.now(), &record(&foreign), true).unwrap();
    foreign.send(&root, &[query(b"me")]);
    assert_eq!(foreign.queries(), [b"me"]);
}

/// Older peers install their handler too late for the first query.
#[test]
fn a_first_query_that_is_ignored_comes_again_after_250_ms() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    let asked = foreign.elapsed;
    foreign.node.query(foreign.now(), &foreign.key.id(), b"?", TIMEOUT).unwrap();
    assert!(foreign.listen().iter().any(|heard| heard.has(is_query)));
    while !foreign.wait(Duration::from_millis(10)).iter().any(|heard| heard.has(is_query)) {}
    assert_eq!(foreign.elapsed - asked, Duration::from_millis(250));
}

#[test]
fn a_ping_is_answered_in_kind() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.listen();
    foreign.send_in_channel(7, &[Message::Ping { value: 77 }]);
    assert!(foreign.listen().iter().any(|heard| heard.has(|message| message == Message::Pong { value: 77 })));
}

#[test]
fn a_reinit_message_is_a_restart() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.node.take_events().for_each(drop);
    let root = foreign.root();
    foreign.send(&root, &[Message::Reinit { date: UNIX + 3 }]);
    let events: Vec<_> = foreign.node.take_events().collect();
    assert!(events.contains(&Event::Reset { peer: foreign.key.id() }), "{events:?}");
}

/// network 3.3.
#[test]
fn addresses_of_other_kinds_are_skipped() {
    let mut w = tl::Writer::new();
    w.u32(5);
    w.u32(tl::id("adnl.address.udp6 ip:int128 port:int = adnl.Address"));
    w.raw(&[0; 20]);
    w.u32(tl::id("adnl.address.quic ip:int port:int = adnl.Address"));
    w.raw(&[0; 8]);
    w.u32(tl::id("adnl.address.reverse = adnl.Address"));
    w.u32(tl::id("adnl.address.tunnel to:int256 pubkey:PublicKey = adnl.Address"));
    w.raw(&[0; 68]);
    w.u32(tl::id("adnl.address.udp ip:int port:int = adnl.Address"));
    w.u32(0x7f00_0001);
    w.u32(17_555);
    [3, 4, 0, 0].into_iter().for_each(|number| w.u32(number));
    let list = w.into_bytes();
    let boxed = [&AddressList::ID.to_le_bytes(), &list[..]].concat();
    let read = AddressList::from_boxed(&boxed).unwrap();
    assert_eq!((read.addrs, read.version), (vec!["127.0.0.1:17555".parse().unwrap()], 3));
    let mut foreign = Foreign::new();
    let root = peer::Root { address: Some(list), ..foreign.root() };
    foreign.send(&root, &[query(b"?")]);
    assert_eq!(foreign.queries(), [b"?"]);
}

/// network 3.9: C++ nodes take them in no other way.
#[test]
fn parts_leave_in_order_and_of_1024_bytes() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    foreign.listen();
    foreign.node.query(foreign.now(), &foreign.key.id(), &[9; 5000], TIMEOUT).unwrap();
    let heard = foreign.listen();
    let parts = heard.iter().flat_map(|heard| &heard.messages).filter_map(|message| match Message::parse(message).unwrap() {
        Message::Part { offset, data, .. } => Some((offset as usize, data.len())),
        _ => None,
    });
    let parts: Vec<_> = parts.collect();
    assert!(parts.iter().enumerate().all(|(i, part)| part.0 == 1024 * i && (part.1 == 1024 || i + 1 == parts.len())));
    assert_eq!(parts.iter().map(|part| part.1).sum::<usize>(), 5000 + 40);
}

/// Replies go where the last root packet came from; channel packets move nobody (network 3.3).
#[test]
fn a_peer_that_moved_is_followed_from_its_next_root_packet_on() {
    let mut foreign = Foreign::new();
    foreign.open_channel();
    let (old, new) = (foreign.addr, SocketAddr::from(([10, 0, 0, 99], 99)));
    foreign.addr = new;
    foreign.send_in_channel(8, &[Message::Ping { value: 1 }]);
    assert!(foreign.listen().iter().all(|heard| heard.to == old));
    let root = foreign.root();
    foreign.send(&root, &[Message::Ping { value: 1 }]);
    let heard = foreign.listen();
    assert!(!heard.is_empty() && heard.iter().all(|heard| heard.to == new));
}

#[test]
fn every_bit_of_the_checksum_counts() {
    let (secret, plain) = ([7; 32], [1; 100]);
    let mut body = plain;
    let checksum = cipher::seal(&secret, &mut body);
    assert!(cipher::open(&secret, &checksum, &mut body.clone()));
    for bit in 0..256 {
        let mut wrong = checksum;
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(!cipher::open(&secret, &wrong, &mut body.clone()), "bit {bit}");
    }
}

/// 100,000 forged root packets of one source in ten seconds cost a bounded number of key agreements, and whoever comes from elsewhere in
/// the midst of it is heard at once.
#[test]
fn a_flood_of_one_source_is_cheap_and_locks_nobody_else_out() {
    let mut foreign = Foreign::new();
    let root = foreign.root();
    let mut forged = foreign.datagram(&root, &[query(b"forged")]);
    forged[200] ^= 1;
    let flooder = SocketAddr::from(([10, 6, 6, 6], 666));
    for i in 0..100_000 {
        foreign.elapsed = Duration::from_micros(i * 100);
        foreign.node.handle_datagram(foreign.now(), flooder, &mut forged.clone());
        if i == 99_000 {
            foreign.send(&root, &[query(b"real")]);
            assert_eq!(foreign.queries(), [b"real"]);
        }
    }
    let stats = foreign.node.stats();
    assert_eq!((stats.refused, stats.received), (100_000, 1));
    assert!((64..=64 + 2000 + 1).contains(&stats.opened), "{} key agreements", stats.opened);
}

/// The same of very many sources, which nobody can remember: a newcomer is heard as soon as it is over.
#[test]
fn a_flood_of_many_sources_ends_with_its_last_packet() {
    let mut foreign = Foreign::new();
    let root = foreign.root();
    // Not even a point of the curve, so that the test is fast.
    let no_key = (0..=255).map(|byte| [byte; 32]).find(|key| PublicKey::from_bytes(key).is_err()).unwrap();
    let mut forged = foreign.datagram(&root, &[query(b"forged")]);
    forged[32..64].copy_from_slice(&no_key);
    for i in 0..20_000_u32 {
        foreign.node.handle_datagram(foreign.now(), SocketAddr::from((i.to_be_bytes(), 1)), &mut forged.clone());
    }
    foreign.send(&root, &[query(b"real")]);
    assert!(foreign.queries().is_empty());
    foreign.elapsed += Duration::from_millis(1);
    foreign.send(&root, &[query(b"real")]);
    assert_eq!(foreign.queries(), [b"real"]);
    assert_eq!(foreign.node.peers(), 1);
}
