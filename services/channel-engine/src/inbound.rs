//! What the gateways bring, on its way to the peers' tasks.

use std::sync::Arc;

use protocol::{Key, opening};
use rpc::gateway::v1::{
    IncomingQuery, OutgoingAnswer, ShardEpoch, SignAuthenticate, SignNodeRecord, SignedAuthenticate, SignedNodeRecord,
};
use signer::NodeRecord;
use tl::Object;
use tracing::{debug, warn};
use wire::Request;

use crate::{context::Context, gateways::Incoming, peer::Message};

/// Routes by peer. Nothing here blocks or waits.
pub struct Inbound(pub Arc<Context>);

impl Incoming for Inbound {
    fn query(&self, gateway: usize, query: IncomingQuery) {
        let ctx = &self.0;
        let request = match Request::from_boxed(&query.data) {
            Ok(request) => request,
            // Nothing is answered to what cannot be read (payments 0.4).
            Err(error) => return debug!(%error, "query of a peer cannot be read"),
        };
        if let Request::ProposeChannelConfig(request) = &request {
            // Needs no session of a known peer: terms are public (payments 1.4).
            let data = opening::answer_config(&ctx.policy, ctx.wallet, request).to_boxed();
            let owner = Key::try_from(&query.peer_key[..]).ok().map(|key| {
                let shard = store::shard_of(&key);
                ShardEpoch { shard: shard.into(), epoch: ctx.registry.epoch(shard).unwrap_or(0) }
            });
            return ctx.gateways.answer(gateway, OutgoingAnswer { query_id: query.query_id, owner, data: data.into() });
        }
        let Ok(peer) = Key::try_from(&query.peer_key[..]) else { return };
        // Not the owner: dropped, the peer repeats it to whoever is by then (design 3).
        if let Some(mailbox) = ctx.peer(&peer) {
            mailbox.query(Message::Query { gateway, query_id: query.query_id, request: Box::new(request) });
        }
    }

    fn session(&self, peer: Key, connected: bool) {
        if connected
            && self.0.hints.has_peer(&peer)
            && let Some(mailbox) = self.0.peer(&peer)
        {
            mailbox.send(Message::SessionUp);
        }
    }

    fn sign_authenticate(&self, gateway: usize, request: SignAuthenticate) {
        let ctx = self.0.clone();
        tokio::spawn(async move {
            let ids = (<[u8; 32]>::try_from(&request.own_adnl_id[..]), <[u8; 32]>::try_from(&request.peer_adnl_id[..]));
            let (Ok(own), Ok(peer)) = ids else { return };
            match ctx.signer.sign_authenticate(&own, &peer, request.timestamp_unix).await {
                Ok(signature) => ctx.gateways.authenticate(
                    gateway,
                    SignedAuthenticate {
                        request_id: request.request_id,
                        public_key: ctx.key.to_vec().into(),
                        signature: signature.to_vec().into(),
                    },
                ),
                Err(error) => warn!(%error, "session cannot be signed"),
            }
        });
    }

    fn sign_node_record(&self, gateway: usize, request: SignNodeRecord) {
        let ctx = self.0.clone();
        tokio::spawn(async move {
            let Ok(adnl_id) = <[u8; 32]>::try_from(&request.adnl_id[..]) else { return };
            let record = NodeRecord { adnl_id, expires_at: request.expires_at_unix };
            match ctx.signer.sign_node_record(&record).await {
                Ok(signed) => ctx.gateways.node_record(
                    gateway,
                    SignedNodeRecord {
                        request_id: request.request_id,
                        public_key: ctx.key.to_vec().into(),
                        description_signature: signed.description.to_vec().into(),
                        value_signature: signed.value.to_vec().into(),
                    },
                ),
                Err(error) => warn!(%error, "node record cannot be signed"),
            }
        });
    }
}
