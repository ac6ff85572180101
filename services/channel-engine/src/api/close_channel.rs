use protocol::{NewTask, Status, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{CloseChannelRequest, CloseChannelResponse},
};

use super::{Api, validate};

impl Api {
    pub(super) async fn close_channel(&self, request: CloseChannelRequest) -> Result<CloseChannelResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let address = validate::address("address", &request.address)?;
        let force = request.force;
        let summary = self.summary(&address).await?;
        let again = self.known_command(&request_id).await?;
        let open = match summary.row.status {
            Status::Active => true,
            // A cooperative closing that does not come about may be forced.
            Status::Closing => force,
            Status::Disputed | Status::Closed => false,
        };
        if !open && !again {
            return Err(Error::field(ErrorCode::ChannelNotActive, "address", "must be a channel that is not closing or closed"));
        }
        if !force && !again && summary.open != [0; 2] {
            return Err(Error::field(ErrorCode::ConditionalsOpen, "address", "must be a channel without open virtual channels"));
        }
        let task = NewTask { id: format!("command:{request_id}"), channel: address, task: Task::CloseChannel { force } };
        self.submit(&request_id, &[b"close", &address, &[force.into()]], task).await?;
        Ok(CloseChannelResponse { channel: Some(self.shown(&address).await?) })
    }

    /// Whether a command with this id was queued before.
    async fn known_command(&self, request_id: &str) -> Result<bool, Error> {
        let client = self.ctx.pool.get().await.map_err(super::unavailable)?;
        store::engine::is_known(&client, request_id).await.map_err(super::unavailable)
    }
}
