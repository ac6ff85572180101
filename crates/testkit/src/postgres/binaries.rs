//! Where Postgres is installed, and installing it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

/// Environment variable with the folder of the Postgres binaries, before all others.
const FOLDER_VARIABLE: &str = "CAUSEWAY_POSTGRES_BIN";
/// Folders that hold one folder per version: (parent, what the name begins with).
const VERSIONED: [(&str, &str); 5] = [
    ("/usr/lib/postgresql", ""),
    ("/usr", "pgsql-"),
    ("/opt/homebrew/opt", "postgresql"),
    ("/usr/local/opt", "postgresql"),
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
];
/// Keeps Debian's package from making and starting a cluster of its own.
const NO_MAIN_CLUSTER: &str = "/etc/postgresql-common/createcluster.d/causeway.conf";

/// The folder with `initdb` and `postgres`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresBinaries {
    folder: PathBuf,
}

impl PostgresBinaries {
    /// Looks in `CAUSEWAY_POSTGRES_BIN`, on `PATH`, and where packages put it (the newest version).
    ///
    /// # Errors
    /// Not found; says how to install it.
    pub fn find() -> anyhow::Result<Self> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
            return Self::at(Path::new(&folder))
                .with_context(|| format!("{FOLDER_VARIABLE} must name a folder with initdb and postgres"));
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        let on_path = std::env::split_paths(&path).find_map(|folder| Self::at(&folder));
        let packaged = || VERSIONED.iter().find_map(|(parent, prefix)| Self::newest(Path::new(parent), prefix));
        on_path.or_else(packaged).context(
            "Postgres is not installed: install it (Debian: `apt-get install postgresql`, macOS: `brew install postgresql`) or set \
             CAUSEWAY_POSTGRES_BIN to the folder of initdb",
        )
    }

    /// As [`Self::find`]; where it is missing and we are root on a Debian-like system, installs the distribution's package first.
    ///
    /// # Errors
    /// Not found and not installed; says why.
    pub fn install_if_missing() -> anyhow::Result<Self> {
        match Self::find() {
            Err(_) if rustix::process::geteuid().is_root() && Path::new("/usr/bin/apt-get").exists() => {
                install().context("Postgres is not installed and could not be installed")?;
                Self::find()
            }
            found => found,
        }
    }

    /// Program that makes a cluster.
    pub fn initdb(&self) -> PathBuf {
        self.folder.join("initdb")
    }

    /// The server.
    pub fn postgres(&self) -> PathBuf {
        self.folder.join("postgres")
    }

    fn at(folder: &Path) -> Option<Self> {
        // A wrapper on PATH points into the folder that has both.
        let initdb = folder.join("initdb").canonicalize().ok()?;
        let folder = initdb.parent()?;
        folder.join("postgres").is_file().then(|| Self { folder: folder.to_owned() })
    }

    fn newest(parent: &Path, prefix: &str) -> Option<Self> {
        let mut found: Vec<(u32, Self)> = std::fs::read_dir(parent)
            .ok()?
            .filter_map(|entry| {
                let name = entry.ok()?.file_name().into_string().ok()?;
                let version = name.strip_prefix(prefix)?.trim_start_matches('@').parse().unwrap_or(0);
                Some((version, Self::at(&parent.join(&name).join("bin"))?))
            })
            .collect();
        found.sort_by_key(|(version, _)| *version);
        found.pop().map(|(_, binaries)| binaries)
    }
}

fn install() -> anyhow::Result<()> {
    let marker = Path::new(NO_MAIN_CLUSTER);
    std::fs::create_dir_all(marker.parent().context("the marker has a folder")?)?;
    std::fs::write(marker, "create_main_cluster = false\n")?;
    let installed = apt_get(&["update"]).and_then(|()| apt_get(&["install", "--yes", "--no-install-recommends", "postgresql"]));
    std::fs::remove_file(marker)?;
    installed
}

fn apt_get(arguments: &[&str]) -> anyhow::Result<()> {
    let mut command = Command::new("apt-get");
    let status = command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive").status().context("cannot run apt-get")?;
    ensure!(status.success(), "`apt-get {}` failed ({status})", arguments.join(" "));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn install_at(folder: &Path) {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("initdb"), "").unwrap();
        std::fs::write(folder.join("postgres"), "").unwrap();
    }

    #[test]
    fn takes_the_newest_version_that_is_complete() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().canonicalize().unwrap();
        assert_eq!(PostgresBinaries::newest(&parent, ""), None);
        install_at(&parent.join("9/bin"));
        install_at(&parent.join("15/bin"));
        std::fs::create_dir_all(parent.join("17/bin")).unwrap();
        assert_eq!(PostgresBinaries::newest(&parent, "").unwrap().folder, parent.join("15/bin"));
        install_at(&parent.join("postgresql@16/bin"));
        assert_eq!(PostgresBinaries::newest(&parent, "postgresql").unwrap().folder, parent.join("postgresql@16/bin"));
    }
}
