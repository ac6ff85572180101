//! A child process that ends with its owner.

use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// Time between two looks at whether a process has ended.
const POLL: Duration = Duration::from_millis(10);

/// A child process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
}

impl Process {
    /// Starts a command. The name is for messages.
    ///
    /// # Errors
    /// The command cannot be started.
    pub fn spawn(name: impl Into<String>, command: &mut Command) -> anyhow::Result<Self> {
        let name = name.into();
        let child = command.spawn().with_context(|| format!("cannot start {name} ({})", command.get_program().display()))?;
        Ok(Self { name, child })
    }

    /// The name given at the start.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn exit_status(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        self.child.try_wait().with_context(|| format!("cannot look at {}", self.name))
    }

    /// Stops it where it is (SIGSTOP).
    ///
    /// # Errors
    /// It has ended.
    pub fn pause(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on (SIGCONT).
    ///
    /// # Errors
    /// It has ended.
    pub fn resume(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Ends it at once (SIGKILL) and waits.
    ///
    /// # Errors
    /// The system refuses.
    pub fn kill(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(status) = self.exit_status()? {
            return Ok(status);
        }
        self.child.kill().and_then(|()| self.child.wait()).with_context(|| format!("cannot kill {}", self.name))
    }

    /// Asks it to end (SIGTERM) and waits; kills it when it takes longer than `limit`.
    ///
    /// # Errors
    /// The system refuses.
    pub fn terminate(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        self.end(Signal::TERM, limit)
    }

    /// As [`Self::terminate`], with another signal.
    pub(crate) fn end(&mut self, signal: Signal, limit: Duration) -> anyhow::Result<ExitStatus> {
        let end = Instant::now() + limit;
        if self.exit_status()?.is_none() {
            self.signal(signal)?;
        }
        loop {
            match self.exit_status()? {
                Some(status) => return Ok(status),
                None if Instant::now() >= end => return self.kill(),
                None => std::thread::sleep(POLL),
            }
        }
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        // After the child was reaped its id may belong to another process.
        if let Some(status) = self.exit_status()? {
            anyhow::bail!("{} has ended ({status})", self.name);
        }
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).with_context(|| format!("cannot signal {}", self.name))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Nobody is left to tell when this fails.
        let _ = self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    fn shell(script: &str) -> Process {
        Process::spawn("shell", Command::new("sh").args(["-c", script])).unwrap()
    }

    fn state(id: u32) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        stat.rsplit(") ").next()?.chars().next()
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn pauses_resumes_and_kills() {
        let mut process = shell("while :; do sleep 0.01; done");
        process.pause().unwrap();
        while state(process.id()) != Some('T') {
            std::thread::sleep(POLL);
        }
        process.resume().unwrap();
        while state(process.id()) == Some('T') {
            std::thread::sleep(POLL);
        }
        assert_eq!(process.kill().unwrap().signal(), Some(9));
        assert!(process.pause().unwrap_err().to_string().contains("has ended"));
    }

    #[test]
    fn terminates_gently_and_kills_what_does_not_listen() {
        let mut gentle = shell("trap 'exit 7' TERM; echo; while :; do sleep 0.01; done");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(gentle.terminate(Duration::from_secs(20)).unwrap().code(), Some(7));
        let mut deaf = shell("trap '' TERM; while :; do sleep 0.01; done");
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(deaf.terminate(Duration::from_millis(200)).unwrap().signal(), Some(9));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn does_not_outlive_its_owner() {
        let process = shell("while :; do sleep 0.01; done");
        let id = process.id();
        assert!(state(id).is_some());
        drop(process);
        assert!(state(id).is_none());
    }
}
