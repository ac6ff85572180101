//! What every part of an engine shares.

use std::sync::{Arc, Mutex};

use contract::{CodeKind, constants};
use protocol::{Address, Alarm, Channel, Key, Order, OrderMessage, Policy, Write};
use rpc::Gate;
use signer::{ContractMessage, SignedBodies, Signer};
use store::{Committer, Pool, chain::NewOrder};
use tokio::sync::Notify;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{error, warn};
use wire::SignedState;

use crate::{
    clock::Clock,
    cluster::{Others, Pokes},
    gateways::{Gateways, lock},
    hints::Hints,
    metrics::Metrics,
    peer::{Mailbox, Peer},
    registry::Registry,
    results::Results,
    tasks::Tasks,
};

/// The engine's shared parts.
pub struct Context {
    /// Name of this engine in the cluster.
    pub engine_id: String,
    /// Where other engines reach it; empty: nowhere.
    pub advertised: String,
    /// Our channel key: the node.
    pub key: Key,
    /// Account of the node's wallet in the basechain.
    pub wallet: [u8; 32],
    /// The operator's terms.
    pub policy: Policy,
    /// Contract codes that are accepted, and offered in this order as far as we have them.
    pub codes: Vec<CodeKind>,
    /// The live contract's code, to deploy it.
    pub live_code: Option<ton::Cell>,
    /// Queries.
    pub pool: Pool,
    /// The fenced commit.
    pub committer: Committer,
    /// The node's keys.
    pub signer: Arc<dyn Signer>,
    /// Streams to the gateways.
    pub gateways: Arc<Gateways>,
    /// Protocol time.
    pub clock: Clock,
    /// Owned shards.
    pub registry: Registry,
    /// Beliefs about the node's channels.
    pub hints: Hints,
    /// Tasks under way.
    pub tasks: Tasks,
    /// Who waits for the result of a command.
    pub results: Results,
    /// Wakes the task poller.
    pub poke: Notify,
    /// Wakes the lease's keeper: shards were given back.
    pub free: Notify,
    /// The node's other engines.
    pub others: Others,
    /// Other engines' shards with new tasks.
    pub pokes: Pokes,
    /// What is measured.
    pub metrics: Metrics,
    /// Readiness: shards are owned.
    pub shards_gate: Gate,
    /// Peers that we opened channels with: kept connected.
    pub urgent: Mutex<Vec<Key>>,
    /// The tasks of all peers: each ends when nothing of its is being committed any more.
    pub peers: TaskTracker,
    /// Begins the end: nothing new.
    pub stop: CancellationToken,
    /// With `stop`: not even what is under way gets out.
    pub frozen: CancellationToken,
}

impl Context {
    /// A random number for lock ids and jitter.
    pub fn random(&self) -> u64 {
        let mut bytes = [0; 8];
        crate::payment::random(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The peer's mailbox, if this engine owns its shard.
    pub fn peer(self: &Arc<Self>, key: &Key) -> Option<Mailbox> {
        self.registry.peer(key, |tenure| Peer::start(self.clone(), *key, tenure, Vec::new()))
    }

    /// Tells the signer's guard what the database holds of a channel.
    pub async fn restore_guard(&self, channel: &Channel) -> Result<(), signer::Error> {
        let row = channel.row();
        let pending = row.pending.as_ref();
        let increment = pending.filter(|p| p.increment).map(|p| wire::Body { seqno: p.first.body.seqno, ..row.our });
        let bodies =
            SignedBodies { channel_id: row.config.channel_id, agreed: row.our, action: pending.map(|p| p.first.body), increment };
        self.signer.restore(vec![bodies]).await
    }

    /// A peer to keep connected.
    pub fn urgent(&self, peer: Key) {
        let mut urgent = lock(&self.urgent);
        if !urgent.contains(&peer) {
            urgent.push(peer);
        }
        self.gateways.want(urgent.clone());
    }

    /// Reads from the database with whom to stay connected: the peers of channels that we opened (payments 2.3).
    pub async fn want_urgent(&self) {
        let channels = match self.pool.get().await {
            Ok(client) => store::engine::open_channels(&client).await,
            Err(error) => Err(error.into()),
        };
        match channels {
            Ok(channels) => {
                self.hints.replace(&channels, |peer| !self.owns(peer));
                let mut peers: Vec<Key> = channels.iter().filter(|c| c.row.left).map(|c| c.row.peer).collect();
                peers.sort_unstable();
                peers.dedup();
                *lock(&self.urgent) = peers.clone();
                self.gateways.want(peers);
            }
            Err(error) => warn!(%error, "urgent peers cannot be read"),
        }
    }

    /// Readiness follows the ownership of shards.
    pub fn shards_gate_update(&self) {
        if self.registry.shards().is_empty() {
            self.shards_gate.close("a shard of the cluster");
        } else {
            self.shards_gate.open();
        }
    }

    /// Shows an alarm to the operator, and freezes the node when its database is not the newest (design 4.10).
    pub async fn alarm(&self, channel: &Address, alarm: &Alarm) {
        error!(channel = hex::encode(channel), ?alarm, "alarm");
        if let Alarm::ForeignSignature { .. } = alarm {
            self.freeze("a signature of ours was seen over a state that the database does not have").await;
        }
    }

    /// Freezes the node: this engine at once, the others as soon as they read it.
    pub async fn freeze(&self, reason: &str) {
        error!(reason, "the node is frozen: nothing is signed any more (docs/runbooks)");
        let frozen = match self.pool.get().await {
            Ok(client) => store::engine::freeze(&client, reason).await,
            Err(error) => Err(error.into()),
        };
        if let Err(error) = frozen {
            error!(%error, "the freeze was not written");
        }
        self.frozen.cancel();
        self.stop.cancel();
    }

    /// The messages for the wallet that a step's orders come to, signed (payments 7.7).
    pub async fn orders(&self, channel: &Channel, writes: &[Write]) -> Result<Vec<NewOrder>, signer::Error> {
        let mut orders = Vec::new();
        for write in writes {
            if let Write::Order(order) = write {
                orders.push(self.order(channel, order).await?);
            }
        }
        Ok(orders)
    }

    async fn order(&self, channel: &Channel, order: &Order) -> Result<NewOrder, signer::Error> {
        let row = channel.row();
        let channel_id = row.config.channel_id;
        let by = if row.left { contract::Side::A } else { contract::Side::B };
        let (value, message) = match &order.message {
            OrderMessage::TopUp { amount, .. } => {
                (amount.saturating_add(constants::TON_ACCEPT), contract::Message::TopUp { side: by })
            }
            OrderMessage::Init => {
                let part = contract::InitToSign { channel_id };
                let signature = self.signer.sign_contract(&ContractMessage::Init(part.clone())).await?;
                let value = row.config.payment.storage_fee.saturating_add(constants::DEPLOY_VALUE);
                (value, contract::Message::Init { by, signature, part })
            }
            OrderMessage::CooperativeClose { to_sign, peer_signature } => {
                let ours = self.signer.sign_contract(&ContractMessage::Close(to_sign.clone())).await?;
                let signatures = contract::Pair::of(by, ours, *peer_signature);
                (constants::CLOSE_VALUE, contract::Message::CooperativeClose { signatures, part: to_sign.clone() })
            }
            OrderMessage::CooperativeCommit { to_sign, peer_signature } => {
                let ours = self.signer.sign_contract(&ContractMessage::Commit(to_sign.clone())).await?;
                let signatures = contract::Pair::of(by, ours, *peer_signature);
                (constants::COMMIT_VALUE, contract::Message::CooperativeCommit { signatures, part: to_sign.clone() })
            }
            OrderMessage::Start { our, their } => {
                let part = contract::StartToSign { channel_id, states: self.states(channel, our, their).await? };
                let signature = self.signer.sign_contract(&ContractMessage::Start(part.clone())).await?;
                (constants::CLOSE_VALUE, contract::Message::StartUncooperativeClose { by, signature, part })
            }
            OrderMessage::Challenge { our, their } => {
                let part = contract::ChallengeToSign { channel_id, states: self.states(channel, our, their).await? };
                let signature = self.signer.sign_contract(&ContractMessage::Challenge(part.clone())).await?;
                (constants::CLOSE_VALUE, contract::Message::Challenge { by, signature, part })
            }
            OrderMessage::Settle(part) => {
                let signature = self.signer.sign_contract(&ContractMessage::Settle((**part).clone())).await?;
                let part = (**part).clone();
                (constants::SETTLE_VALUE, contract::Message::SettleConditionals { from: by, signature, part })
            }
            OrderMessage::Finish => (constants::CLOSE_VALUE, contract::Message::Finish),
        };
        let deploy = matches!(order.message, OrderMessage::Init);
        Ok(NewOrder {
            id: order.id.clone(),
            channel: Some(row.address),
            destination: ton::Address::basechain(row.address),
            value,
            body: Some(message.to_cell()),
            state_init: if deploy { self.state_init(channel) } else { None },
            bounce: !deploy,
        })
    }

    async fn states(
        &self,
        channel: &Channel,
        our: &wire::State,
        their: &SignedState,
    ) -> Result<contract::Pair<SignedState>, signer::Error> {
        let row = channel.row();
        let step = crate::peer::step_of(channel, &our.body);
        let signature = self.signer.sign_state(our, step).await?;
        let ours = SignedState { signature, state: *our };
        let by = if row.left { contract::Side::A } else { contract::Side::B };
        Ok(contract::Pair::of(by, ours, *their))
    }

    /// Code and initial data.
    fn state_init(&self, channel: &Channel) -> Option<ton::Cell> {
        let row = channel.row();
        Some(ton::state_init(self.code(&row.code_hash)?, row.config.initial_data()))
    }

    /// The code with this hash, if it is at hand.
    pub fn code(&self, hash: &[u8; 32]) -> Option<ton::Cell> {
        if *hash == channel_contract_ton::CODE_HASH { Some(channel_contract_ton::code()) } else { self.live_code.clone() }
    }
}
