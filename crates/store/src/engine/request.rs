//! API commands: each has an id and is carried out once (design 3).

use deadpool_postgres::GenericClient;
use protocol::{NewTask, RequestResult};

use super::fold;
use crate::{Error, codec};

/// Names what a command asks for: the same id with another hash is refused.
pub type ContentHash = [u8; 32];

/// What became of a submission.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// New: its task is queued.
    Queued,
    /// Repeated: [`results`] tells what came of it.
    Known,
    /// The id belongs to another command. Nothing was done.
    Conflict,
}

/// Queues a command's task, once per id. `not_before` in milliseconds of protocol time.
///
/// Errors: among others, a task for a channel that does not exist.
pub async fn submit(
    client: &impl GenericClient,
    request_id: &str,
    content: &ContentHash,
    task: &NewTask,
    not_before: u64,
) -> Result<Submitted, Error> {
    let statement = client.prepare_cached("SELECT content_hash FROM engine.submit($1, $2, $3)").await?;
    let task = vec![codec::new_task(task, not_before)?];
    let row = client.query_one(&statement, &[&request_id, &content.as_slice(), &task]).await?;
    Ok(match codec::maybe_bytes::<32>(&row, "content_hash")? {
        None => Submitted::Queued,
        Some(known) if known == *content => Submitted::Known,
        Some(_) => Submitted::Conflict,
    })
}

/// The results so far of those of these commands that are known and have one. One query for all who wait.
pub async fn results(client: &impl GenericClient, request_ids: &[&str]) -> Result<Vec<(String, RequestResult)>, Error> {
    fold(client).await?;
    let statement = client
        .prepare_cached("SELECT request_id, state, amount, reason FROM engine.request WHERE request_id = ANY ($1) AND state > 0")
        .await?;
    let rows = client.query(&statement, &[&request_ids]).await?;
    let mut results = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(result) = codec::result_from_row(row)? {
            results.push((row.try_get("request_id")?, result));
        }
    }
    Ok(results)
}

/// What the command with this id asked for, when it was queued and is still on record.
pub async fn content_of(client: &impl GenericClient, request_id: &str) -> Result<Option<ContentHash>, Error> {
    let statement = client.prepare_cached("SELECT content_hash FROM engine.request WHERE request_id = $1").await?;
    let row = client.query_opt(&statement, &[&request_id]).await?;
    row.map(|row| codec::bytes(&row, "content_hash")).transpose()
}
