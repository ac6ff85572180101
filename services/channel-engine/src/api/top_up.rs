use rpc::{
    Error, ErrorCode,
    engine::v1::{TopUpRequest, TopUpResponse},
};

use super::{Api, submit::Command, validate};

impl Api {
    pub(super) async fn top_up(&self, request: TopUpRequest) -> Result<TopUpResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let address = validate::address("address", &request.address)?;
        let amount = validate::nano("amount_nano", &request.amount_nano)?;
        let command = Command::new(request_id, &[b"topup", &address, &amount.to_le_bytes()]);
        if self.is_repeated(&command).await? {
            return Ok(TopUpResponse {});
        }
        if self.summary(&address).await?.row.status != protocol::Status::Active {
            return Err(Error::field(ErrorCode::ChannelNotActive, "address", "must be an active channel"));
        }
        self.queue_top_up(&command, address, amount).await?;
        Ok(TopUpResponse {})
    }
}
