//! Commands: carried out once per request id, by the channel when it lives here, else by way of the queue (design 3).

use std::time::{Duration, Instant};

use protocol::{NewTask, RequestResult};
use rpc::{Error, ErrorCode};
use sha2::{Digest, Sha256};
use store::engine::{ContentHash, Submitted};
use tokio::sync::oneshot;

use super::{Api, unavailable};
use crate::{
    peer::{self, Message},
    results::Waiter,
};

/// How long a call waits for its result when the caller set no deadline.
const WAIT: Duration = Duration::from_secs(60);

/// A command under its caller's id.
pub struct Command {
    /// The id.
    pub id: String,
    content: ContentHash,
}

impl Command {
    /// `content` is what makes two commands the same.
    pub fn new(id: String, content: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in content {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self { id, content: hash.finalize().into() }
    }

    fn check(&self, known: bool) -> Result<(), Error> {
        if known {
            Ok(())
        } else {
            Err(Error::field(ErrorCode::RequestIdReused, "request_id", "must not have been used with other content"))
        }
    }
}

impl Api {
    /// Whether the command was given before. Asked before anything else: a repeated command needs no route, no balance and no open channel.
    pub(super) async fn is_repeated(&self, command: &Command) -> Result<bool, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let known = store::engine::content_of(&client, &command.id).await.map_err(unavailable)?;
        known.map(|content| command.check(content == command.content)).transpose().map(|known| known.is_some())
    }

    /// Gives a command to its channel, or to the queue when that lives elsewhere. `false` when the same command came first by another call
    /// meanwhile: this task is none.
    pub(super) async fn submit(&self, command: &Command, task: NewTask) -> Result<bool, Error> {
        if self.carried_out(command, &task).await {
            return Ok(true);
        }
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let submitted = store::engine::submit(&client, &command.id, &command.content, &task, 0).await.map_err(unavailable)?;
        drop(client);
        match submitted {
            Submitted::Queued => {
                self.ctx.hand_over(vec![task]);
                Ok(true)
            }
            Submitted::Known => Ok(false),
            Submitted::Conflict => command.check(false).map(|()| false),
        }
    }

    /// Whether the channel lives here, and has put the command on record and its task into effect with one commit. When not, nothing of it was
    /// committed, or the command is on record now.
    async fn carried_out(&self, command: &Command, task: &NewTask) -> bool {
        let peer = self.ctx.hints.get(&task.channel).map(|hint| hint.peer);
        let Some(mailbox) = peer.and_then(|peer| self.ctx.peer(&peer)) else { return false };
        let (committed, outcome) = oneshot::channel();
        let given = peer::Command { request_id: command.id.clone(), content: command.content, committed };
        mailbox.send(Message::Command(task.clone(), given)) && outcome.await.is_ok()
    }

    /// Waits for a result that satisfies `enough`. A command that was just given (`fresh`) has none in the database yet.
    pub(super) async fn wait(
        &self,
        waiter: Waiter,
        fresh: bool,
        request_id: &str,
        enough: fn(&RequestResult) -> bool,
    ) -> Result<Option<RequestResult>, Error> {
        let known = if fresh { None } else { self.result(request_id).await.ok().flatten() };
        tokio::select! {
            () = self.ctx.stop.cancelled() => {
                let message = "this engine stops: repeat the call with the same request_id";
                Err(Error::with_message(ErrorCode::Unavailable, message))
            }
            result = waiter.wait(known, Instant::now() + WAIT, enough) => Ok(result),
        }
    }

    /// The result so far.
    pub(super) async fn result(&self, request_id: &str) -> Result<Option<RequestResult>, Error> {
        let client = self.ctx.pool.get().await.map_err(unavailable)?;
        let results = store::engine::results(&client, &[request_id]).await.map_err(unavailable)?;
        Ok(results.into_iter().next().map(|(_, result)| result))
    }
}
