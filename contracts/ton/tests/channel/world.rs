//! A channel on a chain, and what it must look like from outside.

pub use contract::Currency;
pub use contract::constants::TON_ACCEPT;

use contract::{Balance, Closing, OpenConfig, Outgoing, Pair, Payment, Quarantine, Side, Storage};
use devnet::chain::{Chain, InternalMessage, TransactionRecord};
use ed25519_dalek::SigningKey;
use ton::{Address, Cell, CellBuilder, HashBytes};
use tycho_types::models::{AccountState, StateInit, StdAddr};

use crate::code::Code;
use crate::messages::{init, top_up};

pub const TON: u128 = 1_000_000_000;
/// When the chain starts, unix seconds.
pub const START: u32 = 1_763_000_000;
pub const CHANNEL_ID: [u8; 16] = [0xab; 16];
pub const QUARANTINE: u32 = 300;
pub const CONDITIONAL_CLOSE: u32 = 200;
pub const FINE: u128 = TON / 2;
pub const STORAGE_FEE: u128 = TON / 20;
/// What each side has in [`World::funded`].
pub const DEPOSIT_A: u128 = 10 * TON;
pub const DEPOSIT_B: u128 = 20 * TON;
/// Forwarding a message whose body is in its root cell.
pub const FORWARD_FEE: u128 = 400_000;
/// Nano per gas.
const GAS_PRICE: u128 = 400;
/// What the value of a message must cover of its gas: the other implementation of the TVM counts up to half a percent more
/// (chain.md 1.4).
const GAS_MARGIN_PERCENT: u128 = 101;

/// The sender of all messages: neither side.
pub fn sender() -> StdAddr {
    StdAddr::new(0, HashBytes([0x99; 32]))
}

pub fn destination(side: Side) -> StdAddr {
    StdAddr::new(0, HashBytes([if side == Side::A { 0x0a } else { 0x0b }; 32]))
}

pub fn key(side: Side) -> SigningKey {
    SigningKey::from_bytes(&[if side == Side::A { 1 } else { 2 }; 32])
}

/// The key of nobody in the channel.
pub fn foreign_key() -> SigningKey {
    SigningKey::from_bytes(&[3; 32])
}

/// What a channel is deployed with.
pub struct Config {
    pub storage_fee: u128,
    pub currency: Currency,
    pub balance: Balance,
}

impl Default for Config {
    fn default() -> Self {
        Self { storage_fee: STORAGE_FEE, currency: Currency::Ton, balance: Balance::default() }
    }
}

impl Config {
    fn to_storage(&self) -> Storage {
        let public = |side| key(side).verifying_key().to_bytes();
        let address = |side| Address { workchain: 0, hash: destination(side).address.0 };
        let config = OpenConfig {
            keys: Pair { a: public(Side::A), b: public(Side::B) },
            channel_id: CHANNEL_ID,
            closing: Closing {
                quarantine_duration: QUARANTINE,
                misbehavior_fine: FINE,
                conditional_close_duration: CONDITIONAL_CLOSE,
            },
            payment: Payment {
                storage_fee: self.storage_fee,
                destinations: Pair { a: address(Side::A), b: address(Side::B) },
                currency: self.currency,
            },
        };
        Storage { balance: self.balance, ..config.initial_storage() }
    }
}

pub struct World {
    pub chain: Chain,
    pub channel: StdAddr,
    init: StateInit,
    config: Config,
}

impl World {
    /// A channel that is not on the chain yet.
    pub fn new(code: &Code, config: Config) -> Self {
        let init = StateInit { code: Some(code.cell.clone()), data: Some(config.to_storage().to_cell()), ..Default::default() };
        let address = *CellBuilder::build_from(&init).unwrap().repr_hash();
        Self { chain: Chain::new(START).unwrap(), channel: StdAddr::new(0, address), init, config }
    }

    /// Initialised by A, nothing on it.
    pub fn opened(code: &Code) -> Self {
        let mut world = Self::new(code, Config::default());
        world.deploys(TON / 4, init(Side::A));
        world
    }

    /// Opened, and topped up by both sides.
    pub fn funded(code: &Code) -> Self {
        let mut world = Self::opened(code);
        world.accepts(DEPOSIT_A + TON_ACCEPT, top_up(Side::A));
        world.accepts(DEPOSIT_B + TON_ACCEPT, top_up(Side::B));
        world
    }

    /// The transaction of a message to the channel. All money stays accounted for.
    pub fn send(&mut self, message: InternalMessage) -> TransactionRecord {
        self.chain.inject(message).unwrap();
        let outcome = self.chain.run().unwrap();
        assert!(self.chain.totals().is_conserved());
        outcome.of(&self.channel).next().expect("a transaction of the channel").clone()
    }

    pub fn message(&self, value: u128, body: Cell) -> InternalMessage {
        InternalMessage::new(sender(), self.channel.clone(), value).body(body)
    }

    /// Sends the first message, with the state init. The channel must accept it.
    pub fn deploys(&mut self, value: u128, body: Cell) -> TransactionRecord {
        let message = self.message(value, body).init(self.init.clone());
        let record = self.send(message);
        assert_accepted(&record);
        record
    }

    /// As [`Self::deploys`], but the channel must refuse with this exit code and stays as deployed.
    pub fn refuses_to_deploy(&mut self, value: u128, body: Cell, exit_code: i32) {
        let message = self.message(value, body).init(self.init.clone());
        let record = self.send(message);
        assert_refused(&record, exit_code);
        assert!(
            self.chain.account(&self.channel).is_none_or(|a| !matches!(a.state, AccountState::Active(_)))
                || !self.storage().initialised
        );
    }

    /// The channel must accept the message.
    pub fn accepts(&mut self, value: u128, body: Cell) -> TransactionRecord {
        let record = self.send(self.message(value, body));
        assert_accepted(&record);
        record
    }

    /// The channel must refuse the message with this exit code, keep its data, and return the value.
    pub fn refuses(&mut self, body: Cell, exit_code: i32) {
        self.refuses_value(TON, body, exit_code);
    }

    pub fn refuses_value(&mut self, value: u128, body: Cell, exit_code: i32) {
        let before = self.data();
        let record = self.send(self.message(value, body));
        assert_refused(&record, exit_code);
        assert_eq!(self.data(), before);
    }

    /// The channel must refuse the message, for whatever reason the VM has, and keep its data.
    pub fn fails(&mut self, body: Cell) {
        let before = self.data();
        let record = self.send(self.message(TON, body));
        assert!(!matches!(record.exit_code(), Some(0 | 1)) && record.bounced, "{record:?}");
        assert_eq!(self.data(), before);
    }

    pub fn data(&self) -> Cell {
        match self.chain.account(&self.channel).expect("the channel").state {
            AccountState::Active(state) => state.data.expect("data"),
            _ => panic!("the channel is not active"),
        }
    }

    pub fn storage(&self) -> Storage {
        Storage::from_cell(self.data().as_ref()).unwrap()
    }

    pub fn quarantine(&self) -> Quarantine {
        self.storage().quarantine.expect("a quarantine")
    }

    pub fn balance(&self) -> u128 {
        self.chain.balance(&self.channel)
    }

    pub fn received(&self, side: Side) -> u128 {
        self.chain.balance(&destination(side))
    }

    /// What belongs to one side by the storage.
    pub fn balance_of(&self, side: Side) -> u128 {
        self.storage().balance.of(side).try_into().unwrap()
    }

    /// The channel kept the storage fee and what belongs to the sides; the rest of `value` went back to the sender in the last
    /// message (payments 7.6, excess).
    pub fn assert_excess_returned(&self, record: &TransactionRecord) {
        let kept = self.config.storage_fee + self.balance_of(Side::A) + self.balance_of(Side::B);
        assert_eq!(record.balance_after, kept);
        let excess = record.out_messages.last().expect("an excess message");
        assert_eq!(excess.dst, Some(sender()));
        assert_eq!(excess.body, Outgoing::Excess { query_id: 0 }.to_cell());
        let payouts: u128 = record.out_messages.iter().rev().skip(1).map(|m| m.value + FORWARD_FEE).sum();
        let spent = record.fees.gas + record.fees.storage + FORWARD_FEE + payouts;
        assert_eq!(excess.value, record.balance_before + record.in_message.value - kept - spent);
    }

    /// The channel's end (payments 7.6, close): B has its balance, A all the rest.
    pub fn assert_closed(&self, record: &TransactionRecord, balance_b: u128) {
        let storage = self.storage();
        assert!(!storage.initialised && storage.quarantine.is_none());
        assert_eq!(storage.balance, Balance::default());
        assert_eq!(self.balance(), 0);
        let [to_b, to_a] = &record.out_messages[..] else { panic!("{} messages", record.out_messages.len()) };
        let closed = Outgoing::Closed { channel_id: CHANNEL_ID }.to_cell();
        for (message, side) in [(to_b, Side::B), (to_a, Side::A)] {
            assert_eq!(message.dst, Some(destination(side)));
            assert_eq!(message.body, closed);
            assert!(!message.bounce);
        }
        assert_eq!(to_b.value, balance_b - FORWARD_FEE);
        let spent = record.fees.gas + record.fees.storage + FORWARD_FEE;
        assert_eq!(to_a.value, record.balance_before + record.in_message.value - balance_b - spent);
    }
}

fn assert_accepted(record: &TransactionRecord) {
    assert_eq!((record.exit_code(), record.action_code), (Some(0), Some(0)), "{record:?}");
    assert!(record.is_success());
    let gas = u128::from(record.gas_used());
    assert!(gas * GAS_PRICE * GAS_MARGIN_PERCENT <= record.in_message.value * 100, "{gas} gas");
}

fn assert_refused(record: &TransactionRecord, exit_code: i32) {
    assert_eq!(record.exit_code(), Some(exit_code), "{record:?}");
    assert!(record.aborted && record.bounced);
    let back = record.out_messages.last().expect("a bounce");
    assert!(back.bounced);
    assert_eq!(back.dst, Some(sender()));
    assert_eq!(back.value, record.in_message.value - record.fees.gas - FORWARD_FEE);
}
