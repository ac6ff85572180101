use base64::{Engine as _, engine::general_purpose::STANDARD};
use protocol::{Direction, LegState, NewTask, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{CloseVirtualRequest, CloseVirtualResponse},
};
use signer::SecretUse;
use wire::resolution::{open_state, sealed_state_key};

use super::{Api, submit::Command, unavailable, validate};

impl Api {
    pub(super) async fn close_virtual(&self, request: CloseVirtualRequest) -> Result<CloseVirtualResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let invalid = |rule: &str| Error::field(ErrorCode::ResolutionInvalid, "encrypted_state", rule);
        let sealed = STANDARD.decode(request.encrypted_state.trim()).map_err(|_| invalid("must be base64"))?;
        let key = sealed_state_key(&sealed).ok_or_else(|| invalid("must have the length of an encrypted state"))?;
        let secret = self
            .ctx
            .signer
            .shared_secret(SecretUse::EncryptedState, &key)
            .await
            .map_err(|_| invalid("must begin with a virtual key"))?;
        let opened = open_state(&sealed, &secret);
        let (_, resolution) = opened.ok_or_else(|| invalid("must be for this node and whole"))?;
        if !resolution.verify(&key) {
            return Err(invalid("must be signed by the virtual key"));
        }
        let command = Command::new(request_id, &[b"claim", &key, &resolution.amount.to_le_bytes()]);
        if self.is_repeated(&command).await? {
            return Ok(CloseVirtualResponse { r#virtual: Some(self.shown_virtual(&key).await?) });
        }
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let legs = store::engine::legs_of(&client, &key).await.map_err(unavailable)?;
        drop(client);
        let unknown = || Error::field(ErrorCode::VirtualUnknown, "encrypted_state", "must be for a virtual channel of this node");
        let found = legs.into_iter().find(|l| l.leg.direction() == Direction::In).ok_or_else(unknown)?;
        let leg = &found.leg;
        if resolution.amount > leg.condition.capacity {
            return Err(Error::field(ErrorCode::ResolutionAboveCapacity, "encrypted_state", "must be at most the capacity"));
        }
        let closing = leg.state == LegState::Closing && leg.resolution.as_ref().is_some_and(|r| r.amount < resolution.amount);
        // An expired one is being removed: that it is too late says more than that it is not open.
        if self.ctx.clock.now_ms() >= leg.dead_at() && !leg.is_final() {
            let rule = "must be for a virtual channel before its deadline";
            return Err(Error::field(ErrorCode::VirtualExpired, "encrypted_state", rule));
        }
        if leg.state != LegState::Open && !closing {
            let rule = "must be for a virtual channel that is open";
            return Err(Error::field(ErrorCode::VirtualNotOpen, "encrypted_state", rule));
        }
        let task =
            NewTask { id: format!("command:{}", command.id), channel: found.channel, task: Task::Close { key, resolution } };
        self.submit(&command, task).await?;
        Ok(CloseVirtualResponse { r#virtual: Some(self.shown_virtual(&key).await?) })
    }
}
