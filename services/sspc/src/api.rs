//! The gRPC service: values in, values out.

use std::sync::Arc;

use alloy_primitives::{Address, B256, keccak256};
use rpc::sspc::v1::channel_service_server::{ChannelService, ChannelServiceServer};
use rpc::sspc::v1::{Channel as Shown, *};
use rpc::{Error, ErrorCode};
use sspc::{Amount, ChainError, Channel, Envelope, Goal, Message, Params, Party, Phase, Place, Record, Refusal, RequestId};
use tonic::{Request, Response, Status};

use crate::node::Node;

/// Items of a page when the caller says nothing.
const PAGE: usize = 100;
/// Items of a page at most.
const MAX_PAGE: usize = 1_000;
/// See the module.
pub struct Api {
    node: Arc<Node>,
    place: Place,
    own: Address,
    /// Shortest period that the guard can watch, in seconds.
    least_period: u32,
}

/// A call that takes blocks: the goal, then the channel as it is.
macro_rules! reach {
    ($self:ident, $request:ident, $response:ident, $goal:expr) => {{
        let request = $request.into_inner();
        request_id(&request.request_id)?;
        let channel = $self.reach(key(&request.channel_key)?, $goal).await?;
        Ok(Response::new($response { channel: Some(channel) }))
    }};
}

impl Api {
    /// The service for a server. Channels with a shorter period than `least_period` (seconds) are not proposed.
    pub fn server(node: Arc<Node>, place: Place, own: Address, least_period: u32) -> ChannelServiceServer<Self> {
        ChannelServiceServer::new(Self { node, place, own, least_period })
    }

    async fn act(&self, key: &B256, work: impl AsyncFnOnce(&mut Channel) -> Result<(), sspc::Error>) -> Result<Shown, Error> {
        let done = self.node.with(key, async |channel| work(channel).await.map(|()| show(channel.record()))).await;
        done.map_err(|error| failure(&error))
    }

    async fn reach(&self, key: B256, goal: Goal) -> Result<Shown, Error> {
        self.node.reach(&key, goal).await.map_err(|error| failure(&error))?;
        self.look(&key, show).await
    }

    fn params(&self, request: &ProposeChannelRequest) -> Result<Params, Error> {
        request_id(&request.request_id)?;
        if request.period_seconds < self.least_period {
            let rule = format!("must be at least {}, so that the guard is in time", self.least_period);
            return Err(Error::field(ErrorCode::InvalidField, "period_seconds", rule));
        }
        let salt = keccak256(&request.request_id);
        let token = if request.token.is_empty() { Address::ZERO } else { address("token", &request.token)? };
        Ok(Params {
            a: self.own,
            b: address("peer_address", &request.peer_address)?,
            token,
            value_a: amount("own_deposit_units", &request.own_deposit_units)?,
            value_b: amount("peer_deposit_units", &request.peer_deposit_units)?,
            period: request.period_seconds,
            salt: u64::from_be_bytes(std::array::from_fn(|at| salt[at])),
        })
    }

    async fn pay(&self, request: &SendMoneyRequest) -> Result<SendMoneyResponse, Error> {
        let id = request_id(&request.request_id)?;
        let (key, units) = (key(&request.channel_key)?, amount("amount_units", &request.amount_units)?);
        let expected = request.expected_paid_units.as_deref().map(|text| amount("expected_paid_units", text)).transpose()?;
        let node = self.node.clone();
        // Of its own: a caller that goes away does not leave it half done.
        let paying = tokio::spawn(async move {
            let pay = async |channel: &mut Channel| {
                let record = channel.record();
                let unexpected = expected.filter(|expected| *expected != record.paid && record.paid_for(&id).is_none());
                if unexpected.is_some() {
                    return Ok(Err(record.paid));
                }
                channel.send_money_once(id, units).await?;
                Ok(Ok(paid(channel.record())))
            };
            let done = node.with(&key, pay).await;
            let Err(error) = done else { return done };
            // A storage that failed may have kept the payment all the same: then it is made, and the request is answered.
            let kept = async |channel: &mut Channel| {
                let made = channel.record().paid_for(&id) == Some(units);
                Ok(made.then(|| paid(channel.record())))
            };
            node.with(&key, kept).await.ok().flatten().map(Ok).ok_or(error)
        });
        let paid = paying.await.map_err(|_| Error::new(ErrorCode::Internal))?;
        paid.map_err(|error| failure(&error))?.map_err(|paid: Amount| {
            let rule = format!("must be {paid}: something else was paid meanwhile, or this was");
            Error::field(ErrorCode::ChannelNotActive, "expected_paid_units", rule)
        })
    }

    async fn propose(&self, request: &ProposeChannelRequest) -> Result<ProposeChannelResponse, Error> {
        let params = self.params(request)?;
        if self.node.proposed_by_us(params.salt).is_some_and(|known| known != params) {
            return Err(Error::new(ErrorCode::RequestIdReused));
        }
        let node = self.node.clone();
        let place = self.place;
        let proposed = tokio::spawn(async move { node.propose(place, params).await });
        let key = proposed.await.map_err(|_| Error::new(ErrorCode::Internal))?.map_err(|error| failure(&error))?;
        let shown = |record: &Record| {
            let envelope = sealed(record, Some(Message::Propose { place, params, expires: record.expires }));
            ProposeChannelResponse { channel: Some(show(record)), envelope }
        };
        self.look(&key, shown).await
    }

    async fn take_proposal(&self, request: &TakeProposalRequest) -> Result<Shown, Error> {
        request_id(&request.request_id)?;
        let proposal = envelope(&request.envelope)?;
        let refused = |rule: &str| Err(Error::field(ErrorCode::InvalidField, "envelope", rule.to_owned()));
        match &proposal.message {
            Message::Propose { place, .. } if *place != self.place => return refused("must propose the configured contract"),
            Message::Propose { params, .. } if params.b != self.own => return refused("must propose to this service's account"),
            Message::Propose { params, .. } if params.period < self.least_period => {
                return refused("must propose a period that the guard can watch");
            }
            Message::Propose { .. } => {}
            _ => return refused("must be a proposal"),
        }
        let node = self.node.clone();
        let taken = tokio::spawn(async move { node.take_proposal(proposal).await });
        let key = taken.await.map_err(|_| Error::new(ErrorCode::Internal))?.map_err(|error| failure(&error))?;
        self.look(&key, show).await
    }

    /// Takes a message of the peer; answers are those that it would get over a stream, where they go as well.
    async fn take(&self, bytes: &[u8]) -> Result<ReceiveMoneyResponse, Error> {
        let letter = envelope(bytes)?;
        let key = letter.channel;
        let before = self.look(&key, |record| record.given).await?;
        self.act(&key, async |channel| channel.handle(&[letter]).await).await?;
        let answer = |record: &Record| {
            let again = record.payment().filter(|_| record.given != before);
            let answers = [Some(record.acknowledgement()), again];
            let envelopes = answers.into_iter().filter(Option::is_some).map(|message| sealed(record, message)).collect();
            ReceiveMoneyResponse { channel: Some(show(record)), envelopes }
        };
        self.look(&key, answer).await
    }

    async fn sign_close(&self, request: &CreateCoopCloseRequest) -> Result<CreateCoopCloseResponse, Error> {
        request_id(&request.request_id)?;
        let (key, node) = (key(&request.channel_key)?, self.node.clone());
        let work = async move {
            let close = async |channel: &mut Channel| {
                let close = channel.create_coop_close().await?;
                let envelope = sealed(channel.record(), Some(Message::CloseOffer(close)));
                Ok(CreateCoopCloseResponse { channel: Some(show(channel.record())), envelope })
            };
            node.with(&key, close).await
        };
        let signed = tokio::spawn(work).await.map_err(|_| Error::new(ErrorCode::Internal))?;
        signed.map_err(|error| failure(&error))
    }

    async fn submit_close(&self, request: &CoopCloseRequest) -> Result<Shown, Error> {
        request_id(&request.request_id)?;
        let key = key(&request.channel_key)?;
        if !request.envelope.is_empty() {
            let letter = envelope(&request.envelope)?;
            if letter.channel != key || !matches!(letter.message, Message::CloseOffer(_)) {
                return Err(Error::field(ErrorCode::InvalidField, "envelope", "must be the peer's close of this channel"));
            }
            self.act(&key, async |channel| channel.handle(&[letter]).await).await?;
        }
        self.reach(key, Goal::CoopClose).await
    }

    /// The channel as it is kept.
    async fn look<T>(&self, key: &B256, show: impl FnOnce(&Record) -> T) -> Result<T, Error> {
        self.node.with(key, async |channel| Ok(show(channel.record()))).await.map_err(|error| failure(&error))
    }

    async fn page(&self, request: &ListChannelsRequest) -> Result<ListChannelsResponse, Error> {
        let size = match request.page_size as usize {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(token.parse::<B256>().map_err(|_| Error::new(ErrorCode::InvalidPageToken))?),
        };
        let mut keys = self.node.keys();
        keys.sort_unstable();
        keys.retain(|key| after.is_none_or(|after| *key > after));
        let more = keys.len() > size;
        keys.truncate(size);
        let next_page_token = keys.last().filter(|_| more).map(ToString::to_string).unwrap_or_default();
        let mut channels = Vec::with_capacity(keys.len());
        for key in &keys {
            channels.push(self.look(key, show).await?);
        }
        Ok(ListChannelsResponse { channels, next_page_token })
    }
}

#[tonic::async_trait]
impl ChannelService for Api {
    async fn propose_channel(&self, request: Request<ProposeChannelRequest>) -> Result<Response<ProposeChannelResponse>, Status> {
        Ok(Response::new(self.propose(request.get_ref()).await?))
    }

    async fn take_proposal(&self, request: Request<TakeProposalRequest>) -> Result<Response<TakeProposalResponse>, Status> {
        let channel = Self::take_proposal(self, request.get_ref()).await?;
        Ok(Response::new(TakeProposalResponse { channel: Some(channel) }))
    }

    async fn get_channel(&self, request: Request<GetChannelRequest>) -> Result<Response<GetChannelResponse>, Status> {
        let channel = self.look(&key(&request.get_ref().channel_key)?, show).await?;
        Ok(Response::new(GetChannelResponse { channel: Some(channel) }))
    }

    async fn list_channels(&self, request: Request<ListChannelsRequest>) -> Result<Response<ListChannelsResponse>, Status> {
        Ok(Response::new(self.page(request.get_ref()).await?))
    }

    async fn open_channel(&self, request: Request<OpenChannelRequest>) -> Result<Response<OpenChannelResponse>, Status> {
        let request = request.into_inner();
        request_id(&request.request_id)?;
        let key = key(&request.channel_key)?;
        let channel = self.reach(key, Goal::Open).await?;
        let envelope = self.look(&key, |record| sealed(record, record.id.map(Message::Opened))).await?;
        Ok(Response::new(OpenChannelResponse { channel: Some(channel), envelope }))
    }

    async fn accept_channel(&self, request: Request<AcceptChannelRequest>) -> Result<Response<AcceptChannelResponse>, Status> {
        reach!(self, request, AcceptChannelResponse, Goal::Accept)
    }

    async fn cancel_channel(&self, request: Request<CancelChannelRequest>) -> Result<Response<CancelChannelResponse>, Status> {
        reach!(self, request, CancelChannelResponse, Goal::Cancel)
    }

    async fn send_money(&self, request: Request<SendMoneyRequest>) -> Result<Response<SendMoneyResponse>, Status> {
        Ok(Response::new(self.pay(request.get_ref()).await?))
    }

    async fn receive_money(&self, request: Request<ReceiveMoneyRequest>) -> Result<Response<ReceiveMoneyResponse>, Status> {
        request_id(&request.get_ref().request_id)?;
        Ok(Response::new(self.take(&request.get_ref().envelope).await?))
    }

    async fn create_coop_close(
        &self,
        request: Request<CreateCoopCloseRequest>,
    ) -> Result<Response<CreateCoopCloseResponse>, Status> {
        Ok(Response::new(self.sign_close(request.get_ref()).await?))
    }

    async fn coop_close(&self, request: Request<CoopCloseRequest>) -> Result<Response<CoopCloseResponse>, Status> {
        let channel = self.submit_close(request.get_ref()).await?;
        Ok(Response::new(CoopCloseResponse { channel: Some(channel) }))
    }

    async fn start_force_close(
        &self,
        request: Request<StartForceCloseRequest>,
    ) -> Result<Response<StartForceCloseResponse>, Status> {
        reach!(self, request, StartForceCloseResponse, Goal::StartForceClose)
    }

    async fn dispute_force_close(
        &self,
        request: Request<DisputeForceCloseRequest>,
    ) -> Result<Response<DisputeForceCloseResponse>, Status> {
        reach!(self, request, DisputeForceCloseResponse, Goal::DisputeForceClose)
    }

    async fn finish_force_close(
        &self,
        request: Request<FinishForceCloseRequest>,
    ) -> Result<Response<FinishForceCloseResponse>, Status> {
        reach!(self, request, FinishForceCloseResponse, Goal::FinishForceClose)
    }

    async fn withdraw(&self, request: Request<WithdrawRequest>) -> Result<Response<WithdrawResponse>, Status> {
        let request = request.into_inner();
        request_id(&request.request_id)?;
        let (key, to) = (key(&request.channel_key)?, address("to_address", &request.to_address)?);
        let done = self.node.reach(&key, Goal::Withdraw(to)).await.map_err(|error| failure(&error))?;
        Ok(Response::new(WithdrawResponse { amount_units: done.withdrawn().to_string() }))
    }
}

fn envelope(bytes: &[u8]) -> Result<Envelope, Error> {
    Envelope::decode(bytes).map_err(|error| Error::field(ErrorCode::InvalidField, "envelope", error.to_string()))
}

/// A message to the peer as it stands on a stream; nothing when there is none.
fn sealed(record: &Record, message: Option<Message>) -> Vec<u8> {
    message.map_or_else(Vec::new, |message| Envelope { channel: record.key(), message }.encode())
}

fn paid(record: &Record) -> SendMoneyResponse {
    SendMoneyResponse { channel: Some(show(record)), envelope: sealed(record, record.payment()) }
}

fn show(record: &Record) -> Shown {
    let (params, state) = (record.params, record.current());
    let (balances, deadline_unix) = match record.phase {
        Phase::Closed(paid_out) => (paid_out, 0),
        Phase::Closing(closing) => (state.balances, closing.deadline),
        _ => (state.balances, 0),
    };
    Shown {
        channel_key: record.key().to_vec(),
        address_a: params.a.to_vec(),
        address_b: params.b.to_vec(),
        token: params.token.to_vec(),
        deposit_a_units: params.value_a.to_string(),
        deposit_b_units: params.value_b.to_string(),
        period_seconds: params.period,
        is_b: record.role == Party::B,
        phase: phase(&record.phase).into(),
        round: state.round.get(),
        balance_a_units: balances.a.to_string(),
        balance_b_units: balances.b.to_string(),
        paid_units: record.paid.to_string(),
        acknowledged_units: record.acknowledged.to_string(),
        received_units: record.received.to_string(),
        close_offered: record.offer.is_some(),
        deadline_unix,
        expires_unix: record.expires,
        fees_wei: record.fees.to_string(),
    }
}

fn phase(phase: &Phase) -> ChannelPhase {
    match phase {
        Phase::Draft => ChannelPhase::Draft,
        Phase::Proposed => ChannelPhase::Proposed,
        Phase::Open => ChannelPhase::Open,
        Phase::CloseSigned(_) => ChannelPhase::CloseSigned,
        Phase::Leaving => ChannelPhase::Leaving,
        Phase::Closing(_) => ChannelPhase::Closing,
        Phase::Closed(_) => ChannelPhase::Closed,
        Phase::Cancelled => ChannelPhase::Cancelled,
    }
}

/// What a caller can do about it.
fn failure(error: &sspc::Error) -> Error {
    use sspc::Error as Why;
    let code = match error {
        Why::Unknown => ErrorCode::ChannelUnknown,
        Why::Refused(Refusal::Funds { .. }) => ErrorCode::InsufficientBalance,
        Why::Refused(Refusal::Nothing) => ErrorCode::AmountOutOfRange,
        Why::Refused(Refusal::Unacknowledged { .. }) => ErrorCode::PeerUnreachable,
        Why::Refused(Refusal::TooDear(_)) | Why::Chain(ChainError::TooDear(_)) => ErrorCode::FeeTooHigh,
        Why::Refused(_) | Why::Failed | Why::Expired(_) | Why::Chain(ChainError::Reverted(_) | ChainError::OtherTerms(_)) => {
            ErrorCode::ChannelNotActive
        }
        Why::Forged | Why::NotOurs => ErrorCode::PeerRefused,
        Why::Params(_) | Why::OtherChain { .. } => ErrorCode::InvalidField,
        Why::Chain(_) => ErrorCode::ChainBehind,
        Why::Timeout => ErrorCode::Timeout,
        Why::RequestUsed(_) => ErrorCode::RequestIdReused,
        Why::Store(_) | Why::Sign(_) | Why::Replaced | Why::Reload => ErrorCode::Unavailable,
        Why::Account(_) => ErrorCode::Internal,
    };
    Error::with_message(code, error)
}

fn request_id(text: &str) -> Result<RequestId, Error> {
    // 8-4-4-4-12 hex digits.
    let groups: Vec<&str> = text.split('-').collect();
    let mut id = RequestId::default();
    let lengths = groups.iter().map(|group| group.len());
    let valid = lengths.eq([8, 4, 4, 4, 12]) && hex::decode_to_slice(groups.concat(), &mut id).is_ok();
    if valid { Ok(id) } else { Err(Error::field(ErrorCode::InvalidRequestId, "request_id", "must be a UUID")) }
}

fn key(bytes: &[u8]) -> Result<B256, Error> {
    bytes.try_into().map_err(|_| Error::field(ErrorCode::InvalidField, "channel_key", "must be 32 bytes"))
}

fn address(field: &str, bytes: &[u8]) -> Result<Address, Error> {
    bytes.try_into().map_err(|_| Error::field(ErrorCode::InvalidField, field, "must be 20 bytes"))
}

fn amount(field: &str, text: &str) -> Result<Amount, Error> {
    let plain = text == "0" || (!text.starts_with('0') && text.bytes().all(|byte| byte.is_ascii_digit()));
    let units = text.parse().ok().filter(|_| plain);
    units.map(Amount::new).ok_or_else(|| Error::field(ErrorCode::InvalidAmount, field, "must be decimal text below 2^128"))
}
