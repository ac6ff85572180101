//! 100,000 random call sequences by three actors: a and b, who have up to two channels with each other, and c, who helps.
//!
//! In two of three sequences one of a and b is honest: it signs only payments it makes, looks at the chain at least once in a period, disputes
//! every close with an older round than the newest it holds, and leaves in the end. The others do anything, with every signature they can make or
//! were ever given, and have the last word before the deadline. In the end the honest party has at least its share of the newest state.
//!
//! In the third nobody is honest: all three work together, sign anything and send anything in any phase.
//!
//! After each call the contract holds exactly what it owes, in the coin and in the token; two channels of outsiders lie in it from the
//! beginning, and where nobody is honest they pay out in full in the end.

use std::collections::{BTreeMap, HashMap};

use alloy_primitives::Address;
use channel_contract_evm::{CompactSignature, NATIVE, Sspc};

use crate::channel::*;
use crate::contracts::{ACCOUNT, Account, TOKEN};
use crate::world::*;

/// Sequences for each of the two contracts.
const SEQUENCES: u64 = 50_000;
/// The most actions in a sequence, before the honest party leaves.
const ACTIONS: u64 = 16;
/// Deposits: small, so that the same messages return and each is signed once.
const VALUES: [u128; 2] = [3, 2];
/// What the outsiders have in each of their two channels, and what their payer has in the end.
const OUTSIDERS: u128 = 9;
const OUTSIDERS_LAST: u128 = 5;

/// How often each call succeeded, and was refused.
type Counts = BTreeMap<&'static str, (u64, u64)>;

/// What was signed, by signer, lane, number of the channel and message: the same return in other sequences.
type Signatures = HashMap<(Address, usize, u64, Message), CompactSignature>;

/// Where a channel stands, by the calls that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    New,
    Proposed,
    Open,
    /// By a or not, with this round and balance of a.
    Closing {
        by_a: bool,
        round: u64,
        balance_a: u128,
    },
    Closed,
}

/// One channel of a sequence and what was said about it.
struct Lane {
    channel: Channel,
    stands: Stands,
    /// Every state, the newest last; the round says who signed it. The first is round 0.
    history: Vec<(u64, u128)>,
    /// The honest party neither pays nor takes any more: it signed a close, began one, or saw one.
    ended: bool,
    /// The balance of a that the honest party signed as final.
    closing_at: Option<u128>,
}

impl Lane {
    fn newest(&self) -> (u64, u128) {
        *self.history.last().expect("round 0")
    }

    /// The newest state that this party did not sign itself: what it can close with.
    fn held_by(&self, is_a: bool) -> (u64, u128) {
        let held = self.history.iter().rev().find(|(round, _)| *round == 0 || (round % 2 == 1) != is_a);
        *held.expect("round 0")
    }

    fn owed(&self) -> u128 {
        match self.stands {
            Stands::New | Stands::Closed => 0,
            Stands::Proposed => self.channel.params.valueA,
            Stands::Open | Stands::Closing { .. } => self.channel.total(),
        }
    }

    fn share(&self, is_a: bool, balance_a: u128) -> u128 {
        if is_a { balance_a } else { self.channel.total() - balance_a }
    }
}

/// What every sequence begins with.
struct Start {
    world: World,
    lanes: [Channel; 2],
    account: Address,
    parties: [Party; 3],
    outsiders: [Outsiders; 2],
}

/// A channel of two others, open, and what closes it.
#[derive(Clone)]
struct Outsiders {
    channel: Channel,
    payee: Party,
    close: Call,
}

impl Outsiders {
    fn new(world: &mut World, like: &Channel, number: u64) -> Self {
        let payee = Party::named("the outsiders' payee");
        let mut channel = like.clone();
        channel.number = number;
        (channel.params.b, channel.params.valueA, channel.params.valueB) = (payee.address, OUTSIDERS, 0);
        let channel = channel.paid_by(world, Party::named("the outsiders' payer")).opened(world);
        let by = channel.close(&channel.payer, OUTSIDERS_LAST);
        Self { channel, payee, close: Call::CooperativeClose { balance_a: OUTSIDERS_LAST, by } }
    }

    /// Closes; both have what they agreed on.
    fn close(&self, world: &mut World) {
        let accounts = [self.channel.params.a, self.channel.params.b];
        let had = accounts.map(|account| self.channel.holds(world, account));
        self.channel.send(world, &self.payee, self.close).expect("the outsiders' close");
        let gained = self.channel.gained(world, had);
        assert_eq!(gained.map(i128::unsigned_abs), [OUTSIDERS_LAST, OUTSIDERS - OUTSIDERS_LAST], "the outsiders were not paid");
    }
}

impl Start {
    fn new(kind: Kind) -> Self {
        let mut world = World::new();
        let mut native = Channel::new(&mut world, kind, VALUES);
        // Nobody's, until they are opened.
        native.number = 1_000;
        let token = world.deploy_hex(TOKEN);
        let mut in_token = native.next().in_token(&mut world, token);
        // b deposits nothing: this one lives without `accept`.
        in_token.params.valueB = 0;
        in_token.params.valueA = 4;
        let account = world.deploy_hex(ACCOUNT);
        let outsiders = [Outsiders::new(&mut world, &native, 1), Outsiders::new(&mut world, &in_token, 2)];
        Self { world, lanes: [native, in_token], account, parties: [Party::a(), Party::b(), Party::c()], outsiders }
    }
}

struct Game<'a> {
    world: World,
    random: Random,
    lanes: Vec<Lane>,
    /// Whether the honest party is a; none where nobody is honest.
    honest_is_a: Option<bool>,
    parties: [Party; 3],
    outsiders: &'a [Outsiders; 2],
    /// What the honest party had at first, by lane.
    wealth: Vec<u128>,
    /// What the contract credited, by lane.
    credited: Vec<u128>,
    /// Channels opened: the number of the last in the compact contract.
    opened: u64,
    /// When the honest party looked at the chain last.
    looked: u64,
    signatures: &'a mut Signatures,
    counts: &'a mut Counts,
}

impl<'a> Game<'a> {
    fn new(start: &'a Start, seed: u64, signatures: &'a mut Signatures, counts: &'a mut Counts) -> Self {
        let mut random = Random::new(seed);
        let mut world = start.world.fork();
        let honest_is_a = [Some(true), Some(false), None][random.below(3) as usize];
        let parties = start.parties.clone();
        if random.once_in(8) {
            // A dishonest party does not take the coin.
            let dishonest = parties[usize::from(honest_is_a.unwrap_or_else(|| random.once_in(2)))].address;
            world.delegate(dishonest, start.account);
            world.call(dishonest, dishonest, &Account::becomeCall { habit: 1 }).unwrap();
        }
        let mut game = Self {
            looked: world.now(),
            world,
            random,
            lanes: Vec::new(),
            honest_is_a,
            parties,
            outsiders: &start.outsiders,
            wealth: Vec::new(),
            credited: Vec::new(),
            opened: start.outsiders.len() as u64,
            signatures,
            counts,
        };
        for channel in start.lanes.clone() {
            let history = vec![(0, channel.params.valueA)];
            if let Some(is_a) = honest_is_a {
                game.wealth.push(channel.holds(&mut game.world, game.parties[usize::from(!is_a)].address));
            }
            game.credited.push(0);
            game.lanes.push(Lane { channel, stands: Stands::New, history, ended: false, closing_at: None });
        }
        game.open_most();
        game
    }

    /// A or b, and not honest.
    fn dishonest(&mut self) -> Party {
        let is_a = self.honest_is_a.map_or_else(|| self.random.once_in(2), |honest_is_a| !honest_is_a);
        self.party(is_a)
    }

    fn party(&self, is_a: bool) -> Party {
        self.parties[usize::from(!is_a)].clone()
    }

    /// A party that is not the honest one.
    fn rogue(&mut self) -> Party {
        if self.random.once_in(3) { self.parties[2].clone() } else { self.dishonest() }
    }

    fn sign(&mut self, by: &Party, lane: usize, message: Message) -> CompactSignature {
        let channel = &self.lanes[lane].channel;
        let sign = || by.sign(channel.digest(message));
        *self.signatures.entry((by.address, lane, channel.number, message)).or_insert_with(sign)
    }

    /// Sends a call, counts it, and follows what it did.
    fn send(&mut self, from: &Party, lane: usize, call: Call) -> bool {
        let outcome = self.lanes[lane].channel.send(&mut self.world, from, call);
        let name = match call {
            Call::Open => "open",
            Call::Accept => "accept",
            Call::Cancel => "cancel",
            Call::CooperativeClose { .. } => "cooperativeClose",
            Call::Challenge { .. } => "challenge",
            Call::Dispute { .. } => "disputeChallenge",
            Call::DisputeFor { .. } => "disputeFor",
            Call::ForceClose => "forceClose",
        };
        let done = self.count(name, outcome);
        if done {
            let two_way = self.lanes[lane].channel.params.valueB != 0;
            let by_a = from.address == self.lanes[lane].channel.params.a;
            let stands = &mut self.lanes[lane].stands;
            *stands = match (call, *stands) {
                (Call::Open, _) if two_way => Stands::Proposed,
                (Call::Open | Call::Accept, _) => Stands::Open,
                (Call::Challenge { balance_a, round, .. }, _) => Stands::Closing { by_a, round, balance_a },
                (Call::DisputeFor { balance_a, round, .. }, Stands::Closing { by_a, .. }) => {
                    Stands::Closing { by_a, round, balance_a }
                }
                _ => Stands::Closed,
            };
        }
        self.check();
        done
    }

    fn count(&mut self, name: &'static str, outcome: Outcome) -> bool {
        let counts = self.counts.entry(name).or_default();
        let Ok(done) = outcome else {
            counts.1 += 1;
            return false;
        };
        counts.0 += 1;
        for event in done.logs.iter().filter_map(|log| <Sspc::Credited as alloy_sol_types::SolEvent>::decode_log(log).ok()) {
            let lane = usize::from(event.token != NATIVE);
            self.credited[lane] += event.amount.to::<u128>();
        }
        true
    }

    /// The contract holds what it owes, neither less nor more.
    fn check(&mut self) {
        for (lane, credited) in self.lanes.iter().zip(&self.credited) {
            let held = lane.channel.holds(&mut self.world, lane.channel.contract);
            assert_eq!(held, OUTSIDERS + lane.owed() + credited, "in {:?}", lane.channel.params.token);
        }
    }

    /// Most sequences are about open channels.
    fn open_most(&mut self) {
        let first = self.random.below(2) as usize;
        for lane in [first, 1 - first] {
            if self.random.once_in(8) {
                continue;
            }
            self.open(&self.party(true), lane);
            if self.lanes[lane].stands == Stands::Proposed && !self.random.once_in(8) {
                self.send(&self.party(false), lane, Call::Accept);
            }
        }
    }

    fn open(&mut self, from: &Party, lane: usize) {
        if self.send(from, lane, Call::Open) && self.lanes[lane].channel.kind == Kind::Compact {
            self.opened += 1;
            self.lanes[lane].channel.number = self.opened;
        }
    }

    fn act(&mut self) {
        let lane = self.random.below(2) as usize;
        if self.honest_is_a.is_none() && self.random.once_in(2) {
            return self.collude(lane);
        }
        match self.random.below(16) {
            0..=2 => self.begin(lane),
            3..=7 => self.pay(lane),
            8 => self.agree_to_close(lane),
            9 => self.leave(lane, self.honest_is_a.unwrap_or(true)),
            10 | 11 => self.rogue_uses_what_it_has(lane),
            12 => self.rogue_makes_something_up(lane),
            13 => self.tower(lane),
            14 => {
                let from = self.rogue();
                self.send(&from, lane, Call::ForceClose);
            }
            _ => self.wait(),
        }
        if self.random.once_in(2) {
            self.honest_looks();
        }
    }

    fn begin(&mut self, lane: usize) {
        let from = self.parties[self.random.below(3) as usize].clone();
        let call = match self.random.below(6) {
            0 => Call::Cancel,
            1..=3 => Call::Open,
            _ => Call::Accept,
        };
        let it = &self.lanes[lane];
        // A second `open`, or one by somebody else, makes another channel in the compact contract.
        let compact = it.channel.kind == Kind::Compact;
        let another = compact && (it.stands != Stands::New || from.address != it.channel.params.a);
        // The honest party does not take back what it waits for.
        let taken_back = self.honest_is_a.is_some_and(|is_a| from.address == self.party(is_a).address);
        match call {
            Call::Open if !another => self.open(&from, lane),
            Call::Cancel if !taken_back => drop(self.send(&from, lane, call)),
            Call::Accept => drop(self.send(&from, lane, call)),
            _ => {}
        }
    }

    /// A payment outside the chain: a state of the payer's next round, signed by the payer, delivered.
    fn pay(&mut self, lane: usize) {
        let by_a = self.random.once_in(2);
        let it = &mut self.lanes[lane];
        let (round, balance_a) = it.newest();
        let live = matches!(it.stands, Stands::Open | Stands::Closing { .. }) && !it.ended;
        let available = it.share(by_a, balance_a);
        if !live || available == 0 {
            return;
        }
        let amount = 1 + u128::from(self.random.below(available as u64));
        let round = if (round % 2 == 1) == by_a { round + 2 } else { round + 1 };
        it.history.push((round, if by_a { balance_a - amount } else { balance_a + amount }));
    }

    /// Both sign the newest balances as final; one of them sends it, or nobody.
    fn agree_to_close(&mut self, lane: usize) {
        let it = &mut self.lanes[lane];
        if !matches!(it.stands, Stands::Open | Stands::Closing { .. }) || (it.ended && it.closing_at.is_none()) {
            return;
        }
        let balance_a = it.newest().1;
        (it.closing_at, it.ended) = (Some(balance_a), true);
        let sender_is_a = self.random.once_in(2);
        let by = self.sign(&self.party(!sender_is_a), lane, Message::Close { balance_a });
        match self.random.below(4) {
            0 => {}
            1 => {
                self.close_many(lane, balance_a);
            }
            _ => {
                self.send(&self.party(sender_is_a), lane, Call::CooperativeClose { balance_a, by });
            }
        }
    }

    fn close_many(&mut self, lane: usize, balance_a: u128) {
        let by = self.sign(&self.party(true), lane, Message::Close { balance_a });
        let channel = self.lanes[lane].channel.clone();
        // Sometimes the same channel twice.
        let items = [(&channel, balance_a, by); 2];
        let items = if self.random.once_in(4) { &items[..] } else { &items[..1] };
        let b = self.party(false);
        let outcome = Channel::close_many(&mut self.world, &b, items);
        if self.count("closeMany", outcome) {
            assert_eq!(items.len(), 1, "a channel closed twice");
            self.lanes[lane].stands = Stands::Closed;
        }
        self.check();
    }

    /// A party closes alone, with the newest state it was given.
    fn leave(&mut self, lane: usize, is_a: bool) {
        let it = &mut self.lanes[lane];
        if it.stands != Stands::Open {
            return;
        }
        it.ended = true;
        let (round, balance_a) = it.held_by(is_a);
        let by = self.state_signature(lane, round, balance_a);
        assert!(self.send(&self.party(is_a), lane, Call::Challenge { balance_a, round, by }), "an honest close was refused");
    }

    /// The signature of whoever pays in this round.
    fn state_signature(&mut self, lane: usize, round: u64, balance_a: u128) -> CompactSignature {
        if round == 0 {
            return CompactSignature::default();
        }
        self.sign(&self.party(round % 2 == 1), lane, Message::State { balance_a, round })
    }

    /// Any state of the past, in any call that takes one.
    fn rogue_uses_what_it_has(&mut self, lane: usize) {
        let past = self.random.below(self.lanes[lane].history.len() as u64) as usize;
        let (round, balance_a) = self.lanes[lane].history[past];
        let by = self.state_signature(lane, round, balance_a);
        let from = self.rogue();
        let call = match self.random.below(4) {
            0 | 1 => Call::Challenge { balance_a, round, by },
            2 => Call::Dispute { balance_a, round, by },
            _ => Call::CooperativeClose { balance_a, by },
        };
        self.send(&from, lane, call);
    }

    /// Balances and rounds of its own, with its own signature or one that the honest party made for something else.
    fn rogue_makes_something_up(&mut self, lane: usize) {
        let from = self.rogue();
        let balance_a = u128::from(self.random.below(7));
        let round = self.random.below(8);
        let by = if self.random.once_in(2) {
            let signer = self.rogue();
            let message = if self.random.once_in(2) { Message::Close { balance_a } } else { Message::State { balance_a, round } };
            self.sign(&signer, lane, message)
        } else {
            self.something_honest()
        };
        let own = self.dishonest();
        let (by_a, by_b) = (by, self.sign(&own, lane, Message::State { balance_a, round }));
        let call = match self.random.below(5) {
            0 => Call::Challenge { balance_a, round, by },
            1 => Call::Dispute { balance_a, round, by },
            2 => Call::CooperativeClose { balance_a, by },
            3 => Call::DisputeFor { balance_a, round, by_a, by_b },
            _ => Call::DisputeFor { balance_a, round, by_a: by_b, by_b: by_a },
        };
        self.send(&from, lane, call);
    }

    /// Any signature the honest party ever made, in either channel.
    fn something_honest(&mut self) -> CompactSignature {
        let Some(is_a) = self.honest_is_a else { return CompactSignature::default() };
        let lane = self.random.below(2) as usize;
        let it = &self.lanes[lane];
        let own = |round: u64| round != 0 && (round % 2 == 1) == is_a;
        let mut messages: Vec<_> = it.history.iter().filter(|(round, _)| own(*round)).collect();
        let close = it.closing_at.map(|balance_a| Message::Close { balance_a });
        let message = match (messages.pop(), close) {
            (_, Some(close)) => close,
            (Some(&(round, balance_a)), None) => Message::State { balance_a, round },
            (None, None) => return CompactSignature::default(),
        };
        self.sign(&self.party(is_a), lane, message)
    }

    /// Anybody sends anything, in any phase, with a signature of anybody over just that.
    fn collude(&mut self, lane: usize) {
        let balance_a = u128::from(self.random.below(7));
        let round = self.random.below(8);
        let from = self.parties[self.random.below(3) as usize].clone();
        let signer = self.parties[self.random.below(3) as usize].clone();
        let close = self.sign(&signer, lane, Message::Close { balance_a });
        let by = self.sign(&signer, lane, Message::State { balance_a, round });
        let call = match self.random.below(12) {
            0 => Call::Cancel,
            1 => Call::Accept,
            2 | 3 => Call::CooperativeClose { balance_a, by: close },
            4 | 5 => Call::Challenge { balance_a, round, by },
            6 | 7 => Call::Dispute { balance_a, round, by },
            8 => {
                let [by_a, by_b] = [true, false]
                    .map(|is_a| self.party(is_a))
                    .map(|party| self.sign(&party, lane, Message::State { balance_a, round }));
                Call::DisputeFor { balance_a, round, by_a, by_b }
            }
            9 => Call::ForceClose,
            10 => return self.close_many(lane, balance_a),
            _ => return self.withdraw_credits(lane),
        };
        self.send(&from, lane, call);
    }

    /// A watchtower, honest or not, with a state that both signed.
    fn tower(&mut self, lane: usize) {
        let past = self.random.below(self.lanes[lane].history.len() as u64) as usize;
        let (round, balance_a) = self.lanes[lane].history[past];
        let [by_a, by_b] =
            [true, false].map(|is_a| self.party(is_a)).map(|party| self.sign(&party, lane, Message::State { balance_a, round }));
        let from = self.rogue();
        self.send(&from, lane, Call::DisputeFor { balance_a, round, by_a, by_b });
    }

    /// Time passes; the honest party looks at least once in a period.
    fn wait(&mut self) {
        let seconds = 1 + self.random.below(u64::from(DAY));
        if self.world.now() + seconds >= self.looked + u64::from(DAY) {
            self.honest_looks();
        }
        self.world.advance(seconds);
    }

    /// The honest party disputes every close by the other with an older round than the newest it holds, also one that suits it better: the
    /// closer may hold a newer state of both that does not, and bring that when it is too late to answer.
    fn honest_looks(&mut self) {
        self.looked = self.world.now();
        let Some(is_a) = self.honest_is_a else { return };
        for lane in 0..self.lanes.len() {
            let it = &mut self.lanes[lane];
            let Stands::Closing { by_a, round, .. } = it.stands else { continue };
            it.ended = true;
            let (held_round, held) = it.held_by(is_a);
            if by_a == is_a || held_round <= round {
                continue;
            }
            let by = self.state_signature(lane, held_round, held);
            let call = Call::Dispute { balance_a: held, round: held_round, by };
            assert!(self.send(&self.party(is_a), lane, call), "an honest dispute was refused");
        }
    }

    /// The honest party gets out of everything, alone; then every account has what it is owed.
    fn finish(&mut self) {
        if let Some(is_a) = self.honest_is_a {
            self.honest_exit(is_a);
        }
        for lane in 0..self.lanes.len() {
            self.withdraw_credits(lane);
        }
        match self.honest_is_a {
            Some(is_a) => self.nothing_lost(is_a),
            None => self.outsiders.iter().for_each(|outsiders| outsiders.close(&mut self.world)),
        }
    }

    fn honest_exit(&mut self, is_a: bool) {
        self.honest_looks();
        for lane in 0..self.lanes.len() {
            match self.lanes[lane].stands {
                Stands::Proposed if is_a => assert!(self.send(&self.party(true), lane, Call::Cancel)),
                Stands::Open => self.leave(lane, is_a),
                _ => {}
            }
        }
        // The others still have the whole period, and the last word in it.
        self.others_try();
        self.honest_looks();
        self.others_try();
        self.world.advance(u64::from(DAY) + 1);
        for lane in 0..self.lanes.len() {
            if matches!(self.lanes[lane].stands, Stands::Closing { .. }) {
                assert!(self.send(&self.party(is_a), lane, Call::ForceClose), "an honest exit was refused");
            }
        }
    }

    /// Those who are not honest, on what is still undecided.
    fn others_try(&mut self) {
        for lane in 0..self.lanes.len() {
            if matches!(self.lanes[lane].stands, Stands::Closing { .. }) {
                self.rogue_uses_what_it_has(lane);
                self.tower(lane);
            }
        }
    }

    fn withdraw_credits(&mut self, lane: usize) {
        let token = self.lanes[lane].channel.params.token;
        let contract = self.lanes[lane].channel.contract;
        let to = self.parties[2].address;
        let anybody = self.random.below(3) as usize;
        for (index, party) in self.parties.clone().into_iter().enumerate() {
            if self.credited[lane] == 0 && index != anybody {
                continue;
            }
            let owed = self.lanes[lane].channel.credit(&mut self.world, party.address);
            let outcome = self.world.call(party.address, contract, &Sspc::withdrawCall { token, to });
            assert_eq!(self.count("withdraw", outcome), owed != 0);
            self.credited[lane] -= owed;
        }
        assert_eq!(self.credited[lane], 0, "what is credited belongs to one of them");
        self.check();
    }

    /// The honest party has its share of the newest state, or more.
    fn nothing_lost(&mut self, is_a: bool) {
        let honest = self.party(is_a).address;
        for (it, wealth) in self.lanes.iter().zip(&self.wealth) {
            let has = it.channel.holds(&mut self.world, honest);
            let params = &it.channel.params;
            let deposit = if is_a { params.valueA } else { params.valueB };
            let gained = (has + deposit) as i128 - *wealth as i128;
            // The share of the deposits, where nothing was paid.
            let due = it.share(is_a, it.newest().1);
            assert!(gained >= due as i128, "the honest party got {gained}, is due {due}: {:?}", it.history);
        }
    }
}

/// Runs the sequences of one contract and says what happened.
fn sequences(kind: Kind) -> Counts {
    let start = Start::new(kind);
    let (mut signatures, mut counts) = (Signatures::default(), Counts::default());
    for seed in 0..SEQUENCES {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut game = Game::new(&start, seed, &mut signatures, &mut counts);
            let actions = 1 + game.random.below(ACTIONS);
            for _ in 0..actions {
                game.act();
            }
            game.finish();
        });
        if std::panic::catch_unwind(run).is_err() {
            panic!("{kind:?}: the sequence of seed {seed} failed");
        }
    }
    counts
}

const CALLS: [&str; 10] = [
    "open",
    "accept",
    "cancel",
    "cooperativeClose",
    "challenge",
    "disputeChallenge",
    "disputeFor",
    "forceClose",
    "closeMany",
    "withdraw",
];

fn nobody_honest_loses(kind: Kind) {
    let counts = sequences(kind);
    println!("{kind:?}: {SEQUENCES} sequences; calls that succeeded and that were refused:");
    for call in CALLS {
        let (succeeded, refused) = counts.get(call).copied().unwrap_or_default();
        println!("  {call:<18} {succeeded:>8} {refused:>8}");
        assert!(succeeded > 0, "{call} never succeeded: the sequences do not reach it");
        assert!(refused > 0 || (kind == Kind::Compact && call == "open"), "{call} was never refused");
    }
}

#[test]
fn nobody_honest_loses_in_the_one_word_contract() {
    nobody_honest_loses(Kind::OneWord);
}

#[test]
fn nobody_honest_loses_in_the_compact_contract() {
    nobody_honest_loses(Kind::Compact);
}
