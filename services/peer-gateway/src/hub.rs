//! Where engines and peers meet: attached engines, shards, sessions. One lock, short sections, so that every engine sees sessions
//! come and go in one order.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::SystemTime;

use adnl::keys::AdnlId;
use bytes::Bytes;
use rpc::Gate;
use rpc::gateway::v1::{GatewayFrame, PeerSession, ShardEpoch, Welcome};
use tokio::sync::watch;

use crate::engine_link::{EngineLink, Part};
use crate::metrics::Metrics;
use crate::sessions::{Session, Sessions};
use crate::shards::{LinkId, Shards};
use crate::{Key, lock};

struct State {
    shards: Shards,
    sessions: Sessions,
    links: BTreeMap<LinkId, Arc<EngineLink>>,
    wanted: BTreeMap<LinkId, Vec<Key>>,
    next_link: LinkId,
}

/// See the module.
pub(crate) struct Hub {
    name: String,
    adnl_id: AdnlId,
    state: Mutex<State>,
    wanted: watch::Sender<HashSet<Key>>,
    attached: watch::Sender<bool>,
    gate: Gate,
    metrics: Metrics,
}

impl Hub {
    pub fn new(name: String, adnl_id: AdnlId, gate: Gate, metrics: Metrics) -> Self {
        let state = State {
            shards: Shards::default(),
            sessions: Sessions::default(),
            links: BTreeMap::new(),
            wanted: BTreeMap::new(),
            next_link: 1,
        };
        let (wanted, attached) = (watch::Sender::default(), watch::Sender::default());
        Self { name, adnl_id, state: Mutex::new(state), wanted, attached, gate, metrics }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// An engine's stream begins: an older one of the same engine is closed. Returns the link and the stream's first frame.
    pub fn attach(&self, make: impl FnOnce(LinkId) -> Arc<EngineLink>) -> (Arc<EngineLink>, GatewayFrame) {
        let mut state = self.state();
        let id = state.next_link;
        state.next_link += 1;
        let link = make(id);
        let replaced: Vec<_> = state.links.values().filter(|old| old.engine_id == link.engine_id).map(|old| old.id).collect();
        for old in replaced {
            self.remove(&mut state, old);
        }
        state.links.insert(id, link.clone());
        let first = GatewayFrame {
            welcome: Some(Welcome {
                gateway_id: self.name.clone(),
                adnl_id: Bytes::copy_from_slice(&self.adnl_id.0),
                highest_epochs: state.shards.highest(),
            }),
            sessions: state.sessions.after(None).map(|session| notice(&session.peer, true)).collect(),
            ..GatewayFrame::default()
        };
        self.engines_changed(&state);
        (link, first)
    }

    /// An engine's stream ended. What it was asked has no answer.
    pub fn detach(&self, link: LinkId) {
        let mut state = self.state();
        self.remove(&mut state, link);
        self.engines_changed(&state);
    }

    fn remove(&self, state: &mut State, id: LinkId) {
        if let Some(link) = state.links.remove(&id) {
            link.close();
        }
        state.shards.release(id);
        if state.wanted.remove(&id).is_some() {
            self.publish_wanted(state);
        }
    }

    fn engines_changed(&self, state: &State) {
        let any = !state.links.is_empty();
        match any {
            true => self.gate.open(),
            false => self.gate.close("no engine is attached"),
        }
        self.metrics.engines.set(state.links.len() as i64);
        self.attached.send_if_modified(|old| std::mem::replace(old, any) != any);
    }

    /// Whether any engine is attached, as it changes.
    pub fn attached(&self) -> watch::Receiver<bool> {
        self.attached.subscribe()
    }

    /// What an engine owns now.
    pub fn own(&self, link: LinkId, shards: &[ShardEpoch]) {
        let mut state = self.state();
        if state.links.contains_key(&link) {
            state.shards.own(link, shards);
        }
    }

    /// Whom an engine wants connected now.
    pub fn want(&self, link: LinkId, peers: Vec<Key>) {
        let mut state = self.state();
        if state.links.contains_key(&link) {
            state.wanted.insert(link, peers);
            self.publish_wanted(&state);
        }
    }

    fn publish_wanted(&self, state: &State) {
        let all: HashSet<Key> = state.wanted.values().flatten().copied().collect();
        self.metrics.wanted.set(all.len() as i64);
        self.wanted.send_if_modified(|old| {
            let changed = *old != all;
            *old = all;
            changed
        });
    }

    /// Everybody whom some engine wants connected, as it changes.
    pub fn wanted(&self) -> watch::Receiver<HashSet<Key>> {
        self.wanted.subscribe()
    }

    /// The fence: whether something about this peer, sent under this ownership, may go out.
    pub fn passes(&self, peer: &Key, owner: Option<&ShardEpoch>) -> bool {
        let passes =
            owner.is_some_and(|owner| owner.shard == u32::from(store::shard_of(peer)) && self.state().shards.passes(owner));
        if !passes {
            tracing::info!(peer = hex::encode(peer), ?owner, "dropped: not sent by the owner of the peer's shard");
            self.metrics.fenced.inc();
        }
        passes
    }

    /// The engine that owns a peer's shard.
    pub fn owner_of(&self, peer: &Key) -> Option<Arc<EngineLink>> {
        let state = self.state();
        state.links.get(&state.shards.owner(store::shard_of(peer))?).cloned()
    }

    /// Any engines, in no order that matters.
    pub fn engines(&self) -> Vec<Arc<EngineLink>> {
        self.state().links.values().cloned().collect()
    }

    /// A peer has authenticated: its newest session wins. Engines are told again when it was connected before, because the peer may
    /// have restarted.
    pub fn open_session(&self, peer: Key, adnl: AdnlId) -> Arc<Session> {
        let mut state = self.state();
        let (session, before) = state.sessions.open(peer, adnl, SystemTime::now());
        if let Some(before) = before {
            self.tell(&state, notice(&before, false));
        }
        self.tell(&state, notice(&peer, true));
        self.metrics.sessions.set(state.sessions.len() as i64);
        session
    }

    /// Ends a session, unless a newer one took its place. Whether it did.
    pub fn close_session(&self, session: &Arc<Session>) -> bool {
        let mut state = self.state();
        let closed = state.sessions.close(session);
        if closed {
            self.tell(&state, notice(&session.peer, false));
            self.metrics.sessions.set(state.sessions.len() as i64);
        }
        closed
    }

    fn tell(&self, state: &State, notice: PeerSession) {
        for link in state.links.values() {
            link.send(Part::Session(notice.clone()));
        }
    }

    pub fn session_of_peer(&self, peer: &Key) -> Option<Arc<Session>> {
        self.state().sessions.of_peer(peer).cloned()
    }

    pub fn session_of_adnl(&self, adnl: &AdnlId) -> Option<Arc<Session>> {
        self.state().sessions.of_adnl(adnl).cloned()
    }

    /// Sessions by key, above this one.
    pub fn sessions_after(&self, peer: Option<&Key>, limit: usize) -> Vec<Arc<Session>> {
        self.state().sessions.after(peer).take(limit).cloned().collect()
    }

    /// Ends every stream, at shutdown.
    pub fn close(&self) {
        for link in self.engines() {
            self.detach(link.id);
        }
    }
}

fn notice(peer: &Key, connected: bool) -> PeerSession {
    PeerSession { peer_key: Bytes::copy_from_slice(peer), connected }
}
