//! A virtual channel from the sender's view: fresh keys, the onion of instructions, the first condition (payments 5.2, 5.3).

use ed25519_dalek::{Signer as _, SigningKey};
use protocol::{
    Key,
    route::{self, Hop},
};
use signer::{SecretUse, Signer};
use wire::{Condition, Resolution, crypt::shared_secret, instruction, message::OpenVirtual};
use zeroize::Zeroizing;

/// Everything that opens a virtual channel.
pub struct Payment {
    /// The virtual private key.
    pub seed: Zeroizing<[u8; 32]>,
    /// What we promise on the first hop.
    pub condition: Condition,
    /// The action for the first hop.
    pub action: OpenVirtual,
}

/// Why no payment was made.
#[derive(Debug, thiserror::Error)]
pub enum PaymentError {
    /// A node of the chain has a key that is none.
    #[error("chain: node {0} has no valid key")]
    Node(usize),
    /// The signer failed.
    #[error(transparent)]
    Signer(#[from] signer::Error),
}

/// Fills with random bytes.
pub fn random(out: &mut [u8]) {
    // The system's generator does not fail after boot; without it no key may be made.
    getrandom::fill(out).expect("the system has randomness");
}

fn fresh_key() -> SigningKey {
    let mut seed = Zeroizing::new([0; 32]);
    random(&mut *seed);
    SigningKey::from_bytes(&seed)
}

/// Makes keys and instructions for `hops`. `auto_close`: the resolution of the whole amount travels inside (payments 5.2). The sender is disclosed
/// to the receiver, as the live network does: the last instruction key is our channel key.
pub async fn make(signer: &dyn Signer, our_key: &Key, hops: &[Hop], auto_close: bool) -> Result<Payment, PaymentError> {
    let virtual_key = fresh_key();
    let channel_key = virtual_key.verifying_key().to_bytes();
    let last = hops.len() - 1;
    let mut public = Vec::with_capacity(hops.len());
    let mut secrets = Vec::with_capacity(hops.len());
    for (i, hop) in hops.iter().enumerate() {
        if i == last {
            public.push(*our_key);
            secrets.push(signer.shared_secret(SecretUse::LastHop, &hop.target).await?);
        } else {
            let key = fresh_key();
            public.push(key.verifying_key().to_bytes());
            secrets.push(shared_secret(&key, &hop.target).ok_or(PaymentError::Node(i))?);
        }
    }
    let state = auto_close.then(|| Resolution::sign(&virtual_key, hops[last].capacity).to_cell());
    let plain = route::instructions(hops, &public, state);
    let mut all: Vec<_> = plain.into_iter().zip(secrets).collect();
    all.extend(instruction::dummies(route::DUMMIES, terms(&hops[0]), terms(&hops[last]), &mut random));
    instruction::shuffle(&mut all, &mut random);
    let padding = instruction::draw_padding(&mut random);
    let instructions = instruction::seal(&all, padding, &mut random);
    let signature = virtual_key.sign(&OpenVirtual::bytes_to_sign(&instructions)).to_bytes();
    Ok(Payment {
        seed: Zeroizing::new(virtual_key.to_bytes()),
        condition: hops[0].condition(channel_key),
        action: OpenVirtual { channel_key, instruction_key: public[0], instructions, signature },
    })
}

fn terms(hop: &Hop) -> instruction::Terms {
    instruction::Terms { fee: hop.fee, capacity: hop.capacity, deadline: hop.deadline.into() }
}
