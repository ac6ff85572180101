//! The hops of a payment: given whole by the caller, to a neighbour, or found by the planner.

use protocol::{
    Address, Key,
    route::{self, Hop, Node, RouteError},
};
use rpc::{
    Error, ErrorCode,
    common::v1::{ChainHop, RouteHop},
    planner::v1::FindRouteRequest,
};

use super::{Api, submit::Command, unavailable, validate};

/// A priced chain and the channel of its first hop.
pub struct Route {
    /// The hops.
    pub hops: Vec<Hop>,
    /// Our channel to the first node.
    pub channel: Address,
}

/// What a payment asks for.
pub struct Wanted<'a> {
    /// Who is paid.
    pub receiver: Key,
    /// Nano.
    pub amount: u128,
    /// What the request calls the amount.
    pub amount_field: &'static str,
    /// Seconds; 0: the shortest safe time.
    pub ttl: u64,
    /// The whole chain, if the caller knows one.
    pub chain: &'a [ChainHop],
    /// The most to pay in fees, nano.
    pub max_fee: Option<u128>,
}

impl Wanted<'_> {
    /// What makes two payments the same. Not the chain and its fees: a repeated command is the same however the network has changed meanwhile.
    pub fn command(&self, request_id: String, kind: &[u8]) -> Command {
        Command::new(request_id, &[kind, &self.receiver, &self.amount.to_le_bytes(), &self.ttl.to_le_bytes()])
    }
}

impl Api {
    pub(super) async fn route(&self, wanted: &Wanted<'_>) -> Result<Route, Error> {
        let hops = match self.nodes(wanted)? {
            Some(nodes) => self.lay(&nodes, wanted)?,
            None => self.planned(wanted).await?,
        };
        let first = hops[0];
        if let Some(max) = wanted.max_fee
            && first.fee > max
        {
            return Err(Error::field(
                ErrorCode::FeeTooHigh,
                "max_fee_nano",
                format!("must be at least what the chain costs: {}", first.fee),
            ));
        }
        let total = first.capacity + first.fee;
        let mut channel = self.ctx.hints.towards(&first.target, total);
        if channel.is_none() {
            self.ctx.look_at_peer(&first.target).await.map_err(unavailable)?;
            channel = self.ctx.hints.towards(&first.target, total);
        }
        let channel = channel.ok_or_else(|| self.no_channel(&first.target, wanted))?;
        Ok(Route { hops, channel })
    }

    fn no_channel(&self, first: &Key, wanted: &Wanted<'_>) -> Error {
        if self.ctx.hints.knows(first) {
            let rule = "must be, with the fee, at most what the channel to the first node has free";
            Error::field(ErrorCode::InsufficientBalance, wanted.amount_field, rule)
        } else {
            let field = if wanted.chain.is_empty() { "receiver_key" } else { "chain[0].node_key" };
            Error::field(ErrorCode::NoRoute, field, "must be a node that this one has a usable channel with")
        }
    }

    /// The nodes and what they keep, when nobody has to be asked.
    fn nodes(&self, wanted: &Wanted<'_>) -> Result<Option<Vec<Node>>, Error> {
        let gap = self.ctx.policy.timing.hop_gap();
        if wanted.chain.is_empty() {
            let neighbour = self.ctx.hints.towards(&wanted.receiver, wanted.amount).is_some();
            return Ok(neighbour.then(|| vec![Node { key: wanted.receiver, fee: 0, gap }]));
        }
        let last = wanted.chain.len() - 1;
        let mut nodes = Vec::with_capacity(wanted.chain.len());
        for (i, hop) in wanted.chain.iter().enumerate() {
            let key = validate::key(&format!("chain[{i}].node_key"), &hop.node_key)?;
            let fee = match &hop.fee_nano {
                _ if i == last => 0,
                Some(fee) if fee == "0" => 0,
                Some(fee) => validate::nano(&format!("chain[{i}].fee_nano"), fee)?,
                None => return Ok(None),
            };
            nodes.push(Node { key, fee, gap: hop.deadline_gap_seconds.map_or(gap, u64::from).max(gap) });
        }
        if nodes[last].key != wanted.receiver {
            return Err(Error::field(ErrorCode::InvalidField, "chain", "must end with the receiver"));
        }
        Ok(Some(nodes))
    }

    fn lay(&self, nodes: &[Node], wanted: &Wanted<'_>) -> Result<Vec<Hop>, Error> {
        let now = self.ctx.clock.now_ms() / 1000;
        let shortest = nodes.last().map_or(0, |n| n.gap) + route::SLACK;
        let ttl = if wanted.ttl == 0 { shortest } else { wanted.ttl };
        route::lay(&self.ctx.key, nodes, wanted.amount, now, ttl).map_err(|error| {
            let (code, field) = match error {
                RouteError::TooLong => (ErrorCode::ChainTooLong, "chain"),
                RouteError::Empty | RouteError::Loop => (ErrorCode::InvalidField, "chain"),
                RouteError::Zero | RouteError::TooLarge => (ErrorCode::AmountOutOfRange, wanted.amount_field),
                RouteError::TooShort { .. } | RouteError::TooFar => (ErrorCode::InvalidTtl, "ttl_seconds"),
            };
            Error::field(code, field, error.to_string())
        })
    }

    async fn planned(&self, wanted: &Wanted<'_>) -> Result<Vec<Hop>, Error> {
        let Some(mut planner) = self.planner.clone() else {
            // Without a planner only neighbours can be paid, and chains that are given whole.
            let neighbour = wanted.chain.is_empty() && self.ctx.hints.knows(&wanted.receiver);
            let rule = "must be a neighbour, or a chain be given whole: no planner is configured";
            return Err(match neighbour {
                true => self.no_channel(&wanted.receiver, wanted),
                false => Error::field(ErrorCode::NoRoute, "receiver_key", rule),
            });
        };
        let shortest = self.ctx.policy.timing.hop_gap() + route::SLACK;
        let request = FindRouteRequest {
            from_key: self.ctx.key.to_vec(),
            to_key: wanted.receiver.to_vec(),
            coin: None,
            amount_nano: wanted.amount.to_string(),
            ttl_seconds: if wanted.ttl == 0 { shortest } else { wanted.ttl },
            max_hops: route::MAX_HOPS as u32,
            excluded_keys: Vec::new(),
            exact_chain: wanted.chain.to_vec(),
        };
        let found = planner.find_route(request).await.map_err(Error::from)?.into_inner();
        let now = self.ctx.clock.now_ms() / 1000;
        let hops = found.hops.iter().map(|hop| read_hop(hop, now)).collect::<Option<Vec<Hop>>>();
        hops.filter(|h| !h.is_empty())
            .ok_or_else(|| Error::with_message(ErrorCode::Internal, "the planner's route cannot be read"))
    }
}

fn read_hop(hop: &RouteHop, now: u64) -> Option<Hop> {
    Some(Hop {
        target: Key::try_from(&hop.node_key[..]).ok()?,
        capacity: hop.capacity_nano.parse().ok()?,
        fee: hop.fee_nano.parse().ok()?,
        deadline: u32::try_from(now.checked_add(hop.deadline_offset_seconds)?).ok()?,
    })
}
