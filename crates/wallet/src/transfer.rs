use tycho_types::cell::CellSliceParts;
use tycho_types::models::{CurrencyCollection, OwnedRelaxedMessage, RelaxedIntMsgInfo, RelaxedMsgInfo, StateInit, StdAddr};
use tycho_types::num::Tokens;
use tycho_types::prelude::*;

use crate::Error;

/// One message that the wallet sends.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// The receiver.
    pub to: StdAddr,
    /// Attached value, nano, and extra currencies. Fees are paid on top.
    pub value: CurrencyCollection,
    /// Whether the value comes back when the receiver fails.
    pub bounce: bool,
    /// Deploys the receiver.
    pub init: Option<StateInit>,
    /// The body, written into its own cell.
    pub body: Cell,
}

impl Transfer {
    /// A bouncing transfer without state init, with an empty body.
    pub fn new(to: StdAddr, nano: u128) -> Self {
        Self { to, value: CurrencyCollection::new(nano), bounce: true, init: None, body: Cell::empty_cell() }
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

    /// The message cell, with the fields that the chain fills in left empty.
    pub fn message(&self) -> Result<Cell, Error> {
        Ok(CellBuilder::build_from(OwnedRelaxedMessage {
            info: RelaxedMsgInfo::Int(RelaxedIntMsgInfo {
                ihr_disabled: true,
                bounce: self.bounce,
                bounced: false,
                src: None,
                dst: self.to.clone().into(),
                value: self.value.clone(),
                extra_flags: Default::default(),
                fwd_fee: Tokens::ZERO,
                created_lt: 0,
                created_at: 0,
            }),
            init: self.init.clone(),
            body: CellSliceParts::from(self.body.clone()),
            layout: None,
        })?)
    }
}
