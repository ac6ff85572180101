//! A test that cannot fail is a defect: each of these defects of the shell must be noticed (design 8).

use simulator::{Mutation, Options, Report, run};

/// In how many seeds a defect must have been noticed.
const SEEDS: u64 = 40;

fn noticed(mutation: Mutation) -> Report {
    let options = Options { mutation: Some(mutation), ..Options::default() };
    let found = (0..SEEDS).map(|seed| run(seed, &options)).find(|report| report.failure.is_some());
    let report = found.unwrap_or_else(|| panic!("{mutation:?} was not noticed in {SEEDS} seeds"));
    println!("{mutation:?}: {report}");
    report
}

#[test]
fn a_fence_that_is_off_is_noticed() {
    noticed(Mutation::FenceOff);
}

#[test]
fn effects_before_their_commit_are_noticed() {
    let failure = noticed(Mutation::ReleaseBeforeCommit).failure.unwrap_or_default();
    assert!(failure.starts_with("nothing is signed before it is committed"), "{failure}");
}

#[test]
fn missing_write_ahead_is_noticed() {
    noticed(Mutation::WriteAheadOff);
}

#[test]
fn a_refusal_taken_for_definite_is_noticed() {
    let failure = noticed(Mutation::RefusalIsDefinite).failure.unwrap_or_default();
    assert!(failure.starts_with("at most two bodies per seqno"), "{failure}");
}
