//! Commands that change nothing.

use rpc::common::v1::Coin;
use rpc::engine::v1::sign_resolution_request::Signer;
use rpc::engine::v1::*;
use rpc::{Error, ErrorCode};
use serde_json::{Value, json};

use super::{PAGE, Session, incomplete};
use crate::args::{ListArgs, SignArgs};
use crate::failure::Failure;
use crate::input::{self, Unit};
use crate::output::Output;
use crate::{json as to_json, text};

pub(super) async fn info(session: &mut Session<'_>) -> Result<Output, Failure> {
    let request = session.request(GetInfoRequest {});
    let info = session.client()?.get_info(request).await.map_err(Failure::query)?.into_inner();
    Ok(Output::new(to_json::info(&info), text::info(&info)))
}

pub(super) async fn balance(session: &mut Session<'_>) -> Result<Output, Failure> {
    let request = session.request(GetBalanceRequest {});
    let answer = session.client()?.get_balance(request).await.map_err(Failure::query)?.into_inner();
    let json = json!({ "balances": answer.balances.iter().map(to_json::balance).collect::<Vec<_>>() });
    Ok(Output::new(json, text::balances(&answer.balances)))
}

/// Gathers the pages of a list until its end or `limit`. `$call` gives a page for a token.
macro_rules! pages {
    ($session:ident, $limit:expr, $method:ident, $items:ident, |$token:ident| $request:expr) => {{
        let (mut items, mut $token) = (Vec::new(), String::new());
        loop {
            let request = $session.request($request);
            let page = $session.client()?.$method(request).await.map_err(Failure::query)?.into_inner();
            let last = page.next_page_token.is_empty() || page.next_page_token == $token;
            items.extend(page.$items);
            if items.len() > $limit || (items.len() == $limit && !last) {
                items.truncate($limit);
                $session.note("there are more; see --limit");
                break items;
            }
            if last {
                break items;
            }
            $token = page.next_page_token;
        }
    }};
}

pub(super) async fn peers(session: &mut Session<'_>) -> Result<Output, Failure> {
    let peers = pages!(session, usize::MAX, list_peers, peers, |page_token| ListPeersRequest {
        page_size: PAGE,
        page_token: page_token.clone()
    });
    let json = json!({ "peers": peers.iter().map(to_json::peer).collect::<Vec<_>>() });
    Ok(Output::new(json, text::peers(&peers)))
}

pub(super) async fn channels(session: &mut Session<'_>, args: &ListArgs) -> Result<Output, Failure> {
    let peer_key = args.peer.as_deref().map(|text| input::key("peer", text)).transpose()?.unwrap_or_default();
    let statuses = match args.closed {
        true => Vec::new(),
        false => [ChannelStatus::Pending, ChannelStatus::Active, ChannelStatus::Suspended, ChannelStatus::Closing]
            .map(i32::from)
            .to_vec(),
    };
    let channels = pages!(session, args.limit, list_channels, channels, |page_token| ListChannelsRequest {
        page_size: PAGE,
        page_token: page_token.clone(),
        peer_key: peer_key.clone(),
        statuses: statuses.clone(),
    });
    let json = json!({ "channels": channels.iter().map(to_json::channel).collect::<Vec<_>>() });
    Ok(Output::new(json, text::channels(&channels)))
}

pub(super) async fn virtuals(session: &mut Session<'_>, args: &ListArgs) -> Result<Output, Failure> {
    let address = args.channel.as_deref().map(|text| input::address("channel", text)).transpose()?.unwrap_or_default();
    let statuses = match args.closed {
        true => Vec::new(),
        false => [VirtualStatus::Pending, VirtualStatus::Active, VirtualStatus::Closing, VirtualStatus::Unwinding]
            .map(i32::from)
            .to_vec(),
    };
    let virtuals = pages!(session, args.limit, list_virtuals, virtuals, |page_token| ListVirtualsRequest {
        page_size: PAGE,
        page_token: page_token.clone(),
        channel_address: address.clone(),
        statuses: statuses.clone(),
    });
    let json = json!({ "virtuals": virtuals.iter().map(to_json::virtual_channel).collect::<Vec<_>>() });
    Ok(Output::new(json, text::virtuals(&virtuals)))
}

pub(super) async fn show(session: &mut Session<'_>, what: &str) -> Result<Output, Failure> {
    // An address is 48 characters or has a colon, a key never is and has.
    if let Ok(key) = input::key("what", what) {
        let item = get_virtual(session, key).await?;
        return Ok(Output::new(to_json::virtual_channel(&item), text::virtual_channel(&item)));
    }
    let Ok(address) = input::address("what", what) else {
        return Err(Error::field(
            ErrorCode::InvalidField,
            "what",
            "must be the address of a channel or the key of a virtual one",
        )
        .into());
    };
    let channel = get_channel(session, address).await?;
    Ok(Output::new(to_json::channel(&channel), text::channel(&channel)))
}

pub(super) async fn sign(session: &mut Session<'_>, args: &SignArgs) -> Result<Output, Failure> {
    let virtual_key = input::key("key", &args.key)?;
    let unit = Unit::parse(&args.coin.coin, args.coin.decimals)?;
    let amount_nano = unit.positive("amount", &args.amount)?;
    let item = get_virtual(session, virtual_key.clone()).await?;
    same_coin(&unit, item.coin.as_ref())?;
    let request = session.request(SignResolutionRequest {
        signer: Some(Signer::VirtualKey(virtual_key)),
        amount_nano: amount_nano.clone(),
        receiver_key: Vec::new(),
    });
    let text = session.client()?.sign_resolution(request).await.map_err(Failure::query)?.into_inner().encrypted_state;
    let json: Value =
        json!({ "virtual_key": hex::encode(&item.virtual_key), "amount_nano": amount_nano, "encrypted_state": text });
    Ok(Output::new(json, format!("{}\n", text::printable(&text))))
}

pub(super) async fn get_channel(session: &mut Session<'_>, address: String) -> Result<Channel, Failure> {
    let request = session.request(GetChannelRequest { address });
    let answer = session.client()?.get_channel(request).await.map_err(Failure::query)?.into_inner();
    answer.channel.ok_or_else(|| incomplete("channel"))
}

async fn get_virtual(session: &mut Session<'_>, virtual_key: Vec<u8>) -> Result<Virtual, Failure> {
    let request = session.request(GetVirtualRequest { virtual_key });
    let answer = session.client()?.get_virtual(request).await.map_err(Failure::query)?.into_inner();
    answer.r#virtual.ok_or_else(|| incomplete("virtual channel"))
}

/// An amount was read in the units of one coin; it must not be spent in another, whose units may be a thousand times larger.
pub(super) fn same_coin(unit: &Unit, held: Option<&Coin>) -> Result<(), Error> {
    let held_kind = to_json::coin(held);
    if held_kind == to_json::coin(Some(&unit.coin)) {
        return Ok(());
    }
    Err(Error::field(ErrorCode::InvalidField, "coin", format!("must be the coin that it holds: {}", text::coin_name(held))))
}
