//! The wallet's account, as a masterchain block shows it.

use anyhow::Context as _;
use liteapi::Client;
use tycho_types::models::{AccountState, BlockId, StdAddr};
use tycho_types::prelude::*;

/// The wallet at a block.
#[derive(Clone, Debug)]
pub struct WalletView {
    /// Nano.
    pub balance: u128,
    /// Of the next message; 0 before the deployment.
    pub seqno: u32,
    /// The last transaction: logical time and hash, zero when there is none.
    pub last: (u64, HashBytes),
    /// The shard block whose state this is.
    pub shard_block: BlockId,
}

/// Reads the wallet.
pub async fn look(client: &Client, at: &BlockId, wallet: &StdAddr) -> anyhow::Result<WalletView> {
    let found = client.account(at, wallet).await?;
    let last = (found.last_lt, found.last_hash);
    let (balance, seqno) = match found.account {
        None => (0, 0),
        Some(account) => {
            let seqno = match &account.state {
                AccountState::Active(state) => {
                    state.data.as_ref().and_then(seqno).context("the wallet's data is not a wallet's")?
                }
                _ => 0,
            };
            (account.balance.tokens.into_inner(), seqno)
        }
    };
    Ok(WalletView { balance, seqno, last, shard_block: found.shard_block })
}

/// The data of V5R1 begins with whether signatures are allowed, and the seqno.
fn seqno(data: &Cell) -> Option<u32> {
    let mut data = data.as_slice().ok()?;
    data.load_bit().ok()?;
    data.load_u32().ok()
}
