//! Why a command failed, and its exit code.

use std::io::Write;

use rpc::{Error, ErrorCode};
use serde_json::json;

use crate::text::printable;

/// Refused or failed.
pub(crate) const FAILED: u8 = 1;
/// The command line, a value or the profile is not valid; nothing was called.
pub(crate) const USAGE: u8 = 2;
/// The node cannot be reached or gave no final answer in time.
pub(crate) const UNREACHABLE: u8 = 3;

/// Why there is no result.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A value breaks a rule that is checked here.
    Value(Error),
    /// The profile or the connection's options are not valid.
    Settings(String),
    /// The node's answer, with the request id of the call when it changes something.
    Call { error: Error, request_id: Option<String> },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Value(error)
    }
}

impl Failure {
    /// A call that changes nothing failed.
    pub(crate) fn query(status: tonic::Status) -> Self {
        Self::Call { error: status.into(), request_id: None }
    }

    /// A call that changes something failed.
    pub(crate) fn command(request_id: &str, status: tonic::Status) -> Self {
        Self::Call { error: status.into(), request_id: Some(request_id.to_owned()) }
    }

    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Value(_) | Self::Settings(_) => USAGE,
            Self::Call { error, .. } if no_answer(error.code()) => UNREACHABLE,
            Self::Call { .. } => FAILED,
        }
    }

    pub(crate) fn print(&self, as_json: bool, err: &mut dyn Write) -> std::io::Result<()> {
        if as_json {
            return writeln!(err, "{}", self.json());
        }
        match self {
            Self::Settings(text) => writeln!(err, "error: {}", printable(text)),
            Self::Value(error) => writeln!(err, "error: {}", printable(&error.to_string())),
            Self::Call { error, request_id } => {
                writeln!(err, "error: {}", printable(&error.to_string()))?;
                match request_id {
                    Some(id) if error.code().is_transient() => {
                        writeln!(
                            err,
                            "It may have been done all the same. To find out, repeat the command with --request-id {id}"
                        )
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    fn json(&self) -> serde_json::Value {
        let (error, request_id) = match self {
            Self::Settings(text) => return json!({ "error": { "message": text } }),
            Self::Value(error) => (error, None),
            Self::Call { error, request_id } => (error, request_id.as_deref()),
        };
        let (field, rule) = error.violation().unzip();
        json!({ "error": {
            "code": error.code().to_string(), "message": error.message(), "field": field, "rule": rule, "request_id": request_id,
        } })
    }
}

/// Nothing is known of what became of the call. A peer that cannot be reached is not among these: that is the node's answer.
fn no_answer(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::Unavailable | ErrorCode::NotOwner | ErrorCode::Timeout)
}
