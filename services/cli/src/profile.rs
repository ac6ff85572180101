//! Which node a command talks to, and how.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rpc::{ClientConfig, Connection, TlsClientConfig};
use serde::Deserialize;

use crate::args::ConnectionArgs;
use crate::failure::Failure;

/// Largest profile file.
const MAX_FILE: u64 = 1024 * 1024;

/// The profile file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Profiles {
    /// Name of the profile to use when none is asked for.
    default: Option<String>,
    #[serde(default)]
    profile: BTreeMap<String, ClientConfig>,
}

/// A connection as the options and the profile file say; it is made with the first call.
pub(crate) fn connect(args: &ConnectionArgs) -> Result<Connection, Failure> {
    let (mut config, name) = match &args.node {
        Some(url) => (ClientConfig::plain(url), "node".to_owned()),
        None => from_file(args)?,
    };
    if let Some(token) = &args.token_file {
        config.token_file = Some(token.clone());
    }
    config.tls = tls(args, config.tls.take())?;
    config.connect(&name).map_err(|error| Failure::Settings(error.to_string()))
}

/// The options for TLS, on top of the profile's.
fn tls(args: &ConnectionArgs, profile: Option<TlsClientConfig>) -> Result<Option<TlsClientConfig>, Failure> {
    let changed = [&args.tls_ca, &args.tls_cert, &args.tls_key].iter().any(|path| path.is_some()) || args.tls_domain.is_some();
    if !changed {
        return Ok(profile);
    }
    let old = profile.as_ref();
    let ca = args.tls_ca.clone().or_else(|| old.map(|tls| tls.ca.clone()));
    Ok(Some(TlsClientConfig {
        ca: ca.ok_or_else(|| Failure::Settings("--tls-ca must be given with the other TLS options".into()))?,
        domain: args.tls_domain.clone().or_else(|| old?.domain.clone()),
        certificate: args.tls_cert.clone().or_else(|| old?.certificate.clone()),
        private_key: args.tls_key.clone().or_else(|| old?.private_key.clone()),
    }))
}

fn from_file(args: &ConnectionArgs) -> Result<(ClientConfig, String), Failure> {
    let path = args.profile_file.clone().or_else(default_file);
    let chosen = path.as_deref().filter(|path| args.profile_file.is_some() || args.profile.is_some() || path.exists());
    let Some(path) = chosen else {
        return Err(Failure::Settings("which node? Give --node URL, or --profile NAME with a profile file".into()));
    };
    let mut profiles = read(path)?;
    let name = args.profile.clone().or(profiles.default.take()).ok_or_else(|| {
        Failure::Settings(format!("which node? Give --node URL or --profile NAME, or set `default` in {}", path.display()))
    })?;
    match profiles.profile.remove(&name) {
        Some(config) => Ok((config, format!("profile.{name}"))),
        None => Err(Failure::Settings(format!("{} has no profile `{name}`", path.display()))),
    }
}

fn read(path: &Path) -> Result<Profiles, Failure> {
    let settings = |text: String| Failure::Settings(format!("profile file {}: {text}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| settings(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(settings(format!("must be at most {MAX_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| settings(error.to_string()))?;
    toml::from_str(&text).map_err(|error| settings(error.to_string()))
}

/// `causeway/profiles.toml` in the user's folder for configuration.
fn default_file() -> Option<PathBuf> {
    let folder = match std::env::var_os("XDG_CONFIG_HOME").filter(|folder| !folder.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(std::env::var_os("HOME")?).join(".config"),
    };
    Some(folder.join("causeway").join("profiles.toml"))
}
