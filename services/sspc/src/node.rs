//! A party with all its channels, and the guard that looks at each of them again and again.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use sspc::{
    Channel, Envelope, Errand, Error, Goal, Identity, Message, Metadata, NewChannel, Params, Party, Phase, Place, Tools, View,
};
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::accept::{Accepting, Policy, Stake};
use crate::metrics::Watched;
use crate::streams::Streams;

/// Channels that peers proposed and that are not open: more proposals are refused, since anyone can make them. They end with their time.
const MAX_DRAFTS: usize = 1_000;
/// The same of one peer.
const MAX_DRAFTS_OF_PEER: usize = 100;
/// Channels whose guard talks to the chain's node at once.
const LOOKS: usize = 64;

pub(crate) struct Entry {
    /// What does not change.
    params: Params,
    role: Party,
    /// Who waits longest has it next: a peer that says much cannot keep the guard away.
    channel: Mutex<Channel>,
    stake: StdMutex<Stake>,
    /// Of the guard alone.
    accepting: Mutex<Accepting>,
}

impl Entry {
    /// The other party: only a stream that it has proven to be its own carries the channel's messages.
    pub(crate) fn peer(&self) -> Address {
        self.params.address(self.role.other())
    }
}

/// See the module.
pub struct Node {
    pub(crate) tools: Tools,
    pub(crate) identity: Identity,
    pub(crate) streams: Streams,
    pub(crate) stop: CancellationToken,
    /// What is counted.
    pub watched: Watched,
    policy: Option<Policy>,
    channels: StdMutex<HashMap<B256, Arc<Entry>>>,
    /// One acceptance is decided at a time, so that all of them together keep to the limits.
    deciding: Mutex<()>,
    /// One proposal of a peer is looked at a time, since each costs questions to the chain's node.
    taking: Mutex<()>,
}

pub(crate) fn locked<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Reads all channels from the store. Without a policy no proposal is taken.
    ///
    /// # Errors
    /// The storage.
    pub async fn start(tools: Tools, policy: Option<Policy>, stop: CancellationToken) -> Result<Arc<Self>, Error> {
        let identity = Identity::new().map_err(|error| sspc::SignError(error.to_string()))?;
        let (streams, channels, deciding) = (Streams::default(), StdMutex::default(), Mutex::default());
        let (watched, taking) = (Watched::default(), Mutex::default());
        let node = Self { tools, identity, streams, stop, watched, policy, channels, deciding, taking };
        for key in node.tools.store.keys().await? {
            let channel = Channel::new_channel(node.tools.clone(), NewChannel::Load(key)).await?;
            node.insert(channel);
        }
        Ok(Arc::new(node))
    }

    /// Names of all channels.
    pub fn keys(&self) -> Vec<B256> {
        locked(&self.channels).keys().copied().collect()
    }

    /// Proposes a channel; the peer is told over a stream to it, or over the next one.
    ///
    /// # Errors
    /// The parameters; the chain.
    pub async fn propose(&self, place: Place, params: Params) -> Result<B256, Error> {
        self.add(NewChannel::Propose { place, params }).await
    }

    /// Takes a proposal that the owner wants, whatever the policy says.
    ///
    /// # Errors
    /// Not a proposal to us, or an old one; the chain.
    pub async fn take_proposal(&self, proposal: Envelope) -> Result<B256, Error> {
        self.add(NewChannel::FromProposal(proposal)).await
    }

    async fn add(&self, from: NewChannel) -> Result<B256, Error> {
        let channel = Channel::new_channel(self.tools.clone(), from).await?;
        let key = channel.metadata().key;
        self.insert(channel);
        // What it has to say.
        self.with(&key, async |_| Ok(())).await?;
        Ok(key)
    }

    /// Terms of the channel that we proposed with this salt.
    pub fn proposed_by_us(&self, salt: u64) -> Option<Params> {
        let channels = locked(&self.channels);
        channels.values().find(|entry| entry.role == Party::A && entry.params.salt == salt).map(|entry| entry.params)
    }

    fn insert(&self, channel: Channel) -> Arc<Entry> {
        let Metadata { key, params, role, .. } = channel.metadata();
        let stake = StdMutex::new(Stake::of(channel.record()));
        let (channel, accepting) = (Mutex::new(channel), Mutex::default());
        let entry = Arc::new(Entry { params, role, channel, stake, accepting });
        locked(&self.channels).entry(key).or_insert(entry).clone()
    }

    /// The channels with a peer.
    pub(crate) fn channels_with(&self, peer: Address) -> Vec<B256> {
        let channels = locked(&self.channels);
        channels.iter().filter(|(_, entry)| entry.peer() == peer).map(|(key, _)| *key).collect()
    }

    /// Whether there is a channel with a peer, proposed by us or on the chain.
    pub(crate) fn has_dealings_with(&self, peer: Address) -> bool {
        let channels = locked(&self.channels);
        let counts = |entry: &Arc<Entry>| entry.role == Party::A || *locked(&entry.stake) != Stake::Draft;
        channels.values().any(|entry| entry.peer() == peer && counts(entry))
    }

    pub(crate) fn entry(&self, key: &B256) -> Result<Arc<Entry>, Error> {
        locked(&self.channels).get(key).cloned().ok_or(Error::Unknown)
    }

    /// Does something with a channel, then sends what it has to say.
    ///
    /// # Errors
    /// The channel is not known; what `work` says.
    pub async fn with<T>(&self, key: &B256, work: impl AsyncFnOnce(&mut Channel) -> Result<T, Error>) -> Result<T, Error> {
        let entry = self.entry(key)?;
        let mut channel = entry.channel.lock().await;
        let outcome = work(&mut channel).await;
        if matches!(outcome, Err(Error::Store(_) | Error::Reload)) {
            // What is kept is not known: the store says it.
            *channel = Channel::new_channel(self.tools.clone(), NewChannel::Load(*key)).await?;
        }
        *locked(&entry.stake) = Stake::of(channel.record());
        for risk in channel.take_alarms() {
            tracing::warn!(channel = %key, %risk, "alarm");
            self.watched.alarm(&risk);
        }
        let letters = channel.take_outbox();
        if !letters.is_empty() && !self.streams.send(entry.peer(), letters) {
            tracing::debug!(channel = %key, "no stream takes it; it is said again on the next one");
        }
        outcome
    }

    /// Does what takes blocks. Between two looks the channel is free: payments go on, and the guard looks.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn reach(&self, key: &B256, goal: Goal) -> Result<Errand, Error> {
        let (settings, mut errand) = (self.tools.settings, Errand::new(goal));
        let until = Instant::now() + settings.patience;
        while !self.with(key, async |channel| channel.advance(&mut errand).await).await? {
            if Instant::now() >= until {
                return Err(Error::Timeout);
            }
            tokio::time::sleep(settings.poll).await;
        }
        Ok(errand)
    }

    /// A proposal that we take.
    pub(crate) async fn proposed(&self, peer: Address, burst: &[Envelope]) -> Result<bool, Error> {
        let proposal = burst.iter().find_map(|letter| match &letter.message {
            Message::Propose { place, params, .. } => Some((letter, place, params)),
            _ => None,
        });
        let Some((letter, place, params)) = proposal else { return Ok(false) };
        let ours = params.a == peer && params.b == self.tools.signer.address();
        if !ours || !self.policy.as_ref().is_some_and(|policy| policy.allows(place, params)) {
            return Ok(false);
        }
        let _turn = self.taking.lock().await;
        let (drafts, of_peer) = self.drafts(peer);
        if drafts >= MAX_DRAFTS || of_peer >= MAX_DRAFTS_OF_PEER {
            return Ok(false);
        }
        match self.take_proposal(letter.clone()).await {
            Ok(_) => Ok(true),
            // Said again by the peer.
            Err(error @ (Error::Chain(_) | Error::Expired(_) | Error::Params(_) | Error::OtherChain { .. } | Error::NotOurs)) => {
                tracing::debug!(%error, "a proposal is not taken");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Proposals that wait to be opened: of all peers, and of this one.
    fn drafts(&self, peer: Address) -> (usize, usize) {
        let channels = locked(&self.channels);
        let drafts = channels.values().filter(|entry| entry.role == Party::B && *locked(&entry.stake) == Stake::Draft);
        drafts.fold((0, 0), |(all, its), entry| (all + 1, its + usize::from(entry.peer() == peer)))
    }

    /// Looks at each channel again and again until the node stops: answers stale closes, finishes, accepts what the policy allows, repeats
    /// what is not acknowledged. Each look is a task of its own, so that neither a slow channel nor a broken one keeps it from another.
    pub async fn guard(self: Arc<Self>, every: Duration) {
        let permits = Arc::new(Semaphore::new(LOOKS));
        let mut round = tokio::time::interval(every);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut looks, mut under_way) = (JoinSet::new(), HashMap::new());
        loop {
            tokio::select! {
                _ = round.tick() => {
                    let looked_at: HashSet<B256> = under_way.values().copied().collect();
                    for key in self.keys().into_iter().filter(|key| !looked_at.contains(key)) {
                        let (node, permits) = (self.clone(), permits.clone());
                        let look = looks.spawn(async move { node.guard_one(&key, &permits).await });
                        under_way.insert(look.id(), key);
                    }
                }
                Some(ended) = looks.join_next_with_id() => {
                    let task = ended.as_ref().map_or_else(|error| error.id(), |(task, ())| *task);
                    let key = under_way.remove(&task);
                    if let Err(error) = ended {
                        tracing::error!(channel = ?key, %error, "a look of the guard has failed; it will look again");
                    }
                }
                () = self.stop.cancelled() => return,
            }
        }
    }

    async fn guard_one(&self, key: &B256, permits: &Semaphore) {
        let Ok(entry) = self.entry(key) else { return };
        let looked = async {
            // Read while the channel is free: a node that is slow or silent holds up no payment.
            let lookout = self.with(key, async |channel| Ok(channel.lookout())).await?;
            let view = {
                let _permit = permits.acquire().await;
                lookout.look().await?
            };
            self.with(key, async |channel| self.look(channel, &entry, view).await).await
        };
        let looked = looked.await;
        self.watched.look(looked.is_err());
        if let Err(error) = looked {
            tracing::warn!(channel = %key, %error, "the guard will look again");
        }
    }

    async fn look(&self, channel: &mut Channel, entry: &Entry, view: View) -> Result<(), Error> {
        channel.act_on(view).await?;
        if channel.record().is_void(u64::MAX) && channel.forget().await? {
            // While nobody else has the channel: a new proposal of it is another one.
            locked(&self.channels).remove(&channel.metadata().key);
            return Ok(());
        }
        let about = channel.metadata();
        let ours = about.role == Party::B && *channel.phase() == Phase::Proposed;
        if ours && let Some(policy) = self.policy.as_ref().filter(|policy| policy.allows(&about.place, &about.params)) {
            let _decision = self.deciding.lock().await;
            if channel.record().pending.is_some() || self.affords(policy, &about.params).await? {
                entry.accepting.lock().await.advance(channel).await?;
            }
            *locked(&entry.stake) = Stake::of(channel.record());
        }
        if channel.record().is_unheard() {
            channel.greet().await?;
        }
        Ok(())
    }

    /// Whether one more deposit keeps to the limits, with what is deposited already, and leaves enough native coin.
    async fn affords(&self, policy: &Policy, params: &Params) -> Result<bool, Error> {
        let Some(limit) = policy.limits.get(&params.token) else { return Ok(false) };
        let deposited = {
            let channels = locked(&self.channels);
            let counts = |entry: &&Arc<Entry>| {
                entry.role == Party::B && entry.params.token == params.token && *locked(&entry.stake) == Stake::Deposited
            };
            channels.values().filter(counts).try_fold(params.value_b, |sum, entry| sum.plus(entry.params.value_b))
        };
        let balance = self.tools.chain.balance(self.tools.chain.account()).await?;
        let native = if params.token.is_zero() { params.value_b.get() } else { 0 };
        let needed = U256::from(policy.reserve.get()) + U256::from(native);
        Ok(deposited.is_some_and(|deposited| deposited <= limit.total) && balance >= needed)
    }
}
