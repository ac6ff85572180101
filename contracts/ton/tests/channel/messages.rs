//! The messages of a channel between the two keys of [`crate::world::key`], by the builders that a node uses.

use contract::{ChallengeToSign, CloseToSign, CommitToSign, InitToSign, Message, Pair, SettleToSign, Side, StartToSign, ToSign};
use ton::Cell;
use wire::{Body, SignedState, State};

use crate::cells::{from_both, from_one, pair, sign};
use crate::world::{CHANNEL_ID, key};

/// An op of nobody's, and a tag that no signed part has.
pub const UNKNOWN: u32 = 0xdead_beef;
/// The id of another channel.
pub const OTHER_ID: [u8; 16] = [1; 16];

pub const INIT: InitToSign = InitToSign { channel_id: CHANNEL_ID };

pub fn init(by: Side) -> Cell {
    Message::Init { by, signature: sign(&key(by), &INIT.cell()), part: INIT }.to_cell()
}

pub fn top_up(side: Side) -> Cell {
    Message::TopUp { side }.to_cell()
}

pub fn finish() -> Cell {
    Message::Finish.to_cell()
}

/// Signed by A and B, whatever it is.
pub fn both(op: u32, signed: &Cell) -> Cell {
    from_both(op, [&key(Side::A), &key(Side::B)], signed)
}

/// Signed by the side that it says.
pub fn one(op: u32, side: Side, signed: &Cell) -> Cell {
    from_one(op, side, &key(side), signed)
}

fn both_signatures(part: &impl ToSign) -> Pair<[u8; 64]> {
    Pair { a: sign(&key(Side::A), &part.cell()), b: sign(&key(Side::B), &part.cell()) }
}

/// What both sides sign; the arrays are [A, B].
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    sent: [u128; 2],
    seqnos: [u64; 2],
    /// Of commits only.
    withdrawn: [u128; 2],
}

impl Terms {
    pub fn new(seqnos: [u64; 2]) -> Self {
        Self { sent: [0; 2], seqnos, withdrawn: [0; 2] }
    }
    pub fn sent(self, sent: [u128; 2]) -> Self {
        Self { sent, ..self }
    }
    pub fn withdrawn(self, withdrawn: [u128; 2]) -> Self {
        Self { withdrawn, ..self }
    }

    pub fn commit_part(&self, channel_id: [u8; 16]) -> CommitToSign {
        CommitToSign { channel_id, sent: pair(self.sent), seqnos: pair(self.seqnos), withdrawn: pair(self.withdrawn) }
    }
    pub fn close_part(&self, channel_id: [u8; 16]) -> CloseToSign {
        CloseToSign { channel_id, sent: pair(self.sent), seqnos: pair(self.seqnos) }
    }

    pub fn commit(&self) -> Cell {
        let part = self.commit_part(CHANNEL_ID);
        Message::CooperativeCommit { signatures: both_signatures(&part), part }.to_cell()
    }
    pub fn close(&self) -> Cell {
        let part = self.close_part(CHANNEL_ID);
        Message::CooperativeClose { signatures: both_signatures(&part), part }.to_cell()
    }
}

/// The states of both sides, and what each has seen of the other.
#[derive(Clone, Copy, Debug)]
pub struct States {
    pub a: Body,
    pub b: Body,
    /// A's body in B's state, B's body in A's.
    pub seen_a: Option<Body>,
    pub seen_b: Option<Body>,
}

impl States {
    /// Each side has seen the other's body.
    pub fn agreed(a: Body, b: Body) -> Self {
        Self { a, b, seen_a: Some(a), seen_b: Some(b) }
    }

    pub fn state(&self, side: Side) -> State {
        let (body, counterparty) = match side {
            Side::A => (self.a, self.seen_b),
            Side::B => (self.b, self.seen_a),
        };
        State { channel_id: CHANNEL_ID, body, counterparty }
    }
    pub fn signed(&self, side: Side) -> SignedState {
        let state = self.state(side);
        SignedState { signature: sign(&key(side), &state.to_cell()), state }
    }
    pub fn signed_pair(&self) -> Pair<SignedState> {
        Pair { a: self.signed(Side::A), b: self.signed(Side::B) }
    }

    pub fn start_part(&self, channel_id: [u8; 16]) -> StartToSign {
        StartToSign { channel_id, states: self.signed_pair() }
    }
    pub fn challenge_part(&self, channel_id: [u8; 16]) -> ChallengeToSign {
        ChallengeToSign { channel_id, states: self.signed_pair() }
    }

    pub fn start(&self, by: Side) -> Cell {
        let part = self.start_part(CHANNEL_ID);
        Message::StartUncooperativeClose { by, signature: sign(&key(by), &part.cell()), part }.to_cell()
    }
    pub fn challenge(&self, by: Side) -> Cell {
        let part = self.challenge_part(CHANNEL_ID);
        Message::Challenge { by, signature: sign(&key(by), &part.cell()), part }.to_cell()
    }
}

pub fn settle(from: Side, resolutions: Option<Cell>, proof: Cell) -> Cell {
    let part = SettleToSign { channel_id: CHANNEL_ID, resolutions, proof };
    Message::SettleConditionals { from, signature: sign(&key(from), &part.cell()), part }.to_cell()
}
