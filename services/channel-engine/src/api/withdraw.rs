use protocol::{NewTask, RequestResult, Status, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{WithdrawRequest, WithdrawResponse},
};

use super::{Api, submit::Command, validate};

impl Api {
    pub(super) async fn withdraw(&self, request: WithdrawRequest) -> Result<WithdrawResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let address = validate::address("address", &request.address)?;
        let amount = validate::nano("amount_nano", &request.amount_nano)?;
        let command = Command::new(request_id, &[b"withdraw", &address, &amount.to_le_bytes()]);
        let waiter = self.ctx.results.waiter(&command.id);
        let mut fresh = false;
        if !self.is_repeated(&command).await? {
            let summary = self.summary(&address).await?;
            if summary.row.status != Status::Active {
                return Err(Error::field(ErrorCode::ChannelNotActive, "address", "must be an active channel"));
            }
            if u128::try_from(summary.available()[0]).unwrap_or(0) < amount {
                return Err(Error::field(ErrorCode::InsufficientBalance, "amount_nano", "must be at most what we can spend"));
            }
            let task = Task::Withdraw { request_id: command.id.clone(), amount };
            let task = NewTask { id: format!("command:{}", command.id), channel: address, task };
            fresh = self.submit(&command, task).await?;
        }
        match self.wait(waiter, fresh, &command.id, |_| true).await? {
            Some(RequestResult::Paid { .. }) => Ok(WithdrawResponse {}),
            Some(RequestResult::Failed { reason }) => Err(Error::with_message(ErrorCode::PeerRefused, reason)),
            Some(RequestResult::Opened) | None => Err(Error::new(ErrorCode::Timeout)),
        }
    }
}
