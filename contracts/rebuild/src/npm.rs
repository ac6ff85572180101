//! The compilers, by node and npm.

use std::path::Path;
use std::process::{Command, Output};

use anyhow::{Context as _, Result, ensure};

/// What npm says where it cannot reach the registry, or was told not to.
const UNREACHABLE: [&str; 10] = [
    "ENOTFOUND",
    "EAI_AGAIN",
    "ECONNREFUSED",
    "ECONNRESET",
    "ETIMEDOUT",
    "ERR_SOCKET_TIMEOUT",
    "ENETUNREACH",
    "EHOSTUNREACH",
    "EADDRNOTAVAIL",
    "ENOTCACHED",
];

/// Installs what `package-lock.json` of this folder pins; the reason, where that is not possible on this machine now.
pub fn install(folder: &Path) -> Result<Option<String>> {
    for program in ["node", "npm"] {
        if !Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success()) {
            return Ok(Some(format!("{program} not found")));
        }
    }
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0"])
        .current_dir(folder)
        .output()
        .context("run npm")?;
    if npm.status.success() {
        return Ok(None);
    }
    let said = words(&npm);
    ensure!(is_unreachable(&said), "npm cannot install the pinned compiler:\n{said}");
    Ok(Some(format!("npm cannot reach the registry:\n{said}")))
}

/// Whether npm failed for want of a network: `npm error code ENOTFOUND`.
fn is_unreachable(said: &str) -> bool {
    said.lines().filter_map(|line| line.split_once(" code ")).any(|(_, code)| UNREACHABLE.contains(&code.trim()))
}

pub fn compile(compiler: &Path, contract: &Path, out: &Path) -> Result<()> {
    let node = Command::new("node").arg("compile.js").args([contract, out]).current_dir(compiler).output().context("run node")?;
    ensure!(node.status.success(), "the sources do not compile:\n{}", words(&node));
    Ok(())
}

fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::is_unreachable;

    #[test]
    fn only_a_missing_network_is_no_failure() {
        for said in ["npm error code ENOTFOUND\nnpm error syscall getaddrinfo", "npm ERR! code ECONNREFUSED\nnpm ERR! errno"] {
            assert!(is_unreachable(said), "{said}");
        }
        let failures = [
            "npm error code EINTEGRITY\nnpm error sha512-x integrity checksum failed",
            "npm error code EUSAGE\nnpm error `npm ci` can only install packages when package.json and package-lock.json are in sync",
            "npm error code E404",
            "npm error code ENOSPC",
            "ENOTFOUND",
            "",
        ];
        for said in failures {
            assert!(!is_unreachable(said), "{said}");
        }
    }
}
