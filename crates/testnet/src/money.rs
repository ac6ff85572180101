//! What every story on a network does: channels, transfers, balances. Amounts are nano.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use rpc::engine::v1::*;
use testkit::wait_for;

use crate::{Chain, Node};

/// One coin.
pub const TON: u128 = 1_000_000_000;
/// What each wallet gets.
pub(crate) const WALLET: u128 = 1_000 * TON;
/// How long anything that waits for the chain may take.
pub const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) async fn fund(node: &Node, chain: &Chain, nano: u128) -> anyhow::Result<()> {
    let info = wait_for("the node", PATIENCE, async || node.api().get_info(GetInfoRequest {}).await).await?;
    chain.faucet(&info.into_inner().wallet_address, nano)
}

pub(crate) async fn until_funded(node: &Node) -> anyhow::Result<()> {
    wait_for("the wallet", PATIENCE, async || match wallet(node).await {
        Ok(nano) if nano > 0 => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// The address of the node's wallet, as `workchain:hex`.
pub async fn wallet_address(node: &Node) -> anyhow::Result<String> {
    let info = node.api().get_info(GetInfoRequest {}).await?.into_inner();
    Ok(crate::explorer::parse(&info.wallet_address)?.to_string())
}

/// What the node's wallet holds.
pub async fn wallet(node: &Node) -> anyhow::Result<u128> {
    let balance = node.api().get_balance(GetBalanceRequest {}).await?.into_inner();
    Ok(balance.balances.first().context("no balance")?.wallet_nano.parse()?)
}

/// Opens a channel, deploys it with a deposit, and waits until both sides can pay on it. Its address.
pub async fn open(opener: &Node, peer: &Node, deposit: u128) -> anyhow::Result<String> {
    let address = deploy(opener, peer, deposit).await?;
    until_exchanged([opener, peer], &address).await?;
    Ok(address)
}

/// Opens a channel, deploys it with a deposit, and waits until both sides have seen that on the chain. Its address.
pub async fn deploy(opener: &Node, peer: &Node, deposit: u128) -> anyhow::Result<String> {
    let request = OpenChannelRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        peer_key: peer.key.to_vec(),
        coin: None,
        top_up_nano: deposit.to_string(),
    };
    let opened = wait_for("the channel", PATIENCE, async || opener.api().open_channel(request.clone()).await).await?;
    let address = opened.into_inner().channel.context("no channel")?.address;
    let deposited = |c: &Channel| c.our.iter().chain(&c.their).any(|side| side.deposited_nano != "0");
    for node in [opener, peer] {
        until(node, &address, "the deposit", deposited).await?;
    }
    Ok(address)
}

/// Waits until both sides of a deployed channel have signed a state of it.
pub async fn until_exchanged(sides: [&Node; 2], address: &str) -> anyhow::Result<()> {
    for node in sides {
        until(node, address, "the exchange of states", |c| c.status() == ChannelStatus::Active).await?;
    }
    Ok(())
}

async fn until(node: &Node, address: &str, what: &str, is_so: impl Fn(&Channel) -> bool) -> anyhow::Result<()> {
    wait_for(what, PATIENCE, async || match channel(node, address).await {
        Ok(c) if is_so(&c) => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await
}

/// A channel as the node sees it.
pub async fn channel(node: &Node, address: &str) -> anyhow::Result<Channel> {
    let request = GetChannelRequest { address: address.into() };
    node.api().get_channel(request).await?.into_inner().channel.context("no channel")
}

/// What the node could pay on a channel.
pub async fn balance(node: &Node, address: &str) -> anyhow::Result<u128> {
    Ok(channel(node, address).await?.our.context("no side")?.available_nano.parse()?)
}

/// Waits until the node could pay exactly this much on the channel: the last confirmations come after the payer's answer.
pub async fn until_free(node: &Node, address: &str, expected: u128) -> anyhow::Result<()> {
    wait_for("the balance", PATIENCE, async || {
        let nano = balance(node, address).await?;
        ensure!(nano == expected, "{} has {nano}, not {expected}", node.name);
        anyhow::Ok(())
    })
    .await
}

/// Closes a channel cooperatively and waits until the node has seen it closed.
pub async fn close(node: &Node, address: &str) -> anyhow::Result<()> {
    let request = CloseChannelRequest { request_id: uuid::Uuid::new_v4().to_string(), address: address.into(), force: false };
    wait_for("the agreement", PATIENCE, async || node.api().close_channel(request.clone()).await).await?;
    until(node, address, "the closing", |c| c.status() == ChannelStatus::Closed).await
}

/// A transfer that closes itself, over a chain that the planner finds.
pub fn transfer(receiver: &Node, nano: u128) -> SendTransferRequest {
    SendTransferRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        receiver_key: receiver.key.to_vec(),
        coin: None,
        amount_nano: nano.to_string(),
        ttl_seconds: 0,
        chain: Vec::new(),
        max_fee_nano: None,
        wait: true,
    }
}

/// Sends a transfer and waits until it is paid, as a careful client does: a call that was lost is repeated with the same request id, at
/// whichever engine answers.
pub async fn send(payer: &Node, request: &SendTransferRequest) -> anyhow::Result<SendTransferResponse> {
    let mut turn = 0;
    wait_for("the payment", PATIENCE, async || {
        let engine = turn % payer.engines.len();
        turn += 1;
        let sent = payer.api_at(engine).send_transfer(request.clone()).await?.into_inner();
        match sent.status() {
            TransferStatus::Paid => Ok(Ok(sent)),
            TransferStatus::Failed => Ok(Err(anyhow::anyhow!("the transfer failed: {}", sent.failure))),
            other => Err(tonic::Status::unavailable(format!("{other:?}"))),
        }
    })
    .await?
}
