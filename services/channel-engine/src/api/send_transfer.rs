use protocol::RequestResult;
use rpc::{
    Error,
    engine::v1::{SendTransferRequest, SendTransferResponse, TransferStatus},
};

use super::{Api, route::Wanted, validate};

impl Api {
    pub(super) async fn send_transfer(&self, request: SendTransferRequest) -> Result<SendTransferResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        validate::coin(request.coin.as_ref())?;
        let wanted = Wanted {
            amount_field: "amount_nano",
            receiver: validate::key("receiver_key", &request.receiver_key)?,
            amount: validate::nano("amount_nano", &request.amount_nano)?,
            ttl: request.ttl_seconds,
            chain: &request.chain,
            max_fee: request.max_fee_nano.as_deref().map(|fee| validate::nano("max_fee_nano", fee)).transpose()?,
        };
        let command = wanted.command(request_id, b"send");
        let waiter = self.ctx.results.waiter(&command.id);
        let begun = self.begin_once(&command, &wanted, true).await?;
        let result = if request.wait {
            self.wait(waiter, begun.is_some(), &command.id, |r| !matches!(r, RequestResult::Opened)).await?
        } else {
            self.result(&command.id).await?
        };
        let (status, failure) = match result {
            None | Some(RequestResult::Opened) => (TransferStatus::Pending, String::new()),
            Some(RequestResult::Paid { .. }) => (TransferStatus::Paid, String::new()),
            Some(RequestResult::Failed { reason }) => (TransferStatus::Failed, reason),
        };
        let condition = match begun {
            // A payment that failed at once has no leg.
            Some(begun) if status != TransferStatus::Failed => Some(begun.condition),
            _ => self.condition(&command.id).await?,
        };
        Ok(SendTransferResponse {
            virtual_key: condition.map_or_else(Vec::new, |c| c.key.to_vec()),
            status: status.into(),
            fee_nano: condition.map_or_else(String::new, |c| c.fee.to_string()),
            deadline_unix: condition.map_or(0, |c| c.deadline.into()),
            failure,
        })
    }
}
