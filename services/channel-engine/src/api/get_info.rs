use rpc::{
    Error,
    engine::v1::{GetInfoRequest, GetInfoResponse},
};

use super::{Api, unavailable};

impl Api {
    pub(super) async fn get_info(&self, _: GetInfoRequest) -> Result<GetInfoResponse, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let frozen = store::engine::frozen(&client).await.map_err(unavailable)?;
        Ok(GetInfoResponse {
            node_key: self.ctx.key.to_vec(),
            wallet_address: ton::Address::basechain(self.ctx.wallet).to_friendly(false),
            protocol_time_unix_ms: self.ctx.clock.now_ms(),
            services: Vec::new(),
            frozen_reason: frozen.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }
}
