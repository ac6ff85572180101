//! What Ctrl-C does: the work is dropped where it stands, and with it every process that it started and every temporary file.

use std::fmt;

use tokio::signal::unix::{SignalKind, signal};

/// A signal that ended the work; holds its number.
#[derive(Debug)]
pub struct Interrupted(i32);

impl Interrupted {
    /// What shells give for a process that a signal ended.
    pub fn exit_code(&self) -> u8 {
        128 + u8::try_from(self.0).unwrap_or(0)
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stopped: every process that was started is ended")
    }
}

impl std::error::Error for Interrupted {}

/// Does the work, unless it is told to stop (Ctrl-C, SIGTERM, the terminal gone).
pub async fn unless_interrupted<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let [mut interrupt, mut terminate, mut hangup] =
        [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?];
    let kind = tokio::select! {
        done = work => return done,
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = hangup.recv() => SignalKind::hangup(),
    };
    Err(Interrupted(kind.as_raw_value()).into())
}
