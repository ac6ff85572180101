/// Why the store could not do what was asked. The refusals of a commit are [`crate::Verdict`]s, not errors.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database said no, or cannot be reached.
    #[error("database: {0}")]
    Database(#[from] tokio_postgres::Error),
    /// No connection could be had from the pool.
    #[error("database connection: {0}")]
    Pool(#[from] deadpool_postgres::PoolError),
    /// The connection string.
    #[error("database configuration: {0}")]
    Config(String),
    /// A migration failed.
    #[error("migration: {0}")]
    Migration(#[from] refinery::Error),
    /// A number that does not fit its column.
    #[error("{0}: does not fit its column")]
    TooLarge(&'static str),
    /// What is stored is not what was written: the row and the rule.
    #[error("stored {0} is not valid")]
    Corrupt(&'static str),
    /// The journal contradicts the tables: what must never happen has (docs/runbooks/journal.md). Nothing was folded.
    #[error("the journal cannot be folded: {0}")]
    Journal(String),
    /// Encoded in a way that came later: for a newer engine to read.
    #[error("stored {0} was written by a newer version")]
    Newer(&'static str),
    /// A change that contradicts itself, and so was not tried.
    #[error("inconsistent change: {0}")]
    Inconsistent(&'static str),
    /// Somebody with a newer epoch has taken over.
    #[error("lost to a newer owner")]
    Fenced,
    /// The committer was shut down.
    #[error("the committer is shut down")]
    Closed,
}
