//! `engine.task`.

use contract::Storage;
use protocol::{ChainUpdate, NewTask, OpenLeg, Origin, Task};
use tl::{Error as TlError, Object, Reader, Writer};
use tokio_postgres::Row;
use wire::message::OpenVirtual;

use super::{
    blob::{self, Blob, invalid},
    bytes, get,
};
use crate::{
    Error,
    value::{Record, Value},
};

/// `engine.new_task`; `not_before` in milliseconds of protocol time.
pub(crate) fn new_task(task: &NewTask, not_before: u64) -> Result<Record, Error> {
    Ok(Record(vec![
        task.id.as_str().into(),
        task.channel.into(),
        name(&task.task).into(),
        task.task.encode().into(),
        Value::long("not_before", not_before)?,
    ]))
}

/// Whose record this is: an `engine.new_task` or `engine.done_task`.
pub(crate) fn task_id(record: &Record) -> Option<&str> {
    match record.0.first() {
        Some(Value::Text(id)) => Some(id),
        _ => None,
    }
}

/// The columns `id`, `channel`, `payload`.
pub(crate) fn task_from_row(row: &Row) -> Result<NewTask, Error> {
    Ok(NewTask { id: get(row, "id")?, channel: bytes(row, "channel")?, task: Task::decode(get(row, "payload")?)? })
}

/// For people who look at the table.
fn name(task: &Task) -> &'static str {
    match task {
        Task::Open(_) => "open",
        Task::Close { .. } => "close",
        Task::Unwind { .. } => "unwind",
        Task::Increment => "increment",
        Task::CloseChannel { .. } => "close-channel",
        Task::TopUp { .. } => "top-up",
        Task::Withdraw { .. } => "withdraw",
        Task::LiftSuspension => "lift-suspension",
        Task::Chain(_) => "chain",
        Task::OrderFailed { .. } => "order-failed",
    }
}

impl Blob for Task {
    const NAME: &'static str = "task";

    fn write(&self, w: &mut Writer) {
        match self {
            Self::Open(open) => {
                w.u32(0);
                put_open(w, open);
            }
            Self::Close { key, resolution } => {
                w.u32(1);
                w.raw(key);
                blob::put_resolution(w, resolution);
            }
            Self::Unwind { key, reason } => {
                w.u32(2);
                w.raw(key);
                blob::put_text(w, reason);
            }
            Self::Increment => w.u32(3),
            Self::CloseChannel { force } => {
                w.u32(4);
                w.bool(*force);
            }
            Self::TopUp { order, amount } => {
                w.u32(5);
                blob::put_text(w, order);
                blob::put_amount(w, *amount);
            }
            Self::Chain(update) => {
                w.u32(6);
                put_update(w, update);
            }
            Self::OrderFailed { order } => {
                w.u32(7);
                blob::put_text(w, order);
            }
            Self::Withdraw { request_id, amount } => {
                w.u32(8);
                blob::put_text(w, request_id);
                blob::put_amount(w, *amount);
            }
            Self::LiftSuspension => w.u32(9),
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, TlError> {
        Ok(match r.u32("task")? {
            0 => Self::Open(Box::new(take_open(r)?)),
            1 => Self::Close { key: r.int256("key")?, resolution: blob::take_resolution(r)? },
            2 => Self::Unwind { key: r.int256("key")?, reason: blob::take_text(r, "reason")? },
            3 => Self::Increment,
            4 => Self::CloseChannel { force: r.bool("force")? },
            5 => Self::TopUp { order: blob::take_text(r, "order")?, amount: blob::take_amount(r)? },
            6 => Self::Chain(Box::new(take_update(r)?)),
            7 => Self::OrderFailed { order: blob::take_text(r, "order")? },
            8 => Self::Withdraw { request_id: blob::take_text(r, "request_id")?, amount: blob::take_amount(r)? },
            9 => Self::LiftSuspension,
            _ => return Err(invalid("task", "unknown")),
        })
    }
}

fn put_open(w: &mut Writer, open: &OpenLeg) {
    blob::put_condition(w, &open.condition);
    open.action.write_boxed(w);
    match &open.origin {
        Origin::Sender { request_id, sealed } => {
            w.u32(0);
            blob::put_text(w, request_id);
            w.bytes(sealed);
        }
        Origin::Forward { channel } => {
            w.u32(1);
            w.raw(channel);
        }
    }
}

fn take_open(r: &mut Reader<'_>) -> Result<OpenLeg, TlError> {
    Ok(OpenLeg {
        condition: blob::take_condition(r)?,
        action: OpenVirtual::read_boxed(r)?,
        origin: match r.u32("origin")? {
            0 => Origin::Sender { request_id: blob::take_text(r, "request_id")?, sealed: r.bytes("sealed")?.to_vec() },
            1 => Origin::Forward { channel: r.int256("channel")? },
            _ => return Err(invalid("origin", "unknown")),
        },
    })
}

fn put_update(w: &mut Writer, update: &ChainUpdate) {
    w.u64(update.lt);
    blob::put_cell(w, &update.storage.to_cell());
    blob::put_vec(w, &update.settled, |w, (index, resolution)| {
        w.u32(*index);
        blob::put_resolution(w, resolution);
    });
    blob::put_vec(w, &update.our_states, blob::put_signed_state);
}

fn take_update(r: &mut Reader<'_>) -> Result<ChainUpdate, TlError> {
    Ok(ChainUpdate {
        lt: r.u64("lt")?,
        storage: Storage::from_cell(blob::take_cell(r, "storage")?.as_ref()).map_err(|_| invalid("storage", "not a storage"))?,
        settled: blob::take_vec(r, "settled", |r| Ok((r.u32("index")?, blob::take_resolution(r)?)))?,
        our_states: blob::take_vec(r, "our_states", blob::take_signed_state)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn another_version_and_bytes_behind_are_refused() {
        let good = Task::Increment.encode();
        assert_eq!(Task::decode(&good).unwrap(), Task::Increment);
        assert!(Task::decode(&[good.as_slice(), &[0; 4]].concat()).is_err());
        let mut other = good;
        other[0] += 1;
        assert!(Task::decode(&other).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(kind in 0u32..10, bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Task::decode(&[&1u32.to_le_bytes()[..], &kind.to_le_bytes(), &bytes].concat());
        }
    }
}
