//! What the operators and users of a run do.

use ed25519_dalek::{Signer, SigningKey};
use protocol::{
    Address, Direction, Key, NewTask, OpenLeg, Origin, Status, Task,
    opening::{self, Parties},
    route::{self, Hop},
};
use ton::Cell;
use wire::{
    crypt::shared_secret,
    instruction,
    message::{Answer, OpenChannelOffchainResponse, OpenVirtual, Request},
    resolution::Resolution,
};

use crate::{
    faults::ABSENCE_MS,
    world::{CODE, Happening, Link, World},
};

/// A virtual channel that somebody asked for.
pub(crate) struct Payment {
    pub(crate) request_id: String,
    pub(crate) sender: usize,
    /// The nodes behind the sender; the last one receives.
    pub(crate) route: Vec<usize>,
    pub(crate) key: SigningKey,
    pub(crate) public: Key,
    /// The sender gave the virtual key to the hostile node.
    pub(crate) betrayed: bool,
}

/// What is wrong with a virtual channel from the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    FeeTooSmall,
    TooNear,
    GapTooSmall,
    UnknownNext,
    AboveLimit,
    UsedKey,
    OtherTerms,
    WrongAmount,
    WrongFinalSignature,
    NoInstruction,
    WrongSignature,
    TooRich,
    NextGrows,
    NoCapacity,
}

const FLAWS: [Flaw; 14] = [
    Flaw::FeeTooSmall,
    Flaw::TooNear,
    Flaw::GapTooSmall,
    Flaw::UnknownNext,
    Flaw::AboveLimit,
    Flaw::UsedKey,
    Flaw::OtherTerms,
    Flaw::WrongAmount,
    Flaw::WrongFinalSignature,
    Flaw::NoInstruction,
    Flaw::WrongSignature,
    Flaw::TooRich,
    Flaw::NextGrows,
    Flaw::NoCapacity,
];

/// How many instruction keys a run has.
const INSTRUCTION_KEYS: usize = 4;

/// Nano of a usual top up.
const TOP_UP: u128 = 20_000_000_000;

impl World {
    pub(crate) fn next_action(&mut self) {
        if self.actions_left == 0 {
            return;
        }
        self.actions_left -= 1;
        self.actions_done += 1;
        let pause = match self.rng.below(100) {
            0..50 => self.rng.between(1, 60),
            50..97 => self.rng.between(60, 1_500),
            97 => self.rng.between(10_000, 200_000),
            _ => self.rng.between(200_000, 3_000_000),
        };
        self.after(pause, Happening::NextAction);
        if self.rng.chance(150) {
            let moment = self.rng.below(pause.min(1_500));
            self.after(moment, Happening::NextFault);
        }
        if self.rng.chance(600) {
            let moment = self.rng.below(pause.min(1_500));
            self.after(moment, Happening::NextEvil);
        }
        if pause > 5_000 && self.rng.chance(800) {
            self.clear_weather();
        }
        match self.rng.below(1000) {
            0..680 => self.pay(true, None),
            680..800 => self.pay(false, None),
            800..900 => {
                let flaw = FLAWS[self.rng.index(FLAWS.len())];
                let auto = self.rng.chance(700);
                self.pay(auto, Some(flaw));
            }
            900..930 => self.command(|_, _| Task::Increment),
            930..940 => self.lift_a_suspension(),
            965..970 => {
                let request_id = format!("withdraw-{}", self.actions_done);
                let amount = u128::from(self.rng.between(1, 3_000_000_000));
                self.command(move |_, _| Task::Withdraw { request_id: request_id.clone(), amount });
            }
            940..965 => {
                let n = self.actions_done;
                let amount = u128::from(self.rng.between(1, 5_000_000_000));
                self.command(move |_, _| Task::TopUp { order: format!("topup:{n}"), amount });
            }
            970..984 => self.reopen(),
            984..990 => self.command(|_, _| Task::CloseChannel { force: false }),
            990..993 => self.command(|_, _| Task::CloseChannel { force: true }),
            993..996 => {
                let node = self.rng.index(self.nodes.len());
                let long = self.rng.chance(500);
                let how_long = if long { self.rng.between(600_000, 4_000_000) } else { self.rng.between(10_000, ABSENCE_MS) };
                self.node_gone(node, how_long);
            }
            _ => self.open_with_nonsense(),
        }
    }

    /// A command to one end of a random channel.
    fn command(&mut self, task: impl Fn(&Self, &Link) -> Task) {
        let i = self.rng.index(self.links.len());
        let link = self.links[i].clone();
        let node = link.ends[self.rng.index(2)];
        if self.nodes[node].hostile.is_some() {
            return;
        }
        let task = task(self, &link);
        self.order_task(node, link.address, task);
    }

    /// An operator who is sure of the database does not believe the peer (design 4.10).
    fn lift_a_suspension(&mut self) {
        let honest = self.nodes.iter().enumerate().filter(|(_, n)| n.hostile.is_none());
        let suspended = honest.flat_map(|(n, node)| {
            let channels = node.store.channels.iter().filter(|(_, rows)| rows.row.suspended && rows.row.status != Status::Closed);
            channels.map(move |(channel, _)| (n, *channel))
        });
        match suspended.collect::<Vec<_>>()[..] {
            [] => self.command(|_, _| Task::Increment),
            ref all => {
                let (node, channel) = all[self.rng.index(all.len())];
                self.order_task(node, channel, Task::LiftSuspension);
            }
        }
    }

    /// Inserts a command as the API does.
    pub(crate) fn order_task(&mut self, node: usize, channel: Address, task: Task) {
        self.coverage.hit(match &task {
            Task::Increment => "command: increment",
            Task::CloseChannel { force: false } => "command: close together",
            Task::CloseChannel { force: true } => "command: close alone",
            Task::TopUp { .. } => "command: top up",
            Task::Withdraw { .. } => "command: withdraw",
            Task::LiftSuspension => "command: lift suspension",
            Task::Open(_) => "command: open virtual channel",
            Task::Close { .. } => "command: close virtual channel",
            Task::Unwind { .. } => "command: give up virtual channel",
            Task::Chain(_) | Task::OrderFailed { .. } => "command: other",
        });
        self.say(|w| format!("{}: command {}", w.nodes[node].name, task_name(&task)));
        let id = format!("api:{}:{}", self.events, self.rng.next());
        self.nodes[node].store.add_task(NewTask { id, channel, task });
        self.poll_soon(node);
    }

    // ---- channels

    /// Opens a channel off-chain with the real messages (payments 7.8), and puts coins in from both sides.
    pub(crate) fn open_channel(&mut self, a: usize, b: usize) -> Option<Address> {
        let (peer_a, peer_b) = ((self.nodes[a].public, self.nodes[a].wallet), (self.nodes[b].public, self.nodes[b].wallet));
        let config = opening::open_config(&self.nodes[a].policy, &Parties { a: peer_a, b: peer_b }, (self.now / 1000) as u32);
        let question = Request::from(opening::config_request(&self.nodes[a].policy, &CODE));
        let Ok(Request::ProposeChannelConfig(question)) = Request::from_boxed(&question.to_boxed()) else { return None };
        let terms = opening::answer_config(&self.nodes[b].policy, peer_b.1, &question);
        if !terms.ok {
            self.broke("honest nodes agree on terms", terms.reason);
            return None;
        }
        let request = Request::from(wire::message::OpenChannelOffchain {
            code_hash: CODE.hash,
            open_config: config.to_cell(),
            node_version: opening::NODE_VERSION,
        });
        let Ok(Request::OpenChannelOffchain(request)) = Request::from_boxed(&request.to_boxed()) else { return None };
        let theirs = opening::check_open(&self.nodes[b].policy, &[CODE], peer_b, peer_a.0, &request);
        let (addr, reason) = theirs.as_ref().map_or_else(|e| ([0; 32], (*e).to_owned()), |row| (row.address, String::new()));
        let answer = Answer::from(OpenChannelOffchainResponse { addr, reason });
        let Ok(Answer::OpenChannelOffchainResponse(answer)) = Answer::from_boxed(&answer.to_boxed()) else { return None };
        let ours = opening::new_channel(&self.nodes[a].policy, &CODE, config, peer_a.0);
        let Ok(theirs) = theirs else {
            self.broke("honest nodes agree on terms", answer.reason);
            return None;
        };
        if answer.addr != ours.address || self.by_address.contains_key(&ours.address) {
            return None;
        }
        let address = ours.address;
        self.by_address.insert(address, self.links.len());
        self.links.push(Link { address, ends: [a, b] });
        self.nodes[a].store.add_channel(ours);
        self.nodes[b].store.add_channel(theirs);
        self.adopt(a, address);
        self.adopt(b, address);
        self.order_task(a, address, Task::Increment);
        Some(address)
    }

    pub(crate) fn top_up(&mut self, node: usize, channel: Address, amount: u128) {
        let order = format!("deposit:{}:{}", hex::encode(&channel[..4]), self.events);
        self.order_task(node, channel, Task::TopUp { order, amount });
    }

    /// A channel that was closed is opened anew under a fresh id (design 4.11).
    fn reopen(&mut self) {
        let pairs: Vec<[usize; 2]> = self.links.iter().map(|l| l.ends).collect();
        let dead = pairs.into_iter().find(|[a, b]| {
            let honest = self.nodes[*a].hostile.is_none() && self.nodes[*b].hostile.is_none();
            honest
                && self.channels_between(*a, *b).iter().all(|channel| {
                    [a, b].into_iter().any(|n| self.nodes[*n].store.channels[channel].row.status == Status::Closed)
                })
        });
        let Some([a, b]) = dead else { return self.pay(true, None) };
        if let Some(channel) = self.open_channel(a, b) {
            self.coverage.hit("channel opened anew after a close");
            self.top_up(a, channel, TOP_UP);
            self.top_up(b, channel, TOP_UP);
        }
    }

    /// Someone offers a channel on terms that we do not accept.
    fn open_with_nonsense(&mut self) {
        let (a, b) = (0, 1);
        let parties =
            Parties { a: (self.nodes[a].public, self.nodes[a].wallet), b: (self.nodes[b].public, self.nodes[b].wallet) };
        let mut config = opening::open_config(&self.nodes[a].policy, &parties, 7);
        match self.rng.below(4) {
            0 => config.closing.misbehavior_fine += 1,
            1 => config.payment.storage_fee += 1,
            2 => config.payment.destinations.b.hash = [9; 32],
            _ => config.keys.b = [9; 32],
        }
        let request = wire::message::OpenChannelOffchain { code_hash: CODE.hash, open_config: config.to_cell(), node_version: 2 };
        match opening::check_open(&self.nodes[b].policy, &[CODE], parties.b, parties.a.0, &request) {
            Err(_) => self.coverage.hit("channel with other terms refused"),
            Ok(_) => self.broke("terms are checked", "a channel on foreign terms was accepted"),
        }
    }

    // ---- virtual channels

    /// A random chain of nodes along open channels.
    fn random_route(&mut self) -> Option<(usize, Vec<usize>)> {
        let sender = self.rng.index(self.nodes.len());
        let wanted = [1, 1, 1, 2, 2, 2, 3][self.rng.index(7)];
        let mut seen = vec![sender];
        while seen.len() <= wanted {
            let here = seen[seen.len() - 1];
            let next: Vec<usize> = self
                .links
                .iter()
                .filter(|l| l.ends.contains(&here))
                .map(|l| if l.ends[0] == here { l.ends[1] } else { l.ends[0] })
                .filter(|n| !seen.contains(n))
                .collect();
            if next.is_empty() {
                break;
            }
            let n = next[self.rng.index(next.len())];
            seen.push(n);
        }
        seen.remove(0);
        (!seen.is_empty() && self.nodes[sender].hostile.is_none()).then_some((sender, seen))
    }

    fn pay(&mut self, auto: bool, flaw: Option<Flaw>) {
        let Some((sender, route)) = self.random_route() else { return };
        let amount = match self.rng.below(20) {
            0 => self.rng.between(1, 1000),
            1..3 => self.rng.between(2_000_000_000, 4_900_000_000),
            3 => self.rng.between(5_000_000_000, 30_000_000_000),
            _ => self.rng.between(10_000_000, 900_000_000),
        };
        self.open_virtual(sender, &route, u128::from(amount), auto, flaw);
    }

    /// The sender's part: terms along the chain, sealed instructions, the command to the first channel's actor. Returns the payment's index.
    pub(crate) fn open_virtual(
        &mut self,
        sender: usize,
        route: &[usize],
        amount: u128,
        auto: bool,
        flaw: Option<Flaw>,
    ) -> Option<usize> {
        let seed = self.rng.bytes32();
        if flaw == Some(Flaw::UsedKey) && !self.payments.is_empty() {
            let used = self.rng.index(self.payments.len());
            self.next_key = Some(self.payments[used].key.clone());
        }
        let key = self.next_key.take().unwrap_or_else(|| SigningKey::from_bytes(&seed));
        let public = key.verifying_key().to_bytes();
        let amount = match flaw {
            Some(Flaw::AboveLimit) => 5_100_000_000,
            Some(Flaw::TooRich) => 900_000_000_000,
            _ => amount,
        };
        let mut hops = self.lay(sender, route, amount, flaw)?;
        let condition = hops[0].condition(public);
        if let Some(flaw) = flaw {
            self.spoil(&mut hops, flaw);
            self.coverage.hit("a virtual channel with a flaw was asked for");
        }
        let condition = match flaw {
            Some(Flaw::TooNear) => hops[0].condition(public),
            Some(Flaw::NoCapacity) => wire::conditionals::Condition { capacity: 0, ..condition },
            _ => condition,
        };
        let final_state = auto.then(|| final_state(&key, amount, flaw));
        let action = self.sealed(sender, &hops, &key, final_state, flaw);
        let first = self.nodes[route[0]].public;
        let channel = self
            .channel_towards(sender, &first, condition.locked())
            .or_else(|| self.channels_between(sender, route[0]).last().copied())?;
        let request_id = format!("pay-{}", self.payments.len());
        let betrayed = self.nodes.iter().any(|n| n.hostile.as_ref().is_some_and(|h| h.friend == Some(sender)));
        let origin = Origin::Sender { request_id: request_id.clone(), sealed: seed.to_vec() };
        let open = OpenLeg { condition, action, origin };
        self.payments.push(Payment { request_id, sender, route: route.to_vec(), key, public, betrayed });
        let payment = self.payments.len() - 1;
        self.say(|w| {
            let names: String = route.iter().map(|n| w.nodes[*n].name).collect();
            format!(
                "pay-{payment} {}->{names} {amount} auto {auto} {flaw:?} key {:02x}{:02x}",
                w.nodes[sender].name, public[0], public[1]
            )
        });
        self.order_task(sender, channel, Task::Open(Box::new(open)));
        if !auto && !self.scripted {
            self.plan_resolution(payment, amount);
        }
        Some(payment)
    }

    /// Terms along the chain (payments 5.2).
    fn lay(&mut self, sender: usize, route: &[usize], amount: u128, flaw: Option<Flaw>) -> Option<Vec<Hop>> {
        let mut nodes = vec![];
        let mut fee = 0;
        for n in route.iter().rev() {
            let policy = &self.nodes[*n].policy;
            let own = if nodes.is_empty() || flaw == Some(Flaw::FeeTooSmall) { 0 } else { policy.proxy_fee(amount + fee)? };
            nodes.push(route::Node { key: self.nodes[*n].public, fee: own, gap: policy.timing.hop_gap() });
            fee += own;
        }
        nodes.reverse();
        let ttl = nodes.last()?.gap + 120 + self.rng.below(400);
        route::lay(&self.nodes[sender].public, &nodes, amount, self.now / 1000, ttl).ok()
    }

    fn spoil(&mut self, hops: &mut [Hop], flaw: Flaw) {
        let last = hops.len() - 1;
        match flaw {
            Flaw::TooNear => hops.iter_mut().for_each(|hop| hop.deadline -= 1_700),
            Flaw::GapTooSmall if last > 0 => hops[1].deadline = hops[0].deadline - 60,
            Flaw::UnknownNext if last > 0 => hops[1].target = self.rng.bytes32(),
            Flaw::OtherTerms => hops[0].capacity += 1,
            Flaw::NextGrows if last > 0 => hops[1].capacity += 10_000_000_000,
            _ => {}
        }
    }

    /// One of a few instruction keys: fresh ones would cost a run more than everything else.
    fn instruction_key(&mut self) -> SigningKey {
        if self.instruction_keys.len() < INSTRUCTION_KEYS {
            let key = SigningKey::from_bytes(&self.rng.bytes32());
            self.instruction_keys.push(key);
        }
        let n = self.rng.index(self.instruction_keys.len());
        self.instruction_keys[n].clone()
    }

    /// The secret that a key of ours shares with a node's key, computed once.
    pub(crate) fn secret(&mut self, ours: &SigningKey, theirs: &Key) -> Option<[u8; 32]> {
        let known = self.secrets.entry((ours.to_bytes(), *theirs));
        *known.or_insert_with(|| shared_secret(ours, theirs))
    }

    fn sealed(
        &mut self,
        sender: usize,
        hops: &[Hop],
        key: &SigningKey,
        final_state: Option<Cell>,
        flaw: Option<Flaw>,
    ) -> OpenVirtual {
        let mut secrets: Vec<SigningKey> = hops.iter().map(|_| self.instruction_key()).collect();
        if let Some(last) = secrets.last_mut() {
            // Discloses the sender to the receiver, as the live network does (payments 5.2).
            *last = self.nodes[sender].key.clone();
        }
        let keys: Vec<Key> = secrets.iter().map(|k| k.verifying_key().to_bytes()).collect();
        let plain = route::instructions(hops, &keys, final_state);
        let mut sealed = vec![];
        for (instruction, secret) in plain.into_iter().zip(&secrets) {
            let shared = self.secret(secret, &instruction.target).unwrap_or([1; 32]);
            sealed.push((instruction, shared));
        }
        let rng = &mut self.rng;
        let instructions = instruction::seal(&sealed, 8, &mut |out| rng.fill(out));
        let mut signature = key.sign(&OpenVirtual::bytes_to_sign(&instructions)).to_bytes();
        if flaw == Some(Flaw::WrongSignature) {
            signature[5] ^= 1;
        }
        let instruction_key = if flaw == Some(Flaw::NoInstruction) { self.nodes[sender].public } else { keys[0] };
        OpenVirtual { channel_key: key.verifying_key().to_bytes(), instruction_key, instructions, signature }
    }

    /// What becomes of a virtual channel that does not close by itself.
    fn plan_resolution(&mut self, payment: usize, amount: u128) {
        let delay = self.rng.between(50, 8_000);
        match self.rng.below(10) {
            0..5 => {
                let part = 1 + u128::from(self.rng.next()) % amount;
                self.after(delay, Happening::Resolve { payment, amount: Some(part) });
                if self.rng.chance(300) {
                    // pay as you go: a better one follows
                    self.after(delay + 300, Happening::Resolve { payment, amount: Some(amount) });
                }
            }
            5..7 => self.after(delay, Happening::Resolve { payment, amount: None }),
            // nobody says anything: it expires
            _ => {}
        }
    }

    /// The receiver gets a resolution from the sender and uses it, or gives the virtual channel up.
    pub(crate) fn resolve_payment(&mut self, payment: usize, amount: Option<u128>) {
        let p = &self.payments[payment];
        let Some(receiver) = p.route.last().copied() else { return };
        let key = p.public;
        let resolution = amount.map(|amount| Resolution::sign(&p.key, amount));
        let legs = &self.nodes[receiver].store.channels;
        let Some(channel) = legs.iter().find(|(_, rows)| rows.legs.contains_key(&(key, Direction::In))).map(|(c, _)| *c) else {
            return;
        };
        let task = match resolution {
            Some(resolution) => Task::Close { key, resolution },
            None => Task::Unwind { key, reason: "given up by the receiver".into() },
        };
        self.order_task(receiver, channel, task);
    }
}

fn final_state(key: &SigningKey, amount: u128, flaw: Option<Flaw>) -> Cell {
    let resolution = match flaw {
        Some(Flaw::WrongAmount) => Resolution::sign(key, amount - 1),
        Some(Flaw::WrongFinalSignature) => Resolution { amount, ..Resolution::sign(key, amount + 1) },
        _ => Resolution::sign(key, amount),
    };
    resolution.to_cell()
}

fn task_name(task: &Task) -> String {
    match task {
        Task::Open(open) => format!("open {:02x}{:02x}", open.condition.key[0], open.condition.key[1]),
        Task::Close { key, resolution } => format!("close {:02x}{:02x} for {}", key[0], key[1], resolution.amount),
        Task::Unwind { key, .. } => format!("give up {:02x}{:02x}", key[0], key[1]),
        Task::Increment => "increment".into(),
        Task::CloseChannel { force } => format!("close channel, force {force}"),
        Task::TopUp { amount, .. } => format!("top up {amount}"),
        Task::Withdraw { amount, .. } => format!("withdraw {amount}"),
        Task::LiftSuspension => "lift suspension".into(),
        Task::Chain(_) | Task::OrderFailed { .. } => "chain".into(),
    }
}
