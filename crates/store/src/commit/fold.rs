//! Folding the journal into the tables (migration 8): by a task beside the committer's lanes, and by everybody who is about to read those tables.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::GenericClient;
use tokio::sync::Notify;

use super::later::Tables;
use crate::{Database, Error};

/// Rows of the journal that are folded at once.
const ROWS: i64 = 128;
/// How long the journal gathers: what meets in it is written once.
const GATHER: Duration = Duration::from_millis(200);
/// Before a database that is away is asked again.
const PAUSE: Duration = Duration::from_millis(500);

const READ: &str = "SELECT seq, changes FROM engine.journal ORDER BY seq LIMIT $1";
const FOLD: &str = "SELECT engine.fold($1, $2, $3, $4, $5, $6, $7, $8, $9)";

/// SQLSTATE of `engine.fold`: somebody else was faster.
const TAKEN: &str = "CWS06";
/// Broken off because it took too long, or waited too long for a lock.
const TOO_LONG: [&str; 2] = ["57014", "55P03"];
/// Two statements that waited for each other: one of them was broken off.
const DEADLOCK: &str = "40P01";

/// Folds whatever was committed before the call, whoever committed it. Then the tables show it.
///
/// Errors: [`Error::Journal`] when it contradicts the tables.
pub async fn fold(client: &impl GenericClient) -> Result<(), Error> {
    let mut most = ROWS;
    loop {
        let read = client.prepare_cached(READ).await?;
        let rows = client.query(&read, &[&most]).await?;
        if rows.is_empty() {
            return Ok(());
        }
        let seqs: Vec<i64> = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?;
        let changes: Vec<&[u8]> = rows.iter().map(|row| row.try_get(1)).collect::<Result<_, _>>()?;
        let t = Tables::of(changes.into_iter())?;
        let statement = client.prepare_cached(FOLD).await?;
        let folded = client
            .query(
                &statement,
                &[&seqs, &t.channels, &t.removed, &t.added, &t.bodies, &t.outcomes, &t.peer_states, &t.legs, &t.results],
            )
            .await;
        match folded {
            Ok(_) if rows.len() < most as usize => return Ok(()),
            Ok(_) => {}
            Err(error) => match error.code().map(|state| state.code()) {
                Some(TAKEN | DEADLOCK) => {}
                Some(state) if TOO_LONG.contains(&state) && most > 1 => most /= 2,
                Some(state) if state.starts_with("CWS") || state.starts_with("22") || state.starts_with("23") => {
                    let rule = error.as_db_error().map_or_else(String::new, |e| e.constraint().unwrap_or(e.message()).into());
                    return Err(Error::Journal(rule));
                }
                _ => return Err(error.into()),
            },
        }
    }
}

/// Folds a moment after each commit, until `last` says that there will be none any more; then once more. What can never be folded ends it.
pub(super) async fn keep(
    database: Database,
    committed: Arc<Notify>,
    last: tokio_util::sync::CancellationToken,
) -> Result<(), Error> {
    let pool = database.pool(1)?;
    // What an engine left that ended in the middle.
    let mut ended = false;
    loop {
        let folded = match pool.get().await {
            Ok(client) => fold(&client).await,
            Err(error) => Err(error.into()),
        };
        match folded {
            Ok(()) if ended => return Ok(()),
            Ok(()) => {
                tokio::select! {
                    () = last.cancelled() => ended = true,
                    () = committed.notified() => tokio::time::sleep(GATHER).await,
                }
            }
            Err(error @ (Error::Journal(_) | Error::Corrupt(_))) => return Err(error),
            Err(error) if last.is_cancelled() => {
                tracing::warn!(%error, "what is left in the journal is the next engine's");
                return Ok(());
            }
            Err(error) => {
                tracing::warn!(%error, "the journal waits");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
