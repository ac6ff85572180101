use ton::{
    Address, Cell, CellBuilder, CellError, CellSlice, DynCell, expect_end, load_address, load_coins, store_address, store_coins,
};

use crate::to_sign::load;
use crate::{ChallengeToSign, CloseToSign, CommitToSign, InitToSign, Pair, SettleToSign, Side, StartToSign, ToSign, build};

/// The 32-bit operations of internal messages (payments 7.3).
pub mod op {
    /// To the contract: initialise.
    pub const INIT: u32 = 0x79ae_99b5;
    /// To the contract: top up; also the payload of a jetton transfer.
    pub const TOP_UP: u32 = 0x593e_3893;
    /// To the contract: cooperative commit.
    pub const COOPERATIVE_COMMIT: u32 = 0x076b_fdf1;
    /// To the contract: cooperative close.
    pub const COOPERATIVE_CLOSE: u32 = 0xd2b1_eeeb;
    /// To the contract: start an uncooperative close.
    pub const START_UNCOOPERATIVE_CLOSE: u32 = 0x8175_e15d;
    /// To the contract: challenge.
    pub const CHALLENGE: u32 = 0x9a77_c0db;
    /// To the contract: settle conditionals.
    pub const SETTLE_CONDITIONALS: u32 = 0x56c3_9b4c;
    /// To the contract: finish an uncooperative close.
    pub const FINISH: u32 = 0x2543_2a91;
    /// To the contract, from its jetton wallet.
    pub const JETTON_NOTIFICATION: u32 = 0x7362_d09c;
    /// To the contract, from the jetton master.
    pub const TAKE_WALLET_ADDRESS: u32 = 0xd173_5400;
    /// From the contract: the channel is closed, with the payout.
    pub const CLOSED: u32 = 0xdddc_88ba;
    /// From the contract: a withdrawal.
    pub const WITHDRAWAL: u32 = 0xa32f_0b3c;
    /// From the contract: what was left of the value.
    pub const EXCESS: u32 = 0xd532_76db;
    /// From the contract to its jetton wallet.
    pub const JETTON_TRANSFER: u32 = 0x0f8a_7ea5;
    /// From the contract to the jetton master.
    pub const PROVIDE_WALLET_ADDRESS: u32 = 0x2c76_b973;
}

/// A message to the contract. All are internal; authority comes from the signatures (payments 7.3).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Initialises the channel.
    Init {
        /// Who signed.
        by: Side,
        /// Over `part`.
        signature: [u8; 64],
        /// The signed part.
        part: InitToSign,
    },
    /// Adds the attached value to a side's deposit. Anyone may send it.
    TopUp {
        /// Whose deposit.
        side: Side,
    },
    /// Sets totals and pays out.
    CooperativeCommit {
        /// Both over `part`; 64 zero bytes while one is missing (payments 7.7).
        signatures: Pair<[u8; 64]>,
        /// The signed part.
        part: CommitToSign,
    },
    /// Closes the channel.
    CooperativeClose {
        /// Both over `part`; 64 zero bytes while one is missing (payments 7.7).
        signatures: Pair<[u8; 64]>,
        /// The signed part.
        part: CloseToSign,
    },
    /// Starts an uncooperative close.
    StartUncooperativeClose {
        /// Who signed.
        by: Side,
        /// Over `part`.
        signature: [u8; 64],
        /// The signed part.
        part: StartToSign,
    },
    /// Challenges the committer's state.
    Challenge {
        /// Who signed.
        by: Side,
        /// Over `part`.
        signature: [u8; 64],
        /// The signed part.
        part: ChallengeToSign,
    },
    /// Settles conditionals of the other side's body.
    SettleConditionals {
        /// Who signed, and is paid.
        from: Side,
        /// Over `part`.
        signature: [u8; 64],
        /// The signed part.
        part: SettleToSign,
    },
    /// Finishes an uncooperative close. Anyone may send it.
    Finish,
    /// Jettons arrived at the contract's jetton wallet.
    JettonNotification(JettonNotification),
    /// The jetton master tells the contract's jetton wallet.
    TakeWalletAddress(WalletAddress),
}

/// `transfer_notification` of TEP-74.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JettonNotification {
    /// The transfer's.
    pub query_id: u64,
    /// Nano of the jetton.
    pub amount: u128,
    /// Who sent the jettons.
    pub sender: Option<Address>,
    /// Inline or in a reference; written in a reference. A top up body, or the jettons go back.
    pub payload: Cell,
}

/// `take_wallet_address` of TEP-89.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletAddress {
    /// The question's.
    pub query_id: u64,
    /// The jetton wallet.
    pub wallet: Option<Address>,
    /// Its owner, a cell with an address, when asked for.
    pub owner: Option<Cell>,
}

impl Message {
    /// The message's body.
    pub fn to_cell(&self) -> Cell {
        build(|b| match self {
            Self::Init { by, signature, part } => store_signed(b, op::INIT, *by, signature, part),
            Self::TopUp { side } => {
                b.store_u32(op::TOP_UP)?;
                side.store(b)
            }
            Self::CooperativeCommit { signatures, part } => store_agreed(b, op::COOPERATIVE_COMMIT, signatures, part),
            Self::CooperativeClose { signatures, part } => store_agreed(b, op::COOPERATIVE_CLOSE, signatures, part),
            Self::StartUncooperativeClose { by, signature, part } => {
                store_signed(b, op::START_UNCOOPERATIVE_CLOSE, *by, signature, part)
            }
            Self::Challenge { by, signature, part } => store_signed(b, op::CHALLENGE, *by, signature, part),
            Self::SettleConditionals { from, signature, part } => {
                store_signed(b, op::SETTLE_CONDITIONALS, *from, signature, part)
            }
            Self::Finish => b.store_u32(op::FINISH),
            Self::JettonNotification(notification) => notification.store(b),
            Self::TakeWalletAddress(answer) => answer.store(b),
        })
    }

    /// Reads a message's body. Nothing may follow.
    pub fn parse(cell: &DynCell) -> Result<Self, CellError> {
        let s = &mut cell.as_slice()?;
        let message = match s.load_u32()? {
            op::INIT => {
                let (by, signature, part) = load_signed(s)?;
                Self::Init { by, signature, part }
            }
            op::TOP_UP => Self::TopUp { side: Side::load(s)? },
            op::COOPERATIVE_COMMIT => {
                let (signatures, part) = load_agreed(s)?;
                Self::CooperativeCommit { signatures, part }
            }
            op::COOPERATIVE_CLOSE => {
                let (signatures, part) = load_agreed(s)?;
                Self::CooperativeClose { signatures, part }
            }
            op::START_UNCOOPERATIVE_CLOSE => {
                let (by, signature, part) = load_signed(s)?;
                Self::StartUncooperativeClose { by, signature, part }
            }
            op::CHALLENGE => {
                let (by, signature, part) = load_signed(s)?;
                Self::Challenge { by, signature, part }
            }
            op::SETTLE_CONDITIONALS => {
                let (from, signature, part) = load_signed(s)?;
                Self::SettleConditionals { from, signature, part }
            }
            op::FINISH => Self::Finish,
            op::JETTON_NOTIFICATION => Self::JettonNotification(JettonNotification::load(s)?),
            op::TAKE_WALLET_ADDRESS => Self::TakeWalletAddress(WalletAddress::load(s)?),
            _ => return Err(CellError::InvalidTag),
        };
        expect_end(s)?;
        Ok(message)
    }
}

fn store_signed(b: &mut CellBuilder, op: u32, by: Side, signature: &[u8; 64], part: &impl ToSign) -> Result<(), CellError> {
    b.store_u32(op)?;
    by.store(b)?;
    b.store_raw(signature, 512)?;
    b.store_slice(part.cell().as_slice()?)
}

fn load_signed<T: ToSign>(s: &mut CellSlice<'_>) -> Result<(Side, [u8; 64], T), CellError> {
    Ok((Side::load(s)?, load_signature(s)?, load(s)?))
}

fn store_agreed(b: &mut CellBuilder, op: u32, signatures: &Pair<[u8; 64]>, part: &impl ToSign) -> Result<(), CellError> {
    b.store_u32(op)?;
    signatures.store(b, |b, signature| b.store_reference(build(|b| b.store_raw(signature, 512))))?;
    b.store_slice(part.cell().as_slice()?)
}

fn load_agreed<T: ToSign>(s: &mut CellSlice<'_>) -> Result<(Pair<[u8; 64]>, T), CellError> {
    let signatures = Pair::load(s, |s| {
        let mut cell = s.load_reference()?.as_slice()?;
        let signature = load_signature(&mut cell)?;
        expect_end(&cell)?;
        Ok(signature)
    })?;
    Ok((signatures, load(s)?))
}

fn load_signature(s: &mut CellSlice<'_>) -> Result<[u8; 64], CellError> {
    let mut signature = [0; 64];
    s.load_raw(&mut signature, 512)?;
    Ok(signature)
}

impl JettonNotification {
    fn store(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_u32(op::JETTON_NOTIFICATION)?;
        b.store_u64(self.query_id)?;
        store_coins(b, self.amount)?;
        store_address(b, self.sender.as_ref())?;
        b.store_bit_one()?;
        b.store_reference(self.payload.clone())
    }

    fn load(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        let (query_id, amount, sender) = (s.load_u64()?, load_coins(s)?, load_address(s)?);
        let payload = if s.load_bit()? {
            s.load_reference_cloned()?
        } else {
            let mut b = CellBuilder::new();
            b.store_slice(s.load_remaining())?;
            b.build()?
        };
        Ok(Self { query_id, amount, sender, payload })
    }
}

impl WalletAddress {
    fn store(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_u32(op::TAKE_WALLET_ADDRESS)?;
        b.store_u64(self.query_id)?;
        store_address(b, self.wallet.as_ref())?;
        b.store_bit(self.owner.is_some())?;
        self.owner.iter().try_for_each(|owner| b.store_reference(owner.clone()))
    }

    fn load(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        let (query_id, wallet) = (s.load_u64()?, load_address(s)?);
        let owner = if s.load_bit()? { Some(s.load_reference_cloned()?) } else { None };
        Ok(Self { query_id, wallet, owner })
    }
}
