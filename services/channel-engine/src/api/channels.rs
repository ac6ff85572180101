use protocol::Address;
use rpc::{
    Error, ErrorCode,
    engine::v1::{Channel, GetChannelRequest, GetChannelResponse, ListChannelsRequest, ListChannelsResponse},
};
use store::engine::ChannelSummary;

use super::{Api, show, unavailable, validate};

impl Api {
    pub(super) async fn list_channels(&self, request: ListChannelsRequest) -> Result<ListChannelsResponse, Error> {
        let size = validate::page_size(request.page_size)?;
        let after = validate::page_token::<32>(&request.page_token)?;
        let peer = if request.peer_key.is_empty() { None } else { Some(validate::key("peer_key", &request.peer_key)?) };
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let rows = store::engine::channels(&client, peer.as_ref(), true, after.as_ref(), size).await.map_err(unavailable)?;
        let next_page_token = match rows.last() {
            Some(last) if rows.len() == size as usize => hex::encode(last.row.address),
            _ => String::new(),
        };
        let channels = rows
            .iter()
            .map(|row| show::channel(row, &self.ctx.policy))
            .filter(|c| request.statuses.is_empty() || request.statuses.contains(&c.status))
            .collect();
        Ok(ListChannelsResponse { channels, next_page_token })
    }

    pub(super) async fn get_channel(&self, request: GetChannelRequest) -> Result<GetChannelResponse, Error> {
        let address = validate::address("address", &request.address)?;
        Ok(GetChannelResponse { channel: Some(self.shown(&address).await?) })
    }

    pub(super) async fn shown(&self, address: &Address) -> Result<Channel, Error> {
        Ok(show::channel(&self.summary(address).await?, &self.ctx.policy))
    }

    /// One channel, or that there is none.
    pub(super) async fn summary(&self, address: &Address) -> Result<ChannelSummary, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let summary = store::engine::channel_of(&client, address).await.map_err(unavailable)?;
        summary.ok_or_else(|| Error::field(ErrorCode::ChannelUnknown, "address", "must be a channel of this node"))
    }
}
