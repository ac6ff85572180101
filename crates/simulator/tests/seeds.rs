//! Thousands of seeds: none may break an invariant, and together they must have seen every fault, refusal and recovery path.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use simulator::{Coverage, Options, REQUIRED_PATHS, REQUIRED_REFUSALS, Report, run};

const SEEDS: u64 = 2_000;

/// Runs the seeds on all cores; what failed, and what was seen.
fn run_all(seeds: u64) -> (Vec<Report>, Coverage) {
    let next = AtomicU64::new(0);
    let worker = || {
        let (mut failed, mut coverage) = (vec![], Coverage::default());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds {
                return (failed, coverage);
            }
            let report = run(seed, &Options::default());
            coverage.add(&report.coverage);
            if report.failure.is_some() {
                println!("{report}\n  again: {}", report.replay(&Options::default()));
                failed.push(report);
            } else {
                assert!(report.actions >= 200, "seed {seed} did too little");
            }
        }
    };
    let cores = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..cores).map(|_| scope.spawn(worker)).collect();
        let mut all = (vec![], Coverage::default());
        for worker in workers {
            let (failed, coverage) = worker.join().expect("a worker ends");
            all.0.extend(failed);
            all.1.add(&coverage);
        }
        all
    })
}

#[test]
fn no_seed_breaks_an_invariant_and_every_path_is_seen() {
    let (failed, coverage) = run_all(SEEDS);
    println!("{coverage}");
    assert!(failed.is_empty(), "{} of {SEEDS} seeds failed", failed.len());
    let missing = coverage.missing(REQUIRED_PATHS, REQUIRED_REFUSALS);
    assert!(missing.is_empty(), "never happened: {missing:#?}");
}

#[test]
fn a_seed_decides_everything() {
    for seed in [3, 17] {
        let options = Options { trace: true, ..Options::default() };
        let (first, second) = (run(seed, &options), run(seed, &options));
        assert_eq!(first.log, second.log, "seed {seed}");
        assert_eq!(first.events, second.events, "seed {seed}");
    }
}

#[test]
fn a_failing_run_names_the_command_that_repeats_it() {
    let options = Options { actions: 7, ..Options::default() };
    assert_eq!(run(3, &options).replay(&options), "cargo xtask simulate --seed 3 --actions 7 --trace");
    assert_eq!(run(3, &options).replay(&Options::default()), "cargo xtask simulate --seed 3 --trace");
}
