//! `cargo xtask bench network`: two of our network stacks over loopback. The work is an example of `rldp`; this builds it and runs it.

use std::process::Command;

use anyhow::{Context as _, ensure};

pub fn run() -> anyhow::Result<()> {
    let mut command = Command::new(crate::build::cargo());
    command.arg("run").arg("--manifest-path").arg(crate::root().join("Cargo.toml"));
    command.args(["--quiet", "--release", "--package", "rldp", "--example", "network"]);
    // Its processes end with it, also when both are interrupted.
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}
