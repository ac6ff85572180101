//! One error type for both ends of a call.

use std::fmt;

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use crate::ErrorCode;

/// `google.rpc.ErrorInfo.domain` of our errors.
pub const ERROR_DOMAIN: &str = "causeway";

/// An error as it crosses the API: code, what happened, and for bad input the field and the rule that it broke.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
    violation: Option<Violation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Violation {
    field: String,
    rule: String,
}

impl Error {
    /// An error with the code's own text.
    pub fn new(code: ErrorCode) -> Self {
        Self { code, message: code.text().into(), violation: None }
    }

    /// An error with more to say than the code's text. Must hold no secret.
    pub fn with_message(code: ErrorCode, message: impl fmt::Display) -> Self {
        Self { code, message: format!("{}: {message}", code.text()), violation: None }
    }

    /// Bad input: the field by its protobuf path (`chain[1].node_key`) and the rule that it breaks (`must be 32 bytes`).
    pub fn field(code: ErrorCode, field: impl Into<String>, rule: impl Into<String>) -> Self {
        let violation = Violation { field: field.into(), rule: rule.into() };
        let message = format!("{}: `{}` {}", code.text(), violation.field, violation.rule);
        Self { code, message, violation: Some(violation) }
    }

    /// The code.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What happened, for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Field and rule, for bad input.
    pub fn violation(&self) -> Option<(&str, &str)> {
        self.violation.as_ref().map(|v| (v.field.as_str(), v.rule.as_str()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.message)
    }
}

impl std::error::Error for Error {}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(error.code.to_string(), ERROR_DOMAIN, std::collections::HashMap::new());
        if let Some(Violation { field, rule }) = error.violation {
            details.add_bad_request_violation(field, rule);
        }
        Status::with_error_details(error.code.status(), error.message, details)
    }
}

/// What a client makes of a status: ours as it was sent; anything else (a proxy, a broken connection, a deadline that the client set)
/// as the code that tells the caller whether to repeat.
impl From<Status> for Error {
    fn from(status: Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info().filter(|info| info.domain == ERROR_DOMAIN);
        if let Some(code) = info.and_then(|info| ErrorCode::parse(&info.reason)) {
            let violation = details
                .bad_request()
                .and_then(|bad| bad.field_violations.first())
                .map(|v| Violation { field: v.field.clone(), rule: v.description.clone() });
            return Self { code, message: status.message().into(), violation };
        }
        let code = match status.code() {
            Code::Unavailable => ErrorCode::Unavailable,
            Code::Unauthenticated | Code::PermissionDenied => ErrorCode::Unauthenticated,
            Code::DeadlineExceeded | Code::Cancelled => ErrorCode::Timeout,
            Code::InvalidArgument => ErrorCode::InvalidField,
            _ => ErrorCode::Internal,
        };
        Self::with_message(code, status.message())
    }
}
