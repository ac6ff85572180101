//! Which masterchain blocks are believed (network 6.4): several servers' word, or signatures of validators.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::debug;
use tycho_types::models::BlockId;

use crate::check::check_lookup;
use crate::client::Policy;
use crate::pool::{Pool, Server, Wait, worse};
use crate::*;

/// Servers asked for their newest block at the same time, at least.
const ASKED_AT_ONCE: usize = 3;
/// How long the others are waited for when a newest block is known already: one of them may know a newer one.
const GRACE: Duration = Duration::from_millis(300);
/// Answers that a proof may take. Each goes over many key blocks.
const MAX_PROOF_ANSWERS: usize = 4_096;

/// What is believed of the masterchain.
pub(crate) struct Heads {
    policy: Policy,
    believed: Mutex<Believed>,
}

#[derive(Default)]
struct Believed {
    /// The newest block that was returned.
    newest: Option<MasterchainInfo>,
    /// Under the secure policy: the newest key block that was proven.
    key_block: Option<BlockId>,
}

/// A server's newest block.
struct Named {
    server: Arc<Server>,
    info: MasterchainInfo,
}

/// Questions for the newest block, to several servers at once.
struct Poll<'a> {
    pool: &'a Pool,
    wait: Option<Wait>,
    servers: std::vec::IntoIter<Arc<Server>>,
    sender: mpsc::Sender<Result<Named, Error>>,
    answers: mpsc::Receiver<Result<Named, Error>>,
    asking: usize,
}

impl<'a> Poll<'a> {
    fn start(pool: &'a Pool, wait: Option<Wait>, at_once: usize) -> Self {
        let (sender, answers) = mpsc::channel(pool.len());
        let mut poll = Self { pool, wait, servers: pool.ranked_for_heads().into_iter(), sender, answers, asking: 0 };
        (0..at_once).for_each(|_| poll.ask_next());
        poll
    }

    /// Asks one more, if there is one. The question goes on when nobody needs the answer any more: the server's record does.
    fn ask_next(&mut self) {
        let Some(server) = self.servers.next() else { return };
        let (options, wait, sender) = (self.pool.options().clone(), self.wait, self.sender.clone());
        self.asking += 1;
        tokio::spawn(async move {
            let check = |info: MasterchainInfo| match info.last.shard.is_masterchain() {
                false => Err(Error::Unproven("not a masterchain block")),
                true if wait.is_some_and(|wait| info.last.seqno < wait.seqno) => Err(Error::Unproven("the server did not wait")),
                true => Ok(info),
            };
            let info = server.ask(&options, wait, &GetMasterchainInfo {}, check).await;
            let _ = sender.send(info.map(|info| Named { server, info })).await;
        });
    }

    /// The next answer; none when all have answered.
    async fn next(&mut self) -> Option<Result<Named, Error>> {
        if self.asking == 0 {
            return None;
        }
        let answer = self.answers.recv().await?;
        self.asking -= 1;
        Some(answer)
    }

    /// What else comes within a short time.
    async fn rest(&mut self, named: &mut Vec<Named>) {
        let until = Instant::now() + GRACE;
        while let Ok(Some(answer)) = timeout_at(until, self.next()).await {
            named.extend(answer.ok());
        }
    }
}

impl Heads {
    pub fn new(policy: Policy) -> Self {
        let key_block = match policy {
            Policy::Fast => None,
            Policy::Secure { trusted } => Some(trusted),
        };
        Self { policy, believed: Mutex::new(Believed { newest: None, key_block }) }
    }

    fn believed(&self) -> MutexGuard<'_, Believed> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn trusted(&self) -> Option<BlockId> {
        self.believed().key_block
    }

    /// The newest block. Asks some servers at once, and more when those do not settle it.
    pub async fn newest(&self, pool: &Pool, wait: Option<Wait>) -> Result<MasterchainInfo, Error> {
        let needed = match self.policy {
            Policy::Fast => pool.agreement(),
            Policy::Secure { .. } => 1,
        };
        let mut poll = Poll::start(pool, wait, ASKED_AT_ONCE.max(needed));
        let (mut named, mut last_error): (Vec<Named>, Error) = (Vec::new(), Error::NoServer);
        while let Some(answer) = poll.next().await {
            match answer {
                Ok(new) => named.push(new),
                Err(error) => {
                    last_error = worse(last_error, error);
                    poll.ask_next();
                }
            }
            if named.len() < needed {
                continue;
            }
            if wait.is_none() {
                poll.rest(&mut named).await;
            }
            match self.settle(pool, needed, &mut named).await {
                Ok(info) => return Ok(self.remember(&named, info)),
                Err(error) => last_error = worse(last_error, error),
            }
            poll.ask_next();
        }
        match named.iter().map(|named| named.info.last.seqno).max() {
            Some(seqno) if named.len() < needed && last_error.server_code().is_none() => Err(Error::Unconfirmed(seqno)),
            _ => Err(last_error),
        }
    }

    /// The newest of the blocks that enough servers know, or that is proven.
    async fn settle(&self, pool: &Pool, needed: usize, named: &mut [Named]) -> Result<MasterchainInfo, Error> {
        named.sort_by_key(|named| std::cmp::Reverse(named.info.last.seqno));
        let mut last_error = Error::NoServer;
        for candidate in named.iter() {
            let settled = match self.policy {
                Policy::Secure { .. } => self.prove(pool, &candidate.server, &candidate.info.last).await,
                Policy::Fast => vote(pool, needed, named, &candidate.info.last).await,
            };
            match settled {
                Ok(()) => return Ok(candidate.info.clone()),
                Err(error) => last_error = worse(last_error, error),
            }
        }
        Err(last_error)
    }

    /// The newest block never goes back, whoever is asked.
    fn remember(&self, named: &[Named], info: MasterchainInfo) -> MasterchainInfo {
        named.iter().for_each(|named| named.server.at(named.info.last.seqno, info.last.seqno));
        let mut believed = self.believed();
        match &believed.newest {
            Some(newest) if newest.last.seqno >= info.last.seqno => newest.clone(),
            _ => believed.newest.insert(info).clone(),
        }
    }

    /// The block that is looked up.
    pub async fn lookup(&self, pool: &Pool, query: &LookupBlock) -> Result<Option<BlockId>, Error> {
        let by_signatures = matches!(self.policy, Policy::Secure { .. }) && query.id.shard.is_masterchain();
        let (needed, mut last_error) = (pool.agreement(), Error::NoServer);
        for _ in 0..pool.options().rounds.max(1) {
            let mut votes: HashMap<BlockId, Vec<Arc<Server>>> = HashMap::new();
            for server in pool.ranked() {
                let found = match lookup_at(pool, &server, query).await {
                    Ok(found) => found,
                    Err(error) => {
                        last_error = worse(last_error, error);
                        continue;
                    }
                };
                if by_signatures {
                    match self.prove(pool, &server, &found).await {
                        Ok(()) => return Ok(Some(found)),
                        Err(error) => last_error = worse(last_error, error),
                    }
                    continue;
                }
                votes.entry(found).or_default().push(server);
                let (yes, all) = (votes[&found].len(), votes.values().map(Vec::len).sum::<usize>());
                if yes >= needed && yes * 2 > all {
                    votes.remove(&found);
                    // Which block is the newest of a time may be seen differently; which one has a number may not.
                    if !matches!(query.by, LookupBy::Utime(_)) {
                        votes.into_values().flatten().for_each(|server| server.lied(&Error::Contradiction(found.seqno)));
                    }
                    return Ok(Some(found));
                }
            }
            match (votes.len(), votes.keys().next()) {
                (1, Some(only)) => last_error = Error::Unconfirmed(only.seqno),
                (_, Some(one)) => return Err(Error::Contradiction(one.seqno)),
                (_, None) if last_error.server_code() == Some(code::BLOCK_NOT_FOUND) => return Ok(None),
                (_, None) => {}
            }
        }
        Err(last_error)
    }

    /// Has a server prove a masterchain block by links from what is believed already.
    async fn prove(&self, pool: &Pool, server: &Arc<Server>, target: &BlockId) -> Result<(), Error> {
        let mut at = {
            let believed = self.believed();
            let key_block = believed.key_block.ok_or(Error::Unproven("nothing is trusted"))?;
            let newest = believed.newest.as_ref().map_or(key_block, |info| info.last);
            match [key_block, newest].into_iter().find(|known| known.seqno == target.seqno) {
                Some(known) if known == *target => return Ok(()),
                Some(_) => return Err(Error::Unproven("another block has this seqno")),
                None if key_block.seqno < target.seqno => key_block,
                // backwards from a block whose state servers still keep
                None => newest,
            }
        };
        for _ in 0..MAX_PROOF_ANSWERS {
            let query = GetBlockProof { known: at, target: Some(*target) };
            let proven = server.ask(pool.options(), None, &query, |answer| check_block_proof(&at, target, &answer)).await;
            // That it does not know one of the blocks must not look as if nobody knew the target.
            let proven = proven.map_err(|error| match error {
                Error::Server(_) => Error::Unproven("the server has no proof of the block"),
                error => error,
            })?;
            if let Some(key_block) = proven.key_block {
                let mut believed = self.believed();
                if believed.key_block.is_some_and(|known| known.seqno < key_block.seqno) {
                    believed.key_block = Some(key_block);
                }
            }
            if proven.block == *target {
                return Ok(());
            }
            at = proven.block;
        }
        Err(Error::Unproven("too many links"))
    }
}

/// Whether enough servers know the block, and more than deny it; those that deny it then have lied.
async fn vote(pool: &Pool, needed: usize, named: &[Named], block: &BlockId) -> Result<(), Error> {
    let (mut yes, mut no) = (0, Vec::new());
    for Named { server, info } in named.iter().filter(|named| named.info.last.seqno >= block.seqno) {
        let theirs = match info.last.seqno == block.seqno {
            true => Ok(info.last),
            false => lookup_at(pool, server, &LookupBlock { id: block.as_short_id(), by: LookupBy::Seqno }).await,
        };
        match theirs {
            Ok(theirs) if theirs == *block => yes += 1,
            Ok(_) => no.push(server),
            Err(error) => debug!(%error, "a lite server says nothing about an earlier block"),
        }
    }
    if yes >= needed && yes > no.len() {
        no.into_iter().for_each(|server| server.lied(&Error::Contradiction(block.seqno)));
        return Ok(());
    }
    match no.is_empty() {
        true => Err(Error::Unconfirmed(block.seqno)),
        false => Err(Error::Contradiction(block.seqno)),
    }
}

async fn lookup_at(pool: &Pool, server: &Arc<Server>, query: &LookupBlock) -> Result<BlockId, Error> {
    server.ask(pool.options(), None, query, |answer| check_lookup(query, &answer).map(|_| answer.id)).await
}
