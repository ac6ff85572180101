use ton::{
    Address, Cell, CellBuilder, CellError, CellSlice, DynCell, expect_end, load_address, load_coins, store_address, store_coins,
};

use crate::{Balance, CodeKind, Pair, Storage, build};

/// The coin of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Currency {
    /// Toncoin.
    Ton,
    /// An extra currency by id.
    Extra(u32),
    /// A jetton.
    Jetton {
        /// The jetton's master contract.
        master: Address,
        /// The channel's own jetton wallet; learnt on the chain, absent in a config (payments 7.6).
        wallet: Option<Address>,
    },
}

impl Currency {
    fn store(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        match self {
            Self::Ton => b.store_bit_zero(),
            Self::Extra(id) => {
                b.store_small_uint(0b10, 2)?;
                b.store_u32(*id)
            }
            Self::Jetton { master, wallet } => {
                b.store_small_uint(0b11, 2)?;
                b.store_reference(build(|b| {
                    store_address(b, Some(master))?;
                    store_address(b, wallet.as_ref())
                }))
            }
        }
    }

    fn load(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        if !s.load_bit()? {
            return Ok(Self::Ton);
        }
        if !s.load_bit()? {
            return Ok(Self::Extra(s.load_u32()?));
        }
        let mut info = s.load_reference()?.as_slice()?;
        let master = load_address(&mut info)?.ok_or(CellError::InvalidTag)?;
        let wallet = load_address(&mut info)?;
        expect_end(&info)?;
        Ok(Self::Jetton { master, wallet })
    }

    fn without_wallet(self) -> Self {
        match self {
            Self::Jetton { master, .. } => Self::Jetton { master, wallet: None },
            other => other,
        }
    }
}

/// The terms of an uncooperative close (`ClosingConfig`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Closing {
    /// Seconds in which the other side may challenge.
    pub quarantine_duration: u32,
    /// Paid by whoever is shown to have used an old state, nano.
    pub misbehavior_fine: u128,
    /// Seconds for settling conditionals after the quarantine.
    pub conditional_close_duration: u32,
}

impl Closing {
    pub(crate) fn to_cell(self) -> Cell {
        build(|b| {
            b.store_u32(self.quarantine_duration)?;
            store_coins(b, self.misbehavior_fine)?;
            b.store_u32(self.conditional_close_duration)
        })
    }

    pub(crate) fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let (quarantine_duration, misbehavior_fine) = (s.load_u32()?, load_coins(&mut s)?);
        let conditional_close_duration = s.load_u32()?;
        expect_end(&s)?;
        Ok(Self { quarantine_duration, misbehavior_fine, conditional_close_duration })
    }
}

/// The coin, and where it is paid out (`PaymentConfig`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Payment {
    /// Kept in the contract for its storage, nanoton.
    pub storage_fee: u128,
    /// The sides' wallets.
    pub destinations: Pair<Address>,
    /// The coin.
    pub currency: Currency,
}

impl Payment {
    pub(crate) fn to_cell(self) -> Cell {
        build(|b| {
            store_coins(b, self.storage_fee)?;
            self.destinations.store(b, |b, address| store_address(b, Some(address)))?;
            self.currency.store(b)
        })
    }

    pub(crate) fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let storage_fee = load_coins(&mut s)?;
        let destinations = Pair::load(&mut s, |s| load_address(s)?.ok_or(CellError::InvalidTag))?;
        let currency = Currency::load(&mut s)?;
        expect_end(&s)?;
        Ok(Self { storage_fee, destinations, currency })
    }
}

/// All that decides a channel's address besides the code: the cell of `openChannelOffchain` (payments 7.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OpenConfig {
    /// The sides' channel keys.
    pub keys: Pair<[u8; 32]>,
    /// See [`channel_id`].
    pub channel_id: [u8; 16],
    /// The terms of an uncooperative close.
    pub closing: Closing,
    /// The coin and the destinations.
    pub payment: Payment,
}

impl OpenConfig {
    /// The cell that travels. A jetton wallet is left out, as the opener does not know it.
    pub fn to_cell(&self) -> Cell {
        build(|b| {
            self.keys.store(b, |b, key| b.store_raw(key, 256))?;
            b.store_raw(&self.channel_id, 128)?;
            b.store_reference(self.closing.to_cell())?;
            b.store_reference(self.without_wallet().payment.to_cell())
        })
    }

    /// Reads a config. One that names a jetton wallet is refused.
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let keys = Pair::load(&mut s, |s| Ok(s.load_u256()?.0))?;
        let channel_id = load_id(&mut s)?;
        let closing = Closing::from_cell(s.load_reference()?)?;
        let payment = Payment::from_cell(s.load_reference()?)?;
        expect_end(&s)?;
        let config = Self { keys, channel_id, closing, payment };
        if config != config.without_wallet() { Err(CellError::InvalidData) } else { Ok(config) }
    }

    fn without_wallet(mut self) -> Self {
        self.payment.currency = self.payment.currency.without_wallet();
        self
    }

    /// The storage of a contract not yet initialised (payments 7.1).
    pub fn initial_storage(&self) -> Storage {
        let Self { keys, channel_id, closing, payment } = self.without_wallet();
        Storage {
            initialised: false,
            balance: Balance::default(),
            keys,
            channel_id,
            closing,
            committed_seqnos: Pair::default(),
            quarantine: None,
            payment,
        }
    }

    /// The data to deploy with.
    pub fn initial_data(&self) -> Cell {
        self.initial_storage().to_cell()
    }

    /// Where the contract is, or will be.
    pub fn address(&self, code: &CodeKind) -> Address {
        ton::state_init_address(&code.hash, code.depth, &self.initial_data())
    }
}

pub(crate) fn load_id(s: &mut CellSlice<'_>) -> Result<[u8; 16], CellError> {
    let mut id = [0; 16];
    s.load_raw(&mut id, 128)?;
    Ok(id)
}

/// The channel id that an opener chooses: the first 12 bytes of the peer's channel key, then the unix time, little endian (payments 7.1).
pub fn channel_id(peer_key: &[u8; 32], unix_time: u32) -> [u8; 16] {
    let mut id = [0; 16];
    id[..12].copy_from_slice(&peer_key[..12]);
    id[12..].copy_from_slice(&unix_time.to_le_bytes());
    id
}
