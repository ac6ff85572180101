//! The gRPC service: values in, values out.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::Key;
use protocol::route::MAX_HOPS;
use rpc::common::v1::{ChainHop, Coin, RouteHop, coin};
use rpc::planner::v1::planner_service_server::{PlannerService, PlannerServiceServer};
use rpc::planner::v1::*;
use rpc::{Error, ErrorCode};
use tonic::{Response, Status};

use crate::lock;
use crate::planner::{Fixed, Planner, Request};

/// Items of a page when the caller says nothing.
const PAGE: usize = 100;
/// Items of a page at most.
const MAX_PAGE: usize = 1_000;
/// Nodes that a request may exclude.
const MAX_EXCLUDED: usize = 1_000;
/// Reports that are remembered, so that a repeated one counts once.
const MAX_REPORTS: usize = 10_000;

pub(crate) struct Service {
    planner: Arc<Planner>,
    /// Most hops when the caller says nothing.
    max_hops: usize,
    reports: Mutex<Reports>,
}

/// Ids of the last reports.
#[derive(Default)]
struct Reports {
    known: HashSet<String>,
    order: VecDeque<String>,
}

impl Reports {
    /// Whether a report is new; it is remembered.
    fn is_new(&mut self, id: &str) -> bool {
        if !self.known.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > MAX_REPORTS
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }
}

impl Service {
    pub fn server(planner: Arc<Planner>, max_hops: usize) -> PlannerServiceServer<Self> {
        PlannerServiceServer::new(Self { planner, max_hops, reports: Mutex::default() })
    }

    fn request(&self, request: &FindRouteRequest) -> Result<Request, Error> {
        only_ton(request.coin.as_ref())?;
        let (from, to) = (key("from_key", &request.from_key)?, key("to_key", &request.to_key)?);
        if from == to {
            return Err(Error::field(ErrorCode::InvalidField, "to_key", "must not be the sender's"));
        }
        let max_hops = match request.max_hops as usize {
            0 => self.max_hops,
            hops if hops > MAX_HOPS => {
                return Err(Error::field(ErrorCode::ChainTooLong, "max_hops", format!("must be at most {MAX_HOPS}")));
            }
            hops => hops,
        };
        if request.excluded_keys.len() > MAX_EXCLUDED {
            return Err(Error::field(ErrorCode::InvalidField, "excluded_keys", format!("must be at most {MAX_EXCLUDED}")));
        }
        let excluded = request.excluded_keys.iter().enumerate();
        let excluded = excluded.map(|(i, bytes)| key(&format!("excluded_keys[{i}]"), bytes)).collect::<Result<Vec<_>, _>>()?;
        let amount = nano("amount_nano", &request.amount_nano)?;
        if amount == 0 {
            return Err(Error::field(ErrorCode::AmountOutOfRange, "amount_nano", "must be above zero"));
        }
        let chain = chain(&request.exact_chain, &to, max_hops)?;
        Ok(Request { from, to, amount, ttl: request.ttl_seconds, max_hops, excluded, chain })
    }
}

#[tonic::async_trait]
impl PlannerService for Service {
    async fn find_route(&self, request: tonic::Request<FindRouteRequest>) -> Result<Response<FindRouteResponse>, Status> {
        let request = self.request(request.get_ref())?;
        let hops = self.planner.find(&request).await?;
        let total_fee_nano = hops.first().map_or(0, |hop| hop.fee).to_string();
        let hops = hops.iter().map(|hop| RouteHop {
            node_key: hop.target.to_vec(),
            capacity_nano: hop.capacity.to_string(),
            fee_nano: hop.fee.to_string(),
            deadline_offset_seconds: hop.deadline.into(),
        });
        Ok(Response::new(FindRouteResponse { hops: hops.collect(), total_fee_nano }))
    }

    async fn report_attempt(
        &self,
        request: tonic::Request<ReportAttemptRequest>,
    ) -> Result<Response<ReportAttemptResponse>, Status> {
        let request = request.into_inner();
        if uuid::Uuid::parse_str(&request.request_id).is_err() {
            return Err(Error::field(ErrorCode::InvalidRequestId, "request_id", "must be a UUID").into());
        }
        only_ton(request.coin.as_ref())?;
        let from = key("from_key", &request.from_key)?;
        let lessons = lessons(from, &request.hops)?;
        if lock(&self.reports).is_new(&request.request_id) {
            for lesson in lessons {
                let learnt = self.planner.learn(&lesson.payer, &lesson.node, lesson.amount, lesson.passed).await;
                learnt.map_err(|error| Error::with_message(ErrorCode::Unavailable, error))?;
            }
        }
        Ok(Response::new(ReportAttemptResponse {}))
    }

    async fn list_nodes(&self, request: tonic::Request<ListNodesRequest>) -> Result<Response<ListNodesResponse>, Status> {
        let request = request.into_inner();
        let after = match request.page_token.as_str() {
            "" => None,
            token => Some(page_token(token)?),
        };
        let size = match request.page_size as usize {
            0 => PAGE,
            size => size.min(MAX_PAGE),
        };
        let found = self.planner.nodes(after.as_ref(), size);
        let next_page_token =
            if found.len() == size { found.last().map_or(String::new(), |(key, ..)| hex::encode(key)) } else { String::new() };
        let nodes = found.into_iter().map(|(key, channels, terms)| GraphNode {
            node_key: key.to_vec(),
            channels,
            terms: terms.map(|terms| NodeTerms {
                forwards: terms.allowed,
                min_fee_nano: terms.min_fee.to_string(),
                max_capacity_nano: terms.max_capacity.to_string(),
                fee_percent: terms.percent,
                told_at_unix: unix(terms.asked_at),
            }),
        });
        Ok(Response::new(ListNodesResponse { nodes: nodes.collect(), next_page_token }))
    }
}

/// What an attempt teaches of one payer and whom it pays.
#[derive(Debug, PartialEq, Eq)]
struct Lesson {
    payer: Key,
    node: Key,
    amount: u128,
    passed: bool,
}

/// A hop that agreed has passed the amount, one that did not has failed. Behind a hop that never answered for the rest, nothing is known
/// but that the next one failed, if it is named.
fn lessons(from: Key, hops: &[HopReport]) -> Result<Vec<Lesson>, Error> {
    if hops.len() > MAX_HOPS {
        return Err(Error::field(ErrorCode::ChainTooLong, "hops", format!("must be at most {MAX_HOPS}")));
    }
    let mut lessons = Vec::with_capacity(hops.len());
    let mut payer = from;
    for (i, hop) in hops.iter().enumerate() {
        let node = key(&format!("hops[{i}].node_key"), &hop.node_key)?;
        let amount = nano(&format!("hops[{i}].amount_nano"), &hop.amount_nano)?;
        let behind_unknown = i > 0 && hops[i - 1].result() == HopResult::Unknown;
        let passed = match hop.result() {
            HopResult::Agreed | HopResult::Unknown => !behind_unknown,
            HopResult::Refused | HopResult::Unreachable => false,
            HopResult::Unspecified => {
                return Err(Error::field(ErrorCode::InvalidField, format!("hops[{i}].result"), "must say what happened"));
            }
        };
        lessons.push(Lesson { payer, node, amount, passed });
        if !passed {
            break;
        }
        payer = node;
    }
    Ok(lessons)
}

fn chain(hops: &[ChainHop], receiver: &Key, max_hops: usize) -> Result<Vec<Fixed>, Error> {
    if hops.len() > max_hops {
        return Err(Error::field(ErrorCode::ChainTooLong, "exact_chain", format!("must have at most {max_hops} nodes")));
    }
    let fixed = hops.iter().enumerate().map(|(i, hop)| {
        let field = |name: &str| format!("exact_chain[{i}].{name}");
        let fee = hop.fee_nano.as_deref().map(|text| nano(&field("fee_nano"), text)).transpose()?;
        if fee.is_some() && i + 1 == hops.len() {
            return Err(Error::field(ErrorCode::InvalidField, field("fee_nano"), "must be absent at the receiver"));
        }
        Ok(Fixed { key: key(&field("node_key"), &hop.node_key)?, fee, gap: hop.deadline_gap_seconds.map(u64::from) })
    });
    let fixed = fixed.collect::<Result<Vec<_>, _>>()?;
    match fixed.last() {
        Some(last) if last.key != *receiver => {
            Err(Error::field(ErrorCode::InvalidField, "exact_chain", "must end with the receiver"))
        }
        _ => Ok(fixed),
    }
}

fn only_ton(coin: Option<&Coin>) -> Result<(), Error> {
    match coin.and_then(|coin| coin.kind.as_ref()) {
        None | Some(coin::Kind::Ton(_)) => Ok(()),
        Some(_) => Err(Error::field(ErrorCode::UnsupportedCoin, "coin", "must be TON")),
    }
}

fn key(field: &str, bytes: &[u8]) -> Result<Key, Error> {
    Key::try_from(bytes).map_err(|_| Error::field(ErrorCode::InvalidKey, field, "must be 32 bytes"))
}

fn nano(field: &str, text: &str) -> Result<u128, Error> {
    let leading_zero = text.len() > 1 && text.starts_with('0');
    let amount = ton::parse_amount(text, 0).ok().filter(|_| !leading_zero && text.bytes().all(|c| c.is_ascii_digit()));
    amount.ok_or_else(|| Error::field(ErrorCode::InvalidAmount, field, "must be decimal text of at most 120 bits"))
}

fn page_token(token: &str) -> Result<Key, Error> {
    let mut key = Key::default();
    let read = hex::decode_to_slice(token, &mut key);
    read.map_err(|_| Error::field(ErrorCode::InvalidPageToken, "page_token", "must be the last answer's"))?;
    Ok(key)
}

fn unix(moment: SystemTime) -> u64 {
    moment.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(node: u8, result: HopResult) -> HopReport {
        HopReport { node_key: vec![node; 32], amount_nano: "5".into(), result: result.into(), reason: String::new() }
    }

    fn passed(results: &[HopResult]) -> Vec<bool> {
        let hops: Vec<HopReport> = results.iter().zip(1..).map(|(result, node)| report(node, *result)).collect();
        lessons([0; 32], &hops).unwrap().iter().map(|lesson| lesson.passed).collect()
    }

    #[test]
    fn attempts_teach_up_to_the_first_failure() {
        use HopResult::*;
        assert_eq!(passed(&[Agreed, Agreed]), [true, true]);
        assert_eq!(passed(&[Agreed, Refused, Agreed]), [true, false]);
        assert_eq!(passed(&[Unreachable]), [false]);
        assert_eq!(passed(&[Unknown]), [true]);
        assert_eq!(passed(&[Agreed, Unknown, Unknown]), [true, true, false]);
        let lesson = Lesson { payer: [1; 32], node: [2; 32], amount: 5, passed: false };
        assert_eq!(lessons([0; 32], &[report(1, Agreed), report(2, Refused)]).unwrap()[1], lesson);
        assert!(lessons([0; 32], &[report(1, Unspecified)]).is_err());
    }

    #[test]
    fn a_repeated_report_counts_once_and_old_ones_are_forgotten() {
        let mut reports = Reports::default();
        assert!(reports.is_new("0") && !reports.is_new("0"));
        (1..=MAX_REPORTS).for_each(|i| assert!(reports.is_new(&i.to_string())));
        assert_eq!(reports.known.len(), MAX_REPORTS);
        assert!(reports.is_new("0"));
    }

    #[test]
    fn amounts_are_canonical_text() {
        assert_eq!(nano("a", "0").unwrap(), 0);
        assert_eq!(nano("a", &ton::MAX_COINS.to_string()).unwrap(), ton::MAX_COINS);
        for text in ["", "00", "01", "-1", "+1", "1.0", "1.", "1329227995784915872903807060280344576"] {
            assert_eq!(nano("a", text).unwrap_err().code(), ErrorCode::InvalidAmount, "{text}");
        }
    }
}
