//! A party with all its channels: streams to peers, and the guard that looks at each channel again and again.
//!
//! A stream carries messages of many channels. Whoever speaks validly of a channel last is where its answers go; nothing depends on who that
//! is, since what counts is signed. A stream begins with an acknowledgement per channel, so that the other side says again what was lost.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex as StdMutex, MutexGuard, PoisonError};
use std::time::Duration;

use alloy_primitives::{Address, B256, U256};
use sspc::{
    Amount, Channel, Envelope, Errand, Error, Goal, Link, Message, Metadata, NewChannel, Params, Party, Phase, Place, Record,
    Tools,
};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

/// Messages that are taken together.
const BURST: usize = 1_024;
/// Bursts that wait for a slow stream; more are lost, and said again on the next one.
const QUEUE: usize = 256;
/// Streams at once.
const MAX_STREAMS: usize = 256;
/// Channels that a peer proposed and that are not open: more proposals are refused, since anyone can make them.
const MAX_DRAFTS: usize = 1_000;
/// Channels whose guard talks to the chain's node at once.
const LOOKS: usize = 64;
/// After an acceptance that failed the next one waits this long, then twice as long, and so on up to ...
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// ... this.
const LAST_RETRY: Duration = Duration::from_mins(30);
/// Longest silence of a stream before it is ended; whoever dialed makes a new one.
const IDLE: Duration = Duration::from_secs(300);

/// Longest wait for a peer to read what it is sent.
const SEND_TIME: Duration = Duration::from_secs(30);
/// After a stream could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What proposals are accepted, with our deposit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The contract that we trust.
    pub place: Place,
    /// By token (zero: the native coin); in others nothing is accepted.
    pub limits: HashMap<Address, Limit>,
    /// Native coin that an acceptance leaves in the account, to pay for disputes.
    pub reserve: Amount,
    /// Shortest time to answer a forced close: the guard must look more often.
    pub least_period: u32,
}

/// What we deposit in one token, in the channels that others proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Most in one channel.
    pub deposit: Amount,
    /// Most at once.
    pub total: Amount,
}

impl Policy {
    fn allows(&self, place: &Place, params: &Params) -> bool {
        let limit = self.limits.get(&params.token);
        *place == self.place && params.period >= self.least_period && limit.is_some_and(|limit| params.value_b <= limit.deposit)
    }
}

/// How far a channel is, to be known without waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stake {
    /// We have deposited nothing; it is not on the chain.
    Draft,
    /// We have deposited nothing.
    None,
    /// Our deposit is in it, or on the way there.
    Deposited,
}

impl Stake {
    fn of(record: &Record) -> Self {
        let on_its_way = record.pending.is_some();
        match record.phase {
            Phase::Draft | Phase::Proposed if on_its_way => Self::Deposited,
            Phase::Draft => Self::Draft,
            phase if phase == Phase::Proposed || phase.is_final() => Self::None,
            _ => Self::Deposited,
        }
    }
}

struct Entry {
    /// What does not change.
    params: Params,
    role: Party,
    /// Who waits longest has it next: a peer that says much cannot keep the guard away.
    channel: Mutex<Channel>,
    stream: StdMutex<Option<Stream>>,
    stake: StdMutex<Stake>,
    /// Of the guard alone.
    accepting: Mutex<Accepting>,
}

/// How far the guard is with accepting a proposal.
#[derive(Default)]
struct Accepting {
    errand: Option<Errand>,
    wait: Option<(Duration, Instant)>,
}

impl Accepting {
    /// One step, unless the last one failed just now.
    async fn advance(&mut self, channel: &mut Channel) -> Result<(), Error> {
        if self.wait.is_some_and(|(_, until)| Instant::now() < until) {
            return Ok(());
        }
        let errand = self.errand.get_or_insert_with(|| Errand::new(Goal::Accept));
        let done = channel.advance(errand).await;
        match done {
            Ok(false) => return Ok(()),
            Ok(true) => self.wait = None,
            Err(_) => {
                let wait = self.wait.map_or(FIRST_RETRY, |(wait, _)| (wait * 2).min(LAST_RETRY));
                self.wait = Some((wait, Instant::now() + wait));
            }
        }
        self.errand = None;
        done.map(drop)
    }
}

/// Where letters to a peer go.
type Stream = mpsc::Sender<Vec<Envelope>>;

/// See the module.
pub struct Node {
    tools: Tools,
    policy: Option<Policy>,
    channels: StdMutex<HashMap<B256, Arc<Entry>>>,
    /// Streams that we opened, and which peer is there, when that is known.
    dialed: StdMutex<Vec<(Option<Address>, Stream)>>,
    /// One acceptance is decided at a time, so that all of them together keep to the limits.
    deciding: Mutex<()>,
    stop: CancellationToken,
}

fn locked<T>(mutex: &StdMutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Node {
    /// Reads all channels from the store. Without a policy no proposal is taken.
    ///
    /// # Errors
    /// The storage.
    pub async fn start(tools: Tools, policy: Option<Policy>, stop: CancellationToken) -> Result<Arc<Self>, Error> {
        let node =
            Self { tools, policy, channels: StdMutex::default(), dialed: StdMutex::default(), deciding: Mutex::default(), stop };
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

    /// Proposes a channel; the peer is told over a stream that is open to it, or over the next one ([`Self::connect`]).
    ///
    /// # Errors
    /// The parameters; the chain.
    pub async fn propose(&self, place: Place, params: Params) -> Result<B256, Error> {
        let channel = Channel::new_channel(self.tools.clone(), NewChannel::Propose { place, params }).await?;
        let key = channel.metadata().key;
        self.insert(channel);
        let streams: Vec<Stream> = {
            let dialed = locked(&self.dialed);
            let there = dialed.iter().filter(|(peer, _)| peer.is_none_or(|peer| peer == params.b));
            there.map(|(_, stream)| stream.clone()).collect()
        };
        for stream in &streams {
            self.take_stream(&key, stream).await;
        }
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
        let (channel, stream, accepting) = (Mutex::new(channel), StdMutex::default(), Mutex::default());
        let entry = Arc::new(Entry { params, role, channel, stream, stake, accepting });
        locked(&self.channels).entry(key).or_insert(entry).clone()
    }

    fn entry(&self, key: &B256) -> Result<Arc<Entry>, Error> {
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
        }
        let letters = channel.take_outbox();
        if !letters.is_empty()
            && let Some(stream) = locked(&entry.stream).as_ref()
            && stream.try_send(letters).is_err()
        {
            tracing::debug!(channel = %key, "the stream is slow or gone; what was lost is said again on the next one");
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

    /// Keeps a stream to an address until the node stops, connecting anew when it ends. `peer` is who is there; without it the stream is
    /// for all channels.
    pub async fn connect(self: Arc<Self>, address: SocketAddr, peer: Option<Address>) {
        while !self.stop.is_cancelled() {
            match Link::connect(address).await {
                Ok(link) => self.clone().serve_dialed(link, peer).await,
                Err(error) => tracing::debug!(%address, %error, "no stream"),
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(200)) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Takes streams of peers until the node stops.
    pub async fn listen(self: Arc<Self>, listener: TcpListener) {
        let streams = Arc::new(Semaphore::new(MAX_STREAMS));
        loop {
            let link = tokio::select! {
                link = Link::accept(&listener) => link,
                () = self.stop.cancelled() => return,
            };
            let link = match link {
                Ok(link) => link,
                Err(error) => {
                    // Out of files, perhaps: the next try at once would fail as well.
                    tracing::warn!(%error, "no stream was accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Ok(permit) = streams.clone().try_acquire_owned() else { continue };
            let node = self.clone();
            tokio::spawn(async move {
                let (sender, letters) = mpsc::channel(QUEUE);
                node.serve(link, &sender, letters).await;
                drop(permit);
            });
        }
    }

    async fn serve_dialed(self: Arc<Self>, link: Link, peer: Option<Address>) {
        let (sender, letters) = mpsc::channel(QUEUE);
        locked(&self.dialed).push((peer, sender.clone()));
        for key in self.keys() {
            let other = self.entry(&key).map(|entry| entry.params.address(entry.role.other()));
            if other.is_ok_and(|other| peer.is_none_or(|peer| peer == other)) {
                self.take_stream(&key, &sender).await;
            }
        }
        self.clone().serve(link, &sender, letters).await;
        locked(&self.dialed).retain(|(_, stream)| !stream.same_channel(&sender));
    }

    /// Speaks with a peer until the stream ends.
    async fn serve(self: Arc<Self>, mut link: Link, sender: &Stream, mut letters: mpsc::Receiver<Vec<Envelope>>) {
        let ended = loop {
            tokio::select! {
                messages = tokio::time::timeout(IDLE, link.receive(BURST)) => match messages {
                    Ok(Ok(messages)) => if let Err(error) = self.take(sender, &messages).await { break error.to_string() },
                    Ok(Err(error)) => break error.to_string(),
                    Err(_) => break "silence".to_owned(),
                },
                Some(letters) = letters.recv() => match tokio::time::timeout(SEND_TIME, link.send(&letters)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => break error.to_string(),
                    Err(_) => break "the peer does not read".to_owned(),
                },
                () = self.stop.cancelled() => return,
            }
        };
        tracing::debug!(reason = ended, "a stream has ended");
    }

    /// This stream is the channel's from now on: greets, and says again what may be lost.
    async fn take_stream(&self, key: &B256, stream: &Stream) {
        let Ok(entry) = self.entry(key) else { return };
        let same = locked(&entry.stream).as_ref().is_some_and(|known| known.same_channel(stream));
        if same {
            return;
        }
        *locked(&entry.stream) = Some(stream.clone());
        let greeted = self
            .with(key, async |channel| {
                let message = Message::Ack(channel.record().received);
                // A full queue is a stream that is as good as gone.
                let _ = stream.try_send(vec![Envelope { channel: *key, message }]);
                channel.resume().await
            })
            .await;
        if let Err(error) = greeted {
            tracing::debug!(channel = %key, %error, "not resumed");
        }
    }

    /// Messages of a peer, in order; those of one channel that follow each other are one change.
    async fn take(&self, stream: &Stream, messages: &[Envelope]) -> Result<(), Error> {
        for burst in messages.chunk_by(|one, next| one.channel == next.channel) {
            let key = burst[0].channel;
            if self.entry(&key).is_err() && !self.proposed(burst).await? {
                continue;
            }
            match self.with(&key, async |channel| channel.handle(burst).await).await {
                Ok(()) => self.take_stream(&key, stream).await,
                Err(Error::Refused(refusal)) => {
                    tracing::debug!(channel = %key, %refusal, "refused");
                    self.take_stream(&key, stream).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A proposal that we take.
    async fn proposed(&self, burst: &[Envelope]) -> Result<bool, Error> {
        let proposal = burst.iter().find_map(|letter| match &letter.message {
            Message::Propose { place, params } => Some((letter, place, params)),
            _ => None,
        });
        let Some((letter, place, params)) = proposal else { return Ok(false) };
        if !self.policy.as_ref().is_some_and(|policy| policy.allows(place, params)) || params.b != self.tools.signer.address() {
            return Ok(false);
        }
        let is_draft = |entry: &&Arc<Entry>| entry.role == Party::B && *locked(&entry.stake) == Stake::Draft;
        let drafts = locked(&self.channels).values().filter(is_draft).count();
        if drafts >= MAX_DRAFTS {
            return Ok(false);
        }
        self.insert(Channel::new_channel(self.tools.clone(), NewChannel::FromProposal(letter.clone())).await?);
        Ok(true)
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
        let looked = self
            .with(key, async |channel| {
                // After the wait for the channel: who waits for that does not hold up the others.
                let _permit = permits.acquire().await;
                self.look(channel, &entry).await
            })
            .await;
        if let Err(error) = looked {
            tracing::warn!(channel = %key, %error, "the guard will look again");
        }
    }

    async fn look(&self, channel: &mut Channel, entry: &Entry) -> Result<(), Error> {
        channel.watch().await?;
        let about = channel.metadata();
        let ours = about.role == Party::B && *channel.phase() == Phase::Proposed;
        if ours && let Some(policy) = self.policy.as_ref().filter(|policy| policy.allows(&about.place, &about.params)) {
            let _decision = self.deciding.lock().await;
            if channel.record().pending.is_some() || self.affords(policy, &about.params).await? {
                entry.accepting.lock().await.advance(channel).await?;
            }
            *locked(&entry.stake) = Stake::of(channel.record());
        }
        if channel.record().acknowledged < channel.record().paid {
            channel.resume().await?;
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
