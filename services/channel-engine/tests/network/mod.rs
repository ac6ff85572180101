//! A network of engines without sockets: each node's gateway is a real gRPC service behind the in-process seam that hands queries straight to the
//! other node's gateway. The protobuf, the TL bytes, the engines and Postgres are the real ones.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::Stream;
use protocol::Key;
use rpc::gateway::v1::{
    gateway_service_server::{GatewayService, GatewayServiceServer},
    *,
};
use rpc::{Connection, Health, InProcess, Server};
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::ReceiverStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// Who is attached, and which call waits for the answer to which query.
#[derive(Default)]
pub struct Network {
    engines: Mutex<HashMap<Key, mpsc::Sender<GatewayFrame>>>,
    waiting: Mutex<HashMap<u64, (Key, u64)>>,
    next_query: AtomicU64,
}

impl Network {
    /// The gateway of one node.
    pub async fn gateway(self: &Arc<Self>, node: Key, stop: &CancellationToken) -> Connection {
        let (client, listener) = InProcess::new();
        let service = GatewayServiceServer::new(Gateway { network: self.clone(), node });
        let server = Server::in_process(&Health::new()).await.add_service(service);
        tokio::spawn(server.serve_in_process(listener, stop.clone()));
        client.connect()
    }

    fn send(&self, to: &Key, frame: GatewayFrame) -> bool {
        let engines = self.engines.lock().unwrap();
        engines.get(to).is_some_and(|tx| tx.try_send(frame).is_ok())
    }

    fn attach(&self, node: Key, tx: mpsc::Sender<GatewayFrame>) {
        let others: Vec<Key> = self.engines.lock().unwrap().keys().copied().filter(|k| *k != node).collect();
        self.engines.lock().unwrap().insert(node, tx);
        let session = |peer: &Key| PeerSession { peer_key: peer.to_vec().into(), connected: true };
        let sessions = others.iter().map(session).collect();
        self.send(&node, GatewayFrame { sessions, ..Default::default() });
        for other in &others {
            self.send(other, GatewayFrame { sessions: vec![session(&node)], ..Default::default() });
        }
    }

    /// No answer in time: as with the real gateway, nobody knows what the peer did.
    fn expire(self: &Arc<Self>, query: u64, after: Duration) {
        let network = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            let Some((asker, call_id)) = network.waiting.lock().unwrap().remove(&query) else { return };
            let outcome = Some(call_result::Outcome::Failure(CallFailure::Timeout.into()));
            network.send(&asker, GatewayFrame { results: vec![CallResult { call_id, outcome }], ..Default::default() });
        });
    }

    fn frame(self: &Arc<Self>, from: Key, frame: EngineFrame) {
        for query in frame.queries {
            let peer = Key::try_from(&query.peer_key[..]).unwrap();
            let id = self.next_query.fetch_add(1, Ordering::Relaxed);
            self.waiting.lock().unwrap().insert(id, (from, query.call_id));
            self.expire(id, Duration::from_millis(query.timeout_ms.min(3_000).into()));
            let incoming =
                IncomingQuery { query_id: id, peer_key: from.to_vec().into(), transport: query.transport, data: query.data };
            if !self.send(&peer, GatewayFrame { queries: vec![incoming], ..Default::default() }) {
                self.waiting.lock().unwrap().remove(&id);
                let failure = call_result::Outcome::Failure(CallFailure::NotConnected.into());
                let result = CallResult { call_id: query.call_id, outcome: Some(failure) };
                self.send(&from, GatewayFrame { results: vec![result], ..Default::default() });
            }
        }
        for answer in frame.answers {
            let Some((asker, call_id)) = self.waiting.lock().unwrap().remove(&answer.query_id) else { continue };
            let result = CallResult { call_id, outcome: Some(call_result::Outcome::Answer(answer.data)) };
            self.send(&asker, GatewayFrame { results: vec![result], ..Default::default() });
        }
    }
}

struct Gateway {
    network: Arc<Network>,
    node: Key,
}

#[tonic::async_trait]
impl GatewayService for Gateway {
    type AttachStream = Pin<Box<dyn Stream<Item = Result<GatewayFrame, Status>> + Send>>;

    async fn attach(&self, request: Request<Streaming<EngineFrame>>) -> Result<Response<Self::AttachStream>, Status> {
        let (tx, rx) = mpsc::channel(4096);
        self.network.attach(self.node, tx);
        let (network, node) = (self.network.clone(), self.node);
        let mut frames = request.into_inner();
        tokio::spawn(async move {
            while let Ok(Some(frame)) = frames.message().await {
                network.frame(node, frame);
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(rx).map(Ok))))
    }

    async fn list_peers(&self, _: Request<ListPeersRequest>) -> Result<Response<ListPeersResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn ping_peer(&self, _: Request<PingPeerRequest>) -> Result<Response<PingPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn connect_peer(&self, _: Request<ConnectPeerRequest>) -> Result<Response<ConnectPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn disconnect_peer(&self, _: Request<DisconnectPeerRequest>) -> Result<Response<DisconnectPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
    async fn query_peer(&self, _: Request<QueryPeerRequest>) -> Result<Response<QueryPeerResponse>, Status> {
        Err(Status::unimplemented("not in this network"))
    }
}
