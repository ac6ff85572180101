//! Channels that were offered and not agreed yet.

use contract::OpenConfig;
use deadpool_postgres::GenericClient;
use protocol::{Address, Key};

use crate::{Error, codec, shard_of, value::long};

/// A channel that we offer to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// To whom.
    pub peer: Key,
    /// Contract code.
    pub code_hash: [u8; 32],
    /// The channel that comes of it.
    pub address: Address,
    /// Its configuration.
    pub config: OpenConfig,
}

/// Writes an offer before the peer hears of it, in place of an earlier one with the same code. `false`: the shard is not ours under this epoch, and nothing
/// was written.
pub async fn write_offer(client: &impl GenericClient, epoch: u64, offer: &Offer) -> Result<bool, Error> {
    let statement = client.prepare_cached("SELECT engine.write_offer($1, $2, $3, $4, $5, $6)").await?;
    let Offer { peer, code_hash, address, config } = offer;
    let shard = i16::from(shard_of(peer));
    let epoch = long("epoch", epoch)?;
    let config = ton::encode_boc(&config.to_cell());
    let row = client
        .query_one(
            &statement,
            &[&shard, &epoch, &peer.as_slice(), &code_hash.as_slice(), &address.as_slice(), &config.as_slice()],
        )
        .await?;
    Ok(row.try_get(0)?)
}

/// The offer to this peer with this code that no channel has come of.
pub async fn offer_to(client: &impl GenericClient, peer: &Key, code_hash: &[u8; 32]) -> Result<Option<Offer>, Error> {
    let statement = client
        .prepare_cached(
            "SELECT address, config FROM engine.offer o WHERE peer = $1 AND code_hash = $2 \
             AND NOT EXISTS (SELECT FROM engine.channel c WHERE c.address = o.address)",
        )
        .await?;
    let row = client.query_opt(&statement, &[&peer.as_slice(), &code_hash.as_slice()]).await?;
    let offer = |row: tokio_postgres::Row| {
        let address = codec::bytes(&row, "address")?;
        Ok(Offer { peer: *peer, code_hash: *code_hash, address, config: codec::config_from_row(&row)? })
    };
    row.map(offer).transpose()
}

/// Forgets an offer that has ended. `false`: the shard is not ours under this epoch.
pub async fn drop_offer(client: &impl GenericClient, epoch: u64, peer: &Key, address: &Address) -> Result<bool, Error> {
    let statement = client.prepare_cached("SELECT engine.drop_offer($1, $2, $3)").await?;
    let shard = i16::from(shard_of(peer));
    let row = client.query_one(&statement, &[&shard, &long("epoch", epoch)?, &address.as_slice()]).await?;
    Ok(row.try_get(0)?)
}
