//! Checks of single transactions of a block and of lists of them, by proofs of the block (network 6.3). Pure functions.

use tycho_types::models::{BlockId, CurrencyCollection, StdAddr, Transaction};
use tycho_types::prelude::*;

use crate::check::{decode_roots, holds};
use crate::partial::{PartialAccount, PartialBlock};
use crate::{AccountTransaction, BlockTransactions, BlockTransactionsExt, Error, ListTransactions, TransactionInfo};

/// Which transaction of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedTransaction {
    /// The account's address within the workchain.
    pub account: HashBytes,
    /// Logical time.
    pub lt: u64,
    /// Hash.
    pub hash: HashBytes,
}

/// A part of a block's transactions, in the order of accounts and logical times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    /// Those that come next, without gaps.
    pub transactions: Vec<T>,
    /// More may follow. When not, it is proven that none do.
    pub incomplete: bool,
}

type Accounts = Dict<HashBytes, (CurrencyCollection, PartialAccount)>;
type Transactions = Dict<u64, (CurrencyCollection, Cell)>;

/// The transaction of an account at a logical time in a block; none when it is proven that there is none.
pub fn check_transaction(
    id: &BlockId,
    address: &StdAddr,
    lt: u64,
    answer: &TransactionInfo,
) -> Result<Option<AccountTransaction>, Error> {
    if answer.id != *id || !holds(id, address) {
        return Err(Error::Unproven("another block"));
    }
    let accounts = accounts(id, &answer.proof)?;
    let found = match accounts.get(address.address)? {
        Some((_, block)) => transactions(&address.address, block)?.get(lt)?,
        None => None,
    };
    match found {
        None if answer.transaction.is_empty() => Ok(None),
        None => Err(Error::Unproven("the block does not have the transaction")),
        Some((_, proven)) => {
            let cell = Boc::decode(&answer.transaction)?;
            if *cell.repr_hash() != *proven.repr_hash() {
                return Err(Error::Unproven("hash of the transaction"));
            }
            whole(address.workchain, cell).map(Some)
        }
    }
}

/// The ids of a block's transactions.
pub fn check_block_transactions(
    asked: &ListTransactions,
    answer: &BlockTransactions,
) -> Result<Listed<ListedTransaction>, Error> {
    let ids = answer.ids.iter().map(|id| match (id.account, id.lt, id.hash) {
        (Some(account), Some(lt), Some(hash)) => Ok(ListedTransaction { account, lt, hash }),
        _ => Err(Error::Unproven("a transaction without account, logical time or hash")),
    });
    let transactions = ids.collect::<Result<Vec<_>, _>>()?;
    check_list(asked, &answer.id, answer.incomplete, &answer.proof, &transactions)?;
    Ok(Listed { transactions, incomplete: answer.incomplete })
}

/// A block's transactions themselves.
pub fn check_block_transactions_ext(
    asked: &ListTransactions,
    answer: &BlockTransactionsExt,
) -> Result<Listed<AccountTransaction>, Error> {
    let workchain = i8::try_from(asked.id.shard.workchain()).map_err(|_| Error::Unproven("workchain"))?;
    let cells = match answer.transactions.is_empty() {
        true => Vec::new(),
        false => decode_roots(&answer.transactions, 0, asked.count as usize)?,
    };
    let transactions = cells.into_iter().map(|cell| whole(workchain, cell)).collect::<Result<Vec<_>, _>>()?;
    let listed = |t: &AccountTransaction| ListedTransaction { account: t.address.address, lt: t.transaction.lt, hash: t.hash };
    let ids: Vec<_> = transactions.iter().map(listed).collect();
    check_list(asked, &answer.id, answer.incomplete, &answer.proof, &ids)?;
    Ok(Listed { transactions, incomplete: answer.incomplete })
}

/// The list must be what the proven block has next, and the end where it claims to be.
fn check_list(
    asked: &ListTransactions,
    id: &BlockId,
    incomplete: bool,
    proof: &[u8],
    list: &[ListedTransaction],
) -> Result<(), Error> {
    if *id != asked.id {
        return Err(Error::Unproven("another block"));
    }
    if list.len() > asked.count as usize || (incomplete && list.is_empty()) {
        return Err(Error::Unproven("number of transactions"));
    }
    let accounts = accounts(id, proof)?;
    let mut at = asked.after;
    for listed in list {
        if next(&accounts, at, asked.reverse)? != Some(*listed) {
            return Err(Error::Unproven("the block has another transaction there"));
        }
        at = Some((listed.account, listed.lt));
    }
    match incomplete || next(&accounts, at, asked.reverse)?.is_none() {
        true => Ok(()),
        false => Err(Error::Unproven("the block has more transactions")),
    }
}

/// The next transaction behind an account and logical time. Looks only where a server that lists them has to look.
fn next(accounts: &Accounts, after: Option<(HashBytes, u64)>, reverse: bool) -> Result<Option<ListedTransaction>, Error> {
    let mut entry = match (after, reverse) {
        (None, false) => accounts.get_min(false)?,
        (None, true) => accounts.get_max(false)?,
        (Some((account, _)), false) => accounts.get_or_next(account, false)?,
        (Some((account, _)), true) => accounts.get_or_prev(account, false)?,
    };
    while let Some((account, (_, block))) = entry {
        let transactions = transactions(&account, block)?;
        let after = after.filter(|(known, _)| *known == account).map(|(_, lt)| lt);
        let found = match (after, reverse) {
            (None, false) => transactions.get_min(false)?,
            (None, true) => transactions.get_max(false)?,
            (Some(lt), false) => transactions.get_next(lt, false)?,
            (Some(lt), true) => transactions.get_prev(lt, false)?,
        };
        if let Some((lt, (_, transaction))) = found {
            return Ok(Some(ListedTransaction { account, lt, hash: *transaction.repr_hash() }));
        }
        entry = match reverse {
            false => accounts.get_next(account, false)?,
            true => accounts.get_prev(account, false)?,
        };
    }
    Ok(None)
}

fn accounts(id: &BlockId, proof: &[u8]) -> Result<Accounts, Error> {
    Ok(PartialBlock::new(Boc::decode(proof)?, &id.root_hash)?.accounts()?.into_parts().0)
}

fn transactions(account: &HashBytes, block: PartialAccount) -> Result<Transactions, Error> {
    match block.account == *account {
        true => Ok(block.transactions.into_parts().0),
        false => Err(Error::Unproven("account of an account block")),
    }
}

fn whole(workchain: i8, cell: Cell) -> Result<AccountTransaction, Error> {
    let transaction = cell.parse::<Transaction>()?;
    Ok(AccountTransaction { address: StdAddr::new(workchain, transaction.account), hash: *cell.repr_hash(), transaction, cell })
}
