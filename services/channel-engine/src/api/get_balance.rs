use rpc::{
    Error,
    engine::v1::{Balance, GetBalanceRequest, GetBalanceResponse},
    indexer::v1::GetWalletRequest,
};

use super::{Api, unavailable};

impl Api {
    pub(super) async fn get_balance(&self, _: GetBalanceRequest) -> Result<GetBalanceResponse, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let channels = store::engine::open_channels(&client).await.map_err(unavailable)?;
        let positive = |i: usize| channels.iter().map(|c| c.available()[i].max(0)).sum::<i128>().to_string();
        let wallet_nano = match self.indexer.clone() {
            Some(mut indexer) => indexer.get_wallet(GetWalletRequest {}).await.map_err(unavailable)?.into_inner().balance_nano,
            None => String::new(),
        };
        let balance = Balance {
            coin: None,
            wallet_nano,
            available_nano: positive(0),
            locked_nano: channels.iter().map(|c| c.locked[0]).sum::<u128>().to_string(),
            receivable_nano: positive(1),
        };
        Ok(GetBalanceResponse { balances: vec![balance] })
    }
}
