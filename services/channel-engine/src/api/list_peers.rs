use std::collections::BTreeMap;

use protocol::Key;
use rpc::{
    Error,
    engine::v1::{ListPeersRequest, ListPeersResponse, Peer},
};

use super::{Api, show, unavailable, validate};

impl Api {
    pub(super) async fn list_peers(&self, request: ListPeersRequest) -> Result<ListPeersResponse, Error> {
        let size = validate::page_size(request.page_size)? as usize;
        let after = validate::page_token::<32>(&request.page_token)?;
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let mut peers: BTreeMap<Key, u32> = BTreeMap::new();
        for channel in store::engine::open_channels(&client).await.map_err(unavailable)? {
            *peers.entry(channel.row.peer).or_default() += 1;
        }
        let rest: Vec<_> = peers.into_iter().filter(|(key, _)| after.is_none_or(|a| *key > a)).collect();
        let more = rest.len() > size;
        let page: Vec<Peer> = rest
            .into_iter()
            .take(size)
            .map(|(key, channels)| {
                let since = self.ctx.gateways.connected_since(&key);
                Peer {
                    node_key: key.to_vec(),
                    connected: since.is_some(),
                    connected_since_unix: since.map_or(0, show::unix),
                    channels,
                    shard: store::shard_of(&key).into(),
                }
            })
            .collect();
        let next_page_token = page.last().filter(|_| more).map_or_else(String::new, |p| hex::encode(&p.node_key));
        Ok(ListPeersResponse { peers: page, next_page_token })
    }
}
