use protocol::{NewTask, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{LiftSuspensionRequest, LiftSuspensionResponse},
};

use super::{Api, submit::Command, validate};

impl Api {
    pub(super) async fn lift_suspension(&self, request: LiftSuspensionRequest) -> Result<LiftSuspensionResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let address = validate::address("address", &request.address)?;
        let command = Command::new(request_id, &[b"lift", &address]);
        if self.is_repeated(&command).await? {
            return Ok(LiftSuspensionResponse {});
        }
        if !self.summary(&address).await?.row.suspended {
            return Err(Error::field(ErrorCode::ChannelNotActive, "address", "must be a suspended channel"));
        }
        let task = NewTask { id: format!("command:{}", command.id), channel: address, task: Task::LiftSuspension };
        self.submit(&command, task).await?;
        Ok(LiftSuspensionResponse {})
    }
}
