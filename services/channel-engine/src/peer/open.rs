//! Agreeing a new channel with the peer (payments 7.8): we open as side A, or the peer does.

use std::{collections::HashMap, sync::Arc, time::Duration};

use contract::{CodeKind, OpenConfig};
use protocol::{
    Address, Channel, ChannelRow, Key, NewTask, Task, Write,
    opening::{self, Parties},
};
use rpc::{Error, ErrorCode, gateway::v1::ShardEpoch};
use store::{Change, Verdict};
use tl::Object;
use tokio::sync::oneshot;
use tracing::info;
use wire::{
    Answer, Request,
    message::{self, OpenChannelOffchain},
};

use super::{Message, Peer};
use crate::{
    context::Context,
    gateways::{NoAnswer, Query},
};

/// A configuration is asked for with a call that may connect (payments 1.4).
const CONFIG_TIMEOUT_MS: u32 = 30_000;
/// How long the peer has for the opening itself.
const OPEN_TIMEOUT_MS: u32 = 7_000;
/// The second question waits at most this long for the session that the first one made.
const SESSION_WAIT: Duration = Duration::from_secs(5);

/// Who waits for a channel to be opened.
pub type Done = oneshot::Sender<Result<Address, Error>>;

/// Channels that were offered and got no answer, by code.
pub type Unanswered = HashMap<[u8; 32], OpenConfig>;

/// What the peer said to an offer.
pub struct Offered {
    done: Done,
    result: Result<ChannelRow, Error>,
    unanswered: Unanswered,
}

/// An offer under way. It runs beside the peer's task, which goes on with its channels, and with what the peer may offer itself.
struct Offer {
    ctx: Arc<Context>,
    key: Key,
    owner: ShardEpoch,
    /// Unix seconds.
    earliest: u32,
    unanswered: Unanswered,
}

impl Peer {
    /// A command: offer a channel.
    pub(super) fn open_channel(&mut self, done: Done) {
        let Some(unanswered) = self.unanswered.take() else {
            let message = "another channel with this peer is being opened";
            let _ = done.send(Err(Error::with_message(ErrorCode::Unavailable, message)));
            return;
        };
        // The moment in a channel's id: the last of our offers had an earlier one.
        let moment = |row: &ChannelRow| u32::from_le_bytes(row.config.channel_id[12..].try_into().unwrap_or_default());
        let ours = self.slots.values().map(|s| s.channel.row()).filter(|row| row.left);
        let earliest = ours.map(moment).max().map_or(0, |last| last.saturating_add(1));
        let mut offer = Offer { ctx: self.ctx.clone(), key: self.key, owner: self.owner, earliest, unanswered };
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            let result = offer.any_code().await;
            mailbox.send(Message::Offered(Box::new(Offered { done, result, unanswered: offer.unanswered })));
        });
    }

    /// The offer has ended.
    pub(super) async fn offered(&mut self, offered: Offered) {
        self.unanswered = Some(offered.unanswered);
        let result = match offered.result {
            Ok(row) => {
                let address = row.address;
                self.create(row, true).await.map(|()| address)
            }
            Err(error) => Err(error),
        };
        let _ = offered.done.send(result);
    }
}

impl Offer {
    /// Our own code first.
    async fn any_code(&mut self) -> Result<ChannelRow, Error> {
        let mut last = Error::with_message(ErrorCode::PeerRefused, "no contract code is configured");
        for code in self.ctx.codes.clone() {
            match self.offer(code).await {
                // Another code may be to the peer's taste; an unreachable peer has none.
                Err(error) if error.code() == ErrorCode::PeerRefused => last = error,
                ended => return ended,
            }
        }
        Err(last)
    }

    async fn offer(&mut self, code: CodeKind) -> Result<ChannelRow, Error> {
        let policy = self.ctx.policy.clone();
        let policy = &policy;
        let request = Request::ProposeChannelConfig(opening::config_request(policy, &code));
        let Answer::ChannelConfig(terms) = self.ask(request, CONFIG_TIMEOUT_MS, true).await? else {
            return Err(Error::with_message(ErrorCode::PeerRefused, "the peer answered something else"));
        };
        if !terms.ok {
            return Err(Error::with_message(ErrorCode::PeerRefused, format!("terms: {}", terms.reason)));
        }
        let parties = Parties { a: (self.ctx.key, self.ctx.wallet), b: (self.key, terms.wallet_addr) };
        let seconds = u32::try_from(self.ctx.clock.now_ms() / 1000).unwrap_or(u32::MAX);
        let fresh = opening::open_config(policy, &parties, seconds.max(self.earliest));
        // A peer that agreed and whose answer was lost takes no second channel before the first has a deposit: ask for the same one.
        let again = |old: &OpenConfig| *old == OpenConfig { channel_id: old.channel_id, ..fresh };
        let config = self.unanswered.get(&code.hash).copied().filter(again).unwrap_or(fresh);
        let open_config = config.to_cell();
        let row = opening::new_channel(policy, &code, config, self.ctx.key);
        let request = OpenChannelOffchain { code_hash: code.hash, open_config, node_version: opening::NODE_VERSION };
        self.unanswered.insert(code.hash, config);
        let answer = self.ask(Request::OpenChannelOffchain(request), OPEN_TIMEOUT_MS, false).await?;
        self.unanswered.remove(&code.hash);
        let Answer::OpenChannelOffchainResponse(opened) = answer else {
            return Err(Error::with_message(ErrorCode::PeerRefused, "the peer answered something else"));
        };
        if !opened.reason.is_empty() {
            return Err(Error::with_message(ErrorCode::PeerRefused, opened.reason));
        }
        if opened.addr != row.address {
            return Err(Error::with_message(ErrorCode::PeerRefused, "the peer computed another address"));
        }
        Ok(row)
    }

    async fn ask(&self, request: Request, timeout_ms: u32, may_connect: bool) -> Result<Answer, Error> {
        let rldp = request.over_rldp();
        let waited = std::time::Instant::now();
        while !may_connect && !self.ctx.gateways.is_connected(&self.key) && waited.elapsed() < SESSION_WAIT {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let (tx, rx) = oneshot::channel();
        let query = Query { peer: self.key, owner: self.owner, data: request.to_boxed(), rldp, timeout_ms, may_connect };
        self.ctx.gateways.call(query, Box::new(move |answer| drop(tx.send(answer))));
        match rx.await {
            Ok(Ok(bytes)) => Answer::from_boxed(&bytes)
                .map_err(|error| Error::with_message(ErrorCode::PeerRefused, format!("malformed answer: {error}"))),
            Ok(Err(NoAnswer::NotConnected)) => Err(Error::new(ErrorCode::PeerUnreachable)),
            Ok(Err(NoAnswer::Timeout)) | Err(_) => {
                Err(Error::with_message(ErrorCode::PeerUnreachable, "the peer does not answer"))
            }
        }
    }
}

impl Peer {
    /// The peer offers a channel.
    pub(super) async fn accept_channel(&mut self, gateway: usize, query_id: u64, request: OpenChannelOffchain) {
        let us = (self.ctx.key, self.ctx.wallet);
        let answer = match opening::check_open(&self.ctx.policy, &self.ctx.codes, us, self.key, &request) {
            Err(reason) => refusal(reason),
            Ok(row) => {
                let address = row.address;
                match self.slots.get(&address) {
                    // Asked again: success, unless its life is over (design 4.11).
                    Some(slot) if slot.channel.row().status == protocol::Status::Active => agreement(address),
                    Some(_) => refusal("channel was closed"),
                    None if self.idle_channel() => refusal("another channel with this peer waits for its deposit"),
                    None => match self.create(row, false).await {
                        Ok(()) => agreement(address),
                        Err(_) => return,
                    },
                }
            }
        };
        self.answer(gateway, query_id, answer.to_boxed());
    }

    /// Strangers get one channel that costs us nothing; the next one after a deposit (payments 10.2.7).
    fn idle_channel(&self) -> bool {
        self.slots
            .values()
            .map(|s| s.channel.row())
            .any(|row| !row.left && row.onchain.deposited == [0; 2] && row.status == protocol::Status::Active)
    }

    async fn create(&mut self, mut row: ChannelRow, opener: bool) -> Result<(), Error> {
        row.version = 1;
        let address = row.address;
        let mut writes = vec![Write::Channel(Box::new(row.clone()))];
        if opener {
            let id = format!("exchange:{}", hex::encode(address));
            writes.push(Write::Task(NewTask { id, channel: address, task: Task::Increment }));
        }
        let tasks = writes.iter().filter_map(|w| if let Write::Task(t) = w { Some(t.clone()) } else { None }).collect();
        let internal = |error: store::Error| Error::with_message(ErrorCode::Internal, error);
        let change = Change::new(self.fence(address, 1), writes, Vec::new()).map_err(internal)?;
        match self.ctx.committer.commit(change).await.map_err(internal)? {
            Verdict::Applied => {}
            Verdict::NotOwner => return Err(Error::new(ErrorCode::NotOwner)),
            other => return Err(Error::with_message(ErrorCode::Internal, format!("the channel was not stored: {other:?}"))),
        }
        info!(channel = hex::encode(address), peer = hex::encode(self.key), opener, "channel agreed");
        let channel = Channel::load(row, [], [], []).map_err(|error| Error::with_message(ErrorCode::InvalidKey, error))?;
        self.put(channel);
        if opener {
            self.ctx.urgent(self.key);
        }
        self.ctx.hand_over(tasks);
        Ok(())
    }
}

fn refusal(reason: &str) -> message::OpenChannelOffchainResponse {
    message::OpenChannelOffchainResponse { addr: [0; 32], reason: reason.into() }
}

fn agreement(addr: Key) -> message::OpenChannelOffchainResponse {
    message::OpenChannelOffchainResponse { addr, reason: String::new() }
}
