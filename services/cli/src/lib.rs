//! `causeway`, the command line of a node. It reads arguments, calls `causeway.engine.v1.ChannelService`, and prints the answer as text
//! for people or, with `--json`, as one JSON value for programs.
//!
//! What it is not: it decides nothing about money and keeps no state, so that a command can be repeated from anywhere with the same
//! `--request-id`.
//!
//! Invariants
//! - results go to standard output and nothing else does; request ids, notes and errors go to standard error;
//! - the request id of a call that changes something is shown before the call is made, so that it is known when the answer is lost;
//! - amounts are read and shown in coin units as text, never as floating point; in JSON they are nano, as decimal strings;
//! - the seed of a virtual channel is shown only when it is asked for;
//! - text that other nodes chose reaches a terminal without control characters.

mod args;
mod commands;
mod failure;
mod input;
mod json;
mod output;
mod profile;
mod text;

use std::ffi::OsString;
use std::io::Write;

use clap::Parser as _;

use args::Cli;

/// Runs one command. Returns the exit code: 0 done; 1 refused or failed; 2 the command line, a value or the profile is not valid, nothing
/// was called; 3 the node cannot be reached or gave no final answer in time.
pub async fn run(args: impl IntoIterator<Item = impl Into<OsString> + Clone>, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            // Help and version are what was asked for; the rest is a mistake.
            let result = if error.use_stderr() { write!(err, "{text}") } else { write!(out, "{text}") };
            return written(result, error.exit_code() as u8);
        }
    };
    match commands::run(&cli, err).await {
        Ok(output) => written(output.print(cli.json, out), output.code),
        Err(failure) => written(failure.print(cli.json, err), failure.exit_code()),
    }
}

/// A reader that went away (`| head`) does not turn success into failure.
fn written(result: std::io::Result<()>, code: u8) -> u8 {
    match result {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => code.max(failure::FAILED),
        _ => code,
    }
}
