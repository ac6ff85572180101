//! `cargo xtask bench network`: two of our network stacks over loopback, then two gateways. The work is done by examples of `rldp` and
//! `peer-gateway`; this builds them and runs them.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, ensure};
use testkit::PostgresBinaries;

pub fn run() -> anyhow::Result<()> {
    example("rldp", "network", None)?;
    let gateway = crate::build::binaries(&["peer-gateway"], false)?.join("causeway-peer-gateway");
    PostgresBinaries::install_if_missing()?;
    example("peer-gateway", "gateways", Some(&gateway))
}

fn example(package: &str, name: &str, argument: Option<&Path>) -> anyhow::Result<()> {
    let mut command = Command::new(crate::build::cargo());
    command.arg("run").arg("--manifest-path").arg(crate::root().join("Cargo.toml"));
    command.args(["--quiet", "--release", "--package", package, "--example", name, "--"]).args(argument);
    // Its processes end with it, also when both are interrupted.
    let status = command.status().context("cannot run cargo")?;
    ensure!(status.success(), "the bench ended with {status}");
    Ok(())
}
