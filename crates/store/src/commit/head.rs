//! Where a channel is: what each commit moves, and must follow (`engine.head`).

use protocol::{Attempt, ChannelRow};
use wire::Body;

use crate::{
    Error, codec,
    value::{Record, Value, long},
};

/// One move of a channel, or several in a row.
#[derive(Debug, Clone)]
pub(super) struct Head {
    address: [u8; 32],
    shard: i16,
    base: i64,
    version: i64,
    status: i16,
    our: (i64, u128),
    their: (i64, u128),
    chain_lt: i64,
    /// The first and the last of the bodies that are signed, each as twice its seqno plus its attempt.
    signed: Option<(i64, i64)>,
}

impl Head {
    pub(super) fn of(row: &ChannelRow, shard: u8, base: u64) -> Result<Self, Error> {
        let side = |body: &Body| Ok::<_, Error>((long("seqno", body.seqno)?, body.sent));
        Ok(Self {
            address: row.address,
            shard: shard.into(),
            base: long("version", base)?,
            version: long("version", row.version)?,
            status: codec::status(row.status),
            our: side(&row.our)?,
            their: side(&row.their)?,
            chain_lt: long("lt", row.onchain.lt)?,
            signed: None,
        })
    }

    /// Bodies that the move signs, in their order.
    pub(super) fn sign(&mut self, bodies: &[(u64, Attempt)]) -> Result<(), Error> {
        for (seqno, attempt) in bodies {
            let place = long("seqno", seqno.saturating_mul(2))? + i64::from(codec::attempt(*attempt));
            self.signed = join(self.signed, Some((place, place)));
        }
        Ok(())
    }

    /// This move, and then that one.
    pub(super) fn then(self, next: Self) -> Self {
        Self { base: self.base, signed: join(self.signed, next.signed), ..next }
    }

    /// `engine.set_head`
    pub(super) fn record(self) -> Record {
        let signed = self.signed.map_or([Value::Null, Value::Null], |(first, last)| [Value::Long(first), Value::Long(last)]);
        let [first_signed, signed] = signed;
        Record(vec![
            self.address.into(),
            Value::Small(self.shard),
            Value::Long(self.base),
            Value::Long(self.version),
            Value::Small(self.status),
            Value::Long(self.our.0),
            self.our.1.into(),
            Value::Long(self.their.0),
            self.their.1.into(),
            Value::Long(self.chain_lt),
            first_signed,
            signed,
        ])
    }
}

/// Bodies that do not rise are as good as signed before: the database refuses what begins with 0.
fn join(first: Option<(i64, i64)>, then: Option<(i64, i64)>) -> Option<(i64, i64)> {
    match (first, then) {
        (Some((from, last)), Some((next, to))) if last < next => Some((from, to)),
        (Some(_), Some((_, to))) => Some((0, to)),
        (first, then) => then.or(first),
    }
}
