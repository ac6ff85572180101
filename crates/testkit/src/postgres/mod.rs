//! A private Postgres cluster.

mod binaries;
mod user;

use std::fs::{File, OpenOptions, Permissions};
use std::io::Write as _;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio_postgres::NoTls;

use crate::{Process, free_port, wait_for};

pub use binaries::PostgresBinaries;
use user::ServerUser;

/// The cluster's own superuser.
const ADMIN: &str = "causeway_admin";
/// How long a start may take, recovery after a crash included.
const START: Duration = Duration::from_secs(60);
/// How long a stop may take before the server is killed.
const STOP: Duration = Duration::from_secs(30);
/// Longest folder name that leaves room for a socket's name (the system allows 107 bytes).
const MAX_SOCKET_FOLDER: usize = 90;

const LOOPBACK: &str = "127.0.0.1";

/// Durability as in production; little memory, many connections.
const SETTINGS: [&str; 10] = [
    "listen_addresses=127.0.0.1",
    "fsync=on",
    "full_page_writes=on",
    "synchronous_commit=on",
    "max_connections=200",
    "shared_buffers=64MB",
    "max_wal_size=1GB",
    "jit=off",
    "timezone=UTC",
    "logging_collector=off",
];

/// A Postgres cluster of our own on a port of loopback; stopped when dropped.
#[derive(Debug)]
pub struct Cluster {
    binaries: PostgresBinaries,
    user: ServerUser,
    folder: PathBuf,
    port: u16,
    password: String,
    server: Option<Process>,
    /// Removed after the server, hence last.
    _temporary: Option<TempDir>,
}

/// A database and the role that owns it.
#[derive(Clone, Debug)]
pub struct Database {
    /// Name of the database and of its role.
    pub name: String,
    /// `postgres://role:password@127.0.0.1:port/name`.
    pub url: String,
    /// The same through the server's socket, which costs less; as `url` where the folder's name is too long for one.
    pub local_url: String,
}

impl Cluster {
    /// Makes and starts a cluster in a temporary folder, removed with it.
    ///
    /// # Errors
    /// Postgres is missing or does not start; says why.
    pub async fn temporary() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("causeway-pg-").tempdir().context("cannot make a temporary folder")?;
        let path = folder.path().to_owned();
        Self::launch(path, Some(folder)).await
    }

    /// Starts the cluster of a folder, made there when it is empty or not there. Running as root the server runs as the package's
    /// user; when that user cannot reach the folder, the data is kept in a folder of `/var/tmp` that follows from the name.
    ///
    /// # Errors
    /// Postgres is missing or does not start; says why.
    pub async fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let folder = folder.canonicalize().with_context(|| format!("cannot find {}", folder.display()))?;
        Self::launch(folder, None).await
    }

    async fn launch(folder: PathBuf, temporary: Option<TempDir>) -> anyhow::Result<Self> {
        let binaries = PostgresBinaries::find()?;
        let user = ServerUser::choose()?;
        let folder = user.reachable(folder)?;
        user.take(&folder)?;
        let password = password(&folder, &user)?;
        let port = free_port()?;
        let mut cluster = Self { binaries, user, folder, port, password, server: None, _temporary: temporary };
        if !cluster.data().join("PG_VERSION").exists() {
            cluster.initialise()?;
        }
        cluster.start().await?;
        Ok(cluster)
    }

    /// Where data, socket and log are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Port on loopback. Stays the same over [`Self::stop`] and [`Self::start`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Process id of the server, while it runs.
    pub fn server_id(&self) -> Option<u32> {
        self.server.as_ref().map(Process::id)
    }

    /// Makes a database, and a role of the same name that owns it and is the only one let in. If it exists only the role's password is
    /// made anew. The name is `[a-z][a-z0-9_]*`.
    ///
    /// # Errors
    /// The name is not valid, or the server does not answer.
    pub async fn create_database(&self, name: &str) -> anyhow::Result<Database> {
        let valid = name.len() <= 63
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_');
        ensure!(valid, "database name {name:?} must be [a-z][a-z0-9_]*, at most 63 characters");
        let password = random_password()?;
        let client = connect(&self.admin_url()).await?;
        let role = client.query_opt("SELECT FROM pg_roles WHERE rolname = $1", &[&name]).await?;
        let verb = if role.is_some() { "ALTER" } else { "CREATE" };
        client.batch_execute(&format!("{verb} ROLE {name} LOGIN PASSWORD '{password}'")).await?;
        if client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await?.is_none() {
            client.batch_execute(&format!("CREATE DATABASE {name} OWNER {name}")).await?;
            client.batch_execute(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC")).await?;
        }
        let host = self.sockets().map_or(LOOPBACK.into(), url_host);
        let url = |host: &str| self.url(host, name, &password, name);
        Ok(Database { name: name.into(), url: url(LOOPBACK), local_url: url(&host) })
    }

    /// Address for the superuser, for tests that look at the server itself.
    pub fn admin_url(&self) -> String {
        self.url(LOOPBACK, ADMIN, &self.password, "postgres")
    }

    /// Values of settings, as the server has them.
    ///
    /// # Errors
    /// The server does not answer or does not know one.
    pub async fn settings<'a>(&self, names: &[&'a str]) -> anyhow::Result<Vec<(&'a str, String)>> {
        let client = connect(&self.admin_url()).await?;
        let mut values = Vec::new();
        for name in names {
            values.push((*name, client.query_one("SELECT current_setting($1)", &[name]).await?.get(0)));
        }
        Ok(values)
    }

    /// A whole number that a query of a database gives.
    ///
    /// # Errors
    /// The server does not answer, or not with one.
    pub async fn number(&self, database: &Database, query: &str) -> anyhow::Result<i64> {
        let client = connect(&database.url).await?;
        Ok(client.query_one(query, &[]).await?.try_get(0)?)
    }

    /// Starts a stopped or killed server and waits until it answers. Does nothing when it runs.
    ///
    /// # Errors
    /// It does not start; the message holds the end of its log.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        if self.server.is_some() {
            return Ok(());
        }
        let url = self.admin_url();
        let end = tokio::time::Instant::now() + START;
        loop {
            let mut server = self.spawn()?;
            let ready = wait_for("Postgres", START, async || {
                if let Some(status) = server.exit_status()? {
                    return Ok(Err(status));
                }
                connect(&url).await.map(|_| Ok(()))
            });
            match ready.await.with_context(|| self.log_end())? {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                // Right after a kill the old server's children may still hold its shared memory.
                Err(_) if tokio::time::Instant::now() < end && self.log_end().contains("shared memory block") => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
                Err(status) => bail!("Postgres ended at start ({status}): {}", self.log_end()),
            }
        }
    }

    /// Stops the server as an operator does: open transactions are rolled back, data is written.
    ///
    /// # Errors
    /// The system refuses.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            // SIGINT is Postgres's fast shutdown; SIGTERM would wait for clients to leave.
            Some(mut server) => server.end(Signal::INT, STOP).map(drop),
            None => Ok(()),
        }
    }

    /// Kills the server (SIGKILL): the next start recovers from its log.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        match self.server.take() {
            Some(mut server) => server.kill().map(drop),
            None => Ok(()),
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    fn url(&self, host: &str, role: &str, password: &str, database: &str) -> String {
        format!("postgres://{role}:{password}@{host}:{}/{database}", self.port)
    }

    fn initialise(&self) -> anyhow::Result<()> {
        let mut initdb = self.user.command(&self.binaries.initdb());
        initdb.arg("--pgdata").arg(self.data()).arg("--pwfile").arg(password_path(&self.folder));
        initdb.args(["--username", ADMIN, "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        if self._temporary.is_some() {
            // Only an outage of the machine would lose the empty cluster; what is committed later is synced as ever.
            initdb.arg("--no-sync");
        }
        let output = initdb.current_dir(&self.folder).output().context("cannot run initdb")?;
        ensure!(output.status.success(), "initdb failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }

    fn spawn(&self) -> anyhow::Result<Process> {
        let log = File::create(self.log()).context("cannot write the server's log")?;
        let mut command: Command = self.user.command(&self.binaries.postgres());
        command.arg("-D").arg(self.data()).arg("-p").arg(self.port.to_string());
        command.arg("-k").arg(self.sockets().unwrap_or(Path::new("")));
        SETTINGS.iter().for_each(|setting| {
            command.args(["-c", setting]);
        });
        command.current_dir(&self.folder).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Process::spawn("postgres", &mut command)
    }

    /// Where the server's socket is, if it has one.
    fn sockets(&self) -> Option<&Path> {
        (self.folder.as_os_str().len() <= MAX_SOCKET_FOLDER).then_some(self.folder.as_path())
    }

    fn log(&self) -> PathBuf {
        self.folder.join("server.log")
    }

    fn log_end(&self) -> String {
        let text = std::fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().rev().take(5).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// A folder where a URL has its host.
fn url_host(folder: &Path) -> String {
    folder.as_os_str().as_encoded_bytes().iter().map(|byte| format!("%{byte:02X}")).collect()
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        // The data of a temporary cluster is thrown away: SIGQUIT ends all of it without writing it out.
        let signal = if self._temporary.is_some() { Signal::QUIT } else { Signal::INT };
        let _ = server.end(signal, STOP);
    }
}

async fn connect(url: &str) -> anyhow::Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    // Ends when the client is dropped; what goes wrong before that shows at the client.
    tokio::spawn(connection);
    Ok(client)
}

fn password_path(folder: &Path) -> PathBuf {
    folder.join("password")
}

/// The superuser's password, made at the first start and kept beside the data.
fn password(folder: &Path, user: &ServerUser) -> anyhow::Result<String> {
    let path = password_path(folder);
    if path.exists() {
        return Ok(std::fs::read_to_string(&path).context("cannot read the cluster's password")?.trim().to_owned());
    }
    let password = random_password()?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).context("cannot write a password")?;
    writeln!(file, "{password}")?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))?;
    user.take(&path)?;
    Ok(password)
}

fn random_password() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
    Ok(hex::encode(bytes))
}
