//! Wallet users for the tests.

use devnet::chain::GLOBAL_ID;
use ed25519_dalek::{Signer, SigningKey};
use tycho_types::models::StdAddr;
use tycho_types::prelude::*;
use wallet::{Order, Transfer, Wallet, wallet_id};

/// A key and its wallet.
pub struct User {
    pub key: SigningKey,
    pub wallet: Wallet,
}

impl User {
    pub fn new(seed: u8) -> Self {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let wallet = Wallet::new(&key.verifying_key().to_bytes(), wallet_id(GLOBAL_ID)).unwrap();
        Self { key, wallet }
    }
    pub fn address(&self) -> &StdAddr {
        self.wallet.address()
    }
    /// A signed external message.
    pub fn message(&self, seqno: u32, valid_until: u32, transfers: Vec<Transfer>) -> Cell {
        let order = Order { seqno, valid_until, transfers };
        let signature = self.key.sign(&order.signing_hash(&self.wallet).unwrap()).to_bytes();
        order.external_message(&self.wallet, &signature).unwrap()
    }
}
