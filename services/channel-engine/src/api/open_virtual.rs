use protocol::{NewTask, OpenLeg, Origin, RequestResult, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{OpenVirtualRequest, OpenVirtualResponse},
};
use store::engine::LegSummary;

use super::{
    Api,
    route::{Route, Wanted},
    unavailable, validate,
};
use crate::payment;

impl Api {
    pub(super) async fn open_virtual(&self, request: OpenVirtualRequest) -> Result<OpenVirtualResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        validate::coin(request.coin.as_ref())?;
        let wanted = Wanted {
            receiver: validate::key("receiver_key", &request.receiver_key)?,
            amount: validate::nano("capacity_nano", &request.capacity_nano)?,
            ttl: request.ttl_seconds,
            chain: &request.chain,
            max_fee: request.max_fee_nano.as_deref().map(|fee| validate::nano("max_fee_nano", fee)).transpose()?,
        };
        let seed = match self.begun(&request_id).await? {
            Some(_) => None,
            None => Some(self.begin(&request_id, b"open", &wanted, false).await?),
        };
        let result = self.wait(&request_id, |_| true).await;
        if let Some(RequestResult::Failed { reason }) = result {
            return Err(Error::with_message(ErrorCode::PeerRefused, reason));
        }
        let leg = self.begun(&request_id).await?.ok_or_else(|| Error::new(ErrorCode::Timeout))?.leg;
        Ok(OpenVirtualResponse {
            virtual_key: leg.key().to_vec(),
            virtual_seed: seed.map_or_else(Vec::new, |seed| seed.to_vec()),
            deadline_unix: leg.condition.deadline.into(),
            fee_nano: leg.condition.fee.to_string(),
        })
    }

    /// The leg that a command with this id began before.
    pub(super) async fn begun(&self, request_id: &str) -> Result<Option<LegSummary>, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        store::engine::leg_of_request(&client, request_id).await.map_err(unavailable)
    }

    /// Finds a chain, makes keys and instructions, queues the first leg. Returns the virtual private key.
    pub(super) async fn begin(
        &self,
        request_id: &str,
        kind: &[u8],
        wanted: &Wanted<'_>,
        auto_close: bool,
    ) -> Result<zeroize::Zeroizing<[u8; 32]>, Error> {
        let Route { hops, channel } = self.route(wanted).await?;
        let internal = |error: payment::PaymentError| Error::with_message(ErrorCode::Internal, error);
        let made = payment::make(&*self.ctx.signer, &self.ctx.key, &hops, auto_close).await.map_err(internal)?;
        let sealing = self.ctx.signer.sealing_key().await.map_err(unavailable)?;
        let sealed =
            sealing.seal(&made.condition.key, &made.seed).map_err(|error| Error::with_message(ErrorCode::Internal, error))?;
        let origin = Origin::Sender { request_id: request_id.into(), sealed };
        let open = OpenLeg { condition: made.condition, action: made.action, origin };
        let task = NewTask { id: format!("command:{request_id}"), channel, task: Task::Open(Box::new(open)) };
        // Not the chain and its fees: a repeated command is the same however the network has changed meanwhile.
        let content = [kind, &wanted.receiver, &wanted.amount.to_le_bytes(), &wanted.ttl.to_le_bytes()];
        self.submit(request_id, &content, task).await?;
        Ok(made.seed)
    }
}
