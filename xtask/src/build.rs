//! Building what a network runs on.

use std::{ffi::OsString, path::PathBuf, process::Command};

use anyhow::ensure;

/// Builds the services' binaries, the chain and the CLI; their folder.
pub fn services(debug: bool) -> anyhow::Result<PathBuf> {
    let names =
        ["devnet", "channel-engine", "peer-gateway", "chain-indexer", "route-planner"].map(|name| format!("causeway-{name}"));
    let names: Vec<&str> = names.iter().map(String::as_str).chain(["causeway"]).collect();
    binaries(&names, debug)
}

/// Builds these binaries; their folder. With the features of the whole workspace: those of a few packages alone would have every dependency built
/// a second time for the tests.
pub fn binaries(names: &[&str], debug: bool) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(cargo());
    command.current_dir(crate::root()).args(["build", "--workspace"]);
    command.args(names.iter().flat_map(|name| ["--bin", name]));
    if !debug {
        command.arg("--release");
    }
    ensure!(command.status()?.success(), "what is to be run does not build");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    Ok(target.join(if debug { "debug" } else { "release" }))
}

/// The cargo that runs us, else the one on the path.
pub fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
