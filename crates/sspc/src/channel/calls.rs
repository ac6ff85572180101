//! The calls.

use alloy_primitives::{Address, U256};

use super::{Channel, Error, Goal, Metadata, NewChannel, Received, Tools, judge, prove};
use crate::amount::{Amount, Party};
use crate::chain::check;
use crate::message::{Envelope, Message};
use crate::record::{PaidRequest, Phase, Record, RequestId, SignedClose, SignedState};
use crate::step::{Input, Proven, Refusal};
use crate::typed::{Balances, Payload, State};

impl Channel {
    /// A channel: proposed by us, proposed to us, or from the store. A new one is kept before this returns; of one that is in the store
    /// already, what is stored counts.
    ///
    /// # Errors
    /// Parameters that the contract would refuse; a proposal for others; another chain; the storage.
    pub async fn new_channel(tools: Tools, from: NewChannel) -> Result<Self, Error> {
        let (place, params, role, expires) = match from {
            NewChannel::Load(key) => {
                let record = tools.store.load(&key).await?.ok_or(Error::Unknown)?;
                let kept = Some(record.version);
                let mut channel = Self::with(record, kept, tools)?;
                channel.resume().await?;
                return Ok(channel);
            }
            NewChannel::Propose { place, params } => (place, params, Party::A, u64::MAX),
            NewChannel::FromProposal(Envelope { channel, message: Message::Propose { place, params, expires } }) => {
                if crate::record::channel_key(&place, &params) != channel {
                    return Err(Error::NotOurs);
                }
                (place, params, Party::B, expires)
            }
            NewChannel::FromProposal(_) => return Err(Error::NotOurs),
        };
        let node = tools.chain.chain_id().await?;
        if node != place.chain_id {
            return Err(Error::OtherChain { node, channel: place.chain_id });
        }
        check(tools.chain.as_ref(), &place).await?;
        let head = tools.chain.head().await?;
        // The peer may have opened before it proposed: a day of blocks, and never past what a node keeps.
        let since = if role == Party::A { head.number } else { head.number.saturating_sub(LOOK_BACK_BLOCKS) };
        let mut record = Record::new(place, params, role, since)?;
        record.expires = expires.min(head.time.saturating_add(tools.settings.proposal_time.as_secs()));
        if let Some(stored) = tools.store.load(&record.key()).await? {
            let kept = Some(stored.version);
            let mut channel = Self::with(stored, kept, tools)?;
            channel.resume().await?;
            return Ok(channel);
        }
        if record.is_over(head.time) || record.expires == 0 {
            return Err(Error::Expired(record.expires));
        }
        let mut channel = Self::with(record, None, tools)?;
        channel.tools.store.commit(None, &channel.record).await?;
        channel.kept = Some(channel.record.version);
        channel.resume().await?;
        Ok(channel)
    }

    /// What identifies the channel.
    #[must_use]
    pub fn metadata(&self) -> Metadata {
        let Record { place, params, role, id, .. } = self.record;
        Metadata { key: self.record.key(), id, place, params, role }
    }

    /// The newest balances: of the highest round that either has signed.
    #[must_use]
    pub fn current_state(&self) -> State {
        self.record.current()
    }

    /// a deposits; returns when the chain has it. May be called again at any time: a transaction on its way is waited for.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn open(&mut self) -> Result<(), Error> {
        self.reach(Goal::Open).await.map(drop)
    }

    /// b deposits, when the chain shows exactly what was agreed; returns when the chain has it. May be called again.
    ///
    /// # Errors
    /// See [`Error`]; the channel is not there yet: [`Refusal::Phase`].
    pub async fn accept(&mut self) -> Result<(), Error> {
        self.reach(Goal::Accept).await.map(drop)
    }

    /// a takes back a proposal that b has not accepted.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn cancel(&mut self) -> Result<(), Error> {
        self.reach(Goal::Cancel).await.map(drop)
    }

    /// Pays. The signed state is kept before this returns; it lies in the outbox as well. A payment that was kept is made: after an error or
    /// a crash look at `record().paid` before paying again.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_money(&mut self, amount: Amount) -> Result<SignedState, Error> {
        self.send_many(&[amount]).await?;
        // Not refused, so there is one.
        self.record.given.ok_or(Error::Reload)
    }

    /// Pays once for a request: when it was paid for already, in this process or in one before it, nothing is paid and the answer is false.
    /// The newest [`crate::MAX_REQUESTS`] are remembered, kept together with their payments.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn send_money_once(&mut self, id: RequestId, amount: Amount) -> Result<bool, Error> {
        self.usable()?;
        match self.record.paid_for(&id) {
            Some(paid) if paid == amount => return Ok(false),
            Some(paid) => return Err(Error::RequestUsed(paid)),
            None => {}
        }
        self.run([Input::Pay(amount), Input::PaidFor(PaidRequest { id, amount })]).await.map(|()| true)
    }

    /// Pays several times: each a state of its own, kept together.
    ///
    /// # Errors
    /// See [`Error`]; payments before the refused one are made.
    pub async fn send_many(&mut self, amounts: &[Amount]) -> Result<(), Error> {
        self.run(amounts.iter().map(|amount| Input::Pay(*amount)).collect::<Vec<_>>()).await
    }

    /// Takes a payment of the peer; `counted` comes with it. Kept before this returns.
    ///
    /// # Errors
    /// See [`Error`]; the peer is told by the caller, who knows the stream.
    pub async fn received_money(&mut self, signed: SignedState, counted: Amount) -> Result<Received, Error> {
        let proven = prove(self.signable.as_ref(), &mut self.peer, signed)?;
        let (before, credited) = (self.record.clone(), self.credited);
        self.run([Input::Received { signed: proven, counted }]).await?;
        let credit = self.credited.minus(credited).unwrap_or(Amount::ZERO);
        Ok(judge(&before, signed.state.round, credit))
    }

    /// Signs a close of the current balances. From now on nothing else is signed, and no payment is taken. The peer may submit it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn create_coop_close(&mut self) -> Result<SignedClose, Error> {
        self.run([Input::SignClose]).await?;
        match self.record.phase {
            Phase::CloseSigned(close) => Ok(close),
            _ => Err(Error::Reload),
        }
    }

    /// Submits the peer's close (one given here, or one that came as a message); both are paid at once.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn coop_close(&mut self, close: Option<SignedClose>) -> Result<Balances, Error> {
        if let Some(close) = close {
            self.take_close(close).await?;
        }
        self.paid_out(Goal::CoopClose).await
    }

    /// Leaves alone, with the newest state of the peer or with the opening. Returns the deadline (Unix time). Nothing is signed any more.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start_force_close(&mut self) -> Result<u64, Error> {
        self.reach(Goal::StartForceClose).await?;
        match self.record.phase {
            Phase::Closing(closing) => Ok(closing.deadline),
            _ => Err(Error::Refused(Refusal::Phase(self.record.phase.name()))),
        }
    }

    /// Answers a stale close of the peer: both are paid at once by what we hold.
    ///
    /// # Errors
    /// See [`Error`]; there is nothing newer: [`Refusal::NothingNewer`].
    pub async fn dispute_force_close(&mut self) -> Result<Balances, Error> {
        self.paid_out(Goal::DisputeForceClose).await
    }

    /// Finishes a forced close whose deadline is over; no error when it is finished already.
    ///
    /// # Errors
    /// See [`Error`]; the deadline is not over: [`Refusal::TooEarly`].
    pub async fn finish_force_close(&mut self) -> Result<Balances, Error> {
        self.paid_out(Goal::FinishForceClose).await
    }

    async fn paid_out(&mut self, goal: Goal) -> Result<Balances, Error> {
        self.reach(goal).await?;
        match self.record.phase {
            Phase::Closed(balances) => Ok(balances),
            _ => Err(Error::Refused(Refusal::Phase(self.record.phase.name()))),
        }
    }

    /// Pulls what the contract could not pay us, to `to`. Returns how much; zero when nothing is owed.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn withdraw(&mut self, to: Address) -> Result<U256, Error> {
        Ok(self.reach(Goal::Withdraw(to)).await?.withdrawn())
    }

    /// What a wallet outside must sign for a payload, as EIP-712 JSON.
    #[must_use]
    pub fn typed_data(&self, payload: &Payload) -> Option<String> {
        self.signable.as_ref().map(|signable| signable.typed_data(payload))
    }

    /// Takes messages of the peer, in order, as one change: payments are each verified, then kept together. Answers lie in the outbox.
    ///
    /// # Errors
    /// See [`Error`]; messages before the refused one count.
    pub async fn handle(&mut self, messages: &[Envelope]) -> Result<(), Error> {
        let key = self.record.key();
        let mut inputs = Vec::with_capacity(messages.len());
        let mut refused = Ok(());
        for Envelope { channel, message } in messages {
            if *channel != key {
                refused = Err(Error::NotOurs);
                break;
            }
            match self.input(message) {
                Ok(input) => inputs.extend(input),
                Err(error) => {
                    refused = Err(error);
                    break;
                }
            }
        }
        let done = self.run(inputs).await;
        if let Err(Error::Refused(refusal)) = &done {
            self.say(Message::Reject(refusal.to_string()));
        }
        done?;
        refused
    }

    fn input(&mut self, message: &Message) -> Result<Option<Input>, Error> {
        Ok(match message {
            // Known, or crossed by a higher round of ours: nothing follows from it, so it is not worth verifying, whoever says it how often.
            Message::Pay { signed, .. } if signed.state.round <= self.record.held_round() => {
                self.say(self.record.acknowledgement());
                None
            }
            Message::Pay { signed, .. } if signed.state.round < self.record.current().round => None,
            Message::Pay { signed, counted } => {
                Some(Input::Received { signed: prove(self.signable.as_ref(), &mut self.peer, *signed)?, counted: *counted })
            }
            Message::Ack { counted, round } => Some(Input::Acknowledged { counted: *counted, round: *round }),
            Message::CloseOffer(close) if self.record.offer == Some(*close) => None,
            Message::CloseOffer(close) => Some(Input::CloseReceived(self.prove_close(*close)?)),
            // Only before it is on the chain; the same again is nothing.
            Message::Opened(id) => {
                Some(Input::Named(*id)).filter(|_| self.record.role == Party::B && self.record.id != Some(*id))
            }
            Message::Propose { .. } | Message::Reject(_) => None,
        })
    }

    fn prove_close(&mut self, close: SignedClose) -> Result<Proven<SignedClose>, Error> {
        let signable = self.signable.as_ref().ok_or(Error::Forged)?;
        Proven::close(signable, &mut self.peer, close).ok_or(Error::Forged)
    }

    /// Forgets a proposal whose time is over and in which nothing of ours can be ([`Record::is_void`]). The channel cannot be used after it.
    /// Whether there was anything to forget.
    ///
    /// # Errors
    /// The chain; the storage.
    pub async fn forget(&mut self) -> Result<bool, Error> {
        self.usable()?;
        if !self.record.is_void(self.tools.chain.head().await?.time) {
            return Ok(false);
        }
        self.reload = true;
        self.tools.store.remove(&self.record.key(), self.record.version).await?;
        Ok(true)
    }

    /// Takes the peer's close; [`Goal::CoopClose`] submits it.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn take_close(&mut self, close: SignedClose) -> Result<(), Error> {
        let close = self.prove_close(close)?;
        self.run([Input::CloseReceived(close)]).await
    }
}

/// How far back b looks for the opening.
const LOOK_BACK_BLOCKS: u64 = 7_200;
