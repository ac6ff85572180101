//! Finds routes: searches with the terms that are known, asks those on the way whose terms are not, and searches again.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use futures::future::join_all;
use protocol::route::{self, Hop, MAX_HOPS, Node, RouteError};
use protocol::{Address, Key, Timing};
use rpc::gateway::v1::gateway_service_client::GatewayServiceClient;
use rpc::gateway::v1::{QueryPeerRequest, Transport};
use rpc::{Connection, Error, ErrorCode};
use store::{Pool, route::Attempt};

use crate::graph::{Graph, View};
use crate::lock;
use crate::metrics::Metrics;
use crate::search::{self, Wanted};
use crate::terms::{self, Book, Known};

/// How long a node may take to tell its terms; connecting is part of it.
const TERMS_TIMEOUT_MS: u32 = 5_000;
/// How often a search may find that it must ask somebody else first.
const MAX_ROUNDS: usize = 16;
/// Questions under way at a time.
const MAX_QUESTIONS: usize = 32;

/// What a caller wants, with its values checked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub from: Key,
    pub to: Key,
    pub amount: u128,
    /// 0: the shortest safe time.
    pub ttl: u64,
    pub max_hops: usize,
    pub excluded: Vec<Key>,
    /// When not empty: exactly these nodes.
    pub chain: Vec<Fixed>,
}

/// A node that the caller fixed, and what it fixed of its terms.
#[derive(Debug, Clone)]
pub(crate) struct Fixed {
    pub key: Key,
    pub fee: Option<u128>,
    pub gap: Option<u64>,
}

/// What one planner knows.
pub(crate) struct Planner {
    pub pool: Pool,
    pub gateway: Option<GatewayServiceClient<Connection>>,
    pub timing: Timing,
    pub graph: Mutex<Graph>,
    pub book: Mutex<Book>,
    pub metrics: Metrics,
    pub questions: tokio::sync::Semaphore,
}

impl Planner {
    pub fn new(pool: Pool, gateway: Option<Connection>, timing: Timing, metrics: Metrics) -> Arc<Self> {
        Arc::new(Self {
            pool,
            gateway: gateway.map(GatewayServiceClient::new),
            timing,
            graph: Mutex::default(),
            book: Mutex::default(),
            metrics,
            questions: tokio::sync::Semaphore::new(MAX_QUESTIONS),
        })
    }

    /// The hops of a route. Their deadlines are counted from now.
    ///
    /// # Errors
    /// CW0403, CW0404, CW0005, CW0006, CW0007, CW0001 for a chain that cannot be.
    pub async fn find(&self, request: &Request) -> Result<Vec<Hop>, Error> {
        let found = match request.chain.is_empty() {
            true => self.cheapest(request).await,
            false => Ok(self.given(request).await),
        };
        let result = match found {
            Ok(chain) => self.lay(request, &chain).await,
            Err(error) => Err(error),
        };
        self.metrics.route(match &result {
            Ok(_) => "found",
            Err(error) if error.code() == ErrorCode::NoRoute => "no_route",
            Err(error) if error.code() == ErrorCode::TermsUnavailable => "no_terms",
            Err(_) => "refused",
        });
        result
    }

    /// The caller's chain. Its channels may be newer than the graph in memory, whose contracts say how long closing takes.
    async fn given(&self, request: &Request) -> Vec<Fixed> {
        let payers = std::iter::once(&request.from).chain(request.chain.iter().map(|node| &node.key));
        let known = {
            let graph = lock(&self.graph);
            payers.zip(&request.chain).all(|(payer, node)| graph.between(payer, &node.key).next().is_some())
        };
        if !known && let Err(error) = self.read_graph().await {
            tracing::warn!(%error, "the graph was not read");
        }
        request.chain.clone()
    }

    /// The nodes of the best way through the graph.
    async fn cheapest(&self, request: &Request) -> Result<Vec<Fixed>, Error> {
        let mut refreshed = false;
        for _ in 0..MAX_ROUNDS {
            let now = SystemTime::now();
            let Some(nodes) = self.search(request, now, true) else {
                // A channel that opened a moment ago may be on the chain and not in memory yet.
                if !std::mem::replace(&mut refreshed, true) && self.read_graph().await.is_ok() {
                    continue;
                }
                return Err(match self.search(request, now, false) {
                    Some(nodes) => no_terms(&nodes[..nodes.len() - 1]),
                    None => Error::new(ErrorCode::NoRoute),
                });
            };
            let between = &nodes[..nodes.len() - 1];
            let unknown: Vec<Key> = between.iter().filter(|node| self.known(node, now) == Known::Nothing).copied().collect();
            if unknown.is_empty() {
                return Ok(nodes.into_iter().map(|key| Fixed { key, fee: None, gap: None }).collect());
            }
            join_all(unknown.iter().map(|node| self.ask(*node))).await;
        }
        Err(Error::with_message(ErrorCode::TermsUnavailable, "too many nodes had to be asked; repeat the call"))
    }

    /// The best way with what is known. Who is not known is taken to ask nothing, so that no better way is missed; who gives no terms is
    /// avoided, or with `avoid_silent` unset is taken to ask nothing as well.
    fn search(&self, request: &Request, now: SystemTime, avoid_silent: bool) -> Option<Vec<Key>> {
        let View { nodes, edges } = &lock(&self.graph).view(request.amount, &request.excluded, now);
        let view = |key| nodes.binary_search(key).ok();
        let wanted =
            Wanted { from: view(&request.from)?, to: view(&request.to)?, amount: request.amount, max_hops: request.max_hops };
        let book = lock(&self.book);
        let tolls: Vec<Known> = nodes.iter().map(|node| book.get(node, now)).collect();
        let toll = |node: usize, next| match &tolls[node] {
            Known::Terms(terms) => terms::toll(terms, next),
            Known::Silent if avoid_silent => None,
            Known::Silent | Known::Nothing => Some(0),
        };
        let path = search::best(nodes.len(), edges, wanted, toll)?;
        Some(path.into_iter().map(|edge| nodes[edges[edge].to]).collect())
    }

    fn known(&self, node: &Key, now: SystemTime) -> Known {
        lock(&self.book).get(node, now)
    }

    /// Asks a node for its terms and keeps the answer, or that there was none.
    async fn ask(&self, node: Key) {
        let _turn = self.questions.acquire().await;
        if self.known(&node, SystemTime::now()) != Known::Nothing {
            return; // another search asked meanwhile
        }
        let told = self.told(node).await;
        let now = SystemTime::now();
        match told {
            Ok(terms) => {
                self.metrics.terms("told");
                lock(&self.book).tell(terms.clone());
                if let Err(error) = self.keep_terms(&terms).await {
                    tracing::warn!(%error, "terms were not stored");
                }
            }
            Err(reason) => {
                self.metrics.terms("silent");
                tracing::info!(node = hex::encode(node), reason, "no terms");
                lock(&self.book).fail(node, now);
            }
        }
    }

    async fn told(&self, node: Key) -> Result<store::route::Terms, String> {
        let mut gateway = self.gateway.clone().ok_or("no gateway is configured")?;
        let question = terms::question(lock(&self.graph).channel_of(&node));
        let transport = if question.over_rldp() { Transport::Rldp } else { Transport::Adnl };
        let request = QueryPeerRequest {
            peer_key: node.to_vec().into(),
            data: question.to_boxed().into(),
            transport: transport.into(),
            timeout_ms: TERMS_TIMEOUT_MS,
        };
        let mut request = tonic::Request::new(request);
        // The gateway ends it by itself; this is for a gateway that does not answer.
        request.set_timeout(std::time::Duration::from_millis(u64::from(TERMS_TIMEOUT_MS) * 2));
        let answer = gateway.query_peer(request).await.map_err(|status| Error::from(status).to_string())?;
        Ok(terms::read(node, &answer.into_inner().data, SystemTime::now())?)
    }

    async fn keep_terms(&self, terms: &store::route::Terms) -> Result<(), store::Error> {
        store::route::learn_terms(&self.pool.get().await?, terms).await
    }

    /// Fees and deadlines along a chain (payments 5.2). What the caller left open comes from the nodes' terms and the channels' contracts.
    async fn lay(&self, request: &Request, chain: &[Fixed]) -> Result<Vec<Hop>, Error> {
        let between = &chain[..chain.len() - 1];
        let now = SystemTime::now();
        let unknown = between.iter().filter(|node| node.fee.is_none() && self.known(&node.key, now) == Known::Nothing);
        join_all(unknown.map(|node| self.ask(node.key))).await;
        let mut fees = vec![0u128; chain.len()];
        let mut next = request.amount;
        for (i, node) in between.iter().enumerate().rev() {
            fees[i] = match (node.fee, self.known(&node.key, now)) {
                (Some(fee), _) => fee,
                (None, Known::Terms(terms)) => terms::toll(&terms, next).ok_or_else(|| {
                    let rule = format!("does not forward {next} nano on its terms: {}", hex::encode(node.key));
                    Error::with_message(ErrorCode::NoRoute, rule)
                })?,
                (None, Known::Silent | Known::Nothing) => return Err(no_terms(&[node.key])),
            };
            next = next.checked_add(fees[i]).ok_or_else(|| refused(&RouteError::TooLarge))?;
        }
        let graph = lock(&self.graph);
        let payers = std::iter::once(&request.from).chain(between.iter().map(|node| &node.key));
        let nodes = chain.iter().zip(payers).zip(fees).map(|((node, payer), fee)| {
            let safe = graph.gap(payer, &node.key, self.timing);
            Node { key: node.key, fee, gap: node.gap.map_or(safe, |gap| gap.max(safe)) }
        });
        let nodes: Vec<Node> = nodes.collect();
        let lay = |ttl| route::lay(&request.from, &nodes, request.amount, 0, ttl);
        let laid = match lay(request.ttl) {
            Err(RouteError::TooShort { least }) if request.ttl == 0 => lay(least),
            other => other,
        };
        laid.map_err(|error| refused(&error))
    }

    /// Notes what became of the channel that pays `node`, and of those like it: nobody but the payer knows which of them it was.
    pub async fn learn(&self, payer: &Key, node: &Key, amount: u128, passed: bool) -> Result<(), store::Error> {
        let channels: HashSet<Address> = lock(&self.graph).between(payer, node).map(|(address, _)| *address).collect();
        if channels.is_empty() {
            return Ok(());
        }
        let client = self.pool.get().await?;
        for channel in &channels {
            store::route::learn_attempt(&client, channel, payer, amount, passed).await?;
        }
        let learnt = store::route::attempts(&client).await?;
        let ours = learnt.into_iter().filter(|attempt: &Attempt| channels.contains(&attempt.channel));
        lock(&self.graph).learn(ours);
        Ok(())
    }
}

fn no_terms(nodes: &[Key]) -> Error {
    let names: Vec<String> = nodes.iter().map(hex::encode).collect();
    Error::with_message(ErrorCode::TermsUnavailable, names.join(" or "))
}

/// What is wrong with a chain, as the caller knows its fields.
fn refused(error: &RouteError) -> Error {
    let (code, field, rule) = match error {
        RouteError::Empty => (ErrorCode::InvalidField, "exact_chain", "must name at least the receiver".to_owned()),
        RouteError::TooLong => (ErrorCode::ChainTooLong, "exact_chain", format!("must have at most {MAX_HOPS} nodes")),
        RouteError::Loop => (ErrorCode::InvalidField, "exact_chain", "must not have a node twice, nor the sender".into()),
        RouteError::Zero => (ErrorCode::AmountOutOfRange, "amount_nano", "must be above zero".into()),
        RouteError::TooLarge => (ErrorCode::AmountOutOfRange, "amount_nano", "must fit 120 bits with all fees".into()),
        RouteError::TooShort { least } => {
            (ErrorCode::InvalidTtl, "ttl_seconds", format!("must be at least {least} for this chain"))
        }
        RouteError::TooFar => (ErrorCode::InvalidTtl, "ttl_seconds", "must end in 32 bits of seconds".into()),
    };
    Error::field(code, field, rule)
}
