//! docs/network-pitfalls.md names tests that exist.

use std::path::Path;

/// Rows of the specification's table: 1 to 38, and 5a.
const ROWS: usize = 39;

#[test]
fn every_pitfall_has_a_row_and_every_named_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let text = std::fs::read_to_string(root.join("docs/network-pitfalls.md")).unwrap();
    let rows: Vec<Vec<&str>> =
        text.lines().filter(|line| line.starts_with("| ")).map(|line| line.split(" | ").collect()).skip(1).collect();
    let mut numbers: Vec<&str> = rows.iter().map(|row| row[0].trim_start_matches("| ")).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!((rows.len(), numbers.len()), (ROWS, ROWS));
    for row in rows {
        let tests = row.last().unwrap().trim_end_matches(" |");
        for named in tests.split(", ").filter(|named| *named != "open") {
            let (file, test) = named.trim_matches('`').split_once("::").unwrap_or_else(|| panic!("{named}: not file::test"));
            let source = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"));
            assert!(source.contains(&format!("fn {test}(")), "{file} has no test {test}");
        }
    }
}
