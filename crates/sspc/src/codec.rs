//! Messages and records as bytes (`proto/sspc.proto`). Decoding is total: whatever the bytes, a value or [`Malformed`].

use std::sync::Arc;

use alloy_primitives::{Address, B256};
use prost::Message as _;

use crate::amount::{Amount, Party, Round};
use crate::message::{Envelope, Message};
use crate::params::{ChannelId, Params, Place, Variant};
use crate::record::{
    Call, Closing, MAX_RAISES, MAX_REQUESTS, PaidRequest, Pending, Phase, Prepared, Record, SignedClose, SignedState,
};
use crate::signature::Signature;
use crate::typed::{Balances, State};

#[allow(missing_docs, dead_code, clippy::all)] // The core alone has no streams.
mod proto {
    include!(concat!(env!("OUT_DIR"), "/sspc.v2.rs"));
}

/// Longest message that is read. The longest that is sent, a rejection, is shorter.
pub const MAX_MESSAGE_BYTES: usize = 1024;
/// Longest reason in a rejection.
pub const MAX_REASON_BYTES: usize = 512;
/// Longest record that is read.
pub const MAX_RECORD_BYTES: usize = 64 * 1024;

/// Bytes that are no message or record; which field is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(&'static str);

type Read<T> = Result<T, Malformed>;

fn fixed<const N: usize>(bytes: &[u8], what: &'static str) -> Read<[u8; N]> {
    bytes.try_into().map_err(|_| Malformed(what))
}

fn amount(bytes: &[u8], what: &'static str) -> Read<Amount> {
    Ok(Amount::new(u128::from_be_bytes(fixed(bytes, what)?)))
}

/// An amount that older records do not have.
fn later(bytes: &[u8], what: &'static str) -> Read<Amount> {
    if bytes.is_empty() { Ok(Amount::ZERO) } else { amount(bytes, what) }
}

fn address(bytes: &[u8], what: &'static str) -> Read<Address> {
    Ok(Address::from(fixed::<20>(bytes, what)?))
}

fn hash(bytes: &[u8], what: &'static str) -> Read<B256> {
    Ok(B256::from(fixed::<32>(bytes, what)?))
}

fn round(number: u64) -> Read<Round> {
    Round::new(number).ok_or(Malformed("round"))
}

fn party(is_b: bool) -> Party {
    if is_b { Party::B } else { Party::A }
}

fn put(amount: Amount) -> Vec<u8> {
    amount.get().to_be_bytes().to_vec()
}

impl Envelope {
    /// As it stands on the stream, without the length.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        use proto::envelope::Body;
        let body = match &self.message {
            Message::Propose { place, params, expires } => {
                Body::Propose(proto::Proposal { expires: *expires, ..put_proposal(place, params) })
            }
            Message::Opened(id) => Body::Opened(put_id(id)),
            Message::Pay { signed, counted } => {
                Body::Pay(proto::Payment { state: Some(put_state(signed)), counted: put(*counted) })
            }
            Message::Ack { counted, round } => Body::Ack(proto::Ack { counted: put(*counted), round: round.get() }),
            Message::CloseOffer(close) => Body::CloseOffer(put_close(close)),
            Message::Reject(reason) => {
                let end = reason.floor_char_boundary(MAX_REASON_BYTES);
                Body::Reject(reason[..end].to_owned())
            }
        };
        proto::Envelope { channel: self.channel.to_vec(), body: Some(body) }.encode_to_vec()
    }

    /// Reads a message.
    ///
    /// # Errors
    /// Too long, or not a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        use proto::envelope::Body;
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(Malformed("length"));
        }
        let envelope = proto::Envelope::decode(bytes).map_err(|_| Malformed("envelope"))?;
        let message = match envelope.body.ok_or(Malformed("body"))? {
            Body::Propose(proposal) => {
                let (place, params) = get_proposal(&proposal)?;
                Message::Propose { place, params, expires: proposal.expires }
            }
            Body::Opened(id) => Message::Opened(get_id(&id)?),
            Body::Pay(payment) => Message::Pay {
                signed: get_state(payment.state.as_ref().ok_or(Malformed("payment"))?)?,
                counted: amount(&payment.counted, "counted")?,
            },
            Body::Ack(ack) => Message::Ack { counted: amount(&ack.counted, "ack")?, round: round(ack.round)? },
            Body::CloseOffer(close) => Message::CloseOffer(get_close(&close)?),
            Body::Reject(reason) => Message::Reject(reason),
        };
        Ok(Self { channel: hash(&envelope.channel, "channel")?, message })
    }
}

impl Record {
    /// As it is kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        proto::Record {
            version: self.version,
            proposal: Some(proto::Proposal { expires: self.expires, ..put_proposal(&self.place, &self.params) }),
            is_b: self.role == Party::B,
            id: self.id.as_ref().map(put_id),
            since_block: self.since_block,
            phase: Some(put_phase(&self.phase)),
            paid: put(self.paid),
            received: put(self.received),
            included: put(self.included),
            acknowledged: put(self.acknowledged),
            reached: self.reached.get(),
            given: self.given.as_ref().map(put_state),
            held: self.held.as_ref().map(put_state),
            offer: self.offer.as_ref().map(put_close),
            pending: self.pending.as_ref().map(put_pending),
            deposit_signed: self.deposit_signed,
            fees: put(self.fees),
            requests: put_requests(&self.requests),
        }
        .encode_to_vec()
    }

    /// Reads a record.
    ///
    /// # Errors
    /// Not a record.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(Malformed("length"));
        }
        let record = proto::Record::decode(bytes).map_err(|_| Malformed("record"))?;
        let proposal = record.proposal.as_ref().ok_or(Malformed("proposal"))?;
        let (place, params) = get_proposal(proposal)?;
        params.validate().map_err(|_| Malformed("params"))?;
        Ok(Self {
            version: record.version,
            place,
            params,
            role: party(record.is_b),
            id: record.id.as_ref().map(get_id).transpose()?,
            since_block: record.since_block,
            expires: proposal.expires,
            phase: get_phase(record.phase.as_ref().ok_or(Malformed("phase"))?, &params)?,
            paid: amount(&record.paid, "paid")?,
            received: amount(&record.received, "received")?,
            included: amount(&record.included, "included")?,
            acknowledged: amount(&record.acknowledged, "acknowledged")?,
            reached: round(record.reached)?,
            given: record.given.as_ref().map(get_state).transpose()?,
            held: record.held.as_ref().map(get_state).transpose()?,
            offer: record.offer.as_ref().map(get_close).transpose()?,
            pending: record.pending.as_ref().map(get_pending).transpose()?,
            deposit_signed: record.deposit_signed,
            fees: later(&record.fees, "fees")?,
            requests: Arc::new(get_requests(&record.requests)?),
        })
    }
}

/// The first message on a stream whose ends prove their accounts.
#[cfg(feature = "client")]
pub(crate) struct Hello {
    pub account: Address,
    pub signature: Signature,
}

#[cfg(feature = "client")]
impl Hello {
    pub fn encode(&self) -> Vec<u8> {
        proto::Hello { account: self.account.to_vec(), signature: self.signature.as_bytes().to_vec() }.encode_to_vec()
    }

    pub fn decode(bytes: &[u8]) -> Read<Self> {
        let hello = proto::Hello::decode(bytes).map_err(|_| Malformed("hello"))?;
        let signature = Signature::from_bytes(fixed(&hello.signature, "signature")?);
        Ok(Self { account: address(&hello.account, "account")?, signature })
    }
}

fn put_requests(requests: &[PaidRequest]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(requests.len() * 32);
    for PaidRequest { id, amount } in requests {
        bytes.extend_from_slice(id);
        bytes.extend_from_slice(&amount.get().to_be_bytes());
    }
    bytes
}

fn get_requests(bytes: &[u8]) -> Read<Vec<PaidRequest>> {
    let (requests, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || requests.len() > MAX_REQUESTS {
        return Err(Malformed("requests"));
    }
    requests
        .iter()
        .map(|both| Ok(PaidRequest { id: fixed(&both[..16], "requests")?, amount: amount(&both[16..], "requests")? }))
        .collect()
}

fn put_proposal(place: &Place, params: &Params) -> proto::Proposal {
    proto::Proposal {
        place: Some(proto::Place {
            chain_id: place.chain_id,
            contract: place.contract.to_vec(),
            compact: place.variant == Variant::Compact,
        }),
        params: Some(proto::Params {
            a: params.a.to_vec(),
            b: params.b.to_vec(),
            token: params.token.to_vec(),
            value_a: put(params.value_a),
            value_b: put(params.value_b),
            period: params.period,
            salt: params.salt,
        }),
        expires: 0,
    }
}

fn get_proposal(proposal: &proto::Proposal) -> Read<(Place, Params)> {
    let place = proposal.place.as_ref().ok_or(Malformed("place"))?;
    let params = proposal.params.as_ref().ok_or(Malformed("params"))?;
    let variant = if place.compact { Variant::Compact } else { Variant::Word };
    let place = Place { chain_id: place.chain_id, contract: address(&place.contract, "contract")?, variant };
    let params = Params {
        a: address(&params.a, "a")?,
        b: address(&params.b, "b")?,
        token: address(&params.token, "token")?,
        value_a: amount(&params.value_a, "value_a")?,
        value_b: amount(&params.value_b, "value_b")?,
        period: params.period,
        salt: params.salt,
    };
    Ok((place, params))
}

fn put_id(id: &ChannelId) -> proto::ChannelId {
    use proto::channel_id::Id;
    let id = match id {
        ChannelId::Word(hash) => Id::Word(hash.to_vec()),
        ChannelId::Compact(number) => Id::Compact(*number),
    };
    proto::ChannelId { id: Some(id) }
}

fn get_id(id: &proto::ChannelId) -> Read<ChannelId> {
    use proto::channel_id::Id;
    match id.id.as_ref().ok_or(Malformed("id"))? {
        Id::Word(bytes) => Ok(ChannelId::Word(hash(bytes, "id")?)),
        Id::Compact(number) => Ok(ChannelId::Compact(*number)),
    }
}

fn put_state(signed: &SignedState) -> proto::State {
    let State { round, balances } = signed.state;
    proto::State {
        round: round.get(),
        balance_a: put(balances.a),
        balance_b: put(balances.b),
        signature: signed.signature.as_bytes().to_vec(),
    }
}

fn get_state(state: &proto::State) -> Read<SignedState> {
    let balances = Balances { a: amount(&state.balance_a, "balance_a")?, b: amount(&state.balance_b, "balance_b")? };
    let signature = Signature::from_bytes(fixed(&state.signature, "signature")?);
    Ok(SignedState { state: State { round: round(state.round)?, balances }, signature })
}

fn put_close(close: &SignedClose) -> proto::Close {
    proto::Close {
        balance_a: put(close.balances.a),
        balance_b: put(close.balances.b),
        signature: close.signature.as_bytes().to_vec(),
    }
}

fn get_close(close: &proto::Close) -> Read<SignedClose> {
    let balances = Balances { a: amount(&close.balance_a, "balance_a")?, b: amount(&close.balance_b, "balance_b")? };
    Ok(SignedClose { balances, signature: Signature::from_bytes(fixed(&close.signature, "signature")?) })
}

fn put_phase(phase: &Phase) -> proto::Phase {
    use proto::phase::Phase as Kind;
    let nothing = proto::Nothing {};
    let kind = match phase {
        Phase::Draft => Kind::Draft(nothing),
        Phase::Proposed => Kind::Proposed(nothing),
        Phase::Open => Kind::Open(nothing),
        Phase::CloseSigned(close) => Kind::CloseSigned(put_close(close)),
        Phase::Leaving => Kind::Leaving(nothing),
        Phase::Closing(closing) => Kind::Closing(proto::Closing {
            by_b: closing.by == Party::B,
            round: closing.round.get(),
            balance_a: put(closing.balance_a),
            deadline: closing.deadline,
        }),
        Phase::Closed(balances) => Kind::Closed(put(balances.a)),
        Phase::Cancelled => Kind::Cancelled(nothing),
    };
    proto::Phase { phase: Some(kind) }
}

fn get_phase(phase: &proto::Phase, params: &Params) -> Read<Phase> {
    use proto::phase::Phase as Kind;
    Ok(match phase.phase.as_ref().ok_or(Malformed("phase"))? {
        Kind::Draft(_) => Phase::Draft,
        Kind::Proposed(_) => Phase::Proposed,
        Kind::Open(_) => Phase::Open,
        Kind::CloseSigned(close) => Phase::CloseSigned(get_close(close)?),
        Kind::Leaving(_) => Phase::Leaving,
        Kind::Closing(closing) => Phase::Closing(Closing {
            by: party(closing.by_b),
            round: round(closing.round)?,
            balance_a: amount(&closing.balance_a, "balance_a")?,
            deadline: closing.deadline,
        }),
        Kind::Closed(bytes) => {
            let a = amount(bytes, "closed")?;
            Phase::Closed(Balances { a, b: params.total().minus(a).ok_or(Malformed("closed"))? })
        }
        Kind::Cancelled(_) => Phase::Cancelled,
    })
}

fn put_pending(pending: &Pending) -> proto::Pending {
    use proto::pending::Call as Kind;
    let nothing = proto::Nothing {};
    let call = match &pending.call {
        Call::Open => Kind::Open(nothing),
        Call::Accept => Kind::Accept(nothing),
        Call::Cancel => Kind::Cancel(nothing),
        Call::CooperativeClose(close) => Kind::CooperativeClose(put_close(close)),
        Call::Challenge(None) => Kind::ChallengeOpening(nothing),
        Call::Challenge(Some(signed)) => Kind::Challenge(put_state(signed)),
        Call::Dispute(signed) => Kind::Dispute(put_state(signed)),
        Call::Finish => Kind::Finish(nothing),
        Call::Approve(amount) => Kind::Approve(put(*amount)),
        Call::Withdraw(to) => Kind::Withdraw(to.to_vec()),
    };
    let Prepared { hash, raw, cost } = &pending.transaction;
    let earlier = pending.earlier.concat();
    proto::Pending { call: Some(call), hash: hash.to_vec(), raw: raw.clone(), cost: put(*cost), since: pending.since, earlier }
}

fn get_pending(pending: &proto::Pending) -> Read<Pending> {
    use proto::pending::Call as Kind;
    let call = match pending.call.as_ref().ok_or(Malformed("call"))? {
        Kind::Open(_) => Call::Open,
        Kind::Accept(_) => Call::Accept,
        Kind::Cancel(_) => Call::Cancel,
        Kind::CooperativeClose(close) => Call::CooperativeClose(get_close(close)?),
        Kind::ChallengeOpening(_) => Call::Challenge(None),
        Kind::Challenge(state) => Call::Challenge(Some(get_state(state)?)),
        Kind::Dispute(state) => Call::Dispute(get_state(state)?),
        Kind::Finish(_) => Call::Finish,
        Kind::Approve(bytes) => Call::Approve(amount(bytes, "approve")?),
        Kind::Withdraw(bytes) => Call::Withdraw(address(bytes, "withdraw")?),
    };
    let cost = later(&pending.cost, "cost")?;
    let transaction = Prepared { hash: hash(&pending.hash, "hash")?, raw: pending.raw.clone(), cost };
    let (earlier, rest) = pending.earlier.as_chunks::<32>();
    if !rest.is_empty() || earlier.len() > MAX_RAISES {
        return Err(Malformed("earlier"));
    }
    Ok(Pending { call, transaction, since: pending.since, earlier: earlier.iter().map(B256::from).collect() })
}
