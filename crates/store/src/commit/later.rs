//! What the journal carries of a change to the tables behind it (migration 8): the rows that nothing has to be checked against at once.
//!
//! Of several writes to one row the last one counts, and what came and went in between is never written.

use std::collections::BTreeMap;

use protocol::{Address, Key, Outcome};
use serde::{Deserialize, Serialize};

use crate::{Error, codec, value::Record};

/// In front of a journal's row: how the rest is encoded.
const FORMAT: u8 = 1;
/// Where `base` stands in `engine.set_channel`.
const BASE_FIELD: usize = 2;
const MALFORMED: Error = Error::Corrupt("journal: changes");

/// Rows of one channel by table.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Later {
    pub(super) channel: Option<Record>,
    /// By side and key.
    pub(super) removed: BTreeMap<(i16, Key), Record>,
    pub(super) added: BTreeMap<(i16, Key), Record>,
    pub(super) bodies: Vec<Record>,
    /// By seqno and attempt; with the outcome's number.
    pub(super) outcomes: BTreeMap<(u64, i16), (i16, Record)>,
    pub(super) peer_states: BTreeMap<u64, Record>,
    /// By key and direction.
    pub(super) legs: BTreeMap<(Key, i16), Record>,
    /// With whether it is the last one of its request.
    pub(super) results: BTreeMap<String, (bool, Record)>,
}

impl Later {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// A condition that came and went is one row from the start.
    pub(super) fn remove_condition(&mut self, at: (i16, Key), removal: Record) {
        match (self.added.get_mut(&at).and_then(|added| added.0.last_mut()), removal.0.last()) {
            (Some(field), Some(until)) => *field = until.clone(),
            _ => {
                self.removed.insert(at, removal);
            }
        }
    }

    /// What is final stays: a used key that is tried again leaves the old leg as it is.
    pub(super) fn put_leg(&mut self, at: (Key, i16), leg: Record) {
        let known = self.legs.get(&at).map(codec::leg_state);
        if known.is_none_or(|known| !codec::is_final(known) || known == codec::leg_state(&leg)) {
            self.legs.insert(at, leg);
        }
    }

    /// `Opened` never replaces an outcome.
    pub(super) fn put_result(&mut self, id: String, result: (bool, Record)) {
        if self.results.get(&id).is_none_or(|known| !known.0) {
            self.results.insert(id, result);
        }
    }

    /// Where a seqno has but one body, the channel's row says that it is agreed. Of two, it is written which: both outcomes come in one change.
    pub(super) fn drop_implied_outcomes(&mut self) {
        let agreed = codec::outcome(Outcome::Agreed);
        let mut count = BTreeMap::new();
        self.outcomes.keys().for_each(|(seqno, _)| *count.entry(*seqno).or_insert(0) += 1);
        self.outcomes.retain(|(seqno, _), (outcome, _)| *outcome != agreed || count[seqno] > 1);
    }

    /// Adds what a later change of the same channel writes.
    ///
    /// Errors: another body of the peer at a seqno.
    fn absorb(&mut self, later: Self) -> Result<(), Error> {
        self.channel = match (self.channel.take(), later.channel) {
            (Some(first), Some(mut last)) => {
                if let (Some(to), Some(from)) = (last.0.get_mut(BASE_FIELD), first.0.get(BASE_FIELD)) {
                    *to = from.clone();
                }
                Some(last)
            }
            (first, last) => last.or(first),
        };
        later.removed.into_iter().for_each(|(at, removal)| self.remove_condition(at, removal));
        self.added.extend(later.added);
        self.bodies.extend(later.bodies);
        self.outcomes.extend(later.outcomes);
        for (seqno, state) in later.peer_states {
            if self.peer_states.get(&seqno).is_some_and(|known| !codec::is_same_body(known, &state)) {
                return Err(Error::Journal("another body of the peer at a seqno".into()));
            }
            self.peer_states.insert(seqno, state);
        }
        later.legs.into_iter().for_each(|(at, leg)| self.put_leg(at, leg));
        later.results.into_iter().for_each(|(id, result)| self.put_result(id, result));
        Ok(())
    }

    /// A part of a journal's row.
    ///
    /// Errors: a value that no column takes.
    pub(super) fn encode(&self, channel: &Address) -> Result<Vec<u8>, Error> {
        let keyed = [&self.removed, &self.added].into_iter().flat_map(|rows| rows.values());
        let outcomes = self.outcomes.values().map(|(_, record)| record);
        let results = self.results.values().map(|(_, record)| record);
        let rest = self.channel.iter().chain(&self.bodies).chain(self.peer_states.values()).chain(self.legs.values());
        keyed.chain(outcomes).chain(results).chain(rest).try_for_each(Record::check)?;
        postcard::to_stdvec(&(channel, self)).map_err(|_| Error::Inconsistent("writes that cannot be encoded"))
    }
}

/// A journal's row: changes of a batch in their order. Nothing when none has anything for the tables.
pub(super) fn journal_row<'a>(changes: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut row = vec![FORMAT];
    changes.for_each(|change| row.extend(change));
    (row.len() > 1).then_some(row)
}

/// The rows of many changes, by table: the arguments of `engine.fold`.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) channels: Vec<Record>,
    pub(super) removed: Vec<Record>,
    pub(super) added: Vec<Record>,
    pub(super) bodies: Vec<Record>,
    pub(super) outcomes: Vec<Record>,
    pub(super) peer_states: Vec<Record>,
    pub(super) legs: Vec<Record>,
    pub(super) results: Vec<Record>,
}

impl Tables {
    /// Merges rows of the journal, given in their order.
    pub(super) fn of<'a>(rows: impl Iterator<Item = &'a [u8]>) -> Result<Self, Error> {
        let mut channels: BTreeMap<Address, Later> = BTreeMap::new();
        for row in rows {
            let (format, mut rest) = row.split_first().ok_or(MALFORMED)?;
            if *format != FORMAT {
                return Err(Error::Newer("journal"));
            }
            while !rest.is_empty() {
                let ((channel, later), behind) = postcard::take_from_bytes::<(Address, Later)>(rest).map_err(|_| MALFORMED)?;
                channels.entry(channel).or_default().absorb(later)?;
                rest = behind;
            }
        }
        let mut tables = Self::default();
        channels.into_values().for_each(|channel| tables.add(channel));
        Ok(tables)
    }

    fn add(&mut self, channel: Later) {
        self.channels.extend(channel.channel);
        self.removed.extend(channel.removed.into_values());
        self.added.extend(channel.added.into_values());
        self.bodies.extend(channel.bodies);
        self.outcomes.extend(channel.outcomes.into_values().map(|(_, record)| record));
        self.peer_states.extend(channel.peer_states.into_values());
        self.legs.extend(channel.legs.into_values());
        self.results.extend(channel.results.into_values().map(|(_, record)| record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Value;
    use proptest::prelude::*;

    const CHANNEL: Address = [7; 32];

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i16>().prop_map(Value::Small),
            any::<i64>().prop_map(Value::Long),
            (0..10u128.pow(37)).prop_map(Value::from),
            proptest::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
            "[^\\x00]{0,12}".prop_map(Value::Text),
        ]
    }

    fn later() -> impl Strategy<Value = Later> {
        let record = || proptest::collection::vec(value(), 3..6).prop_map(Record);
        let keyed = || (0i16..2, any::<[u8; 32]>());
        let rows = (
            proptest::option::of(record()),
            proptest::collection::btree_map(keyed(), record(), 0..3),
            proptest::collection::vec(record(), 0..3),
            proptest::collection::btree_map((any::<u64>(), 0i16..2), (1i16..4, record()), 0..3),
            proptest::collection::btree_map(any::<u64>(), record(), 0..3),
            proptest::collection::btree_map("[a-z]{1,4}", (any::<bool>(), record()), 0..3),
        );
        rows.prop_map(|(channel, added, bodies, outcomes, peer_states, results)| Later {
            channel,
            added,
            bodies,
            outcomes,
            peer_states,
            results,
            ..Later::default()
        })
    }

    fn read(row: &[u8]) -> Result<Tables, Error> {
        Tables::of([row].into_iter())
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(later in later()) {
            let row = journal_row([later.encode(&CHANNEL).unwrap().as_slice()].into_iter()).unwrap();
            let mut expected = Tables::default();
            expected.add(later);
            prop_assert_eq!(format!("{:?}", read(&row).unwrap()), format!("{expected:?}"));
        }

        #[test]
        fn any_bytes_are_read_or_refused(row in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&row);
            let _ = read(&[&[FORMAT], row.as_slice()].concat());
        }

        #[test]
        fn what_is_cut_off_is_refused(later in later(), cut in 1usize..50) {
            prop_assume!(!later.is_empty());
            let row = journal_row([later.encode(&CHANNEL).unwrap().as_slice()].into_iter()).unwrap();
            prop_assume!(row.len() - 1 > cut);
            prop_assert!(read(&row[..row.len() - cut]).is_err());
        }
    }

    #[test]
    fn nothing_makes_no_row() {
        assert_eq!(journal_row(std::iter::empty()), None);
        assert!(read(&[]).is_err());
    }

    #[test]
    fn the_last_write_counts_and_what_came_and_went_is_one_row() {
        let channel = |base: i64, version: i64| Record(vec![Value::Null, Value::Null, Value::Long(base), Value::Long(version)]);
        let at = (0, [1; 32]);
        let mut first = Later { channel: Some(channel(1, 2)), ..Later::default() };
        first.added.insert(at, Record(vec![Value::Long(9), Value::Null]));
        first.put_result("r".into(), (true, Record(vec![Value::Small(2)])));
        let mut second = Later { channel: Some(channel(2, 3)), ..Later::default() };
        second.remove_condition(at, Record(vec![Value::Long(77)]));
        second.remove_condition((1, [1; 32]), Record(vec![Value::Long(78)]));
        second.put_result("r".into(), (false, Record(vec![Value::Small(1)])));
        let parts = [first.encode(&CHANNEL).unwrap(), second.encode(&CHANNEL).unwrap()];
        let tables = read(&journal_row(parts.iter().map(Vec::as_slice)).unwrap()).unwrap();
        assert_eq!(tables.channels, [channel(1, 3)]);
        assert_eq!(tables.added, [Record(vec![Value::Long(9), Value::Long(77)])]);
        assert_eq!(tables.removed, [Record(vec![Value::Long(78)])]);
        assert_eq!(tables.results, [Record(vec![Value::Small(2)])]);
    }
}
