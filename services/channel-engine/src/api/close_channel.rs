use protocol::{NewTask, Status, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{CloseChannelRequest, CloseChannelResponse},
};

use super::{Api, submit::Command, validate};

impl Api {
    pub(super) async fn close_channel(&self, request: CloseChannelRequest) -> Result<CloseChannelResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let address = validate::address("address", &request.address)?;
        let force = request.force;
        let command = Command::new(request_id, &[b"close", &address, &[force.into()]]);
        if self.is_repeated(&command).await? {
            return Ok(CloseChannelResponse { channel: Some(self.shown(&address).await?) });
        }
        let summary = self.summary(&address).await?;
        let open = match summary.row.status {
            Status::Active => true,
            // A cooperative closing that does not come about may be forced.
            Status::Closing => force,
            Status::Disputed | Status::Closed => false,
        };
        if !open {
            return Err(Error::field(ErrorCode::ChannelNotActive, "address", "must be a channel that is not closing or closed"));
        }
        if !force && summary.open != [0; 2] {
            return Err(Error::field(ErrorCode::ConditionalsOpen, "address", "must be a channel without open virtual channels"));
        }
        let task = NewTask { id: format!("command:{}", command.id), channel: address, task: Task::CloseChannel { force } };
        self.submit(&command, task).await?;
        Ok(CloseChannelResponse { channel: Some(self.shown(&address).await?) })
    }
}
