//! `engine.channel`.

use contract::{CloseToSign, CommitToSign, OpenConfig, Pair};
use protocol::{Attempt, Change, ChannelRow, Onchain, Pending, Quarantined, SignedBody, Status, Withdrawal, Work};
use tl::{Error as TlError, Reader, Writer};
use tokio_postgres::Row;
use wire::{Body, SignedState, State};

use super::{
    blob::{self, Blob, invalid},
    bytes, copy_columns, copy_from_row, get, maybe_bytes, nano, seqno,
};
use crate::{
    Error,
    value::{Record, Value},
};

const STATUSES: [Status; 4] = [Status::Active, Status::Closing, Status::Disputed, Status::Closed];

/// `engine.new_channel`: what never changes.
pub(crate) fn new_channel(row: &ChannelRow, shard: u8) -> Result<Record, Error> {
    Ok(Record(vec![
        row.address.into(),
        Value::Small(shard.into()),
        row.peer.into(),
        ton::encode_boc(&row.config.to_cell()).into(),
        row.code_hash.into(),
        row.left.into(),
        Value::long("safe_close", row.safe_close)?,
    ]))
}

/// The column `status`.
pub(crate) fn status(status: Status) -> i16 {
    STATUSES.iter().position(|s| *s == status).expect("every status is listed") as i16
}

/// `engine.set_channel`: what changes. `base` is the version that the database has now.
pub(crate) fn set_channel(row: &ChannelRow, shard: u8, base: u64) -> Result<Record, Error> {
    let (signature, copy) = match &row.their_signed {
        None => (None, None),
        Some(signed) => {
            if signed.state.body != row.their || signed.state.channel_id != row.config.channel_id {
                return Err(Error::Inconsistent("the peer's signed state is not its stored body"));
            }
            (Some(signed.signature), signed.state.counterparty)
        }
    };
    let mut fields = vec![
        row.address.into(),
        Value::Small(shard.into()),
        Value::long("version", base)?,
        Value::long("version", row.version)?,
        Value::Small(status(row.status)),
        row.suspended.into(),
    ];
    for body in [&row.our, &row.their] {
        fields.extend([Value::long("seqno", body.seqno)?, body.sent.into(), body.conditionals.into()]);
    }
    fields.push(signature.into());
    fields.extend(copy_columns(copy)?);
    let chain = &row.onchain;
    let closing = Closing::of(row);
    fields.extend([
        row.pending.as_ref().map(Blob::encode).into(),
        row.increment.into(),
        row.pending_withdraw[0].into(),
        row.pending_withdraw[1].into(),
        row.released.into(),
        Value::long("lt", chain.lt)?,
        chain.inited.into(),
        chain.deposited[0].into(),
        chain.deposited[1].into(),
        chain.withdrawn[0].into(),
        chain.withdrawn[1].into(),
        Value::long("seqno", chain.committed[0])?,
        Value::long("seqno", chain.committed[1])?,
        (closing != Closing::default()).then(|| closing.encode()).into(),
    ]);
    Ok(Record(fields))
}

/// The column `config`.
pub(crate) fn config_from_row(row: &Row) -> Result<OpenConfig, Error> {
    let config = ton::decode_boc(get(row, "config")?).map_err(|_| Error::Corrupt("channel: config"))?;
    OpenConfig::from_cell(config.as_ref()).map_err(|_| Error::Corrupt("channel: config"))
}

/// A whole row.
pub(crate) fn channel_from_row(row: &Row) -> Result<ChannelRow, Error> {
    let config = config_from_row(row)?;
    let status = usize::try_from(get::<i16>(row, "status")?).ok().and_then(|i| STATUSES.get(i));
    let their = Body {
        seqno: seqno(row, "their_seqno")?,
        sent: nano(row, "their_sent")?,
        conditionals: bytes(row, "their_conditionals")?,
    };
    let their_signed = match maybe_bytes(row, "their_signature")? {
        None => None,
        Some(signature) => {
            let state = State { channel_id: config.channel_id, body: their, counterparty: copy_from_row(row)? };
            Some(SignedState { signature, state })
        }
    };
    let closing = get::<Option<&[u8]>>(row, "closing")?.map(Closing::decode).transpose()?.unwrap_or_default();
    Ok(ChannelRow {
        address: bytes(row, "address")?,
        version: seqno(row, "version")?,
        config,
        code_hash: bytes(row, "code_hash")?,
        left: get(row, "is_left")?,
        peer: bytes(row, "peer")?,
        safe_close: seqno(row, "safe_close")?,
        status: *status.ok_or(Error::Corrupt("channel: status"))?,
        suspended: get(row, "suspended")?,
        our: Body {
            seqno: seqno(row, "our_seqno")?,
            sent: nano(row, "our_sent")?,
            conditionals: bytes(row, "our_conditionals")?,
        },
        their,
        their_signed,
        pending: get::<Option<&[u8]>>(row, "pending")?.map(Pending::decode).transpose()?,
        increment: get(row, "increment")?,
        pending_withdraw: [nano(row, "our_withdrawing")?, nano(row, "their_withdrawing")?],
        released: nano(row, "released")?,
        onchain: Onchain {
            lt: seqno(row, "chain_lt")?,
            inited: get(row, "inited")?,
            deposited: [nano(row, "our_deposited")?, nano(row, "their_deposited")?],
            withdrawn: [nano(row, "our_withdrawn")?, nano(row, "their_withdrawn")?],
            committed: [seqno(row, "our_committed")?, seqno(row, "their_committed")?],
            quarantine: closing.quarantine,
        },
        close_wanted: closing.wanted,
        close: closing.together,
        force: closing.force,
        void: closing.void,
        signed_commit: closing.commits[0],
        asked_commit: closing.commits[1],
        withdrawal: closing.withdrawal,
        deploys: closing.deploys,
        order_round: closing.order_round,
        ordered: closing.ordered,
        settled: closing.settled,
        settling: closing.settling,
    })
}

/// What a channel has only while it is being opened or closed, during a withdrawal, or after a refused payment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Closing {
    quarantine: Option<Quarantined>,
    wanted: bool,
    together: Option<CloseToSign>,
    force: Option<String>,
    void: Option<Body>,
    commits: [[u64; 2]; 2],
    withdrawal: Option<Withdrawal>,
    deploys: Vec<String>,
    order_round: u32,
    ordered: Option<String>,
    settled: Vec<u32>,
    settling: Vec<u32>,
}

impl Closing {
    fn of(row: &ChannelRow) -> Self {
        Self {
            quarantine: row.onchain.quarantine.clone(),
            wanted: row.close_wanted,
            together: row.close.clone(),
            force: row.force.clone(),
            void: row.void,
            commits: [row.signed_commit, row.asked_commit],
            withdrawal: row.withdrawal.clone(),
            deploys: row.deploys.clone(),
            order_round: row.order_round,
            ordered: row.ordered.clone(),
            settled: row.settled.clone(),
            settling: row.settling.clone(),
        }
    }
}

impl Blob for Closing {
    const NAME: &'static str = "closing";

    fn write(&self, w: &mut Writer) {
        blob::put_option(w, self.quarantine.as_ref(), |w, q| {
            blob::put_body(w, &q.our);
            blob::put_body(w, &q.their);
            w.raw(&q.their_base);
            w.u64(q.started_at);
            w.bool(q.by_us);
            w.bool(q.challenged);
        });
        w.bool(self.wanted);
        blob::put_option(w, self.together.as_ref(), put_close);
        blob::put_option(w, self.force.as_ref(), |w, text| blob::put_text(w, text));
        blob::put_option(w, self.void.as_ref(), blob::put_body);
        self.commits.as_flattened().iter().for_each(|seqno| w.u64(*seqno));
        blob::put_option(w, self.withdrawal.as_ref(), put_withdrawal);
        blob::put_vec(w, &self.deploys, |w, text| blob::put_text(w, text));
        w.u32(self.order_round);
        blob::put_option(w, self.ordered.as_ref(), |w, text| blob::put_text(w, text));
        blob::put_vec(w, &self.settled, |w, index| w.u32(*index));
        blob::put_vec(w, &self.settling, |w, index| w.u32(*index));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, TlError> {
        Ok(Self {
            quarantine: blob::take_option(r, "quarantine", |r| {
                Ok(Quarantined {
                    our: blob::take_body(r)?,
                    their: blob::take_body(r)?,
                    their_base: r.int256("their_base")?,
                    started_at: r.u64("started_at")?,
                    by_us: r.bool("by_us")?,
                    challenged: r.bool("challenged")?,
                })
            })?,
            wanted: r.bool("wanted")?,
            together: blob::take_option(r, "together", take_close)?,
            force: blob::take_option(r, "force", |r| blob::take_text(r, "force"))?,
            void: blob::take_option(r, "void", blob::take_body)?,
            commits: [[r.u64("signed")?, r.u64("signed")?], [r.u64("asked")?, r.u64("asked")?]],
            withdrawal: blob::take_option(r, "withdrawal", take_withdrawal)?,
            deploys: blob::take_vec(r, "deploys", |r| blob::take_text(r, "deploys"))?,
            order_round: r.u32("order_round")?,
            ordered: blob::take_option(r, "ordered", |r| blob::take_text(r, "ordered"))?,
            settled: blob::take_vec(r, "settled", |r| r.u32("index"))?,
            settling: blob::take_vec(r, "settling", |r| r.u32("index"))?,
        })
    }
}

fn put_close(w: &mut Writer, close: &CloseToSign) {
    w.raw(&close.channel_id);
    blob::put_amount(w, close.sent.a);
    blob::put_amount(w, close.sent.b);
    w.u64(close.seqnos.a);
    w.u64(close.seqnos.b);
}

fn take_close(r: &mut Reader<'_>) -> Result<CloseToSign, TlError> {
    Ok(CloseToSign {
        channel_id: r.int128("channel_id")?,
        sent: Pair { a: blob::take_amount(r)?, b: blob::take_amount(r)? },
        seqnos: Pair { a: r.u64("seqno_a")?, b: r.u64("seqno_b")? },
    })
}

fn put_commit(w: &mut Writer, commit: &CommitToSign) {
    put_close(w, &CloseToSign { channel_id: commit.channel_id, sent: commit.sent, seqnos: commit.seqnos });
    blob::put_amount(w, commit.withdrawn.a);
    blob::put_amount(w, commit.withdrawn.b);
}

fn take_commit(r: &mut Reader<'_>) -> Result<CommitToSign, TlError> {
    let CloseToSign { channel_id, sent, seqnos } = take_close(r)?;
    let withdrawn = Pair { a: blob::take_amount(r)?, b: blob::take_amount(r)? };
    Ok(CommitToSign { channel_id, sent, seqnos, withdrawn })
}

fn put_withdrawal(w: &mut Writer, withdrawal: &Withdrawal) {
    blob::put_text(w, &withdrawal.request_id);
    blob::put_amount(w, withdrawal.amount);
    blob::put_option(w, withdrawal.asked.as_ref(), put_commit);
    blob::put_option(w, withdrawal.peer_signature.as_ref(), |w, signature| w.raw(signature));
    blob::put_option(w, withdrawal.order.as_ref(), |w, text| blob::put_text(w, text));
    w.u32(withdrawal.tries);
}

fn take_withdrawal(r: &mut Reader<'_>) -> Result<Withdrawal, TlError> {
    Ok(Withdrawal {
        request_id: blob::take_text(r, "request_id")?,
        amount: blob::take_amount(r)?,
        asked: blob::take_option(r, "asked", take_commit)?,
        peer_signature: blob::take_option(r, "peer_signature", |r| blob::take_array(r, "peer_signature"))?,
        order: blob::take_option(r, "order", |r| blob::take_text(r, "order"))?,
        tries: r.u32("tries")?,
    })
}

impl Blob for Pending {
    const NAME: &'static str = "pending";

    fn write(&self, w: &mut Writer) {
        match &self.work {
            Work::Increment { want_response } => {
                w.u32(0);
                w.bool(*want_response);
            }
            Work::Open(key) => put_work(w, 1, key),
            Work::Confirm(key) => put_work(w, 2, key),
            Work::Remove(key) => put_work(w, 3, key),
        }
        w.u32(super::attempt(self.first.attempt) as u32);
        blob::put_body(w, &self.first.body);
        match &self.first.change {
            Change::None => w.u32(0),
            Change::Insert(condition) => {
                w.u32(1);
                blob::put_condition(w, condition);
            }
            Change::Remove(key) => put_work(w, 2, key),
        }
        w.i64(self.lock_id);
        w.bool(self.increment);
        w.u64(self.since);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, TlError> {
        let work = match r.u32("work")? {
            0 => Work::Increment { want_response: r.bool("want_response")? },
            1 => Work::Open(r.int256("key")?),
            2 => Work::Confirm(r.int256("key")?),
            3 => Work::Remove(r.int256("key")?),
            _ => return Err(invalid("work", "unknown")),
        };
        let attempt = match r.u32("attempt")? {
            0 => Attempt::Action,
            1 => Attempt::Increment,
            _ => return Err(invalid("attempt", "unknown")),
        };
        let body = blob::take_body(r)?;
        let change = match r.u32("change")? {
            0 => Change::None,
            1 => Change::Insert(blob::take_condition(r)?),
            2 => Change::Remove(r.int256("key")?),
            _ => return Err(invalid("change", "unknown")),
        };
        let first = SignedBody { attempt, body, change };
        Ok(Self { work, first, lock_id: r.i64("lock_id")?, increment: r.bool("increment")?, since: r.u64("since")? })
    }
}

fn put_work(w: &mut Writer, kind: u32, key: &[u8; 32]) {
    w.u32(kind);
    w.raw(key);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let versioned = [&1u32.to_le_bytes()[..], &bytes].concat();
            for bytes in [&bytes, &versioned] {
                let _ = (Pending::decode(bytes), Closing::decode(bytes));
            }
        }
    }
}
