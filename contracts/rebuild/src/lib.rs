//! Compiles our channel contracts with their pinned compilers and compares with the code that is committed.
//!
//! A contract's folder has `package.json` and `package-lock.json`, which pin its compiler, and `compile.js <contract folder> <out folder>`.
//! Node and npm run them; only those who change a contract need either.
//!
//! What it is not: a part of any program. The tests of the contract packages and `cargo xtask contracts` use it.
//!
//! Invariants
//! - Nothing is passed over in silence. Where node or npm is missing, or the registry cannot be reached, the outcome says so in npm's words;
//!   whatever else fails, a compiler that is not the pinned one among them, is an error.
//! - A check writes to its work folder only.

mod artifacts;
mod npm;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

pub use artifacts::Artifacts;

/// A contract with its sources, its compiler and its committed code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contract {
    /// Its folder in `contracts/`.
    name: &'static str,
    /// The committed code, in that folder.
    artifacts: &'static str,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The sources compile to the committed code.
    Same,
    /// The sources compile to other code: all of it, to commit by [`Contract::write`], or a mistake.
    Differs(Artifacts),
    /// The compiler is not there and cannot be installed; the reason, in words.
    Skipped(String),
}

/// What the compiler needs, copied to where it is installed.
const COMPILER_FILES: [&str; 3] = ["package.json", "package-lock.json", "compile.js"];

impl Contract {
    /// The contract for TON, in Tolk.
    pub const TON: Self = Self { name: "ton", artifacts: "build" };
    /// The contracts for EVM chains, in Solidity.
    pub const EVM: Self = Self { name: "evm", artifacts: "artifacts" };
    /// All of them.
    pub const ALL: [Self; 2] = [Self::TON, Self::EVM];

    /// Its folder in `contracts/`.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// The folder of the committed code.
    pub fn artifacts(self) -> PathBuf {
        self.folder().join(self.artifacts)
    }

    fn folder(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(self.name)
    }

    /// Installs the pinned compiler into `work_dir` (a folder of its own, kept for the next time), compiles the sources and compares. It is
    /// an error when the compiler is not the pinned one or the sources do not compile.
    pub fn check(self, work_dir: &Path) -> Result<Outcome> {
        fs::create_dir_all(work_dir).with_context(|| format!("create {}", work_dir.display()))?;
        for file in COMPILER_FILES {
            fs::copy(self.folder().join(file), work_dir.join(file)).with_context(|| format!("copy {file}"))?;
        }
        if let Some(why) = npm::install(work_dir)? {
            return Ok(Outcome::Skipped(why));
        }
        let out = work_dir.join("out");
        artifacts::clear(&out)?;
        npm::compile(work_dir, &self.folder(), &out)?;
        let compiled = artifacts::read(&out)?;
        Ok(if compiled == artifacts::read(&self.artifacts())? { Outcome::Same } else { Outcome::Differs(compiled) })
    }

    /// Replaces the committed code.
    pub fn write(self, compiled: &Artifacts) -> Result<()> {
        artifacts::clear(&self.artifacts())?;
        artifacts::write(&self.artifacts(), compiled)
    }

    /// For a test: an error where the committed code is not what the sources compile to. A check that was skipped is said past the capture of
    /// test output: whoever reads the log must see what was not tested.
    pub fn assert_committed(self, work_dir: &Path) -> Result<()> {
        match self.check(work_dir)? {
            Outcome::Same => Ok(()),
            Outcome::Differs(compiled) => {
                let files: Vec<_> = compiled.keys().collect();
                bail!("the sources compile to other code: {files:?}; `cargo xtask contracts --write` replaces it")
            }
            Outcome::Skipped(why) => {
                Ok(writeln!(std::io::stderr(), "skipped: what the {} contracts compile to: {why}", self.name)?)
            }
        }
    }
}
