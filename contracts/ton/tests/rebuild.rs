//! The committed code is what the sources compile to.

use std::io::Write;
use std::path::Path;

use channel_contract_ton::rebuild::{Outcome, check};

#[test]
fn the_committed_code_is_what_the_sources_compile_to() {
    match check(&Path::new(env!("CARGO_TARGET_TMPDIR")).join("contract-compiler")).unwrap() {
        Outcome::Same => {}
        Outcome::Differs(compiled) => panic!("the sources compile to other code than build/channel.boc.hex:\n{compiled}"),
        // Past the capture of test output: whoever reads the log must see what was not tested.
        Outcome::Skipped(why) => writeln!(std::io::stderr(), "skipped: rebuild of the channel contract: {why}").expect("stderr"),
    }
}
