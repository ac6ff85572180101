use std::net::{SocketAddr, SocketAddrV4};

use rpc::gateway::v1::{AdvertiseAddressRequest, AdvertiseAddressResponse};
use rpc::{Error, ErrorCode};

use crate::config::reachable;
use crate::gateway::Gateway;

/// Publishes other addresses from now on: all that are asked for, or none.
pub(super) async fn advertise_address(
    gateway: &Gateway,
    request: &AdvertiseAddressRequest,
) -> Result<AdvertiseAddressResponse, Error> {
    let own = address("udp_address", &request.udp_address)?;
    let dht = address("dht_udp_address", &request.dht_udp_address)?;
    let closed = |_| Error::with_message(ErrorCode::Unavailable, "the gateway ends");
    match (&gateway.dht_node, dht) {
        (Some(node), Some(address)) => node.advertise(address).await.map_err(closed)?,
        (None, Some(_)) => {
            return Err(Error::field(ErrorCode::InvalidField, "dht_udp_address", "must be empty: the gateway runs no DHT node"));
        }
        (_, None) => {}
    }
    if own.is_some() {
        let list = gateway.endpoint.advertise(own).await.map_err(closed)?;
        gateway.advertised.send_replace(list);
    }
    let text = |address: Option<&SocketAddrV4>| address.map(ToString::to_string).unwrap_or_default();
    tracing::info!(gateway = request.udp_address, dht = request.dht_udp_address, "other addresses are published");
    Ok(AdvertiseAddressResponse {
        udp_address: text(gateway.advertised.borrow().addrs.first()),
        dht_udp_address: text(
            gateway.dht_node.as_ref().and_then(|node| node.presented().addresses.addrs.first().copied()).as_ref(),
        ),
    })
}

fn address(field: &str, text: &str) -> Result<Option<SocketAddrV4>, Error> {
    if text.is_empty() {
        return Ok(None);
    }
    let address = text.parse::<SocketAddrV4>().ok().filter(|address| reachable(field, SocketAddr::V4(*address)).is_ok());
    let rule = || Error::field(ErrorCode::InvalidField, field, "must be `ip:port` of IPv4 that can be reached");
    address.map(Some).ok_or_else(rule)
}
