//! The lite servers as the indexer uses them: questions in parallel, and the walk back through an account's past.

use std::sync::Arc;

use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use liteapi::{AccountTransaction, Client, Error};
use tycho_types::models::{StdAddr, Transaction};
use tycho_types::prelude::*;

/// Transactions asked for at once.
const PAGE: u32 = 16;
/// Questions to the lite servers at once.
const PARALLEL: usize = 8;

/// Searches an account's transactions backwards from the one with this logical time and hash, until one is wanted or one is too old.
pub async fn find(
    client: &Client,
    address: &StdAddr,
    (mut lt, mut hash): (u64, HashBytes),
    too_old: impl Fn(&Transaction) -> bool,
    mut wanted: impl FnMut(&Transaction) -> bool,
) -> Result<Option<AccountTransaction>, Error> {
    while lt > 0 {
        let page = match client.transactions(address, lt, hash, PAGE).await {
            // Some servers list on behind the first transaction of an account that was made anew: one by one the chain has an end.
            Err(Error::Unproven(_)) => client.transactions(address, lt, hash, 1).await?,
            answer => answer?,
        };
        for found in page {
            if too_old(&found.transaction) {
                return Ok(None);
            }
            if wanted(&found.transaction) {
                return Ok(Some(found));
            }
            (lt, hash) = (found.transaction.prev_trans_lt, found.transaction.prev_trans_hash);
        }
    }
    Ok(None)
}

/// Asks about several things at once; the answers are in the order of the questions.
pub async fn ask_all<I, T, F>(client: &Arc<Client>, items: Vec<I>, ask: impl Fn(Arc<Client>, I) -> F) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    stream::iter(items).map(|item| ask(client.clone(), item)).buffered(PARALLEL).try_collect().await
}
