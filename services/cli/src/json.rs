//! Answers as JSON: the fields of the protobuf under their names, keys in hexadecimal, nano as decimal strings.

use rpc::common::v1::{ChainHop, Coin, coin};
use rpc::engine::v1::*;
use serde_json::{Value, json};

use crate::text;

pub(crate) fn coin(coin: Option<&Coin>) -> Value {
    match coin.and_then(|coin| coin.kind.as_ref()) {
        None | Some(coin::Kind::Ton(_)) => json!("ton"),
        Some(coin::Kind::JettonMaster(master)) => json!({ "jetton_master": master }),
        Some(coin::Kind::ExtraCurrencyId(id)) => json!({ "extra_currency_id": id }),
    }
}

pub(crate) fn info(info: &GetInfoResponse) -> Value {
    let services = info.services.iter().map(
        |service| json!({ "service": service.service, "endpoint": service.endpoint, "ready": service.ready, "detail": service.detail }),
    );
    json!({
        "node_key": hex::encode(&info.node_key),
        "wallet_address": info.wallet_address,
        "protocol_time_unix_ms": info.protocol_time_unix_ms,
        "services": services.collect::<Vec<_>>(),
        "frozen_reason": info.frozen_reason,
        "version": info.version,
    })
}

pub(crate) fn balance(balance: &Balance) -> Value {
    json!({
        "coin": coin(balance.coin.as_ref()),
        "wallet_nano": balance.wallet_nano,
        "available_nano": balance.available_nano,
        "locked_nano": balance.locked_nano,
        "receivable_nano": balance.receivable_nano,
    })
}

pub(crate) fn peer(peer: &Peer) -> Value {
    json!({
        "node_key": hex::encode(&peer.node_key),
        "connected": peer.connected,
        "connected_since_unix": peer.connected_since_unix,
        "channels": peer.channels,
        "shard": peer.shard,
    })
}

pub(crate) fn channel(channel: &Channel) -> Value {
    json!({
        "address": channel.address,
        "channel_id": hex::encode(&channel.channel_id),
        "peer_key": hex::encode(&channel.peer_key),
        "coin": coin(channel.coin.as_ref()),
        "status": text::channel_status(channel.status()),
        "status_detail": channel.status_detail,
        "left": channel.left,
        "our": channel.our.as_ref().map(side),
        "their": channel.their.as_ref().map(side),
        "proposal_pending_since_unix": channel.proposal_pending_since_unix,
        "credited_risk_nano": channel.credited_risk_nano,
        "risk_limit_nano": channel.risk_limit_nano,
        "created_at_unix": channel.created_at_unix,
        "code_hash": hex::encode(&channel.code_hash),
    })
}

fn side(side: &ChannelSide) -> Value {
    json!({
        "available_nano": side.available_nano,
        "locked_nano": side.locked_nano,
        "sent_nano": side.sent_nano,
        "deposited_nano": side.deposited_nano,
        "withdrawn_nano": side.withdrawn_nano,
        "seqno": side.seqno,
        "committed_seqno": side.committed_seqno,
        "conditionals": side.conditionals,
    })
}

pub(crate) fn virtual_channel(item: &Virtual) -> Value {
    json!({
        "virtual_key": hex::encode(&item.virtual_key),
        "status": text::virtual_status(item.status()),
        "role": text::role(item.role()),
        "coin": coin(item.coin.as_ref()),
        "incoming": item.incoming.as_ref().map(leg),
        "outgoing": item.outgoing.as_ref().map(leg),
        "resolved_nano": item.resolved_nano,
        "created_at_unix": item.created_at_unix,
        "updated_at_unix": item.updated_at_unix,
        "failure": item.failure,
    })
}

fn leg(leg: &VirtualLeg) -> Value {
    json!({
        "channel_address": leg.channel_address,
        "peer_key": hex::encode(&leg.peer_key),
        "capacity_nano": leg.capacity_nano,
        "fee_nano": leg.fee_nano,
        "deadline_unix": leg.deadline_unix,
        "safe_deadline_unix": leg.safe_deadline_unix,
    })
}

/// A chain as it is asked for.
pub(crate) fn chain(chain: &[ChainHop]) -> Value {
    let hop = |hop: &ChainHop| {
        json!({
            "node_key": hex::encode(&hop.node_key),
            "fee_nano": hop.fee_nano,
            "deadline_gap_seconds": hop.deadline_gap_seconds,
        })
    };
    chain.iter().map(hop).collect()
}
