//! `engine.leg`.

use protocol::{Direction, Half, Leg, LegState, Next, Origin};
use tokio_postgres::Row;
use wire::{Resolution, message::OpenVirtual};

use super::{blob::Blob, bytes, condition_from_row, get, maybe_bytes, maybe_nano, nano};
use crate::{
    Error,
    value::{Record, Value},
};

const STATES: [LegState; 8] = [
    LegState::Opening,
    LegState::Open,
    LegState::Closing,
    LegState::Removing,
    LegState::Closed,
    LegState::Removed,
    LegState::Refused,
    LegState::Abandoned,
];

pub(crate) fn direction(direction: Direction) -> i16 {
    match direction {
        Direction::In => 0,
        Direction::Out => 1,
    }
}

/// Where `state` stands in `engine.set_leg`.
const STATE_FIELD: usize = 7;

/// The state of a record of [`set_leg`].
pub(crate) fn leg_state(leg: &Record) -> i16 {
    match leg.0.get(STATE_FIELD) {
        Some(Value::Small(state)) => *state,
        _ => 0,
    }
}

/// Whether a leg in this state never leaves it.
pub(crate) fn is_final(state: i16) -> bool {
    state >= 4
}

/// `engine.set_leg`
pub(crate) fn set_leg(channel: &[u8; 32], leg: &Leg) -> Record {
    let state = STATES.iter().position(|s| *s == leg.state).expect("every state is listed") as i16;
    let mut other_channel = None;
    let (mut sender, mut request_id, mut sealed_key, mut proposed) = (None, None, None, None);
    match &leg.half {
        Half::In { next, sender: key } => {
            sender = Some(*key);
            if let Next::Forward(address) = next {
                other_channel = Some(*address);
            }
        }
        Half::Out { origin, action } => {
            proposed = action.as_deref().map(Blob::encode);
            match origin {
                Origin::Forward { channel } => other_channel = Some(*channel),
                Origin::Sender { request_id: id, sealed } => (request_id, sealed_key) = (Some(id.as_str()), Some(sealed.clone())),
            }
        }
    }
    let c = &leg.condition;
    Record(vec![
        c.key.into(),
        Value::Small(direction(leg.direction())),
        (*channel).into(),
        c.capacity.into(),
        c.fee.into(),
        c.prepay.into(),
        c.deadline.into(),
        Value::Small(state),
        leg.resolution.as_ref().map(|r| r.amount).into(),
        leg.resolution.as_ref().map(|r| r.signature).into(),
        other_channel.into(),
        sender.into(),
        request_id.into(),
        sealed_key.into(),
        proposed.into(),
        leg.released.into(),
        leg.told.into(),
    ])
}

/// The columns `resolved` and `resolution`.
pub(crate) fn resolution_from_row(row: &Row) -> Result<Option<Resolution>, Error> {
    Ok(match (maybe_nano(row, "resolved")?, maybe_bytes(row, "resolution")?) {
        (Some(amount), Some(signature)) => Some(Resolution { signature, amount }),
        (None, None) => None,
        _ => return Err(Error::Corrupt("leg: resolution")),
    })
}

/// A whole row.
pub(crate) fn leg_from_row(row: &Row) -> Result<Leg, Error> {
    let state = usize::try_from(get::<i16>(row, "state")?).ok().and_then(|i| STATES.get(i));
    let other_channel = maybe_bytes(row, "other_channel")?;
    let half = match get::<i16>(row, "direction")? {
        0 => Half::In { next: other_channel.map_or(Next::Receiver, Next::Forward), sender: bytes(row, "sender")? },
        1 => {
            let origin = match (get::<Option<String>>(row, "request_id")?, get(row, "sealed")?, other_channel) {
                (Some(request_id), Some(sealed), None) => Origin::Sender { request_id, sealed },
                (None, None, Some(channel)) => Origin::Forward { channel },
                _ => return Err(Error::Corrupt("leg: origin")),
            };
            let action = get::<Option<&[u8]>>(row, "action")?.map(OpenVirtual::decode).transpose()?.map(Box::new);
            Half::Out { origin, action }
        }
        _ => return Err(Error::Corrupt("leg: direction")),
    };
    Ok(Leg {
        condition: condition_from_row(row)?,
        state: *state.ok_or(Error::Corrupt("leg: state"))?,
        resolution: resolution_from_row(row)?,
        half,
        released: nano(row, "released")?,
        told: get(row, "told")?,
    })
}
