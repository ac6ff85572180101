//! What two parties say to each other.

use alloy_primitives::B256;

use crate::amount::Amount;
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
    /// The sender has this much of the receiver's payments.
    Ack(Amount),
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
