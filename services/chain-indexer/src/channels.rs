//! Recognises channel contracts, anyone's, and turns transactions at the node's own ones into events for the engine.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use contract::{KnownCodes, Message, Side, Storage, op, verify_account};
use liteapi::{AccountTransaction, Client};
use protocol::{Address, ChainUpdate, Key, NewTask, Task};
use store::chain::{Account, Progress};
use tracing::{debug, warn};
use tycho_types::models::{AccountState, AccountStatus, BlockId, StdAddr};

use crate::effect;
use crate::lite::ask_all;
use crate::scanner::Stretch;

/// Accounts remembered as something else than a channel. Code that is not ours can never become ours at the same address (payments 7.1).
const MAX_STRANGERS: usize = 200_000;
/// Messages that change a channel: an account that takes one and is not known is looked at.
const CHANGES: [u32; 10] = [
    op::INIT,
    op::TOP_UP,
    op::COOPERATIVE_COMMIT,
    op::COOPERATIVE_CLOSE,
    op::START_UNCOOPERATIVE_CLOSE,
    op::CHALLENGE,
    op::SETTLE_CONDITIONALS,
    op::FINISH,
    op::JETTON_NOTIFICATION,
    op::TAKE_WALLET_ADDRESS,
];

/// Which accounts are channels, as far as seen.
pub struct Channels {
    codes: KnownCodes,
    /// The node.
    key: Key,
    known: HashSet<Address>,
    strangers: HashSet<Address>,
}

impl Channels {
    /// `known` are the channels that were seen before.
    pub fn new(codes: KnownCodes, key: Key, known: impl IntoIterator<Item = Address>) -> Self {
        Self { codes, key, known: known.into_iter().collect(), strangers: HashSet::new() }
    }

    /// How many channel contracts were seen.
    pub fn count(&self) -> usize {
        self.known.len()
    }

    /// Adds to `progress` what a stretch did to channels. Where the lite servers have dropped the state of the stretch, the state at `newest`
    /// is taken: what is newer than the event is true all the same.
    pub async fn read(
        &mut self,
        client: &Arc<Client>,
        stretch: &Stretch,
        newest: &BlockId,
        progress: &mut Progress,
    ) -> anyhow::Result<()> {
        let mut touched: BTreeMap<Address, Vec<&AccountTransaction>> = BTreeMap::new();
        for transaction in &stretch.transactions {
            touched.entry(transaction.address.address.0).or_default().push(transaction);
        }
        touched.retain(|address, transactions| self.may_be_channel(address, transactions));
        let (block, newest) = (stretch.head.id, *newest);
        let ask = move |client: Arc<Client>, address| async move { Ok(account_at(&client, &block, &newest, &address).await?) };
        let accounts = ask_all(client, touched.keys().copied().collect(), ask).await?;
        for ((address, transactions), account) in touched.into_iter().zip(accounts) {
            let Some(AccountState::Active(state)) = account.account.map(|account| account.state) else { continue };
            let (Some(code), Some(data)) = (state.code, state.data) else { continue };
            match verify_account(&self.codes, &code.repr_hash().0, &data, &ton::Address::basechain(address)) {
                Ok((kind, storage)) => self.record(address, kind.hash, storage, &transactions, progress),
                Err(reason) => self.note_stranger(address, reason),
            }
        }
        Ok(())
    }

    /// A channel contract is there from a message with its code on, and changes only by messages that it knows.
    fn may_be_channel(&self, address: &Address, transactions: &[&AccountTransaction]) -> bool {
        if self.known.contains(address) {
            return true;
        }
        let stranger = self.strangers.contains(address);
        transactions.iter().map(|t| &t.transaction).any(|t| {
            let deployed = t.end_status == AccountStatus::Active
                && effect::code_in_message(t).is_some_and(|hash| self.codes.by_hash(&hash).is_some());
            deployed || (!stranger && effect::operation(t).is_some_and(|op| CHANGES.contains(&op)))
        })
    }

    fn note_stranger(&mut self, address: Address, reason: contract::VerifyError) {
        debug!(account = %ton::Address::basechain(address), %reason, "not a channel");
        if self.strangers.len() >= MAX_STRANGERS {
            self.strangers.clear();
        }
        self.strangers.insert(address);
    }

    fn record(
        &mut self,
        address: Address,
        code_hash: [u8; 32],
        storage: Storage,
        transactions: &[&AccountTransaction],
        progress: &mut Progress,
    ) {
        let lt = transactions.iter().map(|t| t.transaction.lt).max().unwrap_or_default();
        self.known.insert(address);
        progress.accounts.push(Account { address, code_hash, lt, storage });
        let side = match self.key {
            key if key == storage.keys.a => Side::A,
            key if key == storage.keys.b => Side::B,
            _ => return,
        };
        let mut update = ChainUpdate { lt, storage, settled: Vec::new(), our_states: Vec::new() };
        for transaction in transactions {
            read_message(transaction, side, &mut update);
        }
        let id = format!("chain:{}:{lt}", hex::encode(address));
        progress.tasks.push(NewTask { id, channel: address, task: Task::Chain(Box::new(update)) });
    }
}

/// Takes out of a successful message what only messages show: the peer's resolutions (payments 8.3, 10.1.13) and our signatures (design 4.10).
fn read_message(transaction: &AccountTransaction, ours: Side, update: &mut ChainUpdate) {
    let operation = effect::operation(&transaction.transaction);
    let telling = [op::SETTLE_CONDITIONALS, op::START_UNCOOPERATIVE_CLOSE, op::CHALLENGE];
    if !operation.is_some_and(|op| telling.contains(&op)) || !effect::succeeded(&transaction.transaction) {
        return;
    }
    let Some(body) = effect::body(&transaction.transaction) else { return };
    let unread = |reason: ton::CellError| {
        warn!(account = %transaction.address, lt = transaction.transaction.lt, %reason, "a message that the contract took is not understood");
    };
    match Message::parse(body.as_ref()) {
        Ok(Message::SettleConditionals { from, part, .. }) if from == ours.other() => {
            match wire::conditionals::read_resolutions(part.resolutions.as_ref()) {
                Ok(resolutions) => update.settled.extend(resolutions),
                Err(reason) => unread(reason),
            }
        }
        Ok(Message::StartUncooperativeClose { part, .. }) => update.our_states.push(*part.states.get(ours)),
        Ok(Message::Challenge { part, .. }) => update.our_states.push(*part.states.get(ours)),
        Ok(_) => {}
        Err(reason) => unread(reason),
    }
}

async fn account_at(
    client: &Client,
    block: &BlockId,
    newest: &BlockId,
    address: &Address,
) -> Result<liteapi::Account, liteapi::Error> {
    let address = StdAddr::new(0, (*address).into());
    match client.account(block, &address).await {
        Err(error) if error.server_code().is_some() && block != newest => client.account(newest, &address).await,
        answer => answer,
    }
}
