//! The commands of this repository, run as `cargo xtask <command>`.

mod bench;
mod build;
mod contracts;
mod demo;
mod interop;
mod interrupt;
mod simulate;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use interrupt::Interrupted;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The commands of this repository", disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every test of the workspace; installs Postgres first where it is missing and that is possible
    Test(test::Arguments),
    /// Three nodes and a chain on this machine: open channels, pay A to C through B, settle on the chain
    Demo(demo::Arguments),
    /// Transfers per second, their times and what they cost, on three nodes of real processes
    Bench(bench::Arguments),
    /// Run seeds of the simulator, or one with its log: `--seed 7 --trace`
    Simulate(simulate::Arguments),
    /// Our network stack against two versions of tonutils-go, one line a row; needs Go
    Interop(interop::Arguments),
    /// Check that the committed contract code is what its sources compile to
    Contracts(contracts::Arguments),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Simulate(arguments) => simulate::run(&arguments),
        Command::Interop(arguments) => interop::run(&arguments),
        Command::Contracts(arguments) => contracts::run(&arguments),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    match error.downcast_ref::<Interrupted>() {
        Some(interrupted) => {
            eprintln!("\n{interrupted}");
            ExitCode::from(interrupted.exit_code())
        }
        None => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The folder of the workspace.
fn root() -> &'static std::path::Path {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}
