//! Checks that the committed code is what the sources compile to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sources compile to the committed code.
    Same,
    /// The sources compile to other code: a hex BoC to commit as `build/channel.boc.hex`, or a mistake.
    Differs(String),
    /// The compiler is not there and cannot be installed; the reason, in words.
    Skipped(&'static str),
}

/// What the compiler needs, copied to where it is installed.
const COMPILER_FILES: [&str; 3] = ["package.json", "package-lock.json", "compile.js"];

/// Installs the pinned compiler into `work_dir` (a folder of its own, kept for the next time), compiles the sources and compares. It is
/// an error when the sources do not compile.
pub fn check(work_dir: &Path) -> Result<Outcome> {
    let contract = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !runs("node") || !runs("npm") {
        return Ok(Outcome::Skipped("node and npm are not installed"));
    }
    fs::create_dir_all(work_dir).with_context(|| format!("create {}", work_dir.display()))?;
    for file in COMPILER_FILES {
        fs::copy(contract.join(file), work_dir.join(file)).with_context(|| format!("copy {file}"))?;
    }
    if !install(work_dir)? {
        return Ok(Outcome::Skipped("npm could not install the compiler"));
    }
    let compiled = compile(contract, work_dir)?;
    let compiled = fs::read_to_string(&compiled).context("read what was compiled")?;
    Ok(if compiled.trim() == crate::CODE_BOC_HEX.trim() { Outcome::Same } else { Outcome::Differs(compiled) })
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

fn install(work_dir: &Path) -> Result<bool> {
    let npm = Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline", "--fetch-retries=0"])
        .current_dir(work_dir)
        .output()
        .context("run npm")?;
    Ok(npm.status.success())
}

fn compile(contract: &Path, work_dir: &Path) -> Result<PathBuf> {
    let out = work_dir.join("channel.boc.hex");
    let node = Command::new("node")
        .arg("compile.js")
        .arg(contract.join("src/channel.tolk"))
        .arg(&out)
        .current_dir(work_dir)
        .output()
        .context("run node")?;
    ensure!(node.status.success(), "the contract does not compile:\n{}", String::from_utf8_lossy(&node.stderr));
    Ok(out)
}
