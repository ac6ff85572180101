//! `cargo xtask simulate`.

use std::process::Command;

use anyhow::Context as _;

#[derive(clap::Args)]
pub struct Arguments {
    /// Passed on to the simulator: --seed N, --seeds N, --actions N, --trace, --scenario FILE
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    simulator: Vec<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let mut command = Command::new(crate::build::cargo());
    command.arg("run").arg("--manifest-path").arg(crate::root().join("Cargo.toml"));
    command.args(["--quiet", "--package", "simulator", "--"]).args(&arguments.simulator);
    let status = command.status().context("cannot run cargo")?;
    // What is wrong the simulator has said itself.
    std::process::exit(status.code().unwrap_or(1))
}
