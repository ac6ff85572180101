//! Two parties on a simulated chain, for tests and demonstrations: everything is real but the chain and the stream.

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::{Address, B256, Bytes, U256, hex, keccak256};

use crate::amount::{Amount, Party};
use crate::chain::{Chain, ChainError, Request, SimulatedChain, Simulation, deploy};
use crate::channel::{Channel, Error, NewChannel, Settings, Tools};
use crate::fees::Urgency;
use crate::message::Message;
use crate::params::{Params, Place, Variant};
use crate::signature::LocalKey;
use crate::store::{MemoryStore, Store as _};

/// An ordinary ERC-20, that mints for whoever asks.
const TOKEN: &str = include_str!("../../../contracts/evm/artifacts/test-contracts/Token.hex");
const CHAIN_ID: u64 = 31_337;
/// The chain is in this process: asking costs nothing.
const POLL: Duration = Duration::from_millis(2);

/// What a stage is set with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Set {
    /// Which contract.
    pub variant: Variant,
    /// In a token; otherwise in the native coin.
    pub token: bool,
    /// What each has.
    pub funds: u128,
    /// What each will deposit.
    pub deposits: (u128, u128),
    /// Seconds to answer a forced close.
    pub period: u32,
    /// Blocks on top of one before it is relied on; a block comes with each transaction and with [`Simulation::pass`].
    pub confirmations: u64,
}

impl Set {
    /// A million for each, of which 10,000 and 8,000 are deposited; an hour to answer; the newest block is relied on.
    #[must_use]
    pub const fn new(variant: Variant, token: bool) -> Self {
        Self { variant, token, funds: 1_000_000, deposits: (10_000, 8_000), period: 3_600, confirmations: 0 }
    }
}

/// The two, with a contract and a proposal.
pub struct Stage {
    /// The chain; lets time pass.
    pub chain: Simulation,
    /// Who proposed.
    pub a: Channel,
    /// Who accepts.
    pub b: Channel,
    tools: [Tools; 2],
    token: Option<Address>,
}

impl Stage {
    /// Deploys the contract (and the token) and makes a proposal that b knows.
    ///
    /// # Errors
    /// Deposits or a period that the contract refuses.
    pub async fn new(set: Set) -> Result<Self, Error> {
        let chain = Simulation::new(CHAIN_ID);
        let deployer = chain.account(Address::repeat_byte(1), U256::from(set.funds));
        let transaction = deploy(&deployer, set.variant, (60, 86_400)).await?;
        let contract = created(&chain, &deployer, &transaction).await?;
        let keys = [[11; 32], [22; 32]].map(|bytes| LocalKey::from_bytes(&bytes).unwrap_or_else(|_| unreachable!("fixed keys")));
        let accounts = [keys[0].address(), keys[1].address()];
        let token = match set.token {
            true => Some(make_token(&chain, &deployer, contract, &set, accounts).await?),
            false => None,
        };
        let settings = Settings { confirmations: set.confirmations, poll: POLL, ..Settings::default() };
        let tools = keys.map(|key| Tools {
            store: Arc::new(MemoryStore::default()),
            chain: Arc::new(chain.account(key.address(), U256::from(set.funds))),
            signer: Arc::new(key),
            settings,
        });
        let params = Params {
            a: accounts[0],
            b: accounts[1],
            token: token.unwrap_or_default(),
            value_a: Amount::new(set.deposits.0),
            value_b: Amount::new(set.deposits.1),
            period: set.period,
            salt: 1,
        };
        let place = Place { chain_id: CHAIN_ID, contract, variant: set.variant };
        let mut a = Channel::new_channel(tools[0].clone(), NewChannel::Propose { place, params }).await?;
        let mut letters = a.take_outbox();
        letters.retain(|letter| matches!(letter.message, Message::Propose { .. }));
        let proposal = letters.pop().ok_or(Error::NotOurs)?;
        let b = Channel::new_channel(tools[1].clone(), NewChannel::FromProposal(proposal)).await?;
        Ok(Self { chain, a, b, tools, token })
    }

    /// As [`Self::new`], then open at both.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub async fn open(set: Set) -> Result<Self, Error> {
        let mut stage = Self::new(set).await?;
        stage.a.open().await?;
        stage.exchange().await?;
        stage.b.accept().await?;
        stage.a.watch().await?;
        Ok(stage)
    }

    /// Messages flow until there is none.
    ///
    /// # Errors
    /// A party refuses what the other said.
    pub async fn exchange(&mut self) -> Result<(), Error> {
        loop {
            let (to_b, to_a) = (self.a.take_outbox(), self.b.take_outbox());
            if to_a.is_empty() && to_b.is_empty() {
                return Ok(());
            }
            self.b.handle(&to_b).await?;
            self.a.handle(&to_a).await?;
        }
    }

    /// One pays the other.
    ///
    /// # Errors
    /// The payer has not enough, or the channel is not open.
    pub async fn pay(&mut self, from: Party, units: u128) -> Result<(), Error> {
        let channel = if from == Party::A { &mut self.a } else { &mut self.b };
        channel.send_money(Amount::new(units)).await?;
        self.exchange().await
    }

    /// What a party works with.
    #[must_use]
    pub fn tools(&self, party: Party) -> Tools {
        self.tools[usize::from(party == Party::B)].clone()
    }

    /// A party after a restart: what it kept.
    ///
    /// # Errors
    /// None on this chain.
    pub async fn again(&self, party: Party) -> Result<Channel, Error> {
        let channel = if party == Party::A { &self.a } else { &self.b };
        Channel::new_channel(self.tools(party), NewChannel::Load(channel.record().key())).await
    }

    /// A party that has lost all that it was paid and has signed: it closes with the opening, as a liar would.
    ///
    /// # Errors
    /// None on this chain.
    pub async fn liar(&self, party: Party) -> Result<Channel, Error> {
        let channel = if party == Party::A { &self.a } else { &self.b };
        let mut record = channel.record().clone();
        (record.held, record.given) = (None, None);
        let store = MemoryStore::default();
        store.commit(None, &record).await?;
        let tools = Tools { store: Arc::new(store), ..self.tools(party) };
        Channel::new_channel(tools, NewChannel::Load(record.key())).await
    }

    /// What a party has outside the channel.
    ///
    /// # Errors
    /// None on this chain.
    pub async fn funds(&self, party: Party) -> Result<u128, Error> {
        self.funds_of(self.a.metadata().params.address(party)).await
    }

    /// What the contract holds.
    ///
    /// # Errors
    /// None on this chain.
    pub async fn locked(&self) -> Result<u128, Error> {
        self.funds_of(self.a.metadata().place.contract).await
    }

    async fn funds_of(&self, account: Address) -> Result<u128, Error> {
        let chain = &self.tools[0].chain;
        let funds = match self.token {
            None => chain.balance(account).await?,
            Some(token) => {
                let head = chain.head().await?.number;
                let answer = chain.call(token, calldata("balanceOf(address)", &[word(account)]), head).await?;
                U256::try_from_be_slice(&answer).ok_or(ChainError::Answer("balance"))?
            }
        };
        Ok(funds.try_into().map_err(|_| ChainError::Answer("balance"))?)
    }
}

fn word(account: Address) -> B256 {
    B256::left_padding_from(account.as_slice())
}

fn calldata(signature: &str, arguments: &[B256]) -> Bytes {
    let words = arguments.iter().flat_map(|argument| argument.0);
    keccak256(signature)[..4].iter().copied().chain(words).collect()
}

async fn created(chain: &Simulation, by: &SimulatedChain, transaction: &crate::Prepared) -> Result<Address, ChainError> {
    by.broadcast(transaction).await?;
    chain.created(&transaction.hash).ok_or(ChainError::Answer("no contract"))
}

/// A token of which each party has as much as of the native coin.
async fn make_token(
    chain: &Simulation,
    deployer: &SimulatedChain,
    contract: Address,
    set: &Set,
    accounts: [Address; 2],
) -> Result<Address, ChainError> {
    let code = hex::decode(TOKEN.trim()).map_err(|_| ChainError::Answer("the token's code"))?;
    let made = deployer
        .prepare(Request { to: None, value: U256::ZERO, data: code.into(), spare_gas: 0, urgency: Urgency::Calm })
        .await?;
    let token = created(chain, deployer, &made).await?;
    let funds = B256::from(U256::from(set.funds));
    let mut calls = accounts.map(|account| (token, calldata("mint(address,uint256)", &[word(account), funds]))).to_vec();
    if set.variant == Variant::Compact {
        calls.push((contract, calldata("registerToken(address)", &[word(token)])));
    }
    for (to, data) in calls {
        let transaction =
            deployer.prepare(Request { to: Some(to), value: U256::ZERO, data, spare_gas: 0, urgency: Urgency::Calm }).await?;
        deployer.broadcast(&transaction).await?;
    }
    Ok(token)
}
