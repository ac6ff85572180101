//! A channel as its owner uses it: the twelve calls of SSPC, and `cancel`, `withdraw`, `watch`.
//!
//! It runs the state machine: does its effects in their order, keeps the record before anything leaves, and throws its memory away when it
//! does not know what is kept ([`Error::Reload`]: make the channel anew with [`Channel::load`]).
//! What is to be sent to the peer lies in the outbox ([`Channel::take_outbox`]); what comes from it goes to [`Channel::handle`].

mod calls;
mod errand;
mod guard;

pub use errand::{Errand, Goal};
pub use guard::{Lookout, View};

use std::sync::Arc;
use std::time::Duration;

use alloy_primitives::B256;

use crate::amount::{Amount, Party, Round};
use crate::chain::{Chain, ChainError, Target, request};
use crate::fees::Urgency;
use crate::message::{Envelope, Message};
use crate::params::{BadParams, ChannelId, Params, Place};
use crate::record::{Call, Phase, Prepared, Record, SignedState};
use crate::signature::Verifier;
use crate::signer::{SignError, Signer};
use crate::step::{Effect, Input, Proven, Refusal, Risk};
use crate::store::{Store, StoreError};
use crate::typed::Signable;

/// Why a call did nothing, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The rules forbid it; nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The chain. What was kept and sent stays; the call can be repeated.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The storage. The channel must be loaded again.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signer. Nothing has changed.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The parameters.
    #[error(transparent)]
    Params(#[from] BadParams),
    /// The store has no such channel.
    #[error("no such channel")]
    Unknown,
    /// The account of the chain or of the signer is not the party's.
    #[error("the account is not that of party {0}")]
    Account(Party),
    /// The chain is not the proposal's.
    #[error("the node is of chain {node}, the channel is on chain {channel}")]
    OtherChain {
        /// The node's.
        node: u64,
        /// The proposal's.
        channel: u64,
    },
    /// A signature that is not the peer's.
    #[error("the signature is not the peer's")]
    Forged,
    /// A message about another channel, or a proposal for others.
    #[error("the message is not for this channel")]
    NotOurs,
    /// Another transaction of the account took this one's place: the call can be repeated.
    #[error("the transaction was replaced by another one of the account")]
    Replaced,
    /// The transaction was mined and did nothing: the chain is not as it was when it was made.
    #[error("the contract refused the transaction")]
    Failed,
    /// The proposal's time was over when it came.
    #[error("the proposal was good until {0}")]
    Expired(u64),
    /// The chain has not got there in the configured time; the call can be repeated.
    #[error("still waiting for the chain")]
    Timeout,
    /// Another amount was paid for this request id.
    #[error("{0} was paid for this request")]
    RequestUsed(Amount),
    /// An error before left open what is kept: load the channel again.
    #[error("the channel must be loaded again")]
    Reload,
}

/// How a channel deals with the chain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Blocks on top of one before it is relied on.
    pub confirmations: u64,
    /// Between two looks at the chain.
    pub poll: Duration,
    /// Longest wait of one call.
    pub patience: Duration,
    /// How long a proposal of ours may be opened and accepted; and of a peer's at most.
    pub proposal_time: Duration,
    /// Most wei that all transactions of one channel may cost together, deposits aside, if each costs the most that it can.
    pub most_fees: Amount,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            confirmations: 3,
            poll: Duration::from_secs(2),
            patience: Duration::from_mins(5),
            proposal_time: Duration::from_hours(24),
            most_fees: Amount::new(2_000_000_000_000_000_000),
        }
    }
}

/// What a party works with: where it keeps its channels, its key, its node.
#[derive(Clone)]
pub struct Tools {
    /// Records.
    pub store: Arc<dyn Store>,
    /// Node.
    pub chain: Arc<dyn Chain>,
    /// Key.
    pub signer: Arc<dyn Signer>,
    /// How to deal with the chain.
    pub settings: Settings,
}

/// What identifies a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Metadata {
    /// Name between the parties and in their stores.
    pub key: B256,
    /// Name in the contract.
    pub id: Option<ChannelId>,
    /// The contract.
    pub place: Place,
    /// What was agreed.
    pub params: Params,
    /// Which of the two we are.
    pub role: Party,
}

/// What a channel is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NewChannel {
    /// We are a and propose.
    Propose {
        /// The contract.
        place: Place,
        /// Who, how much.
        params: Params,
    },
    /// We are b; the peer's [`Message::Propose`].
    FromProposal(Envelope),
    /// It is in the store.
    Load(B256),
}

/// What a payment of the peer did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Received {
    /// We were paid this much.
    Paid(Amount),
    /// Known already.
    Duplicate,
    /// It crossed a payment of ours with a higher round: the peer signs it anew.
    Crossed,
}

/// One channel of one party.
pub struct Channel {
    record: Record,
    kept: Option<u64>,
    tools: Tools,
    peer: Verifier,
    signable: Option<Signable>,
    outbox: Vec<Message>,
    alarms: Vec<Risk>,
    credited: Amount,
    reload: bool,
}

impl Channel {
    fn with(record: Record, kept: Option<u64>, tools: Tools) -> Result<Self, Error> {
        let own = record.params.address(record.role);
        if own != tools.chain.account() || own != tools.signer.address() {
            return Err(Error::Account(record.role));
        }
        let peer = Verifier::new(record.params.address(record.role.other()));
        let signable = record.signable();
        Ok(Self {
            record,
            kept,
            tools,
            peer,
            signable,
            outbox: Vec::new(),
            alarms: Vec::new(),
            credited: Amount::ZERO,
            reload: false,
        })
    }

    /// The record as it is kept.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// How far the channel is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.record.phase
    }

    /// Messages for the peer, in order. What is lost on the way is said again by [`Channel::greet`].
    pub fn take_outbox(&mut self) -> Vec<Envelope> {
        let channel = self.record.key();
        self.outbox.drain(..).map(|message| Envelope { channel, message }).collect()
    }

    /// What somebody should look at.
    pub fn take_alarms(&mut self) -> Vec<Risk> {
        std::mem::take(&mut self.alarms)
    }

    fn target(&self) -> Target {
        Target::from(&self.record)
    }

    /// Feeds inputs to the machine as one change: kept once, then whatever leaves leaves. An input that is refused ends the batch; what
    /// came before it counts.
    async fn run(&mut self, inputs: impl IntoIterator<Item = Input>) -> Result<(), Error> {
        self.usable()?;
        let mut change = Change { record: self.record.clone(), effects: Vec::new(), persist: false };
        let mut outcome = Ok(());
        for input in inputs {
            outcome = self.think(&mut change, input).await;
            if outcome.is_err() {
                break;
            }
        }
        self.act(change).await?;
        outcome
    }

    fn usable(&self) -> Result<(), Error> {
        if self.reload { Err(Error::Reload) } else { Ok(()) }
    }

    /// Steps until only effects are left that need the record to be kept.
    async fn think(&self, change: &mut Change, input: Input) -> Result<(), Error> {
        let mut next = Some(input);
        while let Some(input) = next.take() {
            let (record, effects) = change.record.step(input)?;
            change.record = record;
            for effect in effects {
                match effect {
                    Effect::Persist => change.persist = true,
                    Effect::Sign(payload) => {
                        let signable = self.signable.as_ref().ok_or(Error::Reload)?;
                        let signature = self.tools.signer.sign(signable, &payload).await?;
                        next = Some(Input::Signed(payload, signature));
                    }
                    Effect::Prepare(call) => next = Some(self.prepare(&change.record, call).await?),
                    Effect::Raise(transaction, urgency) => next = Some(self.raise(&change.record, transaction, urgency).await?),
                    other => change.effects.push(other),
                }
            }
        }
        Ok(())
    }

    async fn prepare(&self, record: &Record, call: Call) -> Result<Input, Error> {
        let chain = self.tools.chain.as_ref();
        let request = request(chain, &Target::from(record), &call, record.urgency(&call)).await?;
        let transaction = chain.prepare(request).await?;
        record.charge(transaction.cost, self.tools.settings.most_fees).map_err(ChainError::from)?;
        Ok(Input::Prepared(call, transaction, chain.head().await?.time))
    }

    async fn raise(&self, record: &Record, transaction: Prepared, urgency: Urgency) -> Result<Input, Error> {
        let chain = self.tools.chain.as_ref();
        let raised = chain.raise(&transaction, urgency).await?;
        let more = raised.cost.minus(transaction.cost).unwrap_or(Amount::ZERO);
        record.charge(more, self.tools.settings.most_fees).map_err(ChainError::from)?;
        Ok(Input::Raised { of: transaction.hash, by: raised, now: chain.head().await?.time })
    }

    async fn act(&mut self, change: Change) -> Result<(), Error> {
        if change.persist {
            self.reload = true;
            self.tools.store.commit(self.kept, &change.record).await?;
            self.reload = false;
            self.kept = Some(change.record.version);
        }
        if self.record.id != change.record.id {
            self.signable = change.record.signable();
        }
        self.record = change.record;
        let mut sent = Ok(());
        for effect in change.effects {
            match effect {
                Effect::Submit(transaction) => {
                    self.join();
                    sent = self.tools.chain.broadcast(&transaction).await;
                }
                Effect::Deliver(message) => self.say(message),
                Effect::Credit(amount) => self.credited = self.credited.plus(amount).unwrap_or(self.credited),
                Effect::Alarm(risk) => self.alarms.push(risk),
                Effect::Persist | Effect::Sign(_) | Effect::Prepare(_) | Effect::Raise(..) => {}
            }
        }
        Ok(sent?)
    }

    /// Of several acknowledgements in a row the last says all.
    fn say(&mut self, message: Message) {
        match (self.outbox.last_mut(), &message) {
            (Some(last @ Message::Ack { .. }), Message::Ack { .. }) => *last = message,
            _ => self.outbox.push(message),
        }
    }
}

/// What a batch of inputs makes of a channel.
struct Change {
    record: Record,
    effects: Vec<Effect>,
    persist: bool,
}

/// The words of [`Received`] for one state.
fn judge(before: &Record, round: Round, credit: Amount) -> Received {
    if !credit.is_zero() {
        Received::Paid(credit)
    } else if round <= before.held_round() {
        Received::Duplicate
    } else {
        Received::Crossed
    }
}

fn prove(signable: Option<&Signable>, peer: &mut Verifier, signed: SignedState) -> Result<Proven<SignedState>, Error> {
    signable.and_then(|signable| Proven::state(signable, peer, signed)).ok_or(Error::Forged)
}
