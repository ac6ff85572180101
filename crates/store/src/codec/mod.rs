//! Protocol types as rows, and back. What stands in real columns is in `row` and `leg`; what only the protocol reads is an encoded column
//! (`blob`), each with a version in front.

mod blob;
mod channel;
mod leg;
mod task;

pub(crate) use channel::{channel_from_row, config_from_row, new_channel, set_channel, status};
pub(crate) use leg::{direction, is_final, leg_from_row, leg_state, resolution_from_row, set_leg};
pub(crate) use task::{new_task, task_from_row, task_id};

use protocol::{Attempt, Change, Key, Outcome, RequestResult, Side, SignedBody};
use tokio_postgres::{Row, types::FromSql};
use wire::{Body, Condition, SignedState};

use crate::{
    Error,
    value::{Nano, Record, Value},
};

pub(crate) fn side(side: Side) -> i16 {
    match side {
        Side::Our => 0,
        Side::Their => 1,
    }
}

pub(crate) fn attempt(attempt: Attempt) -> i16 {
    match attempt {
        Attempt::Action => 0,
        Attempt::Increment => 1,
    }
}

pub(crate) fn outcome(outcome: Outcome) -> i16 {
    match outcome {
        Outcome::Refused => 1,
        Outcome::Agreed => 2,
        Outcome::Void => 3,
    }
}

/// `engine.remove_condition`
pub(crate) fn remove_condition(channel: &Key, of: Side, key: &Key, until: u64) -> Result<Record, Error> {
    Ok(Record(vec![(*channel).into(), Value::Small(side(of)), (*key).into(), Value::long("seqno", until)?]))
}

/// `engine.add_condition`; `until` when it went again in the same group.
pub(crate) fn add_condition(channel: &Key, of: Side, c: &Condition, since: u64, until: Option<u64>) -> Result<Record, Error> {
    Ok(Record(vec![
        (*channel).into(),
        Value::Small(side(of)),
        c.key.into(),
        c.index().into(),
        c.capacity.into(),
        c.fee.into(),
        c.prepay.into(),
        c.deadline.into(),
        Value::long("seqno", since)?,
        until.map(|seqno| Value::long("seqno", seqno)).transpose()?.unwrap_or(Value::Null),
    ]))
}

/// A condition from the columns `key`, `capacity`, `fee`, `prepay`, `deadline`.
pub(crate) fn condition_from_row(row: &Row) -> Result<Condition, Error> {
    Ok(Condition {
        key: bytes(row, "key")?,
        capacity: nano(row, "capacity")?,
        fee: nano(row, "fee")?,
        prepay: nano(row, "prepay")?,
        deadline: row.try_get::<_, i64>("deadline")?.try_into().map_err(|_| Error::Corrupt("condition: deadline"))?,
    })
}

/// `engine.new_body`
pub(crate) fn new_body(channel: &Key, signed: &SignedBody) -> Result<Record, Error> {
    let (kind, key, inserted) = match &signed.change {
        Change::None => (0, None, None),
        Change::Insert(c) => (1, Some(c.key), Some(c)),
        Change::Remove(key) => (2, Some(*key), None),
    };
    Ok(Record(vec![
        (*channel).into(),
        Value::long("seqno", signed.body.seqno)?,
        Value::Small(attempt(signed.attempt)),
        signed.body.sent.into(),
        signed.body.conditionals.into(),
        Value::Small(kind),
        key.into(),
        inserted.map(|c| c.capacity).into(),
        inserted.map(|c| c.fee).into(),
        inserted.map(|c| c.prepay).into(),
        inserted.map(|c| c.deadline).into(),
    ]))
}

/// A row of `engine.signed_body` without its outcome.
pub(crate) fn body_from_row(row: &Row) -> Result<SignedBody, Error> {
    let change = match row.try_get::<_, i16>("change")? {
        0 => Change::None,
        1 => Change::Insert(condition_from_row(row)?),
        2 => Change::Remove(bytes(row, "key")?),
        _ => return Err(Error::Corrupt("signed body: change")),
    };
    let attempt = match row.try_get::<_, i16>("attempt")? {
        0 => Attempt::Action,
        1 => Attempt::Increment,
        _ => return Err(Error::Corrupt("signed body: attempt")),
    };
    let body = Body { seqno: seqno(row, "seqno")?, sent: nano(row, "sent")?, conditionals: bytes(row, "conditionals")? };
    Ok(SignedBody { attempt, body, change })
}

/// What became of a row of `engine.signed_body`.
pub(crate) fn outcome_from_row(row: &Row) -> Result<Option<Outcome>, Error> {
    Ok(match row.try_get::<_, Option<i16>>("outcome")? {
        None => None,
        Some(1) => Some(Outcome::Refused),
        Some(2) => Some(Outcome::Agreed),
        Some(3) => Some(Outcome::Void),
        Some(_) => return Err(Error::Corrupt("signed body: outcome")),
    })
}

/// `engine.set_outcome`
pub(crate) fn set_outcome(channel: &Key, seqno: u64, of: Attempt, what: Outcome) -> Result<Record, Error> {
    let seqno = Value::long("seqno", seqno)?;
    Ok(Record(vec![(*channel).into(), seqno, Value::Small(attempt(of)), Value::Small(outcome(what))]))
}

/// The three columns of an optional copy of our body.
fn copy_columns(copy: Option<Body>) -> Result<[Value; 3], Error> {
    Ok(match copy {
        None => [Value::Null, Value::Null, Value::Null],
        Some(body) => [Value::long("seqno", body.seqno)?, body.sent.into(), body.conditionals.into()],
    })
}

fn copy_from_row(row: &Row) -> Result<Option<Body>, Error> {
    let Some(seqno) = row.try_get::<_, Option<i64>>("copy_seqno")? else { return Ok(None) };
    let seqno = seqno.try_into().map_err(|_| Error::Corrupt("copy: seqno"))?;
    Ok(Some(Body { seqno, sent: nano(row, "copy_sent")?, conditionals: bytes(row, "copy_conditionals")? }))
}

/// `engine.new_peer_state`
pub(crate) fn new_peer_state(channel: &Key, signed: &SignedState) -> Result<Record, Error> {
    let body = &signed.state.body;
    let mut fields = vec![
        (*channel).into(),
        Value::long("seqno", body.seqno)?,
        body.sent.into(),
        body.conditionals.into(),
        signed.signature.into(),
    ];
    fields.extend(copy_columns(signed.state.counterparty)?);
    Ok(Record(fields))
}

/// Whether two records of `engine.new_peer_state` have the same body: seqno, sent, conditionals.
pub(crate) fn is_same_body(one: &Record, other: &Record) -> bool {
    one.0.get(1..4) == other.0.get(1..4)
}

/// A row of `engine.peer_state`: the signature, the body, the copy.
pub(crate) fn peer_state_from_row(row: &Row) -> Result<([u8; 64], Body, Option<Body>), Error> {
    let body = Body { seqno: seqno(row, "seqno")?, sent: nano(row, "sent")?, conditionals: bytes(row, "conditionals")? };
    Ok((bytes(row, "signature")?, body, copy_from_row(row)?))
}

/// `engine.new_request`
pub(crate) fn new_request(request_id: &str, content: &[u8; 32]) -> Record {
    Record(vec![request_id.into(), (*content).into()])
}

/// `engine.set_result`
pub(crate) fn set_result(request_id: &str, result: &RequestResult) -> Record {
    let (state, amount, reason) = match result {
        RequestResult::Opened => (1, None, None),
        RequestResult::Paid { amount } => (2, Some(*amount), None),
        // A peer's words may be in it, and Postgres takes no NUL.
        RequestResult::Failed { reason } => (3, None, Some(reason.replace('\0', "\u{fffd}"))),
    };
    Record(vec![request_id.into(), Value::Small(state), amount.into(), reason.as_deref().into()])
}

/// The columns `state`, `amount`, `reason` of a request; `None` while it is under way.
pub(crate) fn result_from_row(row: &Row) -> Result<Option<RequestResult>, Error> {
    Ok(match row.try_get::<_, i16>("state")? {
        0 => None,
        1 => Some(RequestResult::Opened),
        2 => Some(RequestResult::Paid { amount: nano(row, "amount")? }),
        3 => Some(RequestResult::Failed { reason: row.try_get("reason")? }),
        _ => return Err(Error::Corrupt("request: state")),
    })
}

/// `engine.done_task`
pub(crate) fn done_task(id: &str, shard: u8) -> Record {
    Record(vec![id.into(), Value::Small(shard.into())])
}

/// `engine.seen_channel`
pub(crate) fn seen_channel(channel: &Key, version: i64) -> Record {
    Record(vec![(*channel).into(), Value::Long(version)])
}

pub(crate) fn bytes<const N: usize>(row: &Row, column: &'static str) -> Result<[u8; N], Error> {
    row.try_get::<_, &[u8]>(column)?.try_into().map_err(|_| Error::Corrupt(column))
}

pub(crate) fn maybe_bytes<const N: usize>(row: &Row, column: &'static str) -> Result<Option<[u8; N]>, Error> {
    let bytes = row.try_get::<_, Option<&[u8]>>(column)?;
    bytes.map(|bytes| bytes.try_into().map_err(|_| Error::Corrupt(column))).transpose()
}

pub(crate) fn nano(row: &Row, column: &'static str) -> Result<u128, Error> {
    Ok(row.try_get::<_, Nano>(column)?.0)
}

pub(crate) fn maybe_nano(row: &Row, column: &'static str) -> Result<Option<u128>, Error> {
    Ok(row.try_get::<_, Option<Nano>>(column)?.map(|nano| nano.0))
}

/// A seqno, version, epoch or time.
pub(crate) fn seqno(row: &Row, column: &'static str) -> Result<u64, Error> {
    number(row.try_get::<_, i64>(column)?, column)
}

pub(crate) fn number<T: TryFrom<i64>>(value: i64, column: &'static str) -> Result<T, Error> {
    value.try_into().map_err(|_| Error::Corrupt(column))
}

pub(crate) fn shard(row: &Row) -> Result<u8, Error> {
    row.try_get::<_, i16>("shard")?.try_into().map_err(|_| Error::Corrupt("shard"))
}

/// A column as it is.
pub(crate) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &'static str) -> Result<T, Error> {
    Ok(row.try_get(column)?)
}
