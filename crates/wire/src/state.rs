//! The two halves of a channel: signed states (payments 3.1–3.3).

use ed25519_dalek::{Signature, VerifyingKey};
use ton::{Cell, CellBuilder, CellError, CellSlice, CellType, DynCell, expect_end, hash, load_coins, store_coins};

/// `semichannel#43685374`.
const STATE_TAG: u32 = 0x4368_5374;

/// The part of a state that its owner decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Body {
    /// Rises by one with each own proposal that was agreed.
    pub seqno: u64,
    /// All that this side ever paid in this channel, conditionals not included, nano. Never falls.
    pub sent: u128,
    /// The root hash of this side's conditionals; 32 zero bytes when there are none.
    pub conditionals: [u8; 32],
}

impl Body {
    /// The start value: nothing sent, no conditionals (payments 3.2).
    pub const fn start(seqno: u64) -> Self {
        Self { seqno, sent: 0, conditionals: [0; 32] }
    }

    /// Writes `sc_body`. Refuses `sent` above [`ton::MAX_COINS`].
    pub fn store(&self, b: &mut CellBuilder) -> Result<(), CellError> {
        b.store_u64(self.seqno)?;
        store_coins(b, self.sent)?;
        b.store_raw(&self.conditionals, 256)
    }

    /// Reads `sc_body`.
    pub fn load(s: &mut CellSlice<'_>) -> Result<Self, CellError> {
        Ok(Self { seqno: s.load_u64()?, sent: load_coins(s)?, conditionals: s.load_u256()?.0 })
    }

    fn to_cell(self) -> Result<Cell, CellError> {
        let mut b = CellBuilder::new();
        self.store(&mut b)?;
        b.build()
    }
}

/// One side's state: its own body and its view of the other side's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// The channel.
    pub channel_id: [u8; 16],
    /// The owner's body.
    pub body: Body,
    /// The other side's latest body, as the owner knows it (payments 3.3).
    pub counterparty: Option<Body>,
}

impl State {
    /// The cell whose hash is signed.
    ///
    /// # Panics
    /// When an amount exceeds [`ton::MAX_COINS`]. No amount that was read does, and the protocol checks before it adds.
    pub fn to_cell(&self) -> Cell {
        self.build().expect("amounts of a state stay within 120 bits")
    }

    fn build(&self) -> Result<Cell, CellError> {
        let mut b = CellBuilder::new();
        b.store_u32(STATE_TAG)?;
        b.store_raw(&self.channel_id, 128)?;
        self.body.store(&mut b)?;
        b.store_bit(self.counterparty.is_some())?;
        if let Some(body) = self.counterparty {
            b.store_reference(body.to_cell()?)?;
        }
        b.build()
    }

    /// What the owner signs.
    pub fn hash(&self) -> [u8; 32] {
        hash(self.to_cell().as_ref())
    }

    /// Reads a state. Only the canonical form is accepted, so that the result has the cell's hash.
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        Self::read(cell, None)
    }

    /// `pruned` is what a pruned counterparty copy may stand for.
    fn read(cell: &DynCell, pruned: Option<&Body>) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        if s.load_u32()? != STATE_TAG {
            return Err(CellError::InvalidTag);
        }
        let mut channel_id = [0; 16];
        s.load_raw(&mut channel_id, 128)?;
        let body = Body::load(&mut s)?;
        let counterparty = if s.load_bit()? { Some(read_counterparty(s.load_reference()?, pruned)?) } else { None };
        expect_end(&s)?;
        let state = Self { channel_id, body, counterparty };
        if state.build()?.repr_hash() != cell.hash(0) {
            return Err(CellError::InvalidData);
        }
        Ok(state)
    }
}

fn read_counterparty(cell: &DynCell, pruned: Option<&Body>) -> Result<Body, CellError> {
    if cell.cell_type() == CellType::PrunedBranch {
        return pruned.copied().ok_or(CellError::UnexpectedExoticCell);
    }
    let mut s = cell.as_slice()?;
    let body = Body::load(&mut s)?;
    expect_end(&s)?;
    Ok(body)
}

/// A state and its owner's signature. Reading does not verify.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SignedState {
    /// Ed25519 over the state's hash.
    pub signature: [u8; 64],
    /// What was signed.
    pub state: State,
}

impl SignedState {
    /// The cell that travels, and that the contract takes.
    ///
    /// # Panics
    /// As [`State::to_cell`].
    pub fn to_cell(&self) -> Cell {
        let mut b = CellBuilder::new();
        b.store_raw(&self.signature, 512).expect("512 bits fit");
        b.store_reference(self.state.to_cell()).expect("one reference fits");
        b.build().expect("a signed state fits a cell")
    }

    /// Reads a signed state.
    pub fn from_cell(cell: &DynCell) -> Result<Self, CellError> {
        Self::read(cell, None)
    }

    /// Reads the signed state of a proposal's answer, where cells may be pruned: a pruned counterparty copy is taken for `proposed`, the
    /// body that we sent, if it has that body's hash (payments 4.3.8).
    pub fn from_answer(cell: &DynCell, proposed: &Body) -> Result<Self, CellError> {
        Self::read(cell, Some(proposed))
    }

    fn read(cell: &DynCell, pruned: Option<&Body>) -> Result<Self, CellError> {
        let mut s = cell.as_slice()?;
        let mut signature = [0; 64];
        s.load_raw(&mut signature, 512)?;
        let state = State::read(s.load_reference()?, pruned)?;
        expect_end(&s)?;
        Ok(Self { signature, state })
    }

    /// Whether `key` signed the state. Strict: no weak keys, no other form of the signature, and never the all-zero signature of
    /// payments 3.7.
    pub fn verify(&self, key: &VerifyingKey) -> bool {
        key.verify_strict(&self.state.hash(), &Signature::from_bytes(&self.signature)).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ed25519_dalek::{Signer, SigningKey};
    use proptest::prelude::*;
    use ton::CellFamily;

    fn body() -> impl Strategy<Value = Body> {
        (any::<u64>(), 0..=ton::MAX_COINS, 0u32..120, any::<[u8; 32]>()).prop_map(|(seqno, sent, shift, conditionals)| Body {
            seqno,
            sent: sent >> shift,
            conditionals,
        })
    }

    #[test]
    fn the_zero_signature_never_verifies() {
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
        let state = State { channel_id: [0x77; 16], body: Body::start(0), counterparty: None };
        assert!(!SignedState { signature: [0; 64], state }.verify(&key));
    }

    #[test]
    fn a_pruned_copy_stands_for_the_body_that_we_sent_and_no_other() {
        let (ours, theirs) = (Body { sent: 5, ..Body::start(3) }, Body::start(9));
        let whole =
            SignedState { signature: [1; 64], state: State { channel_id: [2; 16], body: theirs, counterparty: Some(ours) } };
        let pruned = prune_counterparty(&whole);
        assert_eq!(SignedState::from_answer(pruned.as_ref(), &ours), Ok(whole));
        assert!(SignedState::from_answer(pruned.as_ref(), &Body::start(3)).is_err());
        assert!(SignedState::from_cell(pruned.as_ref()).is_err());
    }

    fn prune_counterparty(signed: &SignedState) -> Cell {
        let whole = signed.state.to_cell();
        let copy = whole.reference(0).unwrap();
        let mut b = CellBuilder::new();
        b.store_cell_data(whole.as_ref()).unwrap();
        b.store_reference(ton::make_pruned_branch(copy, 0, Cell::empty_context()).unwrap()).unwrap();
        let mut signed_cell = CellBuilder::new();
        signed_cell.store_raw(&signed.signature, 512).unwrap();
        signed_cell.store_reference(b.build().unwrap()).unwrap();
        signed_cell.build().unwrap()
    }

    #[test]
    fn coins_with_leading_zeros_are_refused() {
        let mut b = CellBuilder::new();
        b.store_u32(STATE_TAG).unwrap();
        b.store_zeros(128 + 64).unwrap();
        b.store_u8(0x20).unwrap(); // two bytes for the amount 0, the second nibble is its first
        b.store_zeros(12 + 256 + 1).unwrap();
        assert_eq!(State::from_cell(b.build().unwrap().as_ref()), Err(CellError::InvalidData));
    }

    proptest! {
        #[test]
        fn states_survive_and_signatures_hold(
            channel_id in any::<[u8; 16]>(), body in body(), counterparty in proptest::option::of(body()), flip in 0usize..512,
        ) {
            let key = SigningKey::from_bytes(&[7; 32]);
            let state = State { channel_id, body, counterparty };
            let signed = SignedState { signature: key.sign(&state.hash()).to_bytes(), state };
            let cell = signed.to_cell();
            prop_assert_eq!(SignedState::from_cell(cell.as_ref()), Ok(signed));
            prop_assert!(signed.verify(&key.verifying_key()));
            let mut wrong = signed;
            wrong.signature[flip / 8] ^= 1 << (flip % 8);
            prop_assert!(!wrong.verify(&key.verifying_key()));
        }
    }
}
