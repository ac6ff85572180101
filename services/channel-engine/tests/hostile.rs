//! Hostile bytes from authenticated peers, through the gateway's stream: the engine neither panics nor changes a row, answers nothing that it must
//! not, and goes on serving.

mod hostile_peer;
mod network;

use std::time::Duration;

use futures::future::join_all;
use hostile_peer::{HostilePeer, Refused, signed};
use network::{LIMIT, Query, Rows, TON, World, uuid};
use protocol::Key;
use rpc::engine::v1::*;
use testkit::wait_for;
use tl::{Object, Writer};
use wire::{
    Action, Answer, Body, Request, SignedState, State,
    message::{self, IncrementStates},
};

/// What is not answered by then is not answered.
const PATIENCE: Duration = Duration::from_secs(3);
/// Queries at once: an engine drops more of one peer.
const AT_ONCE: usize = 100;

async fn pay(world: &World) -> anyhow::Result<()> {
    let paid = world.api(0).send_transfer(world.send(TON / 10, uuid())).await?.into_inner();
    anyhow::ensure!(paid.status() == TransferStatus::Paid, "{paid:?}");
    Ok(())
}

async fn all_rows(world: &World) -> anyhow::Result<Vec<Rows>> {
    let mut all = Vec::new();
    for node in &world.nodes {
        all.push(Rows::settled(&node.pool).await?);
    }
    Ok(all)
}

async fn unchanged(world: &World, before: &[Rows], what: &str) -> anyhow::Result<()> {
    for (before, after) in before.iter().zip(all_rows(world).await?) {
        assert_eq!(before.difference(&after), [""; 0], "{what}");
    }
    Ok(())
}

/// Three nodes that have paid each other in every way, with a virtual channel left open.
async fn busy_world() -> anyhow::Result<World> {
    let world = World::start(&["a", "b", "c"]).await?;
    world.open(0, 1, 10 * TON).await?;
    world.open(1, 2, 10 * TON).await?;
    for _ in 0..5 {
        pay(&world).await?;
    }
    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: world.nodes[2].key.to_vec(),
        coin: None,
        capacity_nano: (TON / 10).to_string(),
        ttl_seconds: 0,
        chain: world.chain(&[(1, 1_000_000), (2, 0)]),
        max_fee_nano: None,
    };
    world.api(0).open_virtual(open).await?;
    Ok(world)
}

/// Repeatable draws.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// One of the ways in which a message can be wrong.
    fn mutate(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = data.to_vec();
        let at = self.below(out.len());
        match self.below(6) {
            0 => out.truncate(at),
            1 => out.extend_from_slice(&data[at..]),
            2 => drop(out.drain(at..(at + 1 + self.below(40)).min(data.len()))),
            3 => {
                // A length, a count or a constructor: they stand at four bytes.
                let word = at / 4 * 4;
                let value: u32 = [0, 1, 0x7fff_ffff, 0x8000_0000, 0xffff_fffe, u32::MAX][self.below(6)];
                out.iter_mut().skip(word).zip(value.to_le_bytes()).for_each(|(byte, new)| *byte = new);
            }
            4 => out.splice(at..at, data[..at.min(64)].to_vec()).for_each(drop),
            _ => (0..=self.below(4)).for_each(|_| {
                let at = self.below(data.len());
                out[at] ^= 1 << self.below(8);
            }),
        }
        out
    }
}

/// Whether a peer may get a yes to this: what changes nothing but the lock, or says nothing new.
fn is_harmless(request: &Request, original: &Request) -> bool {
    match (request, original) {
        (Request::RequestChannelLock(_) | Request::IsChannelUnlocked(_) | Request::ProposeChannelConfig(_), _) => true,
        (Request::ProposeAction(new), Request::ProposeAction(old)) => new.state == old.state,
        _ => request == original,
    }
}

fn says_yes(answer: &Answer) -> bool {
    match answer {
        Answer::Decision(d) => d.agreed || d.signature.is_some(),
        Answer::ProposalDecision(d) => d.agreed || d.signed_state.is_some(),
        Answer::OpenChannelOffchainResponse(r) => r.reason.is_empty(),
        Answer::ChannelConfig(_) | Answer::Pong(_) | Answer::Authenticate(_) => false,
    }
}

/// One network at a time: four at once keep two cores so busy that an engine may lose its lease, and then drops queries.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread")]
async fn mutated_messages_are_refused_or_ignored_and_change_nothing() -> anyhow::Result<()> {
    let _turn = TURN.lock().await;
    let world = busy_world().await?;
    let before = all_rows(&world).await?;
    let sent: Vec<Query> = world.network.recorded();
    let readable = |data: &[u8]| Request::from_boxed(data).ok();
    let mut draw = Draw(0x00c0_ffee);
    let mut mutated = Vec::new();
    while mutated.len() < 800 {
        let query = &sent[draw.below(sent.len())];
        let data = draw.mutate(&query.data);
        // A channel that is offered with other bytes is another channel, and may be agreed.
        if data != query.data && !data.is_empty() && !matches!(readable(&data), Some(Request::OpenChannelOffchain(_))) {
            mutated.push((query, data));
        }
    }
    let (mut unreadable, mut refused) = (0, 0);
    for some in mutated.chunks(AT_ONCE) {
        let asked = some.iter().map(|(q, data)| world.network.ask(q.from, q.to, data.clone(), PATIENCE));
        for ((query, data), answer) in some.iter().zip(join_all(asked).await) {
            let (what, original) = (hex::encode(data), readable(&query.data).unwrap());
            match (readable(data), answer) {
                (None, None) => unreadable += 1,
                (None, Some(_)) => panic!("answered what cannot be read: {what}"),
                (Some(request), Some(answer)) => {
                    let answer = Answer::from_boxed(&answer)?;
                    assert!(!says_yes(&answer) || is_harmless(&request, &original), "{answer:?} to {what}");
                    refused += usize::from(!says_yes(&answer));
                }
                (Some(request), None) => {
                    assert!(matches!(request, Request::Ping(_) | Request::Authenticate(_)), "not answered: {what}");
                }
            }
        }
    }
    println!("{unreadable} ignored, {refused} refused of {}", mutated.len());
    assert!(unreadable > 200 && refused > 100, "{unreadable} {refused}");
    unchanged(&world, &before, "mutated messages").await?;
    pay(&world).await?;
    world.audit().await
}

/// The same bytes from somebody else: a channel belongs to the peer that it was agreed with.
#[tokio::test(flavor = "multi_thread")]
async fn valid_messages_of_others_and_old_ones_change_nothing() -> anyhow::Result<()> {
    let _turn = TURN.lock().await;
    let world = busy_world().await?;
    let before = all_rows(&world).await?;
    let [a, b, c] = [0, 1, 2].map(|i: usize| world.nodes[i].key);
    let stranger: Key = ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes();
    let mut foreign = Vec::new();
    for query in world.network.recorded() {
        // Terms are public.
        if !matches!(Request::from_boxed(&query.data)?, Request::ProposeChannelConfig(_)) {
            let others = [a, b, c, stranger].into_iter().filter(|k| *k != query.from && *k != query.to);
            foreign.extend(others.map(|other| Query { from: other, ..query.clone() }));
        }
    }
    assert!(foreign.len() > 50, "{}", foreign.len());
    for some in foreign.chunks(AT_ONCE) {
        let asked = some.iter().map(|q| world.network.ask(q.from, q.to, q.data.clone(), PATIENCE));
        for (query, answer) in some.iter().zip(join_all(asked).await) {
            let answer = Answer::from_boxed(&answer.expect("refused, not ignored"))?;
            assert!(!says_yes(&answer), "{answer:?} to {}", hex::encode(&query.data));
        }
    }
    unchanged(&world, &before, "messages of others").await?;
    // Its own old messages once more: late copies.
    let old = world.network.recorded();
    let asked = old.iter().map(|q| world.network.ask(q.from, q.to, q.data.clone(), PATIENCE));
    for (query, answer) in old.iter().zip(join_all(asked).await) {
        assert!(answer.is_some(), "not answered: {}", hex::encode(&query.data));
    }
    unchanged(&world, &before, "late copies").await?;
    pay(&world).await?;
    world.audit().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_with_a_channel_gets_nothing_by_breaking_the_rules() -> anyhow::Result<()> {
    let _turn = TURN.lock().await;
    let world = busy_world().await?;
    let b = world.nodes[1].key;
    let mut peer = HostilePeer::new(world.network.clone(), 7, b);
    for refused in peer.bad_openings().await? {
        refused.check(&peer).await?;
    }
    peer.open(&world, 1, 10 * TON).await?;
    assert!(peer.propose(Action::IncrementStates(IncrementStates { want_response: false })).await?, "a good one");
    let before = all_rows(&world).await?;

    for (what, data) in unreadable(&peer) {
        assert!(Request::from_boxed(&data).is_err(), "{what} can be read");
        assert_eq!(world.network.ask(peer.key(), b, data, Duration::from_millis(200)).await, None, "{what}");
    }
    for refused in bad_proposals(&peer) {
        refused.check(&peer).await?;
    }
    unchanged(&world, &before, "bad proposals").await?;
    // A state of ours that we never made: this channel is suspended (design 4.10), the others go on.
    let unknown = Body { seqno: 1_000, ..peer.their };
    let state = State { counterparty: Some(unknown), ..peer.next() };
    let refused = Refused::new("unknown state", peer.proposal(signed(peer.signing_key(), state), None));
    refused.check(&peer).await?;
    world.wait_for_status(1, peer.channel(), ChannelStatus::Suspended).await?;
    assert!(!peer.propose(Action::IncrementStates(IncrementStates { want_response: false })).await?, "suspended");
    pay(&world).await?;

    // The operator knows better than the peer.
    let address = ton::Address::basechain(peer.channel()).to_friendly(true);
    let lift = LiftSuspensionRequest { request_id: uuid(), address };
    world.api(1).lift_suspension(lift.clone()).await?;
    world.wait_for_status(1, peer.channel(), ChannelStatus::Active).await?;
    world.api(1).lift_suspension(lift.clone()).await?;
    let again = world.api(1).lift_suspension(LiftSuspensionRequest { request_id: uuid(), ..lift }).await.unwrap_err();
    assert_eq!(rpc::Error::from(again).code(), rpc::ErrorCode::ChannelNotActive);
    // The engine takes what is good, from this peer and from the others.
    peer.open_well(2, TON).await?;
    pay(&world).await?;
    world.audit().await
}

/// More at once than an engine takes of one peer: the rest is dropped, and nothing else suffers.
#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_one_peer_is_cut_and_the_others_are_served() -> anyhow::Result<()> {
    let _turn = TURN.lock().await;
    let world = busy_world().await?;
    let b = world.nodes[1].key;
    let mut peer = HostilePeer::new(world.network.clone(), 7, b);
    peer.open(&world, 1, TON).await?;
    let state = SignedState { signature: [1; 64], state: peer.next() };
    let wrong = peer.proposal(state, None).to_boxed();
    let flood = join_all((0..3_000).map(|_| world.network.ask(peer.key(), b, wrong.clone(), Duration::from_secs(8))));
    let (answers, paid) = tokio::join!(flood, pay(&world));
    paid?;
    let answered = answers.iter().flatten().count();
    println!("{answered} of {} answered", answers.len());
    assert!((1..3_000).contains(&answered), "{answered}: some are served, not all are kept");
    assert!(answers.into_iter().flatten().all(|answer| !says_yes(&Answer::from_boxed(&answer).unwrap())));
    wait_for("the peer is served again", LIMIT, async || {
        let increment = Action::IncrementStates(IncrementStates { want_response: false });
        if peer.propose(increment).await.unwrap() { Ok(()) } else { Err("refused") }
    })
    .await?;
    world.audit().await
}

/// Bytes that no reader accepts.
fn unreadable(peer: &HostilePeer) -> Vec<(&'static str, Vec<u8>)> {
    let state = signed(peer.signing_key(), peer.next());
    let whole = peer.proposal(state, None).to_boxed();
    let action = Action::IncrementStates(IncrementStates { want_response: false }).to_boxed();
    let proposal = |lock: i64, action: &[u8], state: &[u8], proof: &[u8]| {
        let mut w = Writer::new();
        w.u32(message::ProposeAction::ID);
        w.i64(lock);
        w.raw(&peer.channel());
        w.raw(action);
        w.bytes(state);
        w.bytes(proof);
        w.into_bytes()
    };
    let boc = ton::encode_boc(&state.to_cell());
    assert_eq!(proposal(1, &action, &boc, &[]), whole, "written as the codec does");
    let open = |count: u32, containers: &[u8], signature: &[u8]| {
        let mut w = Writer::new();
        w.u32(message::OpenVirtual::ID);
        w.raw(&[1; 32]);
        w.raw(&[2; 32]);
        w.u32(message::InstructionsToSign::ID);
        w.u32(count);
        w.raw(containers);
        w.bytes(signature);
        proposal(1, &w.into_bytes(), &boc, &[])
    };
    let config = |fee: &[u8], fine: &[u8]| {
        let mut w = Writer::new();
        w.u32(message::ProposeChannelConfig::ID);
        w.raw(&[0; 32]);
        w.u32(0);
        w.bytes(fee);
        w.u32(1);
        w.bytes(fine);
        w.u32(1);
        w.u32(2);
        w.raw(&[3; 32]);
        w.into_bytes()
    };
    let trailing = [&whole[..], &[0; 4]].concat();
    vec![
        ("nothing", vec![]),
        ("three bytes", vec![1, 2, 3]),
        ("an unknown constructor", [&[0xde, 0xad, 0xbe, 0xef][..], &whole[4..]].concat()),
        ("an answer", message::Decision { agreed: true, reason: String::new(), signature: None }.to_boxed()),
        ("bytes behind the end", trailing),
        ("more than a message may have", [whole.clone(), vec![0; 70_000]].concat()),
        ("half a message", whole[..whole.len() / 2].to_vec()),
        ("a truncated BoC", proposal(1, &action, &boc[..boc.len() - 1], &[])),
        ("the head of a BoC", proposal(1, &action, &boc[..6], &[])),
        ("a BoC that claims 2^32 cells", proposal(1, &action, &claims(&boc), &[])),
        ("no state", proposal(1, &action, &[], &[])),
        ("a proof that is no BoC", proposal(1, &action, &boc, &[7; 40])),
        ("an unknown action", proposal(1, &[9; 8], &boc, &[])),
        ("an action that is only requested", proposal(1, &requested(), &boc, &[])),
        ("2^32 - 1 instructions", open(u32::MAX, &[], &[0; 64])),
        ("65 instructions", open(65, &[0; 65 * 36], &[0; 64])),
        ("more instructions than there are", open(3, &[0; 36], &[0; 64])),
        ("a signature of 63 bytes", open(0, &[], &[0; 63])),
        ("an amount of 121 bits", config(&[&[1][..], &[0; 15]].concat(), &[1])),
        ("an amount of 128 bits", config(&[0xff; 16], &[1])),
        ("an amount of 300 bytes", config(&[1], &[1; 300])),
        ("an amount with a leading zero", config(&[0, 1], &[1])),
        ("a zero that is not empty", config(&[1], &[0])),
    ]
}

/// A BoC whose head claims far more cells than there are.
fn claims(boc: &[u8]) -> Vec<u8> {
    let mut out = boc[..4].to_vec();
    // flags: indices of 4 bytes; offsets of 4 bytes; cells, roots, absent; size of cells; root
    out.extend([4, 4, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    out.extend(&boc[4..]);
    out
}

/// The state, signed, with its `sent` of zero in one byte rather than none.
fn not_minimal(key: &ed25519_dalek::SigningKey, state: &State) -> ton::Cell {
    let copy = state.counterparty.unwrap();
    let write = |body: &Body, first: bool| {
        let mut b = ton::CellBuilder::new();
        if first {
            b.store_u32(0x4368_5374).unwrap();
            b.store_raw(&state.channel_id, 128).unwrap();
        }
        b.store_u64(body.seqno).unwrap();
        b.store_small_uint(u8::from(first), 4).unwrap();
        if first {
            b.store_u8(0).unwrap();
        }
        b.store_raw(&body.conditionals, 256).unwrap();
        b
    };
    let mut b = write(&state.body, true);
    b.store_bit_one().unwrap();
    b.store_reference(write(&copy, false).build().unwrap()).unwrap();
    let cell = b.build().unwrap();
    let mut b = ton::CellBuilder::new();
    b.store_raw(&ed25519_dalek::Signer::sign(key, &ton::hash(cell.as_ref())).to_bytes(), 512).unwrap();
    b.store_reference(cell).unwrap();
    b.build().unwrap()
}

fn requested() -> Vec<u8> {
    Action::RequestRemoveVirtual(message::RequestRemoveVirtual { key: [1; 32] }).to_boxed()
}

/// Messages that can be read, one rule broken in each.
fn bad_proposals(peer: &HostilePeer) -> Vec<Refused> {
    let ours = peer.signing_key();
    let next = peer.next();
    let body = next.body;
    let other = ed25519_dalek::SigningKey::from_bytes(&[8; 32]);
    let propose = |what, state: State| Refused::new(what, peer.proposal(signed(ours, state), None));
    let with = |what, body: Body| propose(what, State { body, ..next });
    let mut all = vec![
        Refused::new("another's signature", peer.proposal(signed(&other, next), None)),
        Refused::new("no signature", peer.proposal(SignedState { signature: [0; 64], state: next }, None)),
        propose("another channel's state", State { channel_id: [5; 16], ..next }),
        propose("no copy of the other side", State { counterparty: None, ..next }),
        propose("an old copy", State { counterparty: Some(Body { seqno: 0, sent: 1, ..peer.their }), ..next }),
        with("a seqno skipped", Body { seqno: body.seqno + 1, ..body }),
        with("another body at the stored seqno", Body { seqno: body.seqno - 1, sent: 5, ..body }),
        with("the last seqno of all", Body { seqno: u64::MAX, ..body }),
        with("money sent for nothing", Body { sent: 1, ..body }),
        with("all money there can be", Body { sent: ton::MAX_COINS, ..body }),
        with("a dictionary without a proof", Body { conditionals: [7; 32], ..body }),
    ];
    all.push(Refused::new("an amount of the state that is not minimal", peer.with_state_cell(not_minimal(ours, &next))));
    let act = |what, action| Refused::new(what, peer.action(signed(ours, next), action, None));
    let cell = signed(ours, next).to_cell();
    all.extend([
        act("prepayment", Action::CommitVirtual(message::CommitVirtual { key: [1; 32], prepay_amount: ton::MAX_COINS })),
        act("renting", Action::RentCapacity(message::RentCapacity { till: i64::MAX, amount: ton::MAX_COINS })),
        act("openVirtual without a condition", Action::OpenVirtual(peer.open_virtual(1, TON).1)),
    ]);
    // openVirtual, as good as it can be but for one thing
    let (good, action) = peer.open_virtual(2, TON);
    let far = good.deadline;
    for (what, condition) in [
        ("more than there is", wire::Condition { capacity: 11 * TON, ..good }),
        ("the largest amounts", wire::Condition { capacity: ton::MAX_COINS, fee: ton::MAX_COINS, ..good }),
        ("prepaid", wire::Condition { prepay: 1, ..good }),
        ("nothing", wire::Condition { capacity: 0, ..good }),
        ("a deadline that is over", wire::Condition { deadline: 1, ..good }),
        ("a deadline that is too near", wire::Condition { deadline: far - 100_000, ..good }),
        ("not what the instruction says", wire::Condition { fee: good.fee + 1, ..good }),
        ("another key", wire::Condition { key: [3; 32], ..good }),
    ] {
        all.push(peer.open_with(what, condition, action.clone()));
    }
    let changed = |change: fn(&mut message::OpenVirtual)| {
        let mut action = action.clone();
        change(&mut action);
        action
    };
    all.push(peer.open_with("a forged signature of the instructions", good, changed(|a| a.signature[3] ^= 1)));
    all.push(peer.open_with("an instruction key that is none", good, changed(|a| a.instruction_key = [0xff; 32])));
    all.push(peer.open_with("instructions for others", good, changed(|a| a.instruction_key = [0; 32])));
    all.push(peer.open_with("no instructions", good, changed(|a| a.instructions.clear())));
    // requests
    let request = |what, action| {
        Refused::new(what, Request::RequestAction(message::RequestAction { channel_addr: peer.channel(), action }))
    };
    all.extend([
        request("pay an unknown key", Action::CloseVirtual(message::CloseVirtual { key: [1; 32], state: cell.clone() })),
        request("remove an unknown key", Action::RequestRemoveVirtual(message::RequestRemoveVirtual { key: [1; 32] })),
        request(
            "close by no message",
            Action::CooperativeClose(message::CooperativeClose { signed_close_request: cell.clone() }),
        ),
        request("commit by no message", Action::CooperativeCommit(message::CooperativeCommit { signed_commit_request: cell })),
    ]);
    all
}
