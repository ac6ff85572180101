//! The committed artifacts are what the sources compile to.

use std::io::Write;
use std::path::Path;

use channel_contract_evm::rebuild::{Outcome, check};

#[test]
fn the_committed_artifacts_are_what_the_sources_compile_to() {
    match check(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("evm-compiler")).unwrap() {
        Outcome::Same => {}
        Outcome::Differs(compiled) => {
            panic!("the sources compile to other artifacts: {:?}; `cargo xtask contracts --write` replaces them", compiled.keys())
        }
        // Past the capture of test output: whoever reads the log must see what was not tested.
        Outcome::Skipped(why) => writeln!(std::io::stderr(), "skipped: rebuild of the EVM contracts: {why}").expect("stderr"),
    }
}
