//! One process of a node.

use std::{
    fs::OpenOptions,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use testkit::{Process, wait_for_port};

/// How long a start and an end may take.
const START: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(20);

/// A service process that can be stopped, killed and started again with the same configuration, also while others use the network.
#[derive(Debug)]
pub struct Service {
    name: String,
    program: PathBuf,
    config: PathBuf,
    log: PathBuf,
    address: SocketAddr,
    process: Mutex<Option<Process>>,
}

impl Service {
    /// Writes the configuration and starts `binary`; `address` is where it will serve gRPC.
    pub(crate) fn launch(name: String, binary: &Path, folder: &Path, config: &str, address: SocketAddr) -> anyhow::Result<Self> {
        let file = folder.join(format!("{name}.toml"));
        std::fs::write(&file, config)?;
        let log = folder.join(format!("{name}.log"));
        let service = Self { name, program: binary.into(), config: file, log, address, process: Mutex::new(None) };
        service.start()?;
        Ok(service)
    }

    /// Its name, such as `b-peer-gateway`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it serves gRPC.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Everything that it has written.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        let bytes = std::fs::read(&self.log).with_context(|| format!("cannot read {}", self.log.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Process id, while it runs.
    pub fn id(&self) -> Option<u32> {
        self.process().as_ref().map(Process::id)
    }

    /// Whether it has neither been ended nor ended by itself.
    pub fn is_running(&self) -> bool {
        self.process().as_mut().is_some_and(|process| matches!(process.exit_status(), Ok(None)))
    }

    /// Starts it, if it does not run. It need not be ready when this returns.
    pub fn start(&self) -> anyhow::Result<()> {
        if self.is_running() {
            return Ok(());
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(&self.config).stdout(log.try_clone()?).stderr(log);
        // More than a dozen processes share this machine's cores: one worker each, or they spend their time waking each other.
        command.env("TOKIO_WORKER_THREADS", "1");
        *self.process() = Some(Process::spawn(&self.name, &mut command)?);
        Ok(())
    }

    /// Waits until it serves.
    pub async fn until_ready(&self) -> anyhow::Result<()> {
        wait_for_port(&self.name, self.address, START).await.with_context(|| format!("see {}", self.log.display()))
    }

    /// SIGKILL.
    pub fn kill(&self) -> anyhow::Result<()> {
        self.process().take().map_or(Ok(()), |mut process| process.kill().map(drop))
    }

    /// SIGTERM: drained, or killed when that takes too long.
    pub fn terminate(&self) -> anyhow::Result<()> {
        self.process().take().map_or(Ok(()), |mut process| process.terminate(END).map(drop))
    }

    /// SIGSTOP.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.process().as_mut().context("does not run")?.pause()
    }

    /// SIGCONT.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.process().as_mut().context("does not run")?.resume()
    }

    fn process(&self) -> MutexGuard<'_, Option<Process>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
