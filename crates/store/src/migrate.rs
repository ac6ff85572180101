//! Migrations, embedded. Expand first, contract a release later: old and new services run together in between.

use crate::{Database, Error};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// Processes that start together migrate one after the other.
const LOCK: i64 = 0x6361_7573_6577_6179;

/// Brings the database to this version's schema. Safe to call from every process at start.
pub async fn migrate(database: &Database) -> Result<(), Error> {
    let mut client = database.patient().await?;
    client.execute("SELECT pg_advisory_lock($1)", &[&LOCK]).await?;
    // An older process may start after a newer one has migrated.
    embedded::migrations::runner().set_abort_missing(false).run_async(&mut client).await?;
    client.execute("SELECT pg_advisory_unlock($1)", &[&LOCK]).await?;
    Ok(())
}
