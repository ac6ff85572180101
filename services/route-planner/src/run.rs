//! Start, work, stop.

use rpc::config::ConfigError;
use rpc::{Connection, Health, InProcessListener, Metrics, Server, ServerConfig, ServerError};
use store::Database;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::planner::Planner;
use crate::service::Service;

/// Name in the database's list of sessions.
const NAME: &str = "route-planner";

/// Where engines find the service.
pub enum Listener {
    /// At an address.
    Network(ServerConfig),
    /// Inside this process.
    InProcess(InProcessListener),
}

/// Why a planner cannot start, or ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration breaks a rule.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The database cannot be used as configured.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The gRPC server.
    #[error(transparent)]
    Server(#[from] ServerError),
}

/// Runs a planner until `shutdown`. Ready when the graph was read; a database that does not answer is waited for. `gateway` is a peer
/// gateway of the node, for asking terms.
///
/// # Errors
/// See [`Error`].
pub async fn run(
    config: Config,
    gateway: Option<Connection>,
    listener: Listener,
    health: &Health,
    metrics: &Metrics,
    shutdown: CancellationToken,
) -> Result<(), Error> {
    config.validate()?;
    let gate = health.gate("database", "not asked yet");
    let database = Database::new(&config.database.url, NAME)?;
    let pool = database.pool(config.database.max_connections)?;
    let metrics = crate::metrics::Metrics::register(metrics);
    let planner = Planner::new(pool, gateway, config.timing.timing(), metrics);
    let stop = shutdown.child_token();
    let _stop_at_any_end = stop.clone().drop_guard();
    let reading = {
        let planner = planner.clone();
        async move {
            // The tables may not be there yet: whoever comes first makes them.
            while let Err(error) = store::migrate(&database).await {
                gate.close(format!("the database: {error}"));
                tokio::select! {
                    () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
                    () = stop.cancelled() => return,
                }
            }
            planner.keep_reading(&gate, &stop).await;
        }
    };
    let reading = tokio::spawn(reading);
    let service = Service::server(planner, config.max_hops as usize);
    let served = match listener {
        Listener::Network(config) => {
            let server = Server::new(&config, "server", health).await?.add_service(service).bind().await?;
            tracing::info!(address = %server.local_addr(), "serving engines");
            server.serve(shutdown).await
        }
        Listener::InProcess(listener) => {
            Server::in_process(health).await.add_service(service).serve_in_process(listener, shutdown).await
        }
    };
    reading.abort();
    tracing::info!("stopped");
    Ok(served?)
}
