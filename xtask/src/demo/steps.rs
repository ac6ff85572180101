//! What the user sees while it runs: a bar that moves in a terminal, and one line per step with its time.

use std::{
    io::IsTerminal as _,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Time between two pictures of a bar.
const TICK: Duration = Duration::from_millis(100);

/// Prints each step when it is done; a bar shows the one under way.
pub struct Steps {
    names: &'static [&'static str],
    at: usize,
    since: Instant,
    bar: ProgressBar,
}

impl Steps {
    /// For these steps, in this order.
    pub fn new(names: &'static [&'static str]) -> Self {
        let bar = bar(names.len(), "{spinner} [{bar:30}] {pos}/{len}  {msg}");
        bar.set_message(names.first().copied().unwrap_or_default());
        Self { names, at: 0, since: Instant::now(), bar }
    }

    /// The step under way is done.
    pub fn done(&mut self) {
        let name = self.names.get(self.at).copied().unwrap_or_default();
        let seconds = self.since.elapsed().as_secs_f64();
        self.bar.suspend(|| println!("{seconds:>8.2} s  {name}"));
        self.at += 1;
        self.since = Instant::now();
        self.bar.inc(1);
        match self.names.get(self.at) {
            Some(next) => self.bar.set_message(*next),
            None => self.bar.finish_and_clear(),
        }
    }
}

/// A bar for so many things; nothing is drawn where nobody looks.
pub fn bar(length: usize, template: &str) -> ProgressBar {
    let target = if std::io::stdout().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(length as u64), target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.enable_steady_tick(TICK);
    bar
}
