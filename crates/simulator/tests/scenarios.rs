//! Every scenario file goes as written.

use std::{fs, path::Path};

#[test]
fn scenarios_go_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names: Vec<_> = fs::read_dir(folder).expect("the folder is there").map(|f| f.expect("a file").path()).collect();
    names.sort();
    assert!(names.len() >= 10);
    for path in names {
        let text = fs::read_to_string(&path).expect("a text file");
        if let Err(error) = simulator::run_scenario(&text) {
            panic!("{}: {error}", path.display());
        }
    }
}

#[test]
fn a_wrong_expectation_is_named_with_its_line() {
    let error = simulator::run_scenario("nodes A B\nchannel A B 20 10\npay p A B 1\nwait 5\nexpect failed p\n").unwrap_err();
    assert_eq!(error.line, 5);
    let error = simulator::run_scenario("nodes A B\nfly away\n").unwrap_err();
    assert_eq!(error.line, 2);
}
