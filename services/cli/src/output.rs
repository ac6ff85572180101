//! The result of a command.

use std::io::Write;

use serde_json::Value;

/// What a command has to say, in both forms.
#[derive(Debug)]
pub(crate) struct Output {
    /// For programs.
    pub json: Value,
    /// For people; ends with a line break, or is empty.
    pub text: String,
    /// Exit code.
    pub code: u8,
}

impl Output {
    /// A result that is a success.
    pub(crate) fn new(json: Value, text: String) -> Self {
        Self { json, text, code: 0 }
    }

    pub(crate) fn print(&self, as_json: bool, out: &mut dyn Write) -> std::io::Result<()> {
        if as_json { writeln!(out, "{:#}", self.json) } else { write!(out, "{}", self.text) }
    }
}
