//! `cargo xtask interop`: the rows of tests/interop, our network stack against two versions of tonutils-go.

use std::io::Read as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use testkit::Process;

/// The Go modules: a row's line says which.
const MODULES: [&str; 2] = ["old", "new"];
/// The tests end themselves after so long, downloads and compilation not counted.
const TEST_TIMEOUT: &str = "150s";
/// And are ended after so long, all counted.
const LIMIT: Duration = Duration::from_secs(600);
/// Rows at a time: most of their time is waiting.
const AT_ONCE: &str = "4";

#[derive(clap::Args)]
pub struct Arguments {
    /// Only the row of this number
    #[arg(long)]
    row: Option<u8>,
    /// Only against this version: old or new
    #[arg(long, value_parser = MODULES)]
    library: Option<String>,
}

pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    if !has_go() {
        println!("skipped: go not found");
        return Ok(());
    }
    let binaries = crate::build::binaries(&["interop-peer", "causeway-devnet"], true)?;
    let mut failed = Vec::new();
    for module in MODULES.into_iter().filter(|module| arguments.library.as_deref().is_none_or(|only| only == *module)) {
        let started = Instant::now();
        let mut test = command(module, arguments.row);
        test.env("CAUSEWAY_BINARIES", std::path::absolute(&binaries)?);
        let (output, passed) = execute(&mut test)?;
        let rows = rows(&output);
        for row in &rows {
            println!("{}", row.line(module));
        }
        println!("go-{module}: {} s", started.elapsed().as_secs());
        if !passed || rows.is_empty() {
            println!("{}", complaints(&output));
            failed.push(module);
        }
    }
    ensure!(failed.is_empty(), "failed against {}", failed.join(" and "));
    Ok(())
}

fn has_go() -> bool {
    let version = Command::new("go").arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    version.is_ok_and(|status| status.success())
}

fn command(module: &str, row: Option<u8>) -> Command {
    let mut command = Command::new("go");
    command.current_dir(crate::root().join("tests/interop").join(format!("go-{module}")));
    command.args(["test", "-v", "-count=1", "-timeout", TEST_TIMEOUT, "-parallel", AT_ONCE]);
    if let Some(row) = row {
        command.arg("-run").arg(format!("Rows/^{row:02}_"));
    }
    command.arg("./...");
    command
}

/// Runs the tests; what they wrote, and whether they passed.
fn execute(command: &mut Command) -> anyhow::Result<(String, bool)> {
    let (mut reader, writer) = std::io::pipe()?;
    command.stdout(writer.try_clone()?).stderr(writer);
    let mut process = Process::spawn("go test", command)?;
    // Our copies of the pipe's end: it ends with the tests.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let reading = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).map(|_| String::from_utf8_lossy(&bytes).into_owned())
    });
    let started = Instant::now();
    let status = loop {
        if let Some(status) = process.exit_status()? {
            break status;
        }
        ensure!(started.elapsed() < LIMIT, "the tests did not end within {} s", LIMIT.as_secs());
        std::thread::sleep(Duration::from_millis(100));
    };
    let output = reading.join().ok().context("reading what the tests wrote")??;
    Ok((output, status.success()))
}

/// What became of a row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    number: u8,
    what: String,
    result: &'static str,
}

impl Row {
    fn line(&self, module: &str) -> String {
        format!("row {:>2}  {:<40} {module}  {}", self.number, self.what, self.result)
    }
}

/// The rows' own lines of `go test -v`, such as `--- PASS: TestRows/03_parts (0.40s)`, by number.
fn rows(output: &str) -> Vec<Row> {
    let mut rows: Vec<_> = output.lines().filter_map(|line| row(line.trim())).collect();
    rows.sort_by_key(|row| row.number);
    rows
}

fn row(line: &str) -> Option<Row> {
    let results = [("--- PASS: ", "ok"), ("--- FAIL: ", "failed"), ("--- SKIP: ", "not in this version")];
    let (rest, result) = results.iter().find_map(|(start, result)| Some((line.strip_prefix(start)?, *result)))?;
    let name = rest.split(' ').next()?.strip_prefix("TestRows/").filter(|name| !name.contains('/'))?;
    let (number, what) = name.split_once('_')?;
    Some(Row { number: number.parse().ok()?, what: what.replace('_', " "), result })
}

/// What the tests said besides that they began and went well.
fn complaints(output: &str) -> String {
    let dull = |line: &&str| ["=== ", "--- PASS"].iter().all(|start| !line.trim_start().starts_with(start));
    output.lines().filter(dull).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "=== RUN   TestRows
=== RUN   TestRows/03_parts
    row.go:7: executed 2 times
    --- FAIL: TestRows/03_parts (0.40s)
        --- PASS: TestRows/03_parts/plain (0.20s)
    --- PASS: TestRows/01_first_contact (1.20s)
    --- SKIP: TestRows/12_our_DHT_client,_their_server (0.00s)
--- FAIL: TestRows (2.00s)";

    #[test]
    fn a_row_is_read_from_its_own_line_only() {
        let lines: Vec<_> = rows(OUTPUT).iter().map(|row| (row.number, row.what.clone(), row.result)).collect();
        let expected = [
            (1, "first contact".to_owned(), "ok"),
            (3, "parts".to_owned(), "failed"),
            (12, "our DHT client, their server".to_owned(), "not in this version"),
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn a_failure_shows_what_was_said() {
        let said = complaints(OUTPUT);
        assert!(said.contains("executed 2 times") && said.contains("--- FAIL: TestRows/03_parts"));
        assert!(!said.contains("RUN") && !said.contains("PASS"));
    }
}
