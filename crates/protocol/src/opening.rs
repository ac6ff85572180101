//! Opening a channel off-chain (payments 7.8): what is offered, what is accepted, the channel that comes of it.

use contract::{Closing, CodeKind, Currency, OpenConfig, Pair, Payment};
use wire::{
    message::{ChannelConfig, OpenChannelOffchain, ProposeChannelConfig},
    state::Body,
};

use crate::{ChannelRow, Key, Onchain, Policy, Status};

/// The protocol version that we speak.
pub const NODE_VERSION: u32 = wire::message::NODE_VERSION;

/// The opener's first question: will the peer have a channel on our terms?
pub fn config_request(policy: &Policy, code: &CodeKind) -> ProposeChannelConfig {
    ProposeChannelConfig {
        jetton_addr: None,
        ec_id: 0,
        excess_fee: policy.storage_fee,
        quarantine_duration: policy.timing.quarantine,
        misbehavior_fine: policy.fine,
        conditional_close_duration: policy.timing.conditional_close,
        node_version: NODE_VERSION,
        code_hash: code.hash,
    }
}

/// Our answer to that question. Also how others learn our terms for passing virtual channels.
pub fn answer_config(policy: &Policy, wallet: [u8; 32], request: &ProposeChannelConfig) -> ChannelConfig {
    let reason = if request.jetton_addr.is_some() || request.ec_id != 0 {
        "only TON is accepted"
    } else if request.quarantine_duration != policy.timing.quarantine {
        "quarantine duration differs"
    } else if request.conditional_close_duration != policy.timing.conditional_close {
        "conditional close duration differs"
    } else if request.misbehavior_fine != policy.fine {
        "misbehavior fine differs"
    } else if request.excess_fee != policy.storage_fee {
        "excess fee differs"
    } else {
        ""
    };
    ChannelConfig {
        ok: reason.is_empty(),
        wallet_addr: wallet,
        reason: reason.into(),
        proxy_allowed: policy.allow_tunneling,
        proxy_min_fee: policy.proxy_min_fee,
        proxy_max_cap: policy.proxy_max_capacity,
        proxy_percent_fee_float: policy.proxy_fee_percent.to_bits(),
    }
}

/// The parties of a channel to be: A opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parties {
    /// The opener's channel key and wallet.
    pub a: (Key, [u8; 32]),
    /// The other's.
    pub b: (Key, [u8; 32]),
}

/// The configuration that the opener offers. Channel id: 12 bytes of the peer's key and the time (payments 7.1).
pub fn open_config(policy: &Policy, parties: &Parties, now_seconds: u32) -> OpenConfig {
    let wallet = |hash| ton::Address { workchain: 0, hash };
    OpenConfig {
        keys: Pair { a: parties.a.0, b: parties.b.0 },
        channel_id: contract::channel_id(&parties.b.0, now_seconds),
        closing: Closing {
            quarantine_duration: policy.timing.quarantine,
            misbehavior_fine: policy.fine,
            conditional_close_duration: policy.timing.conditional_close,
        },
        payment: Payment {
            storage_fee: policy.storage_fee,
            destinations: Pair { a: wallet(parties.a.1), b: wallet(parties.b.1) },
            currency: Currency::Ton,
        },
    }
}

/// The responder's checks of payments 7.8.4. `Ok`: the channel to create, with us as side B.
pub fn check_open(
    policy: &Policy,
    codes: &[CodeKind],
    us: (Key, [u8; 32]),
    peer: Key,
    request: &OpenChannelOffchain,
) -> Result<ChannelRow, &'static str> {
    let code = codes.iter().find(|code| code.hash == request.code_hash).ok_or("unknown contract code")?;
    let config = OpenConfig::from_cell(request.open_config.as_ref()).map_err(|_| "malformed channel config")?;
    check_config(policy, us, peer, &config)?;
    if config.keys.b != us.0 {
        return Err("the opener must be side A");
    }
    Ok(new_channel(policy, code, config, us.0))
}

/// What must hold for any channel between us and `peer`, opened off-chain or found on the chain.
pub fn check_config(policy: &Policy, us: (Key, [u8; 32]), peer: Key, config: &OpenConfig) -> Result<(), &'static str> {
    let payment = &config.payment;
    let own_dest = match (config.keys.a == us.0, config.keys.b == us.0) {
        (true, false) if config.keys.b == peer => &payment.destinations.a,
        (false, true) if config.keys.a == peer => &payment.destinations.b,
        _ => return Err("channel between other keys"),
    };
    if (own_dest.workchain, own_dest.hash) != (0, us.1) {
        return Err("our payout address is not our wallet");
    }
    if payment.currency != Currency::Ton {
        return Err("only TON is accepted");
    }
    if payment.storage_fee != policy.storage_fee {
        return Err("excess fee differs");
    }
    let ours = (policy.timing.quarantine, policy.timing.conditional_close, policy.fine);
    let closing = &config.closing;
    if (closing.quarantine_duration, closing.conditional_close_duration, closing.misbehavior_fine) != ours {
        return Err("durations or fine differ");
    }
    Ok(())
}

/// A channel at its start: active, not on the chain, nothing exchanged (payments 3.2).
pub fn new_channel(policy: &Policy, code: &CodeKind, config: OpenConfig, our_key: Key) -> ChannelRow {
    let left = config.keys.a == our_key;
    ChannelRow {
        address: config.address(code).hash,
        version: 0,
        code_hash: code.hash,
        left,
        peer: if left { config.keys.b } else { config.keys.a },
        safe_close: policy.timing.safe_close(),
        status: Status::Active,
        suspended: false,
        our: Body::start(0),
        their: Body::start(0),
        their_signed: None,
        pending: None,
        void: None,
        signed_commit: [0; 2],
        asked_commit: [0; 2],
        withdrawal: None,
        increment: None,
        pending_withdraw: [0; 2],
        released: 0,
        onchain: Onchain::default(),
        close_wanted: false,
        close: None,
        force: None,
        deploys: Vec::new(),
        order_round: 0,
        ordered: None,
        settled: Vec::new(),
        settling: Vec::new(),
        config,
    }
}
