//! Rows as the API shows them.

use std::time::{SystemTime, UNIX_EPOCH};

use protocol::{Direction, Half, Leg, LegState, Next, Origin, Policy, Status};
use rpc::engine::v1::{Channel, ChannelSide, ChannelStatus, Virtual, VirtualLeg, VirtualRole, VirtualStatus};
use store::engine::{ChannelSummary, LegSummary};

/// Seconds of unix time.
pub fn unix(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A channel.
pub fn channel(summary: &ChannelSummary, policy: &Policy) -> Channel {
    let row = &summary.row;
    let available = summary.available();
    let side = |i: usize, body: &wire::Body| ChannelSide {
        available_nano: available[i].to_string(),
        locked_nano: summary.locked[i].to_string(),
        sent_nano: body.sent.to_string(),
        deposited_nano: row.onchain.deposited[i].to_string(),
        withdrawn_nano: row.onchain.withdrawn[i].to_string(),
        seqno: body.seqno,
        committed_seqno: row.onchain.committed[i],
        conditionals: summary.open[i],
    };
    Channel {
        address: ton::Address::basechain(row.address).to_friendly(true),
        channel_id: row.config.channel_id.to_vec(),
        peer_key: row.peer.to_vec(),
        coin: None,
        status: status(summary).into(),
        status_detail: row.force.clone().unwrap_or_default(),
        left: row.left,
        our: Some(side(0, &row.our)),
        their: Some(side(1, &row.their)),
        proposal_pending_since_unix: row.pending.as_ref().map_or(0, |p| p.since / 1000),
        credited_risk_nano: row.released.to_string(),
        risk_limit_nano: policy.risk_limit.to_string(),
        created_at_unix: u64::from(u32::from_le_bytes(row.config.channel_id[12..].try_into().unwrap_or_default())),
        code_hash: row.code_hash.to_vec(),
    }
}

fn status(summary: &ChannelSummary) -> ChannelStatus {
    let row = &summary.row;
    match row.status {
        Status::Closed => ChannelStatus::Closed,
        Status::Closing | Status::Disputed => ChannelStatus::Closing,
        Status::Active if row.suspended => ChannelStatus::Suspended,
        Status::Active if row.onchain.inited && row.their_signed.is_some() => ChannelStatus::Active,
        Status::Active => ChannelStatus::Pending,
    }
}

/// A virtual channel from its legs on this node, of which there is at least one.
pub fn virtual_channel(
    legs: &[LegSummary],
    peer: impl Fn(&protocol::Address) -> Option<(protocol::Key, u64)>,
) -> Option<Virtual> {
    let find = |direction| legs.iter().find(|l| l.leg.direction() == direction);
    let (incoming, outgoing) = (find(Direction::In), find(Direction::Out));
    let leg = &incoming.or(outgoing)?.leg;
    let role = match (&leg.half, incoming, outgoing) {
        (_, Some(_), Some(_)) => VirtualRole::Forwarder,
        (Half::In { next: Next::Forward(_), .. }, ..) => VirtualRole::Forwarder,
        (Half::In { next: Next::Receiver, .. }, ..) => VirtualRole::Receiver,
        (Half::Out { origin: Origin::Sender { .. }, .. }, ..) => VirtualRole::Sender,
        (Half::Out { origin: Origin::Forward { .. }, .. }, ..) => VirtualRole::Forwarder,
    };
    let show = |l: &LegSummary| {
        let (peer_key, safe_close) = peer(&l.channel).unwrap_or(([0; 32], 0));
        let deadline = u64::from(l.leg.condition.deadline);
        VirtualLeg {
            channel_address: ton::Address::basechain(l.channel).to_friendly(true),
            peer_key: peer_key.to_vec(),
            capacity_nano: l.leg.condition.capacity.to_string(),
            fee_nano: l.leg.condition.fee.to_string(),
            deadline_unix: deadline,
            safe_deadline_unix: deadline.saturating_sub(safe_close),
        }
    };
    let best = legs.iter().filter_map(|l| l.leg.resolution.as_ref().map(|r| r.amount)).max();
    Some(Virtual {
        virtual_key: leg.key().to_vec(),
        status: virtual_status(leg, outgoing.map(|o| &o.leg)).into(),
        role: role.into(),
        coin: None,
        incoming: incoming.map(show),
        outgoing: outgoing.map(show),
        resolved_nano: best.map_or_else(String::new, |amount| amount.to_string()),
        created_at_unix: legs.iter().map(|l| l.created).min().map_or(0, unix),
        updated_at_unix: legs.iter().map(|l| l.changed).max().map_or(0, unix),
        failure: String::new(),
    })
}

fn virtual_status(leg: &Leg, outgoing: Option<&Leg>) -> VirtualStatus {
    if outgoing.is_some_and(|o| o.state == LegState::Opening) {
        return VirtualStatus::Pending;
    }
    match leg.state {
        LegState::Opening => VirtualStatus::Pending,
        LegState::Open => VirtualStatus::Active,
        LegState::Closing => VirtualStatus::Closing,
        LegState::Closed => VirtualStatus::Closed,
        LegState::Removing => VirtualStatus::Unwinding,
        LegState::Removed | LegState::Refused | LegState::Abandoned => VirtualStatus::Removed,
    }
}
