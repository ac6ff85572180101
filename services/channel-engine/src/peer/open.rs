//! Agreeing a new channel with the peer (payments 7.8): we open as side A, or the peer does.
//!
//! A peer that has agreed takes no other channel for a while ([`IDLE_MS`]). Whoever opens has to come back with the same one when the answer was lost: an offer
//! is written before the peer hears of it, outlives the engine, and ends when the peer refuses or the channel is stored.

use std::{sync::Arc, time::Duration};

use contract::{CodeKind, OpenConfig};
use protocol::{
    Address, Channel, ChannelRow, Key, NewTask, Task, Write,
    opening::{self, Parties},
};
use rpc::{Error, ErrorCode, gateway::v1::ShardEpoch};
use store::{Change, Verdict, engine};
use tl::Object;
use tokio::sync::oneshot;
use tracing::{info, warn};
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

/// So long a peer's channel without a deposit keeps it from opening another. After that it may have forgotten it; ours stays as it was, and counts
/// again with its first deposit. Milliseconds since this engine knows it: no clock of the peer's.
const IDLE_MS: u64 = 600_000;

/// Who waits for a channel to be opened.
pub type Done = oneshot::Sender<Result<Address, Error>>;

/// What the peer said to an offer.
pub struct Offered {
    done: Done,
    result: Result<ChannelRow, Error>,
}

/// An offer under way. It runs beside the peer's task, which goes on with its channels, and with what the peer may offer itself.
struct Offer {
    ctx: Arc<Context>,
    key: Key,
    owner: ShardEpoch,
    /// Unix seconds.
    earliest: u32,
}

impl Peer {
    /// A command: offer a channel.
    pub(super) fn open_channel(&mut self, done: Done) {
        if std::mem::replace(&mut self.offering, true) {
            let message = "another channel with this peer is being opened";
            let _ = done.send(Err(Error::with_message(ErrorCode::Unavailable, message)));
            return;
        }
        // The moment in a channel's id: the last of our offers had an earlier one.
        let moment = |row: &ChannelRow| u32::from_le_bytes(row.config.channel_id[12..].try_into().unwrap_or_default());
        let ours = self.slots.values().map(|s| s.channel.row()).filter(|row| row.left);
        let earliest = ours.map(moment).max().map_or(0, |last| last.saturating_add(1));
        let offer = Offer { ctx: self.ctx.clone(), key: self.key, owner: self.owner, earliest };
        let mailbox = self.mailbox.clone();
        tokio::spawn(async move {
            let result = offer.any_code().await;
            mailbox.send(Message::Offered(Box::new(Offered { done, result })));
        });
    }

    /// The offer has ended.
    pub(super) async fn offered(&mut self, offered: Offered) {
        self.offering = false;
        let result = match offered.result {
            Ok(row) => {
                let address = row.address;
                let created = self.create(row, true).await;
                if created.is_ok() {
                    forget(&self.ctx, &self.owner, &self.key, &address).await;
                }
                created.map(|()| address)
            }
            Err(error) => Err(error),
        };
        let _ = offered.done.send(result);
    }
}

impl Offer {
    /// Our own code first. Only what we can deploy: who opens makes the first deposit.
    async fn any_code(&self) -> Result<ChannelRow, Error> {
        let mut last = Error::with_message(ErrorCode::PeerRefused, "no contract code is configured");
        let at_hand = |code: &&CodeKind| self.ctx.code(&code.hash).is_some();
        for code in self.ctx.codes.iter().filter(at_hand).copied() {
            match self.offer(code).await {
                // Another code may be to the peer's taste; an unreachable peer has none.
                Err(error) if error.code() == ErrorCode::PeerRefused => last = error,
                ended => return ended,
            }
        }
        Err(last)
    }

    async fn offer(&self, code: CodeKind) -> Result<ChannelRow, Error> {
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
        let row = self.write_ahead(&code, &parties).await?;
        let open_config = row.config.to_cell();
        let request = OpenChannelOffchain { code_hash: code.hash, open_config, node_version: opening::NODE_VERSION };
        let refused = match self.ask(Request::OpenChannelOffchain(request), OPEN_TIMEOUT_MS, false).await? {
            Answer::OpenChannelOffchainResponse(opened) if !opened.reason.is_empty() => opened.reason,
            Answer::OpenChannelOffchainResponse(opened) if opened.addr == row.address => return Ok(row),
            Answer::OpenChannelOffchainResponse(_) => "the peer computed another address".into(),
            _ => "the peer answered something else".into(),
        };
        forget(&self.ctx, &self.owner, &self.key, &row.address).await;
        Err(Error::with_message(ErrorCode::PeerRefused, refused))
    }

    /// The channel to offer, stored: the one of the last offer, if that has not ended and the terms are still the same.
    async fn write_ahead(&self, code: &CodeKind, parties: &Parties) -> Result<ChannelRow, Error> {
        let unavailable = |error: String| Error::with_message(ErrorCode::Unavailable, error);
        let policy = &self.ctx.policy;
        let seconds = u32::try_from(self.ctx.clock.now_ms() / 1000).unwrap_or(u32::MAX);
        let fresh = opening::open_config(policy, parties, seconds.max(self.earliest));
        let client = self.ctx.pool.get().await.map_err(|error| unavailable(error.to_string()))?;
        let offered = engine::offer_to(&client, &self.key, &code.hash).await.map_err(|error| unavailable(error.to_string()))?;
        let again = |old: &OpenConfig| *old == OpenConfig { channel_id: old.channel_id, ..fresh };
        let config = offered.map(|offer| offer.config).filter(again).unwrap_or(fresh);
        let row = opening::new_channel(policy, code, config, self.ctx.key);
        let offer = engine::Offer { peer: self.key, code_hash: code.hash, address: row.address, config };
        // Written again when it is the same: the fence must hold now.
        match engine::write_offer(&client, self.owner.epoch, &offer).await {
            Ok(true) => Ok(row),
            Ok(false) => Err(Error::new(ErrorCode::NotOwner)),
            Err(error) => Err(unavailable(error.to_string())),
        }
    }

    async fn ask(&self, request: Request, timeout_ms: u32, may_connect: bool) -> Result<Answer, Error> {
        let rldp = request.over_rldp();
        let waited = std::time::Instant::now();
        while !may_connect && self.ctx.gateways.connected_since(&self.key).is_none() && waited.elapsed() < SESSION_WAIT {
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

/// The offer has ended. A row that stays all the same does no harm: the channel's address says that it is over, or the peer refuses once more.
async fn forget(ctx: &Context, owner: &ShardEpoch, peer: &Key, address: &Address) {
    let dropped = match ctx.pool.get().await {
        Ok(client) => engine::drop_offer(&client, owner.epoch, peer, address).await,
        Err(error) => Err(error.into()),
    };
    if let Err(error) = dropped {
        warn!(%error, "an offer that has ended stays in the database");
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

    /// Strangers get one channel that costs us nothing; the next one after a deposit (payments 10.2.7), or some time later, when they may have
    /// forgotten the first. That one is left as it is: a deposit that is only not seen yet must find it alive.
    fn idle_channel(&self) -> bool {
        let now = self.ctx.clock.now_ms();
        self.slots.values().filter(|slot| now < slot.since.saturating_add(IDLE_MS)).any(|slot| {
            let row = slot.channel.row();
            !row.left && row.onchain.deposited == [0; 2] && row.status == protocol::Status::Active
        })
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
