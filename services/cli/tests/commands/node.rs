//! A small node for the tests: one channel, answers by rule, a record of what was asked.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use rpc::engine::v1::channel_service_server::{ChannelService, ChannelServiceServer};
use rpc::engine::v1::*;
use rpc::{Error, ErrorCode, Health, Server, ServerConfig};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub const CHANNEL: &str = "0:a41536b250660cea2e2b6a16931515ec38fca732dd7d35a66cd291909c2dc02a";
pub const VIRTUAL: [u8; 32] = [0x77; 32];
pub const SEED: [u8; 32] = [0x5e; 32];
/// The node answers a payment to this receiver with a failure, to the next one with nothing final, to the next one too late.
pub const FAILS: [u8; 32] = [0xfa; 32];
pub const PENDS: [u8; 32] = [0xfb; 32];
pub const HANGS: [u8; 32] = [0xfc; 32];

#[derive(Clone, Default)]
pub struct Node {
    pub asked: Arc<Mutex<Asked>>,
}

#[derive(Default)]
pub struct Asked {
    pub opened: Vec<OpenChannelRequest>,
    pub topped_up: Vec<TopUpRequest>,
    pub withdrawn: Vec<WithdrawRequest>,
    pub lifted: Vec<LiftSuspensionRequest>,
    pub virtuals: Vec<OpenVirtualRequest>,
    pub sent: Vec<SendTransferRequest>,
    pub signed: Vec<SignResolutionRequest>,
    pub claimed: Vec<CloseVirtualRequest>,
    pub closed: Vec<CloseChannelRequest>,
}

/// A node that serves until the token is dropped.
pub struct Running {
    pub node: Node,
    pub url: String,
    shutdown: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

pub async fn start() -> Running {
    start_with(ServerConfig::plain).await
}

pub async fn start_with(config: impl FnOnce(SocketAddr) -> ServerConfig) -> Running {
    let node = Node::default();
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let server = Server::new(&config(listen), "server", &Health::new()).await.unwrap();
    let bound = server.add_service(ChannelServiceServer::new(node.clone())).bind().await.unwrap();
    let url = format!("http://{}", bound.local_addr());
    let shutdown = CancellationToken::new();
    tokio::spawn(bound.serve(shutdown.clone()));
    Running { node, url, shutdown }
}

fn side(available: &str) -> Option<ChannelSide> {
    Some(ChannelSide { available_nano: available.into(), locked_nano: "0".into(), ..ChannelSide::default() })
}

fn channel(status: ChannelStatus) -> Channel {
    Channel {
        address: CHANNEL.into(),
        peer_key: vec![0xbb; 32],
        status: status.into(),
        our: side("1500000000"),
        their: side("-1"),
        ..Channel::default()
    }
}

fn virtual_channel(status: VirtualStatus) -> Virtual {
    Virtual { virtual_key: VIRTUAL.to_vec(), status: status.into(), role: VirtualRole::Receiver.into(), ..Virtual::default() }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ChannelService for Node {
    async fn get_info(&self, _: Request<GetInfoRequest>) -> Answer<GetInfoResponse> {
        let service = ServiceHealth { service: "peer-gateway".into(), detail: "the database".into(), ..ServiceHealth::default() };
        let node_key = vec![0xaa; 32];
        Ok(Response::new(GetInfoResponse { node_key, services: vec![service], ..GetInfoResponse::default() }))
    }

    async fn get_balance(&self, _: Request<GetBalanceRequest>) -> Answer<GetBalanceResponse> {
        let balance = Balance { wallet_nano: "1329227995784915872903807060280344575".into(), ..Balance::default() };
        Ok(Response::new(GetBalanceResponse { balances: vec![balance] }))
    }

    /// Three peers on three pages.
    async fn list_peers(&self, request: Request<ListPeersRequest>) -> Answer<ListPeersResponse> {
        let page: u8 = request.into_inner().page_token.parse().unwrap_or(0);
        let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
        let peers = vec![Peer { node_key: vec![page; 32], ..Peer::default() }];
        Ok(Response::new(ListPeersResponse { peers, next_page_token }))
    }

    /// Each page has the same channel, for ever.
    async fn list_channels(&self, request: Request<ListChannelsRequest>) -> Answer<ListChannelsResponse> {
        let request = request.into_inner();
        if request.peer_key == FAILS {
            return Ok(Response::new(ListChannelsResponse::default()));
        }
        let next_page_token = format!("{}+", request.page_token);
        Ok(Response::new(ListChannelsResponse { channels: vec![channel(ChannelStatus::Active)], next_page_token }))
    }

    async fn get_channel(&self, request: Request<GetChannelRequest>) -> Answer<GetChannelResponse> {
        if request.into_inner().address != CHANNEL {
            return Err(Error::new(ErrorCode::ChannelUnknown).into());
        }
        Ok(Response::new(GetChannelResponse { channel: Some(channel(ChannelStatus::Active)) }))
    }

    async fn open_channel(&self, request: Request<OpenChannelRequest>) -> Answer<OpenChannelResponse> {
        let request = request.into_inner();
        let unreachable = request.peer_key == HANGS;
        self.asked.lock().unwrap().opened.push(request);
        if unreachable {
            return Err(Error::new(ErrorCode::PeerUnreachable).into());
        }
        Ok(Response::new(OpenChannelResponse { channel: Some(channel(ChannelStatus::Pending)) }))
    }

    async fn top_up(&self, request: Request<TopUpRequest>) -> Answer<TopUpResponse> {
        self.asked.lock().unwrap().topped_up.push(request.into_inner());
        Ok(Response::new(TopUpResponse {}))
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Answer<WithdrawResponse> {
        self.asked.lock().unwrap().withdrawn.push(request.into_inner());
        Ok(Response::new(WithdrawResponse {}))
    }

    async fn lift_suspension(&self, request: Request<LiftSuspensionRequest>) -> Answer<LiftSuspensionResponse> {
        self.asked.lock().unwrap().lifted.push(request.into_inner());
        Ok(Response::new(LiftSuspensionResponse {}))
    }

    async fn close_channel(&self, request: Request<CloseChannelRequest>) -> Answer<CloseChannelResponse> {
        let request = request.into_inner();
        let force = request.force;
        self.asked.lock().unwrap().closed.push(request);
        if !force {
            return Err(Error::new(ErrorCode::ConditionalsOpen).into());
        }
        Ok(Response::new(CloseChannelResponse { channel: Some(channel(ChannelStatus::Closing)) }))
    }

    async fn open_virtual(&self, request: Request<OpenVirtualRequest>) -> Answer<OpenVirtualResponse> {
        let request = request.into_inner();
        let refused = request.ttl_seconds < 60;
        self.asked.lock().unwrap().virtuals.push(request);
        if refused {
            return Err(Error::field(ErrorCode::InvalidTtl, "ttl_seconds", "must be at least 60").into());
        }
        let (virtual_key, virtual_seed) = (VIRTUAL.to_vec(), SEED.to_vec());
        Ok(Response::new(OpenVirtualResponse { virtual_key, virtual_seed, deadline_unix: 1, fee_nano: "5".into() }))
    }

    async fn send_transfer(&self, request: Request<SendTransferRequest>) -> Answer<SendTransferResponse> {
        let request = request.into_inner();
        let receiver = request.receiver_key.clone();
        self.asked.lock().unwrap().sent.push(request);
        if receiver == HANGS {
            std::future::pending::<()>().await;
        }
        let (status, failure) = match receiver {
            key if key == FAILS => (TransferStatus::Failed, "the receiver refused".to_owned()),
            key if key == PENDS => (TransferStatus::Pending, String::new()),
            _ => (TransferStatus::Paid, String::new()),
        };
        let answer = SendTransferResponse { virtual_key: VIRTUAL.to_vec(), fee_nano: "7".into(), failure, ..Default::default() };
        Ok(Response::new(SendTransferResponse { status: status.into(), ..answer }))
    }

    async fn get_virtual(&self, request: Request<GetVirtualRequest>) -> Answer<GetVirtualResponse> {
        if request.into_inner().virtual_key != VIRTUAL {
            return Err(Error::new(ErrorCode::VirtualUnknown).into());
        }
        Ok(Response::new(GetVirtualResponse { r#virtual: Some(virtual_channel(VirtualStatus::Active)) }))
    }

    async fn list_virtuals(&self, _: Request<ListVirtualsRequest>) -> Answer<ListVirtualsResponse> {
        let virtuals = vec![virtual_channel(VirtualStatus::Active)];
        Ok(Response::new(ListVirtualsResponse { virtuals, ..ListVirtualsResponse::default() }))
    }

    async fn sign_resolution(&self, request: Request<SignResolutionRequest>) -> Answer<SignResolutionResponse> {
        self.asked.lock().unwrap().signed.push(request.into_inner());
        Ok(Response::new(SignResolutionResponse { encrypted_state: "c2VhbGVk".into() }))
    }

    async fn close_virtual(&self, request: Request<CloseVirtualRequest>) -> Answer<CloseVirtualResponse> {
        self.asked.lock().unwrap().claimed.push(request.into_inner());
        Ok(Response::new(CloseVirtualResponse { r#virtual: Some(virtual_channel(VirtualStatus::Closing)) }))
    }
}
