//! Folders of compiled code.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// The files of a folder, by their path in it.
pub type Artifacts = BTreeMap<String, String>;

/// The files of a folder and of the folders in it; none when it is missing.
pub fn read(folder: &Path) -> Result<Artifacts> {
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

pub fn write(folder: &Path, artifacts: &Artifacts) -> Result<()> {
    for (file, text) in artifacts {
        let path = folder.join(file);
        fs::create_dir_all(path.parent().unwrap_or(folder)).with_context(|| format!("make the folder of {file}"))?;
        fs::write(&path, text).with_context(|| format!("write {file}"))?;
    }
    Ok(())
}

/// Removes the files of a folder.
pub fn clear(folder: &Path) -> Result<()> {
    for file in read(folder)?.keys() {
        fs::remove_file(folder.join(file)).with_context(|| format!("remove {file}"))?;
    }
    Ok(())
}
