//! As whom the server runs: it refuses to run as root.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;

/// The user that Postgres packages make.
const PACKAGE_USER: &str = "postgres";
/// Where data goes when the package's user cannot reach the wanted folder.
const COMMON_FOLDER: &str = "/var/tmp";

/// Ourselves, or when we are root the package's user.
#[derive(Debug)]
pub(super) struct ServerUser(Option<(u32, u32)>);

impl ServerUser {
    pub(super) fn choose() -> anyhow::Result<Self> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        let passwd = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
        let ids = user_ids(&passwd, PACKAGE_USER);
        Ok(Self(Some(ids.with_context(|| format!("running as root, and Postgres needs the user `{PACKAGE_USER}`"))?)))
    }

    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command
    }

    /// Gives a file or folder to the user.
    pub(super) fn take(&self, path: &Path) -> anyhow::Result<()> {
        match self.0 {
            Some((uid, gid)) => chown(path, Some(uid), Some(gid)).with_context(|| format!("cannot give away {}", path.display())),
            None => Ok(()),
        }
    }

    /// The folder itself when the user can get there, else one that follows from its name.
    pub(super) fn reachable(&self, folder: PathBuf) -> anyhow::Result<PathBuf> {
        let Some((uid, _)) = self.0 else { return Ok(folder) };
        let passes =
            |path: &Path| std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o001 != 0 || meta.uid() == uid);
        if folder.ancestors().skip(1).all(passes) {
            return Ok(folder);
        }
        let mut hasher = DefaultHasher::new();
        folder.hash(&mut hasher);
        let common = Path::new(COMMON_FOLDER).join(format!("causeway-pg-{:016x}", hasher.finish()));
        match std::fs::create_dir(&common) {
            Ok(()) => std::fs::set_permissions(&common, std::fs::Permissions::from_mode(0o700))?,
            // A folder that another user put there could feed us its data.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                let owner = std::fs::symlink_metadata(&common)?;
                anyhow::ensure!(owner.is_dir() && owner.uid() == uid, "{} is not the server's own", common.display());
            }
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", common.display())),
        }
        Ok(common)
    }
}

fn user_ids(passwd: &str, name: &str) -> Option<(u32, u32)> {
    let mut fields = passwd.lines().map(|line| line.split(':')).find_map(|mut f| (f.next() == Some(name)).then_some(f))?;
    fields.next();
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_ids_of_a_user() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\npostgresx:x:7:7::/:\npostgres:x:101:104:P,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(user_ids(passwd, "postgres"), Some((101, 104)));
        assert_eq!(user_ids(passwd, "nobody"), None);
        assert_eq!(user_ids("postgres:x", "postgres"), None);
    }
}
