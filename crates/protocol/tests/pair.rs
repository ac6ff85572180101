//! Two nodes and a wire between them: the plainest way through the protocol. Faults are the simulator's business.

use std::collections::VecDeque;

use contract::CodeKind;
use contract::ToSign as _;
use ed25519_dalek::{Signer, SigningKey};
use protocol::{
    Address, Alarm, CallFailed, Channel, Effect, Env, Event, Key, OpenLeg, OrderMessage, Origin, Outgoing, Policy, RequestResult,
    Response, Side, Status, Task, Write,
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
    orders: Vec<OrderMessage>,
}

struct Pair {
    nodes: [Node; 2],
    policy: Policy,
    now: u64,
    /// From, what.
    wire: VecDeque<(usize, Packet)>,
    /// The next answer is lost.
    loses: bool,
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
            Node { key: keys[i].clone(), channel, results: vec![], orders: vec![] }
        });
        let mut pair = Self { nodes, policy, now: 1_700_000_000_000, wire: VecDeque::new(), loses: false };
        pair.deposit(10_000_000_000);
        pair
    }

    fn deposit(&mut self, amount: u128) {
        self.chain(1, |storage| {
            storage.initialised = true;
            storage.balance.deposited = contract::Pair { a: amount, b: 0 };
        });
    }

    /// Both sides see the contract.
    fn chain(&mut self, lt: u64, change: impl Fn(&mut contract::Storage)) {
        for i in 0..2 {
            let mut storage = self.nodes[i].channel.row().config.initial_storage();
            change(&mut storage);
            let update = protocol::ChainUpdate { lt, storage, settled: vec![], our_states: vec![] };
            self.task(i, Task::Chain(Box::new(update)));
        }
    }

    /// Until nothing is left to do for a while.
    fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds {
            self.now += 1_000;
            for i in 0..2 {
                self.step(i, Event::Tick);
                self.run();
            }
        }
    }

    fn withdraw(&mut self, i: usize, amount: u128) {
        self.task(i, Task::Withdraw { request_id: "w".into(), amount });
    }

    fn task(&mut self, i: usize, task: Task) {
        self.step(i, Event::Task { id: "t".into(), task });
        self.run();
    }

    /// Calls name their replies.
    fn step(&mut self, i: usize, event: Event) {
        let env = Env { now: self.now, random: 7, policy: &self.policy, released_elsewhere: 0, used_key: None };
        let step = self.nodes[i].channel.step(&env, event);
        for write in &step.writes {
            match write {
                Write::Result { result, .. } => self.nodes[i].results.push(result.clone()),
                Write::Order(order) => self.nodes[i].orders.push(order.message.clone()),
                _ => {}
            }
        }
        let address: Address = self.nodes[i].channel.row().address;
        for effect in step.effects {
            match effect {
                Effect::Reply { reply, answer } => {
                    let signature = sign(&self.nodes[i].key, answer.to_sign());
                    self.wire.push_back((
                        i,
                        Packet::Answer { call: reply, bytes: Response::into_answer(answer, signature).to_boxed() },
                    ));
                }
                Effect::Call { call, request } => {
                    let signature = sign(&self.nodes[i].key, request.to_sign());
                    let proposed = request.proposed();
                    let bytes = Outgoing::into_request(request, address, i == 0, signature).to_boxed();
                    self.wire.push_back((i, Packet::Query { call, proposed, bytes }));
                }
                Effect::Alarm(Alarm::ForcedClose { .. }) => {}
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
                    self.step(to, event);
                }
                Packet::Answer { call, bytes } => {
                    let proposed = proposed_by_call.get(&(to, call)).cloned().flatten();
                    let lost = std::mem::take(&mut self.loses);
                    let answer = if lost { Err(CallFailed::Timeout) } else { envelope::answer(proposed.as_ref(), &bytes) };
                    self.step(to, Event::Answer { call, answer });
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
    pair.step(0, Event::Tick);
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
    assert_eq!(pair.nodes.each_ref().map(|n| n.orders.len()), [0, 1]);
    let other = SigningKey::from_bytes(&[4; 32]);
    pair.pay(&other, 1, true);
    assert!(matches!(pair.nodes[0].results.last(), Some(RequestResult::Failed { .. })));
    assert!(pair.nodes[0].channel.leg(&other.verifying_key().to_bytes(), protocol::Direction::Out).is_none());
}

#[test]
fn a_withdrawal_is_brought_to_the_chain_when_states_of_its_seqnos_are_exchanged() {
    let mut pair = Pair::new();
    pair.policy.sign_commits = true;
    pair.pay(&SigningKey::from_bytes(&[3; 32]), 1_000_000_000, true);
    pair.withdraw(0, 4_000_000_000);
    pair.check();
    let [OrderMessage::CooperativeCommit { to_sign, peer_signature }] = &pair.nodes[0].orders[..] else {
        panic!("{:?}", pair.nodes[0].orders);
    };
    let to_sign = to_sign.clone();
    assert!(to_sign.verify(&pair.nodes[0].channel.row().peer, peer_signature));
    assert_eq!(to_sign.withdrawn, contract::Pair { a: 4_000_000_000, b: 0 });
    assert_eq!(to_sign.sent, contract::Pair { a: 1_000_000_000, b: 0 });
    // Whoever falls silent now, both could still close alone (payments 10.1.6).
    for (node, ours) in pair.nodes.iter().zip([to_sign.seqnos.a, to_sign.seqnos.b]) {
        let signed = node.channel.row().their_signed.unwrap().state;
        assert!(node.channel.row().our.seqno >= ours && signed.counterparty.unwrap().seqno >= ours);
    }
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 5_000_000_000);
    assert_eq!(pair.nodes[0].results.len(), 2);

    pair.pay(&SigningKey::from_bytes(&[4; 32]), 5_000_000_001, true);
    assert!(matches!(pair.nodes[0].results.last(), Some(RequestResult::Failed { .. })));
    pair.chain(2, |storage| {
        storage.initialised = true;
        storage.balance.deposited.a = 10_000_000_000;
        storage.balance.withdrawn = to_sign.withdrawn;
        storage.balance.sent = to_sign.sent;
        storage.committed_seqnos = to_sign.seqnos;
    });
    pair.check();
    assert_eq!(pair.nodes[0].results.last(), Some(&RequestResult::Paid { amount: 4_000_000_000 }));
    assert!(pair.nodes.iter().all(|n| n.channel.row().pending_withdraw == [0; 2]));
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 5_000_000_000);
    pair.task(0, Task::CloseChannel { force: false });
    assert!(matches!(pair.nodes[0].orders[..], [_, OrderMessage::CooperativeClose { .. }]));
}

#[test]
fn a_withdrawal_that_the_peer_refuses_fails_and_nothing_is_stuck() {
    let mut pair = Pair::new();
    pair.withdraw(0, 4_000_000_000);
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 6_000_000_000);
    pair.withdraw(0, 1);
    assert!(matches!(&pair.nodes[0].results[..], [RequestResult::Failed { reason }] if reason.contains("under way")));
    pair.pass(60);
    pair.check();
    let reason = "the peer refuses: withdrawals are not signed for this peer".to_string();
    assert_eq!(pair.nodes[0].results.last(), Some(&RequestResult::Failed { reason }));
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 10_000_000_000);
    assert!(pair.nodes.iter().all(|n| n.orders.is_empty() && n.channel.row().withdrawal.is_none()));
    pair.pay(&SigningKey::from_bytes(&[3; 32]), 10_000_000_000, true);
    pair.check();
    assert_eq!(pair.nodes[1].channel.available(Side::Our), 10_000_000_000);
    pair.task(1, Task::CloseChannel { force: false });
    assert!(matches!(pair.nodes[1].orders[..], [OrderMessage::CooperativeClose { .. }]));
}

#[test]
fn more_than_the_balance_cannot_be_withdrawn() {
    let mut pair = Pair::new();
    pair.policy.sign_commits = true;
    for (node, amount) in [(0, 10_000_000_001), (0, 0), (1, 1)] {
        pair.withdraw(node, amount);
        assert!(matches!(pair.nodes[node].results.pop(), Some(RequestResult::Failed { .. })));
    }
    pair.check();
    assert!(pair.nodes.iter().all(|n| n.orders.is_empty() && n.channel.row().withdrawal.is_none()));
}

#[test]
fn a_commit_that_lands_before_states_are_exchanged_ends_a_close_and_brings_the_exchange() {
    let mut pair = Pair::new();
    let before = pair.nodes.each_ref().map(|n| n.channel.row().our);
    let committed = |storage: &mut contract::Storage| {
        storage.initialised = true;
        storage.balance.deposited.a = 10_000_000_000;
    };
    pair.chain(2, |storage| {
        committed(storage);
        let bodies = contract::Pair { a: before[0], b: before[1] };
        storage.quarantine =
            Some(contract::Quarantine { bodies, started_at: 1_700_000_000, committed_by: contract::Side::B, challenged: false });
    });
    assert!(pair.nodes.iter().all(|n| n.channel.row().status == Status::Disputed));
    pair.chain(3, |storage| {
        committed(storage);
        storage.balance.withdrawn.a = 1;
        storage.committed_seqnos = contract::Pair { a: before[0].seqno + 1, b: before[1].seqno + 1 };
    });
    pair.pass(10);
    pair.check();
    for (node, before) in pair.nodes.iter().zip(before) {
        let row = node.channel.row();
        assert!(row.status == Status::Active && row.our.seqno > before.seqno, "{row:?}");
    }
    pair.task(0, Task::CloseChannel { force: true });
    assert!(matches!(pair.nodes[0].orders[..], [OrderMessage::Start { .. }]));
}

/// A commit may be signed by both and never heard of again. A close must not wait for it, and must be good wherever it lands.
#[test]
fn a_withdrawal_whose_signature_was_lost_is_in_nobodys_way() {
    for closing in [0, 1] {
        let mut pair = Pair::new();
        pair.policy.sign_commits = true;
        let before = pair.nodes.each_ref().map(|n| n.channel.row().our.seqno);
        pair.loses = true;
        pair.withdraw(0, 4_000_000_000);
        assert_eq!(pair.nodes[1].channel.row().pending_withdraw, [0, 4_000_000_000]);
        pair.task(closing, Task::CloseChannel { force: false });
        pair.pass(60);
        let [OrderMessage::CooperativeClose { to_sign, .. }] = &pair.nodes[closing].orders[..] else {
            panic!("{closing}: {:?}", pair.nodes[closing].orders);
        };
        assert!(to_sign.seqnos.a > before[0] + 1 && to_sign.seqnos.b > before[1] + 1, "not above the commit's");
        let reason = "the channel is being closed".to_string();
        assert_eq!(pair.nodes[0].results.last(), Some(&RequestResult::Failed { reason }));
        assert!(pair.nodes[1 - closing].orders.is_empty());
    }
}

#[test]
fn after_a_withdrawal_that_was_given_up_a_smaller_one_is_possible() {
    let mut pair = Pair::new();
    pair.policy.sign_commits = true;
    pair.loses = true;
    pair.withdraw(0, 4_000_000_000);
    pair.policy.sign_commits = false;
    pair.pass(60);
    assert!(matches!(pair.nodes[0].results.last(), Some(RequestResult::Failed { .. })));
    assert_eq!(pair.nodes.each_ref().map(|n| n.channel.row().pending_withdraw), [[0, 0], [0, 4_000_000_000]]);
    pair.policy.sign_commits = true;
    pair.withdraw(0, 1_000_000_000);
    pair.pass(60);
    let Some(OrderMessage::CooperativeCommit { to_sign, .. }) = pair.nodes[0].orders.pop() else { panic!("no order") };
    pair.chain(2, |storage| {
        storage.initialised = true;
        storage.balance.deposited.a = 10_000_000_000;
        storage.balance.withdrawn = to_sign.withdrawn;
        storage.committed_seqnos = to_sign.seqnos;
    });
    // The first one cannot land any more: nothing is promised to it.
    pair.check();
    assert_eq!(pair.nodes[0].channel.available(Side::Our), 9_000_000_000);
    assert!(pair.nodes.iter().all(|n| n.channel.row().pending_withdraw == [0; 2]));
}

#[test]
fn who_asks_for_the_lock_under_another_id_gets_it_when_the_first_is_given_back() {
    let mut pair = Pair::new();
    pair.run();
    let mut ask = |reply, id, lock, now| {
        let env = Env { now, random: 7, policy: &pair.policy, released_elsewhere: 0, used_key: None };
        let step = pair.nodes[0].channel.step(&env, Event::Lock { reply, id, lock });
        let answers = step.effects.into_iter().filter_map(|effect| match effect {
            Effect::Reply { reply, answer: Response::Decision { agreed, .. } } => Some((reply, agreed)),
            _ => None,
        });
        answers.collect::<Vec<_>>()
    };
    let now = pair.now;
    assert_eq!(ask(1, 11, true, now), [(1, true)]);
    // The word that the first is given back comes after the question for the next.
    assert_eq!(ask(2, 12, true, now), []);
    assert_eq!(ask(3, 13, true, now), [(3, false)], "one waits, no more");
    assert_eq!(ask(4, 11, false, now), [(4, true), (2, true)]);
    // What waits is refused in its time.
    assert_eq!(ask(5, 14, true, now), []);
    assert_eq!(ask(6, 12, true, now + 2_000), [(6, true), (5, false)]);
}

#[test]
fn a_close_that_differs_from_the_current_states_is_refused() {
    let mut pair = Pair::new();
    let key = SigningKey::from_bytes(&[3; 32]);
    pair.pay(&key, 1_000_000_000, true);
    let row = pair.nodes[1].channel.row();
    let current = contract::CloseToSign {
        channel_id: row.config.channel_id,
        sent: contract::Pair { a: row.their.sent, b: row.our.sent },
        seqnos: contract::Pair { a: row.their.seqno + 1, b: row.our.seqno + 1 },
    };
    let mut older = current.clone();
    (older.sent.a, older.seqnos.a) = (0, 2);
    let mut richer = current.clone();
    richer.sent.b += 1;
    for (asked, reason) in [
        (older, "close request differs from the current states"),
        (richer, "close request differs from the current states"),
        (current, ""),
    ] {
        let signature = pair.nodes[0].key.sign(&asked.hash()).to_bytes();
        let signatures = contract::Pair { a: signature, b: [0; 64] };
        let signed_close_request = contract::Message::CooperativeClose { signatures, part: asked.clone() }.to_cell();
        let action = wire::Action::CooperativeClose(wire::message::CooperativeClose { signed_close_request });
        let env = Env { now: pair.now, random: 7, policy: &pair.policy, released_elsewhere: 0, used_key: None };
        let step = pair.nodes[1].channel.step(&env, Event::Request { reply: 1, action });
        match &step.effects[0] {
            Effect::Reply { answer: Response::Decision { agreed: false, reason: given }, .. } => assert_eq!(given, reason),
            Effect::Reply { answer: Response::SignClose(signed), .. } => assert!(*signed == asked && reason.is_empty()),
            other => panic!("{other:?}"),
        }
    }
}
