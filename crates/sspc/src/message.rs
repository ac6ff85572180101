//! What two parties say to each other.

use alloy_primitives::B256;

use crate::amount::{Amount, Round};
use crate::params::{ChannelId, Params, Place};
use crate::record::{SignedClose, SignedState};

/// A message about one channel.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// a proposes a channel.
    Propose {
        /// The contract.
        place: Place,
        /// Who, how much.
        params: Params,
        /// Chain's time until which the proposal may be opened and accepted.
        expires: u64,
    },
    /// a has opened; the contract's name of the channel.
    Opened(ChannelId),
    /// A payment.
    Pay {
        /// The newer state.
        signed: SignedState,
        /// How much of the receiver's payments it contains.
        counted: Amount,
    },
    /// What the sender has of the receiver's payments.
    Ack {
        /// This much.
        counted: Amount,
        /// The newest round that the sender knows.
        round: Round,
    },
    /// The sender signed a close, which the receiver may submit.
    CloseOffer(SignedClose),
    /// A message was not taken; why, for people.
    Reject(String),
}

/// A message with the channel's name ([`crate::Record::key`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Envelope {
    /// Which channel.
    pub channel: B256,
    /// What about it.
    pub message: Message,
}
