//! What is signed: EIP-712 typed data of both contracts (4.2).

use alloy_primitives::{Address, B256, keccak256};

use crate::amount::{Amount, Round};
use crate::params::{ChannelId, Place};

const STREAM_DOMAIN_TYPE: &str = "EIP712Domain(string name,string version)";
const STREAM_NAME: &str = "SSPC stream";
const STREAM_TYPE: &str = "Stream(bytes32 binding,bool dialed)";
const DOMAIN_TYPE: &str = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)";
const NAME: &str = "SSPC";
const VERSION: &str = "2";
const WORD_STATE: &str = "State(bytes32 channel,uint128 balanceA,uint128 balanceB,uint48 round)";
const WORD_CLOSE: &str = "Close(bytes32 channel,uint128 balanceA,uint128 balanceB)";
const COMPACT_STATE: &str = "State(uint64 channel,address a,address b,uint128 balanceA,uint128 balanceB,uint48 round)";
const COMPACT_CLOSE: &str = "Close(uint64 channel,address a,address b,uint128 balanceA,uint128 balanceB)";

/// A division of the channel's total.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Balances {
    /// Of a.
    pub a: Amount,
    /// Of b.
    pub b: Amount,
}

/// A state: who would get what, from which round on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct State {
    /// Its number.
    pub round: Round,
    /// Who gets what.
    pub balances: Balances,
}

/// What a party signs.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Payload {
    /// A payment: the newer state.
    State(State),
    /// The last division, for a cooperative close.
    Close(Balances),
}

/// Makes the digests of one channel; the separator of its contract and the hashes of types are made once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signable {
    place: Place,
    id: ChannelId,
    a: Address,
    b: Address,
    separator: B256,
    state_type: B256,
    close_type: B256,
}

impl Signable {
    /// Of the channel `id` between `a` and `b`.
    #[must_use]
    pub fn new(place: Place, id: ChannelId, a: Address, b: Address) -> Self {
        let mut bytes = [0; 5 * 32];
        bytes[..32].copy_from_slice(keccak256(DOMAIN_TYPE).as_slice());
        bytes[32..64].copy_from_slice(keccak256(NAME).as_slice());
        bytes[64..96].copy_from_slice(keccak256(VERSION).as_slice());
        bytes[120..128].copy_from_slice(&place.chain_id.to_be_bytes());
        bytes[140..160].copy_from_slice(place.contract.as_slice());
        let (state_type, close_type) = match id {
            ChannelId::Word(_) => (WORD_STATE, WORD_CLOSE),
            ChannelId::Compact(_) => (COMPACT_STATE, COMPACT_CLOSE),
        };
        let separator = keccak256(bytes);
        Self { place, id, a, b, separator, state_type: keccak256(state_type), close_type: keccak256(close_type) }
    }

    /// The contract's domain separator.
    #[must_use]
    pub fn separator(&self) -> B256 {
        self.separator
    }

    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self, payload: &Payload) -> B256 {
        let mut bytes = [0; 66];
        bytes[..2].copy_from_slice(&[0x19, 0x01]);
        bytes[2..34].copy_from_slice(self.separator.as_slice());
        bytes[34..].copy_from_slice(self.struct_hash(payload).as_slice());
        keccak256(bytes)
    }

    fn struct_hash(&self, payload: &Payload) -> B256 {
        let mut words = [[0_u8; 32]; 7];
        let mut count = 0;
        let mut put = |bytes: &[u8]| {
            words[count][32 - bytes.len()..].copy_from_slice(bytes);
            count += 1;
        };
        let (hash, balances, round) = match payload {
            Payload::State(state) => (self.state_type, state.balances, Some(state.round)),
            Payload::Close(balances) => (self.close_type, *balances, None),
        };
        put(hash.as_slice());
        put(self.id.topic().as_slice());
        if matches!(self.id, ChannelId::Compact(_)) {
            put(self.a.as_slice());
            put(self.b.as_slice());
        }
        put(&balances.a.get().to_be_bytes());
        put(&balances.b.get().to_be_bytes());
        if let Some(round) = round {
            put(&round.get().to_be_bytes());
        }
        keccak256(words[..count].as_flattened())
    }

    /// The same as JSON for `eth_signTypedData_v4`, for keys that live in an outside wallet.
    #[must_use]
    pub fn typed_data(&self, payload: &Payload) -> String {
        let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":"{kind}"}}"#);
        let (primary, balances, round) = match payload {
            Payload::State(state) => ("State", state.balances, Some(state.round)),
            Payload::Close(balances) => ("Close", *balances, None),
        };
        let (mut fields, mut values) = match self.id {
            ChannelId::Word(id) => (vec![field("channel", "bytes32")], format!(r#""channel":"{id}""#)),
            ChannelId::Compact(id) => (
                vec![field("channel", "uint64"), field("a", "address"), field("b", "address")],
                format!(r#""channel":"{id}","a":"{}","b":"{}""#, self.a, self.b),
            ),
        };
        fields.extend([field("balanceA", "uint128"), field("balanceB", "uint128")]);
        values += &format!(r#","balanceA":"{}","balanceB":"{}""#, balances.a, balances.b);
        if let Some(round) = round {
            fields.push(field("round", "uint48"));
            values += &format!(r#","round":"{round}""#);
        }
        let domain = [
            field("name", "string"),
            field("version", "string"),
            field("chainId", "uint256"),
            field("verifyingContract", "address"),
        ];
        format!(
            r#"{{"types":{{"EIP712Domain":[{}],"{primary}":[{}]}},"primaryType":"{primary}","domain":{{"name":"{NAME}","version":"{VERSION}","chainId":"{}","verifyingContract":"{}"}},"message":{{{values}}}}}"#,
            domain.join(","),
            fields.join(","),
            self.place.chain_id,
            self.place.contract,
        )
    }
}

/// What a party signs to show that a stream ends at it. Of a domain of its own: never a state or a close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StreamProof {
    /// What only the two ends of the stream know and no other stream has: exported from its TLS session (RFC 9266).
    pub binding: B256,
    /// The signer made the stream; otherwise it answered.
    pub dialed: bool,
}

impl StreamProof {
    /// The 32 bytes that are signed.
    #[must_use]
    pub fn digest(&self) -> B256 {
        let domain = [keccak256(STREAM_DOMAIN_TYPE), keccak256(STREAM_NAME), keccak256(VERSION)];
        let dialed = B256::left_padding_from(&[u8::from(self.dialed)]);
        let content = [keccak256(STREAM_TYPE), self.binding, dialed];
        let hash = |words: [B256; 3]| keccak256(words.concat());
        keccak256([&[0x19, 0x01][..], hash(domain).as_slice(), hash(content).as_slice()].concat())
    }

    /// The same as JSON for `eth_signTypedData_v4`.
    #[must_use]
    pub fn typed_data(&self) -> String {
        let field = |name: &str, kind: &str| format!(r#"{{"name":"{name}","type":"{kind}"}}"#);
        format!(
            r#"{{"types":{{"EIP712Domain":[{},{}],"Stream":[{},{}]}},"primaryType":"Stream","domain":{{"name":"{STREAM_NAME}","version":"{VERSION}"}},"message":{{"binding":"{}","dialed":{}}}}}"#,
            field("name", "string"),
            field("version", "string"),
            field("binding", "bytes32"),
            field("dialed", "bool"),
            self.binding,
            self.dialed,
        )
    }
}
