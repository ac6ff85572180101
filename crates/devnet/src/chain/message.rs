use tycho_types::cell::CellSliceParts;
use tycho_types::models::{
    BaseMessage, CurrencyCollection, IntAddr, IntMsgInfo, Message as RawMessage, MsgInfo, OwnedMessage, StateInit, StdAddr,
};
use tycho_types::num::Tokens;
use tycho_types::prelude::*;

use super::Error;

/// An internal message to put on the chain by hand, see [`super::Chain::inject`].
#[derive(Debug, Clone)]
pub struct InternalMessage {
    /// The sender that the receiver sees. Bounces go there.
    pub src: StdAddr,
    /// The receiver.
    pub dst: StdAddr,
    /// Attached value, nano, and extra currencies.
    pub value: CurrencyCollection,
    /// Whether the value comes back when the receiver fails.
    pub bounce: bool,
    /// Deploys the receiver.
    pub init: Option<StateInit>,
    /// The body, written into its own cell.
    pub body: Cell,
}

impl InternalMessage {
    /// A bouncing message without state init, with an empty body.
    pub fn new(src: StdAddr, dst: StdAddr, nano: u128) -> Self {
        Self { src, dst, value: CurrencyCollection::new(nano), bounce: true, init: None, body: Cell::empty_cell() }
    }
    /// Sets the body.
    pub fn body(mut self, body: Cell) -> Self {
        self.body = body;
        self
    }
    /// Sets the state init.
    pub fn init(mut self, init: StateInit) -> Self {
        self.init = Some(init);
        self
    }
    /// Sets the bounce flag.
    pub fn bounce(mut self, bounce: bool) -> Self {
        self.bounce = bounce;
        self
    }

    pub(crate) fn build(self, created_lt: u64, created_at: u32) -> Result<Cell, Error> {
        let message: OwnedMessage = BaseMessage {
            info: MsgInfo::Int(IntMsgInfo {
                ihr_disabled: true,
                bounce: self.bounce,
                bounced: false,
                src: IntAddr::Std(self.src),
                dst: IntAddr::Std(self.dst),
                value: self.value,
                extra_flags: Default::default(),
                fwd_fee: Tokens::ZERO,
                created_lt,
                created_at,
            }),
            init: self.init,
            body: CellSliceParts::from(self.body),
            layout: None,
        };
        Ok(CellBuilder::build_from(&message)?)
    }
}

/// What kind of message it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MessageKind {
    /// From an account to an account.
    Internal,
    /// From outside to an account.
    ExternalIn,
    /// From an account to nobody on the chain: a log entry.
    ExternalOut,
}

/// A message of a transaction, parsed as far as tests and services look at it.
#[derive(Debug, Clone)]
pub struct Message {
    /// Internal or external.
    pub kind: MessageKind,
    /// Sender, absent on [`MessageKind::ExternalIn`].
    pub src: Option<StdAddr>,
    /// Receiver, absent on [`MessageKind::ExternalOut`].
    pub dst: Option<StdAddr>,
    /// Attached value, nano.
    pub value: u128,
    /// Attached value with extra currencies.
    pub currencies: CurrencyCollection,
    /// The part of the forwarding fee that the receiving side collects, nano.
    pub forward_fee: u128,
    /// Bounces on failure.
    pub bounce: bool,
    /// Is a bounce.
    pub bounced: bool,
    /// Logical time of creation; 0 on [`MessageKind::ExternalIn`].
    pub lt: u64,
    /// Whether it carries a state init.
    pub has_init: bool,
    /// The body as a cell of its own.
    pub body: Cell,
    /// The whole message.
    pub cell: Cell,
}

impl Message {
    /// Parses a message cell.
    pub fn parse(cell: &Cell) -> Result<Self, Error> {
        let raw = cell.parse::<RawMessage<'_>>()?;
        let mut message = Self {
            kind: MessageKind::ExternalIn,
            src: None,
            dst: None,
            value: 0,
            currencies: CurrencyCollection::ZERO,
            forward_fee: 0,
            bounce: false,
            bounced: false,
            lt: 0,
            has_init: raw.init.is_some(),
            body: CellBuilder::build_from(raw.body)?,
            cell: cell.clone(),
        };
        match raw.info {
            MsgInfo::Int(info) => {
                message.kind = MessageKind::Internal;
                message.src = Some(std_address(info.src)?);
                message.dst = Some(std_address(info.dst)?);
                message.value = info.value.tokens.into_inner();
                message.currencies = info.value;
                message.forward_fee = info.fwd_fee.into_inner();
                message.bounce = info.bounce;
                message.bounced = info.bounced;
                message.lt = info.created_lt;
            }
            MsgInfo::ExtIn(info) => message.dst = Some(std_address(info.dst)?),
            MsgInfo::ExtOut(info) => {
                message.kind = MessageKind::ExternalOut;
                message.src = Some(std_address(info.src)?);
                message.lt = info.created_lt;
            }
        }
        Ok(message)
    }
}

fn std_address(address: IntAddr) -> Result<StdAddr, Error> {
    match address {
        IntAddr::Std(address) if address.anycast.is_none() => Ok(address),
        _ => Err(Error::Message("only plain addresses are supported")),
    }
}
