use std::sync::OnceLock;

use tonlib_core::cell::BagOfCells;
use tonlib_core::wallet::version_helper::VersionHelper;
use tonlib_core::wallet::wallet_version::WalletVersion;
use tycho_types::models::{StateInit, StdAddr};
use tycho_types::prelude::*;

use crate::Error;

/// The wallet id of the first wallet of a key in the basechain: the network's global id mixed with the context (client context,
/// workchain 0, version 0, subwallet 0).
pub fn wallet_id(global_id: i32) -> i32 {
    const CLIENT_CONTEXT: i32 = i32::MIN;
    global_id ^ CLIENT_CONTEXT
}

/// A V5R1 wallet contract: one public key on one network.
#[derive(Debug, Clone)]
pub struct Wallet {
    id: i32,
    address: StdAddr,
    init: StateInit,
}

impl Wallet {
    /// The wallet of an Ed25519 public key with the given [`wallet_id`].
    pub fn new(public_key: &[u8; 32], id: i32) -> Result<Self, Error> {
        let init = StateInit {
            split_depth: None,
            special: None,
            code: Some(code()?),
            data: Some(data(public_key, id)?),
            libraries: Dict::new(),
        };
        let address = StdAddr::new(0, *CellBuilder::build_from(&init)?.repr_hash());
        Ok(Self { id, address, init })
    }

    /// Its address in the basechain.
    pub fn address(&self) -> &StdAddr {
        &self.address
    }
    /// Its wallet id.
    pub fn id(&self) -> i32 {
        self.id
    }
    /// What deploys it; goes with the first message.
    pub fn init(&self) -> &StateInit {
        &self.init
    }
}

/// The contract's code as the wallet library carries it.
fn code() -> Result<Cell, Error> {
    static CODE: OnceLock<Cell> = OnceLock::new();
    if let Some(code) = CODE.get() {
        return Ok(code.clone());
    }
    let bundled = VersionHelper::get_code(WalletVersion::V5R1).map_err(|e| Error::Code(e.to_string()))?;
    let boc = BagOfCells::new(std::slice::from_ref(bundled)).serialize(false).map_err(|e| Error::Code(e.to_string()))?;
    let code = Boc::decode(boc).map_err(|e| Error::Code(e.to_string()))?;
    Ok(CODE.get_or_init(|| code).clone())
}

/// The contract's first data: signatures allowed, seqno 0, wallet id, public key, no extensions.
fn data(public_key: &[u8; 32], id: i32) -> Result<Cell, Error> {
    let mut data = CellBuilder::new();
    data.store_bit_one()?;
    data.store_u32(0)?;
    data.store_u32(id as u32)?;
    data.store_u256(&HashBytes(*public_key))?;
    data.store_bit_zero()?;
    Ok(data.build()?)
}
