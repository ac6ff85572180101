//! Configuration: a TOML file, with the environment on top.
//!
//! `CAUSEWAY__SERVER__LISTEN=127.0.0.1:7000` sets `listen` in `[server]`: the names in upper case, two underscores between levels. A
//! value is read as TOML (`true`, `5`, `["a", "b"]`), or as text when it is not TOML or when the file has text there.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// What environment variables of the configuration begin with.
pub const ENV_PREFIX: &str = "CAUSEWAY__";
/// What stands between the levels in a variable's name.
const ENV_SEPARATOR: &str = "__";
/// Largest configuration file.
const MAX_FILE: u64 = 1024 * 1024;

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {path}: {reason}")]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file is not TOML.
    #[error("configuration file {path} is not TOML: {reason}")]
    Syntax {
        /// Which file.
        path: PathBuf,
        /// Where and why.
        reason: String,
    },
    /// A field breaks a rule.
    #[error("configuration field `{field}` {rule}")]
    Field {
        /// Path of the field, such as `server.listen`.
        field: String,
        /// The rule, such as `must be a loopback address`.
        rule: String,
    },
}

impl ConfigError {
    /// A field that breaks a rule; for a service's own checks.
    pub fn rule(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Field { field: field.into(), rule: rule.into() }
    }
}

/// Loads a configuration from a file, if one is given, and the environment. `T` should `deny_unknown_fields` on every level.
///
/// # Errors
/// The file cannot be read or is not TOML; a field is unknown, missing or of the wrong shape.
pub fn load<T: DeserializeOwned>(path: Option<&Path>) -> Result<T, ConfigError> {
    let table = path.map(read_table).transpose()?.unwrap_or_default();
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    build(table, variables)
}

fn read_table(path: &Path) -> Result<Table, ConfigError> {
    let file_error = |reason: String| ConfigError::File { path: path.into(), reason };
    let size = std::fs::metadata(path).map_err(|error| file_error(error.to_string()))?.len();
    if size > MAX_FILE {
        return Err(file_error(format!("must be at most {MAX_FILE} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| file_error(error.to_string()))?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax { path: path.into(), reason: error.to_string() })
}

fn build<T: DeserializeOwned>(mut table: Table, variables: impl Iterator<Item = (String, String)>) -> Result<T, ConfigError> {
    let mut overrides: Vec<_> = variables.filter(|(name, _)| name.starts_with(ENV_PREFIX)).collect();
    overrides.sort();
    for (name, value) in overrides {
        let path: Vec<String> = name[ENV_PREFIX.len()..].split(ENV_SEPARATOR).map(str::to_lowercase).collect();
        set(&mut table, &path, value).map_err(|rule| ConfigError::rule(path.join("."), format!("{rule} (from {name})")))?;
    }
    section(table, "")
}

/// Reads a configuration out of a section of a larger one, at `path` in it: errors name the whole path. `T` as for [`load`].
///
/// # Errors
/// A field is unknown, missing or of the wrong shape.
pub fn section<T: DeserializeOwned>(table: Table, path: &str) -> Result<T, ConfigError> {
    serde_path_to_error::deserialize(Value::Table(table)).map_err(|error| {
        let place = error.path().to_string();
        let reason = error.inner().message().to_owned();
        // A missing field is reported at its table; name the field itself.
        let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        let parts = [path, if place == "." { "" } else { &place }, missing.unwrap_or_default()];
        let field = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".");
        match missing {
            Some(_) => ConfigError::rule(field, "must be set"),
            None => ConfigError::rule(field, format!("is not valid: {reason}")),
        }
    })
}

fn set(table: &mut Table, path: &[String], text: String) -> Result<(), &'static str> {
    match path {
        [] => Err("is not a field"),
        [name, ..] if name.is_empty() => Err("is not a field"),
        [name] => {
            let value = match table.get(name) {
                Some(Value::String(_)) => Value::String(text),
                Some(Value::Table(_)) => return Err("is a section, not a field"),
                _ => parse(text),
            };
            table.insert(name.clone(), value);
            Ok(())
        }
        [section, rest @ ..] => match table.entry(section).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, text),
            _ => Err("is inside a field that is not a section"),
        },
    }
}

fn parse(text: String) -> Value {
    match format!("value = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("value")) {
        None | Some(Value::Datetime(_)) => Value::String(text),
        Some(value) => value,
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Config {
        server: Section,
        name: Option<String>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Section {
        listen: String,
        limit: Option<u32>,
        peers: Option<Vec<String>>,
    }

    fn read(text: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let variables = variables.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        build(text.parse().unwrap(), variables).map_err(|error| error.to_string())
    }

    #[test]
    fn environment_overrides_the_file() {
        let config = read(
            "[server]\nlisten = 'a'\nlimit = 1",
            &[
                ("CAUSEWAY__SERVER__LISTEN", "5"),
                ("CAUSEWAY__SERVER__LIMIT", "7"),
                ("CAUSEWAY__SERVER__PEERS", "['x', 'y']"),
                ("CAUSEWAY__NAME", "plain text"),
                ("OTHER__NAME", "no"),
            ],
        );
        let server = Section { listen: "5".into(), limit: Some(7), peers: Some(vec!["x".into(), "y".into()]) };
        assert_eq!(config.unwrap(), Config { server, name: Some("plain text".into()) });
    }

    #[test]
    fn environment_alone_is_enough() {
        assert_eq!(read("", &[("CAUSEWAY__SERVER__LISTEN", "a:1")]).unwrap().server.listen, "a:1");
    }

    #[test]
    fn refusals_name_the_field_and_the_rule() {
        type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);
        let cases: [Case<'_>; 7] = [
            ("[server]\nlisten = 'a'\nlimti = 1", &[], "`server.limti` is not valid: unknown field `limti`"),
            ("[server]\nlisten = 'a'\nlimit = 'x'", &[], "`server.limit` is not valid: invalid type: string \"x\", expected u32"),
            ("[server]\nlimit = 1", &[], "`server.listen` must be set"),
            ("name = 'x'", &[], "`server` must be set"),
            ("[server]\nlisten = 'a'", &[("CAUSEWAY__SERVER__LIMIT", "-1")], "`server.limit` is not valid"),
            (
                "[server]\nlisten = 'a'",
                &[("CAUSEWAY__SERVER", "1")],
                "`server` is a section, not a field (from CAUSEWAY__SERVER)",
            ),
            ("[server]\nlisten = 'a'", &[("CAUSEWAY__SERVER__LISTEN__X", "1")], "`server.listen.x` is inside a field"),
        ];
        for (text, variables, expected) in cases {
            let error = read(text, variables).unwrap_err();
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }

    #[test]
    fn a_file_that_is_not_toml_or_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("engine.toml");
        let missing = load::<Config>(Some(&path)).unwrap_err().to_string();
        assert!(missing.contains("engine.toml"), "{missing}");
        std::fs::write(&path, "server = [").unwrap();
        let broken = load::<Config>(Some(&path)).unwrap_err().to_string();
        assert!(broken.contains("engine.toml is not TOML"), "{broken}");
    }
}
