//! Bytes of a peer or a disk: whatever they are, a value or a refusal.

#[allow(dead_code)] // The other test uses the rest.
mod world;

use proptest::prelude::*;
use sspc::{Amount, Envelope, Input, MAX_MESSAGE_BYTES, Message, Party, Record, Round, Urgency};
use world::World;

fn messages() -> Vec<Envelope> {
    let mut world = World::open();
    world.run(Party::A, Input::Pay(Amount::new(3))).unwrap();
    world.run(Party::A, Input::SignClose).unwrap();
    let record = world.node(Party::A).disk.clone();
    let mut messages: Vec<Message> = world.streams[1].iter().cloned().collect();
    messages.push(Message::Propose { place: record.place, params: record.params, expires: 9 });
    messages.push(Message::Opened(record.id.unwrap()));
    messages.push(Message::Ack { counted: Amount::new(u128::MAX), round: Round::MAX });
    messages.push(Message::Reject("why".to_owned()));
    messages.into_iter().map(|message| Envelope { channel: record.key(), message }).collect()
}

fn records() -> Vec<Record> {
    let mut world = World::open();
    world.run(Party::A, Input::Pay(Amount::new(3))).unwrap();
    let mut records = vec![World::new().node(Party::B).disk.clone(), world.node(Party::A).disk.clone()];
    world.run(Party::B, Input::Pay(Amount::new(3))).unwrap();
    world.settle_streams();
    world.run(Party::B, Input::ForceClose).unwrap();
    records.push(world.node(Party::B).disk.clone());
    world.run(Party::B, Input::Raise(Urgency::Calm)).unwrap();
    records.push(world.node(Party::B).disk.clone());
    world.look(Party::A);
    records.push(world.node(Party::A).disk.clone());
    records
}

#[test]
fn all_messages_and_records_survive_their_bytes() {
    for envelope in messages() {
        assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
    }
    for record in records() {
        assert_eq!(Record::decode(&record.encode()), Ok(record));
    }
    let long = Envelope { channel: [1; 32].into(), message: Message::Reject("ü".repeat(2000)) };
    assert!(long.encode().len() <= MAX_MESSAGE_BYTES);
    assert!(Envelope::decode(&long.encode()).is_ok());
    assert!(Envelope::decode(&vec![0; MAX_MESSAGE_BYTES + 1]).is_err());
}

proptest! {
    #[test]
    fn any_bytes_are_a_message_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(envelope) = Envelope::decode(&bytes) {
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn changed_bytes_are_a_message_or_not(which in 0..6_usize, at: prop::sample::Index, byte: u8, cut: prop::sample::Index) {
        let mut bytes = messages()[which].encode();
        *at.get_mut(&mut bytes) = byte;
        if let Ok(envelope) = Envelope::decode(&bytes) {
            prop_assert_eq!(Envelope::decode(&envelope.encode()), Ok(envelope));
        }
        bytes.truncate(cut.index(bytes.len()));
        let _ = Envelope::decode(&bytes);
    }

    #[test]
    fn changed_bytes_are_a_record_or_not(which in 0..5_usize, at: prop::sample::Index, byte: u8) {
        let mut bytes = records()[which].encode();
        *at.get_mut(&mut bytes) = byte;
        if let Ok(record) = Record::decode(&bytes) {
            prop_assert_eq!(Record::decode(&record.encode()), Ok(record.clone()));
            // Whatever a disk says, the machine answers.
            for input in [Input::Pay(Amount::new(1)), Input::SignClose, Input::ForceClose, Input::Resend, Input::Finish(u64::MAX), Input::Raise(Urgency::Calm)] {
                let _ = record.step(input);
            }
            let _ = (record.own_balance(), record.current(), record.due(0), record.risk(u64::MAX));
        }
    }
}
