//! Our payment channel contract for TON: Tolk sources next to this file, and the compiled code that is committed in `build/`.
//!
//! What it is not: the layouts and messages in Rust (crate `contract`), and not the contract of the live network, which has other code
//! and the same rules (payments 7). Node is needed only by those who change the contract (`contracts/rebuild`).
//!
//! Invariants
//! - The committed code is what the sources compile to with the pinned compiler.
//! - [`CODE_HASH`] and [`CODE_DEPTH`] belong to the committed code; changing them changes the address of every new channel.

use ton::Cell;

/// The compiled contract: a BoC, as hex.
pub const CODE_BOC_HEX: &str = include_str!("../build/channel.boc.hex");

/// The hash of the contract's code.
pub const CODE_HASH: [u8; 32] = hex_32("13bb55f6939d39c38bd34a3ff336ad84992ff8d7ad39d93d0c57793a8924931a");

/// The depth of the contract's code: with the hash enough to compute addresses (payments 7.1).
pub const CODE_DEPTH: u16 = 11;

/// The contract's code.
pub fn code() -> Cell {
    ton::decode_boc(&hex::decode(CODE_BOC_HEX.trim()).expect("committed hex")).expect("committed BoC")
}

const fn hex_32(text: &str) -> [u8; 32] {
    const fn digit(c: u8) -> u8 {
        match c {
            b'0'..=b'9' => c - b'0',
            b'a'..=b'f' => c - b'a' + 10,
            _ => panic!("not a hex digit"),
        }
    }
    let text = text.as_bytes();
    assert!(text.len() == 64);
    let mut bytes = [0; 32];
    let mut i = 0;
    while i < 32 {
        bytes[i] = digit(text[2 * i]) << 4 | digit(text[2 * i + 1]);
        i += 1;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_constants_belong_to_the_code() {
        let code = code();
        assert_eq!(hex::encode(code.repr_hash()), hex::encode(CODE_HASH));
        assert_eq!(code.repr_depth(), CODE_DEPTH);
    }
}
