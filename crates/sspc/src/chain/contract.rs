//! The two contracts' calls and events, on any [`Chain`].

use alloy_primitives::{Address, B256, U256};
use alloy_sol_types::{SolCall, SolEvent as _, sol};
use channel_contract_evm::{Phase as Number, Sspc, SspcCompact, compact, sspc};

use super::{Chain, ChainError, Log, PAYOUT_GAS, Request};
use crate::amount::{Amount, Party, Round};
use crate::fees::Urgency;
use crate::params::{ChannelId, Params, Place, Variant};
use crate::record::{Call, Closing, Phase, Prepared, Record};
use crate::step::OnChain;
use crate::typed::Signable;

sol! {
    #[allow(missing_docs)]
    interface Token {
        function allowance(address owner, address spender) external view returns (uint256);
        function approve(address spender, uint256 amount) external returns (bool);
    }
}

const NO_CHANNEL: ChainError = ChainError::Answer("not a channel of the contract");

/// A channel of a contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The contract.
    pub place: Place,
    /// What was agreed.
    pub params: Params,
    /// Its name, once it has one.
    pub id: Option<ChannelId>,
    /// First block that can hold an event of it.
    pub since_block: u64,
    /// It has been open.
    pub was_open: bool,
}

impl From<&Record> for Target {
    fn from(record: &Record) -> Self {
        let was_open = !matches!(record.phase, Phase::Draft | Phase::Proposed | Phase::Cancelled);
        Self { place: record.place, params: record.params, id: record.id, since_block: record.since_block, was_open }
    }
}

/// The code that makes a contract, whose channels have a period within the bounds (seconds).
#[must_use]
pub fn deploy_code(variant: Variant, shortest_period: u32, longest_period: u32) -> Vec<u8> {
    match variant {
        Variant::Word => sspc::creation_code(shortest_period, longest_period),
        Variant::Compact => compact::creation_code(shortest_period, longest_period),
    }
}

/// A transaction that deploys a contract.
///
/// # Errors
/// The node.
pub async fn deploy(chain: &dyn Chain, variant: Variant, periods: (u32, u32)) -> Result<Prepared, ChainError> {
    let data = deploy_code(variant, periods.0, periods.1).into();
    chain.prepare(Request { to: None, value: U256::ZERO, data, spare_gas: 0, urgency: Urgency::Calm }).await
}

/// The transaction of a call.
pub(crate) async fn request(chain: &dyn Chain, target: &Target, call: &Call, urgency: Urgency) -> Result<Request, ChainError> {
    let (place, params) = (&target.place, &target.params);
    let deposit = match call {
        Call::Open => params.value_a,
        Call::Accept => params.value_b,
        _ => Amount::ZERO,
    };
    let value = if params.token.is_zero() { U256::from(deposit.get()) } else { U256::ZERO };
    let (to, data) = match (call, place.variant) {
        (Call::Approve(amount), _) => {
            let amount = U256::from(amount.get());
            (params.token, Token::approveCall { spender: place.contract, amount }.abi_encode())
        }
        (Call::Withdraw(to), variant) => (place.contract, withdraw(variant, params.token, *to)),
        (call, Variant::Word) => (place.contract, word_call(params, call)),
        (call, Variant::Compact) => (place.contract, compact_call(chain, target, call).await?),
    };
    let spare_gas = match call {
        Call::CooperativeClose(_) | Call::Dispute(_) | Call::Finish | Call::Cancel => PAYOUT_GAS,
        Call::Open | Call::Accept | Call::Challenge(_) | Call::Approve(_) | Call::Withdraw(_) => 0,
    };
    Ok(Request { to: Some(to), value, data: data.into(), spare_gas, urgency })
}

fn word_params(params: &Params) -> sspc::Params {
    sspc::Params {
        a: params.a,
        b: params.b,
        token: params.token,
        valueA: params.value_a.get(),
        valueB: params.value_b.get(),
        period: params.period,
        salt: params.salt,
    }
}

fn word_call(params: &Params, call: &Call) -> Vec<u8> {
    let p = word_params(params);
    match call {
        Call::Open => Sspc::openCall { p }.abi_encode(),
        Call::Accept => Sspc::acceptCall { p }.abi_encode(),
        Call::Cancel => Sspc::cancelCall { p }.abi_encode(),
        Call::Finish => Sspc::forceCloseCall { p }.abi_encode(),
        Call::CooperativeClose(close) => {
            let (balance_a, r, vs) = (close.balances.a.get(), close.signature.r(), close.signature.vs());
            Sspc::cooperativeCloseCall { p, balanceA: balance_a, r, vs }.abi_encode()
        }
        Call::Challenge(held) => {
            let (round, balance_a, r, vs) = submitted(params, held.as_ref());
            Sspc::challengeCall { p, balanceA: balance_a, round: round_type(round), r, vs }.abi_encode()
        }
        Call::Dispute(held) => {
            let (round, balance_a, r, vs) = submitted(params, Some(held));
            Sspc::disputeChallengeCall { p, balanceA: balance_a, round: round_type(round), r, vs }.abi_encode()
        }
        Call::Approve(_) | Call::Withdraw(_) => unreachable!("not about a channel"),
    }
}

fn round_type(round: u64) -> alloy_primitives::aliases::U48 {
    alloy_primitives::aliases::U48::from(round)
}

/// The words of a state; of the opening when there is none.
fn submitted(params: &Params, held: Option<&crate::record::SignedState>) -> (u64, u128, B256, B256) {
    held.map_or((0, params.value_a.get(), B256::ZERO, B256::ZERO), |held| {
        (held.state.round.get(), held.state.balances.a.get(), held.signature.r(), held.signature.vs())
    })
}

async fn compact_call(chain: &dyn Chain, target: &Target, call: &Call) -> Result<Vec<u8>, ChainError> {
    let params = &target.params;
    if *call == Call::Open {
        return compact_open(chain, target).await;
    }
    let Some(ChannelId::Compact(id)) = target.id else { return Err(ChainError::Answer("the channel has no name yet")) };
    Ok(match call {
        Call::Open => unreachable!("handled above"),
        Call::Accept => SspcCompact::acceptCall { id }.abi_encode(),
        Call::Cancel => SspcCompact::cancelCall { id }.abi_encode(),
        Call::Finish => SspcCompact::forceCloseCall { id }.abi_encode(),
        Call::CooperativeClose(close) => {
            let packed = compact::pack_close(id, close.balances.a.get());
            SspcCompact::cooperativeCloseCall { close: packed, r: close.signature.r(), vs: close.signature.vs() }.abi_encode()
        }
        Call::Challenge(held) => {
            let (round, balance_a, r, vs) = submitted(params, held.as_ref());
            SspcCompact::challengeCall { state: compact::pack_state(id, round, balance_a), r, vs }.abi_encode()
        }
        Call::Dispute(held) => {
            let (round, balance_a, r, vs) = submitted(params, Some(held));
            SspcCompact::disputeChallengeCall { state: compact::pack_state(id, round, balance_a), r, vs }.abi_encode()
        }
        Call::Approve(_) | Call::Withdraw(_) => unreachable!("not about a channel"),
    })
}

async fn compact_open(chain: &dyn Chain, target: &Target) -> Result<Vec<u8>, ChainError> {
    let params = &target.params;
    if params.token.is_zero() {
        let terms = compact::pack_terms(0, params.period, params.b);
        return Ok(SspcCompact::openCall { terms, valueB: params.value_b.get() }.abi_encode());
    }
    let head = chain.head().await?.number;
    let index = read(chain, target.place.contract, &SspcCompact::tokenIndexCall { token: params.token }, head).await?;
    if index == 0 {
        return Err(ChainError::Reverted("the token is not registered: call registerToken once".to_owned()));
    }
    let terms = compact::pack_terms(index, params.period, params.b);
    let values = compact::pack_values(params.value_a.get(), params.value_b.get());
    Ok(SspcCompact::openTokenCall { terms, values }.abi_encode())
}

async fn read<C: SolCall>(chain: &dyn Chain, to: Address, call: &C, block: u64) -> Result<C::Return, ChainError> {
    let answer = chain.call(to, call.abi_encode().into(), block).await?;
    C::abi_decode_returns(&answer).map_err(|_| ChainError::Answer("not what the call returns"))
}

/// Whether the contract at the place is one of ours: what it signs for is what we sign for. Money that is sent to another one is gone.
pub(crate) async fn check(chain: &dyn Chain, place: &Place) -> Result<(), ChainError> {
    let head = chain.head().await?.number;
    let separator = match place.variant {
        Variant::Word => read(chain, place.contract, &Sspc::domainSeparatorCall {}, head).await,
        Variant::Compact => read(chain, place.contract, &SspcCompact::domainSeparatorCall {}, head).await,
    };
    let ours = Signable::new(*place, ChannelId::Compact(0), Address::ZERO, Address::ZERO).separator();
    match separator {
        Ok(separator) if separator == ours => Ok(()),
        Err(ChainError::Node(error)) => Err(ChainError::Node(error)),
        _ => Err(ChainError::OtherTerms("contract")),
    }
}

/// The channel as the contract shows it at `block`. Of `SspcCompact` all terms are compared; of `Sspc` the name is their hash.
pub(crate) async fn look(chain: &dyn Chain, target: &Target, block: u64) -> Result<OnChain, ChainError> {
    let Some(id) = target.id else { return Ok(OnChain::Absent) };
    let call = match id {
        ChannelId::Word(id) => Sspc::channelsCall { id }.abi_encode(),
        ChannelId::Compact(id) => SspcCompact::channelsCall { id }.abi_encode(),
    };
    let answer = chain.call(target.place.contract, call.into(), block).await?;
    if answer.is_empty() {
        // The contract is younger than the block.
        return Ok(OnChain::Absent);
    }
    let (phase, deadline, round, balance_a) = match id {
        ChannelId::Word(_) => {
            let seen = Sspc::channelsCall::abi_decode_returns(&answer).map_err(|_| NO_CHANNEL)?;
            (seen.phase, seen.deadline.to::<u64>(), seen.round.to::<u64>(), seen.balanceA)
        }
        ChannelId::Compact(_) => {
            let seen = SspcCompact::channelsCall::abi_decode_returns(&answer).map_err(|_| NO_CHANNEL)?;
            if Number::from_number(seen.phase) != Some(Number::None) {
                compare(chain, target, &seen, block).await?;
            }
            (seen.phase, seen.deadline.to::<u64>(), seen.round.to::<u64>(), seen.balanceA)
        }
    };
    let closing = |by| {
        let round = Round::new(round).ok_or(ChainError::Answer("round"))?;
        Ok(OnChain::Closing(Closing { by, round, balance_a: Amount::new(balance_a), deadline }))
    };
    match Number::from_number(phase).ok_or(ChainError::Answer("phase"))? {
        Number::Proposed => Ok(OnChain::Proposed),
        Number::Open => Ok(OnChain::Open),
        Number::ClosingByA => closing(Party::A),
        Number::ClosingByB => closing(Party::B),
        // The compact contract forgets what it has closed: only its events tell.
        Number::None if target.place.variant == Variant::Word => Ok(OnChain::Absent),
        Number::None | Number::Closed => ended(chain, target, id, block).await,
    }
}

async fn compare(chain: &dyn Chain, target: &Target, seen: &SspcCompact::channelsReturn, block: u64) -> Result<(), ChainError> {
    let params = &target.params;
    let token = if seen.token == 0 {
        Address::ZERO
    } else {
        read(chain, target.place.contract, &SspcCompact::tokensCall { index: seen.token }, block).await?
    };
    let total = Amount::new(seen.balanceA).plus(Amount::new(seen.balanceB));
    let at_opening = matches!(Number::from_number(seen.phase), Some(Number::Proposed | Number::Open));
    let checks = [
        (seen.a == params.a, "party a"),
        (seen.b == params.b, "party b"),
        (seen.period == params.period, "period"),
        (token == params.token, "token"),
        (total == Some(params.total()), "total"),
        (!at_opening || seen.balanceA == params.value_a.get(), "deposit"),
    ];
    checks.iter().find(|(equal, _)| !equal).map_or(Ok(()), |(_, what)| Err(ChainError::OtherTerms(what)))
}

/// Blocks whose events are asked for at once: many nodes refuse to look through more.
const LOGS_BLOCKS: u64 = 2_000;
/// How often: a node that lies about its newest block must not keep us asking.
const LOGS_QUESTIONS: usize = 500;

/// How a channel ended, by its events, the newest first; a channel without b's deposit can only have been cancelled.
async fn ended(chain: &dyn Chain, target: &Target, id: ChannelId, block: u64) -> Result<OnChain, ChainError> {
    let is = |log: &Log, word: B256, compact: B256| {
        let wanted = if target.place.variant == Variant::Word { word } else { compact };
        log.topics.first() == Some(&wanted)
    };
    let (mut closed, mut accepted) = (None, target.was_open || target.params.value_b.is_zero());
    let mut to = block;
    for asked in 0.. {
        if to < target.since_block || (closed.is_some() && accepted) {
            break;
        }
        if asked >= LOGS_QUESTIONS {
            return Err(ChainError::Answer("no end of the channel in the newest million blocks"));
        }
        let from = to.saturating_sub(LOGS_BLOCKS - 1).max(target.since_block);
        let logs = chain.logs(target.place.contract, &[None, Some(id.topic())], from, to).await?;
        accepted |= logs.iter().any(|log| is(log, Sspc::Accepted::SIGNATURE_HASH, SspcCompact::Accepted::SIGNATURE_HASH));
        let found = logs.into_iter().rev().find(|log| is(log, Sspc::Closed::SIGNATURE_HASH, SspcCompact::Closed::SIGNATURE_HASH));
        closed = closed.or(found);
        let Some(before) = from.checked_sub(1) else { break };
        to = before;
    }
    let Some(closed) = closed else { return Ok(OnChain::Absent) };
    let balance = closed.data.get(16..32).and_then(|bytes| bytes.try_into().ok()).map(u128::from_be_bytes);
    let balance = Amount::new(balance.ok_or(ChainError::Answer("event Closed"))?);
    if target.params.total().minus(balance).is_none() {
        return Err(ChainError::Answer("event Closed"));
    }
    Ok(if accepted { OnChain::Closed(balance) } else { OnChain::Cancelled })
}

/// The name that `SspcCompact` gave in a transaction of ours.
pub(crate) fn find(target: &Target, logs: &[Log]) -> Option<ChannelId> {
    let log = logs
        .iter()
        .find(|log| log.address == target.place.contract && log.topics.first() == Some(&SspcCompact::Opened::SIGNATURE_HASH))?;
    let number = log.topics.get(1)?;
    Some(ChannelId::Compact(u64::from_be_bytes(number[24..].try_into().ok()?)))
}

/// The approval that a deposit in a token needs next, when there is not enough. First down to nothing where there is some: there are tokens
/// that refuse to change one amount into another.
pub(crate) async fn approval(chain: &dyn Chain, target: &Target, deposit: Amount) -> Result<Option<Amount>, ChainError> {
    let (token, spender) = (target.params.token, target.place.contract);
    if token.is_zero() || deposit.is_zero() {
        return Ok(None);
    }
    let head = chain.head().await?.number;
    let allowed = read(chain, token, &Token::allowanceCall { owner: chain.account(), spender }, head).await?;
    let missing = allowed < U256::from(deposit.get());
    Ok(missing.then_some(if allowed.is_zero() { deposit } else { Amount::ZERO }))
}

/// What the contract owes the account because a payout failed.
pub(crate) async fn credit(chain: &dyn Chain, place: &Place, token: Address) -> Result<U256, ChainError> {
    let head = chain.head().await?.number;
    let owner = chain.account();
    match place.variant {
        Variant::Word => read(chain, place.contract, &Sspc::creditsCall { owner, token }, head).await,
        Variant::Compact => read(chain, place.contract, &SspcCompact::creditsCall { owner, token }, head).await,
    }
}

/// Pulls what the contract owes the account.
fn withdraw(variant: Variant, token: Address, to: Address) -> Vec<u8> {
    match variant {
        Variant::Word => Sspc::withdrawCall { token, to }.abi_encode(),
        Variant::Compact => SspcCompact::withdrawCall { token, to }.abi_encode(),
    }
}
