//! The workspace as cargo sees it: who depends on whom. ARCHITECTURE.md's diagram is made from this, and a test holds both together.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// A package of the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Its folder, relative to the workspace: `crates/ton`.
    pub folder: String,
    /// What it is built with, by name: our own packages.
    pub own: BTreeSet<String>,
    /// The same, of others.
    pub others: BTreeSet<String>,
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// Every package by name, with its direct dependencies; those of tests are left out.
pub fn packages() -> anyhow::Result<BTreeMap<String, Package>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    let names: BTreeSet<String> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    let mut packages = BTreeMap::new();
    for package in &metadata.packages {
        let folder = package.manifest_path.parent().context("a manifest lies in a folder")?;
        let folder = folder.strip_prefix(&metadata.workspace_root)?.to_string();
        let direct = package.dependencies.iter().filter(|d| d.kind == DependencyKind::Normal).map(|d| d.name.clone());
        let (own, others) = direct.partition(|name| names.contains(name));
        packages.insert(package.name.to_string(), Package { folder, own, others });
    }
    Ok(packages)
}

/// The diagram of ARCHITECTURE.md: an arrow per dependency between our own packages, without those that follow from others.
pub fn diagram(packages: &BTreeMap<String, Package>) -> String {
    let mut out = String::from("```mermaid\ngraph TD\n");
    for (name, package) in packages {
        for to in &package.own {
            let implied = package.own.iter().any(|via| via != to && reaches(packages, via, to));
            if !implied {
                out += &format!("  {name} --> {to}\n");
            }
        }
    }
    out + "```"
}

/// Whether `from` depends on `to`, directly or not.
pub fn reaches(packages: &BTreeMap<String, Package>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(name) = next.pop() {
        for dependency in packages.get(name).into_iter().flat_map(|p| &p.own) {
            if dependency == to {
                return true;
            }
            if seen.insert(dependency) {
                next.push(dependency);
            }
        }
    }
    false
}
