//! How often each fault, refusal and recovery path fired.

use std::{collections::BTreeMap, fmt};

/// Counts by name.
#[derive(Debug, Clone, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, u64>,
    refusals: BTreeMap<String, u64>,
}

impl Coverage {
    pub(crate) fn hit(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// A refusal's text is the peer's, so only the known ones of honest nodes are counted here.
    pub(crate) fn refusal(&mut self, reason: &str) {
        if let Some(count) = self.refusals.get_mut(reason) {
            *count += 1;
        } else {
            self.refusals.insert(reason.to_owned(), 1);
        }
    }

    /// How often `what` fired.
    pub fn count(&self, what: &str) -> u64 {
        self.counts.get(what).copied().unwrap_or(0)
    }

    /// How often a proposal or request was refused for this reason.
    pub fn refused(&self, reason: &str) -> u64 {
        self.refusals.get(reason).copied().unwrap_or(0)
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Coverage) {
        for (what, n) in &other.counts {
            *self.counts.entry(what).or_default() += n;
        }
        for (reason, n) in &other.refusals {
            *self.refusals.entry(reason.clone()).or_default() += n;
        }
    }

    /// What must have fired and did not.
    pub fn missing<'a>(&self, paths: &'a [&'a str], refusals: &'a [&'a str]) -> Vec<&'a str> {
        let paths = paths.iter().filter(|name| self.count(name) == 0);
        paths.chain(refusals.iter().filter(|reason| self.refused(reason) == 0)).copied().collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (what, n) in &self.counts {
            writeln!(f, "{n:>10}  {what}")?;
        }
        for (reason, n) in &self.refusals {
            writeln!(f, "{n:>10}  refused: {reason}")?;
        }
        Ok(())
    }
}
