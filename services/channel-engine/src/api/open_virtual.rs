use protocol::{NewTask, OpenLeg, Origin, RequestResult, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{OpenVirtualRequest, OpenVirtualResponse},
};
use wire::Condition;
use zeroize::Zeroizing;

use super::{
    Api,
    route::{Route, Wanted},
    submit::Command,
    unavailable, validate,
};
use crate::payment;

/// A payment that was just begun.
pub(super) struct Begun {
    /// The virtual private key.
    seed: Zeroizing<[u8; 32]>,
    /// What we promise on the first hop.
    pub condition: Condition,
}

impl Api {
    pub(super) async fn open_virtual(&self, request: OpenVirtualRequest) -> Result<OpenVirtualResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        validate::coin(request.coin.as_ref())?;
        let wanted = Wanted {
            amount_field: "capacity_nano",
            receiver: validate::key("receiver_key", &request.receiver_key)?,
            amount: validate::nano("capacity_nano", &request.capacity_nano)?,
            ttl: request.ttl_seconds,
            chain: &request.chain,
            max_fee: request.max_fee_nano.as_deref().map(|fee| validate::nano("max_fee_nano", fee)).transpose()?,
        };
        let command = wanted.command(request_id, b"open");
        let waiter = self.ctx.results.waiter(&command.id);
        let begun = self.begin_once(&command, &wanted, false).await?;
        let result = self.wait(waiter, begun.is_some(), &command.id, |_| true).await?;
        let condition = match (&begun, &result) {
            (_, Some(RequestResult::Failed { reason })) => return Err(Error::with_message(ErrorCode::PeerRefused, reason)),
            (Some(begun), Some(_)) => begun.condition,
            _ => self.condition(&command.id).await?.ok_or_else(|| Error::new(ErrorCode::Timeout))?,
        };
        Ok(OpenVirtualResponse {
            virtual_key: condition.key.to_vec(),
            virtual_seed: begun.map_or_else(Vec::new, |begun| begun.seed.to_vec()),
            deadline_unix: condition.deadline.into(),
            fee_nano: condition.fee.to_string(),
        })
    }

    /// The first condition of the payment that a command began.
    pub(super) async fn condition(&self, request_id: &str) -> Result<Option<Condition>, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let leg = store::engine::leg_of_request(&client, request_id).await.map_err(unavailable)?;
        Ok(leg.map(|leg| leg.leg.condition))
    }

    /// Begins a payment; nothing when the command is a repeated one.
    pub(super) async fn begin_once(
        &self,
        command: &Command,
        wanted: &Wanted<'_>,
        auto_close: bool,
    ) -> Result<Option<Begun>, Error> {
        if self.is_repeated(command).await? {
            return Ok(None);
        }
        self.begin(command, wanted, auto_close).await
    }

    /// Finds a chain, makes keys and instructions, queues the first leg.
    async fn begin(&self, command: &Command, wanted: &Wanted<'_>, auto_close: bool) -> Result<Option<Begun>, Error> {
        let Route { hops, channel } = self.route(wanted).await?;
        let internal = |error: payment::PaymentError| Error::with_message(ErrorCode::Internal, error);
        let made = payment::make(&*self.ctx.signer, &self.ctx.key, &hops, auto_close).await.map_err(internal)?;
        let sealing = self.ctx.signer.sealing_key().await.map_err(unavailable)?;
        let sealed = sealing.seal(&made.condition.key, &made.seed, &wanted.receiver);
        let sealed = sealed.map_err(|error| Error::with_message(ErrorCode::Internal, error))?;
        let origin = Origin::Sender { request_id: command.id.clone(), sealed };
        let condition = made.condition;
        let open = OpenLeg { condition: made.condition, action: made.action, origin };
        let task = NewTask { id: format!("command:{}", command.id), channel, task: Task::Open(Box::new(open)) };
        Ok(self.submit(command, task).await?.then_some(Begun { seed: made.seed, condition }))
    }
}
