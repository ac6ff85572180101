//! Which proposals of peers are accepted, with our deposit.

use std::collections::HashMap;
use std::time::Duration;

use alloy_primitives::Address;
use sspc::{Amount, Channel, Errand, Error, Goal, Params, Phase, Place, Record};
use tokio::time::Instant;

/// After an acceptance that failed the next one waits this long, then twice as long, and so on up to ...
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// ... this.
const LAST_RETRY: Duration = Duration::from_mins(30);

/// What proposals are accepted, with our deposit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// The contract that we trust.
    pub place: Place,
    /// By token (zero: the native coin); in others nothing is accepted.
    pub limits: HashMap<Address, Limit>,
    /// Native coin that an acceptance leaves in the account, to pay for disputes.
    pub reserve: Amount,
    /// Shortest time to answer a forced close: the guard must look more often.
    pub least_period: u32,
}

/// What we deposit in one token, in the channels that others proposed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limit {
    /// Most in one channel.
    pub deposit: Amount,
    /// Most at once.
    pub total: Amount,
}

impl Policy {
    pub(crate) fn allows(&self, place: &Place, params: &Params) -> bool {
        let limit = self.limits.get(&params.token);
        *place == self.place && params.period >= self.least_period && limit.is_some_and(|limit| params.value_b <= limit.deposit)
    }
}

/// How far a channel is, to be known without waiting for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stake {
    /// We have deposited nothing; it is not on the chain.
    Draft,
    /// We have deposited nothing.
    None,
    /// Our deposit is in it, or on the way there.
    Deposited,
}

impl Stake {
    pub(crate) fn of(record: &Record) -> Self {
        let on_its_way = record.pending.is_some();
        match record.phase {
            Phase::Draft | Phase::Proposed if on_its_way => Self::Deposited,
            Phase::Draft => Self::Draft,
            phase if phase == Phase::Proposed || phase.is_final() => Self::None,
            _ => Self::Deposited,
        }
    }
}

/// How far the guard is with accepting a proposal.
#[derive(Default)]
pub(crate) struct Accepting {
    errand: Option<Errand>,
    retry: Retry,
}

impl Accepting {
    /// One step, unless the last one failed just now.
    pub(crate) async fn advance(&mut self, channel: &mut Channel) -> Result<(), Error> {
        if !self.retry.is_due(Instant::now()) {
            return Ok(());
        }
        let errand = self.errand.get_or_insert_with(|| Errand::new(Goal::Accept));
        let done = channel.advance(errand).await;
        match done {
            Ok(false) => return Ok(()),
            Ok(true) => self.retry = Retry::default(),
            Err(_) => self.retry.failed(Instant::now()),
        }
        self.errand = None;
        done.map(drop)
    }
}

/// When what failed is tried again: later and later, so that a proposal that cannot be accepted costs little.
#[derive(Default)]
struct Retry(Option<(Duration, Instant)>);

impl Retry {
    fn is_due(&self, now: Instant) -> bool {
        self.0.is_none_or(|(_, until)| now >= until)
    }

    fn failed(&mut self, now: Instant) {
        let wait = self.0.map_or(FIRST_RETRY, |(wait, _)| (wait * 2).min(LAST_RETRY));
        self.0 = Some((wait, now + wait));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_tried_later_and_later() {
        let (mut retry, mut now, mut waits) = (Retry::default(), Instant::now(), Vec::new());
        for _ in 0..14 {
            assert!(retry.is_due(now));
            retry.failed(now);
            assert!(!retry.is_due(now));
            let until = retry.0.unwrap().1;
            assert!(!retry.is_due(until - Duration::from_millis(1)));
            waits.push((until - now).as_secs());
            now = until;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1800, 1800, 1800]);
    }
}
