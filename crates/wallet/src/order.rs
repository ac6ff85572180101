use tycho_types::models::{ExtInMsgInfo, IntAddr, MsgInfo, OwnedMessage};
use tycho_types::prelude::*;

use crate::{Error, Transfer, Wallet};

/// Messages in one order at most: what the contract's action list takes.
pub const MAX_TRANSFERS: usize = 255;

/// `"sign"`: an external message signed by the wallet's key.
const OP_SIGNED_EXTERNAL: u32 = 0x7369_676e;
const ACTION_SEND_MESSAGE: u32 = 0x0ec3_c86d;
/// Pay fees on top of the value, and skip a message that cannot be sent instead of failing all. The contract demands the second bit
/// of an external message.
const SEND_MODE: u8 = 3;

/// What the wallet's key signs: these transfers, once, at this seqno, until this second.
#[derive(Debug, Clone)]
pub struct Order {
    /// The wallet's seqno now; 0 when it is not deployed yet.
    pub seqno: u32,
    /// The last second (unix time) at which the contract takes it.
    pub valid_until: u32,
    /// The messages, sent in this order.
    pub transfers: Vec<Transfer>,
}

impl Order {
    /// The part of the body that is signed.
    pub fn body(&self, wallet: &Wallet) -> Result<Cell, Error> {
        if self.transfers.is_empty() || self.transfers.len() > MAX_TRANSFERS {
            return Err(Error::Transfers(self.transfers.len()));
        }
        let mut body = CellBuilder::new();
        body.store_u32(OP_SIGNED_EXTERNAL)?;
        body.store_u32(wallet.id() as u32)?;
        body.store_u32(self.valid_until)?;
        body.store_u32(self.seqno)?;
        body.store_bit_one()?;
        body.store_reference(self.actions()?)?;
        body.store_bit_zero()?; // no changes of extensions or of signature rights
        Ok(body.build()?)
    }

    /// The hash that the wallet's key signs with Ed25519.
    pub fn signing_hash(&self, wallet: &Wallet) -> Result<[u8; 32], Error> {
        Ok(self.body(wallet)?.repr_hash().0)
    }

    /// The external message: state init while the wallet is not deployed (seqno 0), the body, the signature behind it.
    pub fn external_message(&self, wallet: &Wallet, signature: &[u8; 64]) -> Result<Cell, Error> {
        let mut signed = CellBuilder::new();
        signed.store_slice(self.body(wallet)?.as_slice()?)?;
        signed.store_raw(signature, 512)?;
        Ok(CellBuilder::build_from(OwnedMessage {
            info: MsgInfo::ExtIn(ExtInMsgInfo {
                src: None,
                dst: IntAddr::Std(wallet.address().clone()),
                import_fee: Default::default(),
            }),
            init: (self.seqno == 0).then(|| wallet.init().clone()),
            body: signed.build()?.into(),
            layout: None,
        })?)
    }

    /// The out-action list: each entry refers to the one before it, the last is the root.
    fn actions(&self) -> Result<Cell, Error> {
        self.transfers.iter().try_fold(Cell::empty_cell(), |previous, transfer| {
            let mut action = CellBuilder::new();
            action.store_reference(previous)?;
            action.store_u32(ACTION_SEND_MESSAGE)?;
            action.store_u8(SEND_MODE)?;
            action.store_reference(transfer.message()?)?;
            Ok(action.build()?)
        })
    }
}
