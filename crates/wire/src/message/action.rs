//! What can be proposed or requested (payments 1.3, 4.5, 4.7).

use tl::{Error, Object, Reader};
use ton::Cell;

use super::InstructionContainer;
use super::codec::{choice, object};

object! {
    /// Moves the proposer's seqno by one and nothing else.
    IncrementStates = "payments.incrementStatesAction wantResponse:Bool = payments.Action" {
        /// Whether the responder shall increment its own state too.
        want_response: bool,
    }
}
object! {
    /// Adds a conditional and hands over the route.
    OpenVirtual = "payments.openVirtualAction channel_key:int256 instruction_key:int256 instructions:payments.instructionsToSign signature:bytes = payments.Action" {
        /// The virtual channel's public key.
        channel_key: [u8; 32],
        /// The public key for this hop's instruction.
        instruction_key: [u8; 32],
        /// The same list on every hop (payments 5.3).
        instructions: Vec<InstructionContainer>,
        /// By the virtual key over the boxed [`InstructionsToSign`](super::InstructionsToSign).
        signature: [u8; 64],
    }
}
object! {
    /// Turns part of a conditional into unconditional money (payments 5.9).
    CommitVirtual = "payments.commitVirtualAction key:int256 prepayAmount:bytes = payments.Action" {
        /// The virtual channel.
        key: [u8; 32],
        /// The new prepay, nano.
        prepay_amount: u128,
    }
}
object! {
    /// Pays a conditional and removes it.
    ConfirmClose = "payments.confirmCloseAction key:int256 state:bytes = payments.Action" {
        /// The virtual channel.
        key: [u8; 32],
        /// The resolution's cell.
        state: Cell,
    }
}
object! {
    /// Asks the payer to pay a conditional.
    CloseVirtual = "payments.closeVirtualAction key:int256 state:bytes = payments.Action" {
        /// The virtual channel.
        key: [u8; 32],
        /// The resolution's cell.
        state: Cell,
    }
}
object! {
    /// Removes a conditional without paying.
    RemoveVirtual = "payments.removeVirtualAction key:int256 = payments.Action" {
        /// The virtual channel.
        key: [u8; 32],
    }
}
object! {
    /// Asks the payer to remove a conditional.
    RequestRemoveVirtual = "payments.requestRemoveVirtualAction key:int256 = payments.Action" {
        /// The virtual channel.
        key: [u8; 32],
    }
}
object! {
    /// Rents capacity of the responder (payments 6.4).
    RentCapacity = "payments.rentCapacityAction till:long amount:bytes = payments.Action" {
        /// Until when, unix seconds.
        till: i64,
        /// The whole rented amount, nano.
        amount: u128,
    }
}
object! {
    /// Asks for a signature below a cooperative close.
    CooperativeClose = "payments.cooperativeCloseAction signedCloseRequest:bytes = payments.Action" {
        /// The contract's message, the responder's signature zero (payments 7.7).
        signed_close_request: Cell,
    }
}
object! {
    /// Asks for a signature below a cooperative commit, or proposes that the responder sends it.
    CooperativeCommit = "payments.cooperativeCommitAction signedCommitRequest:bytes = payments.Action" {
        /// The contract's message, the responder's signature zero (payments 7.7).
        signed_commit_request: Cell,
    }
}

choice! {
    /// Any action.
    Action {
        /// See [`IncrementStates`].
        IncrementStates,
        /// See [`OpenVirtual`].
        OpenVirtual,
        /// See [`CommitVirtual`].
        CommitVirtual,
        /// See [`ConfirmClose`].
        ConfirmClose,
        /// See [`CloseVirtual`].
        CloseVirtual,
        /// See [`RemoveVirtual`].
        RemoveVirtual,
        /// See [`RequestRemoveVirtual`].
        RequestRemoveVirtual,
        /// See [`RentCapacity`].
        RentCapacity,
        /// See [`CooperativeClose`].
        CooperativeClose,
        /// See [`CooperativeCommit`].
        CooperativeCommit,
    }
}

impl Action {
    /// The boxed bytes.
    pub fn to_boxed(&self) -> Vec<u8> {
        let mut w = tl::Writer::new();
        self.write_boxed(&mut w);
        w.into_bytes()
    }

    /// Reads a boxed action of the list allowed in `proposeAction` (payments 1.3).
    pub fn read_proposed(r: &mut Reader<'_>) -> Result<Self, Error> {
        Self::read_allowed(r, |action| !matches!(action, Self::RequestRemoveVirtual(_) | Self::CooperativeClose(_)))
    }

    /// Reads a boxed action of the list allowed in `requestAction` (payments 1.3).
    pub fn read_requested(r: &mut Reader<'_>) -> Result<Self, Error> {
        Self::read_allowed(r, |action| {
            !matches!(action, Self::IncrementStates(_) | Self::OpenVirtual(_) | Self::CommitVirtual(_) | Self::RentCapacity(_))
        })
    }

    /// Parses the boxed bytes of any action, such as a stored one.
    pub fn from_boxed(bytes: &[u8]) -> Result<Self, Error> {
        let mut r = Reader::new(bytes);
        let action = Self::read_any(&mut r, "action")?;
        r.end()?;
        Ok(action)
    }

    fn read_allowed(r: &mut Reader<'_>, allowed: impl Fn(&Self) -> bool) -> Result<Self, Error> {
        let action = Self::read_any(r, "action")?;
        if allowed(&action) { Ok(action) } else { Err(Error::UnknownConstructor { field: "action", id: action.id() }) }
    }
}

/// The key of the virtual channel that an action is about.
impl Action {
    /// `None` for actions about the channel as a whole.
    pub fn virtual_key(&self) -> Option<&[u8; 32]> {
        match self {
            Self::OpenVirtual(a) => Some(&a.channel_key),
            Self::CommitVirtual(a) => Some(&a.key),
            Self::ConfirmClose(a) => Some(&a.key),
            Self::CloseVirtual(a) => Some(&a.key),
            Self::RemoveVirtual(a) => Some(&a.key),
            Self::RequestRemoveVirtual(a) => Some(&a.key),
            Self::IncrementStates(_) | Self::RentCapacity(_) | Self::CooperativeClose(_) | Self::CooperativeCommit(_) => None,
        }
    }
}

impl OpenVirtual {
    /// What [`signature`](Self::signature) covers: the boxed `instructionsToSign`.
    pub fn bytes_to_sign(instructions: &[InstructionContainer]) -> Vec<u8> {
        super::InstructionsToSign { list: instructions.to_vec() }.to_boxed()
    }
}
