use protocol::{Direction, Key};
use rpc::{
    Error, ErrorCode,
    engine::v1::{GetVirtualRequest, GetVirtualResponse, ListVirtualsRequest, ListVirtualsResponse, Virtual},
};
use store::engine::{LegFilter, LegPlace, LegSummary};

use super::{Api, show, unavailable, validate};

impl Api {
    pub(super) async fn get_virtual(&self, request: GetVirtualRequest) -> Result<GetVirtualResponse, Error> {
        let key = validate::key("virtual_key", &request.virtual_key)?;
        Ok(GetVirtualResponse { r#virtual: Some(self.shown_virtual(&key).await?) })
    }

    pub(super) async fn shown_virtual(&self, key: &Key) -> Result<Virtual, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let legs = store::engine::legs_of(&client, key).await.map_err(unavailable)?;
        let unknown = || Error::field(ErrorCode::VirtualUnknown, "virtual_key", "must be a virtual channel of this node");
        self.show_legs(&legs).ok_or_else(unknown)
    }

    fn show_legs(&self, legs: &[LegSummary]) -> Option<Virtual> {
        let safe = self.ctx.policy.timing.safe_close();
        show::virtual_channel(legs, |channel| self.ctx.hints.get(channel).map(|h| (h.peer, safe)))
    }

    pub(super) async fn list_virtuals(&self, request: ListVirtualsRequest) -> Result<ListVirtualsResponse, Error> {
        let size = validate::page_size(request.page_size)?;
        let channel = match request.channel_address.as_str() {
            "" => None,
            text => Some(validate::address("channel_address", text)?),
        };
        // A token names the last leg of a page: direction, key, channel.
        let after = validate::page_token::<65>(&request.page_token)?.map(|token| LegPlace {
            direction: if token[0] == 0 { Direction::In } else { Direction::Out },
            key: token[1..33].try_into().unwrap_or_default(),
            channel: token[33..].try_into().unwrap_or_default(),
        });
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let legs = store::engine::legs(&client, LegFilter { channel, live: false }, after, size).await.map_err(unavailable)?;
        let next_page_token = match legs.last() {
            Some(last) if legs.len() == size as usize => {
                let place = last.place();
                let direction = if place.direction == Direction::In { "00" } else { "01" };
                format!("{direction}{}{}", hex::encode(place.key), hex::encode(place.channel))
            }
            _ => String::new(),
        };
        let virtuals = legs
            .chunk_by(|a, b| a.leg.key() == b.leg.key())
            .filter_map(|legs| self.show_legs(legs))
            .filter(|v| request.statuses.is_empty() || request.statuses.contains(&v.status))
            .collect();
        Ok(ListVirtualsResponse { virtuals, next_page_token })
    }
}
