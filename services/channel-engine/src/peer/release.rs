//! Effects on their way out. They are signed while the commit is under way and wait behind its verdict: a signature is made early, but it
//! leaves the process only after the state that it signs is committed (design 4.2).

use protocol::{Address, Alarm, CallId, Channel, Outgoing, Response, envelope::ToSign};
use rpc::gateway::v1::ShardEpoch;
use signer::{ContractMessage, Step};
use wire::Body;

use super::Asked;
use crate::{context::Context, gateways::Query};

/// An effect with its way out.
pub(super) enum Target {
    Reply { asked: Asked, answer: Response },
    Call { channel: Address, left: bool, generation: u64, call: CallId, request: Box<Outgoing>, step: Step },
    LoadDictionary { channel: Address, seqno: u64 },
    Alarm { channel: Address, alarm: Alarm },
}

/// An effect that is ready to leave.
pub(super) enum Release {
    Reply { asked: Asked, data: Vec<u8> },
    Call { channel: Address, generation: u64, call: CallId, proposed: Option<Body>, kind: &'static str, query: Query },
    LoadDictionary { channel: Address, seqno: u64 },
    Alarm { channel: Address, alarm: Alarm },
}

impl Release {
    /// Signs and encodes.
    pub(super) async fn prepare(ctx: &Context, targets: Vec<Target>) -> Result<Vec<Self>, signer::Error> {
        let mut out = Vec::with_capacity(targets.len());
        for target in targets {
            out.push(match target {
                Target::Reply { asked, answer } => {
                    let signature = sign(ctx, answer.to_sign(), Step::Answer).await?;
                    Self::Reply { asked, data: answer.into_answer(signature).to_boxed() }
                }
                Target::Call { channel, left, generation, call, request, step } => {
                    let signature = sign(ctx, request.to_sign(), step).await?;
                    let (proposed, timeout_ms, kind) = (request.proposed(), request.timeout_ms(), kind(&request));
                    let request = request.into_request(channel, left, signature);
                    let query = Query {
                        peer: [0; 32],
                        owner: ShardEpoch::default(),
                        rldp: request.over_rldp(),
                        data: request.to_boxed(),
                        timeout_ms,
                        may_connect: false,
                    };
                    Self::Call { channel, generation, call, proposed, kind, query }
                }
                Target::LoadDictionary { channel, seqno } => Self::LoadDictionary { channel, seqno },
                Target::Alarm { channel, alarm } => Self::Alarm { channel, alarm },
            });
        }
        Ok(out)
    }
}

/// What the metrics call it.
fn kind(request: &Outgoing) -> &'static str {
    match request {
        Outgoing::Propose { .. } => "propose",
        Outgoing::Lock { .. } | Outgoing::IsUnlocked { .. } => "lock",
        Outgoing::Request(_) | Outgoing::RequestClose(_) | Outgoing::RequestCommit(_) => "request",
    }
}

async fn sign(ctx: &Context, what: Option<ToSign<'_>>, step: Step) -> Result<Option<[u8; 64]>, signer::Error> {
    Ok(match what {
        None => None,
        Some(ToSign::State(state)) => Some(ctx.signer.sign_state(state, step).await?),
        Some(ToSign::Close(close)) => Some(ctx.signer.sign_contract(&ContractMessage::Close(close.clone())).await?),
        Some(ToSign::Commit(commit)) => Some(ctx.signer.sign_contract(&ContractMessage::Commit(commit.clone())).await?),
    })
}

/// What a body of ours is to the signer's guard: the agreed one, the pending action, or the settling increment on top of the agreed one.
pub(crate) fn step_of(channel: &Channel, body: &Body) -> Step {
    let row = channel.row();
    let agreed = row.our;
    match &row.pending {
        Some(pending) if *body == pending.first.body => Step::Action { agreed },
        Some(_) if body.seqno == agreed.seqno + 1 => Step::SettlingIncrement { agreed },
        _ => Step::Answer,
    }
}
