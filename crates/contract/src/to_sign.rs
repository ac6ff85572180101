use ed25519_dalek::{Signature, VerifyingKey};
use ton::{Cell, CellBuilder, CellContext, CellError, CellSlice, Load, Store, load_coins, store_coins};
use wire::SignedState;

use crate::config::load_id;
use crate::{Pair, build};

/// The signed part of a message: what follows the signatures, from its tag on (payments 7.3). Reading takes the whole slice's front.
pub trait ToSign: Sized {
    /// The 32 bits at its start.
    const TAG: u32;
    /// Writes what follows the tag.
    fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError>;
    /// Reads what follows the tag.
    fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError>;

    /// The cell whose hash is signed.
    fn cell(&self) -> Cell {
        build(|b| {
            b.store_u32(Self::TAG)?;
            self.store_fields(b)
        })
    }
    /// What is signed.
    fn hash(&self) -> [u8; 32] {
        ton::hash(self.cell().as_ref())
    }
    /// Whether the key signed it. Strict: no weak keys.
    fn verify(&self, key: &[u8; 32], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(&self.hash(), &Signature::from_bytes(signature)).is_ok())
    }
}

pub(crate) fn load<T: ToSign>(s: &mut CellSlice<'_>) -> Result<T, CellError> {
    if s.load_u32()? != T::TAG {
        return Err(CellError::InvalidTag);
    }
    T::load_fields(s)
}

/// Allows initialising the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InitToSign {
    /// The channel.
    pub channel_id: [u8; 16],
}

impl ToSign for InitToSign {
    const TAG: u32 = 0x481e_bc44;
    fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_raw(&self.channel_id, 128)
    }
    fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(Self { channel_id: load_id(s)? })
    }
}

/// Agrees to new totals and payouts (payments 7.6.1). Amounts in nano.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitToSign {
    /// The channel.
    pub channel_id: [u8; 16],
    /// All that each side ever paid.
    pub sent: Pair<u128>,
    /// Above the committed ones; states below become useless.
    pub seqnos: Pair<u64>,
    /// All that each side ever withdrew, this commit included.
    pub withdrawn: Pair<u128>,
}

impl ToSign for CommitToSign {
    const TAG: u32 = 0x4a39_0cac;
    fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        store_totals(b, &self.channel_id, &self.sent, &self.seqnos)?;
        self.withdrawn.store(b, |b, amount| store_coins(b, *amount))
    }
    fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(Self {
            channel_id: load_id(s)?,
            sent: Pair::load(s, load_coins)?,
            seqnos: Pair::load(s, CellSlice::load_u64)?,
            withdrawn: Pair::load(s, load_coins)?,
        })
    }
}

/// Agrees to close (payments 7.6.2). Amounts in nano.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloseToSign {
    /// The channel.
    pub channel_id: [u8; 16],
    /// All that each side ever paid.
    pub sent: Pair<u128>,
    /// Above the committed ones.
    pub seqnos: Pair<u64>,
}

impl ToSign for CloseToSign {
    const TAG: u32 = 0x8243_e9a3;
    fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        store_totals(b, &self.channel_id, &self.sent, &self.seqnos)
    }
    fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(Self { channel_id: load_id(s)?, sent: Pair::load(s, load_coins)?, seqnos: Pair::load(s, CellSlice::load_u64)? })
    }
}

fn store_totals(b: &mut CellBuilder, id: &[u8; 16], sent: &Pair<u128>, seqnos: &Pair<u64>) -> Result<(), CellError> {
    b.store_raw(id, 128)?;
    sent.store(b, |b, amount| store_coins(b, *amount))?;
    seqnos.store(b, |b, seqno| b.store_u64(*seqno))
}

macro_rules! states_to_sign {
    ($(#[$doc:meta])* $name:ident $tag:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name {
            /// The channel.
            pub channel_id: [u8; 16],
            /// Both sides' newest signed states.
            pub states: Pair<SignedState>,
        }

        impl ToSign for $name {
            const TAG: u32 = $tag;
            fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError> {
                b.store_raw(&self.channel_id, 128)?;
                self.states.store(b, |b, state| b.store_reference(state.to_cell()))
            }
            fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
                let channel_id = load_id(s)?;
                let states = Pair::load(s, |s| SignedState::from_cell(s.load_reference()?))?;
                Ok(Self { channel_id, states })
            }
        }
    };
}
states_to_sign! {
    /// Starts an uncooperative close (payments 7.6.3).
    StartToSign 0x8c62_3692
}
states_to_sign! {
    /// Puts another state in the place of the committer's (payments 7.6.4).
    ChallengeToSign 0xb8a2_1379
}

/// Settles conditionals of the other side's quarantined body (payments 7.6.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleToSign {
    /// The channel.
    pub channel_id: [u8; 16],
    /// The resolutions by index: [`wire::conditionals::resolutions_cell`].
    pub resolutions: Option<Cell>,
    /// [`wire::conditionals::Settlement::proof`] for their indices.
    pub proof: Cell,
}

impl ToSign for SettleToSign {
    const TAG: u32 = 0x1458_8aab;
    fn store_fields(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_raw(&self.channel_id, 128)?;
        self.resolutions.store_into(b, context())?;
        b.store_reference(self.proof.clone())
    }
    fn load_fields(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(Self { channel_id: load_id(s)?, resolutions: Option::<Cell>::load_from(s)?, proof: s.load_reference_cloned()? })
    }
}

fn context() -> &'static dyn CellContext {
    <Cell as ton::CellFamily>::empty_context()
}
