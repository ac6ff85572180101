use std::time::Duration;

/// The moment of an event, from the caller: the core reads no clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time since some start. Timers count in it.
    pub elapsed: Duration,
    /// Unix seconds. Epochs and dates count in it.
    pub unix: u32,
}

/// A refilling allowance: `burst` at once, then one per `interval`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Allowance {
    burst: u32,
    interval: Duration,
    left: u32,
    since: Duration,
}

impl Allowance {
    pub fn new(burst: u32, interval: Duration, now: Duration) -> Self {
        Self { burst, interval, left: burst, since: now }
    }

    fn refill(&mut self, now: Duration) {
        let earned = (now.saturating_sub(self.since).as_nanos() / self.interval.as_nanos().max(1)).min(u32::MAX.into()) as u32;
        self.left = self.left.saturating_add(earned).min(self.burst);
        self.since = if self.left == self.burst { now } else { self.since + self.interval * earned };
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Duration) -> bool {
        self.refill(now);
        let any = self.left > 0;
        self.left -= u32::from(any);
        any
    }

    /// When the next one is there.
    pub fn next(&mut self, now: Duration) -> Duration {
        self.refill(now);
        if self.left > 0 { now } else { self.since + self.interval }
    }
}
