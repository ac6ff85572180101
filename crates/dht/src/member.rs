//! What makes several servers one network: each looks for the others, and notices who is gone (network 5.3).

use crate::client::Client;
use crate::node::Node;
use crate::query::{Answer, Query};
use crate::server::Server;
use adnl::keys::AdnlId;
use adnl::{Endpoint, IncomingQuery};
use std::collections::HashSet;
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

/// Time between two surveys, and the same while nobody else was found.
const SURVEY_EVERY: Duration = Duration::from_secs(60);
const SEARCH_EVERY: Duration = Duration::from_secs(5);
/// Nodes asked for their presentation at a time.
const PARALLEL: usize = 8;

/// Who answered in a survey and who did not.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub alive: Vec<Node>,
    pub silent: Vec<AdnlId>,
}

impl Server {
    /// Serves the queries of an endpoint until it closes, and keeps up with the other nodes of the network, which it finds through those of
    /// the network's configuration. `own` is how it presents itself from now on: others learn each change at once.
    pub async fn join(
        mut self,
        endpoint: Endpoint,
        bootstrap: Vec<Node>,
        mut queries: mpsc::Receiver<IncomingQuery>,
        mut own: watch::Receiver<Node>,
    ) {
        let (done, mut surveys) = mpsc::channel(1);
        let (mut due, mut changed) = (Some(Instant::now()), false);
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                query = queries.recv() => match query {
                    Some(query) => self.answer(query).await,
                    None => return,
                },
                Some(survey) = surveys.recv() => {
                    let pause = if self.surveyed(&survey) == 0 { SEARCH_EVERY } else { SURVEY_EVERY };
                    due = Some(if changed { Instant::now() } else { Instant::now() + pause });
                    changed = false;
                }
                Ok(()) = own.changed() => {
                    self.present(own.borrow_and_update().clone());
                    // A survey under way presents us as we were.
                    changed = due.is_none();
                    due = due.map(|_| Instant::now());
                }
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                    due = None;
                    while running.try_join_next().is_some() {}
                    let own = self.own().clone();
                    let others = bootstrap.iter().filter(|node| node.id() != own.id()).cloned().collect();
                    let survey = survey(endpoint.clone(), own, self.nodes(), others);
                    let done = done.clone();
                    running.spawn(async move { done.send(survey.await).await });
                }
            }
        }
    }

    pub(crate) async fn answer(&mut self, query: IncomingQuery) {
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs() as u32;
        match self.handle(now, query.peer_id, &query.data) {
            Some(answer) => {
                let _ = query.responder.answer(answer.to_bytes()).await;
            }
            None => tracing::debug!(peer = %query.peer_id, "query refused"),
        }
    }
}

/// Searches for our own neighbourhood, which also tells those who are in it of us, and asks everybody else we know.
async fn survey(endpoint: Endpoint, own: Node, known: Vec<Node>, bootstrap: Vec<Node>) -> Survey {
    let id = *own.id().as_bytes();
    let client = Client::member(endpoint, known.iter().cloned().chain(bootstrap).collect(), own);
    let mut found = Survey { alive: client.nearest(id).await, silent: Vec::new() };
    let heard: HashSet<AdnlId> = found.alive.iter().map(Node::id).collect();
    let mut left = known.into_iter().filter(|node| !heard.contains(&node.id()));
    let mut asking = JoinSet::new();
    loop {
        while asking.len() < PARALLEL
            && let Some(node) = left.next()
        {
            let client = client.clone();
            asking.spawn(async move { client.ask(node, &Query::GetAddresses).await });
        }
        match asking.join_next().await {
            None => return found,
            Some(Err(_)) => {}
            Some(Ok((node, Some(Answer::Addresses(now))))) if now.id() == node.id() => found.alive.push(*now),
            Some(Ok((node, _))) => found.silent.push(node.id()),
        }
    }
}
