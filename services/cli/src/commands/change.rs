//! Commands that change something. Each checks its values, shows its request id, and calls once.

use std::io::Read as _;

use rpc::engine::v1::*;
use rpc::{Error, ErrorCode};
use serde_json::json;

use super::query::{get_channel, same_coin};
use super::{Session, incomplete, with_id};
use crate::args::{CloseArgs, DeployArgs, DestroyArgs, FundsArgs, LiftArgs, OpenArgs, RouteArgs, SendArgs};
use crate::failure::{FAILED, Failure, UNREACHABLE};
use crate::input::{self, Unit};
use crate::output::Output;
use crate::{json as to_json, text};

/// Longest text of `close`: far above what `sign` makes.
const MAX_STATE_TEXT: u64 = 64 * 1024;

pub(super) async fn deploy(session: &mut Session<'_>, args: &DeployArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let unit = Unit::parse(&args.coin.coin, args.coin.decimals)?;
    let peer_key = input::key("peer", &args.peer)?;
    let top_up_nano = unit.positive("amount", &args.amount)?;
    let shown =
        json!({ "peer_key": hex::encode(&peer_key), "coin": to_json::coin(Some(&unit.coin)), "top_up_nano": top_up_nano });
    if let Some(dry) = session.begin(&args.change, &request_id, "OpenChannel", shown) {
        return Ok(dry);
    }
    let request =
        session.request(OpenChannelRequest { request_id: request_id.clone(), peer_key, coin: Some(unit.coin), top_up_nano });
    let answer = session.client()?.open_channel(request).await.map_err(|status| Failure::command(&request_id, status))?;
    let channel = answer.into_inner().channel.ok_or_else(|| incomplete("channel"))?;
    let note = "\nIt becomes active when the chain shows it: see `causeway list`.\n";
    Ok(Output::new(with_id(json!({ "channel": to_json::channel(&channel) }), &request_id), text::channel(&channel) + note))
}

/// Which way coins go between the wallet and a channel.
#[derive(Clone, Copy)]
pub(super) enum Way {
    In,
    Out,
}

pub(super) async fn funds(session: &mut Session<'_>, args: &FundsArgs, way: Way) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let unit = Unit::parse(&args.coin.coin, args.coin.decimals)?;
    let address = input::address("channel", &args.channel)?;
    let amount_nano = unit.positive("amount", &args.amount)?;
    let shown = json!({ "address": address, "amount_nano": amount_nano });
    if !args.change.dry_run {
        let channel = get_channel(session, address.clone()).await?;
        same_coin(&unit, channel.coin.as_ref())?;
    }
    let call = match way {
        Way::In => "TopUp",
        Way::Out => "Withdraw",
    };
    if let Some(dry) = session.begin(&args.change, &request_id, call, shown.clone()) {
        return Ok(dry);
    }
    let (amount, id) = (text::amount(&amount_nano, Some(&unit.coin)), request_id.clone());
    let failed = |status| Failure::command(&request_id, status);
    let text = match way {
        Way::In => {
            let request = session.request(TopUpRequest { request_id: id, address, amount_nano });
            session.client()?.top_up(request).await.map_err(failed)?;
            format!("queued: {amount} for {}\n", args.channel)
        }
        Way::Out => {
            let request = session.request(WithdrawRequest { request_id: id, address, amount_nano });
            session.client()?.withdraw(request).await.map_err(failed)?;
            format!("paid out: {amount} from {}\n", args.channel)
        }
    };
    Ok(Output::new(with_id(shown, &request_id), text))
}

pub(super) async fn open(session: &mut Session<'_>, args: &OpenArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let unit = Unit::parse(&args.coin.coin, args.coin.decimals)?;
    let receiver_key = input::key("receiver", &args.receiver)?;
    let capacity_nano = unit.positive("capacity", &args.capacity)?;
    let ttl_seconds = input::seconds("ttl", &args.ttl)?;
    let (chain, max_fee_nano) = route(&args.route, &receiver_key, &unit)?;
    let shown = json!({
        "receiver_key": hex::encode(&receiver_key), "coin": to_json::coin(Some(&unit.coin)), "capacity_nano": capacity_nano,
        "ttl_seconds": ttl_seconds, "chain": to_json::chain(&chain), "max_fee_nano": max_fee_nano,
    });
    if let Some(dry) = session.begin(&args.change, &request_id, "OpenVirtual", shown) {
        return Ok(dry);
    }
    let coin = Some(unit.coin.clone());
    let id = request_id.clone();
    let message = OpenVirtualRequest { request_id: id, receiver_key, coin, capacity_nano, ttl_seconds, chain, max_fee_nano };
    let request = session.request(message);
    let answer =
        session.client()?.open_virtual(request).await.map_err(|status| Failure::command(&request_id, status))?.into_inner();
    let mut json = json!({
        "virtual_key": hex::encode(&answer.virtual_key), "deadline_unix": answer.deadline_unix, "fee_nano": answer.fee_nano,
    });
    let seed = if args.show_seed { hex::encode(&answer.virtual_seed) } else { String::new() };
    if args.show_seed {
        json["virtual_seed"] = json!(seed);
    }
    let text = text::list(&[
        ("virtual channel", hex::encode(&answer.virtual_key)),
        ("private seed", seed),
        ("locked until at the latest", text::moment(answer.deadline_unix)),
        ("fee reserved", text::amount(&answer.fee_nano, Some(&unit.coin))),
    ]);
    Ok(Output::new(with_id(json, &request_id), text))
}

pub(super) async fn send(session: &mut Session<'_>, args: &SendArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let unit = Unit::parse(&args.coin.coin, args.coin.decimals)?;
    let receiver_key = input::key("receiver", &args.receiver)?;
    let amount_nano = unit.positive("amount", &args.amount)?;
    let ttl_seconds = args.ttl.as_deref().map_or(Ok(0), |text| input::seconds("ttl", text))?;
    let (chain, max_fee_nano) = route(&args.route, &receiver_key, &unit)?;
    let wait = !args.no_wait;
    let shown = json!({
        "receiver_key": hex::encode(&receiver_key), "coin": to_json::coin(Some(&unit.coin)), "amount_nano": amount_nano,
        "ttl_seconds": ttl_seconds, "chain": to_json::chain(&chain), "max_fee_nano": max_fee_nano, "wait": wait,
    });
    if let Some(dry) = session.begin(&args.change, &request_id, "SendTransfer", shown) {
        return Ok(dry);
    }
    let coin = Some(unit.coin.clone());
    let id = request_id.clone();
    let message = SendTransferRequest { request_id: id, receiver_key, coin, amount_nano, ttl_seconds, chain, max_fee_nano, wait };
    let request = session.request(message);
    let answer =
        session.client()?.send_transfer(request).await.map_err(|status| Failure::command(&request_id, status))?.into_inner();
    Ok(sent(&answer, &unit, wait, &request_id))
}

fn sent(answer: &SendTransferResponse, unit: &Unit, wait: bool, request_id: &str) -> Output {
    let json = json!({
        "virtual_key": hex::encode(&answer.virtual_key), "status": text::transfer_status(answer.status()),
        "fee_nano": answer.fee_nano, "deadline_unix": answer.deadline_unix, "failure": answer.failure,
    });
    let text = text::list(&[
        ("status", text::transfer_status(answer.status()).into()),
        ("failure", answer.failure.clone()),
        ("fee", text::amount(&answer.fee_nano, Some(&unit.coin))),
        ("virtual channel", hex::encode(&answer.virtual_key)),
        ("locked until at the latest", text::moment(answer.deadline_unix)),
    ]);
    let code = match answer.status() {
        TransferStatus::Paid => 0,
        TransferStatus::Failed => FAILED,
        TransferStatus::Pending if !wait => 0,
        TransferStatus::Pending | TransferStatus::Unspecified => UNREACHABLE,
    };
    Output { code, ..Output::new(with_id(json, request_id), text) }
}

pub(super) async fn close(session: &mut Session<'_>, args: &CloseArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let encrypted_state = state_text(&args.text)?;
    let shown = json!({ "encrypted_state": encrypted_state });
    if let Some(dry) = session.begin(&args.change, &request_id, "CloseVirtual", shown) {
        return Ok(dry);
    }
    let request = session.request(CloseVirtualRequest { request_id: request_id.clone(), encrypted_state });
    let answer = session.client()?.close_virtual(request).await.map_err(|status| Failure::command(&request_id, status))?;
    let item = answer.into_inner().r#virtual.ok_or_else(|| incomplete("virtual channel"))?;
    let json = with_id(json!({ "virtual": to_json::virtual_channel(&item) }), &request_id);
    let note = "\nThe claim is stored; the payment arrives by itself: see `causeway show`.\n";
    Ok(Output::new(json, text::virtual_channel(&item) + note))
}

pub(super) async fn destroy(session: &mut Session<'_>, args: &DestroyArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let address = input::address("channel", &args.channel)?;
    let shown = json!({ "address": address, "force": args.force });
    if let Some(dry) = session.begin(&args.change, &request_id, "CloseChannel", shown) {
        return Ok(dry);
    }
    let request = session.request(CloseChannelRequest { request_id: request_id.clone(), address, force: args.force });
    let answer = session.client()?.close_channel(request).await.map_err(|status| Failure::command(&request_id, status))?;
    let channel = answer.into_inner().channel.ok_or_else(|| incomplete("channel"))?;
    let note = "\nThe closing is under way; it is done when `causeway list --closed` shows it.\n";
    Ok(Output::new(with_id(json!({ "channel": to_json::channel(&channel) }), &request_id), text::channel(&channel) + note))
}

pub(super) async fn lift(session: &mut Session<'_>, args: &LiftArgs) -> Result<Output, Failure> {
    let request_id = input::request_id(args.change.request_id.as_deref())?;
    let address = input::address("channel", &args.channel)?;
    let shown = json!({ "address": address });
    if let Some(dry) = session.begin(&args.change, &request_id, "LiftSuspension", shown.clone()) {
        return Ok(dry);
    }
    let request = session.request(LiftSuspensionRequest { request_id: request_id.clone(), address });
    session.client()?.lift_suspension(request).await.map_err(|status| Failure::command(&request_id, status))?;
    let text = format!("queued: {} is to work again: see `causeway list`\n", args.channel);
    Ok(Output::new(with_id(shown, &request_id), text))
}

type Route = (Vec<rpc::common::v1::ChainHop>, Option<String>);

fn route(args: &RouteArgs, receiver: &[u8], unit: &Unit) -> Result<Route, Error> {
    let chain = input::chain(&args.via, args.direct, receiver, unit)?;
    let max_fee = args.max_fee.as_deref().map(|text| unit.amount("max_fee", text)).transpose()?;
    Ok((chain, max_fee))
}

/// The argument, or standard input for `-`; white space around it does not count.
fn state_text(argument: &str) -> Result<String, Error> {
    let mut text = argument.to_owned();
    if argument == "-" {
        text.clear();
        let read = std::io::stdin().lock().take(MAX_STATE_TEXT).read_to_string(&mut text);
        read.map_err(|error| Error::field(ErrorCode::InvalidField, "text", format!("must be readable ({error})")))?;
    }
    match text.trim() {
        "" => Err(Error::field(ErrorCode::InvalidField, "text", "must be the text that `sign` printed at the sender")),
        text => Ok(text.to_owned()),
    }
}
