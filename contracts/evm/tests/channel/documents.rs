//! The documents name tests and functions that exist.

use channel_contract_evm::{compact, sspc};

const THREATS: &str = include_str!("../../THREATS.md");
const SPECIFICATION: &str = include_str!("../../SPECIFICATION.md");
const TESTS: [&str; 3] = [include_str!("attacks.rs"), include_str!("old_rules.rs"), include_str!("tokens.rs")];

/// What stands between backquotes.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_test_of_the_threat_table_exists_and_every_attack_stands_in_it() {
    let named: Vec<&str> = quoted(THREATS).filter(|word| word.matches('_').count() > 2).collect();
    assert!(named.len() > 30, "the table was not read: {named:?}");
    for name in &named {
        assert!(TESTS.iter().any(|source| source.contains(&format!("fn {name}()"))), "THREATS.md names {name}");
    }
    for source in &TESTS[..2] {
        for name in
            source.lines().filter_map(|line| line.strip_prefix("fn w")?.split_once("()")).map(|(rest, _)| format!("w{rest}"))
        {
            assert!(named.contains(&name.as_str()), "THREATS.md does not name {name}");
        }
    }
}

#[test]
fn the_specification_names_every_function_event_and_error() {
    for abi in [sspc::ABI_JSON, compact::ABI_JSON] {
        let names = abi.lines().filter_map(|line| line.strip_prefix("  \"name\": \"")?.split_once('"')).map(|(name, _)| name);
        for name in names {
            assert!(
                quoted(SPECIFICATION).any(|word| word.split('(').next() == Some(name)),
                "SPECIFICATION.md does not name {name}"
            );
        }
    }
}
