//! Virtual channels by hand, and the time that they go by.

use anyhow::{Context as _, ensure};
use rpc::engine::v1::{
    GetInfoRequest, GetVirtualRequest, OpenVirtualRequest, OpenVirtualResponse, SignResolutionRequest, Virtual, VirtualStatus,
    sign_resolution_request::Signer,
};
use testkit::wait_for;
use testnet::{Chain, Node, PATIENCE};

/// Opens a virtual channel over the nodes that the planner finds.
pub async fn open_virtual(payer: &Node, receiver: &Node, capacity: u128) -> anyhow::Result<OpenVirtualResponse> {
    let request = OpenVirtualRequest {
        request_id: uuid::Uuid::new_v4().to_string(),
        receiver_key: receiver.key.to_vec(),
        coin: None,
        capacity_nano: capacity.to_string(),
        ttl_seconds: 0,
        chain: Vec::new(),
        max_fee_nano: None,
    };
    let opened = wait_for("a virtual channel", PATIENCE, async || payer.api().open_virtual(request.clone()).await).await?;
    Ok(opened.into_inner())
}

/// Signs an amount with a virtual channel's key, for its receiver: an encrypted state.
pub async fn sign(payer: &Node, receiver: &Node, virtual_key: &[u8], amount: u128) -> anyhow::Result<String> {
    let request = SignResolutionRequest {
        signer: Some(Signer::VirtualKey(virtual_key.to_vec())),
        amount_nano: amount.to_string(),
        receiver_key: receiver.key.to_vec(),
    };
    Ok(payer.api().sign_resolution(request).await?.into_inner().encrypted_state)
}

/// Waits until a node sees a virtual channel in this state.
pub async fn until_virtual(node: &Node, virtual_key: &[u8], status: VirtualStatus) -> anyhow::Result<Virtual> {
    let request = GetVirtualRequest { virtual_key: virtual_key.to_vec() };
    wait_for("the virtual channel", PATIENCE, async || {
        let shown = node.api().get_virtual(request.clone()).await?.into_inner().r#virtual.context("none")?;
        ensure!(shown.status() == status, "{} sees it {:?}", node.name, shown.status());
        anyhow::Ok(shown)
    })
    .await
}

/// A node's protocol time, in seconds.
pub async fn now(node: &Node) -> anyhow::Result<u64> {
    Ok(node.api().get_info(GetInfoRequest {}).await?.into_inner().protocol_time_unix_ms / 1_000)
}

/// Lets the chain's time go on to `time` at least, and waits until these nodes go by it.
pub async fn advance_to(chain: &Chain, nodes: &[&Node], time: u64) -> anyhow::Result<()> {
    let latest = now(nodes.first().context("no node")?).await?;
    chain.advance(time.saturating_sub(latest) + 1)?;
    for node in nodes {
        wait_for("the chain's time", PATIENCE, async || {
            let now = now(node).await?;
            ensure!(now >= time, "{} is at {now}, not {time}", node.name);
            anyhow::Ok(())
        })
        .await?;
    }
    Ok(())
}
