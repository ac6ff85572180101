//! Between the wire and a step: queries become events, effects become messages once they are signed. The engine and the simulator both
//! use it, so what is simulated is what runs.

use contract::{CloseToSign, CommitToSign, Message, Pair};
use wire::{
    Instruction,
    message::{self, Action, Request},
    state::{Body, SignedState, State},
};

use crate::{
    Address, Key,
    step::{Answer, CallFailed, Event, Outgoing, Proposal, ReplyId, Response},
};

/// Something that the channel key must sign before it may leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToSign<'a> {
    /// A state of ours.
    State(&'a State),
    /// A cooperative close.
    Close(&'a CloseToSign),
    /// A cooperative commit.
    Commit(&'a CommitToSign),
}

/// The channel that a query is about, if it is about one.
pub fn channel_of(request: &Request) -> Option<Address> {
    match request {
        Request::ProposeAction(r) => Some(r.channel_addr),
        Request::RequestAction(r) => Some(r.channel_addr),
        Request::RequestChannelLock(r) => Some(r.channel),
        Request::IsChannelUnlocked(r) => Some(r.channel),
        Request::Ping(_) | Request::Authenticate(_) | Request::ProposeChannelConfig(_) | Request::OpenChannelOffchain(_) => None,
    }
}

/// Whose shared secret opens the instructions of this query: the instruction key of an openVirtual (payments 5.3).
pub fn instruction_key(request: &Request) -> Option<Key> {
    match request {
        Request::ProposeAction(message::ProposeAction { action: Action::OpenVirtual(a), .. }) => Some(a.instruction_key),
        _ => None,
    }
}

/// The event of a peer's query about a channel. `instruction` and `next_channel` as in [`Proposal`]. `Err`: the answer to a state that is
/// no state.
pub fn event(
    reply: ReplyId,
    request: Request,
    instruction: Option<Instruction>,
    next_channel: Option<Address>,
) -> Result<Event, Box<message::Answer>> {
    Ok(match request {
        Request::ProposeAction(r) => {
            let malformed = |_| Box::new(message::Answer::ProposalDecision(message::ProposalDecision::refuse("malformed state")));
            let state = SignedState::from_cell(r.state.as_ref()).map_err(malformed)?;
            let (lock_id, action, proof) = (r.lock_id, r.action, r.conditionals);
            Event::Proposal(Box::new(Proposal { reply, lock_id, action, state, proof, instruction, next_channel }))
        }
        Request::RequestAction(r) => Event::Request { reply, action: r.action },
        Request::RequestChannelLock(r) => Event::Lock { reply, id: r.lock_id, lock: r.lock },
        Request::IsChannelUnlocked(r) => Event::IsUnlocked { reply, id: r.lock_id },
        _ => return Err(Box::new(message::Answer::Decision(message::Decision::refuse("not about a channel")))),
    })
}

impl Outgoing {
    /// What must be signed before this may leave.
    pub fn to_sign(&self) -> Option<ToSign<'_>> {
        match self {
            Self::Propose { state, .. } => Some(ToSign::State(state)),
            Self::RequestClose(close) => Some(ToSign::Close(close)),
            Self::RequestCommit(commit) => Some(ToSign::Commit(commit)),
            Self::Lock { .. } | Self::IsUnlocked { .. } | Self::Request(_) => None,
        }
    }

    /// How long an answer is waited for, in milliseconds (payments 1.4).
    pub fn timeout_ms(&self) -> u32 {
        if matches!(self, Self::IsUnlocked { .. }) { 5_000 } else { 7_000 }
    }

    /// The body that is proposed: what the answer's counterparty copy should be.
    pub fn proposed(&self) -> Option<Body> {
        match self {
            Self::Propose { state, .. } => Some(state.body),
            _ => None,
        }
    }

    /// The message. `left`: whether we are side A. `signature` is over [`Outgoing::to_sign`].
    pub fn into_request(self, channel: Address, left: bool, signature: Option<[u8; 64]>) -> Request {
        let signature = signature.unwrap_or([0; 64]);
        match self {
            Self::Lock { id, lock } => Request::RequestChannelLock(message::RequestChannelLock { lock_id: id, channel, lock }),
            Self::IsUnlocked { id } => Request::IsChannelUnlocked(message::IsChannelUnlocked { lock_id: id, channel }),
            Self::Propose { lock_id, action, state, proof } => {
                let state = SignedState { signature, state }.to_cell();
                Request::ProposeAction(message::ProposeAction {
                    lock_id,
                    channel_addr: channel,
                    action,
                    state,
                    conditionals: proof,
                })
            }
            Self::Request(action) => Request::RequestAction(message::RequestAction { channel_addr: channel, action }),
            Self::RequestClose(to_sign) => {
                let cell = Message::CooperativeClose { signatures: half_signed(left, signature), part: to_sign }.to_cell();
                let action = Action::CooperativeClose(message::CooperativeClose { signed_close_request: cell });
                Request::RequestAction(message::RequestAction { channel_addr: channel, action })
            }
            Self::RequestCommit(to_sign) => {
                let cell = Message::CooperativeCommit { signatures: half_signed(left, signature), part: to_sign }.to_cell();
                let action = Action::CooperativeCommit(message::CooperativeCommit { signed_commit_request: cell });
                Request::RequestAction(message::RequestAction { channel_addr: channel, action })
            }
        }
    }
}

/// Own signature in place, the other one zero (payments 7.7).
fn half_signed(left: bool, signature: [u8; 64]) -> Pair<[u8; 64]> {
    if left { Pair { a: signature, b: [0; 64] } } else { Pair { a: [0; 64], b: signature } }
}

impl Response {
    /// What must be signed before this may leave.
    pub fn to_sign(&self) -> Option<ToSign<'_>> {
        match self {
            Self::Proposal { state, .. } => state.as_ref().map(ToSign::State),
            Self::SignClose(close) => Some(ToSign::Close(close)),
            Self::SignCommit(commit) => Some(ToSign::Commit(commit)),
            Self::Decision { .. } => None,
        }
    }

    /// The message. `signature` is over [`Response::to_sign`].
    pub fn into_answer(self, signature: Option<[u8; 64]>) -> message::Answer {
        let signed = signature.unwrap_or([0; 64]);
        match self {
            Self::Decision { agreed, reason } => message::Answer::Decision(message::Decision { agreed, reason, signature: None }),
            Self::Proposal { state, reason } => {
                let agreed = state.is_some();
                let signed_state = state.map(|state| SignedState { signature: signed, state }.to_cell());
                message::Answer::ProposalDecision(message::ProposalDecision { agreed, reason, signed_state })
            }
            Self::SignClose(_) | Self::SignCommit(_) => {
                message::Answer::Decision(message::Decision { agreed: true, reason: String::new(), signature: Some(signed) })
            }
        }
    }
}

/// Reads the peer's answer. `proposed` as given by [`Outgoing::proposed`]. Anything of another form is no answer at all (payments 10.2.2).
pub fn answer(proposed: Option<&Body>, bytes: &[u8]) -> Result<Answer, CallFailed> {
    let answer = message::Answer::from_boxed(bytes).map_err(|_| CallFailed::Malformed)?;
    match (answer, proposed) {
        (message::Answer::Decision(d), None) => {
            Ok(Answer::Decision { agreed: d.agreed, reason: d.reason, signature: d.signature })
        }
        (message::Answer::ProposalDecision(d), Some(body)) => {
            let state = match d.signed_state {
                None => None,
                Some(cell) => Some(SignedState::from_answer(cell.as_ref(), body).map_err(|_| CallFailed::Malformed)?),
            };
            Ok(Answer::Proposal { agreed: d.agreed, reason: d.reason, state })
        }
        _ => Err(CallFailed::Malformed),
    }
}
