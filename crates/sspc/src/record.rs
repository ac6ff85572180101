//! What a party keeps of a channel: the stored truth, from which everything is decided.

use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};

use crate::amount::{Amount, Party, Round};
use crate::params::{BadParams, ChannelId, Params, Place, Variant};
use crate::signature::Signature;
use crate::typed::{Balances, Payload, Signable, State};

/// A state with the signature of the party that signs its round.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedState {
    /// What is signed.
    pub state: State,
    /// By the round's signer.
    pub signature: Signature,
}

/// A division for a cooperative close, with the signature of one party.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SignedClose {
    /// Who gets what.
    pub balances: Balances,
    /// By one party; the other may submit it.
    pub signature: Signature,
}

/// A transaction that is signed and may be on its way. Kept before it is sent: after a crash the same bytes are sent again, so that no call
/// is made twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prepared {
    /// Its hash.
    pub hash: B256,
    /// The signed bytes, as the chain client made them.
    pub raw: Vec<u8>,
    /// The most that it can cost, in wei, its value aside.
    pub cost: Amount,
}

/// A call of the channel's contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Call {
    /// a deposits.
    Open,
    /// b deposits.
    Accept,
    /// a takes back a proposal that nobody accepted.
    Cancel,
    /// The peer's close is submitted: both are paid at once.
    CooperativeClose(SignedClose),
    /// A forced close begins, with the peer's newest state or with the opening (4.3.1, 4.3.3).
    Challenge(Option<SignedState>),
    /// The peer's stale close is answered: both are paid at once by the newer state (4.3.4).
    Dispute(SignedState),
    /// The time to answer is over: both are paid.
    Finish,
    /// The token is told that the contract may take this much.
    Approve(Amount),
    /// What the contract could not pay us is pulled, to this address.
    Withdraw(Address),
}

/// Transactions that a record remembers to have raised.
pub const MAX_RAISES: usize = 64;

/// A call on its way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pending {
    /// What it does.
    pub call: Call,
    /// Its bytes, with the newest offer.
    pub transaction: Prepared,
    /// Chain's time when it was made or last raised.
    pub since: u64,
    /// The same with lower offers: a block may still have one of these instead. At most [`MAX_RAISES`].
    pub earlier: Vec<B256>,
}

impl Pending {
    /// All transactions that can make the call; at most one of them will.
    pub fn hashes(&self) -> impl Iterator<Item = &B256> {
        std::iter::once(&self.transaction.hash).chain(&self.earlier)
    }
}

/// A forced close as the chain shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Closing {
    /// Who began it.
    pub by: Party,
    /// The round that was submitted.
    pub round: Round,
    /// What a would get.
    pub balance_a: Amount,
    /// Unix time after which anyone may finish.
    pub deadline: u64,
}

/// How far a channel is. Each survives a restart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Agreed between the two; nothing on the chain that we rely on.
    Draft,
    /// a has deposited, b has not.
    Proposed,
    /// Payments go.
    Open,
    /// We signed a close: nothing else is signed and no payment is taken (4.3.9).
    CloseSigned(SignedClose),
    /// We submitted a way out: nothing is signed and no payment is taken (4.3.9).
    Leaving,
    /// A forced close runs on the chain.
    Closing(Closing),
    /// Paid out.
    Closed(Balances),
    /// a took its proposal back.
    Cancelled,
}

impl Phase {
    /// Its name in errors and on the command line.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Proposed => "proposed",
            Self::Open => "open",
            Self::CloseSigned(_) => "close-signed",
            Self::Leaving => "leaving",
            Self::Closing(_) => "closing",
            Self::Closed(_) => "closed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Nothing is left to be done.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Closed(_) | Self::Cancelled)
    }
}

/// Requests that a record remembers; the oldest make room.
pub const MAX_REQUESTS: usize = 1_024;

/// Id of a request to pay, chosen by the caller: a UUID.
pub type RequestId = [u8; 16];

/// A payment that was made for a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaidRequest {
    /// The request.
    pub id: RequestId,
    /// What was paid.
    pub amount: Amount,
}

/// One party's record of one channel.
///
/// Balances follow from two counters that only grow: own balance = own deposit - `paid` + `received`. `included` is how much of `paid` the
/// peer's newest state contains; the rest was crossed by that state and is signed anew (4.3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Grows by one with each change that is kept.
    pub version: u64,
    /// The contract.
    pub place: Place,
    /// What was agreed.
    pub params: Params,
    /// Which of the two we are.
    pub role: Party,
    /// Name in the contract. In `SspcCompact` known when the channel is on the chain.
    pub id: Option<ChannelId>,
    /// First block that can hold an event of the channel.
    pub since_block: u64,
    /// Chain's time until which the proposal may be opened and accepted; 0: for ever.
    pub expires: u64,
    /// How far it is.
    pub phase: Phase,
    /// All that we have paid.
    pub paid: Amount,
    /// All that we were paid.
    pub received: Amount,
    /// How much of `paid` is in `held`.
    pub included: Amount,
    /// How much of `paid` the peer says it has. Never decides about money.
    pub acknowledged: Amount,
    /// The newest round that the peer says it knows, or has signed. Never decides about money.
    pub reached: Round,
    /// The newest state that we signed.
    pub given: Option<SignedState>,
    /// The newest state of the peer that we took.
    pub held: Option<SignedState>,
    /// The peer's close, which we may submit.
    pub offer: Option<SignedClose>,
    /// A transaction on its way.
    pub pending: Option<Pending>,
    /// We have signed a deposit, once: it may be on the chain whatever a node says, so the record is never forgotten.
    pub deposit_signed: bool,
    /// The most that all transactions so far can have cost, in wei, deposits aside.
    pub fees: Amount,
    /// The newest payments that were made for a request, oldest first: at most [`MAX_REQUESTS`]. Shared, since most changes leave them.
    pub requests: Arc<Vec<PaidRequest>>,
}

impl Record {
    /// A new channel, in [`Phase::Draft`].
    ///
    /// # Errors
    /// Parameters that the contracts refuse.
    pub fn new(place: Place, params: Params, role: Party, since_block: u64) -> Result<Self, BadParams> {
        params.validate()?;
        let id = (place.variant == Variant::Word).then(|| ChannelId::Word(params.hash()));
        Ok(Self {
            version: 0,
            place,
            params,
            role,
            id,
            since_block,
            expires: 0,
            phase: Phase::Draft,
            paid: Amount::ZERO,
            received: Amount::ZERO,
            included: Amount::ZERO,
            acknowledged: Amount::ZERO,
            reached: Round::OPENING,
            given: None,
            held: None,
            offer: None,
            pending: None,
            deposit_signed: false,
            fees: Amount::ZERO,
            requests: Arc::default(),
        })
    }

    /// What was paid for a request, if it is remembered.
    #[must_use]
    pub fn paid_for(&self, id: &RequestId) -> Option<Amount> {
        self.requests.iter().rev().find(|request| request.id == *id).map(|request| request.amount)
    }

    /// The requests with one more, without the oldest where there are too many.
    pub(crate) fn with_request(&self, request: PaidRequest) -> Arc<Vec<PaidRequest>> {
        let surplus = (self.requests.len() + 1).saturating_sub(MAX_REQUESTS);
        Arc::new(self.requests.iter().skip(surplus).copied().chain([request]).collect())
    }

    /// Name of the channel between the two parties and in their stores: known before the contract names it, different on each contract.
    #[must_use]
    pub fn key(&self) -> B256 {
        channel_key(&self.place, &self.params)
    }

    /// What the two sign, once the contract has named the channel.
    #[must_use]
    pub fn signable(&self) -> Option<Signable> {
        self.id.map(|id| Signable::new(self.place, id, self.params.a, self.params.b))
    }

    /// The newest state that either has signed, or the opening.
    #[must_use]
    pub fn current(&self) -> State {
        let newest = self.given.iter().chain(&self.held).map(|signed| signed.state).max_by_key(|state| state.round);
        newest.unwrap_or(self.opening())
    }

    /// Round 0: the deposits.
    #[must_use]
    pub fn opening(&self) -> State {
        State { round: Round::OPENING, balances: Balances { a: self.params.value_a, b: self.params.value_b } }
    }

    /// What we can still pay: own deposit + received - paid. Also what we end with at least, whatever the peer does.
    #[must_use]
    pub fn own_balance(&self) -> Amount {
        let funds = self.params.deposit(self.role).plus(self.received).unwrap_or(Amount::ZERO);
        funds.minus(self.paid).unwrap_or(Amount::ZERO)
    }

    /// What we paid and a crossing state of the peer does not contain: to be signed anew.
    #[must_use]
    pub fn crossed(&self) -> bool {
        self.paid > self.included && self.held.map(round) > self.given.map(round)
    }

    /// The state in which we own `own`, at our next round.
    pub(crate) fn next_state(&self, own: Amount) -> Option<State> {
        let round = self.current().round.next_of(self.role)?;
        let others = self.params.total().minus(own)?;
        let balances = match self.role {
            Party::A => Balances { a: own, b: others },
            Party::B => Balances { a: others, b: own },
        };
        Some(State { round, balances })
    }

    /// What must be signed again after a crossing.
    #[must_use]
    pub fn rebased(&self) -> Option<Payload> {
        let may_sign = self.phase == Phase::Open && self.crossed();
        may_sign.then(|| self.next_state(self.own_balance()).map(Payload::State)).flatten()
    }

    /// The round that the peer's newest state gives us to submit; the opening when there is none.
    #[must_use]
    pub fn held_round(&self) -> Round {
        self.held.map_or(Round::OPENING, round)
    }
}

fn round(signed: SignedState) -> Round {
    signed.state.round
}

impl Balances {
    /// Of a party.
    #[must_use]
    pub fn of(&self, party: Party) -> Amount {
        match party {
            Party::A => self.a,
            Party::B => self.b,
        }
    }
}

/// See [`Record::key`].
#[must_use]
pub fn channel_key(place: &Place, params: &Params) -> B256 {
    let mut bytes = [0; 61];
    bytes[..8].copy_from_slice(&place.chain_id.to_be_bytes());
    bytes[8..28].copy_from_slice(place.contract.as_slice());
    bytes[28] = match place.variant {
        Variant::Word => 1,
        Variant::Compact => 2,
    };
    bytes[29..].copy_from_slice(params.hash().as_slice());
    keccak256(bytes)
}
