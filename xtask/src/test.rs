//! `cargo xtask test`.

use std::process::Command;
use std::time::Instant;

use anyhow::Context as _;
use testkit::PostgresBinaries;

#[derive(clap::Args)]
pub struct Arguments {
    /// Passed on to `cargo test`, such as `-p rpc` or `-- --nocapture`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    cargo: Vec<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let postgres = PostgresBinaries::install_if_missing()?;
    println!("Postgres: {}", postgres.postgres().display());
    let started = Instant::now();
    let status = command(&arguments.cargo).status().context("cannot run cargo")?;
    let seconds = started.elapsed().as_secs();
    anyhow::ensure!(status.success(), "tests failed after {seconds} s");
    println!("\nall tests passed in {seconds} s");
    Ok(())
}

fn command(extra: &[String]) -> Command {
    let mut command = Command::new(crate::build::cargo());
    command.current_dir(crate::root()).arg("test");
    // The caller's own choice of packages replaces all of them.
    let own = extra.iter().take_while(|argument| *argument != "--");
    if !own.into_iter().any(|argument| argument.starts_with("-p") || argument.starts_with("--package")) {
        // One failing crate must not hide another.
        command.args(["--workspace", "--no-fail-fast"]);
    }
    command.args(extra);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(extra: &[&str]) -> Vec<String> {
        let extra: Vec<String> = extra.iter().map(|&argument| argument.into()).collect();
        command(&extra).get_args().map(|argument| argument.to_str().unwrap().into()).collect()
    }

    #[test]
    fn runs_all_packages_unless_told_otherwise() {
        assert_eq!(arguments(&[]), ["test", "--workspace", "--no-fail-fast"]);
        assert_eq!(arguments(&["-p", "rpc"]), ["test", "-p", "rpc"]);
        assert_eq!(arguments(&["--", "-p"]), ["test", "--workspace", "--no-fail-fast", "--", "-p"]);
    }
}
