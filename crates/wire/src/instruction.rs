//! One hop's part of the route, and the encryption that lets only its hop read it (payments 5.2, 5.3).

use sha2::{Digest, Sha256};
use tl::{Object, Reader};
use ton::Cell;

use crate::crypt::apply_cipher;
use crate::message::InstructionContainer;
use crate::message::codec::object;

/// The padding beyond the longest instruction is below this many bytes.
pub const PADDING_BELOW: usize = 512;
/// How many dummies the live network's senders add.
pub const USUAL_DUMMIES: usize = 5;

object! {
    /// What one hop learns (`openVirtualInstruction`). Amounts in nano, deadlines in unix seconds.
    Instruction = "payments.openVirtualInstruction target:int256 expectedFee:bytes expectedCapacity:bytes expectedDeadline:long nextTarget:int256 nextFee:bytes nextCapacity:bytes nextDeadline:long finalState:bytes = payments.OpenVirtualInstruction" {
        /// This hop's channel key.
        target: [u8; 32],
        /// The instruction key to hand to the next hop; 32 zero bytes for the last. On the wire, missing in the registered string.
        next_instruction_key: [u8; 32],
        /// The incoming conditional's fee.
        expected_fee: u128,
        /// The incoming conditional's capacity.
        expected_capacity: u128,
        /// The incoming conditional's deadline.
        expected_deadline: i64,
        /// The next hop's channel key; the own one at the receiver.
        next_target: [u8; 32],
        /// The outgoing conditional's fee.
        next_fee: u128,
        /// The outgoing conditional's capacity.
        next_capacity: u128,
        /// The outgoing conditional's deadline.
        next_deadline: i64,
        /// The resolution of an auto-close transfer; only at the receiver.
        final_state: Option<Cell>,
    }
}

/// Random bytes from the caller: fills the slice.
pub type Random<'a> = &'a mut dyn FnMut(&mut [u8]);

/// Encrypts instructions, each for the secret that its instruction key and its target share, in the given order.
///
/// All plaintexts are padded to one length, `padding` bytes beyond the longest; the caller draws `padding` from
/// `0..`[`PADDING_BELOW`].
pub fn seal(hops: &[(Instruction, [u8; 32])], padding: usize, random: Random<'_>) -> Vec<InstructionContainer> {
    let mut plain: Vec<Vec<u8>> = hops.iter().map(|(instruction, _)| instruction.to_boxed()).collect();
    let longest = plain.iter().map(Vec::len).max().unwrap_or(0) + padding;
    for text in &mut plain {
        let own = text.len();
        text.resize(longest, 0);
        random(&mut text[own..]);
    }
    plain.into_iter().zip(hops).map(|(text, (_, secret))| seal_padded(text, secret)).collect()
}

/// Encrypts one padded instruction.
pub fn seal_padded(mut data: Vec<u8>, secret: &[u8; 32]) -> InstructionContainer {
    let hash = Sha256::digest(&data).into();
    apply_cipher(secret, &hash, &mut data);
    InstructionContainer { hash, data }
}

/// Finds and decrypts the instruction for this secret. `None` when no container is for it, or what it holds is no instruction.
///
/// Costs one decryption and hash per container; [`Request::from_boxed`](crate::Request::from_boxed) limits their number and size.
pub fn open(containers: &[InstructionContainer], secret: &[u8; 32]) -> Option<Instruction> {
    let plain = containers.iter().find_map(|container| {
        let mut data = container.data.clone();
        apply_cipher(secret, &container.hash, &mut data);
        (<[u8; 32]>::from(Sha256::digest(&data)) == container.hash).then_some(data)
    })?;
    Instruction::read_boxed(&mut Reader::new(&plain)).ok()
}

/// What one hop's conditional is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Nano.
    pub fee: u128,
    /// Nano.
    pub capacity: u128,
    /// Unix seconds.
    pub deadline: i64,
}

/// Dummy instructions with the secrets to seal them: random keys, amounts between the last hop's and the first hop's, deadlines around
/// the last one (payments 5.2). Shuffle them among the real ones.
pub fn dummies(count: usize, first: Terms, last: Terms, random: Random<'_>) -> Vec<(Instruction, [u8; 32])> {
    let spread = first.deadline.abs_diff(last.deadline).max(3_600);
    (0..count)
        .map(|_| {
            let mut key = || {
                let mut bytes = [0; 32];
                random(&mut bytes);
                bytes
            };
            let (target, next_target, next_instruction_key, secret) = (key(), key(), key(), key());
            let mut terms = || Terms {
                fee: between(last.fee, first.fee, random),
                capacity: between(last.capacity, first.capacity, random),
                deadline: last
                    .deadline
                    .saturating_sub_unsigned(spread)
                    .saturating_add_unsigned(below(spread.saturating_mul(2), random)),
            };
            let (expected, next) = (terms(), terms());
            let dummy = Instruction {
                target,
                next_instruction_key,
                expected_fee: expected.fee,
                expected_capacity: expected.capacity,
                expected_deadline: expected.deadline,
                next_target,
                next_fee: next.fee,
                next_capacity: next.capacity,
                next_deadline: next.deadline,
                final_state: None,
            };
            (dummy, secret)
        })
        .collect()
}

/// Puts the items in a uniformly random order.
pub fn shuffle<T>(items: &mut [T], random: Random<'_>) {
    for i in (1..items.len()).rev() {
        let j = below(i as u64 + 1, random) as usize;
        items.swap(i, j);
    }
}

/// A padding for [`seal`].
pub fn draw_padding(random: Random<'_>) -> usize {
    below(PADDING_BELOW as u64, random) as usize
}

/// In `0..limit`, uniform up to a bias of limit / 2^64.
fn below(limit: u64, random: &mut dyn FnMut(&mut [u8])) -> u64 {
    let mut bytes = [0; 8];
    random(&mut bytes);
    ((u128::from(u64::from_le_bytes(bytes)) * u128::from(limit)) >> 64) as u64
}

/// Somewhere between two amounts, ends included. The bias does not matter to a dummy.
fn between(a: u128, b: u128, random: &mut dyn FnMut(&mut [u8])) -> u128 {
    let mut bytes = [0; 16];
    random(&mut bytes);
    a.min(b) + u128::from_le_bytes(bytes) % (a.abs_diff(b).saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{MAX_CONTAINER_BYTES, MAX_INSTRUCTIONS};
    use proptest::prelude::*;

    /// Not random at all, but different each time.
    fn counter(seed: u64) -> impl FnMut(&mut [u8]) {
        let mut n = seed;
        move |out| {
            for chunk in out.chunks_mut(32) {
                n += 1;
                chunk.copy_from_slice(&Sha256::digest(n.to_le_bytes())[..chunk.len()]);
            }
        }
    }

    const FIRST: Terms = Terms { fee: 30, capacity: 1_000, deadline: 1_900_000_000 };
    const LAST: Terms = Terms { fee: 10, capacity: 900, deadline: 1_899_000_000 };

    #[test]
    fn each_hop_finds_its_own_and_strangers_find_nothing() {
        let mut random = counter(1);
        let mut hops = dummies(3, FIRST, LAST, &mut random);
        let real = hops.clone();
        hops.extend(dummies(USUAL_DUMMIES, FIRST, LAST, &mut random));
        shuffle(&mut hops, &mut random);
        let sealed = seal(&hops, 100, &mut random);
        assert_eq!(sealed.len(), 8);
        assert!(sealed.iter().all(|c| c.data.len() == sealed[0].data.len() && c.data.len() <= MAX_CONTAINER_BYTES));
        assert!(sealed.len() <= MAX_INSTRUCTIONS);
        for (instruction, secret) in &real {
            assert_eq!(open(&sealed, secret).as_ref(), Some(instruction));
        }
        assert_eq!(open(&sealed, &[0; 32]), None);
    }

    #[test]
    fn the_longest_instruction_fits_a_container() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[1; 32]);
        let big = ton::MAX_COINS;
        let instruction = Instruction {
            target: [1; 32],
            next_instruction_key: [2; 32],
            expected_fee: big,
            expected_capacity: big,
            expected_deadline: 1,
            next_target: [3; 32],
            next_fee: big,
            next_capacity: big,
            next_deadline: 1,
            final_state: Some(crate::Resolution::sign(&key, big).to_cell()),
        };
        let sealed = seal(&[(instruction.clone(), [7; 32])], PADDING_BELOW - 1, &mut counter(2));
        assert!(sealed[0].data.len() <= MAX_CONTAINER_BYTES);
        assert_eq!(open(&sealed, &[7; 32]), Some(instruction));
    }

    #[test]
    fn shuffling_reaches_every_order() {
        let mut random = counter(3);
        let mut seen = std::collections::HashSet::new();
        for _ in 0..200 {
            let mut items = [1, 2, 3];
            shuffle(&mut items, &mut random);
            seen.insert(items);
        }
        assert_eq!(seen.len(), 6);
    }

    proptest! {
        #[test]
        fn dummies_stay_within_the_real_terms(seed in any::<u32>()) {
            for (dummy, _) in dummies(4, FIRST, LAST, &mut counter(seed.into())) {
                prop_assert!((LAST.fee..=FIRST.fee).contains(&dummy.expected_fee));
                prop_assert!((LAST.capacity..=FIRST.capacity).contains(&dummy.next_capacity));
                prop_assert!(dummy.expected_deadline.abs_diff(LAST.deadline) <= 1_000_000);
            }
        }

        #[test]
        fn any_containers_are_opened_or_refused(data in proptest::collection::vec(any::<u8>(), 0..300), hash in any::<[u8; 32]>()) {
            prop_assert_eq!(open(&[InstructionContainer { hash, data: data.clone() }], &[1; 32]), None);
            // for us, but not an instruction
            let _ = open(&[seal_padded(data, &[1; 32])], &[1; 32]);
        }
    }
}
