//! Two parties, the streams between them and a model of the contract, all in memory and without time of its own.

use std::collections::{BTreeMap, VecDeque};

use sspc::{
    Address, Amount, B256, Call, Closing, Effect, Input, LocalKey, Message, OnChain, Params, Party, Payload, Phase, Place,
    Prepared, Proven, Record, Refusal, Round, SignedState, State, Variant, Verifier,
};

pub const PERIOD: u32 = 1000;
pub const DEPOSITS: (u128, u128) = (10_000, 8_000);

pub fn key(party: Party) -> LocalKey {
    LocalKey::from_bytes(&[if party == Party::A { 11 } else { 22 }; 32]).unwrap()
}

pub fn parties() -> [Party; 2] {
    [Party::A, Party::B]
}

pub fn index(party: Party) -> usize {
    usize::from(party == Party::B)
}

pub fn place() -> Place {
    Place { chain_id: 31_337, contract: Address::repeat_byte(0xcc), variant: Variant::Word }
}

pub fn params() -> Params {
    Params {
        a: key(Party::A).address(),
        b: key(Party::B).address(),
        token: Address::ZERO,
        value_a: Amount::new(DEPOSITS.0),
        value_b: Amount::new(DEPOSITS.1),
        period: PERIOD,
        salt: 7,
    }
}

/// The rules of the contract (4.3).
pub struct Contract {
    pub now: u64,
    pub seen: OnChain,
    pub calls: Vec<(Party, Call)>,
    done: Vec<usize>,
    /// Transactions with one number: the first of them that gets into a block is the only one.
    number: BTreeMap<usize, usize>,
}

impl Contract {
    /// A transaction: its bytes name the call. The same bytes count once.
    pub fn prepare(&mut self, by: Party, call: Call) -> Prepared {
        self.calls.push((by, call));
        let number = self.calls.len() - 1;
        Prepared { hash: B256::left_padding_from(&number.to_be_bytes()), raw: number.to_be_bytes().to_vec(), cost: Amount::ZERO }
    }

    /// `other` is made in the place of `one`.
    fn same(&mut self, one: &Prepared, other: &Prepared) {
        let first = self.first(one);
        self.number.insert(index_of(other), first);
    }

    fn first(&self, transaction: &Prepared) -> usize {
        let number = index_of(transaction);
        self.number.get(&number).copied().unwrap_or(number)
    }

    pub fn submit(&mut self, transaction: &Prepared) {
        let number = self.first(transaction);
        if !self.done.contains(&number) {
            self.done.push(number);
            let (by, call) = self.calls[number];
            if let Some(seen) = self.after(by, &call) {
                self.seen = seen;
            }
        }
    }

    fn after(&self, by: Party, call: &Call) -> Option<OnChain> {
        let params = params();
        let signable = Record::new(place(), params, by, 0).unwrap().signable().unwrap();
        let mut peer = Verifier::new(params.address(by.other()));
        let mut signed = |signed: &SignedState| {
            let own_round = signed.state.round.signer() == Some(by.other());
            let sums = signed.state.balances.a.plus(signed.state.balances.b) == Some(params.total());
            own_round && sums && Proven::state(&signable, &mut peer, *signed).is_some()
        };
        let deadline = self.now + u64::from(PERIOD);
        match (self.seen, call) {
            (OnChain::Absent, Call::Open) if by == Party::A => Some(OnChain::Proposed),
            (OnChain::Proposed, Call::Accept) if by == Party::B => Some(OnChain::Open),
            (OnChain::Proposed, Call::Cancel) if by == Party::A => Some(OnChain::Cancelled),
            (OnChain::Open, Call::Challenge(None)) => {
                Some(OnChain::Closing(Closing { by, round: Round::OPENING, balance_a: params.value_a, deadline }))
            }
            (OnChain::Open, Call::Challenge(Some(state))) if signed(state) => {
                let (round, balance_a) = (state.state.round, state.state.balances.a);
                Some(OnChain::Closing(Closing { by, round, balance_a, deadline }))
            }
            (OnChain::Closing(closing), Call::Dispute(state))
                if closing.by != by && state.state.round > closing.round && signed(state) =>
            {
                Some(OnChain::Closed(state.state.balances.a))
            }
            (OnChain::Open | OnChain::Closing(_), Call::CooperativeClose(close)) => {
                Proven::close(&signable, &mut peer, *close).map(|_| OnChain::Closed(close.balances.a))
            }
            (OnChain::Closing(closing), Call::Finish) if self.now > closing.deadline => Some(OnChain::Closed(closing.balance_a)),
            _ => None,
        }
    }
}

fn index_of(transaction: &Prepared) -> usize {
    usize::from_be_bytes(transaction.raw.clone().try_into().unwrap())
}

/// One party that follows the rules; its process may end after any effect.
pub struct Node {
    pub memory: Record,
    pub disk: Record,
    pub peer: Verifier,
    /// Effects until the process ends.
    pub fuse: Option<usize>,
    /// Each state that left, by round.
    pub left: BTreeMap<Round, State>,
    /// A close was signed or a way out submitted.
    pub leaving: bool,
}

/// All of it.
pub struct World {
    pub contract: Contract,
    pub nodes: [Node; 2],
    /// Messages to a, and to b.
    pub streams: [VecDeque<Message>; 2],
}

impl World {
    pub fn new() -> Self {
        let node = |role: Party| {
            let record = Record::new(place(), params(), role, 0).unwrap();
            let peer = Verifier::new(record.params.address(role.other()));
            Node { memory: record.clone(), disk: record, peer, fuse: None, left: BTreeMap::new(), leaving: false }
        };
        let contract =
            Contract { now: 1_000_000, seen: OnChain::Absent, calls: Vec::new(), done: Vec::new(), number: BTreeMap::new() };
        let nodes = [node(Party::A), node(Party::B)];
        Self { contract, nodes, streams: [VecDeque::new(), VecDeque::new()] }
    }

    /// With the channel open at both.
    pub fn open() -> Self {
        let mut world = Self::new();
        world.run(Party::A, Input::Open(0)).unwrap();
        world.look(Party::B);
        world.run(Party::B, Input::Accept(0)).unwrap();
        world.look(Party::A);
        world.look(Party::B);
        assert!(world.nodes.iter().all(|node| node.disk.phase == Phase::Open && node.disk.pending.is_none()));
        world
    }

    pub fn node(&self, party: Party) -> &Node {
        &self.nodes[index(party)]
    }

    /// Steps and does the effects, up to the fuse.
    pub fn run(&mut self, party: Party, input: Input) -> Result<(), Refusal> {
        let (next, effects) = self.node(party).memory.step(input)?;
        check_order(&effects);
        self.nodes[index(party)].memory = next;
        for effect in effects {
            let node = &mut self.nodes[index(party)];
            match &mut node.fuse {
                Some(0) => {
                    self.crash(party);
                    return Ok(());
                }
                Some(left) => *left -= 1,
                None => {}
            }
            self.effect(party, effect);
        }
        Ok(())
    }

    fn effect(&mut self, party: Party, effect: Effect) {
        let node = &mut self.nodes[index(party)];
        match effect {
            Effect::Persist => node.disk = node.memory.clone(),
            Effect::Sign(payload) => {
                let digest = node.memory.signable().unwrap().digest(&payload);
                self.run(party, Input::Signed(payload, key(party).sign_digest(&digest))).unwrap();
            }
            Effect::Prepare(call) => {
                let transaction = self.contract.prepare(party, call);
                let now = self.contract.now;
                self.run(party, Input::Prepared(call, transaction, now)).unwrap();
            }
            Effect::Raise(transaction, _) => {
                // The same call, in other bytes.
                let call = node.memory.pending.as_ref().unwrap().call;
                let (of, now) = (transaction.hash, self.contract.now);
                let by = self.contract.prepare(party, call);
                self.contract.same(&transaction, &by);
                self.run(party, Input::Raised { of, by, now }).unwrap();
            }
            Effect::Submit(transaction) => {
                assert_eq!(
                    node.disk.pending.as_ref().map(|pending| &pending.transaction),
                    Some(&transaction),
                    "kept before sent"
                );
                let call = node.disk.pending.as_ref().unwrap().call;
                node.leaving |= matches!(call, Call::CooperativeClose(_) | Call::Challenge(_) | Call::Dispute(_) | Call::Finish);
                self.contract.submit(&transaction);
            }
            Effect::Deliver(message) => self.deliver(party, message),
            Effect::Credit(_) | Effect::Alarm(_) => {}
        }
    }

    fn deliver(&mut self, from: Party, message: Message) {
        let node = &mut self.nodes[index(from)];
        match &message {
            Message::Pay { signed, .. } => {
                assert_eq!(node.disk.given, Some(*signed), "kept before sent");
                let again = node.left.insert(signed.state.round, signed.state);
                assert!(again.is_none_or(|state| state == signed.state), "two states of one round");
                assert!(again.is_some() || !node.leaving, "signed after leaving");
            }
            Message::CloseOffer(close) => {
                assert_eq!(node.disk.phase, Phase::CloseSigned(*close), "kept before sent");
                node.leaving = true;
            }
            _ => {}
        }
        self.streams[index(from.other())].push_back(message);
    }

    /// The process ends: memory and the streams are gone.
    pub fn crash(&mut self, party: Party) {
        let node = &mut self.nodes[index(party)];
        node.memory = node.disk.clone();
        node.fuse = None;
        self.streams = [VecDeque::new(), VecDeque::new()];
    }

    /// A new stream: both say again what the other may have missed.
    pub fn reconnect(&mut self) {
        self.streams = [VecDeque::new(), VecDeque::new()];
        for party in parties() {
            self.run(party, Input::Resend).unwrap();
        }
    }

    /// The next message to `party` arrives.
    pub fn arrive(&mut self, party: Party) -> bool {
        let Some(message) = self.streams[index(party)].pop_front() else { return false };
        let _ = self.take(party, &message);
        true
    }

    /// What a party does with a message.
    pub fn take(&mut self, party: Party, message: &Message) -> Result<(), Refusal> {
        let node = &mut self.nodes[index(party)];
        let signable = node.memory.signable().unwrap();
        let input = match message {
            Message::Pay { signed, counted } => {
                let Some(signed) = Proven::state(&signable, &mut node.peer, *signed) else { return Ok(()) };
                Input::Received { signed, counted: *counted }
            }
            Message::Ack { counted, round } => Input::Acknowledged { counted: *counted, round: *round },
            Message::CloseOffer(close) => {
                let Some(close) = Proven::close(&signable, &mut node.peer, *close) else { return Ok(()) };
                Input::CloseReceived(close)
            }
            _ => return Ok(()),
        };
        self.run(party, input)
    }

    /// A party looks at the chain and does what is due, as a guard does once per period.
    /// When its process ends meanwhile, it starts again and looks again.
    pub fn look(&mut self, party: Party) {
        let fused = self.node(party).fuse.is_some();
        self.look_once(party);
        if fused && self.node(party).fuse.is_none() {
            self.look_once(party);
        }
    }

    fn look_once(&mut self, party: Party) {
        for _ in 0..4 {
            if let Some(pending) = self.node(party).memory.pending.clone() {
                self.contract.submit(&pending.transaction);
                self.run(party, Input::Dropped(pending.transaction)).unwrap();
            }
            self.run(party, Input::Chain(self.contract.seen)).unwrap();
            let now = self.contract.now;
            let Some(due) = self.node(party).memory.due(now) else { return };
            self.run(party, due).unwrap();
        }
    }

    /// Messages flow until there is none.
    pub fn settle_streams(&mut self) {
        for _ in 0..10_000 {
            if !(self.arrive(Party::A) | self.arrive(Party::B)) {
                return;
            }
        }
        panic!("the parties talk for ever");
    }

    /// Time passes; whoever is honest looks.
    pub fn pass(&mut self, seconds: u64, honest: &[Party]) {
        self.contract.now += seconds;
        for party in honest {
            self.look(*party);
        }
    }

    /// What a party got in the end.
    pub fn payout(&self, party: Party) -> Option<u128> {
        let OnChain::Closed(a) = self.contract.seen else { return None };
        let total = DEPOSITS.0 + DEPOSITS.1;
        Some(if party == Party::A { a.get() } else { total - a.get() })
    }

    pub fn sign(&self, by: Party, payload: &Payload) -> sspc::Signature {
        let signable = self.node(by).memory.signable().unwrap();
        key(by).sign_digest(&signable.digest(payload))
    }
}

/// Whatever leaves comes after the record is kept.
fn check_order(effects: &[Effect]) {
    let kept = effects.iter().position(|effect| *effect == Effect::Persist).unwrap_or(effects.len());
    let sent = effects.iter().position(|effect| matches!(effect, Effect::Submit(_) | Effect::Credit(_)));
    assert!(sent.is_none_or(|sent| kept < sent), "{effects:?}");
    assert!(effects.iter().filter(|effect| **effect == Effect::Persist).count() <= 1);
}
