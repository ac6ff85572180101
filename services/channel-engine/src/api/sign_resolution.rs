use base64::{Engine as _, engine::general_purpose::STANDARD};
use ed25519_dalek::SigningKey;
use protocol::{Direction, Half, Origin};
use rpc::{
    Error, ErrorCode,
    engine::v1::{SignResolutionRequest, SignResolutionResponse, sign_resolution_request::Signer},
};
use wire::{Resolution, crypt::shared_secret, resolution::seal_state};

use super::{Api, unavailable, validate};

impl Api {
    pub(super) async fn sign_resolution(&self, request: SignResolutionRequest) -> Result<SignResolutionResponse, Error> {
        let amount = validate::nano("amount_nano", &request.amount_nano)?;
        let (key, opened_to) = match request.signer {
            Some(Signer::VirtualSeed(seed)) => {
                let seed = <[u8; 32]>::try_from(&seed[..])
                    .map_err(|_| Error::field(ErrorCode::InvalidKey, "virtual_seed", "must have 32 bytes"))?;
                (SigningKey::from_bytes(&seed), None)
            }
            Some(Signer::VirtualKey(key)) => {
                let (key, receiver) = self.own_key(&key, amount).await?;
                (key, Some(receiver))
            }
            None => return Err(Error::field(ErrorCode::InvalidField, "signer", "must be a virtual key or a seed")),
        };
        let receiver = match opened_to {
            Some(receiver) if request.receiver_key.is_empty() => receiver,
            _ => validate::key("receiver_key", &request.receiver_key)?,
        };
        let resolution = Resolution::sign(&key, amount);
        let weak = || Error::field(ErrorCode::InvalidKey, "receiver_key", "must be a point of the curve");
        let secret = shared_secret(&key, &receiver).ok_or_else(weak)?;
        let sealed = seal_state(&key.verifying_key().to_bytes(), &resolution, &secret);
        Ok(SignResolutionResponse { encrypted_state: STANDARD.encode(sealed) })
    }

    /// The private key of a virtual channel that this node opened, and the receiver that it was opened to.
    async fn own_key(&self, key: &[u8], amount: u128) -> Result<(SigningKey, protocol::Key), Error> {
        let key = validate::key("virtual_key", key)?;
        let unknown =
            || Error::field(ErrorCode::VirtualUnknown, "virtual_key", "must be a virtual channel that this node opened");
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let legs = store::engine::legs_of(&client, &key).await.map_err(unavailable)?;
        let leg = legs.into_iter().find(|l| l.leg.direction() == Direction::Out).ok_or_else(unknown)?.leg;
        let Half::Out { origin: Origin::Sender { sealed, .. }, .. } = &leg.half else { return Err(unknown()) };
        if amount > leg.condition.capacity {
            return Err(Error::field(ErrorCode::ResolutionAboveCapacity, "amount_nano", "must be at most the capacity"));
        }
        let sealing = self.ctx.signer.sealing_key().await.map_err(unavailable)?;
        let opened = sealing.open(&key, sealed);
        let (seed, receiver) = opened.map_err(|error| Error::with_message(ErrorCode::Internal, error))?;
        Ok((SigningKey::from_bytes(&seed), receiver))
    }
}
