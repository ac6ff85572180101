//! The signer in this process.

use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use contract::ToSign;
use ed25519_dalek::{Signer as _, SigningKey};
use wire::{State, authenticate, crypt};

use crate::{
    ContractMessage, Error, Guard, Keys, NodeRecord, NodeRecordSignatures, SealingKey, SecretUse, Signature, SignedBodies,
    Signer, Step,
};

/// Signs with keys in memory. Its guard lives as long as the process and follows the database.
#[derive(Debug)]
pub struct LocalSigner {
    keys: Keys,
    guard: Mutex<Guard>,
}

impl LocalSigner {
    /// With these keys and an empty guard: channels that are not restored can only begin.
    pub fn new(keys: Keys) -> Self {
        Self { keys, guard: Mutex::default() }
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Guard> {
        // The guard changes only as the last step of a check, so a panic elsewhere leaves it whole.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sign(key: &SigningKey, bytes: &[u8]) -> Signature {
    key.sign(bytes).to_bytes()
}

fn check_coins(amounts: impl IntoIterator<Item = u128>) -> Result<(), Error> {
    match amounts.into_iter().all(|amount| amount <= ton::MAX_COINS) {
        true => Ok(()),
        false => Err(Error::Invalid("an amount is above 120 bits".into())),
    }
}

fn amounts_of(state: &State) -> impl Iterator<Item = u128> {
    [Some(state.body), state.counterparty].into_iter().flatten().map(|body| body.sent)
}

fn contract_hash(message: &ContractMessage) -> Result<[u8; 32], Error> {
    // Writing an amount above the limit would panic: refuse it first.
    Ok(match message {
        ContractMessage::Init(message) => message.hash(),
        ContractMessage::Commit(message) => {
            check_coins([message.sent.a, message.sent.b, message.withdrawn.a, message.withdrawn.b])?;
            message.hash()
        }
        ContractMessage::Close(message) => {
            check_coins([message.sent.a, message.sent.b])?;
            message.hash()
        }
        ContractMessage::Start(message) => {
            check_coins([&message.states.a, &message.states.b].into_iter().flat_map(|signed| amounts_of(&signed.state)))?;
            message.hash()
        }
        ContractMessage::Challenge(message) => {
            check_coins([&message.states.a, &message.states.b].into_iter().flat_map(|signed| amounts_of(&signed.state)))?;
            message.hash()
        }
        ContractMessage::Settle(message) => message.hash(),
    })
}

#[async_trait]
impl Signer for LocalSigner {
    fn channel_key(&self) -> [u8; 32] {
        self.keys.channel.verifying_key().to_bytes()
    }

    fn wallet_key(&self) -> [u8; 32] {
        self.keys.wallet.verifying_key().to_bytes()
    }

    async fn restore(&self, channels: Vec<SignedBodies>) -> Result<(), Error> {
        Ok(self.guard().restore(channels)?)
    }

    async fn sign_state(&self, state: &State, step: Step) -> Result<Signature, Error> {
        check_coins(amounts_of(state))?;
        self.guard().check(state, step)?;
        Ok(sign(&self.keys.channel, &state.hash()))
    }

    async fn sign_authenticate(&self, own: &[u8; 32], peer: &[u8; 32], timestamp: i64) -> Result<Signature, Error> {
        Ok(sign(&self.keys.channel, &authenticate::digest(own, peer, timestamp)))
    }

    async fn sign_node_record(&self, record: &NodeRecord) -> Result<NodeRecordSignatures, Error> {
        Ok(record.sign(&self.channel_key(), |bytes| sign(&self.keys.channel, bytes)))
    }

    async fn sign_contract(&self, message: &ContractMessage) -> Result<Signature, Error> {
        Ok(sign(&self.keys.channel, &contract_hash(message)?))
    }

    async fn sign_wallet_order(&self, wallet_id: i32, order: &wallet::Order) -> Result<Signature, Error> {
        let invalid = |error: wallet::Error| Error::Invalid(error.to_string());
        let wallet = wallet::Wallet::new(&self.wallet_key(), wallet_id).map_err(invalid)?;
        Ok(sign(&self.keys.wallet, &order.signing_hash(&wallet).map_err(invalid)?))
    }

    async fn shared_secret(&self, _: SecretUse, other: &[u8; 32]) -> Result<[u8; 32], Error> {
        crypt::shared_secret(&self.keys.channel, other).ok_or(Error::WeakKey)
    }

    async fn sealing_key(&self) -> Result<SealingKey, Error> {
        Ok(SealingKey::derive(self.keys.channel.as_bytes()))
    }
}
