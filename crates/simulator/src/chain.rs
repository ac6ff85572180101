//! The simulated chain: wallets and channel contracts by the live contract's rules (payments 7.5, 7.6). Amounts are exact; what
//! transactions cost is one constant per transaction, kept apart, so that balances + fees = minted holds to the nano.

use std::collections::BTreeMap;

use contract::{
    Balance, ChallengeToSign, Message, OpenConfig, Pair, Quarantine, SettleToSign, Side, StartToSign, Storage, ToSign, constants,
    exit,
};
use protocol::Address;
use ton::{Cell, CellBuilder, CellContext, CellError, Dict, MerkleProof, Store};
use wire::{
    conditionals::{UpdateProof, read_resolutions},
    resolution::Resolution,
    state::{Body, SignedState},
};

/// What a transaction costs its sender.
pub(crate) const TX_FEE: u128 = 5_000_000;

/// A wallet's account id.
pub(crate) type Wallet = [u8; 32];

#[derive(Debug, Clone)]
pub(crate) struct Contract {
    pub(crate) storage: Storage,
    /// The account's balance.
    pub(crate) coins: u128,
}

/// What watchers of the contract read from a transaction.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) lt: u64,
    pub(crate) storage: Storage,
    /// Whose settle message it was, and what it carried.
    pub(crate) settled: Option<(Side, Vec<(u32, Resolution)>)>,
    /// Of a start or challenge.
    pub(crate) states: Option<Pair<SignedState>>,
}

#[derive(Debug, Default)]
pub(crate) struct Chain {
    pub(crate) contracts: BTreeMap<Address, Contract>,
    pub(crate) wallets: BTreeMap<Wallet, u128>,
    pub(crate) minted: u128,
    /// All fees, and each wallet's part.
    pub(crate) fees: u128,
    pub(crate) fees_of: BTreeMap<Wallet, u128>,
    lt: u64,
}

type Exit = i32;

impl Chain {
    pub(crate) fn mint(&mut self, wallet: Wallet, nano: u128) {
        *self.wallets.entry(wallet).or_default() += nano;
        self.minted += nano;
    }

    /// All balances and fees: must be what was minted.
    pub(crate) fn total(&self) -> u128 {
        self.wallets.values().sum::<u128>() + self.contracts.values().map(|c| c.coins).sum::<u128>() + self.fees
    }

    /// Puts the contract's account at its address, if it is not there yet.
    pub(crate) fn deploy(&mut self, address: Address, config: &OpenConfig) {
        self.contracts.entry(address).or_insert_with(|| Contract { storage: config.initial_storage(), coins: 0 });
    }

    /// One transaction: a message with `value` from `wallet`. A failed one returns the value, costs its fee and changes nothing.
    pub(crate) fn execute(&mut self, now: u64, wallet: Wallet, to: &Address, value: u128, body: &Cell) -> Result<Seen, Exit> {
        let purse = self.wallets.get_mut(&wallet).ok_or(exit::SIGNATURE_OR_SENDER)?;
        *purse = purse.checked_sub(TX_FEE).ok_or(exit::VALUE_TOO_SMALL)?;
        self.fees += TX_FEE;
        *self.fees_of.entry(wallet).or_default() += TX_FEE;
        if *purse < value {
            return Err(exit::VALUE_TOO_SMALL);
        }
        let message = Message::parse(body.as_ref()).map_err(|_| exit::UNKNOWN_MESSAGE)?;
        let contract = self.contracts.get(to).ok_or(exit::NOT_INITIALISED)?;
        let mut run =
            Run { now, value, coins: contract.coins + value, storage: contract.storage, payouts: vec![], closed: false };
        let (settled, states) = run.handle(&message)?;
        if !run.closed {
            let storage = &run.storage;
            let owned =
                storage.payment.storage_fee + positive(storage.balance.of(Side::A)) + positive(storage.balance.of(Side::B));
            let excess = run.coins.saturating_sub(owned);
            run.coins -= excess;
            run.payouts.push((wallet, excess));
        }
        *purse -= value;
        for (wallet, nano) in &run.payouts {
            *self.wallets.entry(*wallet).or_default() += nano;
        }
        self.contracts.insert(*to, Contract { storage: run.storage, coins: run.coins });
        self.lt += 1;
        Ok(Seen { lt: self.lt, storage: run.storage, settled, states })
    }
}

fn positive(nano: i128) -> u128 {
    u128::try_from(nano).unwrap_or(0)
}

fn require(holds: bool, code: Exit) -> Result<(), Exit> {
    if holds { Ok(()) } else { Err(code) }
}

/// One execution of the contract.
struct Run {
    now: u64,
    value: u128,
    coins: u128,
    storage: Storage,
    payouts: Vec<(Wallet, u128)>,
    closed: bool,
}

type Read = (Option<(Side, Vec<(u32, Resolution)>)>, Option<Pair<SignedState>>);

impl Run {
    fn handle(&mut self, message: &Message) -> Result<Read, Exit> {
        match message {
            Message::Init { by, signature, part } => {
                require(!self.storage.initialised, exit::ALREADY_INITIALISED)?;
                self.signed(*by, part, signature)?;
                require(part.channel_id == self.storage.channel_id, exit::CHANNEL_ID)?;
                require(self.storage.balance == Balance::default(), exit::BALANCE_NOT_ZERO)?;
                require(self.coins >= self.storage.payment.storage_fee, exit::STORAGE_FEE)?;
                self.storage.initialised = true;
            }
            Message::TopUp { side } => {
                require(self.storage.initialised, exit::NOT_INITIALISED)?;
                require(self.storage.quarantine.is_none(), exit::QUARANTINE_ACTIVE)?;
                let amount = self.value.checked_sub(constants::TON_ACCEPT).ok_or(exit::VALUE_TOO_SMALL)?;
                *self.storage.balance.deposited.get_mut(*side) += amount;
            }
            Message::CooperativeCommit { signatures, part } => {
                self.signed(Side::A, part, &signatures.a)?;
                self.signed(Side::B, part, &signatures.b)?;
                self.totals(&part.channel_id, part.sent, part.seqnos)?;
                self.withdraw(part.withdrawn)?;
            }
            Message::CooperativeClose { signatures, part } => {
                self.signed(Side::A, part, &signatures.a)?;
                self.signed(Side::B, part, &signatures.b)?;
                self.totals(&part.channel_id, part.sent, part.seqnos)?;
                self.close()?;
            }
            Message::StartUncooperativeClose { by, signature, part } => return self.start(*by, signature, part),
            Message::Challenge { by, signature, part } => return self.challenge(*by, signature, part),
            Message::SettleConditionals { from, signature, part } => return self.settle(*from, signature, part),
            Message::Finish => self.finish()?,
            Message::JettonNotification(_) | Message::TakeWalletAddress(_) => return Err(exit::CURRENCY),
        }
        Ok((None, None))
    }

    fn signed<T: ToSign>(&self, side: Side, part: &T, signature: &[u8; 64]) -> Result<(), Exit> {
        require(part.verify(self.storage.keys.get(side), signature), exit::SIGNATURE_OR_SENDER)
    }

    fn totals(&mut self, id: &[u8; 16], sent: Pair<u128>, seqnos: Pair<u64>) -> Result<(), Exit> {
        let storage = &mut self.storage;
        require(*id == storage.channel_id, exit::CHANNEL_ID)?;
        let committed = storage.committed_seqnos;
        require(seqnos.a > committed.a && seqnos.b > committed.b, exit::SEQNO_NOT_GREATER)?;
        storage.committed_seqnos = seqnos;
        storage.balance.sent = sent;
        storage.quarantine.take_if(|q| seqnos.a > q.bodies.a.seqno || seqnos.b > q.bodies.b.seqno);
        Ok(())
    }

    fn withdraw(&mut self, targets: Pair<u128>) -> Result<(), Exit> {
        for side in [Side::B, Side::A] {
            let (target, done) = (*targets.get(side), *self.storage.balance.withdrawn.get(side));
            let amount = target.checked_sub(done).ok_or(exit::WITHDRAWAL_DECREASED)?;
            *self.storage.balance.withdrawn.get_mut(side) = target;
            self.pay(side, amount)?;
        }
        let balance = &self.storage.balance;
        require(balance.of(Side::A) >= 0 && balance.of(Side::B) >= 0, exit::BALANCE_NEGATIVE)
    }

    fn pay(&mut self, side: Side, nano: u128) -> Result<(), Exit> {
        self.coins = self.coins.checked_sub(nano).ok_or(exit::BALANCE_NEGATIVE)?;
        self.payouts.push((self.storage.payment.destinations.get(side).hash, nano));
        Ok(())
    }

    /// B gets its balance, A everything left (payments 7.6.2).
    fn close(&mut self) -> Result<(), Exit> {
        let balance = &self.storage.balance;
        let (a, b) = (balance.of(Side::A), balance.of(Side::B));
        require(a >= 0 && b >= 0, exit::BALANCE_NEGATIVE)?;
        self.pay(Side::B, positive(b))?;
        self.pay(Side::A, self.coins)?;
        self.storage.initialised = false;
        self.storage.balance = Balance::default();
        self.storage.quarantine = None;
        self.closed = true;
        Ok(())
    }

    fn start(&mut self, by: Side, signature: &[u8; 64], part: &StartToSign) -> Result<Read, Exit> {
        require(self.storage.quarantine.is_none(), exit::QUARANTINE_ACTIVE)?;
        self.signed(by, part, signature)?;
        self.usable(&part.channel_id, &part.states)?;
        let bodies = Pair { a: part.states.a.state.body, b: part.states.b.state.body };
        self.storage.quarantine = Some(Quarantine { bodies, started_at: self.now as u32, committed_by: by, challenged: false });
        Ok((None, Some(part.states)))
    }

    /// The state rule (payments 7.6.3).
    fn usable(&self, id: &[u8; 16], states: &Pair<SignedState>) -> Result<(), Exit> {
        require(*id == self.storage.channel_id, exit::CHANNEL_ID)?;
        for side in [Side::A, Side::B] {
            let (own, other) = (states.get(side), states.get(side.other()));
            let key =
                ed25519_dalek::VerifyingKey::from_bytes(self.storage.keys.get(side)).map_err(|_| exit::SIGNATURE_OR_SENDER)?;
            require(own.verify(&key), exit::SIGNATURE_OR_SENDER)?;
            require(own.state.channel_id == self.storage.channel_id, exit::CHANNEL_ID)?;
            require(own.state.body.seqno >= *self.storage.committed_seqnos.get(side), exit::OUTDATED_STATE)?;
            let copy = other.state.counterparty.unwrap_or(Body::start(0));
            require(own.state.body.seqno >= copy.seqno && own.state.body.sent >= copy.sent, exit::OUTDATED_STATE)?;
            require(copy.seqno == 0 || copy.seqno >= *self.storage.committed_seqnos.get(side), exit::OUTDATED_STATE)?;
        }
        Ok(())
    }

    fn challenge(&mut self, by: Side, signature: &[u8; 64], part: &ChallengeToSign) -> Result<Read, Exit> {
        let q = self.storage.quarantine.ok_or(exit::NO_QUARANTINE)?;
        self.signed(by, part, signature)?;
        self.usable(&part.channel_id, &part.states)?;
        require(self.storage.quarantine_end().is_some_and(|end| self.now < end), exit::TOO_LATE_TO_CHALLENGE)?;
        require(!q.challenged, exit::ALREADY_CHALLENGED)?;
        require(by != q.committed_by, exit::CHALLENGER_IS_COMMITTER)?;
        let old = *q.bodies.get(q.committed_by);
        let mut new = part.states.get(q.committed_by).state.body;
        if new.seqno > old.seqno || new.sent > old.sent {
            new.sent += self.storage.closing.misbehavior_fine;
        }
        let mut bodies = q.bodies;
        *bodies.get_mut(q.committed_by) = new;
        self.storage.quarantine = Some(Quarantine { bodies, committed_by: by, challenged: true, ..q });
        Ok((None, Some(part.states)))
    }

    fn settle(&mut self, from: Side, signature: &[u8; 64], part: &SettleToSign) -> Result<Read, Exit> {
        let mut q = self.storage.quarantine.ok_or(exit::NO_QUARANTINE)?;
        self.signed(from, part, signature)?;
        require(part.channel_id == self.storage.channel_id, exit::CHANNEL_ID)?;
        require(self.storage.quarantine_end().is_some_and(|end| self.now > end), exit::QUARANTINE_NOT_OVER)?;
        require(self.storage.settle_end().is_some_and(|end| self.now < end), exit::TOO_LATE_TO_SETTLE)?;
        let body = q.bodies.get_mut(from.other());
        let proof = UpdateProof::verify(Some(&part.proof), &body.conditionals).map_err(|_| exit::CONDITIONALS_PROOF)?;
        let resolutions = read_resolutions(part.resolutions.as_ref()).map_err(|_| exit::CONDITIONALS_PROOF)?;
        for (index, resolution) in &resolutions {
            let entry = proof.lookup(*index).map_err(|_| exit::CONDITIONALS_PROOF)?;
            let condition = entry.ok_or(exit::CONDITIONALS_PROOF)?;
            let alive = u64::from(condition.deadline) >= self.now;
            require(alive && resolution.verify(&condition.key), exit::CONDITION_SIGNATURE)?;
            let fits = resolution.amount <= condition.capacity && condition.prepay <= resolution.amount;
            require(fits, exit::CONDITION_AMOUNT)?;
            body.sent += resolution.amount - condition.prepay + condition.fee;
        }
        let indices = resolutions.iter().map(|(index, _)| *index);
        body.conditionals = emptied(&part.proof, indices).map_err(|_| exit::CONDITIONALS_PROOF)?;
        self.storage.quarantine = Some(q);
        Ok((Some((from, resolutions)), None))
    }

    fn finish(&mut self) -> Result<(), Exit> {
        let q = self.storage.quarantine.ok_or(exit::NO_QUARANTINE)?;
        require(self.storage.settle_end().is_some_and(|end| self.now > end), exit::TOO_EARLY_TO_FINISH)?;
        let balance = &mut self.storage.balance;
        balance.sent = Pair { a: q.bodies.a.sent, b: q.bodies.b.sent };
        for side in [Side::A, Side::B] {
            let missing = balance.of(side).min(0).unsigned_abs();
            *balance.sent.get_mut(side.other()) += missing;
        }
        self.storage.committed_seqnos = Pair { a: q.bodies.a.seqno + 1, b: q.bodies.b.seqno + 1 };
        self.close()
    }
}

/// The value of a settled entry.
struct Empty;

impl Store for Empty {
    fn store_into(&self, _: &mut CellBuilder, _: &dyn CellContext) -> Result<(), CellError> {
        Ok(())
    }
}

/// The hash that a proof's tree stands for once these entries are emptied.
fn emptied(proof: &Cell, indices: impl Iterator<Item = u32>) -> Result<[u8; 32], CellError> {
    let proof: MerkleProof = proof.as_ref().parse_exotic()?;
    let mut dict = Dict::<u32, Empty>::from_raw(Some(proof.cell));
    for index in indices {
        dict.replace(index, Empty)?;
    }
    Ok(dict.into_root().map_or([0; 32], |root| root.hash(0).0))
}
