//! Runs seeds, or one with its log: `cargo xtask simulate --seed 7 --trace`.

use std::process::ExitCode;

use simulator::{Coverage, Options, run};

struct Arguments {
    first: u64,
    seeds: u64,
    options: Options,
    scenario: Option<String>,
}

fn arguments() -> Result<Arguments, String> {
    let mut out = Arguments { first: 0, seeds: 1, options: Options::default(), scenario: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} needs a value"));
        let number = |text: String| text.parse::<u64>().map_err(|e| format!("{text}: {e}"));
        match word.as_str() {
            "--seed" => out.first = number(value()?)?,
            "--seeds" => out.seeds = number(value()?)?,
            "--actions" => out.options.actions = number(value()?)? as usize,
            "--trace" => out.options.trace = true,
            "--scenario" => out.scenario = Some(value()?),
            _ => return Err(format!("unknown argument {word}")),
        }
    }
    Ok(out)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(error) => {
            eprintln!("{error}\nusage: cargo xtask simulate [--seed N] [--seeds N] [--actions N] [--trace] | --scenario FILE");
            return ExitCode::from(2);
        }
    };
    if let Some(file) = &arguments.scenario {
        return scenario(file);
    }
    let mut coverage = Coverage::default();
    let mut failed = 0;
    for seed in arguments.first..arguments.first + arguments.seeds {
        let report = run(seed, &arguments.options);
        coverage.add(&report.coverage);
        for line in &report.log {
            println!("{line}");
        }
        if report.failure.is_some() || arguments.seeds == 1 {
            println!("{report}");
        }
        if report.failure.is_some() {
            println!("  again: {}", report.replay(&arguments.options));
        }
        failed += u64::from(report.failure.is_some());
    }
    println!("{coverage}{} of {} seeds failed", failed, arguments.seeds);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn scenario(file: &str) -> ExitCode {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("{file}: {error}");
            return ExitCode::from(2);
        }
    };
    match simulator::run_scenario(&text) {
        Ok(log) => {
            log.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{file}: {error}");
            ExitCode::FAILURE
        }
    }
}
