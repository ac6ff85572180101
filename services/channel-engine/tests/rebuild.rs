//! For a dispute the dictionary of any state that was ever signed must be there (payments 7.6.4, 10.1.7; design 5): after a thousand random
//! actions on real engines and Postgres, with engines replaced in the middle, each one is rebuilt from the rows and has the hash that was signed.

mod network;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use futures::future::try_join_all;
use network::{LIMIT, TON, World, uuid};
use protocol::{Address, Outcome, Side};
use rpc::{ErrorCode, common::v1::ChainHop, engine::v1::*};
use store::engine::{self, Version};
use testkit::wait_for;
use tonic::{Response, Status};
use wire::{Body, conditionals::Conditionals};

const ACTIONS: usize = 1_000;
const AT_ONCE: usize = 32;
const DEPOSIT: u128 = 100 * TON;
/// What the middle node keeps of a payment.
const FEE: u128 = 1_000_000;
const NAMES: [&str; 3] = ["a", "b", "c"];
const MIDDLE: usize = 1;

/// Repeatable draws.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    fn amount(&mut self) -> u128 {
        1 + self.below(10_000_000) as u128
    }
}

/// What came of the actions.
#[derive(Default)]
struct Ledger {
    /// What each node has won, in nano.
    won: Mutex<[i128; 3]>,
    counts: Mutex<HashMap<&'static str, usize>>,
}

impl Ledger {
    fn paid(&self, from: usize, to: usize, amount: u128) {
        let fee = if from == MIDDLE || to == MIDDLE { 0 } else { FEE };
        let mut won = self.won.lock().unwrap();
        won[from] -= (amount + fee).cast_signed();
        won[to] += amount.cast_signed();
        won[MIDDLE] += fee.cast_signed();
    }

    fn count(&self, what: &'static str) {
        *self.counts.lock().unwrap().entry(what).or_default() += 1;
    }

    fn get(&self, what: &str) -> usize {
        self.counts.lock().unwrap().get(what).copied().unwrap_or(0)
    }
}

/// Repeats a call while engines are being replaced. The same request id each time: nothing is done twice.
async fn insist<T>(mut call: impl AsyncFnMut() -> Result<Response<T>, Status>) -> anyhow::Result<Result<T, rpc::Error>> {
    wait_for("an engine", LIMIT, async || match call().await {
        Ok(response) => Ok(Ok(response.into_inner())),
        Err(status) => {
            let error = rpc::Error::from(status);
            // A connection that breaks has no code of ours.
            if error.code().is_transient() || error.code() == ErrorCode::Internal { Err(error) } else { Ok(Err(error)) }
        }
    })
    .await
}

/// A path for money between two different nodes.
fn path(draw: &mut Draw, world: &World, fee: u128) -> (usize, usize, Vec<ChainHop>) {
    let (from, to) = [(0, 2), (2, 0), (0, 2), (2, 0), (0, 1), (1, 0), (1, 2), (2, 1)][draw.below(8)];
    let hops = if from == MIDDLE || to == MIDDLE { vec![(to, 0)] } else { vec![(MIDDLE, fee), (to, 0)] };
    (from, to, world.chain(&hops))
}

async fn act(world: &World, ledger: &Ledger, number: usize) -> anyhow::Result<()> {
    let mut draw = Draw((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    // The first draws of neighbouring seeds are alike.
    for _ in 0..8 {
        draw.below(2);
    }
    match draw.below(20) {
        0..11 => transfer(world, ledger, draw).await,
        11..18 => virtual_channel(world, ledger, draw).await,
        refusal => refused(world, ledger, draw, refusal == 18).await,
    }
}

async fn transfer(world: &World, ledger: &Ledger, mut draw: Draw) -> anyhow::Result<()> {
    let (from, to, chain) = path(&mut draw, world, FEE);
    let amount = draw.amount();
    let request = SendTransferRequest { receiver_key: world.nodes[to].key.to_vec(), chain, ..world.send(amount, uuid()) };
    loop {
        let sent = insist(async || world.api(from).send_transfer(request.clone()).await).await??;
        match sent.status() {
            TransferStatus::Paid => {
                ledger.paid(from, to, amount);
                ledger.count("paid");
            }
            TransferStatus::Failed => ledger.count("failed"),
            _ => continue,
        }
        return Ok(());
    }
}

/// Opened, and left open or closed with all or a part of it.
async fn virtual_channel(world: &World, ledger: &Ledger, mut draw: Draw) -> anyhow::Result<()> {
    let (from, to, chain) = path(&mut draw, world, FEE);
    let capacity = draw.amount();
    let receiver_key = world.nodes[to].key.to_vec();
    let open = OpenVirtualRequest {
        request_id: uuid(),
        receiver_key: receiver_key.clone(),
        coin: None,
        capacity_nano: capacity.to_string(),
        ttl_seconds: 0,
        chain,
        max_fee_nano: None,
    };
    let Ok(opened) = insist(async || world.api(from).open_virtual(open.clone()).await).await? else {
        ledger.count("failed");
        return Ok(());
    };
    let virtual_key = opened.virtual_key;
    let amount = match draw.below(5) {
        0 => {
            ledger.count("left open");
            return Ok(());
        }
        1 | 2 => capacity,
        _ => 1 + capacity / 3,
    };
    let signer = sign_resolution_request::Signer::VirtualKey(virtual_key.clone());
    let sign = SignResolutionRequest { signer: Some(signer), amount_nano: amount.to_string(), receiver_key };
    let sealed = insist(async || world.api(from).sign_resolution(sign.clone()).await).await??.encrypted_state;
    let close = CloseVirtualRequest { request_id: uuid(), encrypted_state: sealed };
    let arrived = wait_for("the condition at the receiver", LIMIT, async || {
        match insist(async || world.api(to).close_virtual(close.clone()).await).await.map_err(|e| e.to_string())? {
            Ok(_) => return Ok(true),
            Err(error) if error.code() == ErrorCode::VirtualUnknown => {}
            Err(error) => return Err(error.to_string()),
        }
        let get = GetVirtualRequest { virtual_key: virtual_key.clone() };
        let seen = insist(async || world.api(from).get_virtual(get.clone()).await).await.map_err(|e| e.to_string())?;
        match seen.map_err(|e| e.to_string())?.r#virtual.unwrap().status() {
            VirtualStatus::Unwinding | VirtualStatus::Removed => Ok(false),
            _ => Err("not yet".into()),
        }
    })
    .await?;
    if arrived {
        ledger.paid(from, to, amount);
    }
    ledger.count(if arrived { "closed" } else { "unwound" });
    Ok(())
}

/// What the next node must refuse after it was signed: a fee that is too small, or more than it passes on.
async fn refused(world: &World, ledger: &Ledger, mut draw: Draw, dear: bool) -> anyhow::Result<()> {
    let (from, to) = [(0, 2), (2, 0)][draw.below(2)];
    // Above the risk limit the payment stays pending until its deadline (design 4.7): that is not waited for.
    let (amount, fee, wait) = if dear { (6 * TON, 100_000_000, false) } else { (1 + draw.below(1000) as u128, 1, true) };
    let request = SendTransferRequest {
        receiver_key: world.nodes[to].key.to_vec(),
        chain: world.chain(&[(MIDDLE, fee), (to, 0)]),
        wait,
        ..world.send(amount, uuid())
    };
    let sent = insist(async || world.api(from).send_transfer(request.clone()).await).await??;
    anyhow::ensure!(sent.status() != TransferStatus::Paid, "{sent:?}");
    ledger.count("refused");
    Ok(())
}

/// Engines come and go while the others work.
async fn replace(world: &World, done: &AtomicUsize) -> anyhow::Result<()> {
    for (after, node, engine, overlap) in
        [(150, MIDDLE, "b-2", false), (400, 0, "a-2", false), (600, MIDDLE, "b-3", true), (800, 2, "c-2", true)]
    {
        while done.load(Ordering::Relaxed) < after {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        world.replace_engine(node, engine, overlap).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_dictionary_ever_signed_is_rebuilt_from_the_rows() -> anyhow::Result<()> {
    let world = World::start(&NAMES).await?;
    let ab = world.open_with(0, 1, [DEPOSIT, DEPOSIT]).await?;
    let bc = world.open_with(1, 2, [DEPOSIT, DEPOSIT]).await?;
    let (ledger, next, done) = (Ledger::default(), AtomicUsize::new(0), AtomicUsize::new(0));
    let began = Instant::now();
    let work = async || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= ACTIONS {
                return anyhow::Ok(());
            }
            act(&world, &ledger, number).await?;
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    let workers = try_join_all((0..AT_ONCE).map(|_| work()));
    tokio::try_join!(workers, replace(&world, &done))?;
    println!("{:?} in {:?}", ledger.counts.lock().unwrap(), began.elapsed());
    for (what, least) in [("paid", 300), ("closed", 100), ("left open", 20), ("refused", 40)] {
        assert!(ledger.get(what) >= least, "{what}: {}", ledger.get(what));
    }
    wait_for("the last confirmations", LIMIT, async || conserved(&world, &ledger, ab, bc).await).await?;
    world.audit().await?;

    let began = Instant::now();
    let channels = [(0, ab), (1, ab), (1, bc), (2, bc)];
    let rebuilt = try_join_all(channels.map(|(node, channel)| rebuild(&world, node, channel))).await?;
    let all = rebuilt.into_iter().fold(Rebuilt::default(), |a, b| a.plus(&b));
    println!("{all:?} rebuilt in {:?}", began.elapsed());
    assert!(all.signed >= 2_000 && all.stored >= 2_000 && all.void >= 50 && all.filled >= 3_500, "{all:?}");
    Ok(())
}

/// Both ends of each channel say the same, no nano came or went, and each node has won what the calls said.
async fn conserved(world: &World, ledger: &Ledger, ab: Address, bc: Address) -> anyhow::Result<()> {
    let won = *ledger.won.lock().unwrap();
    let mut has = [0; 3];
    for (channel, [one, other]) in [(ab, [0, 1]), (bc, [1, 2])] {
        let mut seen = Vec::new();
        for node in [one, other] {
            let summary = engine::channel_of(&world.nodes[node].pool.get().await?, &channel).await?.unwrap();
            anyhow::ensure!(summary.row.pending.is_none(), "a proposal is pending");
            let own = |i: usize| summary.available()[i] + summary.locked[i].cast_signed();
            anyhow::ensure!(own(0) + own(1) == 2 * DEPOSIT.cast_signed(), "{own:?}", own = (own(0), own(1)));
            has[node] += own(0);
            seen.push([summary.row.our, summary.row.their]);
        }
        seen[1].reverse();
        anyhow::ensure!(seen[0] == seen[1], "the ends differ: {seen:?}");
    }
    let right = [won[0] + DEPOSIT.cast_signed(), won[1] + 2 * DEPOSIT.cast_signed(), won[2] + DEPOSIT.cast_signed()];
    anyhow::ensure!(has == right, "{has:?} is not {right:?}");
    Ok(())
}

/// How many states were looked at.
#[derive(Debug, Default)]
struct Rebuilt {
    /// Bodies of ours.
    signed: usize,
    /// Of these: never agreed.
    void: usize,
    /// States of the peer.
    stored: usize,
    /// Of both: with conditions.
    filled: usize,
}

impl Rebuilt {
    fn plus(&self, other: &Self) -> Self {
        Self {
            signed: self.signed + other.signed,
            void: self.void + other.void,
            stored: self.stored + other.stored,
            filled: self.filled + other.filled,
        }
    }
}

async fn rebuild(world: &World, node: usize, channel: Address) -> anyhow::Result<Rebuilt> {
    let client = world.nodes[node].pool.get().await?;
    let row = engine::channel_of(&client, &channel).await?.unwrap().row;
    let check = async |version: Version, body: &Body| {
        let conditions = engine::dictionary(&client, &channel, version).await?;
        let root = Conditionals::from_conditions(conditions)?.root_hash();
        anyhow::ensure!(root == body.conditionals, "{} {version:?}: another dictionary", NAMES[node]);
        anyhow::Ok(usize::from(root != [0; 32]))
    };
    let mut rebuilt = Rebuilt::default();
    let mut known = HashSet::from([Body::start(0)]);
    let signed = engine::signed(&client, &channel, 0).await?;
    for signed in &signed {
        let body = &signed.body;
        rebuilt.filled += check(Version::Signed { seqno: body.body.seqno, attempt: body.attempt }, &body.body).await?;
        rebuilt.void += usize::from(signed.outcome == Some(Outcome::Void));
        known.insert(body.body);
    }
    rebuilt.signed = signed.len();
    // One agreed body of each seqno, without a gap.
    let agreed: Vec<u64> = signed.iter().filter(|s| s.outcome == Some(Outcome::Agreed)).map(|s| s.body.body.seqno).collect();
    anyhow::ensure!(agreed == (1..=row.our.seqno).collect::<Vec<_>>(), "agreed bodies are missing");
    let peer = ed25519_dalek::VerifyingKey::from_bytes(&row.peer)?;
    let stored = engine::peer_states(&client, &row, 0).await?;
    for stored in &stored {
        let state = &stored.state;
        rebuilt.filled += check(Version::Agreed { side: Side::Their, seqno: state.body.seqno }, &state.body).await?;
        anyhow::ensure!(stored.verify(&peer), "a state that the peer did not sign");
        anyhow::ensure!(state.counterparty.is_some_and(|copy| known.contains(&copy)), "a copy that we did not sign");
    }
    rebuilt.stored = stored.len();
    anyhow::ensure!(stored.last().is_some_and(|last| last.state.body == row.their), "the last state is missing");
    Ok(rebuilt)
}
