use protocol::{Address, NewTask, Task};
use rpc::{
    Error, ErrorCode,
    engine::v1::{OpenChannelRequest, OpenChannelResponse},
};

use super::{Api, submit::Command, unavailable, validate};

impl Api {
    pub(super) async fn open_channel(&self, request: OpenChannelRequest) -> Result<OpenChannelResponse, Error> {
        let request_id = validate::request_id(&request.request_id)?;
        let peer = validate::key("peer_key", &request.peer_key)?;
        validate::coin(request.coin.as_ref())?;
        let amount = validate::nano("top_up_nano", &request.top_up_nano)?;
        if peer == self.ctx.key {
            return Err(Error::field(ErrorCode::InvalidKey, "peer_key", "must not be this node's own key"));
        }
        let command = Command::new(request_id, &[b"open-channel", &peer, &amount.to_le_bytes()]);
        let repeated = self.is_repeated(&command).await?;
        let address = match self.opened_before(&command.id, &peer).await? {
            Some(address) => address,
            None if repeated => return Err(Error::with_message(ErrorCode::Unavailable, "the first top-up is under way")),
            None => self.ctx.agree_channel(&peer).await.map_err(of_peer)?,
        };
        if !repeated {
            self.queue_top_up(&command, address, amount).await?;
        }
        Ok(OpenChannelResponse { channel: Some(self.shown(&address).await?) })
    }

    /// A repeated command finds the channel that the first one made: by its top-up, or agreed and waiting for one.
    async fn opened_before(&self, request_id: &str, peer: &protocol::Key) -> Result<Option<Address>, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let order = store::chain::order_of(&client, &format!("topup:{request_id}")).await.map_err(unavailable)?;
        if let Some((order, _)) = order {
            return Ok(order.channel);
        }
        let channels = store::engine::channels(&client, Some(peer), false, None, 100).await.map_err(unavailable)?;
        let waiting = |c: &&store::engine::ChannelSummary| {
            c.row.left && c.row.status == protocol::Status::Active && c.row.onchain.deposited == [0; 2] && !c.row.onchain.inited
        };
        Ok(channels.iter().find(waiting).map(|c| c.row.address))
    }

    /// The order's id comes from the request: repeating the command does not pay twice.
    pub(super) async fn queue_top_up(&self, command: &Command, channel: Address, amount: u128) -> Result<(), Error> {
        // The first top-up deploys the contract: without its code the coins would lie at an empty account (payments 7.8.6).
        let row = self.summary(&channel).await?.row;
        if !row.onchain.inited && self.ctx.code(&row.code_hash).is_none() {
            let message =
                "the contract is not on the chain yet, and its code is not at hand (`live_code`): the peer has to deposit first";
            return Err(Error::with_message(ErrorCode::ChannelNotActive, message));
        }
        let order = format!("topup:{}", command.id);
        let task = NewTask { id: format!("command:{}", command.id), channel, task: Task::TopUp { order, amount } };
        self.submit(command, task).await.map(drop)
    }
}

/// A peer that cannot be reached is the caller's choice of peer.
fn of_peer(error: Error) -> Error {
    match error.code() {
        ErrorCode::PeerUnreachable => Error::field(error.code(), "peer_key", "must be a node that can be reached and answers"),
        _ => error,
    }
}
