use std::time::Duration;

use rpc::{
    Connection, Error,
    engine::v1::{GetInfoRequest, GetInfoResponse, ServiceHealth},
};
use tokio::time::timeout;

use super::Api;

/// How long one of the services may take to say how it is.
const PATIENCE: Duration = Duration::from_secs(1);

/// A service that the engine works with.
pub struct Partner {
    /// Its name.
    pub service: &'static str,
    /// Where it is reached; empty inside one process.
    pub endpoint: String,
    /// The way there.
    pub connection: Connection,
}

impl Api {
    pub(super) async fn get_info(&self, _: GetInfoRequest) -> Result<GetInfoResponse, Error> {
        let partners = futures::future::join_all(self.partners.iter().map(health));
        let (database, partners) = tokio::join!(timeout(PATIENCE, self.frozen()), partners);
        let (frozen, detail) = match database {
            Ok(Ok(frozen)) => (frozen, String::new()),
            Ok(Err(error)) => (None, error.to_string()),
            Err(_) => (None, "does not answer".into()),
        };
        let database = ServiceHealth { service: "database".into(), endpoint: String::new(), ready: detail.is_empty(), detail };
        Ok(GetInfoResponse {
            node_key: self.ctx.key.to_vec(),
            wallet_address: ton::Address::basechain(self.ctx.wallet).to_friendly(false),
            protocol_time_unix_ms: self.ctx.clock.now_ms(),
            services: std::iter::once(database).chain(partners).collect(),
            frozen_reason: frozen.unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").into(),
        })
    }

    async fn frozen(&self) -> Result<Option<String>, store::Error> {
        store::engine::frozen(&self.ctx.pool.get().await?).await
    }
}

async fn health(partner: &Partner) -> ServiceHealth {
    let detail = match timeout(PATIENCE, rpc::is_ready(partner.connection.clone())).await {
        Ok(Ok(true)) => String::new(),
        Ok(Ok(false)) => "waits for what it needs: see its log or /readyz".into(),
        Ok(Err(status)) => format!("does not answer: {}", status.message()),
        Err(_) => "does not answer".into(),
    };
    ServiceHealth { service: partner.service.into(), endpoint: partner.endpoint.clone(), ready: detail.is_empty(), detail }
}
