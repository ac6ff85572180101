//! Two nodes and a wire between them: the plainest way through the protocol. Faults are the simulator's business.

use std::collections::VecDeque;

use contract::CodeKind;
use contract::ToSign as _;
use ed25519_dalek::{Signer, SigningKey};
use protocol::{
    Address, Channel, Effect, Env, Event, Key, OpenLeg, Origin, Outgoing, Policy, RequestResult, Response, Side, Task, Write,
    envelope::{self, ToSign},
    opening::{self, Parties},
    route,
};
use wire::{
    conditionals::Condition,
    instruction,
    message::{OpenVirtual, Request},
    resolution::Resolution,
};

struct Node {
    key: SigningKey,
    channel: Channel,
    results: Vec<RequestResult>,
    orders: usize,
}

struct Pair {
    nodes: [Node; 2],
    policy: Policy,
    now: u64,
    /// From, what.
    wire: VecDeque<(usize, Packet)>,
}

enum Packet {
    Query { call: u64, proposed: Option<wire::Body>, bytes: Vec<u8> },
    Answer { call: u64, bytes: Vec<u8> },
}

fn sign(key: &SigningKey, what: Option<ToSign<'_>>) -> Option<[u8; 64]> {
    let hash = match what? {
        ToSign::State(s) => s.hash(),
        ToSign::Close(c) => c.hash(),
        ToSign::Commit(c) => c.hash(),
    };
    Some(key.sign(&hash).to_bytes())
}

impl Pair {
    fn new() -> Self {
        let policy = Policy::ton();
        let keys = [SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32])];
        let public = keys.each_ref().map(|k| k.verifying_key().to_bytes());
        let parties = Parties { a: (public[0], [8; 32]), b: (public[1], [9; 32]) };
        let config = opening::open_config(&policy, &parties, 1_700_000_000);
        let nodes = [0, 1].map(|i| {
            let row = opening::new_channel(&policy, &CodeKind::LIVE, config, public[i]);
            let channel = Channel::load(row, [], [], []).unwrap();
            Node { key: keys[i].clone(), channel, results: vec![], orders: 0 }
        });
        let mut pair = Self { nodes, policy, now: 1_700_000_000_000, wire: VecDeque::new() };
        pair.deposit(10_000_000_000);
        pair
    }

    fn deposit(&mut self, amount: u128) {
        for i in 0..2 {
            let mut storage = self.nodes[i].channel.row().config.initial_storage();
            storage.initialised = true;
            storage.balance.deposited = contract::Pair { a: amount, b: 0 };
            let update = protocol::ChainUpdate { lt: 1, storage, settled: vec![], our_states: vec![] };
            self.task(i, Task::Chain(Box::new(update)));
        }
    }

    fn task(&mut self, i: usize, task: Task) {
        self.step(i, Event::Task { id: "t".into(), task }, None);
        self.run();
    }

    fn step(&mut self, i: usize, event: Event, query: Option<u64>) {
        let env = Env { now: self.now, random: 7, policy: &self.policy, released_elsewhere: 0, used_key: None };
        let step = self.nodes[i].channel.step(&env, event);
        for write in &step.writes {
            match write {
                Write::Result { result, .. } => self.nodes[i].results.push(result.clone()),
                Write::Order(_) => self.nodes[i].orders += 1,
                _ => {}
            }
        }
        let address: Address = self.nodes[i].channel.row().address;
        for effect in step.effects {
            match effect {
                Effect::Reply { answer, .. } => {
                    let signature = sign(&self.nodes[i].key, answer.to_sign());
                    let call = query.expect("replies come with queries here");
                    self.wire.push_back((i, Packet::Answer { call, bytes: Response::into_answer(answer, signature).to_boxed() }));
                }
                Effect::Call { call, request } => {
                    let signature = sign(&self.nodes[i].key, request.to_sign());
                    let proposed = request.proposed();
                    let bytes = Outgoing::into_request(request, address, i == 0, signature).to_boxed();
                    self.wire.push_back((i, Packet::Query { call, proposed, bytes }));
                }
                Effect::LoadDictionary { .. } | Effect::Alarm(_) => panic!("{effect:?}"),
            }
        }
    }

    fn run(&mut self) {
        let mut proposed_by_call = std::collections::HashMap::new();
        while let Some((from, packet)) = self.wire.pop_front() {
            let to = 1 - from;
            match packet {
                Packet::Query { call, proposed, bytes } => {
                    proposed_by_call.insert((from, call), proposed);
                    let request = Request::from_boxed(&bytes).unwrap();
                    let instruction = match &request {
                        Request::ProposeAction(p) => match &p.action {
                            wire::Action::OpenVirtual(a) => {
                                let secret = wire::crypt::shared_secret(&self.nodes[to].key, &a.instruction_key).unwrap();
                                instruction::open(&a.instructions, &secret)
                            }
                            _ => None,
                        },
                        _ => None,
                    };
                    let event = envelope::event(call, request, instruction, None).unwrap();
                    self.step(to, event, Some(call));
                }
                Packet::Answer { call, bytes } => {
                    let proposed = proposed_by_call.get(&(to, call)).cloned().flatten();
                    let answer = envelope::answer(proposed.as_ref(), &bytes);
                    self.step(to, Event::Answer { call, answer }, None);
                }
            }
        }
    }

    fn check(&self) {
        let [a, b] = &self.nodes;
        assert_eq!(a.channel.row().our, b.channel.row().their);
        assert_eq!(a.channel.row().their, b.channel.row().our);
        for side in [Side::Our, Side::Their] {
            let other = if side == Side::Our { Side::Their } else { Side::Our };
            assert_eq!(a.channel.available(side), b.channel.available(other));
        }
        assert!(a.channel.row().pending.is_none() && b.channel.row().pending.is_none());
    }

    /// A one-hop payment from A to B; with its state inside when `auto`.
    fn pay(&mut self, virtual_key: &SigningKey, amount: u128, auto: bool) -> Condition {
        let (sender, receiver) = (&self.nodes[0].key, self.nodes[1].key.verifying_key().to_bytes());
        let sender_public: Key = sender.verifying_key().to_bytes();
        let node = route::Node { key: receiver, fee: 0, gap: self.policy.timing.hop_gap() };
        let hops = route::lay(&sender_public, &[node], amount, self.now / 1000, 50_000).unwrap();
        let state = auto.then(|| Resolution::sign(virtual_key, amount).to_cell());
        let plain = route::instructions(&hops, &[sender_public], state);
        let secret = wire::crypt::shared_secret(sender, &receiver).unwrap();
        let mut random = |out: &mut [u8]| out.fill(5);
        let instructions = instruction::seal(&[(plain[0].clone(), secret)], 10, &mut random);
        let signature = virtual_key.sign(&OpenVirtual::bytes_to_sign(&instructions)).to_bytes();
        let channel_key = virtual_key.verifying_key().to_bytes();
        let condition = hops[0].condition(channel_key);
        let action = OpenVirtual { channel_key, instruction_key: sender_public, instructions, signature };
        let origin = Origin::Sender { request_id: "r".into(), sealed: vec![] };
        self.task(0, Task::Open(Box::new(OpenLeg { condition, action, origin })));
        condition
    }
}

#[test]
fn states_are_exchanged_after_opening() {
    let pair = Pair::new();
    pair.check();
    assert_eq!(pair.nodes.each_ref().map(|n| n.channel.row().our.seqno), [1, 1]);
    assert!(pair.nodes.iter().all(|n| n.channel.is_ready()));
}

#[test]
fn a_transfer_closes_by_itself() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    pair.pay(&key, 1_000_000_000, true);
    pair.check();
    assert_eq!(pair.nodes[0].results, [RequestResult::Opened, RequestResult::Paid { amount: 1_000_000_000 }]);
    assert_eq!(pair.nodes[1].channel.available(Side::Our), 1_000_000_000);
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 9_000_000_000);
    assert_eq!(pair.nodes[0].channel.conditionals(Side::Our).len(), 0);
}

#[test]
fn a_virtual_channel_is_paid_in_part_and_the_rest_stays_exposed() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    let condition = pair.pay(&key, 1_000_000_000, false);
    pair.check();
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 9_000_000_000);
    let resolution = Resolution::sign(&key, 400_000_000);
    pair.task(1, Task::Close { key: condition.key, resolution });
    pair.check();
    assert_eq!(pair.nodes[1].channel.available(Side::Our), 400_000_000);
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 9_600_000_000);
    // an older body with the condition in it could still be settled for the rest (payments 7.6.4)
    assert_eq!(pair.nodes[0].channel.row().released, 600_000_000);
}

#[test]
fn an_expired_virtual_channel_is_removed_by_its_payer() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    let condition = pair.pay(&key, 1_000_000_000, false);
    pair.now = (u64::from(condition.deadline) + 1) * 1000;
    pair.step(0, Event::Tick, None);
    pair.run();
    pair.check();
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 10_000_000_000);
    assert_eq!(pair.nodes[0].channel.row().released, 0);
    assert!(matches!(pair.nodes[0].results.last(), Some(RequestResult::Failed { .. })));
}

#[test]
fn more_than_the_balance_is_refused_and_nothing_changes() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    let before = pair.nodes[0].channel.row().our;
    pair.pay(&key, 10_000_000_001, true);
    pair.check();
    assert_eq!(pair.nodes[0].channel.row().our, before);
    assert!(matches!(pair.nodes[0].results[..], [RequestResult::Failed { .. }]));
}

#[test]
fn both_agree_to_close_and_nothing_moves_afterwards() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    pair.pay(&key, 1_000_000_000, true);
    pair.task(1, Task::CloseChannel { force: false });
    assert_eq!(pair.nodes.each_ref().map(|n| n.orders), [0, 1]);
    let other = SigningKey::from_bytes(&[4; 32]);
    pair.pay(&other, 1, true);
    assert!(matches!(pair.nodes[0].results.last(), Some(RequestResult::Failed { .. })));
    assert!(pair.nodes[0].channel.leg(&other.verifying_key().to_bytes(), protocol::Direction::Out).is_none());
}
