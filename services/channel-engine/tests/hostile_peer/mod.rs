//! A peer that is nothing but a key and a channel: it says to a real engine whatever a test wants.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use contract::CodeKind;
use ed25519_dalek::{Signer as _, SigningKey};
use protocol::{
    Address, ChannelRow, Key, Policy,
    opening::{self, Parties},
    route::{self, Hop},
};
use wire::{
    Action, Answer, Body, Condition, Request, SignedState, State,
    conditionals::Conditionals,
    crypt::shared_secret,
    instruction,
    message::{self, IncrementStates, OpenChannelOffchain, OpenVirtual},
};

use crate::network::{Network, World};

const PATIENCE: Duration = Duration::from_secs(5);
const ASKS: usize = 6;
const WALLET: [u8; 32] = [0x77; 32];

/// The peer. It opens the channel and so is its left side.
pub struct HostilePeer {
    network: Arc<Network>,
    key: SigningKey,
    node: Key,
    row: Option<ChannelRow>,
    /// Its agreed body.
    pub our: Body,
    /// The node's body, which stays as it began: this peer answers nothing.
    pub their: Body,
}

/// A message that must be refused.
pub struct Refused {
    what: &'static str,
    request: Request,
}

impl Refused {
    /// With what is wrong with it.
    pub fn new(what: &'static str, request: Request) -> Self {
        Self { what, request }
    }

    /// Sends it.
    pub async fn check(&self, peer: &HostilePeer) -> anyhow::Result<()> {
        let answer = peer.ask(&self.request).await?;
        let reason = match &answer {
            Answer::Decision(d) if !d.agreed && d.signature.is_none() => &d.reason,
            Answer::ProposalDecision(d) if !d.agreed && d.signed_state.is_none() => &d.reason,
            Answer::OpenChannelOffchainResponse(r) => &r.reason,
            other => panic!("{}: {other:?}", self.what),
        };
        assert!(!reason.is_empty(), "{}: refused without a reason: {answer:?}", self.what);
        assert_ne!(reason, message::BUSY, "{}", self.what);
        Ok(())
    }
}

/// A state with its owner's signature.
pub fn signed(key: &SigningKey, state: State) -> SignedState {
    SignedState { signature: key.sign(&state.hash()).to_bytes(), state }
}

fn code() -> CodeKind {
    CodeKind { hash: channel_contract_ton::CODE_HASH, depth: channel_contract_ton::CODE_DEPTH }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

impl HostilePeer {
    /// A stranger to `node`.
    pub fn new(network: Arc<Network>, seed: u8, node: Key) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        Self { network, key, node, row: None, our: Body::start(0), their: Body::start(0) }
    }

    /// Its channel key.
    pub fn key(&self) -> Key {
        self.key.verifying_key().to_bytes()
    }

    /// What it signs with.
    pub fn signing_key(&self) -> &SigningKey {
        &self.key
    }

    /// Its channel.
    pub fn channel(&self) -> Address {
        self.row.as_ref().expect("a channel was opened").address
    }

    /// Asks the node, again when there is no answer, as any peer does: a query whose shard has no owner at the moment is dropped.
    pub async fn ask(&self, request: &Request) -> anyhow::Result<Answer> {
        for _ in 0..ASKS {
            if let Some(answer) = self.network.ask(self.key(), self.node, request.to_boxed(), PATIENCE).await {
                return Ok(Answer::from_boxed(&answer)?);
            }
        }
        anyhow::bail!("no answer to any of {ASKS} queries")
    }

    async fn offer(&self) -> anyhow::Result<(ChannelRow, OpenChannelOffchain)> {
        let policy = Policy::ton();
        let request = Request::ProposeChannelConfig(opening::config_request(&policy, &code()));
        let Answer::ChannelConfig(terms) = self.ask(&request).await? else { anyhow::bail!("no terms") };
        anyhow::ensure!(terms.ok, "{}", terms.reason);
        let parties = Parties { a: (self.key(), WALLET), b: (self.node, terms.wallet_addr) };
        let config = opening::open_config(&policy, &parties, now() as u32);
        let open =
            OpenChannelOffchain { code_hash: code().hash, open_config: config.to_cell(), node_version: opening::NODE_VERSION };
        Ok((opening::new_channel(&policy, &code(), config, self.key()), open))
    }

    /// Agrees a channel with the node at `place`, and tells that node of a deposit.
    pub async fn open(&mut self, world: &World, place: usize, deposit: u128) -> anyhow::Result<()> {
        let (row, open) = self.offer().await?;
        let Answer::OpenChannelOffchainResponse(opened) = self.ask(&Request::OpenChannelOffchain(open.clone())).await? else {
            anyhow::bail!("no opening")
        };
        anyhow::ensure!(opened.reason.is_empty() && opened.addr == row.address, "{opened:?}");
        // Asked again: the same answer. Another one without a deposit: not.
        let Answer::OpenChannelOffchainResponse(again) = self.ask(&Request::OpenChannelOffchain(open)).await? else {
            anyhow::bail!("no opening")
        };
        anyhow::ensure!(again == opened, "{again:?}");
        let mut second = row.config;
        second.channel_id[15] ^= 1;
        let open = OpenChannelOffchain { code_hash: code().hash, open_config: second.to_cell(), node_version: 2 };
        Refused::new("a second channel without a deposit", Request::OpenChannelOffchain(open)).check(self).await?;
        world
            .tell(place, row.address, 1, |storage| {
                storage.initialised = true;
                storage.balance.deposited = contract::Pair { a: deposit, b: 0 };
            })
            .await?;
        self.row = Some(row);
        let first = Action::IncrementStates(IncrementStates { want_response: false });
        anyhow::ensure!(self.propose(first).await?, "the first state is refused");
        world.wait_for_status(place, self.channel(), rpc::engine::v1::ChannelStatus::Active).await
    }

    /// Channels that no node agrees to.
    pub async fn bad_openings(&self) -> anyhow::Result<Vec<Refused>> {
        let (row, good) = self.offer().await?;
        let with = |what, change: fn(&mut contract::OpenConfig)| {
            let mut config = row.config;
            change(&mut config);
            Refused::new(
                what,
                Request::OpenChannelOffchain(OpenChannelOffchain { open_config: config.to_cell(), ..good.clone() }),
            )
        };
        let no_config = signed(&self.key, State { channel_id: [1; 16], body: Body::start(0), counterparty: None }).to_cell();
        let raw = |what, open| Refused::new(what, Request::OpenChannelOffchain(open));
        Ok(vec![
            raw("an unknown code", OpenChannelOffchain { code_hash: [1; 32], ..good.clone() }),
            raw("a config that is none", OpenChannelOffchain { open_config: no_config, ..good.clone() }),
            with("keys of others", |c| c.keys.a = [1; 32]),
            with("both keys the node's", |c| c.keys.a = c.keys.b),
            with("the sides the other way round", |c| std::mem::swap(&mut c.keys.a, &mut c.keys.b)),
            with("another wallet", |c| c.payment.destinations.b.hash = [1; 32]),
            with("no quarantine", |c| c.closing.quarantine_duration = 0),
            with("no time to settle", |c| c.closing.conditional_close_duration = 0),
            with("the largest fine", |c| c.closing.misbehavior_fine = ton::MAX_COINS),
            with("another storage fee", |c| c.payment.storage_fee = 1),
        ])
    }

    /// The next state, that changes nothing else.
    pub fn next(&self) -> State {
        let row = self.row.as_ref().expect("a channel was opened");
        let body = Body { seqno: self.our.seqno + 1, ..self.our };
        State { channel_id: row.config.channel_id, body, counterparty: Some(self.their) }
    }

    /// An increment with this state.
    pub fn proposal(&self, state: SignedState, proof: Option<ton::Cell>) -> Request {
        self.action(state, Action::IncrementStates(IncrementStates { want_response: false }), proof)
    }

    /// An increment with any cell for a state.
    pub fn with_state_cell(&self, state: ton::Cell) -> Request {
        let Request::ProposeAction(propose) = self.proposal(signed(&self.key, self.next()), None) else { unreachable!() };
        Request::ProposeAction(message::ProposeAction { state, ..propose })
    }

    /// A proposal.
    pub fn action(&self, state: SignedState, action: Action, proof: Option<ton::Cell>) -> Request {
        Request::ProposeAction(message::ProposeAction {
            lock_id: 1,
            channel_addr: self.channel(),
            action,
            state: state.to_cell(),
            conditionals: proof,
        })
    }

    /// Proposes an action that changes nothing but the seqno. Whether it was agreed.
    pub async fn propose(&mut self, action: Action) -> anyhow::Result<bool> {
        let state = signed(&self.key, self.next());
        let answer = self.ask(&self.action(state, action, None)).await?;
        let Answer::ProposalDecision(decision) = answer else { anyhow::bail!("{answer:?}") };
        if decision.agreed {
            self.our = state.state.body;
        }
        Ok(decision.agreed)
    }

    /// A condition for the node as receiver, and the action that opens it.
    pub fn open_virtual(&self, seed: u8, capacity: u128) -> (Condition, OpenVirtual) {
        let virtual_key = SigningKey::from_bytes(&[seed; 32]);
        let hop = Hop { target: self.node, capacity, fee: 0, deadline: (now() + 200_000) as u32 };
        let plain = route::instructions(&[hop], &[self.key()], None);
        let secret = shared_secret(&self.key, &self.node).unwrap();
        let mut random = |out: &mut [u8]| getrandom::fill(out).unwrap();
        let all: Vec<_> = plain.into_iter().map(|i| (i, secret)).collect();
        let padding = instruction::draw_padding(&mut random);
        let instructions = instruction::seal(&all, padding, &mut random);
        let signature = virtual_key.sign(&OpenVirtual::bytes_to_sign(&instructions)).to_bytes();
        let channel_key = virtual_key.verifying_key().to_bytes();
        (hop.condition(channel_key), OpenVirtual { channel_key, instruction_key: self.key(), instructions, signature })
    }

    /// The proposal of an openVirtual with exactly this condition in the dictionary.
    pub fn open_with(&self, what: &'static str, condition: Condition, action: OpenVirtual) -> Refused {
        Refused::new(what, self.opening(condition, action).0)
    }

    fn opening(&self, condition: Condition, action: OpenVirtual) -> (Request, Body) {
        let dictionary = Conditionals::from_conditions([condition]).unwrap();
        let mut state = self.next();
        state.body.conditionals = dictionary.root_hash();
        let proof = dictionary.proof_of_entry(condition.index());
        (self.action(signed(&self.key, state), Action::OpenVirtual(action), proof), state.body)
    }

    /// Opens a virtual channel with the node as receiver, keeping every rule.
    pub async fn open_well(&mut self, seed: u8, capacity: u128) -> anyhow::Result<()> {
        let (condition, action) = self.open_virtual(seed, capacity);
        let (request, body) = self.opening(condition, action);
        let answer = self.ask(&request).await?;
        let Answer::ProposalDecision(decision) = &answer else { anyhow::bail!("{answer:?}") };
        anyhow::ensure!(decision.agreed, "{}", decision.reason);
        self.our = body;
        Ok(())
    }
}
