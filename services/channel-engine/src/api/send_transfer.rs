use protocol::RequestResult;
use rpc::{
    Error,
    engine::v1::{SendTransferRequest, SendTransferResponse, TransferStatus},
};

use super::{Api, route::Wanted, unavailable, validate};

impl Api {
    pub(super) async fn send_transfer(&self, request: SendTransferRequest) -> Result<SendTransferResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        validate::coin(request.coin.as_ref())?;
        let wanted = Wanted {
            receiver: validate::key("receiver_key", &request.receiver_key)?,
            amount: validate::nano("amount_nano", &request.amount_nano)?,
            ttl: request.ttl_seconds,
            chain: &request.chain,
            max_fee: request.max_fee_nano.as_deref().map(|fee| validate::nano("max_fee_nano", fee)).transpose()?,
        };
        // The same id never pays twice: the queue refuses the second task, and tells what the first one came to.
        self.begin(&request_id, b"send", &wanted, true).await?;
        let result = if request.wait {
            self.wait(&request_id, |r| !matches!(r, RequestResult::Opened)).await
        } else {
            let client = self.ctx.pool.get().await.map_err(unavailable)?;
            let results = store::engine::results(&client, &[&request_id]).await.map_err(unavailable)?;
            results.into_iter().next().map(|(_, result)| result)
        };
        let (status, failure) = match result {
            None | Some(RequestResult::Opened) => (TransferStatus::Pending, String::new()),
            Some(RequestResult::Paid { .. }) => (TransferStatus::Paid, String::new()),
            Some(RequestResult::Failed { reason }) => (TransferStatus::Failed, reason),
        };
        let condition = self.begun(&request_id).await?.map(|l| l.leg.condition);
        Ok(SendTransferResponse {
            virtual_key: condition.map_or_else(Vec::new, |c| c.key.to_vec()),
            status: status.into(),
            fee_nano: condition.map_or_else(String::new, |c| c.fee.to_string()),
            deadline_unix: condition.map_or(0, |c| c.deadline.into()),
            failure,
        })
    }
}
