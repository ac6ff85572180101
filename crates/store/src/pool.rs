//! Connections: a pool for queries, and single ones for committers.

use std::time::Duration;

use deadpool_postgres::{ManagerConfig, RecyclingMethod, Runtime};
use tokio_postgres::{Client, NoTls};

use crate::Error;

/// A statement that runs longer is broken off, so that a lock or a bad plan cannot hold an engine for ever.
const STATEMENT_TIMEOUT_MS: u32 = 10_000;
/// As long may a row lock be waited for.
const LOCK_TIMEOUT_MS: u32 = 3_000;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection whose peer acknowledges nothing for as long is dead.
const SILENT_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE: Duration = Duration::from_secs(10);

/// How a committer's statements are planned: by index, always, whatever the statistics say, once for all.
const COMMITTER_PLANS: &str = "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off \
     -c enable_mergejoin=off -c enable_bitmapscan=off -c enable_material=off -c jit=off";

/// Where the database is: a connection string or URL as libpq takes it.
#[derive(Debug, Clone)]
pub struct Database {
    config: tokio_postgres::Config,
}

impl Database {
    /// Parses a connection string. `name` shows in `pg_stat_activity`.
    pub fn new(connection: &str, name: &str) -> Result<Self, Error> {
        let mut config: tokio_postgres::Config =
            connection.parse().map_err(|e: tokio_postgres::Error| Error::Config(e.to_string()))?;
        config
            .application_name(name)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_user_timeout(SILENT_TIMEOUT)
            .keepalives_idle(KEEPALIVE)
            .keepalives_interval(KEEPALIVE);
        Ok(Self { config })
    }

    fn with_options(&self, more: &str) -> tokio_postgres::Config {
        let mut config = self.config.clone();
        let own = self.config.get_options().unwrap_or_default();
        config.options(format!("{own} -c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS} {more}"));
        config
    }

    /// A pool of at most `size` connections, opened when needed.
    pub fn pool(&self, size: usize) -> Result<Pool, Error> {
        let manager = deadpool_postgres::Manager::from_config(
            self.with_options("-c jit=off"),
            NoTls,
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        deadpool_postgres::Pool::builder(manager)
            .max_size(size)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|e| Error::Config(e.to_string()))
    }

    /// One connection for a committer.
    pub(crate) async fn committer(&self) -> Result<Client, Error> {
        connect(&self.with_options(COMMITTER_PLANS)).await
    }

    /// One connection without limits of time, for migrations.
    pub(crate) async fn patient(&self) -> Result<Client, Error> {
        connect(&self.config).await
    }
}

/// Connections for queries; [`deadpool_postgres::Pool::get`] gives one.
pub type Pool = deadpool_postgres::Pool;

async fn connect(config: &tokio_postgres::Config) -> Result<Client, Error> {
    let (client, connection) = config.connect(NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::warn!(%error, "database connection lost");
        }
    });
    Ok(client)
}
