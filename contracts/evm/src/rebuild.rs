//! Checks that the committed artifacts are what the sources compile to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The files of an artifact folder by their path in it.
pub type Artifacts = BTreeMap<String, String>;

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sources compile to the committed artifacts.
    Same,
    /// The sources compile to other artifacts: all of them, to commit by [`write`], or a mistake.
    Differs(Artifacts),
    /// The compiler is not there and cannot be installed; the reason, in words.
    Skipped(&'static str),
}

/// What the compiler needs, copied to where it is installed.
const COMPILER_FILES: [&str; 3] = ["package.json", "package-lock.json", "compile.js"];

/// Installs the pinned compiler into `work_dir` (a folder of its own, kept for the next time), compiles the sources and compares. It is
/// an error when the sources do not compile.
pub fn check(work_dir: &Path) -> Result<Outcome> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    if !runs("npm") {
        return Ok(Outcome::Skipped("npm not found"));
    }
    fs::create_dir_all(work_dir).with_context(|| format!("create {}", work_dir.display()))?;
    for file in COMPILER_FILES {
        fs::copy(package.join(file), work_dir.join(file)).with_context(|| format!("copy {file}"))?;
    }
    if !install(work_dir)? {
        return Ok(Outcome::Skipped("npm could not install the compiler"));
    }
    let compiled = compile(package, work_dir)?;
    let committed = read(&package.join("artifacts"))?;
    Ok(if compiled == committed { Outcome::Same } else { Outcome::Differs(compiled) })
}

/// Replaces the committed artifacts.
pub fn write(artifacts: &Artifacts) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("artifacts");
    for file in read(&folder)?.keys() {
        fs::remove_file(folder.join(file)).with_context(|| format!("remove {file}"))?;
    }
    for (file, text) in artifacts {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(&folder)).with_context(|| format!("make the folder of {file}"))?;
        fs::write(&path, text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
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

fn compile(package: &Path, work_dir: &Path) -> Result<Artifacts> {
    let out = work_dir.join("artifacts");
    if out.exists() {
        fs::remove_dir_all(&out).context("remove the last artifacts")?;
    }
    let node =
        Command::new("node").arg("compile.js").arg(package).arg(&out).current_dir(work_dir).output().context("run node")?;
    ensure!(node.status.success(), "the contracts do not compile:\n{}", String::from_utf8_lossy(&node.stderr));
    read(&out)
}

/// The files of a folder and of the folders in it; none when it is missing.
fn read(folder: &Path) -> Result<Artifacts> {
    let mut artifacts = Artifacts::new();
    if !folder.exists() {
        return Ok(artifacts);
    }
    for entry in fs::read_dir(folder).with_context(|| format!("read {}", folder.display()))? {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name().to_string_lossy().into_owned()))?;
        if path.is_dir() {
            artifacts.extend(read(&path)?.into_iter().map(|(file, text)| (format!("{name}/{file}"), text)));
        } else {
            artifacts.insert(name, fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?);
        }
    }
    Ok(artifacts)
}
