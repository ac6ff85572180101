//! An engine that speaks to a gateway under an ownership of the test's choice.

use anyhow::{Context as _, bail};
use rpc::{
    ClientConfig,
    gateway::v1::{
        CallFailure, EngineFrame, Hello, OutgoingQuery, ShardEpoch, Transport, call_result::Outcome,
        gateway_service_client::GatewayServiceClient,
    },
};
use testnet::Node;
use tokio::sync::mpsc;

/// Asks `peer` something harmless over the gateway of `node`, as an owner of the peer's shard under `epoch` would. Whether the gateway let
/// it pass: the peer may answer or not.
pub async fn speaks_as_owner(node: &Node, peer: &Node, epoch: u64) -> anyhow::Result<bool> {
    let connection = ClientConfig::plain(format!("http://{}", node.gateway.address())).connect("gateway")?;
    let (frames, outgoing) = mpsc::channel(2);
    let query = OutgoingQuery {
        call_id: 1,
        peer_key: peer.key.to_vec().into(),
        owner: Some(ShardEpoch { shard: store::shard_of(&peer.key).into(), epoch }),
        transport: Transport::Adnl.into(),
        // Nothing that a node knows: no answer either way.
        data: vec![0; 8].into(),
        timeout_ms: 500,
        may_connect: false,
    };
    let hello = Hello { engine_id: "impostor".into(), node_key: node.key.to_vec().into() };
    frames.send(EngineFrame { hello: Some(hello), ..EngineFrame::default() }).await?;
    frames.send(EngineFrame { queries: vec![query], ..EngineFrame::default() }).await?;
    let outgoing = futures::stream::unfold(outgoing, async |mut outgoing| Some((outgoing.recv().await?, outgoing)));
    let mut stream = GatewayServiceClient::new(connection).attach(Box::pin(outgoing)).await?.into_inner();
    while let Some(frame) = stream.message().await? {
        if let Some(result) = frame.results.first() {
            return match result.outcome.as_ref().context("no outcome")? {
                Outcome::Failure(failure) if *failure == i32::from(CallFailure::Dropped) => Ok(false),
                Outcome::Failure(failure) if *failure == i32::from(CallFailure::NotConnected) => {
                    bail!("no session with the peer")
                }
                _ => Ok(true),
            };
        }
    }
    bail!("the gateway ended the stream")
}
